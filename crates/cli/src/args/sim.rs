//! Flags of `sim`: how large a fleet, how busy, and what goes wrong.

use std::time::Duration;

use clap::Args;
use edgeward_core::Digest;

use super::{Remote, parse_span};

/// Most devices of one process.
const DEVICES_MAX: i64 = 1_000_000;

/// Flags of `sim`.
#[derive(Args)]
pub(crate) struct SimArgs {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=DEVICES_MAX))]
    pub(crate) devices: u32,
    /// Time between two looks of one device at the repository; each is followed by a report
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_span)]
    pub(crate) poll: Duration,
    /// Time between two profiles of one device
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = parse_span)]
    pub(crate) upload: Duration,
    /// How long to run once every device has joined
    #[arg(long, value_name = "SPAN", default_value = "2m", value_parser = parse_span)]
    pub(crate) duration: Duration,
    /// A token that all of them join with; one is made, with the operator token, if not given
    #[arg(long, value_name = "TOKEN")]
    pub(crate) join_token: Option<String>,
    /// What the devices are called, with a number after it
    #[arg(long, value_name = "NAME", default_value = "sim")]
    pub(crate) name: String,
    /// Devices refuse this bundle; may be given several times
    #[arg(long, value_name = "DIGEST")]
    pub(crate) bad_bundle: Vec<Digest>,
    /// Half of the answers of this bundle are wrong by their labels; may be given several times
    #[arg(long, value_name = "DIGEST")]
    pub(crate) poor_bundle: Vec<Digest>,
    /// Labels that come for the answers of one window of one device; 5 of 100 say that the answer was wrong
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) labels: u64,
    /// Requests that each device answers in a second
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) rate: u64,
    /// Measure the processor time and memory of this process too: the control plane's
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
