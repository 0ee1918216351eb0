//! The repository that devices follow: plain files in the data folder, any web server's to serve, and the online keys
//! that sign the newest of them.
//!
//! What the files say is the state; the latest documents are kept in memory besides. A change is made on a copy, written
//! file by file with the timestamp last, and only then taken over, so a crash or a full disk anywhere leaves what the
//! last timestamp leads to. Offline documents (root, targets, releases) that a person puts into the folder are found by
//! [`Repository::keep_fresh`].
//!
//! What devices ask for most, the files of the latest publication, is sent from memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use edgeward_core::{Desired, Digest, ModelName, Timestamp};
use edgeward_store::{Folder, FolderError, StoreError};
use edgeward_trust::fleet::{
    File, LedgerKeys, Lives, LoadError, OnlineSigners, PublishError, RELEASES, Shelf, release_path,
    target_file,
};
use edgeward_trust::{PublicKey, Signer as _, SigningKey};

use crate::mirror::Mirror;

/// Largest file of a repository, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 8 << 20;
/// The root that everything follows from.
pub(crate) const FIRST_ROOT: &str = "metadata/1.root.json";

/// People are told so long before what they signed expires,
const WARN_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// so often.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

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
    /// Files of the latest publication, by path.
    latest: Mutex<Arc<BTreeMap<String, Served>>>,
    /// When it was last said that people must sign something before long.
    warned: Mutex<Option<Timestamp>>,
    /// Where several servers share a database.
    mirror: Option<Mirror>,
    /// Held by whoever writes into the folder; those who only ask do not wait for a database.
    turn: Mutex<()>,
}

/// A file, ready to send.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
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
    /// The database that servers share cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another server was first.
    #[error("another server changed the repository meanwhile; ask again")]
    Behind,
    /// Another fleet's repository lies in the data folder.
    #[error(
        "the repository in {folder} is another fleet's than the database's: name another --data folder or another \
         --database; a server that joins others needs a folder with nothing but copies of their keys and operator.token"
    )]
    Foreign {
        /// Where.
        folder: String,
    },
    /// The published desired state cannot be read.
    #[error("reading the published desired state")]
    Desired(#[source] serde_json::Error),
}

impl Repository {
    /// Reads the repository in `folder`.
    pub(crate) fn open(
        folder: Folder,
        keys: OnlineKeys,
        mirror: Option<Mirror>,
    ) -> Result<Self, RepositoryError> {
        if let Some(mirror) = &mirror {
            mirror.introduce(&folder)?;
        }
        let state = read(&folder)?;
        let latest = Mutex::new(Arc::new(latest(&folder, &state)?));
        let (state, warned) = (Mutex::new(state), Mutex::default());
        Ok(Self {
            folder,
            keys,
            lives: Lives::default(),
            state,
            latest,
            warned,
            mirror,
            turn: Mutex::default(),
        })
    }

