//! Records of predictions: handed in by devices, read by people.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use edgeward_api::device::{RECORDS_SCHEMA, RecordUpload, RecordsUpload};
use edgeward_api::limits::{RECORD_BYTES_MAX, RECORDS_PER_UPLOAD_MAX};
use edgeward_api::record::{Lineage, PredictionAnswer};
use edgeward_api::{Problem, routes};
use edgeward_core::record::{RECORD_DAYS_MAX, RECORD_INPUT_BYTES_MAX, Record, SALT_LEN};
use edgeward_core::{Event, ModelName, PredictionId, Timestamp};
use edgeward_store::NewRecord;
use serde::Deserialize;
use uuid::Uuid;

use super::check_schema;
use super::device::device;
use crate::access::Caller;
use crate::app::{App, blocking};
use crate::extract::{Asked, Document, Named};
use crate::failure::Failure;
use crate::intake::Upload;
use crate::reconcile::ReconcileError;
use crate::records::{self, Vault, VaultError, day_of};

/// Records of predictions and of labels. Each is kept once.
#[utoipa::path(post, path = routes::RECORDS_UPLOAD, request_body = RecordsUpload,
    responses((status = 204), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(upload): Document<RecordsUpload>,
) -> Result<StatusCode, Failure> {
    let device = device(caller)?;
    check_schema(&upload.schema, RECORDS_SCHEMA)?;
    if upload.records.len() > RECORDS_PER_UPLOAD_MAX {
        let error = format!("one upload holds at most {RECORDS_PER_UPLOAD_MAX} records");
        return Err(Failure::too_large(error));
    }
    let (vault, now) = (Arc::clone(&app.vault), app.now());
    let sealed = blocking(move || {
        let records = upload.records.into_iter().map(|record| new_record(record, &vault, now));
        records.collect::<Result<Vec<_>, Failure>>()
    });
    app.intake.put(device, Upload::Records(sealed.await?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn new_record(upload: RecordUpload, vault: &Vault, now: Timestamp) -> Result<NewRecord, Failure> {
    let RecordUpload { record, salt, input } = upload;
    if record.len() > RECORD_BYTES_MAX {
        return Err(Failure::too_large(format!("a record is at most {RECORD_BYTES_MAX} bytes long")));
    }
    let parsed: Record = serde_json::from_str(&record)
        .map_err(|error| Failure::invalid(format!("a record cannot be read: {error}")))?;
    let (prediction, kind, row) = (parsed.prediction(), parsed.kind(), parsed.row());
    let keep_days = match &parsed {
        Record::Prediction(record) => record.keep_days,
        Record::Label(_) => 0,
    };
    let input = input.map_or_else(Vec::new, |input| input.0);
    if keep_days > RECORD_DAYS_MAX || input.len() > RECORD_INPUT_BYTES_MAX {
        return Err(Failure::too_large(format!(
            "an input is at most {RECORD_INPUT_BYTES_MAX} bytes long and kept for at most {RECORD_DAYS_MAX} days"
        )));
    }
    let erase_day = day_of(now, keep_days);
    let sealed = salt.map(|salt| match salt.0.len() == SALT_LEN {
        true => vault.seal(erase_day, prediction, &[salt.0, input].concat()).map_err(Failure::from),
        false => Err(Failure::invalid(format!("a salt has {SALT_LEN} bytes"))),
    });
    Ok(NewRecord { prediction, kind, row, record, sealed: sealed.transpose()?, erase_day })
}

/// The record of one prediction, with proof that it is in the ledger, and where its model comes from. That it was read is
/// in the ledger before it is answered.
#[utoipa::path(get, path = routes::PREDICTION,
    params(("prediction" = String, Path, description = "The prediction's id")),
    responses((status = 200, body = PredictionAnswer), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(id): Named<Uuid>,
) -> Result<Json<PredictionAnswer>, Failure> {
    records::make_batches(&app).await?;
    let by = caller.name();
    app.decide(move |decision| {
        if !decision.records_of(PredictionId(id))?.is_empty() {
            decision.append(Event::RecordsRead { what: format!("prediction {id}"), by })?;
        }
        Ok::<_, Failure>(())
    })
    .await?;
    records::prediction(&app, PredictionId(id)).await.map(Json)
}

/// Which version.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionQuery {
    /// Its number; the newest if absent.
    version: Option<u64>,
}

/// Where a version of a model comes from, as the ledger has it.
#[utoipa::path(get, path = routes::MODEL_LINEAGE,
    params(("model" = String, Path, description = "The model's name"), VersionQuery),
    responses((status = 200, body = Lineage), (status = 404, body = Problem)))]
pub(crate) async fn lineage(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
    Asked(asked): Asked<VersionQuery>,
) -> Result<Json<Lineage>, Failure> {
    let of = model.clone();
    let version = app.read(move |view| {
        let number =
            asked.version.map_or_else(|| Ok(view.next_version(&of)?.saturating_sub(1)), Ok::<_, Failure>)?;
        view.version(&of, number).map_err(Failure::from)
    });
    let Some(version) = version.await? else {
        return Err(Failure::not_found(format!("{model} has no such version")).hint("See edgeward model ls."));
    };
    records::lineage(&app, &model, version.bundle).await.map(Json)
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self::unavailable("keeping an input", &error)
    }
}

impl From<ReconcileError> for Failure {
    fn from(error: ReconcileError) -> Self {
        Self::unavailable("making records a batch", &error)
    }
}
