//! Digests of files, hashed only when a file's stamp (size, times, inode) is new.
//!
//! A stamp is trusted only if the file had rested for a moment when it was hashed: two writes within one tick of the
//! file system's clock would otherwise look alike. The index is a memory aid; losing it costs time, never truth.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeward_core::Digest;
use edgeward_core::digest::Hasher;
use serde::{Deserialize, Serialize};

use crate::workdir::{WorkError, write_atomically};

/// Most files remembered; beyond it only those of the present run are kept.
pub const INDEX_ENTRIES_MAX: usize = 200_000;

/// How long a file must have rested before it was hashed for its stamp to be trusted.
const REST: Duration = Duration::from_millis(20);
const CHUNK_BYTES: usize = 1 << 16;

/// The size and digest of a file's content.
pub type Content = edgeward_core::manifest::FileEntry;

type Entries = BTreeMap<PathBuf, Indexed>;

/// Remembers digests of files; several threads may ask.
#[derive(Debug)]
pub struct FileIndex {
    path: PathBuf,
    entries: Mutex<Entries>,
    touched: Mutex<Entries>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Indexed {
    stamp: Stamp,
    digest: Digest,
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size_bytes: u64,
    modified_ns: u64,
    changed_ns: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let (changed_ns, inode) = identity(metadata);
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        Self { size_bytes: metadata.len(), modified_ns: nanos(modified), changed_ns, inode }
    }

    fn rested(&self, now: SystemTime) -> bool {
        self.modified_ns.max(self.changed_ns) < nanos(now).saturating_sub(REST.as_nanos() as u64)
    }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanos = u64::try_from(metadata.ctime_nsec()).unwrap_or(0);
    (seconds.saturating_mul(1_000_000_000).saturating_add(nanos), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

impl FileIndex {
    /// Opens the index at `path`; one that is missing or damaged is empty.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        let entries = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, entries: Mutex::new(entries.unwrap_or_default()), touched: Mutex::default() }
    }

    /// The size and digest of `file`, from memory if its stamp is known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn content(&self, file: &Path) -> Result<Content, WorkError> {
        self.content_at(file, SystemTime::now()).map_err(WorkError::at("reading", file))
    }

    fn content_at(&self, file: &Path, now: SystemTime) -> io::Result<Content> {
        let stamp = Stamp::of(&fs::metadata(file)?);
        let known = locked(&self.entries).get(file).filter(|known| known.stamp == stamp).copied();
        let indexed = match known {
            Some(known) => known,
            None => Indexed { stamp, digest: digest_file(file)? },
        };
        if known.is_some() || stamp.rested(now) {
            locked(&self.touched).insert(file.to_owned(), indexed);
        }
        Ok(Content { size_bytes: stamp.size_bytes, digest: indexed.digest })
    }

    /// Writes the index back.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<(), WorkError> {
        let mut entries = locked(&self.entries);
        let touched = locked(&self.touched);
        let before = entries.len();
        let changed = touched.iter().any(|(path, indexed)| entries.get(path) != Some(indexed));
        entries.extend(touched.iter().map(|(path, indexed)| (path.clone(), *indexed)));
        if entries.len() > INDEX_ENTRIES_MAX {
            entries.clone_from(&touched);
        }
        if !changed && entries.len() == before {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&*entries)
            .map_err(|error| WorkError::at("writing", &self.path)(io::Error::other(error)))?;
        write_atomically(&self.path, &bytes)
    }
}

fn locked(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digest of a file's content.
fn digest_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_resting_file_is_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, b"one").unwrap();
        let index = FileIndex::open(dir.path().join("index.json"));
        let first = index.content_at(&file, later()).unwrap();
        index.save().unwrap();
        let mut reopened = FileIndex::open(dir.path().join("index.json"));
        assert_eq!(reopened.content(&file).unwrap(), first);
        let forged = Digest::of(b"forged");
        reopened.entries.get_mut().unwrap().values_mut().for_each(|known| known.digest = forged);
        assert_eq!(reopened.content(&file).unwrap().digest, forged, "taken from memory");
    }

    #[test]
    fn a_changed_file_is_hashed_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, b"one").unwrap();
        let index = FileIndex::open(dir.path().join("index.json"));
        index.content_at(&file, later()).unwrap();
        index.save().unwrap();
        fs::write(&file, b"two").unwrap();
        assert_eq!(index.content(&file).unwrap().digest, Digest::of(b"two"));
    }

    #[test]
    fn a_file_written_just_now_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, b"one").unwrap();
        let index = FileIndex::open(dir.path().join("index.json"));
        index.content_at(&file, fs::metadata(&file).unwrap().modified().unwrap()).unwrap();
        assert!(locked(&index.touched).is_empty());
    }

    #[test]
    fn a_damaged_index_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.json");
        fs::write(&path, b"{ torn").unwrap();
        assert!(locked(&FileIndex::open(path).entries).is_empty());
    }
}
