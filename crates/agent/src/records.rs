//! What a device remembers of its answers: predictions for late labels, labelled samples and alerts for upload.
//!
//! A label that was acknowledged is on the disk: it is appended to the spool and synchronised before the answer. The
//! order inside (claim the row, append, synchronise, mark it in the journal) makes a crash at any point lead to a label
//! that is unknown again, never to one that is acknowledged and lost.

mod kept;
mod writer;

use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::thread::{self, JoinHandle};

use edgeward_api::device::Sample;
use edgeward_api::limits::SAMPLE_VALUES_MAX;
use edgeward_core::envelope::Base64;
use edgeward_core::record::ShadowsRecord;
use edgeward_core::{Alert, DeviceId, Digest, ModelName, PredictionId, Timestamp};
use edgeward_model::Interpretation;
use edgeward_monitor::Alarm;
use edgeward_sdk::{HandedRecords, Handover, Labelled, Prediction, Table, alert_kind, predicted_text};
use serde::Serialize;
use uuid::Uuid;

use self::writer::{Desk, Left};
use crate::durable::DurableError;
use crate::journal::{Entry, JOURNAL_BYTES_MAX, JOURNAL_PREDICTIONS_MAX, Journal, Lookup, Row};
use crate::registry::Registry;
use crate::spool::{Lane, SPOOL_BYTES_MAX, Spool};
use edgeward_sdk::chain;

/// Predictions, labels and alerts of one device.
pub struct Records {
    device: DeviceId,
    desk: Arc<Desk>,
    writing: Option<JoinHandle<()>>,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The prediction it is for.
    pub id: PredictionId,
    /// The row within the request's batch.
    pub row: u32,
    /// The truth: a class name, or a number as text.
    pub label: String,
    /// What the caller tells predictions apart by, as name and value.
    pub tags: Vec<(String, String)>,
}

/// What became of some labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LabelsTaken {
    /// Joined with their predictions and on the disk.
    pub accepted: usize,
    /// Rows that had their label already.
    pub already_labelled: usize,
    /// Labels whose prediction is not known, and why.
    pub unknown: Vec<UnknownLabel>,
}

/// A label without a prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownLabel {
    /// The prediction it names.
    pub id: PredictionId,
    /// The row it names.
    pub row: u32,
    /// Why it is not known.
    pub error: String,
}

