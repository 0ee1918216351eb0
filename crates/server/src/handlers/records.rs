//! Records of predictions: handed in by devices, read by people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use edgeward_api::device::{RECORDS_SCHEMA, RecordUpload, RecordsUpload};
use edgeward_api::limits::{PAGE_MAX, RECORD_BYTES_MAX, RECORDS_PER_UPLOAD_MAX};
use edgeward_api::record::{
    HISTORY_SCHEMA, History, Lineage, PredictionAnswer, SubjectErased, SubjectRequest,
};
use edgeward_api::{Problem, routes};
use edgeward_core::record::{
    RECORD_DAYS_MAX, RECORD_INPUT_BYTES_MAX, RECORD_SUBJECTS_MAX, Record, SALT_LEN, SUBJECT_BYTES_MAX,
};
use edgeward_core::{Digest, ModelName, PredictionId, Timestamp};
use edgeward_store::{NewRecord, VersionRow};
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
use crate::records::{self, Place, Vault, VaultError, day_of};
use crate::why;

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
    let RecordUpload { record, salt, input, subjects } = upload;
    if record.len() > RECORD_BYTES_MAX {
        return Err(Failure::too_large(format!("a record is at most {RECORD_BYTES_MAX} bytes long")));
    }
    let parsed: Record = serde_json::from_str(&record)
        .map_err(|error| Failure::invalid(format!("a record cannot be read: {error}")))?;
    let (prediction, kind, row) = (parsed.prediction(), parsed.kind(), parsed.row());
    let (keep_days, record_days) = match &parsed {
        Record::Prediction(record) => (record.keep_days, record.record_days),
        Record::Label(_) | Record::Shadows(_) => (0, None),
    };
    let input = input.map_or_else(Vec::new, |input| input.0);
    if keep_days.max(record_days.unwrap_or(0)) > RECORD_DAYS_MAX || input.len() > RECORD_INPUT_BYTES_MAX {
        return Err(Failure::too_large(format!(
            "an input is at most {RECORD_INPUT_BYTES_MAX} bytes long, and anything kept for at most {RECORD_DAYS_MAX} days"
        )));
    }
    let subjects = subjects_of(&subjects, vault)?;
    let erase_day = day_of(now, keep_days);
    let place = Place { day: erase_day, prediction, subjects: &subjects };
    let sealed = salt.map(|salt| match salt.0.len() == SALT_LEN {
        true => vault.seal(place, &[salt.0, input].concat()).map_err(Failure::from),
        false => Err(Failure::invalid(format!("a salt has {SALT_LEN} bytes"))),
    });
    let (sealed, expire_day) = (sealed.transpose()?, record_days.map(|days| day_of(now, days)));
    Ok(NewRecord { prediction, kind, row, record, sealed, erase_day, expire_day, subjects })
}

/// The digests of subjects, each once, in their order.
fn subjects_of(names: &[String], vault: &Vault) -> Result<Vec<Digest>, Failure> {
    if names.len() > RECORD_SUBJECTS_MAX || names.iter().any(|name| name.len() > SUBJECT_BYTES_MAX) {
        return Err(Failure::too_large(format!(
            "a record is about at most {RECORD_SUBJECTS_MAX} subjects of at most {SUBJECT_BYTES_MAX} bytes each"
        )));
    }
    let digests = names.iter().map(|name| vault.subject(name).map_err(Failure::from));
    let digests: BTreeSet<Digest> = digests.collect::<Result<_, _>>()?;
    Ok(digests.into_iter().collect())
}

/// Forgets a subject: the keys of its inputs are destroyed, its records dropped but for their digests, and its labelled
/// samples dropped. That it was done is in the ledger, by a keyed digest of its name; every proof holds as before.
#[utoipa::path(post, path = routes::SUBJECT_ERASE, request_body = SubjectRequest,
    responses((status = 200, body = SubjectErased), (status = 422, body = Problem)))]
pub(crate) async fn erase(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(asked): Document<SubjectRequest>,
) -> Result<Json<SubjectErased>, Failure> {
    let SubjectRequest { subject } = asked;
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
        return Err(Failure::invalid(format!("a subject has 1 to {SUBJECT_BYTES_MAX} bytes")));
    }
    Ok(Json(records::erase_subject(&app, subject, caller.name()).await?))
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
    why::read(&app, PredictionId(id), caller.name()).await.map(Json)
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
    let version = version(&app, &model, asked.version).await?;
    records::lineage(&app, &model, version.bundle).await.map(Json)
}

/// What became of a version of a model on devices: what they counted with it, window by window, and the alerts about it.
#[utoipa::path(get, path = routes::MODEL_HISTORY,
    params(("model" = String, Path, description = "The model's name"), VersionQuery),
    responses((status = 200, body = History), (status = 404, body = Problem)))]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
    Asked(asked): Asked<VersionQuery>,
) -> Result<Json<History>, Failure> {
    let VersionRow { version, bundle, .. } = version(&app, &model, asked.version).await?;
    let windows = crate::drift::history(&app, &model, bundle).await?;
    let of = model.clone();
    let alerts = app.read(move |view| Ok::<_, Failure>(view.alerts(Some(&of), PAGE_MAX)?)).await?;
    let mut counts = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert.bundle == bundle) {
        *counts.entry(alert.kind.as_str().to_owned()).or_default() += 1;
    }
    let schema = HISTORY_SCHEMA.to_owned();
    Ok(Json(History { schema, model, version, bundle, windows, alerts: counts }))
}

/// A version by its number; the newest if none is given.
async fn version(app: &App, model: &ModelName, number: Option<u64>) -> Result<VersionRow, Failure> {
    let of = model.clone();
    let found = app.read(move |view| {
        let number =
            number.map_or_else(|| Ok(view.next_version(&of)?.saturating_sub(1)), Ok::<_, Failure>)?;
        view.version(&of, number).map_err(Failure::from)
    });
    found.await?.ok_or_else(|| {
        Failure::not_found(format!("{model} has no such version")).hint("See edgeward model ls.")
    })
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
