//! The repository's files where several servers share a database: the database has them all, and each server's folder is a
//! copy, for its own devices and for any web server beside it.
//!
//! A publication is one transaction: its files and the timestamp that leads to them. It is made only on top of the
//! timestamp that its server has seen, so two servers never publish past each other; whoever comes second looks again.
//! Every other file never changes once it is there.

use std::sync::{Arc, Mutex};

use edgeward_store::{Folder, Store, StoreError, Writer};
use edgeward_trust::fleet::File;

use crate::app::lock;
use crate::replicas::News;
use crate::repository::{FILE_BYTES_MAX, FIRST_ROOT, RepositoryError};

/// Where the repository's files are among those that the database keeps.
const FOLDER: &str = "repository/";
/// The one file that changes.
const TIMESTAMP: &str = "metadata/timestamp.json";

/// The database's side.
pub(crate) struct Mirror {
    store: Arc<Store>,
    origin: String,
    /// The latest write that was copied into the folder.
    seen: Mutex<u64>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Mirror {
    /// The files in `store`; `origin` names this server in what it announces.
    pub(crate) fn new(store: Arc<Store>, origin: String) -> Self {
        Self { store, origin, seen: Mutex::default() }
    }

    /// Copies what others wrote into `folder`, in the order in which they wrote it. True if there was anything.
    pub(crate) fn pull(&self, folder: &Folder) -> Result<bool, RepositoryError> {
        let mut seen = lock(&self.seen);
        let mut is_new = false;
        loop {
            let after = *seen;
            let page = self.store.read::<_, StoreError>(|view| view.kept_files_after(after))?;
            let Some(last) = page.last() else { return Ok(is_new) };
            for file in &page {
                let Some(path) = file.path.strip_prefix(FOLDER) else { continue };
                if folder.read(path, FILE_BYTES_MAX)?.as_ref() != Some(&file.bytes) {
                    folder.write(path, &file.bytes)?;
                    is_new = true;
                }
            }
            *seen = last.change;
        }
    }

    /// Gives `files` to every server, if `base` is still the newest timestamp.
    pub(crate) fn push(&self, files: &[File], base: Option<&[u8]>) -> Result<(), RepositoryError> {
        self.store.write(|writer| {
            if writer.kept_file(&format!("{FOLDER}{TIMESTAMP}"))?.as_deref() != base {
                return Err(RepositoryError::Behind);
            }
            files.iter().try_for_each(|file| put(writer, file))?;
            Ok(writer.announce(&News::Changed.said_by(&self.origin))?)
        })
    }

    /// Before the first start reads the folder: what the database has is copied there. A folder with another fleet's
    /// repository is refused.
    pub(crate) fn arrive(&self, folder: &Folder) -> Result<(), RepositoryError> {
        let root = format!("{FOLDER}{FIRST_ROOT}");
        let theirs = self.store.read::<_, StoreError>(|view| view.kept_file(&root))?;
        let Some(theirs) = theirs else { return Ok(()) };
        match folder.read(FIRST_ROOT, FILE_BYTES_MAX)? {
            Some(ours) if ours != theirs => {
                Err(RepositoryError::Foreign { folder: folder.path().display().to_string() })
            }
            _ => self.pull(folder).map(|_| ()),
        }
    }

    /// After the first start has made or found a repository: a database that has none gets it.
    pub(crate) fn introduce(&self, folder: &Folder) -> Result<(), RepositoryError> {
        let root = format!("{FOLDER}{FIRST_ROOT}");
        if self.store.read::<_, StoreError>(|view| view.kept_file(&root))?.is_some() {
            return self.arrive(folder);
        }
        match self.push(&files(folder, |_| true)?, None) {
            Err(RepositoryError::Behind) => self.arrive(folder),
            other => other,
        }
    }

    /// Gives what a person put into `folder` to every server.
    pub(crate) fn offer(&self, folder: &Folder) -> Result<(), RepositoryError> {
        let known = self.store.read::<_, StoreError>(|view| view.kept_paths(FOLDER))?;
        let is_new =
            |path: &str| path != TIMESTAMP && known.binary_search(&format!("{FOLDER}{path}")).is_err();
        let files = files(folder, is_new)?;
        if files.is_empty() {
            return Ok(());
        }
        self.store.write(|writer| {
            files.iter().try_for_each(|file| put(writer, file))?;
            Ok(writer.announce(&News::Changed.said_by(&self.origin))?)
        })
    }
}

/// The repository's files in `folder` that are `wanted`, the timestamp last, for it leads to all others.
fn files(folder: &Folder, wanted: impl Fn(&str) -> bool) -> Result<Vec<File>, RepositoryError> {
    let mut paths = folder.files()?;
    paths.retain(|path| (path.starts_with("metadata/") || path.starts_with("targets/")) && wanted(path));
    paths.sort_by_key(|path| path == TIMESTAMP);
    let mut files = Vec::new();
    for path in paths {
        files.extend(folder.read(&path, FILE_BYTES_MAX)?.map(|bytes| File { path, bytes }));
    }
    Ok(files)
}

fn put(writer: &Writer<'_>, File { path, bytes }: &File) -> Result<(), RepositoryError> {
    let kept = format!("{FOLDER}{path}");
    if path != TIMESTAMP {
        match writer.kept_file(&kept)? {
            Some(there) if there == *bytes => return Ok(()),
            Some(_) => return Err(RepositoryError::Behind),
            None => {}
        }
    }
    Ok(writer.put_kept_file(&kept, bytes)?)
}
