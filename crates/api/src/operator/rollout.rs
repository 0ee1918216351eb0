//! Documents about rollouts.

use edgeward_core::event::RolloutOutcome;
use edgeward_core::rollout::{Approval, GateObserved, OnFail, Verdict, WaveSize, Window};
use edgeward_core::{Digest, GroupName, ModelName, RolloutId, Timestamp};
use serde::{Deserialize, Serialize};

/// Asks for a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutRequest {
    /// Which version; the newest if neither this nor `target` is given.
    #[serde(default)]
    pub version: Option<u64>,
    /// Which version: its number, an alias, or its bundle's digest.
    #[serde(default)]
    pub target: Option<String>,
    /// Why.
    pub cause: String,
    /// Nothing opens before this time.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub start_at_ms: Option<Timestamp>,
    /// What is to be different from the project's policy.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub changes: PolicyChanges,
}

/// What one rollout does differently; what is not given stays as the project has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyChanges {
    /// How many devices each wave reaches.
    pub waves: Option<Vec<WaveSize>>,
    /// How long a wave runs before the next opens.
    pub bake_ms: Option<u64>,
    /// Which waves wait for a person.
    pub approval: Option<Approval>,
    /// When waves may open.
    pub window: Option<Window>,
    /// What becomes of it if it fails.
    pub on_fail: Option<OnFail>,
    /// The group whose devices it is for.
    pub group: Option<GroupName>,
}

/// What a person wishes of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutWish {
    /// Why.
    #[serde(default)]
    pub cause: String,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: RolloutId,
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// The version.
    pub version: u64,
    /// Its bundle.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// The group whose devices it is for; none stands for everybody.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub group: Option<GroupName>,
    /// When it began.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub started_at_ms: Timestamp,
    /// Nothing opens before this time.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub start_at_ms: Option<Timestamp>,
    /// Index of the open wave; none before the first.
    pub wave: Option<usize>,
    /// So many waves were agreed to by a person.
    pub waves_approved: usize,
    /// Stopped for now.
    pub paused: bool,
    /// How it ended; none while it goes on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub outcome: Option<RolloutOutcome>,
    /// When it ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub finished_at_ms: Option<Timestamp>,
    /// The last reasons given.
    pub reasons: Vec<String>,
}

/// A rollout, and what it waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutStatus {
    /// The rollout.
    pub rollout: Rollout,
    /// Its devices, all together first, then by hardware where they tell.
    pub devices: Vec<RolloutDevices>,
    /// Its gates; none before its first wave, or where there is no bundle to compare with.
    pub gates: Vec<RolloutGate>,
    /// What it does or waits for now; nothing once it has ended.
    pub now: Vec<String>,
}

/// How many devices it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutDevices {
    /// The kind of device; none for all of them.
    pub hardware: Option<String>,
    /// All that it is for.
    pub all: usize,
    /// Those that the open wave reaches.
    pub reached: usize,
    /// Those that run its bundle.
    pub running: usize,
    /// Those that refused or dropped it.
    pub failed: usize,
    /// Those that are reached and were not heard of lately.
    pub away: usize,
}

/// A gate and what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutGate {
    /// Its evidence.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub evidence: GateObserved,
    /// `pass`, `fail`, or `undecided` with about how many `more` it takes.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub verdict: Verdict,
    /// The evidence, log10, at which it fails.
    pub log10_fail: f64,
    /// The same in words.
    pub says: String,
}

/// The rollouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollouts {
    /// The newest first.
    pub rollouts: Vec<Rollout>,
}
