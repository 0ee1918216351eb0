//! Flags of `repo`: repositories as plain folders.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use edgeward_core::{Digest, ModelName};

use super::parse_span;

/// What to do with a repository.
#[derive(Subcommand)]
pub(crate) enum RepoCommand {
    /// Make a repository, and the keys that are not there yet
    Init {
        #[command(flatten)]
        desk: DeskArgs,
    },
    /// Let bundles run, say what the fleet runs, and sign what waits for more signatures
    Sign {
        #[command(flatten)]
        desk: DeskArgs,
        /// A bundle that may run from now on; its files are put beside the repository; may be given several times
        #[arg(long, value_name = "FOLDER")]
        bundle: Vec<PathBuf>,
        /// Say that the whole fleet runs the bundles given
        #[arg(long, requires = "bundle")]
        roll_out: bool,
        /// Say that the whole fleet runs this bundle, released before; may be given several times
        #[arg(long, value_name = "MODEL=BUNDLE", value_parser = parse_stable)]
        stable: Vec<(ModelName, Digest)>,
    },
    /// Give a role other keys; without --role, make root and targets good for another year
    Rotate {
        #[command(flatten)]
        desk: DeskArgs,
        /// root (with the top-level targets), snapshot, timestamp, releases or rollouts
        #[arg(long, requires = "key")]
        role: Option<String>,
        /// A key that the role has from then on: its file, or one with its public half; may be given several times
        #[arg(long, value_name = "FILE", requires = "role")]
        key: Vec<PathBuf>,
        /// How many of them must sign
        #[arg(long, value_name = "N", default_value_t = 1)]
        threshold: u64,
    },
    /// Sign snapshot and timestamp anew, and what else grows old
    Refresh {
        #[command(flatten)]
        desk: DeskArgs,
        /// Make the releases good for another year, with their key
        #[arg(long)]
        renew_releases: bool,
    },
    /// Check a repository as a device does, and say what expires when
    Verify {
        /// The repository's folder
        #[arg(value_name = "DIR")]
        repository: PathBuf,
        /// Warn of what people must sign within this time
        #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = parse_span)]
        warn_within: Duration,
    },
}

/// Flags of `sign-model`.
#[derive(Args)]
pub(crate) struct SignModelArgs {
    /// The bundle's folder
    #[arg(value_name = "FOLDER")]
    pub(crate) bundle: PathBuf,
    /// The P-256 key, as PKCS#8 PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Write the public half here, for those who verify
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: Option<PathBuf>,
}

/// Which repository, and which keys are at hand.
#[derive(Args)]
pub(crate) struct DeskArgs {
    /// The repository's folder
    #[arg(value_name = "DIR")]
    pub(crate) repository: PathBuf,
    /// A folder with keys
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// A file with a key, or with the command that signs with one; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) signer: Vec<PathBuf>,
}

fn parse_stable(text: &str) -> Result<(ModelName, Digest), String> {
    let (model, bundle) = text.split_once('=').ok_or("it looks like pumps=sha256:...")?;
    let model = ModelName::new(model).map_err(|error| error.to_string())?;
    Ok((model, bundle.parse().map_err(|error: edgeward_core::digest::ParseDigestError| error.to_string())?))
}
