//! Documents between operators, pipelines and the control plane.

use std::collections::BTreeMap;

use edgeward_core::envelope::Base64;
use edgeward_core::event::{Project, RunOutcome, SampleVerdict};
use edgeward_core::{DeviceId, Digest, GroupName, ModelName, PredictionId, ProjectName, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::device::{Report, Sample};

pub use alert::{AcknowledgeRequest, Acknowledgement, AlertAcknowledged, Alerts, RaisedAlert};
pub use rollout::{
    PolicyChanges, Rollout, RolloutDevices, RolloutGate, RolloutRequest, RolloutStatus, RolloutWish, Rollouts,
};

mod alert;
mod rollout;
mod shadow;

pub use shadow::{Shadow, ShadowTest, ShadowTests};

/// Asks for a join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinTokenRequest {
    /// How many devices may use it.
    pub uses: u32,
    /// How long it is valid.
    pub ttl_ms: u64,
    /// The one device that it lets in again, revoked or lost; any new device if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub device: Option<DeviceId>,
}

/// A join token: a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinToken {
    /// Give it to `edgeward agent --join-token`.
    pub join_token: String,
    /// When it stops working.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub expires_at_ms: Timestamp,
}

/// A device and its last report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: DeviceId,
    /// When it joined.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub enrolled_at_ms: Timestamp,
    /// Since when it is shut out; none if it is not.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub revoked_at_ms: Option<Timestamp>,
    /// When the control plane last heard of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub seen_at_ms: Option<Timestamp>,
    /// What it last said.
    pub report: Option<Report>,
}

/// Sets labels of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LabelsChange {
    /// By key; a label without a value is removed.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Labels of a device: those that people set and those that it reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceLabels {
    /// The device.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: DeviceId,
    /// By key.
    pub labels: BTreeMap<String, String>,
}

/// Pins a device to a version of a model, or unpins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PinRequest {
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// Which version: its number, an alias, or its bundle's digest; none unpins.
    pub target: Option<String>,
}

/// What a device is pinned to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pin {
    /// The device.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: DeviceId,
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// The bundle; none if it follows rollouts.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub bundle: Option<Digest>,
}

/// Makes or changes a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupRequest {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub group: GroupName,
    /// Who is in it, such as `hardware=jetson and not canary`.
    pub expression: String,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Group {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub group: GroupName,
    /// Who is in it.
    pub expression: String,
    /// Those who are now.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub devices: Vec<DeviceId>,
}

/// The groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Groups {
    /// By name.
    pub groups: Vec<Group>,
}

/// Asks for a run, or announces one that is started by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunAnnouncement {
    /// The run's id, chosen by the caller, so that announcing twice is harmless.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// The project.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub project: ProjectName,
    /// Why.
    pub cause: String,
}

/// Asks the control plane to run a project now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunRequest {
    /// Why.
    pub cause: String,
}

/// A pipeline run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Run {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: RunId,
    /// Its project.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub project: ProjectName,
    /// Why it was started.
    pub cause: String,
    /// The commit of the pipeline's repository that it puts on trial, at level 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When it was asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub requested_at_ms: Timestamp,
    /// When it ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub finished_at_ms: Option<Timestamp>,
    /// How it ended; none while it runs.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub outcome: Option<RunOutcome>,
    /// What its gates said.
    pub gates: Vec<GateVerdict>,
}

/// What one gate said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GateVerdict {
    /// Which gate.
    pub gate: String,
    /// Whether it let the run pass.
    pub passed: bool,
    /// Why.
    pub reason: String,
}

/// Verdicts of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GateVerdicts {
    /// In the order they were given.
    pub verdicts: Vec<GateVerdict>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunEnd {
    /// How it ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub outcome: RunOutcome,
    /// The pipeline that is followed from now on: that of a commit which passed its trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub adopts: Option<Project>,
    /// Candidates that run beside the champion from now on, rather than in its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<NamedBundle>,
}

/// A registered bundle and what its project calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamedBundle {
    /// The name.
    pub name: String,
    /// The bundle.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
}

