//! Flags of what sets up: `init`, `config` and `man`.

#[cfg(feature = "control")]
use std::path::PathBuf;

use clap::Subcommand;
#[cfg(feature = "control")]
use clap::{Args, ValueEnum};

/// Commands about settings.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show what each flag of a command is, and whether the command line, the environment, the settings file or nobody says so
    Show {
        /// The command, with flags if you like, such as `agent --name robot-7`
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

/// Flags of `init`.
#[cfg(feature = "control")]
#[derive(Args)]
pub(crate) struct InitArgs {
    /// The new project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// What it begins as
    #[arg(long, value_enum, default_value = "sensor")]
    pub(crate) template: Template,
    /// The project's name; the folder's if not given
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// What a project begins as.
#[cfg(feature = "control")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Rows of sensor readings and an embedded trainer: runs at once, without Python
    Sensor,
    /// Small pictures in columns of pixels, and an embedded trainer
    Camera,
    /// Rows of readings, and a scikit-learn script that trains
    Sklearn,
    /// Rows of readings, and a PyTorch script that trains
    Pytorch,
    /// An ONNX file of yours, judged and shipped as it is
    Onnx,
}

/// Flags of `man`.
#[cfg(feature = "control")]
#[derive(Args)]
pub(crate) struct ManArgs {
    /// Where the pages go
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
