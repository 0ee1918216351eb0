//! Files that survive a power cut: what was acknowledged is on the disk, and never half of it.
//!
//! [`replace`] is for files that may be written anew as a whole (write beside, fsync, rename, fsync the folder).
//! [`TwoCopies`] is for the state that decides what a device runs: two checksummed copies written in turn, so that one
//! whole copy exists at every instant even where rename is not atomic. The newest whole copy wins.
//!
//! Deliberately missing: locking; each file has one writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeward_core::Digest;

use crate::disk::{Disk, OsDisk, is_full};

const MAGIC: &[u8; 8] = b"EWSTATE1";
const HEADER_LEN: usize = MAGIC.len() + 8 + 8 + 32;

/// Largest state that is read back.
pub const STATE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a file that are held in memory while it is hashed or copied.
pub(crate) const COPY_BUFFER_BYTES: usize = 64 << 10;

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// A file could not be written.
    #[error("writing {}; check that the disk is not full and the folder is writable", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Copies exist, and none of them is whole.
    #[error(
        "both copies of {} are damaged; restore the folder from a backup, or remove the whole data folder and enrol again",
        path.display()
    )]
    Damaged {
        /// The file, without `.0` or `.1`.
        path: PathBuf,
    },
}

impl DurableError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. } if is_full(source))
    }
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever the system lets.
    Default,
    /// Its owner only: it holds a secret.
    OwnerOnly,
}

/// Makes names in `folder` (new, renamed or removed files) durable.
///
/// # Errors
/// The folder cannot be opened or synchronised.
pub fn sync_folder(folder: &Path) -> Result<(), DurableError> {
    OsDisk.sync_folder(folder).map_err(writing(folder))
}

fn writing(path: &Path) -> impl Fn(io::Error) -> DurableError {
    move |source| DurableError::Write { path: path.to_owned(), source }
}

/// Replaces the file at `path` as a whole, durably.
///
/// # Errors
/// Any step fails; the old content is then still there.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), DurableError> {
    replace_on(&OsDisk, path, bytes, access)
}

/// [`replace`] on any disk.
///
/// # Errors
/// As [`replace`].
pub fn replace_on(disk: &dyn Disk, path: &Path, bytes: &[u8], access: Access) -> Result<(), DurableError> {
    let beside = path.with_extension("new");
    let write = || {
        // Whoever made it last may have given it other rights.
        disk.remove_file(&beside)?;
        disk.write(&beside, bytes, access)?;
        disk.sync_file(&beside)?;
        disk.rename(&beside, path)
    };
    write().map_err(writing(path))?;
    path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder).map_err(writing(folder)))
}

/// Puts a finished file, whose content is durable, to its place, durably.
///
/// # Errors
/// The disk refuses.
pub fn settle(disk: &dyn Disk, part: &Path, target: &Path) -> Result<(), DurableError> {
    let folder = target.parent().unwrap_or(target);
    create_folder_on(disk, folder)?;
    disk.rename(part, target).map_err(writing(target))?;
    disk.sync_folder(folder).map_err(writing(folder))
}

/// Makes `folder` and what is above it, each with a durable name: one that is not durable takes all below it along.
///
/// # Errors
/// The disk refuses.
pub fn create_folder_on(disk: &dyn Disk, folder: &Path) -> Result<(), DurableError> {
    if folder.as_os_str().is_empty() || disk.is_folder(folder) {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    create_folder_on(disk, parent)?;
    match disk.create_folder(folder) {
        // Another thread was faster.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(writing(folder)(error)),
        _ => {}
    }
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    disk.sync_folder(parent).map_err(writing(parent))
}

/// Passes what a reader gives to `take`, piece by piece; the number of bytes.
pub(crate) fn for_each_piece(
    reader: &mut (impl io::Read + ?Sized),
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut read = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        if count == 0 {
            return Ok(read);
        }
        read += count as u64;
        take(&buffer[..count])?;
    }
}

