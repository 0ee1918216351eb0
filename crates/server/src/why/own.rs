//! What the control plane itself tells: its dashboard, and the command line on its folder while no server runs.
//!
//! The same reading as over HTTP: records that wait become a batch, that somebody reads is an event before anything is shown,
//! and what is shown is proved against the ledger's signed checkpoint.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeward_api::Problem;
use edgeward_core::{Digest, Event, ModelName, PredictionId};
use edgeward_store::{BlobError, Blobs};
use tokio::runtime::Handle;

use super::bundle::Shelf;
use super::tell::{Asked, tell, tell_lineage};
use super::{ModelTold, ProofFault, Proved, Why};
use crate::app::{App, Stopped, blocking};
use crate::failure::{Failure, chain};
use crate::records;
use crate::serve::{self, ServerError};

/// How long a finer map is worth waiting for.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Who reads, in the ledger, where no server is asked.
const OFFLINE: &str = "offline";

/// A control plane's folder, opened by itself.
pub struct Offline {
    app: Arc<App>,
    /// No server and no other command uses the folder meanwhile.
    _lock: std::fs::File,
}

impl Offline {
    /// Opens the folder; none if it is no control plane's.
    ///
    /// # Errors
    /// A server uses it, or it is damaged: see [`ServerError::problem`].
    pub async fn open(data_dir: &Path) -> Result<Option<Self>, ServerError> {
        if !data_dir.join("edgeward.db").is_file() {
            return Ok(None);
        }
        let (app, lock) = serve::offline(data_dir).await?;
        Ok(Some(Self { app, _lock: lock }))
    }

    /// Why a prediction was what it was. That it was read is in the ledger.
    ///
    /// # Errors
    /// There is no record of it, or the ledger does not prove it.
    pub async fn why(
        &self,
        prediction: PredictionId,
        row: usize,
        origin: Option<&str>,
    ) -> Result<Why, Problem> {
        let origin = origin.map(str::to_owned);
        why(&self.app, prediction, row, origin, OFFLINE.to_owned()).await.map_err(Failure::into_problem)
    }
}

/// Why a prediction was what it was, read by `by`.
pub(crate) async fn why(
    app: &Arc<App>,
    prediction: PredictionId,
    row: usize,
    origin: Option<String>,
    by: String,
) -> Result<Why, Failure> {
    let answer = read(app, prediction, by).await?;
    let shelf = Own { blobs: app.blobs.clone(), runtime: Handle::current() };
    blocking(move || {
        let began = Instant::now();
        let mut go_on = || began.elapsed() < PATIENCE;
        let asked = Asked { prediction, row, origin: origin.as_deref() };
        tell(&shelf, &answer, asked, &mut go_on).map_err(Told::Unproved)
    })
    .await
    .map_err(Failure::from)
}

/// What is told about a version of a model, with its card and what proves it. The model's own files are not read.
pub(crate) async fn lineage(
    app: &Arc<App>,
    model: &ModelName,
    bundle: Digest,
) -> Result<(ModelTold, Option<String>, Proved), Failure> {
    let lineage = records::lineage(app, model, bundle).await?;
    let shelf = Own { blobs: app.blobs.clone(), runtime: Handle::current() };
    blocking(move || tell_lineage(&shelf, &lineage, None).map_err(Told::Unproved))
        .await
        .map_err(Failure::from)
}

enum Told {
    Unproved(ProofFault),
    Stopped(Stopped),
}

impl From<Told> for Failure {
    fn from(told: Told) -> Self {
        match told {
            Told::Unproved(fault) => unproved(&fault),
            Told::Stopped(stopped) => stopped.into(),
        }
    }
}

impl From<Stopped> for Told {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

fn unproved(fault: &ProofFault) -> Failure {
    Failure::conflict(format!("the answer is not what the ledger has: {}", chain(fault)))
        .hint("'edgeward audit verify' names the first bad entry or batch.")
}

/// The record of a prediction with all that proves it; that `by` read it is in the ledger before.
pub(crate) async fn read(
    app: &App,
    prediction: PredictionId,
    by: String,
) -> Result<edgeward_api::record::PredictionAnswer, Failure> {
    records::make_batches(app).await?;
    app.decide(move |decision| {
        if !decision.records_of(prediction)?.is_empty() {
            decision.append(Event::RecordsRead { what: format!("prediction {prediction}"), by })?;
        }
        Ok::<_, Failure>(())
    })
    .await?;
    records::prediction(app, prediction).await
}

/// The control plane's own blobs, for a thread that may block.
struct Own {
    blobs: Blobs,
    runtime: Handle,
}

impl Shelf for Own {
    fn blob(&self, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        match self.runtime.block_on(self.blobs.len(*digest)) {
            Err(BlobError::Missing(_)) => return Ok(None),
            Err(error) => return Err(chain(&error)),
            Ok(bytes) if bytes > bytes_max => {
                return Err(format!(
                    "the blob {digest} has {bytes} bytes, more than the {bytes_max} of its file"
                ));
            }
            Ok(_) => {}
        }
        let bytes = self.runtime.block_on(self.blobs.get(*digest)).map_err(|error| chain(&error))?;
        Ok(Some(bytes.to_vec()))
    }

    fn has(&self, digest: &Digest) -> bool {
        self.runtime.block_on(self.blobs.exists(*digest)).unwrap_or(false)
    }
}
