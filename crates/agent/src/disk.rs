//! The few things the update logic asks of a file system, so that the same code runs on one that loses power.
//!
//! Contract, as POSIX gives it: nothing is on the disk before it is synchronised. A file's content is after
//! [`Disk::sync_file`]; names (new, renamed, removed) are after [`Disk::sync_folder`] of the folder they stand in; until then
//! any of them may be lost, and a file may hold any part of what was written.
//!
//! A disk that is full refuses with [`is_full`] errors; what was refused has changed nothing but, at most, the file that was
//! being written.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use edgeward_model::delta::Seekable;

use crate::durable::Access;

/// A file system.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The content of a file; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or is longer than `bytes_max`.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>>;

    /// Bytes that a file holds; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn len(&self, path: &Path) -> io::Result<Option<u64>>;

    /// A file, to be read from any place; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read.
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable + Send>>>;

    /// A file, made if it is not there, to be written on from its end, or from `keep` bytes on if it is longer. Each write
    /// is one write of the system.
    ///
    /// # Errors
    /// The disk refuses.
    fn append(&self, path: &Path, keep: u64) -> io::Result<Box<dyn io::Write + Send>>;

    /// Names of the files and folders in a folder, in any order, without links; none if there is no such folder.
    ///
    /// # Errors
    /// It cannot be read.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Bytes that may still be written below a folder; none if the system does not tell.
    fn free_bytes(&self, folder: &Path) -> Option<u64>;

    /// Writes a file from its beginning, in place of what it held.
    ///
    /// # Errors
    /// The disk refuses.
    fn write(&self, path: &Path, bytes: &[u8], access: Access) -> io::Result<()>;

    /// Makes a file's content durable.
    ///
    /// # Errors
    /// The disk refuses.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    ///
    /// # Errors
    /// The disk refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// The disk refuses.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with all in it, if it is there.
    ///
    /// # Errors
    /// The disk refuses.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes one folder; its parent is there.
    ///
    /// # Errors
    /// The disk refuses, or it is there already.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Whether there is such a folder.
    fn is_folder(&self, path: &Path) -> bool;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The disk refuses.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// Whether the disk, or the share of it that this user may take, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("over {bytes_max} bytes")));
        }
        Ok(Some(bytes))
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable + Send>>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn append(&self, path: &Path, keep: u64) -> io::Result<Box<dyn io::Write + Send>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() > keep {
            file.set_len(keep)?;
        }
        file.seek(io::SeekFrom::End(0))?;
        Ok(Box::new(file))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            entries => entries?,
        };
        let name = |entry: fs::DirEntry| -> io::Result<Option<String>> {
            let name = entry.file_name().into_string().ok();
            Ok(name.filter(|_| entry.file_type().is_ok_and(|kind| !kind.is_symlink())))
        };
        entries.filter_map(|entry| entry.and_then(name).transpose()).collect()
    }

    #[cfg(unix)]
    fn free_bytes(&self, folder: &Path) -> Option<u64> {
        let told = rustix::fs::statvfs(folder).ok()?;
        Some(told.f_bavail.saturating_mul(told.f_frsize))
    }

    #[cfg(not(unix))]
    fn free_bytes(&self, _folder: &Path) -> Option<u64> {
        None
    }

    fn write(&self, path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
        create(path, access)?.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        unless_missing(fs::remove_file(path))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        unless_missing(fs::remove_dir_all(path))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

fn unless_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(unix)]
fn create(path: &Path, access: Access) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if access == Access::Default {
        return File::create(path);
    }
    // Rights are given to a new file only.
    unless_missing(fs::remove_file(path))?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _access: Access) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}
