//! Digests of files, hashed only when a file's stamp (size, times, inode) is new.
//!
//! A stamp is trusted only if the file had rested for a moment when it was hashed: two writes within one tick of the
//! file system's clock would otherwise look alike. The index is a memory aid; losing it costs time, never truth.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
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
/// Fewest files for which another thread is worth its start.
const FILES_PER_THREAD_MIN: usize = 500;
/// Most threads that look at files.
const THREADS_MAX: usize = 8;

/// The size and digest of a file's content.
pub type Content = edgeward_core::manifest::FileEntry;

type Entries = HashMap<PathBuf, Indexed>;

/// Remembers digests of files; several threads may ask.
#[derive(Debug)]
pub struct FileIndex {
    path: PathBuf,
    /// What earlier runs knew.
    known: HashMap<PathBuf, Known>,
    /// What this run found out.
    fresh: Mutex<Entries>,
}

/// What is known of a file, and whether this run asked for it.
#[derive(Debug, Deserialize)]
#[serde(from = "Indexed")]
struct Known {
    indexed: Indexed,
    asked: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64, u64, Digest)", into = "(u64, u64, u64, u64, Digest)")]
struct Indexed {
    stamp: Stamp,
    digest: Digest,
}

impl From<(u64, u64, u64, u64, Digest)> for Indexed {
    fn from((size_bytes, modified_ns, changed_ns, inode, digest): (u64, u64, u64, u64, Digest)) -> Self {
        Self { stamp: Stamp { size_bytes, modified_ns, changed_ns, inode }, digest }
    }
}

impl From<Indexed> for (u64, u64, u64, u64, Digest) {
    fn from(Indexed { stamp, digest }: Indexed) -> Self {
        (stamp.size_bytes, stamp.modified_ns, stamp.changed_ns, stamp.inode, digest)
    }
}

impl From<Indexed> for Known {
    fn from(indexed: Indexed) -> Self {
        Self { indexed, asked: AtomicBool::new(false) }
    }
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let known = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, known: known.unwrap_or_default(), fresh: Mutex::default() }
    }

    /// The size and digest of `file`, from memory if its stamp is known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn content(&self, file: &Path) -> Result<Content, WorkError> {
        self.content_at(file, SystemTime::now()).map_err(WorkError::at("reading", file))
    }

    /// As [`FileIndex::content`], for many files, in their order; several threads look at them.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn contents(&self, files: &[PathBuf]) -> Result<Vec<Content>, WorkError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (files.len() / FILES_PER_THREAD_MIN).clamp(1, processors.min(THREADS_MAX));
        let part = files.len().div_ceil(threads).max(1);
        let look = |files: &[PathBuf]| files.iter().map(|file| self.content(file)).collect();
        thread::scope(|scope| {
            let parts: Vec<_> =
                files.chunks(part).skip(1).map(|files| scope.spawn(move || look(files))).collect();
            let mut contents: Vec<Content> = look(&files[..part.min(files.len())])?;
            for others in parts {
                let found: Result<Vec<Content>, WorkError> =
                    others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                contents.extend(found?);
            }
            Ok(contents)
        })
    }

    /// The contents of `files` by their paths below `dir`.
    ///
    /// # Errors
    /// As [`FileIndex::contents`].
    pub fn named(&self, dir: &Path, files: &[PathBuf]) -> Result<BTreeMap<String, Content>, WorkError> {
        let name = |file: &PathBuf| file.strip_prefix(dir).unwrap_or(file).display().to_string();
        Ok(files.iter().map(name).zip(self.contents(files)?).collect())
    }

    /// As [`FileIndex::named`], the digests only.
    ///
    /// # Errors
    /// As [`FileIndex::contents`].
    pub fn digests(&self, dir: &Path, files: &[PathBuf]) -> Result<BTreeMap<String, Digest>, WorkError> {
        Ok(self.named(dir, files)?.into_iter().map(|(name, content)| (name, content.digest)).collect())
    }

    fn content_at(&self, file: &Path, now: SystemTime) -> io::Result<Content> {
        let stamp = Stamp::of(&fs::metadata(file)?);
        let content = |digest| Content { size_bytes: stamp.size_bytes, digest };
        if let Some(known) = self.known.get(file).filter(|known| known.indexed.stamp == stamp) {
            known.asked.store(true, Ordering::Relaxed);
            return Ok(content(known.indexed.digest));
        }
        let before = locked(&self.fresh).get(file).filter(|before| before.stamp == stamp).copied();
        if let Some(before) = before {
            return Ok(content(before.digest));
        }
        let digest = digest_file(file)?;
        if stamp.rested(now) {
            locked(&self.fresh).insert(file.to_owned(), Indexed { stamp, digest });
        }
        Ok(content(digest))
    }

    /// Writes the index back, if this run found anything out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<(), WorkError> {
        let fresh = locked(&self.fresh);
        if fresh.is_empty() {
            return Ok(());
        }
        let is_full = self.known.len() + fresh.len() > INDEX_ENTRIES_MAX;
        let stays = |known: &Known| !is_full || known.asked.load(Ordering::Relaxed);
        let known = self.known.iter().filter(|(_, known)| stays(known));
        let mut entries: BTreeMap<&Path, &Indexed> =
            known.map(|(path, known)| (path.as_path(), &known.indexed)).collect();
        entries.extend(fresh.iter().map(|(path, indexed)| (path.as_path(), indexed)));
        let bytes = serde_json::to_vec(&entries)
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
        reopened.known.values_mut().for_each(|known| known.indexed.digest = forged);
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
        assert!(locked(&index.fresh).is_empty());
    }

    #[test]
    fn many_files_come_in_their_order_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut files: Vec<PathBuf> = (0..3000).map(|at| dir.path().join(at.to_string())).collect();
        for (at, file) in files.iter().enumerate() {
            fs::write(file, at.to_string()).unwrap();
        }
        let index = FileIndex::open(dir.path().join("index.json"));
        let found = index.contents(&files).unwrap();
        let expected = |at: usize| Digest::of(at.to_string().as_bytes());
        assert!(found.iter().enumerate().all(|(at, content)| content.digest == expected(at)));
        assert_eq!((found.len(), index.contents(&[]).unwrap().len()), (3000, 0));
        files[2999] = dir.path().join("missing");
        assert!(index.contents(&files).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn a_full_index_forgets_what_is_not_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let stamp = Stamp { size_bytes: 1, modified_ns: 1, changed_ns: 1, inode: 1 };
        let indexed = Indexed { stamp, digest: Digest::of(b"x") };
        let known = (0..INDEX_ENTRIES_MAX).map(|at| (old.join(at.to_string()), Known::from(indexed)));
        let index = FileIndex {
            path: dir.path().join("index.json"),
            known: known.collect(),
            fresh: Mutex::default(),
        };
        index.known[&old.join("7")].asked.store(true, Ordering::Relaxed);
        fs::write(&new, b"one").unwrap();
        index.content_at(&new, later()).unwrap();
        index.save().unwrap();
        let known = FileIndex::open(dir.path().join("index.json")).known;
        assert_eq!(
            (known.len(), known.contains_key(&old.join("7")), known.contains_key(&new)),
            (2, true, true)
        );
    }

    #[test]
    fn a_damaged_index_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.json");
        fs::write(&path, b"{ torn").unwrap();
        assert!(FileIndex::open(path).known.is_empty());
    }
}
