//! Flags of `group`: which devices belong together.

use clap::Subcommand;

use super::Remote;

/// `group`.
#[derive(Subcommand)]
pub(crate) enum GroupCommand {
    /// List them
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a group, or change who is in it
    Create {
        /// Its name
        group: String,
        /// Who is in it, such as \"hardware=jetson and site in (berlin, paris) and not canary\"
        #[arg(long = "where", value_name = "EXPRESSION")]
        expression: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a group with its devices
    Show {
        /// Which
        group: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a group: its devices run what the others run
    Rm {
        /// Which
        group: String,
        #[command(flatten)]
        remote: Remote,
    },
}
