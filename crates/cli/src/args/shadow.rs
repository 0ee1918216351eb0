//! Flags of `shadow`.

use clap::{Args, Subcommand};

use super::Remote;

/// `shadow`.
#[derive(Subcommand)]
pub(crate) enum ShadowCommand {
    /// Show how each candidate stands beside its champion
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Roll a shadow out: devices that run it have it already
    Promote(ShadowPromoteArgs),
}

/// Flags of `shadow promote`.
#[derive(Args)]
pub(crate) struct ShadowPromoteArgs {
    /// The model
    pub(crate) model: String,
    /// The shadow; the declared winner if not given
    pub(crate) name: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) cause: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
