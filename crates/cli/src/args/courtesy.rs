//! When an agent fetches and activates.

use clap::{Args, ValueEnum};
use edgeward_core::rollout::Window;

/// Whether the device's link costs money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MeteredName {
    /// It does not
    #[default]
    Never,
    /// It does: no model is fetched over it
    Always,
}

/// Flags about links that cost money and hours in which nothing is to change.
#[derive(Args)]
pub(crate) struct CourtesyArgs {
    /// Whether the link costs money; models are not fetched over one that does
    #[arg(long, value_enum, default_value_t)]
    pub(crate) metered: MeteredName,
    /// The link costs money while this shell command ends with code 0
    #[arg(long, value_name = "COMMAND", conflicts_with = "metered")]
    pub(crate) metered_command: Option<String>,
    /// Activate new models only within these hours, in UTC: `sun 02:00-04:00`; may be given several times
    #[arg(long = "maintenance-window", value_name = "WINDOW", value_parser = parse_window)]
    pub(crate) maintenance_windows: Vec<Window>,
}

fn parse_window(text: &str) -> Result<Window, String> {
    text.to_lowercase().parse().map_err(|error: edgeward_core::rollout::ParseWindowError| error.to_string())
}
