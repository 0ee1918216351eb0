//! Flags of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::database::DatabaseArgs;

/// `audit`.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that nobody edited the ledger: entries, seals, tree, signed checkpoints, and what witnesses saw
    Verify {
        #[command(flatten)]
        folder: LedgerFolder,
        /// A checkpoint that was kept elsewhere, or the folder of an agent, which keeps one; may be given again
        #[arg(long = "witness", value_name = "PATH")]
        witnesses: Vec<PathBuf>,
    },
    /// Show the ledger and who saw what of it, or one entry with its proof of inclusion
    Show {
        /// An entry's number
        entry: Option<u64>,
        #[command(flatten)]
        folder: LedgerFolder,
    },
    /// Write the ledger into a folder that verifies without Edgeward
    Export {
        /// The folder to write; made if it is not there
        out: PathBuf,
        #[command(flatten)]
        folder: LedgerFolder,
    },
}

/// Whose ledger.
#[derive(Args)]
pub(crate) struct LedgerFolder {
    /// The control plane's folder
    #[arg(long, value_name = "DIR", env = "EDGEWARD_DATA", default_value = ".edgeward/server")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}
