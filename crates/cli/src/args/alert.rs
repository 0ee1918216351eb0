//! Flags of `alert`: what was noticed, and that somebody has seen it.

use clap::Subcommand;

use super::Remote;

/// `alert`.
#[derive(Subcommand)]
pub(crate) enum AlertCommand {
    /// List them
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Say that you have seen one: it counts as open no more. It stops nothing that the alert starts
    Acknowledge {
        /// Its id, as `alert ls` lists it
        alert: String,
        /// What there is to say about it; it stands in the ledger
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
}
