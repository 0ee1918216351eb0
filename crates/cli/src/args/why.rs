//! Flags of `why` and `model lineage`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use edgeward_core::ModelName;

use super::Remote;

/// Flags of `why`.
#[derive(Args)]
pub(crate) struct WhyArgs {
    /// The prediction's id, as the device's answer has it (`prediction_id`)
    #[arg(value_name = "PREDICTION_ID")]
    pub(crate) prediction: uuid::Uuid,
    /// The row of the request to explain
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) row: usize,
    /// Also write it as one page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Ask the agent at this address what it remembers by itself, without a control plane and without proof
    #[arg(long, value_name = "URL", value_parser = super::parse_url, conflicts_with_all = ["html", "row", "origin"])]
    pub(crate) agent: Option<String>,
    /// Read the control plane's folder itself, while no server uses it: nothing need run, and no network is there
    #[arg(long, value_name = "DIR", conflicts_with = "agent")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Which ledger it has to be.
#[derive(Args)]
pub(crate) struct OriginArgs {
    /// The ledger's name as you know it from elsewhere; another one is refused
    #[arg(long, value_name = "edgeward-ledger/HEX")]
    pub(crate) origin: Option<String>,
}

/// What `model` does.
#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// List them
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Show where a version comes from: run, data, code, gates, approvals, rollouts, each proved by the ledger
    Lineage(LineageArgs),
    /// Show a version's card: its data, its quality by class and slice, its limits, and what became of it on devices
    Card(LineageArgs),
}

/// Flags of `model lineage` and `model card`.
#[derive(Args)]
pub(crate) struct LineageArgs {
    /// The model
    #[arg(value_name = "MODEL")]
    pub(crate) model: ModelName,
    /// The version; the newest if not given
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
