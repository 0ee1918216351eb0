//! Deltas to a version's files from those of the few versions before it, so that devices that run one of these fetch
//! only what changed.
//!
//! Made when a version is registered, one at a time on one blocking thread, and again at the start for newest versions
//! that lack some. Registering waits for them a while, because a rollout may follow at once; a device that asks too
//! early, or comes from an older version, takes the whole file. What was made is found under its name and not made
//! again; what was tried and is not shorter is remembered as an empty one.
//!
//! Deliberately missing: deltas between files of different paths, and for files over [`FILE_BYTES_MAX`].

use std::sync::Arc;
use std::time::Duration;

use edgeward_core::manifest::{FileEntry, ManifestError};
use edgeward_core::{Digest, Manifest, ModelName};
use edgeward_model::delta;
use edgeward_store::{BlobError, StoreError};
use tokio::sync::{Mutex, Semaphore};

use crate::app::{App, Stopped, blocking};
use crate::failure::chain;

/// Versions before the new one that a device is expected to run.
const EARLIER_VERSIONS_MAX: usize = 3;
/// Smaller files are sent as they are.
const FILE_BYTES_MIN: u64 = 1 << 10;
/// Larger files are sent as they are: making a delta holds both files in memory.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Versions that may wait for their deltas; further ones go without until the next start.
const WAITING_MAX: usize = 8;
/// Longest time that registering a version waits for its deltas.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who makes deltas, and who waits for it.
pub(crate) struct Deltas {
    places: Arc<Semaphore>,
    turn: Mutex<()>,
}

impl Default for Deltas {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(WAITING_MAX)), turn: Mutex::default() }
    }
}

/// Why deltas are missing; devices fetch whole files then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeltasError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blob could not be read, or a delta not be kept.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// A registered manifest could not be read.
    #[error("reading the manifest of {bundle:?}")]
    Manifest {
        /// Its bundle.
        bundle: Digest,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The server is ending, or making the delta panicked.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Makes the deltas that lead to `bundle`, and waits for them for a while; the rest goes on behind.
pub(crate) async fn prepare(app: &Arc<App>, bundle: Digest, manifest: Manifest) {
    let Ok(place) = Arc::clone(&app.deltas.places).try_acquire_owned() else {
        tracing::warn!(?bundle, "too many versions wait for their deltas; devices fetch this one whole");
        return;
    };
    let app = Arc::clone(app);
    let work = tokio::spawn(async move {
        let _place = place;
        let _turn = app.deltas.turn.lock().await;
        if let Err(error) = make_all(&app, bundle, &manifest).await {
            tracing::warn!(?bundle, cause = %chain(&error), "devices fetch whole files where deltas are missing");
        }
    });
    if tokio::time::timeout(PATIENCE, work).await.is_err() {
        tracing::info!(?bundle, "making its deltas takes longer; devices that ask now fetch whole files");
    }
}

/// What an earlier run of the server left undone for the newest version of each model.
pub(crate) async fn catch_up(app: Arc<App>) {
    let newest = app.read(|view| {
        let of = |model: &ModelName| view.versions(model, 1).map(|mut versions| versions.pop());
        let found: Result<Vec<_>, StoreError> = view.models()?.iter().map(|model| of(&model.name)).collect();
        Ok::<_, DeltasError>(found?.into_iter().flatten().map(|version| version.bundle).collect::<Vec<_>>())
    });
    let caught_up = async {
        for bundle in newest.await? {
            let manifest = manifest(&app, bundle).await?;
            prepare(&app, bundle, manifest).await;
        }
        Ok::<_, DeltasError>(())
    };
    if let Err(error) = caught_up.await {
        tracing::warn!(cause = %chain(&error), "looking for missing deltas");
    }
}

async fn manifest(app: &App, bundle: Digest) -> Result<Manifest, DeltasError> {
    let bytes = app.blobs.get(bundle).await?;
    Manifest::parse(&bytes).map_err(|source| DeltasError::Manifest { bundle, source })
}

async fn make_all(app: &App, bundle: Digest, new: &Manifest) -> Result<(), DeltasError> {
    let model = new.model.clone();
    let versions =
        app.read(move |view| Ok::<_, DeltasError>(view.versions(&model, EARLIER_VERSIONS_MAX + 1)?));
    let mut earlier = Vec::new();
    for version in
        versions.await?.iter().filter(|version| version.bundle != bundle).take(EARLIER_VERSIONS_MAX)
    {
        earlier.push(manifest(app, version.bundle).await?);
    }
    for (path, file) in new.files.iter().filter(|(_, file)| is_worth_a_look(file)) {
        make(app, file, None).await?;
        for old in earlier.iter().filter_map(|old| old.files.get(path)) {
            if old.digest != file.digest && is_worth_a_look(old) {
                make(app, file, Some(old.digest)).await?;
            }
        }
    }
    Ok(())
}

fn is_worth_a_look(file: &FileEntry) -> bool {
    (FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&file.size_bytes)
}

/// Makes one delta, or the full compressed form, unless it is there.
async fn make(app: &App, file: &FileEntry, source: Option<Digest>) -> Result<(), DeltasError> {
    if *app.closing.borrow() {
        return Err(Stopped.into());
    }
    if app.blobs.delta_len(file.digest, source).await?.is_some() {
        return Ok(());
    }
    let full = app.blobs.delta_len(file.digest, None).await?.filter(|length| *length > 0);
    let below = usize::try_from(full.unwrap_or(file.size_bytes)).unwrap_or(usize::MAX);
    let result = app.blobs.get(file.digest).await?;
    let old = match source {
        Some(source) => Some(app.blobs.get(source).await?),
        None => None,
    };
    let made = blocking(move || {
        Ok::<_, Stopped>(match old {
            Some(old) => delta::delta(&old, &result, below),
            None => Some(delta::full(&result)).filter(|full| full.len() < below),
        })
    });
    let made = made.await?.unwrap_or_default();
    Ok(app.blobs.put_delta(file.digest, source, made.into()).await?)
}
