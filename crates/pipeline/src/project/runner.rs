//! `[runner]`: where the training command runs, and how much it may use.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where commands run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerKind {
    /// On this machine.
    #[default]
    Local,
    /// On a Ray cluster.
    Ray,
}

/// `[runner]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunnerTable {
    /// Where the training command runs.
    pub kind: RunnerKind,
    /// Processors of one command; without a limit if absent, one on Ray.
    pub cpus: Option<usize>,
    /// What one command may hold in memory.
    pub memory_mb: Option<u64>,
    /// Commands at once.
    pub parallel: Option<usize>,
    /// Where Ray's dashboard listens.
    pub address: Option<String>,
    /// A folder that this machine and all of Ray's share, for what commands leave.
    pub shared: Option<PathBuf>,
    /// Whether the address may be one that others can reach.
    pub public: bool,
}

impl RunnerTable {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
