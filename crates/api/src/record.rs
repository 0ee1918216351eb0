//! A prediction as the control plane remembers it, with what proves it, and where a model comes from.
//!
//! Nothing here is to be believed as it stands: a record is in its batch by `batch.path`, the batch's root is in a ledger
//! entry, and every entry is in the tree of one signed checkpoint.

use std::collections::BTreeMap;

use edgeward_core::envelope::Base64;
use edgeward_core::{DeviceId, Digest, ModelName, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::operator::DriftWindow;

/// Schema of [`PredictionAnswer`].
pub const PREDICTION_SCHEMA: &str = "edgeward.prediction/1";
/// Schema of [`History`].
pub const HISTORY_SCHEMA: &str = "edgeward.model-history/1";
/// Schema of [`Lineage`].
pub const LINEAGE_SCHEMA: &str = "edgeward.lineage/1";

/// One prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PredictionAnswer {
    /// Always [`PREDICTION_SCHEMA`].
    pub schema: String,
    /// The device that gave it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: DeviceId,
    /// The record.
    pub record: ProvedRecord,
    /// Labels that came for it.
    pub labels: Vec<ProvedRecord>,
    /// What shadows said to the same request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ProvedRecord>,
    /// What of its input can still be read.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub input: InputKept,
    /// Where its model comes from; its checkpoint is also that of the records.
    pub lineage: Lineage,
}

/// What became of a version on devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct History {
    /// Always [`HISTORY_SCHEMA`].
    pub schema: String,
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// Its number.
    pub version: u64,
    /// Its bundle.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// What devices counted with it, oldest first, as far back as profiles are kept.
    pub windows: Vec<DriftWindow>,
    /// Alerts about it, by kind.
    pub alerts: BTreeMap<String, u64>,
}

/// A subject that is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubjectRequest {
    /// Its name: a value of the field that `[records] subject` names.
    pub subject: String,
}

/// What was forgotten of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubjectErased {
    /// The keyed digest by which the ledger names it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub subject: Digest,
    /// Inputs that nobody can read any more.
    pub inputs: u64,
    /// Records that were dropped but for their digests.
    pub records: u64,
    /// Labelled samples that were dropped.
    pub samples: u64,
}

/// A record, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProvedRecord {
    /// An `edgeward_core::Record` as JSON, byte for byte: the leaf of the batch's tree.
    pub record: String,
    /// When it arrived.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub received_at_ms: Timestamp,
    /// Its place in the batch.
    pub index: u64,
    /// Records of the batch.
    pub size: u64,
    /// Hashes that lead from the record to the batch's root (RFC 9162, section 2.1.3).
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub path: Vec<Digest>,
    /// The entry of the ledger that has the batch's root.
    pub entry: ProvedEntry,
}

/// An entry of the ledger, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProvedEntry {
    /// Its bytes: canonical JSON.
    pub entry: String,
    /// Its place.
    pub index: u64,
    /// Hashes that lead from the entry to the checkpoint's root.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub path: Vec<Digest>,
}

/// What of an input can still be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum InputKept {
    /// The salt of its digests, and what was kept of it; nothing if only the digest was.
    Readable {
        /// The salt.
        salt: Base64,
        /// Packed tensors.
        input: Option<Base64>,
    },
    /// Its time is over: the key under which it was kept was dropped.
    Erased,
}

/// Where a version of a model comes from, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lineage {
    /// Always [`LINEAGE_SCHEMA`].
    pub schema: String,
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// Its bundle.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// Its number; none of a bundle that is not in the registry.
    pub version: Option<u64>,
    /// The run that made it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub run: Option<RunId>,
    /// What the ledger says about the bundle, its run and its rollouts, in order; alerts are left out.
    pub entries: Vec<ProvedEntry>,
    /// Whether there are more than are listed.
    pub more: bool,
    /// A signed checkpoint that covers all of them.
    pub checkpoint: String,
    /// The keys that sign the ledger.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub ledger_keys: serde_json::Value,
}
