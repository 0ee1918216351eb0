//! What is kept of a prediction beside its answer: digests of what went in and came out, and the input as far as the
//! bundle's policy has it kept.
//!
//! The input is packed before the model runs, because the model takes it; whether it is kept is decided afterwards, when the
//! detectors have spoken.

use edgeward_core::alert::AlertKind;
use edgeward_core::record::{
    Answer, Kept, Mark, PredictionRecord, RECORD_ANSWERS_MAX, RECORD_INPUT_BYTES_MAX, RECORD_SUBJECTS_MAX,
    SALT_LEN, SUBJECT_BYTES_MAX, salted, seed,
};
use edgeward_core::{Digest, ModelName, PredictionId, RecordPolicy, Timestamp};
use edgeward_model::tensor::{pack, unpack};
use edgeward_model::{NamedTensor, Signature, Tensor, TensorData};
use edgeward_monitor::{Alarm, AlarmKind};
use uuid::Uuid;

use crate::prediction::{Prediction, predicted_text};

/// What is kept of one prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepsake {
    /// Salt of the digests.
    pub salt: [u8; SALT_LEN],
    /// Salted digest of the packed inputs.
    pub input: Digest,
    /// Salted digest of the packed outputs.
    pub output: Digest,
    /// What of the input is kept.
    pub kept: Kept,
    /// That, packed; empty if nothing is.
    pub bytes: Vec<u8>,
    /// Days for which it is kept.
    pub keep_days: u32,
    /// Days for which its record is kept; none is for ever.
    pub record_days: Option<u32>,
    /// The form that ran.
    pub form: String,
    /// What the detectors said about it.
    pub marks: Vec<Mark>,
    /// Whom it is about, each once; none if the policy names no field, or they are too many.
    pub subjects: Vec<String>,
}

/// The record of an answer of `model`; none if the bundle has none kept, or if it is on its way already.
#[must_use]
pub fn record_of(model: &ModelName, prediction: &Prediction, now: Timestamp) -> Option<PredictionRecord> {
    let keepsake = prediction.keepsake.as_deref()?;
    let answers = prediction.rows.iter().take(RECORD_ANSWERS_MAX);
    let answers = answers.map(|row| Answer { predicted: predicted_text(row), confidence: row.confidence });
    Some(PredictionRecord {
        prediction: prediction.id,
        model: model.clone(),
        bundle: prediction.bundle,
        form: keepsake.form.clone(),
        at_ms: now,
        latency_us: u64::try_from(prediction.latency.as_micros()).unwrap_or(u64::MAX),
        input: keepsake.input,
        kept: keepsake.kept.clone(),
        keep_days: keepsake.keep_days,
        record_days: keepsake.record_days,
        output: keepsake.output,
        rows: prediction.table.as_ref().map_or(prediction.rows.len(), |table| table.rows),
        answers: answers.collect(),
        marks: keepsake.marks.clone(),
        seed: seed(prediction.id),
        trace: prediction.trace.clone(),
    })
}

/// What an alarm is called once it is told.
#[must_use]
pub const fn alert_kind(kind: AlarmKind) -> AlertKind {
    match kind {
        AlarmKind::Drift => AlertKind::Drift,
        AlarmKind::Outlier => AlertKind::Outlier,
        AlarmKind::Decay => AlertKind::Decay,
    }
}

/// What a record says about an alarm.
pub(crate) fn mark(alarm: &Alarm) -> Mark {
    let kind = alert_kind(alarm.kind).as_str().to_owned();
    Mark { kind, stream: alarm.stream.clone(), message: alarm.message.clone() }
}

/// An input, packed before the model took it.
pub(crate) struct Packed {
    salt: [u8; SALT_LEN],
    bytes: Vec<u8>,
}

impl Packed {
    pub(crate) fn of(inputs: &[NamedTensor]) -> Self {
        Self { salt: *Uuid::new_v4().as_bytes(), bytes: pack(inputs) }
    }

    /// What `policy` keeps of it.
    pub(crate) fn keep(
        self,
        policy: &RecordPolicy,
        signature: &Signature,
        (id, form): (PredictionId, String),
        outputs: &[NamedTensor],
        marks: Vec<Mark>,
    ) -> Keepsake {
        let Self { salt, bytes } = self;
        let (input, output) = (salted(&salt, &bytes), salted(&salt, &pack(outputs)));
        let is_kept = policy.keeps_input(seed(id), !marks.is_empty());
        let subjects = policy.subject.as_deref().map(|field| subjects(&bytes, field, signature));
        let (kept, bytes) = match is_kept {
            false => (Kept::Nothing, Vec::new()),
            true if subjects == Some(None) => (Kept::TooManySubjects, Vec::new()),
            true if bytes.len() > RECORD_INPUT_BYTES_MAX => {
                (Kept::TooLarge { bytes: bytes.len() }, Vec::new())
            }
            true if policy.redact.is_empty() => (Kept::Whole, bytes),
            true => redacted(&salt, &bytes, &policy.redact, signature),
        };
        let subjects = subjects.flatten().unwrap_or_default();
        let (keep_days, record_days) = (policy.retention_days, policy.records_days);
        Keepsake { salt, input, output, kept, bytes, keep_days, record_days, form, marks, subjects }
    }
}

