//! What devices send most of, reports and profiles, on its way into the database: many in one transaction.
//!
//! A transaction costs a write to the disk that waits until it is there, however little it holds. Uploads therefore wait
//! [`LINGER`] for others; each is answered once the transaction that holds it is committed, so that nothing that was
//! acknowledged is lost. The queue is bounded: a device that finds it full is told to come back later.

use std::sync::Arc;
use std::time::Duration;

use edgeward_api::device::{ProfileUpload, Report};
use edgeward_api::limits::UPLOADS_PER_TRANSACTION_MAX;
use edgeward_core::{DeviceId, Timestamp};
use edgeward_store::{NewModelState, NewProfile, NewRecord, NewReport, ReportOutcome, StoreError, Writer};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::app::App;
use crate::failure::Failure;
use crate::replicas::News;

/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(10);
/// Time between two looks for profiles that are too old to keep.
const SWEEP: Duration = Duration::from_secs(60);

/// What a device hands in.
#[derive(Debug)]
pub(crate) enum Upload {
    /// A report, and the same as it is kept.
    Report(Box<Report>, Value),
    /// A profile, and how requests fared as it is kept.
    Profile(Box<ProfileUpload>, Option<Value>),
    /// Records of predictions, as they are kept.
    Records(Vec<NewRecord>),
}

#[derive(Debug)]
struct Waiting {
    device: DeviceId,
    upload: Upload,
    answer: oneshot::Sender<Result<(), Failure>>,
}

/// The way in.
#[derive(Debug)]
pub(crate) struct Intake {
    queue: mpsc::Sender<Waiting>,
}

/// The other end of the queue.
#[derive(Debug)]
pub(crate) struct Uploads(mpsc::Receiver<Waiting>);

/// A queue for `waiting_max` uploads.
pub(crate) fn queue(waiting_max: usize) -> (Intake, Uploads) {
    let (queue, uploads) = mpsc::channel(waiting_max);
    (Intake { queue }, Uploads(uploads))
}

impl Intake {
    /// Uploads that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Keeps what a device hands in; returns once it is safe.
    pub(crate) async fn put(&self, device: DeviceId, upload: Upload) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { device, upload, answer };
        self.queue
            .try_send(waiting)
            .map_err(|_| Failure::busy("more is uploaded than can be kept at once"))?;
        answered.await.unwrap_or_else(|_| Err(Failure::busy("the control plane is ending")))
    }
}

/// Keeps what arrives until nobody can hand in anything any more.
pub(crate) async fn run(app: Arc<App>, Uploads(mut uploads): Uploads) {
    let mut swept_at_ms = None;
    let mut batch = Vec::with_capacity(UPLOADS_PER_TRANSACTION_MAX);
    while uploads.recv_many(&mut batch, 1).await > 0 {
        tokio::time::sleep(LINGER).await;
        while batch.len() < UPLOADS_PER_TRANSACTION_MAX {
            let Ok(more) = uploads.try_recv() else { break };
            batch.push(more);
        }
        let now = app.now();
        let is_sweep_due = swept_at_ms.is_none_or(|swept| now.since(swept) >= SWEEP);
        if is_sweep_due {
            swept_at_ms = Some(now);
        }
        keep(&app, std::mem::take(&mut batch), is_sweep_due).await;
    }
}

async fn keep(app: &App, batch: Vec<Waiting>, sweep: bool) {
    let (answers, uploads): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.answer, (waiting.device, waiting.upload))).unzip();
    let news = News::Changed.said_by(&app.origin);
    let kept = app.decide(move |decision| {
        let mut changed = false;
        for (device, upload) in &uploads {
            changed |= put(decision, device, upload, decision.now())?;
        }
        if changed {
            decision.announce(&news)?;
        }
        if sweep {
            decision.drop_old_profiles(decision.now())?;
        }
        Ok::<_, Failure>(changed)
    });
    let outcome = kept.await;
    if matches!(outcome, Ok(true)) {
        app.wake.notify_one();
    }
    for answer in answers {
        let said = match &outcome {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.again()),
        };
        // Whoever hung up is not told.
        let _ = answer.send(said);
    }
}

/// Keeps one upload; whether the reconcilers have to look at it now.
fn put(writer: &Writer<'_>, device: &DeviceId, upload: &Upload, now: Timestamp) -> Result<bool, StoreError> {
    match upload {
        Upload::Report(report, document) => {
            let new = NewReport {
                device,
                session: report.session,
                session_started_at_ms: report.session_started_at_ms,
                seq: report.seq,
                document,
                models: &states(report, now),
                facts: &report.facts,
            };
            put_shadow_counts(writer, device, report)?;
            Ok(writer.put_report(new, now)? == ReportOutcome::Changed)
        }
        Upload::Profile(upload, service) => {
            let new = NewProfile {
                device,
                session: upload.session,
                seq: upload.seq,
                model: &upload.model,
                bundle: upload.bundle,
                from_ms: upload.from_ms,
                to_ms: upload.to_ms,
                labelled: upload.labelled,
                correct: upload.correct,
                profile: &upload.profile.0,
                performance: upload.performance.as_ref().map(|performance| performance.0.as_slice()),
                service: service.as_ref(),
            };
            writer.put_profile(&new, now).map(|_| false)
        }
        Upload::Records(records) => writer.put_records(device, records, now).map(|_| false),
    }
}

/// What shadows did is kept beside the report: an agent that starts again counts from zero, and both count.
fn put_shadow_counts(writer: &Writer<'_>, device: &DeviceId, report: &Report) -> Result<(), StoreError> {
    for said in report.models.values().filter_map(|model| model.shadows.as_ref()) {
        let Ok(document) = serde_json::to_value(said) else { continue };
        writer.put_shadow_counts(&said.run, device, (report.session, report.seq), &document)?;
    }
    Ok(())
}

/// What of a report is asked about all devices at once.
pub(crate) fn states(report: &Report, seen_at_ms: Timestamp) -> Vec<NewModelState<'_>> {
    let states = report.models.iter().map(|(model, said)| {
        // The device's clock may be wrong, but not the time between two of its readings.
        let age = report.at_ms.since(said.active_since_ms.unwrap_or(report.at_ms));
        let since_ms = said.active.map(|_| seen_at_ms - age);
        NewModelState { model, bundle: said.active, since_ms, refused: &said.refused }
    });
    states.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_turns_away_and_says_when_to_come_back() {
        let (intake, mut uploads) = queue(1);
        let intake = Arc::new(intake);
        let upload = || Upload::Report(Box::new(crate::tests::support::report(1, None)), Value::Null);
        let device = || DeviceId::new("d1").unwrap();
        let first = tokio::spawn({
            let (intake, upload) = (Arc::clone(&intake), upload());
            async move { intake.put(device(), upload).await }
        });
        while uploads.0.is_empty() {
            tokio::task::yield_now().await;
        }
        let failure = intake.put(device(), upload()).await.unwrap_err();
        assert_eq!(failure.status().as_u16(), 503);
        let response = axum::response::IntoResponse::into_response(failure);
        assert_eq!(response.headers()["retry-after"], "15");
        let waiting = uploads.0.recv().await.unwrap();
        waiting.answer.send(Ok(())).unwrap();
        first.await.unwrap().unwrap();
    }
}