/// Registers a version; registering the same bundle again returns the same version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionRegistration {
    /// The bundle, whose blobs are uploaded already.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// The run that made it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// Evaluation metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// The signed releases with this one among them.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub releases: Base64,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    /// 1, 2, 3, ...
    pub version: u64,
    /// Its bundle.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// The run that made it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// When it was registered.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub registered_at_ms: Timestamp,
    /// Evaluation metrics by name.
    pub metrics: BTreeMap<String, f64>,
}

/// A model with its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ModelName,
    /// `champion` and others.
    pub aliases: BTreeMap<String, u64>,
    /// The newest last.
    pub versions: Vec<Version>,
}

/// A page of labelled samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SamplesPage {
    /// The samples, oldest first.
    pub samples: Vec<Sample>,
    /// The device of each of them, in the same order.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub devices: Vec<DeviceId>,
    /// Ask for the next page with `after` set to this; none on the last page.
    pub next: Option<u64>,
}

/// How far a model's streams have moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Drift {
    /// The bundle whose reference it is measured against.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// One entry per window, oldest first.
    pub windows: Vec<DriftWindow>,
}

/// One window of the whole fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriftWindow {
    /// Start.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub from_ms: Timestamp,
    /// End.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub to_ms: Timestamp,
    /// Samples in it.
    pub samples: u64,
    /// Labels that arrived in it.
    pub labelled: u64,
    /// How many of them agreed with the prediction.
    pub correct: u64,
    /// Population stability index by stream, in nats, beyond what chance alone gives for these sample sizes.
    pub psi: BTreeMap<String, f64>,
    /// Metrics of the labels that arrived in it, by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, Metric>,
    /// What segments took away from the whole, the most first.
    #[serde(default)]
    pub segments: Vec<String>,
    /// The accuracy that the confidence in it lets expect, without labels.
    #[serde(default)]
    pub estimated_accuracy: Option<Metric>,
}

/// A metric and the range it is known to, at 95% for all numbers of labels at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Metric {
    /// Its value.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Labels, or predictions, that it rests on.
    pub n: u64,
    /// What is taken for granted; none for most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumes: Option<String>,
}

/// Samples that are held back until a person decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quarantine {
    /// The longest held first; the first page of them.
    pub held: Vec<HeldSample>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldSample {
    /// The device that captured it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: DeviceId,
    /// It, with the reason in `suspicion`.
    pub sample: Sample,
}

/// A person's decision about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuarantineDecision {
    /// Their predictions; all that are held if empty.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub predictions: Vec<PredictionId>,
    /// What becomes of them.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub verdict: SampleVerdict,
    /// Why, for people.
    pub cause: String,
}

/// How many samples a decision was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decided {
    /// Samples.
    pub samples: usize,
}

/// Lists, one document each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Devices {
    /// All of them, by id.
    pub devices: Vec<Device>,
}

/// The models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Models {
    /// All of them, by name.
    pub models: Vec<Model>,
}

/// The runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Runs {
    /// The newest first.
    pub runs: Vec<Run>,
}

/// The projects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Projects {
    /// By name.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub projects: Vec<Project>,
}

/// The repositories that pipelines come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sources {
    /// By project.
    pub sources: Vec<SourceStatus>,
}

/// One of them, as far as the control plane saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceStatus {
    /// The project.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub project: ProjectName,
    /// The repository.
    pub git: String,
    /// The branch.
    pub branch: String,
    /// The commit whose pipeline is in use; none if it was registered by hand from elsewhere.
    pub commit: Option<String>,
    /// The newest commit of the branch, at the last look that succeeded since the server started.
    pub head: Option<String>,
    /// When the last look began.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub looked_at_ms: Option<Timestamp>,
    /// Why the last look failed.
    pub error: Option<String>,
    /// What becomes of the newest commit, for people.
    pub state: String,
}

/// A page of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Events {
    /// Entries by sequence number.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub entries: Vec<edgeward_core::ledger::Entry>,
}

/// A signed checkpoint of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checkpoint {
    /// Entries it covers.
    pub size: u64,
    /// The signed note.
    pub note: String,
}
