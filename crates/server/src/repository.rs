//! The repository that devices follow: plain files in the data folder, any web server's to serve, and the online keys
//! that sign the newest of them.
//!
//! What the files say is the state; the latest documents are kept in memory besides. A change is made on a copy, written
//! file by file with the timestamp last, and only then taken over, so a crash or a full disk anywhere leaves what the
//! last timestamp leads to. Offline documents (root, targets, releases) that a person puts into the folder are found by
//! [`Repository::keep_fresh`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use edgeward_core::{Desired, Digest, ModelName, Timestamp};
use edgeward_store::{Folder, FolderError};
use edgeward_trust::SigningKey;
use edgeward_trust::fleet::{
    File, Lives, LoadError, OnlineSigners, PublishError, RELEASES, Shelf, release_path, target_file,
};

/// Largest file of a repository, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 8 << 20;

/// What signs the online documents.
#[derive(Debug)]
pub(crate) struct OnlineKeys {
    pub(crate) rollouts: SigningKey,
    pub(crate) snapshot: SigningKey,
    pub(crate) timestamp: SigningKey,
}

/// The repository.
#[derive(Debug)]
pub(crate) struct Repository {
    folder: Folder,
    keys: OnlineKeys,
    lives: Lives,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    shelf: Shelf,
    desired: Option<Desired>,
}

/// Why the repository cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] FolderError),
    /// Its files do not belong together.
    #[error("the repository in {folder} is damaged")]
    Load {
        /// Where.
        folder: String,
        /// How.
        #[source]
        source: LoadError<FolderError>,
    },
    /// What was to be published is not what devices would believe.
    #[error("signing the repository")]
    Publish(#[from] PublishError),
    /// The published desired state cannot be read.
    #[error("reading the published desired state")]
    Desired(#[source] serde_json::Error),
}

impl Repository {
    /// Reads the repository in `folder`.
    pub(crate) fn open(folder: Folder, keys: OnlineKeys) -> Result<Self, RepositoryError> {
        let state = read(&folder)?;
        Ok(Self { folder, keys, lives: Lives::default(), state: Mutex::new(state) })
    }

    /// The newest root, as it is signed.
    #[cfg(test)]
    pub(crate) fn root_bytes(&self) -> Vec<u8> {
        self.state().shelf.root().bytes().to_vec()
    }

    /// The signed releases, for whoever adds to them.
    pub(crate) fn releases(&self) -> Vec<u8> {
        self.state().shelf.releases().bytes().to_vec()
    }

    /// Whether `bundle` may run as `model`.
    pub(crate) fn is_released(&self, model: &ModelName, bundle: &Digest) -> bool {
        self.state().shelf.is_released(model, bundle)
    }

    /// What the fleet was last told.
    pub(crate) fn desired(&self) -> Option<Desired> {
        self.state().desired.clone()
    }

    /// Whether what the fleet was last told must be said again, lest it expires.
    pub(crate) fn is_desired_due(&self, now: Timestamp) -> bool {
        self.state().shelf.is_desired_due(&self.lives, now)
    }

    /// A file, as any web server would give it.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        Ok(self.folder.read(path, FILE_BYTES_MAX)?)
    }

    /// Tells the fleet what to run.
    pub(crate) fn publish(&self, desired: &Desired, now: Timestamp) -> Result<(), RepositoryError> {
        let mut state = self.state();
        let mut shelf = state.shelf.clone();
        let files = shelf.publish(desired, self.signers(), &self.lives, now)?;
        self.write(&files)?;
        *state = State { shelf, desired: Some(desired.clone()) };
        Ok(())
    }

    /// Takes releases that were signed offline, with the manifest of the one that is new, and lists them.
    pub(crate) fn accept_releases(
        &self,
        releases: &[u8],
        (model, manifest): (&ModelName, &[u8]),
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        let mut state = self.state();
        let mut shelf = state.shelf.clone();
        let mut files = Vec::new();
        let list = shelf.accept_releases(releases)?;
        let path = release_path(model, &Digest::of(manifest));
        if let Some(target) = shelf.releases().body().targets.get(&path) {
            files.push(File { path: target_file(&path, target), bytes: manifest.to_vec() });
        }
        files.push(list);
        if shelf.is_refresh_due(&self.lives, now) {
            files.extend(shelf.refresh(self.signers(), &self.lives, now)?);
        }
        self.write(&files)?;
        state.shelf = shelf;
        Ok(())
    }

    /// Takes up offline documents that were put into the folder, and signs snapshot and timestamp anew when they are due.
    /// True if there is anything new for devices.
    pub(crate) fn keep_fresh(&self, now: Timestamp) -> Result<bool, RepositoryError> {
        let mut state = self.state();
        if state.shelf.paths_to_watch().iter().any(|path| self.folder.contains(path)) {
            *state = read(&self.folder)?;
            tracing::info!("new {RELEASES}, targets or root found in the repository");
        }
        if !state.shelf.is_refresh_due(&self.lives, now) {
            return Ok(false);
        }
        let mut shelf = state.shelf.clone();
        let files = shelf.refresh(self.signers(), &self.lives, now)?;
        self.write(&files)?;
        state.shelf = shelf;
        Ok(true)
    }

    const fn signers(&self) -> OnlineSigners<'_> {
        let OnlineKeys { rollouts, snapshot, timestamp } = &self.keys;
        OnlineSigners { rollouts, snapshot, timestamp }
    }

    fn write(&self, files: &[File]) -> Result<(), FolderError> {
        files.iter().try_for_each(|File { path, bytes }| self.folder.write(path, bytes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked held a state that was not taken over yet.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(folder: &Folder) -> Result<State, RepositoryError> {
    let shelf = Shelf::load(|path| folder.read(path, FILE_BYTES_MAX))
        .map_err(|source| RepositoryError::Load { folder: folder.path().display().to_string(), source })?;
    let desired = match shelf.desired_file() {
        Some(path) => folder.read(&path, FILE_BYTES_MAX)?,
        None => None,
    };
    let desired = desired.map(|bytes| serde_json::from_slice(&bytes)).transpose();
    Ok(State { shelf, desired: desired.map_err(RepositoryError::Desired)? })
}
