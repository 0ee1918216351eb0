//! Flags of what runs on devices: `agent`, `serve` and `status`.

use std::path::PathBuf;

use clap::Args;
use edgeward_agent::Address;

use super::{
    ActivationArgs, BrokerArgs, CourtesyArgs, EngineArgs, SpeechArgs, TelemetryArgs, parse_server, parse_url,
};

/// Where a device is asked.
#[derive(Args)]
pub(crate) struct ListenArgs {
    /// Where to serve predictions, over HTTP and gRPC alike; several times for several places
    #[arg(long, value_name = "ADDR|unix:PATH", default_value = "127.0.0.1:8600")]
    listen: Vec<Address>,
    /// One more place, for those who expect gRPC at a port of its own
    #[arg(long, value_name = "ADDR|unix:PATH")]
    grpc_listen: Option<Address>,
}

impl ListenArgs {
    /// The places, the one that is told first.
    pub(crate) fn addresses(self) -> Vec<Address> {
        self.listen.into_iter().chain(self.grpc_listen).collect()
    }
}

/// Most rows that are computed at once.
const BATCH_ROWS_MAX: usize = 10_000;

/// Flags of `agent`.
#[derive(Args)]
pub(crate) struct AgentArgs {
    /// The control plane
    #[arg(long, value_name = "URL", env = "EDGEWARD_SERVER", default_value = "http://127.0.0.1:7700", value_parser = parse_server)]
    pub(crate) server: String,
    /// A mirror to read the repository and models from, such as a bucket; the control plane's own if not given
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub(crate) repository: Option<String>,
    /// The token to join with; needed once. Another one than that lets the device join again
    #[arg(long, value_name = "TOKEN")]
    pub(crate) join_token: Option<String>,
    /// A file with the token to join with
    #[arg(long, value_name = "FILE", conflicts_with = "join_token")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// Whom to believe under https where the join token does not say: a file with certificate authorities (PEM), or the
    /// fingerprint of one; this computer's own if not given
    #[arg(long, value_name = "FILE|sha256:HEX", env = "EDGEWARD_CA")]
    pub(crate) ca: Option<String>,
    /// Where the device keeps its identity, models and spool
    #[arg(long, value_name = "DIR", env = "EDGEWARD_DATA", default_value = ".edgeward/agent")]
    pub(crate) data: PathBuf,
    /// The name the device would like
    #[arg(long, default_value = "device")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) speech: SpeechArgs,
    /// Milliseconds between two looks at the repository
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub(crate) poll_ms: u64,
    /// Milliseconds between two uploads of profiles and samples
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub(crate) upload_ms: u64,
    /// Do not listen for nudges: news waits for the next poll
    #[arg(long, conflicts_with = "mqtt")]
    pub(crate) no_nudges: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// Most bytes per second that models may take of the link; no limit if not given
    #[arg(long, value_name = "BYTES")]
    pub(crate) bandwidth_limit_bytes_per_second: Option<std::num::NonZeroU64>,
    /// Most bytes that the data folder may take for models to be fetched into it; the disk is the limit if not given
    #[arg(long, value_name = "BYTES")]
    pub(crate) disk_quota_bytes: Option<std::num::NonZeroU64>,
    #[command(flatten)]
    pub(crate) courtesy: CourtesyArgs,
    #[command(flatten)]
    pub(crate) activation: ActivationArgs,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
    /// Compute waiting requests together, up to this many rows at once, where the model's golden test passes so, too; 1
    /// computes each by itself, with the same bits every time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_batch_rows)]
    pub(crate) batch_rows: usize,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}

/// Flags of `serve`.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// A bundle's folder or an ONNX file
    #[arg(value_name = "BUNDLE|MODEL.onnx", required_unless_present = "watch")]
    pub(crate) source: Option<PathBuf>,
    /// Follow what the agent with this data folder activates of the model in --name, and swap between two requests
    #[arg(long, value_name = "DIR", conflicts_with = "source", requires = "name")]
    pub(crate) watch: Option<PathBuf>,
    /// The model's name; the bundle's or the file's if not given
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) speech: SpeechArgs,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
    /// Compute waiting requests together, up to this many rows at once, where the model's golden test passes so, too; 1
    /// computes each by itself, with the same bits every time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_batch_rows)]
    pub(crate) batch_rows: usize,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}

/// As many rows as one request may have.
fn parse_batch_rows(text: &str) -> Result<usize, String> {
    let rows = text.parse().ok().filter(|rows| (1..=BATCH_ROWS_MAX).contains(rows));
    rows.ok_or_else(|| format!("a number of rows is 1 to {BATCH_ROWS_MAX}"))
}

/// Flags of `status`.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// The device's endpoint
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8600", value_parser = parse_url)]
    pub(crate) endpoint: String,
    /// Whom to believe under https: a file with certificate authorities (PEM), or the fingerprint of one; this
    /// computer's own if not given
    #[arg(long, value_name = "FILE|sha256:HEX")]
    pub(crate) ca: Option<String>,
    /// Show what the next run of a project would do instead; its folder, or this one
    #[cfg(feature = "control")]
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with = "endpoint")]
    pub(crate) project: Option<PathBuf>,
    /// Where that project's stages are cached; `.edgeward` in it if not given
    #[cfg(feature = "control")]
    #[arg(long, value_name = "DIR", requires = "project")]
    pub(crate) work: Option<PathBuf>,
    #[cfg(feature = "control")]
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}
