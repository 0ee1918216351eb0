//! `edgeward server`: the control plane.

use std::path::Path;
use std::time::Duration;

use edgeward_core::envelope::Base64;
use edgeward_server::{ServerConfig, ServerError, Shape, TlsConfig, Webhook, bind};
use serde::Serialize;

use crate::adapters::bucket_config;
use crate::args::{ServerArgs, WebhookArgs};
use crate::broker::broker;
use crate::database;
use crate::output::{Explain, Failure, Outcome, Output};
use crate::process::{block_on, interrupted};

/// Longest time between two looks of the reconcilers.
const TICK: Duration = Duration::from_millis(500);

/// Fewest bytes of a secret, as Standard Webhooks has it.
const SECRET_BYTES_MIN: usize = 24;

/// What it says once it listens.
#[derive(Serialize)]
struct Listening {
    address: String,
    /// The file with the certificate authority to believe.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
}

pub(crate) fn run(args: ServerArgs, out: Output) -> Outcome {
    let program = std::env::current_exe().explain("system", "finding this program's own file")?;
    let config = ServerConfig {
        data_dir: args.data,
        database: database::address(&args.database)?,
        blobs: args.blobs.as_deref().map(bucket_config),
        listen: args.listen,
        require_auth: args.require_auth,
        tls: TlsConfig {
            always: args.tls,
            names: args.public_name,
            public: args.tls_cert.zip(args.tls_key),
            device_life: args.certificate_life,
        },
        runner_program: program,
        broker: broker(&args.broker)?,
        webhooks: webhooks(args.webhooks)?,
        collector: args.telemetry.collector(),
        tick: TICK,
    };
    block_on(serve(config, out))?
}

fn webhooks(args: WebhookArgs) -> Result<Vec<Webhook>, Failure> {
    let secret = args.webhook_secret_file.as_deref().map(secret).transpose()?;
    let alerts = args.alert_webhook.into_iter().map(|url| (url, Shape::Alertmanager));
    let events = args.event_webhook.into_iter().map(|url| (url, Shape::CloudEvents));
    Ok(alerts.chain(events).map(|(url, shape)| Webhook { url, shape, secret: secret.clone() }).collect())
}

/// The key that webhooks are signed with.
fn secret(file: &Path) -> Result<Vec<u8>, Failure> {
    let text = std::fs::read_to_string(file)
        .explain("file", format_args!("reading the webhooks' secret in {}", file.display()))?;
    let text = text.trim();
    let key: Option<Base64> = text.strip_prefix("whsec_").unwrap_or(text).parse().ok();
    key.filter(|key| key.0.len() >= SECRET_BYTES_MIN).map(|key| key.0).ok_or_else(|| {
        Failure::usage(format!("{} holds no secret", file.display())).hint(
            "write `whsec_` and at least 24 random bytes in base64, such as `echo whsec_$(openssl rand -base64 32)`",
        )
    })
}

async fn serve(config: ServerConfig, out: Output) -> Outcome {
    let failed = |error: ServerError| {
        let problem = error.problem();
        let failure = Failure::new(&problem.kind, format!("starting the control plane: {}", problem.error));
        problem.hints.iter().fold(failure, Failure::hint)
    };
    let bound = bind(config).await.map_err(failed)?;
    let ca = bound.authority_file().map(|file| file.display().to_string());
    let listening = Listening { address: bound.url().to_owned(), ca };
    out.document(&listening, |listening| {
        let ca = listening.ca.as_ref().map(|file| format!("; commands believe it with --ca {file}"));
        format!("the control plane and its dashboard are at {}{}", listening.address, ca.unwrap_or_default())
    })?;
    bound.serve(interrupted()).await.map_err(failed)
}
