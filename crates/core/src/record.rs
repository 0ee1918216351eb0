//! What is kept of each prediction, so that it can be explained and proved later.
//!
//! A [`Record`] is written by the device, as one line of JSON whose bytes never change afterwards: they are the leaves of a
//! batch's hash tree, and the batch's root is in the ledger. What may have to be forgotten is not in it: the input, and the
//! salt under which its digest stands, travel beside it and are kept under a key that is dropped when their time is over.
//! Without the salt the digest says nothing about the input; the record and its proof hold all the same.
//!
//! Shadow models answer later than production, if they find the time: what they said is a record of its own kind.
//!
//! Deliberately missing: whom a prediction is about. It travels beside the record, and is kept as a keyed digest only.

use serde::{Deserialize, Serialize};

use crate::digest::Hasher;
use crate::{Digest, ModelName, PredictionId, RunId, Timestamp};

/// Schema of [`RecordPolicy`].
pub const RECORD_POLICY_SCHEMA: &str = "edgeward.records/1";
/// Most rows of one request whose answers are in its record; the others are in the output's digest only.
pub const RECORD_ANSWERS_MAX: usize = 64;
/// Largest input that is kept, in bytes.
pub const RECORD_INPUT_BYTES_MAX: usize = 256 << 10;
/// Most fields that are redacted.
pub const RECORD_REDACT_MAX: usize = 256;
/// Longest time that inputs and records are kept, in days.
pub const RECORD_DAYS_MAX: u32 = 3650;
/// Most subjects of one request; of one with more, no input is kept.
pub const RECORD_SUBJECTS_MAX: usize = 64;
/// Longest name of a subject, in bytes; of a request with a longer one, no input is kept.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Length of a salt, in bytes.
pub const SALT_LEN: usize = 16;

/// Bits of a seed: what every JSON number holds.
const SEED_BITS: u32 = 53;

/// What is kept of a model's predictions. A bundle without it has none kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordPolicy {
    /// Always [`RECORD_POLICY_SCHEMA`].
    pub schema: String,
    /// Whose inputs are kept.
    pub inputs: InputsKept,
    /// Share of the inputs that is kept where they are `sampled`.
    pub sampled: f64,
    /// Features or inputs whose values are taken out of what is kept.
    pub redact: Vec<String>,
    /// Days after which inputs cannot be read any more.
    pub retention_days: u32,
    /// Days after which the records themselves are dropped but for their digests; none keeps them for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_days: Option<u32>,
    /// Feature or input that says whom a row is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// Whose inputs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputsKept {
    /// None.
    #[default]
    Never,
    /// A share, chosen by the prediction's id.
    Sampled,
    /// Those that a detector marked.
    Flagged,
    /// All.
    All,
}

impl RecordPolicy {
    /// Whether the input of a prediction with this seed is kept.
    #[must_use]
    pub fn keeps_input(&self, seed: u64, flagged: bool) -> bool {
        match self.inputs {
            InputsKept::Never => false,
            InputsKept::Sampled => (seed as f64) < self.sampled * (1_u64 << SEED_BITS) as f64,
            InputsKept::Flagged => flagged,
            InputsKept::All => true,
        }
    }
}

/// One line about a prediction.
#[expect(
    clippy::large_enum_variant,
    reason = "one is made per request and written at once; nobody keeps many"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Record {
    /// An answered request.
    Prediction(PredictionRecord),
    /// The truth about one row of it, which may come much later.
    Label(LabelRecord),
    /// What the candidates beside the champion said to it.
    Shadows(ShadowsRecord),
}

impl Record {
    /// The prediction it is about.
    #[must_use]
    pub const fn prediction(&self) -> PredictionId {
        match self {
            Self::Prediction(record) => record.prediction,
            Self::Label(label) => label.prediction,
            Self::Shadows(shadows) => shadows.prediction,
        }
    }

    /// The word for its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Prediction(_) => "prediction",
            Self::Label(_) => "label",
            Self::Shadows(_) => "shadows",
        }
    }

    /// The row it is about; 0 for a whole request.
    #[must_use]
    pub const fn row(&self) -> u32 {
        match self {
            Self::Prediction(_) | Self::Shadows(_) => 0,
            Self::Label(label) => label.row,
        }
    }
}

