//! Records of predictions as the control plane gets them: see `edgeward_core::record`.

use edgeward_api::device::RecordUpload;
use edgeward_core::envelope::Base64;
use edgeward_core::record::{Answer, LabelRecord, Mark, PredictionRecord, RECORD_ANSWERS_MAX, Record, seed};
use edgeward_core::{ModelName, Timestamp};
use edgeward_monitor::Alarm;
use edgeward_sdk::Prediction;

use super::{Label, alert_kind, predicted_text, to_json};

/// The record of an answer; none if the bundle has none kept.
pub(super) fn prediction(model: &ModelName, prediction: &Prediction, now: Timestamp) -> Option<Vec<u8>> {
    let keepsake = prediction.keepsake.as_deref()?;
    let answers = prediction.rows.iter().take(RECORD_ANSWERS_MAX);
    let answers = answers.map(|row| Answer { predicted: predicted_text(row), confidence: row.confidence });
    let record = PredictionRecord {
        prediction: prediction.id,
        model: model.clone(),
        bundle: prediction.bundle,
        form: keepsake.form.clone(),
        at_ms: now,
        latency_us: u64::try_from(prediction.latency.as_micros()).unwrap_or(u64::MAX),
        input: keepsake.input,
        kept: keepsake.kept.clone(),
        keep_days: keepsake.keep_days,
        output: keepsake.output,
        rows: prediction.table.as_ref().map_or(prediction.rows.len(), |table| table.rows),
        answers: answers.collect(),
        marks: prediction.alarms.iter().map(mark).collect(),
        seed: seed(prediction.id),
    };
    let kept = (!keepsake.bytes.is_empty()).then(|| Base64(keepsake.bytes.clone()));
    Some(line(&Record::Prediction(record), Some(Base64(keepsake.salt.to_vec())), kept))
}

/// The record of a label.
pub(super) fn label(label: &Label, now: Timestamp) -> Vec<u8> {
    let Label { id, row, label, .. } = label;
    let record = LabelRecord { prediction: *id, row: *row, label: label.clone(), at_ms: now };
    line(&Record::Label(record), None, None)
}

fn line(record: &Record, salt: Option<Base64>, input: Option<Base64>) -> Vec<u8> {
    let text = String::from_utf8(to_json(record)).unwrap_or_default();
    to_json(&RecordUpload { record: text, salt, input })
}

fn mark(alarm: &Alarm) -> Mark {
    let kind = alert_kind(alarm.kind).as_str();
    Mark { kind: kind.to_owned(), stream: alarm.stream.clone(), message: alarm.message.clone() }
}
