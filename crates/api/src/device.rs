//! Documents between a device and the control plane.

use std::collections::BTreeMap;

use edgeward_core::envelope::Base64;
use edgeward_core::slot::Refused;
use edgeward_core::{Alert, DeviceId, Digest, ModelName, PredictionId, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::access::DeviceCertificate;

/// Schema of [`Report`].
pub const REPORT_SCHEMA: &str = "edgeward.report/2";
/// Schema of [`ProfileUpload`].
pub const PROFILE_SCHEMA: &str = "edgeward.profile-upload/3";
/// Schema of [`SamplesUpload`].
pub const SAMPLES_SCHEMA: &str = "edgeward.samples/1";

/// Schema of [`RecordsUpload`].
pub const RECORDS_SCHEMA: &str = "edgeward.records-upload/1";

/// A device asks to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolRequest {
    /// The join token an operator made.
    pub join_token: String,
    /// The name the device would like; the server adds a suffix when it is taken.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: DeviceId,
    /// Under TLS: the public half of a key that the device made, as in a request for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub public_key: Option<Base64>,
    /// The device is `name` already and joins again: no other id will do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl EnrolRequest {
    /// A new device joins without TLS.
    #[must_use]
    pub const fn new(join_token: String, name: DeviceId) -> Self {
        Self { join_token, name, public_key: None, again: false }
    }
}

/// The device has joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolAnswer {
    /// Its id from now on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: DeviceId,
    /// Its bearer credential, a secret; none under TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Its certificate under TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DeviceCertificate>,
    /// The root of the repository to pin, as it is signed: a TUF document.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub root: serde_json::Value,
}

/// What a device runs and how it fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    /// Always [`REPORT_SCHEMA`].
    pub schema: String,
    /// One start of the agent.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: Uuid,
    /// Rises by one with every report of a session; an older one is ignored.
    pub seq: u64,
    /// When the session began, by the device's clock: a later session replaces an earlier one.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub session_started_at_ms: Timestamp,
    /// When it was made, by the device's clock.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub at_ms: Timestamp,
    /// The agent's version.
    pub agent_version: String,
    /// Where the device serves predictions, such as `http://127.0.0.1:8600`.
    pub endpoint: String,
    /// The agent's process id.
    pub pid: u32,
    /// Generation of the desired state it follows; none before the first.
    pub generation: Option<u64>,
    /// The device's clock stands before a time it has proof of.
    pub clock_unsure: bool,
    /// Why the device does not act on the repository it follows; none if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryTrouble>,
    /// What the device says of itself: labels that nobody else sets, such as `os` and `arch`.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// One entry per model.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub models: BTreeMap<ModelName, ModelReport>,
    /// What the device saw of the ledger; none before the first checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerSeen>,
}

/// What a device saw of the ledger, as a witness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LedgerSeen {
    /// The latest signed checkpoint that continues all earlier ones.
    pub note: Option<String>,
    /// Why a checkpoint offered since then is not believed: the ledger was cut back or forked.
    pub fault: Option<String>,
}

/// A signed checkpoint, and proof that it continues the one that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointSince {
    /// The signed note.
    pub note: String,
    /// Hashes of the proof (RFC 9162, section 2.1.4); none where fewer entries are covered than were asked about.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub consistency: Option<Vec<Digest>>,
}

/// Why a device does not act on the repository it follows. What it runs goes on serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RepositoryTrouble {
    /// The stable name of the reason, such as `expired` or `rolled_back`.
    pub name: String,
    /// The reason in words, and what to do.
    pub reason: String,
}

/// How one model fares on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelReport {
    /// The bundle that serves.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub active: Option<Digest>,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub active_since_ms: Option<Timestamp>,
    /// `idle`, `staging` or `probation`.
    pub phase: String,
    /// Bundles the device will not run.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub refused: Vec<Refused>,
    /// Requests answered since the agent started.
    pub requests: u64,
    /// Requests that failed through no fault of the caller.
    pub requests_failed: u64,
    /// Swaps since the agent started.
    pub swaps: u64,
    /// Bytes that came for its bundles since the agent started.
    #[serde(default)]
    pub received_bytes: u64,
    /// Accuracy over the last labelled predictions, in [0, 1]; none without labels.
    pub accuracy: Option<f64>,
    /// Labels in that window.
    pub accuracy_labels: u64,
    /// Each stream's evidence of change, log10.
    pub evidence: BTreeMap<String, f64>,
    /// The threshold the evidence is held against, log10.
    pub log10_threshold: Option<f64>,
    /// The last few things the device decided, and why; the newest last.
    pub reasons: Vec<String>,
    /// How the shadows beside it fare; none without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadows: Option<ShadowReport>,
}

