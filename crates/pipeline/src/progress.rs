//! What a run says while it works, and what it says at the end.

use std::collections::BTreeMap;

use edgeward_api::operator::GateVerdict;
use edgeward_core::event::RunOutcome;
use edgeward_core::{Digest, ModelName, ProjectName, RunId};
use serde::{Deserialize, Serialize};

/// One thing that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// Another run works on the same project; this one waits for it.
    Waiting,
    /// A stage began to work.
    StageStarted {
        /// Which.
        stage: String,
    },
    /// A stage's outputs were there already.
    StageCached {
        /// Which.
        stage: String,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: String,
        /// How long it took.
        millis: u64,
    },
    /// A stage said something.
    Log {
        /// Which.
        stage: String,
        /// What it said.
        line: String,
    },
    /// A check or a gate gave its verdict.
    Judged(GateVerdict),
}

impl Progress {
    /// The same, said of the candidate `name` of several.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        let named = |what: String| format!("{name}/{what}");
        match self {
            Self::Waiting => Self::Waiting,
            Self::StageStarted { stage } => Self::StageStarted { stage: named(stage) },
            Self::StageCached { stage } => Self::StageCached { stage: named(stage) },
            Self::StageFinished { stage, millis } => Self::StageFinished { stage: named(stage), millis },
            Self::Log { stage, line } => Self::Log { stage: named(stage), line },
            Self::Judged(verdict) => Self::Judged(GateVerdict { gate: named(verdict.gate), ..verdict }),
        }
    }
}

/// Where progress goes; from several threads where several models are made at once.
pub type Report<'a> = &'a (dyn Fn(Progress) + Sync);

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// Whether its outputs were there already.
    pub cached: bool,
    /// How long it took.
    pub millis: u64,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// Its project.
    pub project: ProjectName,
    /// The model it makes.
    pub model: ModelName,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The bundle; none if a gate refused it.
    pub bundle: Option<Digest>,
    /// The bundle's folder.
    pub bundle_path: Option<String>,
    /// Its number in the registry; none without a server.
    pub version: Option<u64>,
    /// The stages in order.
    pub stages: Vec<StageSummary>,
    /// Metrics by name, as the registry keeps them.
    pub metrics: BTreeMap<String, f64>,
    /// What checks and gates said, in order.
    pub gates: Vec<GateVerdict>,
    /// The candidates that run beside the champion from now on, the best on its own held-out rows first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ShadowSummary>,
}

/// One candidate that runs beside the champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowSummary {
    /// What the project calls it.
    pub name: String,
    /// Its number in the registry.
    pub version: u64,
    /// Its bundle.
    pub bundle: Digest,
    /// Its metrics by name.
    pub metrics: BTreeMap<String, f64>,
}

impl RunSummary {
    /// Whether every gate passed.
    #[must_use]
    pub const fn passed(&self) -> bool {
        matches!(self.outcome, RunOutcome::Passed { .. })
    }
}
