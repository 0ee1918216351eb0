//! What devices hand in. Each upload may be repeated: the second time changes nothing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use edgeward_api::device::{
    AlertsUpload, LedgerSeen, PROFILE_SCHEMA, ProfileUpload, REPORT_SCHEMA, Report, SAMPLES_SCHEMA, Sample,
    SamplesUpload,
};
use edgeward_api::limits::{
    ALERTS_PER_UPLOAD_MAX, PERFORMANCE_BYTES_MAX, PROFILE_BYTES_MAX, SAMPLE_VALUES_MAX,
    SAMPLES_PER_UPLOAD_MAX,
};
use edgeward_api::{Problem, routes};
use edgeward_core::group::{LABEL_LEN_MAX, LABELS_MAX};
use edgeward_core::shadow::SHADOWS_MAX;
use edgeward_core::{Alert, DeviceId};
use edgeward_monitor::{Profile, SegmentedPerformance};
use edgeward_store::NewSample;

use super::{TEXT_LEN_MAX, check_schema, check_text};
use crate::access::Caller;
use crate::app::App;
use crate::extract::Document;
use crate::failure::Failure;
use crate::intake::Upload;
use crate::reconcile::fleet::is_of_verdict;

/// Most models in one report.
const MODELS_PER_REPORT_MAX: usize = 256;
/// Longest class name of a sample.
const CLASS_LEN_MAX: usize = 256;
/// Longest id of an alert.
const ALERT_ID_LEN_MAX: usize = 128;

/// The device that calls; the guard admits nobody else to these routes.
pub(crate) fn device(caller: Caller) -> Result<DeviceId, Failure> {
    match caller {
        Caller::Device(device) => Ok(device),
        _ => Err(Failure::forbidden("only a device may do this")),
    }
}