/// How the shadows of one model fare on one device, counted since the agent started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShadowReport {
    /// The run whose candidates they are.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// Requests that they answered, too.
    pub mirrored: u64,
    /// Requests and labels that found the queue full and were left out.
    pub dropped: u64,
    /// Labelled requests by which of the models were wrong: the champion is bit 0 of a count's place, candidate `i` bit
    /// `i + 1`. Empty before all of them are there.
    pub losses: Vec<u64>,
    /// One entry per candidate, in their order.
    pub candidates: Vec<ShadowCount>,
}

/// How one shadow fares on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShadowCount {
    /// Its bundle.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// Whether it is on the device, verified and tested.
    pub staged: bool,
    /// Rows that it answered.
    pub answered: u64,
    /// Rows that it failed to answer: they count as wrong.
    pub failed: u64,
    /// Rows on which it said what the champion said.
    pub agreed: u64,
    /// Sum of its confidence over the rows it answered, in millionths.
    pub confidence_micros: u64,
    /// Why it is not on the device yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One window's profile of one model on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileUpload {
    /// Always [`PROFILE_SCHEMA`].
    pub schema: String,
    /// One start of the agent.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: Uuid,
    /// Unique within the session: a repeated upload is counted once.
    pub seq: u64,
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// The bundle that served.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// Start of the window.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub from_ms: Timestamp,
    /// End of the window.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub to_ms: Timestamp,
    /// The profile's own versioned bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub profile: Base64,
    /// Labels that arrived in the window.
    pub labelled: u64,
    /// How many of them agreed with the prediction.
    pub correct: u64,
    /// How well predictions agreed with those labels, in its own versioned bytes; none without labels that say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub performance: Option<Base64>,
    /// How requests fared in the window; none of a device that serves none itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
}

/// Upper bounds of the latencies that [`Service::latency`] counts, in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// How requests fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    /// Requests that failed through no fault of the caller.
    pub failed: u64,
    /// Requests that were answered, by how long it took: up to each of [`LATENCY_BOUNDS_US`], and longer.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<u64>))]
    pub latency: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Errors of a regression's answers that labels came for, by size: step `n` counts absolute errors from `2^(n / 4)` on, in
    /// the label's unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub errors: BTreeMap<i16, u64>,
}

impl Service {
    /// Requests that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.latency.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What came on top of `before`; counts that fell began anew. Errors are counted by window and stay.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut latency = self.latency;
        latency
            .iter_mut()
            .zip(before.latency)
            .for_each(|(count, before)| *count = count.saturating_sub(before));
        Self { failed: self.failed.saturating_sub(before.failed), latency, errors: self.errors.clone() }
    }
}

/// Captured samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SamplesUpload {
    /// Always [`SAMPLES_SCHEMA`].
    pub schema: String,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// One captured input with its prediction and, when it is known, its label. Unique by `(prediction, row)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sample {
    /// The prediction.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub prediction: PredictionId,
    /// The row within the request's batch.
    pub row: u32,
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// The bundle that answered.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// When it was answered, by the device's clock.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub at_ms: Timestamp,
    /// The input row: little-endian f32 values.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub features: Base64,
    /// The class or value that was predicted.
    pub predicted: Option<String>,
    /// The truth, once known.
    pub label: Option<String>,
    /// Why the device finds the input or the label impossible. Such a sample is held back from training until a person
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<String>,
}

/// Records of predictions and of labels, in the order in which they were made. Each is kept once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordsUpload {
    /// Always [`RECORDS_SCHEMA`].
    pub schema: String,
    /// The records.
    pub records: Vec<RecordUpload>,
}

/// One record, and what may have to be forgotten beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordUpload {
    /// An `edgeward_core::Record` as JSON, to be kept byte for byte.
    pub record: String,
    /// Salt of its digests; none of a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub salt: Option<Base64>,
    /// What is kept of the input: packed tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub input: Option<Base64>,
    /// Whom the input is about, if the policy names a field that says so. Kept as keyed digests only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
}

/// Alerts of one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertsUpload {
    /// The alerts.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub alerts: Vec<Alert>,
}

impl Sample {
    /// The input row as values; a trailing part of a value is dropped.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        let (values, _) = self.features.0.as_chunks::<4>();
        values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