/// An answered request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictionRecord {
    /// The prediction; a UUIDv7.
    pub prediction: PredictionId,
    /// The model.
    pub model: ModelName,
    /// The bundle that answered: the digest of its manifest, which lists the digest of every file.
    pub bundle: Digest,
    /// The form of the bundle that ran.
    pub form: String,
    /// When, by the device's clock.
    pub at_ms: Timestamp,
    /// Time from the pinned model to the answer.
    pub latency_us: u64,
    /// Salted digest of what the model was given: see [`salted`].
    pub input: Digest,
    /// What of the input is kept.
    pub kept: Kept,
    /// Days for which it is kept.
    pub keep_days: u32,
    /// Days for which this record and what came for it is kept; none is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_days: Option<u32>,
    /// Salted digest of every output.
    pub output: Digest,
    /// Rows of the request.
    pub rows: usize,
    /// What was answered, row by row; at most [`RECORD_ANSWERS_MAX`].
    pub answers: Vec<Answer>,
    /// What the detectors said about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// Seed of the explanation.
    pub seed: u64,
    /// The trace that the request was a step of: 32 hex digits; none if its caller told none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// What of an input is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kept {
    /// Nothing: the policy says so.
    Nothing,
    /// Nothing: it is about more subjects than [`RECORD_SUBJECTS_MAX`], or one whose name is longer than
    /// [`SUBJECT_BYTES_MAX`].
    TooManySubjects,
    /// Nothing: it is larger than [`RECORD_INPUT_BYTES_MAX`].
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// All of it.
    Whole,
    /// All but some fields.
    Redacted {
        /// Which.
        fields: Vec<String>,
        /// Salted digest of what is kept.
        digest: Digest,
    },
}

/// What was answered about one row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The class, by name or index, or the value as text; none where the model does not say.
    pub predicted: Option<String>,
    /// How sure the model was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
}

/// What a detector said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// `outlier`, `drift` or `decay`.
    pub kind: String,
    /// Of which stream; none if it is about the model as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// In words.
    pub message: String,
}

/// The truth about one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRecord {
    /// The prediction.
    pub prediction: PredictionId,
    /// The row within the request.
    pub row: u32,
    /// The class or the value.
    pub label: String,
    /// When it arrived, by the device's clock.
    pub at_ms: Timestamp,
}

/// What the candidates beside the champion said to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowsRecord {
    /// The champion's prediction.
    pub prediction: PredictionId,
    /// The run whose candidates they are.
    pub run: RunId,
    /// When they had answered, by the device's clock.
    pub at_ms: Timestamp,
    /// Each candidate.
    pub candidates: Vec<ShadowSaid>,
}

/// What one candidate said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowSaid {
    /// Its bundle.
    pub bundle: Digest,
    /// How long it took.
    pub latency_us: u64,
    /// Row by row, at most [`RECORD_ANSWERS_MAX`]; none if it failed.
    pub answers: Option<Vec<Answer>>,
}

/// The digest of `bytes` under a salt: SHA-256 of the salt and the bytes.
#[must_use]
pub fn salted(salt: &[u8; SALT_LEN], bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(salt);
    hasher.update(bytes);
    hasher.finish()
}

/// The seed of a prediction: the last bits of its id.
#[must_use]
pub const fn seed(prediction: PredictionId) -> u64 {
    let (_, low) = prediction.0.as_u64_pair();
    low & ((1 << SEED_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(inputs: InputsKept) -> RecordPolicy {
        RecordPolicy {
            schema: RECORD_POLICY_SCHEMA.to_owned(),
            inputs,
            sampled: 0.25,
            redact: Vec::new(),
            retention_days: 90,
            records_days: None,
            subject: None,
        }
    }

    #[test]
    fn a_quarter_of_the_seeds_is_a_quarter_of_the_inputs() {
        let sampled = policy(InputsKept::Sampled);
        let kept = (0..1000_u64).filter(|n| sampled.keeps_input(n * (1 << SEED_BITS) / 1000, false));
        assert_eq!(kept.count(), 250);
        assert!(!policy(InputsKept::Never).keeps_input(0, true));
        assert!(policy(InputsKept::Flagged).keeps_input(u64::MAX, true));
        assert!(!policy(InputsKept::Flagged).keeps_input(0, false));
        assert!(policy(InputsKept::All).keeps_input(u64::MAX, false));
    }

    #[test]
    fn a_seed_is_a_json_number() {
        let prediction = PredictionId(uuid::Uuid::from_u128(u128::MAX));
        assert_eq!(seed(prediction), (1 << 53) - 1);
        assert_eq!(seed(prediction) as f64 as u64, seed(prediction));
    }

    #[test]
    fn records_read_back_and_tell_their_kind() {
        let label = LabelRecord {
            prediction: PredictionId(uuid::Uuid::from_u128(7)),
            row: 3,
            label: "8".into(),
            at_ms: Timestamp(5),
        };
        let record = Record::Label(label);
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.starts_with(r#"{"is":"label","#), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert_eq!((record.kind(), record.row()), ("label", 3));
    }
}
