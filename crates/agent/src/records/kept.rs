//! Records of predictions as the control plane gets them: see `edgeward_core::record`.

use edgeward_api::device::RecordUpload;
use edgeward_api::limits::RECORD_BYTES_MAX;
use edgeward_core::envelope::Base64;
use edgeward_core::record::{
    LabelRecord, RECORD_DAYS_MAX, RECORD_INPUT_BYTES_MAX, RECORD_SUBJECTS_MAX, Record, SALT_LEN,
    SUBJECT_BYTES_MAX, ShadowsRecord,
};
use edgeward_core::{ModelName, Timestamp};
use edgeward_sdk::{HandedRecord, Prediction, record_of};

use super::{Label, to_json};

/// The record of an answer; none if the bundle has none kept.
pub(super) fn prediction(model: &ModelName, prediction: &Prediction, now: Timestamp) -> Option<Vec<u8>> {
    let keepsake = prediction.keepsake.as_deref()?;
    let record = Record::Prediction(record_of(model, prediction, now)?);
    let input = (!keepsake.bytes.is_empty()).then(|| Base64(keepsake.bytes.clone()));
    let salt = Some(Base64(keepsake.salt.to_vec()));
    Some(to_json(&RecordUpload { record: text(&record), salt, input, subjects: keepsake.subjects.clone() }))
}

/// The record of a label.
pub(super) fn label(label: &Label, now: Timestamp) -> Vec<u8> {
    let Label { id, row, label, .. } = label;
    bare(&Record::Label(LabelRecord { prediction: *id, row: *row, label: label.clone(), at_ms: now }))
}

/// The record of what shadows said.
pub(super) fn shadows(said: ShadowsRecord) -> Vec<u8> {
    bare(&Record::Shadows(said))
}

/// What an app beside the agent made; none if it is no record of `model`, or one that the control plane would turn away.
pub(super) fn handed(model: &ModelName, handed: HandedRecord) -> Option<Vec<u8>> {
    let HandedRecord { record, salt, input, subjects } = handed;
    let said: Record = serde_json::from_str(&record).ok()?;
    let fits = match &said {
        Record::Prediction(said) => {
            let days = said.keep_days.max(said.record_days.unwrap_or(0));
            said.model == *model && days <= RECORD_DAYS_MAX
        }
        // It is the agent that asks shadows.
        Record::Shadows(_) => false,
        Record::Label(_) => salt.is_none() && input.is_none(),
    };
    let sizes = record.len() <= RECORD_BYTES_MAX
        && salt.as_ref().is_none_or(|salt| salt.0.len() == SALT_LEN)
        && input.as_ref().is_none_or(|input| input.0.len() <= RECORD_INPUT_BYTES_MAX)
        && subjects.len() <= RECORD_SUBJECTS_MAX
        && subjects.iter().all(|subject| subject.len() <= SUBJECT_BYTES_MAX);
    (fits && sizes).then(|| to_json(&RecordUpload { record, salt, input, subjects }))
}

fn bare(record: &Record) -> Vec<u8> {
    to_json(&RecordUpload { record: text(record), salt: None, input: None, subjects: Vec::new() })
}

fn text(record: &Record) -> String {
    String::from_utf8(to_json(record)).unwrap_or_default()
}
