//! Which database.

use clap::Args;

/// A PostgreSQL database.
#[derive(Args)]
pub(crate) struct DatabaseArgs {
    /// A PostgreSQL database in place of the file in --data, for servers that share it: postgres://USER@HOST/NAME. Where the
    /// address holds a password, give it by the environment
    #[arg(long, value_name = "URL", env = "EDGEWARD_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
}
