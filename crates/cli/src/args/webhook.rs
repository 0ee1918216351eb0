//! Who is told what happens.

use std::path::PathBuf;

use clap::Args;

use super::parse_url;

/// Flags about webhooks.
#[derive(Args)]
pub(crate) struct WebhookArgs {
    /// Post alerts, failed runs and failed rollouts to this address, in the shape of Alertmanager's webhook; may be given
    /// several times
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub(crate) alert_webhook: Vec<String>,
    /// Post every entry of the ledger to this address, as a CloudEvent; may be given several times
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub(crate) event_webhook: Vec<String>,
    /// Sign what is posted with the secret in this file, as Standard Webhooks has it: `whsec_` and base64
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
}