/// What the device runs and how it fares.
#[utoipa::path(post, path = routes::REPORT, request_body = Report,
    responses((status = 204), (status = 422, body = Problem)))]
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(report): Document<Report>,
) -> Result<StatusCode, Failure> {
    let device = device(caller)?;
    check_schema(&report.schema, REPORT_SCHEMA)?;
    if report.models.len() > MODELS_PER_REPORT_MAX {
        return Err(Failure::too_large(format!("a report speaks of at most {MODELS_PER_REPORT_MAX} models")));
    }
    check_facts(&report)?;
    check_shadows(&report)?;
    check_ledger(&device, &report)?;
    let document = serde_json::to_value(&report);
    let document = document.map_err(|error| Failure::internal("keeping a report", &error))?;
    app.heard.hear(app.now(), &report);
    app.intake.put(device, Upload::Report(Box::new(report), document)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a witness says about the ledger is heard at once; `edgeward audit verify` looks at every one.
fn check_ledger(device: &DeviceId, report: &Report) -> Result<(), Failure> {
    let Some(LedgerSeen { note, fault }) = &report.ledger else { return Ok(()) };
    if note.as_ref().is_some_and(|note| note.len() > TEXT_LEN_MAX) {
        return Err(Failure::too_large(format!("a checkpoint is at most {TEXT_LEN_MAX} bytes long here")));
    }
    check_text("ledger's fault", fault.as_deref().unwrap_or_default())?;
    if let Some(fault) = fault {
        tracing::error!(%device, "a witness does not believe the ledger: {fault}");
    }
    Ok(())
}

/// As many counts as a comparison of the most candidates has, and no more.
fn check_shadows(report: &Report) -> Result<(), Failure> {
    for said in report.models.values().filter_map(|model| model.shadows.as_ref()) {
        if said.candidates.len() > SHADOWS_MAX || said.losses.len() > 2 << SHADOWS_MAX {
            return Err(Failure::too_large(format!("at most {SHADOWS_MAX} shadows run beside a champion")));
        }
        for count in &said.candidates {
            check_text("shadow's reason", count.reason.as_deref().unwrap_or_default())?;
        }
    }
    Ok(())
}

fn check_facts(report: &Report) -> Result<(), Failure> {
    let is_short = |text: &String| text.len() <= LABEL_LEN_MAX;
    match report.facts.len() <= LABELS_MAX
        && report.facts.iter().all(|(key, value)| is_short(key) && is_short(value))
    {
        true => Ok(()),
        false => Err(Failure::too_large(format!(
            "a device says at most {LABELS_MAX} facts of itself, of at most {LABEL_LEN_MAX} bytes"
        ))),
    }
}

/// One window's profile.
#[utoipa::path(post, path = routes::PROFILES, request_body = ProfileUpload,
    responses((status = 204), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn profile(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(upload): Document<ProfileUpload>,
) -> Result<StatusCode, Failure> {
    let device = device(caller)?;
    check_profile(&upload)?;
    let service = upload.service.as_ref().map(serde_json::to_value).transpose();
    let service = service.map_err(|error| Failure::internal("keeping a profile", &error))?;
    app.intake.put(device, Upload::Profile(Box::new(upload), service)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_profile(upload: &ProfileUpload) -> Result<(), Failure> {
    check_schema(&upload.schema, PROFILE_SCHEMA)?;
    check_performance(upload.performance.as_ref().map_or(&[], |performance| &performance.0))?;
    if upload.profile.0.len() > PROFILE_BYTES_MAX {
        return Err(Failure::too_large(format!(
            "the profile is over the limit of {PROFILE_BYTES_MAX} bytes"
        )));
    }
    if upload.from_ms > upload.to_ms || upload.correct > upload.labelled {
        return Err(Failure::invalid(
            "the window ends before it starts, or more labels are right than arrived",
        ));
    }
    Profile::from_bytes(&upload.profile.0)
        .map(|_| ())
        .map_err(|error| Failure::invalid(format!("the profile cannot be read: {error}")))
}

/// Nothing, or a performance.
fn check_performance(bytes: &[u8]) -> Result<(), Failure> {
    if bytes.len() > PERFORMANCE_BYTES_MAX {
        let error = format!("the performance is over the limit of {PERFORMANCE_BYTES_MAX} bytes");
        return Err(Failure::too_large(error));
    }
    if bytes.is_empty() {
        return Ok(());
    }
    let unreadable = |error| Failure::invalid(format!("the performance cannot be read: {error}"));
    SegmentedPerformance::from_bytes(bytes).map(|_| ()).map_err(unreadable)
}

/// Captured samples.
#[utoipa::path(post, path = routes::SAMPLES_UPLOAD, request_body = SamplesUpload,
    responses((status = 204), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn samples(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(upload): Document<SamplesUpload>,
) -> Result<StatusCode, Failure> {
    let device = device(caller)?;
    check_schema(&upload.schema, SAMPLES_SCHEMA)?;
    if upload.samples.len() > SAMPLES_PER_UPLOAD_MAX {
        return Err(Failure::too_large(format!("one upload holds at most {SAMPLES_PER_UPLOAD_MAX} samples")));
    }
    let samples = upload.samples.into_iter().map(new_sample).collect::<Result<Vec<_>, _>>()?;
    let put = app.decide(move |decision| {
        decision.put_samples(&device, &samples, decision.now()).map_err(Failure::from)
    });
    if put.await? > 0 {
        app.wake.notify_one();
    }
    Ok(StatusCode::NO_CONTENT)
}

fn new_sample(sample: Sample) -> Result<NewSample, Failure> {
    let bytes = sample.features.0.len();
    if !bytes.is_multiple_of(4) || bytes == 0 {
        return Err(Failure::invalid(format!("{bytes} bytes are no row of 32-bit values")));
    }
    if bytes / 4 > SAMPLE_VALUES_MAX {
        return Err(Failure::too_large(format!("a sample holds at most {SAMPLE_VALUES_MAX} values")));
    }
    if [&sample.predicted, &sample.label].into_iter().flatten().any(|class| class.len() > CLASS_LEN_MAX) {
        return Err(Failure::too_large(format!("a class name is at most {CLASS_LEN_MAX} bytes long")));
    }
    check_text("suspicion", sample.suspicion.as_deref().unwrap_or_default())?;
    Ok(NewSample {
        prediction: sample.prediction,
        row: sample.row,
        model: sample.model,
        bundle: sample.bundle,
        at_ms: sample.at_ms,
        features: sample.features.0,
        predicted: sample.predicted,
        label: sample.label,
        suspicion: sample.suspicion,
    })
}

/// Alerts of this device.
#[utoipa::path(post, path = routes::ALERTS_UPLOAD, request_body = AlertsUpload,
    responses((status = 204), (status = 403, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn alerts(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(upload): Document<AlertsUpload>,
) -> Result<StatusCode, Failure> {
    let device = device(caller)?;
    if upload.alerts.len() > ALERTS_PER_UPLOAD_MAX {
        return Err(Failure::too_large(format!("one upload holds at most {ALERTS_PER_UPLOAD_MAX} alerts")));
    }
    upload.alerts.iter().try_for_each(|alert| check_alert(&device, alert))?;
    app.decide(move |decision| {
        for alert in upload.alerts {
            if !decision.has_alert(&alert.id)? {
                tracing::warn!(device = %alert.device, kind = alert.kind.as_str(), "{}", alert.message);
                decision.append(edgeward_core::Event::AlertRaised(alert))?;
            }
        }
        Ok::<_, Failure>(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_alert(device: &DeviceId, alert: &Alert) -> Result<(), Failure> {
    if alert.device != *device {
        return Err(Failure::forbidden(format!("{device} may not raise an alert of {}", alert.device)));
    }
    if alert.id.is_empty() || alert.id.len() > ALERT_ID_LEN_MAX {
        return Err(Failure::invalid(format!("an alert's id is 1 to {ALERT_ID_LEN_MAX} bytes long")));
    }
    if is_of_verdict(&alert.id) {
        let error = format!("the id '{}' is one of the control plane's own verdicts on the fleet", alert.id);
        return Err(Failure::invalid(error));
    }
    check_text("message", &alert.message)?;
    check_text("stream's name", alert.stream.as_deref().unwrap_or_default())
}
