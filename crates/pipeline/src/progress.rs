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

/// Where progress goes.
pub type Report<'a> = &'a dyn Fn(Progress);

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
}

impl RunSummary {
    /// Whether every gate passed.
    #[must_use]
    pub const fn passed(&self) -> bool {
        matches!(self.outcome, RunOutcome::Passed { .. })
    }
}
