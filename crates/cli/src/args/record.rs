//! Flags of `record`.

use clap::{Args, Subcommand};

use super::Remote;

/// `record`.
#[derive(Subcommand)]
pub(crate) enum RecordCommand {
    /// Forget a subject: destroy the keys of its inputs, and drop what is recorded about it but for its digests
    Erase(EraseArgs),
}

/// Whom to forget.
#[derive(Args)]
pub(crate) struct EraseArgs {
    /// A value of the field that `[records] subject` names
    #[arg(long, value_name = "ID")]
    pub(crate) subject: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