/// Whom the rows are about, by the values of `field`: each once, in order; none if they are too many, or a name too long.
fn subjects(bytes: &[u8], field: &str, signature: &Signature) -> Option<Vec<String>> {
    let tensors = unpack(bytes).ok()?;
    let named = |(at, one): &(usize, &NamedTensor)| {
        let name = signature.inputs.get(*at).map_or("", |spec| spec.name.as_str());
        one.name == field || one.name.is_empty() && name == field
    };
    let column = signature.feature_names.iter().position(|name| name == field);
    let (tensor, column) = match tensors.iter().enumerate().find(named) {
        Some((_, whole)) => (&whole.tensor, 0),
        None => (&tensors.first()?.tensor, column?),
    };
    let width = tensor.row_len().max(1);
    let mut subjects = std::collections::BTreeSet::new();
    for row in 0..tensor.rows() {
        let name = subject(tensor, row * width + column)?;
        subjects.insert(name);
        if subjects.len() > RECORD_SUBJECTS_MAX {
            return None;
        }
    }
    Some(subjects.into_iter().collect())
}

/// The name in one element: a text as it is, a number as people write it.
fn subject(tensor: &Tensor, at: usize) -> Option<String> {
    let name = match tensor.data() {
        TensorData::Bytes(texts) => String::from_utf8_lossy(texts.get(at)?).into_owned(),
        TensorData::F32(values) => values.get(at)?.to_string(),
        _ => tensor.number(at)?.to_string(),
    };
    (name.len() <= SUBJECT_BYTES_MAX).then_some(name)
}

/// The input without some fields. What cannot be read back is not kept.
fn redacted(
    salt: &[u8; SALT_LEN],
    bytes: &[u8],
    fields: &[String],
    signature: &Signature,
) -> (Kept, Vec<u8>) {
    let Ok(mut tensors) = unpack(bytes) else { return (Kept::Nothing, Vec::new()) };
    for field in fields {
        if let Some(column) = signature.feature_names.iter().position(|name| name == field) {
            tensors.first_mut().into_iter().for_each(|one| blank(&mut one.tensor, Some(column)));
        }
        let named = |(at, one): &(usize, &mut NamedTensor)| {
            let name = signature.inputs.get(*at).map_or("", |spec| spec.name.as_str());
            one.name == *field || one.name.is_empty() && name == field
        };
        tensors.iter_mut().enumerate().filter(named).for_each(|(_, one)| blank(&mut one.tensor, None));
    }
    let bytes = pack(&tensors);
    (Kept::Redacted { fields: fields.to_vec(), digest: salted(salt, &bytes) }, bytes)
}

/// Takes the values of one column of every row away, or all of them.
fn blank(tensor: &mut Tensor, column: Option<usize>) {
    let width = tensor.row_len().max(1);
    let gone = |at: usize| column.is_none_or(|column| at % width == column);
    let empty = Tensor::new([0], Vec::<f32>::new());
    let Ok(empty) = empty else { return };
    let (shape, mut data) = std::mem::replace(tensor, empty).into_parts();
    match &mut data {
        TensorData::F32(values) => wipe(values, gone, f32::NAN),
        TensorData::F64(values) => wipe(values, gone, f64::NAN),
        TensorData::I64(values) => wipe(values, gone, 0),
        TensorData::I32(values) => wipe(values, gone, 0),
        TensorData::U8(values) => wipe(values, gone, 0),
        TensorData::I8(values) => wipe(values, gone, 0),
        TensorData::Bool(values) => wipe(values, gone, false),
        TensorData::Bytes(values) => wipe(values, gone, Vec::new()),
    }
    if let Ok(blanked) = Tensor::new(shape, data) {
        *tensor = blanked;
    }
}

