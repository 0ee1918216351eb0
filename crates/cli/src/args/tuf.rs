//! Flags of `tuf-client`, in the form that TUF's public conformance suite calls.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::parse_url;

/// Flags of `tuf-client`.
#[derive(Args)]
pub(crate) struct TufClientArgs {
    /// Where trusted metadata is kept
    #[arg(long, value_name = "DIR")]
    pub(crate) metadata_dir: PathBuf,
    /// Where the repository's metadata is
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub(crate) metadata_url: Option<String>,
    /// Which target to download
    #[arg(long, value_name = "PATH")]
    pub(crate) target_name: Option<String>,
    /// Where the repository's targets are
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub(crate) target_base_url: Option<String>,
    /// Where downloaded targets are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) target_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: TufClientCommand,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum TufClientCommand {
    /// Trust a root
    Init {
        /// The root's file
        #[arg(value_name = "TRUSTED_ROOT")]
        root: PathBuf,
    },
    /// Bring the trusted metadata up to date
    Refresh,
    /// Bring it up to date, then download and verify a target
    Download,
}
