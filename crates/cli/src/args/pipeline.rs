//! Flags of `run`, `diff`, `log` and `source`: pipelines, and the repositories they come from.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{EngineArgs, Remote, parse_server};

/// Flags of `run`.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// The folder with `edgeward.toml`
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) project: PathBuf,
    /// The control plane to register with; without it the run stays local
    #[arg(long, value_name = "URL", env = "EDGEWARD_SERVER", value_parser = parse_server)]
    pub(crate) server: Option<String>,
    /// A run that the control plane asked for; a new one if not given
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// Why the run is made
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    pub(crate) cause: String,
    /// Put this commit of the project's repository on trial, as the control plane does at level 2
    #[arg(long, value_name = "COMMIT", requires = "run_id")]
    pub(crate) commit: Option<String>,
    /// An ONNX file that is trained already: it is judged, converted and shipped in place of training
    #[arg(long, value_name = "FILE", conflicts_with = "commit")]
    pub(crate) trained: Option<PathBuf>,
    /// The folder where the data is, if the project's own folder holds none
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Where stages are cached; `.edgeward` in the project if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// The key that signs releases
    #[arg(long, value_name = "FILE")]
    pub(crate) release_key: Option<PathBuf>,
    /// A P-256 key, as PKCS#8 PEM, to put an OpenSSF model signature beside the bundle with
    #[arg(long, value_name = "FILE")]
    pub(crate) model_signing_key: Option<PathBuf>,
    /// The operator token
    #[arg(long, env = "EDGEWARD_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with the operator token; goes before --token and its variable
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Whom to believe under https: a file with certificate authorities (PEM), or the fingerprint of one; this computer's
    /// own if not given
    #[arg(long, value_name = "FILE|sha256:HEX", env = "EDGEWARD_CA")]
    pub(crate) ca: Option<String>,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}

/// A project and where it works.
#[derive(Args)]
pub(crate) struct ProjectArgs {
    /// The folder with `edgeward.toml`
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) project: PathBuf,
    /// Where stages are cached; `.edgeward` in the project if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
}

/// Flags of `diff`.
#[derive(Args)]
pub(crate) struct DiffArgs {
    /// What to compare: `last`, `last~1` and so on, the beginning of a run's id, or `HEAD`, a branch, a tag or a commit for the
    /// newest run of it
    #[arg(value_name = "BEFORE", default_value = "last")]
    pub(crate) before: String,
    /// What to compare it with; what lies in the project's folder if not given
    #[arg(value_name = "AFTER")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// Flags of `log`.
#[derive(Args)]
pub(crate) struct LogArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// `source`.
#[derive(Subcommand)]
pub(crate) enum SourceCommand {
    /// List them: what is in use, what is new, and what became of it
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Look at a project's repository now: what a webhook calls
    Check {
        /// The project
        project: String,
        #[command(flatten)]
        remote: Remote,
    },
}