impl Records {
    /// Opens or begins the records below `folder`.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path, device: DeviceId) -> Result<Self, DurableError> {
        let journal = Journal::open(&folder.join("journal"), JOURNAL_PREDICTIONS_MAX, JOURNAL_BYTES_MAX)?;
        let spool = Spool::open(&folder.join("spool"), SPOOL_BYTES_MAX)?;
        let desk = Arc::new(Desk::new(journal, spool));
        let at_it = Arc::clone(&desk);
        let writing = Some(thread::spawn(move || at_it.write_on()));
        Ok(Self { device, desk, writing })
    }

    /// What waits for upload.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        self.desk.settled_spool()
    }

    /// Has an answer remembered and its alarms raised, soon: nobody waits for the disk.
    pub fn answered(&self, model: &ModelName, prediction: &Prediction, now: Timestamp) {
        self.desk.leave(Left {
            entry: Some(entry(model, prediction, now).written()),
            record: kept::prediction(model, prediction, now),
            alerts: self.alerts(model, prediction.bundle, &prediction.alarms, now),
        });
    }

    /// Turns alarms into alerts that wait for upload.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn raise(
        &self,
        model: &ModelName,
        bundle: Digest,
        alarms: &[Alarm],
        now: Timestamp,
    ) -> Result<(), DurableError> {
        self.desk.alert(&self.alerts(model, bundle, alarms, now))
    }

    /// Alarms as they are uploaded, told to the log on the way.
    fn alerts(&self, model: &ModelName, bundle: Digest, alarms: &[Alarm], now: Timestamp) -> Vec<Vec<u8>> {
        let told = |alarm: &Alarm| {
            let alert = self.alert(model, bundle, alarm, now);
            tracing::warn!(%model, kind = alert.kind.as_str(), "{}", alert.message);
            to_json(&alert)
        };
        alarms.iter().map(told).collect()
    }

    /// Takes the alarms and labelled inputs that an app handed over. When this returns, they are on the disk.
    ///
    /// # Errors
    /// The disk refuses; take them again.
    pub fn handed(&self, model: &ModelName, handed: &Handover, now: Timestamp) -> Result<(), DurableError> {
        self.raise(model, handed.bundle, &handed.alarms, now)?;
        for sample in &handed.samples {
            let sample = Sample {
                prediction: sample.id,
                row: 0,
                model: model.clone(),
                bundle: handed.bundle,
                at_ms: handed.to_ms,
                features: sample.features.clone(),
                predicted: Some(sample.predicted.clone()),
                label: Some(sample.label.clone()),
                suspicion: sample.suspicion.clone(),
            };
            self.desk.spool.append(Lane::Samples, &to_json(&sample))?;
        }
        if handed.samples.is_empty() { Ok(()) } else { self.desk.spool.commit(Lane::Samples) }
    }

    /// Takes the records of predictions that an app handed over; what is no record of `model` is counted as lost.
    pub fn handed_records(&self, model: &ModelName, handed: HandedRecords) {
        let mut lost = handed.dropped;
        for record in handed.records {
            match kept::handed(model, record) {
                Some(line) => drop(self.desk.spool.offer(Lane::Records, &line)),
                None => lost += 1,
            }
        }
        self.desk.spool.lost(Lane::Records, lost);
    }

    /// Keeps what shadows said to a request whose prediction is kept.
    pub fn shadows_answered(&self, said: ShadowsRecord) {
        self.desk.spool.offer(Lane::Records, &kept::shadows(said));
    }

    fn alert(&self, model: &ModelName, bundle: Digest, alarm: &Alarm, now: Timestamp) -> Alert {
        let alarm = alarm.clone().with_finite_evidence();
        Alert {
            id: Uuid::now_v7().to_string(),
            kind: alert_kind(alarm.kind),
            device: self.device.clone(),
            model: model.clone(),
            bundle,
            at_ms: now,
            stream: alarm.stream,
            sample: alarm.sample,
            change_sample: alarm.change_sample,
            log10_evidence: alarm.log10_evidence,
            log10_threshold: alarm.log10_threshold,
            message: alarm.message,
        }
    }

    /// Joins labels with their predictions. When this returns, every accepted label is on the disk.
    ///
    /// # Errors
    /// The disk refuses; send the labels again.
    pub fn take_labels(
        &self,
        labels: &[Label],
        registry: &Registry,
        now: Timestamp,
    ) -> Result<LabelsTaken, DurableError> {
        let mut taken = LabelsTaken::default();
        let mut joined = Vec::new();
        let claim = |label: &Label| self.claim(label, (registry, now), &mut joined, &mut taken);
        let claimed = labels.iter().try_for_each(claim);
        // Also for rows that were labelled before: their answer must not come before their fsync.
        let durable = claimed.and_then(|()| self.desk.spool.commit(Lane::Samples));
        if let Err(error) = durable {
            let mut journal = self.journal();
            joined.iter().for_each(|(label, _)| journal.release(label.id, label.row));
            return Err(error);
        }
        for (label, row) in &joined {
            if keeps_records(registry, row) {
                self.desk.spool.offer(Lane::Records, &kept::label(label, now));
            }
            let marked = self.journal().mark_labelled(label.id, label.row, now);
            if let Err(error) = marked.and_then(|()| self.judge(label, row, registry, now)) {
                tracing::warn!("the label of {} is kept, but: {}", label.id, chain(&error));
            }
        }
        taken.accepted = joined.len();
        Ok(taken)
    }

    /// Looks a label's row up and, if it is the first for it, spools the sample.
    fn claim(
        &self,
        label: &Label,
        (registry, now): (&Registry, Timestamp),
        joined: &mut Vec<(Label, Row)>,
        taken: &mut LabelsTaken,
    ) -> Result<(), DurableError> {
        let mut journal = self.journal();
        let error = match journal.look_up(label.id, label.row, now) {
            Lookup::Found(row) => {
                let sample = sample(label, &row, suspicion(registry, label, &row));
                self.desk.spool.append(Lane::Samples, &to_json(&sample))?;
                journal.claim(label.id, label.row);
                joined.push((label.clone(), *row));
                return Ok(());
            }
            Lookup::Labelled => {
                taken.already_labelled += 1;
                return Ok(());
            }
            Lookup::UnknownPrediction => {
                "this device does not know the prediction, or not any more".to_owned()
            }
            Lookup::UnknownRow { rows } => format!("the prediction has rows 0 to {}", rows.saturating_sub(1)),
        };
        taken.unknown.push(UnknownLabel { id: label.id, row: label.row, error });
        Ok(())
    }

    /// Tells the monitor how the prediction fared.
    fn judge(
        &self,
        label: &Label,
        row: &Row,
        registry: &Registry,
        now: Timestamp,
    ) -> Result<(), DurableError> {
        let Some(served) = registry.get(row.model.as_str()) else { return Ok(()) };
        let Some(predicted) = &row.predicted else { return Ok(()) };
        let Row { values, scores, .. } = row;
        let of = Some((label.id, label.row));
        let labelled = Labelled { predicted, truth: &label.label, scores, values, tags: &label.tags, of };
        let alarm = served.handle.label(row.bundle, &labelled);
        self.raise(&row.model, row.bundle, alarm.as_slice(), now)
    }

    /// What the journal has of a prediction.
    #[must_use]
    pub fn remembered(&self, id: PredictionId) -> Option<Entry> {
        self.journal().entry(id)
    }

    /// Predictions that can still be labelled.
    #[must_use]
    pub fn journalled(&self) -> usize {
        self.journal().len()
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.desk.journal()
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.desk.end();
        // A thread that panicked has said so already.
        let _ = self.writing.take().map(JoinHandle::join);
    }
}

