//! Flags of `token`, `ca` and `device`: who may do what, who is believed, and which devices are in.

use std::time::Duration;

use clap::Subcommand;
use edgeward_core::Role;

use super::{Remote, parse_span};

/// `token`.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make an operator token; it is shown once
    Create {
        /// What it allows; each role includes the ones before it: viewer, operator, approver, admin
        #[arg(long)]
        role: Role,
        /// Whose it is, for people
        #[arg(long, default_value = "operator")]
        name: String,
        /// How long it is valid, such as `12h` or `90d`; for ever if not given
        #[arg(long, value_name = "SPAN", value_parser = parse_span)]
        expires: Option<Duration>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List them, without their secrets
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Revoke one, at once
    Revoke {
        /// Which, by its id
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `ca`.
#[derive(Subcommand)]
pub(crate) enum CaCommand {
    /// List them, with how many devices know each
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a new one, beside the one that serves; devices learn of it by themselves
    Rotate {
        #[command(flatten)]
        remote: Remote,
    },
    /// Let the new one serve, and retire the old one, once every device knows the new one
    Switch {
        /// Also if some devices do not know it yet: they have to join again
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `device`.
#[derive(Subcommand)]
pub(crate) enum DeviceCommand {
    /// List them
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a join token, with which devices enrol; it is shown once
    Token {
        /// How many devices may use it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// How long it is valid, such as `90s`, `30m`, `1h`, `7d`
        #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse_span)]
        ttl: Duration,
        /// The one device that it lets in again with a new key, revoked or lost
        #[arg(long = "for", value_name = "DEVICE", conflicts_with = "uses")]
        device: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Shut one out, at once: what it was given when it joined is refused from now on
    Revoke {
        /// Which
        device: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "by hand")]
        cause: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show labels of a device, or set some
    Label {
        /// The device
        device: String,
        /// What to set; a key without a value, as in `canary=`, is removed
        #[arg(value_name = "KEY=VALUE", value_parser = parse_label)]
        labels: Vec<(String, Option<String>)>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a device run one version of a model, whatever is rolled out
    Pin {
        /// The device
        device: String,
        /// The model
        model: String,
        /// Which version: its number, an alias, or its bundle's digest
        #[arg(value_name = "VERSION|ALIAS|BUNDLE")]
        target: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a device follow rollouts of a model again
    Unpin {
        /// The device
        device: String,
        /// The model
        model: String,
        #[command(flatten)]
        remote: Remote,
    },
}

fn parse_label(text: &str) -> Result<(String, Option<String>), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE, or KEY= to remove it")?;
    Ok((key.to_owned(), (!value.is_empty()).then(|| value.to_owned())))
}
