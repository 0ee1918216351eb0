//! Which files were opened while a command ran: whether a training command read the data itself, in which the rows that it
//! is to be judged by lie.
//!
//! The kernel tells (inotify, Linux only): by whatever path a command comes to a file's folder, it is seen. Any process
//! counts, so a person who opens a data file in that moment is seen, too. Deliberately missing: files that were renamed
//! or linked elsewhere before.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Files that are watched.
#[cfg(target_os = "linux")]
pub struct OpenedFiles {
    notices: rustix::fd::OwnedFd,
    folders: std::collections::BTreeMap<i32, PathBuf>,
    files: BTreeSet<PathBuf>,
}

#[cfg(target_os = "linux")]
impl OpenedFiles {
    /// Begins to watch `files`.
    ///
    /// # Errors
    /// A folder is gone, or the kernel watches no more of them for this user.
    pub fn watch(files: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let files: BTreeSet<PathBuf> =
            files.into_iter().map(std::fs::canonicalize).collect::<Result<_, _>>()?;
        let notices = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let wanted: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
        let mut folders = std::collections::BTreeMap::new();
        for folder in wanted {
            folders.insert(add_watch(&notices, folder, WatchFlags::OPEN)?, folder.to_owned());
        }
        Ok(Self { notices, folders, files })
    }

    /// Those that were opened since.
    ///
    /// # Errors
    /// So much was opened that the kernel lost count, or it gives no answer.
    pub fn opened(self) -> io::Result<BTreeSet<PathBuf>> {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;

        use rustix::fs::inotify::{ReadFlags, Reader};
        let mut room = [std::mem::MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(&self.notices, &mut room);
        let mut opened = BTreeSet::new();
        loop {
            let notice = match reader.next() {
                Ok(notice) => notice,
                Err(rustix::io::Errno::AGAIN) => return Ok(opened),
                Err(error) => return Err(error.into()),
            };
            if notice.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return Err(io::Error::other("more files were opened than the kernel kept account of"));
            }
            let folder = self.folders.get(&notice.wd());
            let name = notice.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let file = folder.zip(name).map(|(folder, name)| folder.join(name));
            opened.extend(file.filter(|file| self.files.contains(file)));
        }
    }
}

/// Nothing is watched here.
#[cfg(not(target_os = "linux"))]
pub struct OpenedFiles;

#[cfg(not(target_os = "linux"))]
impl OpenedFiles {
    /// Refuses.
    ///
    /// # Errors
    /// Always: this system does not tell which files are opened.
    pub fn watch(_: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not tell which files are opened"))
    }

    /// Nothing.
    ///
    /// # Errors
    /// None.
    pub fn opened(self) -> io::Result<BTreeSet<PathBuf>> {
        Ok(BTreeSet::new())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_is_told_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, "x").unwrap();
            path
        };
        let (read, listed, other) = (file("read.csv"), file("listed.csv"), file("other.txt"));
        let watch = OpenedFiles::watch([read.clone(), listed.clone()]).unwrap();
        std::fs::read(&read).unwrap();
        std::fs::read(&other).unwrap();
        std::fs::metadata(&listed).unwrap();
        assert_eq!(watch.opened().unwrap(), BTreeSet::from([std::fs::canonicalize(&read).unwrap()]));
    }
}