/// Whether the model's predictions are kept, as the one says that serves now.
fn keeps_records(registry: &Registry, row: &Row) -> bool {
    let served = registry.get(row.model.as_str()).and_then(|served| served.handle.current());
    served.is_some_and(|loaded| loaded.records().is_some())
}

fn entry(model: &ModelName, prediction: &Prediction, now: Timestamp) -> Entry {
    let table = prediction.table.as_ref().filter(|table| table.width <= SAMPLE_VALUES_MAX);
    let rows = prediction.table.as_ref().map_or(prediction.rows.len(), |table| table.rows);
    let predicted = (0..rows).map(|row| prediction.rows.get(row).and_then(predicted_text)).collect();
    let (width, values) =
        table.map_or_else(Default::default, |Table { width, values, .. }| (*width, values.clone()));
    let (scored, scores) = scores(&prediction.rows, rows);
    Entry {
        id: prediction.id,
        model: model.clone(),
        bundle: prediction.bundle,
        at_ms: now,
        predicted,
        width,
        values,
        scored,
        scores,
    }
}

/// Every row's probabilities if all have as many, else that of the predicted class; NaN where a row has none.
fn scores(said: &[Interpretation], rows: usize) -> (usize, Vec<f32>) {
    let classes = said.first().map_or(0, |row| row.scores.len());
    if classes > 0 && said.len() == rows && said.iter().all(|row| row.scores.len() == classes) {
        return (classes, said.iter().flat_map(|row| row.scores.iter().copied()).collect());
    }
    let confidence = |row: usize| said.get(row).and_then(|row| row.confidence);
    if (0..rows).all(|row| confidence(row).is_none()) {
        return (0, Vec::new());
    }
    (1, (0..rows).map(|row| confidence(row).unwrap_or(f32::NAN)).collect())
}

/// What the model that serves now finds impossible about a labelled row.
fn suspicion(registry: &Registry, label: &Label, row: &Row) -> Option<String> {
    let loaded = registry.get(row.model.as_str())?.handle.current()?;
    loaded.recorder()?.suspicion(&row.values, &label.label)
}

fn sample(label: &Label, row: &Row, suspicion: Option<String>) -> Sample {
    Sample {
        prediction: label.id,
        row: label.row,
        model: row.model.clone(),
        bundle: row.bundle,
        at_ms: row.at_ms,
        features: Base64(row.values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        predicted: row.predicted.clone(),
        label: Some(label.label.clone()),
        suspicion,
    }
}

pub(crate) fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("names, finite numbers and texts always have a JSON form")
}

#[cfg(test)]
mod tests;
