//! The folder a project's runs work in, and the lock that lets only one run work there at a time.
//!
//! | path | what |
//! |---|---|
//! | `lock` | held while a run works |
//! | `index.json` | digests of files already hashed, by path and stamp |
//! | `cache/<key>/` | finished stages |
//! | `announced` | the run that works here, as the control plane was told, until it was told of the end |
//! | `runs/<run>.json` | what a run was pinned to when it began |
//! | `captured/<digest>.json` | samples from devices, as a run found them |
//! | `objects/<bucket>/` | a copy of the objects of `[data] source`, and what it was made from |
//! | `tasks/<stage key>/` | training commands under way, until the end of the run |
//! | `logs/<run>-train.log` | what a training command wrote; `<run>-<name>-train.log` for the shadow of that name |
//! | `logs/<run>-<label>.log` | what an external converter wrote |
//! | `bundles/<digest>/` | bundles made here |
//! | `incumbents/<digest>/` | bundles fetched to compare with |
//! | `history/<number>.json` | what each run did; see [`crate::history`] |
//! | `partial/` | whatever is being written; emptied at the start of a run |

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use edgeward_core::RunId;

/// A failed access to the work folder.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}", path.display())]
pub struct WorkError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl WorkError {
    /// Attaches what was tried, and where, to an I/O error.
    pub(crate) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { what, path, source }
    }
}

/// An open work folder; other runs wait until it is dropped.
#[derive(Debug)]
pub struct WorkDir {
    root: PathBuf,
    _lock: File,
}

impl WorkDir {
    /// Opens `root`, making it if needed. While another run holds it, `waiting` is called once and this blocks.
    ///
    /// # Errors
    /// The folder cannot be made, written or locked.
    pub fn open(root: &Path, waiting: impl FnOnce()) -> Result<Self, WorkError> {
        for name in
            ["cache", "runs", "captured", "objects", "tasks", "logs", "bundles", "incumbents", "history"]
        {
            let dir = root.join(name);
            fs::create_dir_all(&dir).map_err(WorkError::at("making the folder", &dir))?;
        }
        let path = root.join("lock");
        let lock = File::create(&path).map_err(WorkError::at("opening the lock", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting();
                lock.lock().map_err(WorkError::at("waiting for the lock", &path))?;
            }
            Err(TryLockError::Error(source)) => return Err(WorkError::at("locking", &path)(source)),
        }
        let work = Self { root: root.to_owned(), _lock: lock };
        work.clear_partial()?;
        Ok(work)
    }

    /// Removes what an interrupted run left half written.
    fn clear_partial(&self) -> Result<(), WorkError> {
        let dir = self.partial();
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(WorkError::at("clearing", &dir))?;
        }
        fs::create_dir_all(&dir).map_err(WorkError::at("making the folder", &dir))
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where things are written before they are renamed into place.
    #[must_use]
    pub fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// Finished stages.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Copies of buckets' objects.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Training commands under way.
    #[must_use]
    pub fn tasks(&self) -> PathBuf {
        self.root.join("tasks")
    }

    /// Bundles made here.
    #[must_use]
    pub fn bundles(&self) -> PathBuf {
        self.root.join("bundles")
    }

    /// Bundles fetched to compare with.
    #[must_use]
    pub fn incumbents(&self) -> PathBuf {
        self.root.join("incumbents")
    }

    /// The log of the training command of `run`, or of one candidate of it.
    #[must_use]
    pub fn train_log(&self, run: &RunId, candidate: Option<&str>) -> PathBuf {
        let of = candidate.map_or_else(String::new, |name| format!("{name}-"));
        self.root.join("logs").join(format!("{run}-{of}train.log"))
    }

    /// The log of what the external converter of the form `label` wrote in `run`.
    #[must_use]
    pub fn tool_log(&self, run: &RunId, label: &str) -> PathBuf {
        self.root.join("logs").join(format!("{run}-{label}.log"))
    }

    /// What `run` was pinned to.
    #[must_use]
    pub fn run_pin(&self, run: &RunId) -> PathBuf {
        self.root.join("runs").join(format!("{run}.json"))
    }

    /// The run that the control plane was told of and not yet of its end.
    #[must_use]
    pub fn announced(&self) -> PathBuf {
        self.root.join("announced")
    }

    /// What runs did.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    /// Digests of files already hashed.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }
}

/// Writes `bytes` to `path` so that a crash leaves the old content or the new, never a part.
///
/// # Errors
/// The file cannot be written or renamed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WorkError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let partial = PathBuf::from(name);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(WorkError::at("writing", path))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_second_run_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = WorkDir::open(dir.path(), || panic!("nobody else works here")).unwrap();
        let released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::channel();
            let (released, root) = (&released, dir.path());
            scope.spawn(move || {
                WorkDir::open(root, || send.send(()).unwrap()).unwrap();
                assert!(released.load(Ordering::SeqCst));
            });
            receive.recv().unwrap();
            released.store(true, Ordering::SeqCst);
            drop(first);
        });
    }

    #[test]
    fn leftovers_of_a_crash_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::open(dir.path(), || {}).unwrap();
        fs::write(work.partial().join("half"), b"x").unwrap();
        drop(work);
        let work = WorkDir::open(dir.path(), || {}).unwrap();
        assert_eq!(fs::read_dir(work.partial()).unwrap().count(), 0);
    }
}
