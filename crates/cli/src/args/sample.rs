//! Flags of `sample`: what devices found impossible, and what becomes of it.

use clap::{Args, Subcommand};
use edgeward_core::PredictionId;

use super::Remote;

/// `sample`.
#[derive(Subcommand)]
pub(crate) enum SampleCommand {
    /// List the samples that are held back
    Ls {
        /// The model they were captured for
        model: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let training have some of them
    Release(JudgeArgs),
    /// Keep some of them out of training for good
    Discard(JudgeArgs),
}

/// Which samples, and why.
#[derive(Args)]
pub(crate) struct JudgeArgs {
    /// The model they were captured for
    pub(crate) model: String,
    /// Their predictions, as `sample ls` lists them
    #[arg(value_name = "PREDICTION", value_parser = parse_prediction, required_unless_present = "all", conflicts_with = "all")]
    pub(crate) predictions: Vec<PredictionId>,
    /// All that are held back
    #[arg(long)]
    pub(crate) all: bool,
    /// Why; it stands in the ledger
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    pub(crate) cause: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

fn parse_prediction(text: &str) -> Result<PredictionId, String> {
    text.parse().map(PredictionId).map_err(|error| format!("a prediction's id is a UUID: {error}"))
}