fn wipe<T: Clone>(values: &mut [T], gone: impl Fn(usize) -> bool, with: T) {
    let picked = values.iter_mut().enumerate().filter(|(at, _)| gone(*at));
    picked.for_each(|(_, value)| *value = with.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_core::record::{InputsKept, RECORD_POLICY_SCHEMA};
    use edgeward_model::{DataType, Dim, Task, TensorSpec};

    fn signature() -> Signature {
        let batch = || Dim::symbol("batch");
        let x = TensorSpec::new("x", DataType::Fp32, vec![batch(), Dim::Fixed(3)]);
        let name = TensorSpec::new("name", DataType::Bytes, vec![batch(), Dim::Fixed(1)]);
        let mut signature = Signature::new(Task::Other, vec![x.clone(), name], vec![x]);
        signature.feature_names = ["age", "height", "weight"].map(str::to_owned).to_vec();
        signature
    }

    fn inputs() -> Vec<NamedTensor> {
        vec![
            Tensor::from_rows(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap().named("x"),
            Tensor::new([2, 1], vec![b"Ada".to_vec(), b"Bob".to_vec()]).unwrap().named("name"),
        ]
    }

    fn keep(inputs_kept: InputsKept, redact: &[&str], flagged: bool) -> Keepsake {
        let policy = RecordPolicy {
            schema: RECORD_POLICY_SCHEMA.to_owned(),
            inputs: inputs_kept,
            sampled: 0.0,
            redact: redact.iter().map(|&field| field.to_owned()).collect(),
            retention_days: 30,
            records_days: None,
            subject: Some("name".to_owned()),
        };
        keep_by(&policy, &inputs(), flagged)
    }

    fn keep_by(policy: &RecordPolicy, inputs: &[NamedTensor], flagged: bool) -> Keepsake {
        let id = PredictionId(Uuid::from_u128(1));
        let marks = flagged.then(|| Mark { kind: "outlier".into(), stream: None, message: String::new() });
        let marks = marks.into_iter().collect();
        Packed::of(inputs).keep(policy, &signature(), (id, "rten-f32".into()), inputs, marks)
    }

    #[test]
    fn whom_an_input_is_about_is_said_beside_what_is_kept_of_it() {
        assert_eq!(keep(InputsKept::All, &["name"], false).subjects, ["Ada", "Bob"]);
        assert_eq!(
            keep(InputsKept::Never, &[], false).subjects,
            ["Ada", "Bob"],
            "its record is about them, too"
        );
        let policy = |field: &str| RecordPolicy {
            schema: RECORD_POLICY_SCHEMA.to_owned(),
            inputs: InputsKept::All,
            sampled: 0.0,
            redact: Vec::new(),
            retention_days: 30,
            records_days: Some(365),
            subject: Some(field.to_owned()),
        };
        let kept = keep_by(&policy("weight"), &inputs(), false);
        assert_eq!((kept.subjects, kept.record_days), (vec!["3".to_owned(), "6".to_owned()], Some(365)));
        let many = (0..=RECORD_SUBJECTS_MAX).map(|n| n as f32).flat_map(|n| [n, 0.0, 0.0]).collect();
        let rows = [Tensor::from_rows(RECORD_SUBJECTS_MAX + 1, 3, many).unwrap().named("x")];
        let kept = keep_by(&policy("age"), &rows, false);
        assert_eq!((kept.kept, kept.bytes.len()), (Kept::TooManySubjects, 0));
    }

    #[test]
    fn what_is_kept_has_the_digest_of_what_went_in() {
        let whole = keep(InputsKept::All, &[], false);
        assert_eq!((&whole.kept, salted(&whole.salt, &whole.bytes)), (&Kept::Whole, whole.input));
        assert_eq!(unpack(&whole.bytes).unwrap(), inputs());
        let nothing = keep(InputsKept::Flagged, &[], false);
        assert_eq!((nothing.kept, nothing.bytes.len()), (Kept::Nothing, 0));
        assert_eq!(keep(InputsKept::Flagged, &[], true).kept, Kept::Whole);
        assert_ne!(whole.input, keep(InputsKept::All, &[], false).input, "each has its salt");
    }

    #[test]
    fn redacted_fields_are_gone_and_the_rest_is_there() {
        let kept = keep(InputsKept::All, &["height", "name"], false);
        let Kept::Redacted { fields, digest } = &kept.kept else { panic!("{:?}", kept.kept) };
        assert_eq!((fields.len(), *digest), (2, salted(&kept.salt, &kept.bytes)));
        assert_ne!(*digest, kept.input);
        let back = unpack(&kept.bytes).unwrap();
        let values = back[0].tensor.as_f32().unwrap();
        assert_eq!((values[0], values[2], values[3], values[5]), (1.0, 3.0, 4.0, 6.0));
        assert!(values[1].is_nan() && values[4].is_nan());
        assert_eq!(*back[1].tensor.data(), TensorData::Bytes(vec![Vec::new(), Vec::new()]));
    }
}
