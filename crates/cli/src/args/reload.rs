//! Flags of `reload-bench`.

use std::path::PathBuf;

use clap::Args;

/// `reload-bench`.
#[derive(Args)]
pub(crate) struct ReloadBenchArgs {
    /// How often each way is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeats: u32,
    /// Requests per second to the app, all the while
    #[arg(long, value_name = "R", default_value_t = 200.0, value_parser = super::parse_rate)]
    pub(crate) rate: f64,
    /// Milliseconds between two polls
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub(crate) poll_ms: u64,
    /// Size of the model's weights in megabytes (10^6 bytes)
    #[arg(long, value_name = "MB", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) model_mb: u32,
    /// Measure only ways whose name contains this, such as `watch` or `push`
    #[arg(long, value_name = "WORD")]
    pub(crate) only: Option<String>,
    /// Measure this many swaps one right after the other, by watch only, and the app's memory
    #[arg(long, value_name = "N", conflicts_with_all = ["repeats", "kills"], value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) swaps: Option<u32>,
    /// Instead, kill the agent (signal 9) this many times amid updates, and check every answer it gives
    #[arg(long, value_name = "N", conflicts_with_all = ["repeats", "rate", "only"], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) kills: Option<u32>,
    /// Where the random times of kills start from
    #[arg(long, value_name = "N", default_value_t = 1, requires = "kills")]
    pub(crate) seed: u64,
    /// A new or empty folder to keep everything in; a temporary one if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) broker: super::BrokerArgs,
}