/// The content of a file, or none if there is no such file.
///
/// # Errors
/// It exists and cannot be read, or is larger than `bytes_max`.
pub fn read_if_present(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DurableError> {
    read_on(&OsDisk, path, bytes_max)
}

/// [`read_if_present`] on any disk.
///
/// # Errors
/// As [`read_if_present`].
pub fn read_on(disk: &dyn Disk, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DurableError> {
    disk.read(path, bytes_max).map_err(|source| DurableError::Read { path: path.to_owned(), source })
}

/// A value in two checksummed copies, `<path>.0` and `<path>.1`.
#[derive(Debug)]
pub struct TwoCopies {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    seq: u64,
}

impl TwoCopies {
    /// Finds the newest whole copy; none if nothing was ever written.
    ///
    /// # Errors
    /// A copy cannot be read, or copies exist and none is whole.
    pub fn open(path: &Path) -> Result<(Self, Option<Vec<u8>>), DurableError> {
        Self::open_on(Arc::new(OsDisk), path)
    }

    /// [`TwoCopies::open`] on any disk.
    ///
    /// # Errors
    /// As [`TwoCopies::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<(Self, Option<Vec<u8>>), DurableError> {
        let mut found = Vec::new();
        for index in 0..2 {
            found.extend(read_on(&*disk, &copy_path(path, index), STATE_BYTES_MAX)?);
        }
        let exists = !found.is_empty();
        let newest = found.iter().filter_map(|bytes| decode(bytes)).max_by_key(|(seq, _)| *seq);
        let path = path.to_owned();
        match newest {
            Some((seq, value)) => Ok((Self { disk, path, seq }, Some(value.to_vec()))),
            None if exists => Err(DurableError::Damaged { path }),
            None => Ok((Self { disk, path, seq: 0 }, None)),
        }
    }

    /// Begins anew, whatever is there: for whoever knows that nothing in it was ever acknowledged.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn begin(path: &Path) -> Result<Self, DurableError> {
        Self::begin_on(Arc::new(OsDisk), path)
    }

    /// [`TwoCopies::begin`] on any disk.
    ///
    /// # Errors
    /// As [`TwoCopies::begin`].
    pub fn begin_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, DurableError> {
        for index in 0..2 {
            let copy = copy_path(path, index);
            disk.remove_file(&copy).map_err(writing(&copy))?;
        }
        Ok(Self { disk, path: path.to_owned(), seq: 0 })
    }

    /// Writes `value` over the older copy, durably.
    ///
    /// # Errors
    /// Any step fails; the newer copy is then still whole.
    pub fn write(&mut self, value: &[u8]) -> Result<(), DurableError> {
        let seq = self.seq + 1;
        let path = copy_path(&self.path, seq % 2);
        let write = || {
            self.disk.write(&path, &encode(seq, value), Access::Default)?;
            self.disk.sync_file(&path)
        };
        write().map_err(writing(&path))?;
        if let Some(folder) = self.path.parent() {
            self.disk.sync_folder(folder).map_err(writing(folder))?;
        }
        self.seq = seq;
        Ok(())
    }
}

fn copy_path(path: &Path, index: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{index}"));
    PathBuf::from(name)
}

/// Magic, sequence number, length, SHA-256 of both and the value, value.
fn encode(seq: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + value.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(checksum(seq, value).as_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let (sum, value) = rest.split_first_chunk::<32>()?;
    let seq = u64::from_le_bytes(*seq);
    let whole = u64::from_le_bytes(*len) == value.len() as u64 && checksum(seq, value).as_bytes() == sum;
    whole.then_some((seq, value))
}

fn checksum(seq: u64, value: &[u8]) -> Digest {
    Digest::of_parts([seq.to_le_bytes().as_slice(), value])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn reopened(path: &Path) -> Option<Vec<u8>> {
        TwoCopies::open(path).unwrap().1
    }

    #[test]
    fn the_last_write_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut copies, nothing) = TwoCopies::open(&path).unwrap();
        assert_eq!(nothing, None);
        for n in 0..5_u8 {
            copies.write(&[n; 9]).unwrap();
            assert_eq!(reopened(&path), Some(vec![n; 9]));
        }
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_copy_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (mut copies, _) = TwoCopies::open(&path).unwrap();
        copies.write(b"first").unwrap();
        copies.write(b"second").unwrap();
        let newest = copy_path(&path, 0);
        let whole = fs::read(&newest).unwrap();
        for cut in 0..whole.len() {
            fs::write(&newest, &whole[..cut]).unwrap();
            assert_eq!(reopened(&path), Some(b"first".to_vec()), "cut at {cut}");
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            fs::write(&newest, &flipped).unwrap();
            assert_eq!(reopened(&path), Some(b"first".to_vec()), "flip at {cut}");
        }
    }

    #[test]
    fn damage_is_never_taken_for_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(copy_path(&path, 1), b"garbage").unwrap();
        assert!(matches!(TwoCopies::open(&path), Err(DurableError::Damaged { .. })));
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        replace(&path, b"1", Access::Default).unwrap();
        replace(&path, b"secret", Access::OwnerOnly).unwrap();
        assert_eq!(read_if_present(&path, 6).unwrap(), Some(b"secret".to_vec()));
        assert!(read_if_present(&path, 5).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
