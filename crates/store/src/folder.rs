//! A folder of plain files, such as a repository that any web server can serve: each file appears as a whole or not at
//! all, and files appear in the order in which they are written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

/// A folder of plain files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}; check the disk and who may write there", path.display())]
pub struct FolderError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Folder {
    /// The folder at `path`; it is made when the first file is written.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file at `path` below the folder; none if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is larger than `bytes_max`.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, FolderError> {
        let Some(full) = self.place(path) else { return Ok(None) };
        read(&full, bytes_max).map_err(|source| FolderError { doing: "reading", path: full, source })
    }

    /// The paths of all files, in order; none if there is no folder.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn files(&self) -> Result<Vec<String>, FolderError> {
        let mut paths = Vec::new();
        collect(&self.0, "", &mut paths)?;
        paths.sort();
        Ok(paths)
    }

    /// Whether there is a file at `path`.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.place(path).is_some_and(|full| full.is_file())
    }

    /// Writes the file at `path`, over the one that is there.
    ///
    /// # Errors
    /// The disk refuses, or the path leads out of the folder.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let full = self.place(path).unwrap_or_else(|| self.0.clone());
        let written = match full == self.0 {
            true => Err(ErrorKind::InvalidFilename.into()),
            false => write(&full, bytes),
        };
        written.map_err(|source| FolderError { doing: "writing", path: full, source })
    }

    /// Removes the file at `path`, if there is one.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, path: &str) -> Result<(), FolderError> {
        let Some(full) = self.place(path) else { return Ok(()) };
        match fs::remove_file(&full) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(FolderError { doing: "removing", path: full, source })
            }
            _ => Ok(()),
        }
    }

    /// Where a path leads, if it stays below the folder.
    fn place(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path);
        let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
        (stays && path.file_name().is_some()).then(|| self.0.join(path))
    }
}

/// Names that are no text are none of ours.
fn collect(folder: &Path, below: &str, paths: &mut Vec<String>) -> Result<(), FolderError> {
    let failed = |source| FolderError { doing: "listing", path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{below}{name}");
        match entry.file_type().map_err(failed)?.is_dir() {
            true => collect(&entry.path(), &format!("{path}/"), paths)?,
            false => paths.push(path),
        }
    }
    Ok(())
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(Some(bytes)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_back_and_stay_below_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let folder = Folder::new(outside.path().join("repository"));
        assert_eq!(folder.read("metadata/1.root.json", 10).unwrap(), None);
        folder.write("metadata/1.root.json", b"root").unwrap();
        assert!(folder.contains("metadata/1.root.json") && !folder.contains("metadata"));
        assert_eq!(folder.read("metadata/1.root.json", 4).unwrap().unwrap(), b"root");
        assert!(folder.read("metadata/1.root.json", 3).is_err());
        assert_eq!(folder.read("metadata", 10).unwrap(), None);
        folder.write("drafts/root.json", b"draft").unwrap();
        assert_eq!(folder.files().unwrap(), ["drafts/root.json", "metadata/1.root.json"]);
        assert!(Folder::new(outside.path().join("nowhere")).files().unwrap().is_empty());
        folder.remove("drafts/root.json").unwrap();
        folder.remove("drafts/root.json").unwrap();
        assert!(!folder.contains("drafts/root.json"));
        fs::write(outside.path().join("secret"), b"secret").unwrap();
        for path in ["../secret", "metadata/../../secret", "/etc/hosts", "", "."] {
            assert_eq!(folder.read(path, 1000).unwrap(), None, "{path}");
            assert!(folder.write(path, b"x").is_err(), "{path}");
        }
    }
}
