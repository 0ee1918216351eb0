//! How an agent's models come to serve.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::parse_span;

/// What makes an activated model serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActivationName {
    /// The agent answers from it, at --listen
    #[default]
    Serve,
    /// An app follows it and swaps in process
    Watch,
    /// An app is restarted
    Restart,
    /// The device is rebooted
    Reboot,
}

/// Flags about the app beside the agent.
#[derive(Args)]
pub(crate) struct ActivationArgs {
    /// What makes an activated model serve
    #[arg(long, value_enum, default_value_t)]
    pub(crate) activation: ActivationName,
    /// Runs the app as a child of the agent; a shell command
    #[arg(long, value_name = "COMMAND")]
    pub(crate) app: Option<String>,
    /// Restarts an app that something else runs, such as `systemctl restart camera`
    #[arg(long, value_name = "COMMAND", conflicts_with = "app")]
    pub(crate) restart_command: Option<String>,
    /// Reboots the device, such as `systemctl reboot`
    #[arg(long, value_name = "COMMAND")]
    pub(crate) reboot_command: Option<String>,
    /// A file whose words change with every boot; the kernel's if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) boot_id: Option<PathBuf>,
    /// The app is ready once this address answers with success
    #[arg(long, value_name = "URL", value_parser = super::parse_url)]
    pub(crate) ready_url: Option<String>,
    /// The app is ready once this shell command ends with code 0
    #[arg(long, value_name = "COMMAND", conflicts_with = "ready_url")]
    pub(crate) ready_command: Option<String>,
    /// How long the app may take to be ready, or to say what it made of a model, before the model is taken back
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = parse_span)]
    pub(crate) answer_timeout: Duration,
    /// How long the app gets to end by itself
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = parse_span)]
    pub(crate) stop_grace: Duration,
}