    /// Whose key here is not one that the repository names.
    pub(crate) fn stranger(&self, ledger: &PublicKey) -> Option<&'static str> {
        let state = self.state();
        let OnlineKeys { rollouts, snapshot, timestamp } = &self.keys;
        let signers = [("rollouts", rollouts), ("snapshot", snapshot), ("timestamp", timestamp)];
        let foreign = signers.into_iter().find(|(role, key)| !state.shelf.names(role, &key.public_key()));
        let knows_ledger = ledger_keys(&state.shelf).keys.contains(ledger);
        foreign.map(|(role, _)| role).or_else(|| (!knows_ledger).then_some("ledger"))
    }

    /// Whose signatures count for the ledger.
    pub(crate) fn ledger_keys(&self) -> LedgerKeys {
        ledger_keys(&self.state().shelf)
    }

    /// The newest root, as it is signed.
    pub(crate) fn root(&self) -> Vec<u8> {
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

    /// A file of the latest publication.
    pub(crate) fn latest(&self, path: &str) -> Option<Served> {
        let latest = Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner));
        latest.get(path).cloned()
    }

    /// Any file, as a web server would give it.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Served>, RepositoryError> {
        Ok(self.folder.read(path, FILE_BYTES_MAX)?.map(Served::from))
    }

    /// Tells the fleet what to run.
    pub(crate) fn publish(&self, desired: &Desired, now: Timestamp) -> Result<(), RepositoryError> {
        let _turn = self.turn();
        let mut state = self.state();
        let mut shelf = state.shelf.clone();
        let files = shelf.publish(desired, self.signers(), &self.lives, now)?;
        self.write(&files, &state)?;
        *state = State { shelf, desired: Some(desired.clone()) };
        self.show(&state)
    }

    /// Takes over what other servers wrote. True if there was anything; never where this server is alone.
    pub(crate) fn follow(&self) -> Result<bool, RepositoryError> {
        let Some(mirror) = &self.mirror else { return Ok(false) };
        let _turn = self.turn();
        // Somebody may put a document into the folder of any server; the one that leads lists it.
        let is_put_here = self.is_followed(&self.state().shelf);
        if is_put_here {
            mirror.offer(&self.folder)?;
        }
        if !mirror.pull(&self.folder)? && !is_put_here {
            return Ok(false);
        }
        let found = read(&self.folder)?;
        self.show(&found)?;
        *self.state() = found;
        Ok(true)
    }

    /// Takes releases that were signed offline, with the manifest of the one that is new, and lists them. Where this server
    /// may not sign, the one that leads lists them at its next turn.
    pub(crate) fn accept_releases(
        &self,
        releases: &[u8],
        release: (&ModelName, &[u8]),
        now: Timestamp,
        may_sign: bool,
    ) -> Result<(), RepositoryError> {
        self.follow()?;
        match self.take_releases(releases, release, now, may_sign) {
            Err(RepositoryError::Behind) => {
                self.follow()?;
                self.take_releases(releases, release, now, may_sign)
            }
            other => other,
        }
    }

    fn take_releases(
        &self,
        releases: &[u8],
        (model, manifest): (&ModelName, &[u8]),
        now: Timestamp,
        may_sign: bool,
    ) -> Result<(), RepositoryError> {
        let _turn = self.turn();
        let mut state = self.state();
        let mut shelf = state.shelf.clone();
        let mut files = Vec::new();
        let list = shelf.accept_releases(releases)?;
        let path = release_path(model, &Digest::of(manifest));
        if let Some(target) = shelf.releases().body().targets.get(&path) {
            files.push(File { path: target_file(&path, target), bytes: manifest.to_vec() });
        }
        files.push(list);
        if may_sign && shelf.is_refresh_due(&self.lives, now) {
            files.extend(shelf.refresh(self.signers(), &self.lives, now)?);
        }
        self.write(&files, &state)?;
        state.shelf = shelf;
        self.show(&state)
    }

    /// Takes up offline documents that were put into the folder, and signs snapshot and timestamp anew when they are due:
    /// a device looks for a new root only when the timestamp is another one. True if there is anything new for devices.
    pub(crate) fn keep_fresh(&self, now: Timestamp) -> Result<bool, RepositoryError> {
        let _turn = self.turn();
        let mut state = self.state();
        self.warn(&state.shelf, now);
        let found = self.is_followed(&state.shelf);
        if found && let Some(mirror) = &self.mirror {
            mirror.offer(&self.folder)?;
        }
        let known = if found { read(&self.folder)? } else { state.clone() };
        if !found && !known.shelf.is_refresh_due(&self.lives, now) {
            return Ok(false);
        }
        let mut shelf = known.shelf;
        let files = shelf.refresh(self.signers(), &self.lives, now)?;
        self.write(&files, &state)?;
        if found {
            tracing::info!("new {RELEASES}, targets or root found in the repository");
        }
        *state = State { shelf, desired: known.desired };
        self.show(&state)?;
        Ok(true)
    }

    /// Whether somebody put an offline document into the folder that follows those that are known.
    fn is_followed(&self, shelf: &Shelf) -> bool {
        shelf.paths_to_watch().iter().any(|path| self.folder.contains(path))
    }

    /// Says once a day what people must sign before long.
    fn warn(&self, shelf: &Shelf, now: Timestamp) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|at| now.since(at) < WARN_EVERY) {
            return;
        }
        *warned = Some(now);
        for (role, expires_at) in shelf.to_renew(now + WARN_WITHIN) {
            let days = expires_at.since(now).as_secs() / (24 * 3600);
            tracing::warn!(
                role,
                days,
                "the repository's {role} expires before long, and devices will act on nothing then: register a version \
                 or run `edgeward repo refresh --renew-releases` for releases, `edgeward repo rotate` for root and targets"
            );
        }
    }

    /// Sends the files of this state from now on.
    fn show(&self, state: &State) -> Result<(), RepositoryError> {
        let files = Arc::new(latest(&self.folder, state)?);
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = files;
        Ok(())
    }

    const fn signers(&self) -> OnlineSigners<'_> {
        let OnlineKeys { rollouts, snapshot, timestamp } = &self.keys;
        OnlineSigners { rollouts, snapshot, timestamp }
    }

    /// Writes what follows `state`; where servers share a database, there first, for that is what counts.
    fn write(&self, files: &[File], state: &State) -> Result<(), RepositoryError> {
        if let Some(mirror) = &self.mirror {
            let base = state.shelf.timestamp().map(edgeward_trust::tuf::Document::bytes);
            mirror.push(files, base)?;
        }
        Ok(files.iter().try_for_each(|File { path, bytes }| self.folder.write(path, bytes))?)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked held a state that was not taken over yet.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ledger_keys(shelf: &Shelf) -> LedgerKeys {
    LedgerKeys::of(shelf.root().body()).unwrap_or_default()
}

impl From<Vec<u8>> for Served {
    fn from(bytes: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", Digest::of(&bytes).short());
        Self { bytes: bytes.into(), etag }
    }
}

/// Every file that whoever follows the timestamp asks for, but for manifests.
fn latest(folder: &Folder, state: &State) -> Result<BTreeMap<String, Served>, RepositoryError> {
    let mut files = state.shelf.files();
    if let Some(path) = state.shelf.desired_file() {
        files.extend(folder.read(&path, FILE_BYTES_MAX)?.map(|bytes| File { path, bytes }));
    }
    Ok(files.into_iter().map(|File { path, bytes }| (path, bytes.into())).collect())
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
