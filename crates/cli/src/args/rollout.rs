//! Flags of `rollout`: what begins, who agrees, and when waves may open.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use edgeward_core::Timestamp;
use edgeward_core::rollout::{WaveSize, Window};

use super::{Remote, parse_span};

/// `rollout`.
#[derive(Subcommand)]
pub(crate) enum RolloutCommand {
    /// List them
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Start one: wave by wave, the devices run another version of a model
    Start(Box<RolloutStartArgs>),
    /// Show how far one has come, what its gates say and what it waits for
    Status(RolloutArgs),
    /// Stop one for now: no further wave opens
    Pause(RolloutArgs),
    /// Let a paused one go on; what its gates held against it is forgotten
    Resume(RolloutArgs),
    /// Agree that its next wave opens
    Approve(RolloutArgs),
    /// Take one back: its devices return to what they ran before
    Abort(RolloutArgs),
}

/// Which rollout.
#[derive(Args)]
pub(crate) struct RolloutArgs {
    /// Which; the one under way if there is only one
    pub(crate) rollout: Option<String>,
    /// Why; it stands in the ledger
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    pub(crate) cause: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Flags of `rollout start`. What is not given is as the project has it.
#[derive(Args)]
pub(crate) struct RolloutStartArgs {
    /// The model
    pub(crate) model: String,
    /// Which version: its number, an alias, or its bundle's digest; the newest if not given
    #[arg(value_name = "VERSION|ALIAS|BUNDLE")]
    pub(crate) target: Option<String>,
    /// How many devices each wave reaches in all, such as 1,10%,100%
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = parse_wave)]
    pub(crate) waves: Vec<WaveSize>,
    /// How long every device of a wave runs it before the next opens, such as 10m
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) bake: Option<Duration>,
    /// Which waves wait for `rollout approve`; each if no word follows
    #[arg(long, value_enum, value_name = "WAVES", num_args = 0..=1, default_missing_value = "each", require_equals = true)]
    pub(crate) approval: Option<ApprovalName>,
    /// When it starts: 2026-11-27T02:00:00Z, or a span from now such as 90m
    #[arg(long, value_name = "TIME", value_parser = parse_start)]
    pub(crate) at: Option<Start>,
    /// When waves may open, in UTC: 22:00-04:00, or \"sat,sun 08:00-18:00\"
    #[arg(long, value_name = "HOURS")]
    pub(crate) window: Option<Window>,
    /// The group whose devices it is for; everybody if not given
    #[arg(long)]
    pub(crate) group: Option<edgeward_core::GroupName>,
    /// What becomes of it if it fails
    #[arg(long, value_enum)]
    pub(crate) on_fail: Option<OnFailName>,
    /// Why; it stands in the ledger
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    pub(crate) cause: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Which waves wait for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApprovalName {
    /// No wave
    None,
    /// The first wave
    First,
    /// Each wave
    Each,
}

/// What becomes of a rollout that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailName {
    /// Its devices go back to what they ran before
    RollBack,
    /// Its devices stay, no further wave opens, and a person decides
    Pause,
}

/// When something starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Then.
    At(Timestamp),
    /// So much later.
    In(Duration),
}

fn parse_wave(text: &str) -> Result<WaveSize, String> {
    text.parse().map_err(|error: edgeward_core::rollout::ParseWaveError| error.to_string())
}

fn parse_start(text: &str) -> Result<Start, String> {
    if let Some(at) = edgeward_trust::tuf::time::parse(text) {
        return Ok(Start::At(at));
    }
    parse_span(text).map(Start::In).map_err(|_| {
        "a start is a time in UTC such as 2026-11-27T02:00:00Z, or a span from now such as 90m".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_time_or_a_span() {
        assert_eq!(parse_start("1970-01-01T00:01:00Z"), Ok(Start::At(Timestamp(60_000))));
        assert_eq!(parse_start("90m"), Ok(Start::In(Duration::from_secs(5400))));
        assert!(parse_start("tomorrow").unwrap_err().contains("2026-11-27T02:00:00Z"));
    }

    #[test]
    fn waves_are_numbers_and_shares() {
        assert_eq!(parse_wave("3"), Ok(WaveSize::Devices(3)));
        assert_eq!(parse_wave("10%"), Ok(WaveSize::Percent(10)));
        assert!(parse_wave("0").is_err() && parse_wave("101%").is_err());
    }
}
