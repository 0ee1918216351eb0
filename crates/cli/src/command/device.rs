//! `edgeward device`: the enrolled devices, what they last said, who may join, who is shut out, labels and pins.

use edgeward_api::access::DeviceRevocation;
use edgeward_api::operator::{Device, DeviceLabels, JoinTokenRequest, LabelsChange, PinRequest};
use edgeward_core::{DeviceId, ModelName};

use super::remote::{ago, now, refused};
use crate::args::{DeviceCommand, Remote};
use crate::output::{Failure, Outcome, Output, table};

const HEADER: [&str; 9] =
    ["device", "seen", "model", "bundle", "phase", "requests", "failed", "received", "accuracy"];

pub(crate) fn run(command: &DeviceCommand, out: Output) -> Outcome {
    match command {
        DeviceCommand::Ls { remote } => list(remote, out),
        DeviceCommand::Token { uses, ttl, device, remote } => {
            let device = device.as_deref().map(device_id).transpose()?;
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            let request = JoinTokenRequest { uses: *uses, ttl_ms, device };
            let token = remote.client()?.make_join_token(&request);
            let token = token.map_err(|error| refused("making a join token", &error))?;
            out.document(&token, |token| token.join_token.clone())
        }
        DeviceCommand::Revoke { device, cause, remote } => {
            let device = device_id(device)?;
            let revocation = DeviceRevocation { cause: cause.clone() };
            let revoked = remote.client()?.revoke_device(&device, &revocation);
            let revoked = revoked.map_err(|error| refused("revoking a device", &error))?;
            out.document(&revoked, |revoked| {
                format!(
                    "{0} is shut out; `edgeward device token --for {0}` makes a token with which it joins again",
                    revoked.device
                )
            })
        }
        DeviceCommand::Label { device, labels, remote } => label(device, labels, remote, out),
        DeviceCommand::Pin { device, model, target, remote } => pin(device, model, Some(target), remote, out),
        DeviceCommand::Unpin { device, model, remote } => pin(device, model, None, remote, out),
    }
}

fn device_id(text: &str) -> Result<DeviceId, Failure> {
    DeviceId::new(text).map_err(|error| Failure::usage(error.to_string()))
}

fn label(device: &str, labels: &[(String, Option<String>)], remote: &Remote, out: Output) -> Outcome {
    let (id, client) = (device_id(device)?, remote.client()?);
    let known = match labels.is_empty() {
        true => client.labels(&id),
        false => client.set_labels(&id, &LabelsChange { labels: labels.iter().cloned().collect() }),
    };
    let known = known
        .map_err(|error| refused(&format!("labels of {device}"), &error).hint("see `edgeward device ls`"))?;
    out.document(&known, |known: &DeviceLabels| {
        let lines: Vec<String> = known.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines.join("\n")
    })
}

fn pin(device: &str, model: &str, target: Option<&String>, remote: &Remote, out: Output) -> Outcome {
    let model = ModelName::new(model).map_err(|error| Failure::usage(error.to_string()))?;
    let request = PinRequest { model, target: target.cloned() };
    let pin = remote.client()?.pin(&device_id(device)?, &request);
    let pin = pin.map_err(|error| {
        refused(&format!("pinning {device}"), &error).hint("see `edgeward device ls` and `edgeward model ls`")
    })?;
    out.document(&pin, |pin| match pin.bundle {
        Some(bundle) => {
            format!("{} runs {} of {} whatever is rolled out", pin.device, bundle.short(), pin.model)
        }
        None => format!("{} follows rollouts of {}", pin.device, pin.model),
    })
}

fn list(remote: &Remote, out: Output) -> Outcome {
    let devices = remote.client()?.devices().map_err(|error| refused("listing devices", &error))?;
    out.document(&devices, |devices| {
        let rows: Vec<Vec<String>> = devices.devices.iter().flat_map(rows_of).collect();
        table(&HEADER, &rows, "no device has joined yet; make a token with `edgeward device token`")
    })
}

/// One row per model, or one that says there is none.
fn rows_of(device: &Device) -> Vec<Vec<String>> {
    let seen = match device.revoked_at_ms {
        Some(_) => "shut out".to_owned(),
        None => seen(device) + &trouble(device),
    };
    let start = vec![device.id.to_string(), seen];
    let models = device.report.iter().flat_map(|report| &report.models);
    let rows: Vec<Vec<String>> = models
        .map(|(name, model)| {
            let bundle = model.active.map_or_else(|| "-".to_owned(), |bundle| bundle.short());
            let accuracy = model.accuracy.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
            let rest = [
                name.to_string(),
                bundle,
                model.phase.clone(),
                model.requests.to_string(),
                model.requests_failed.to_string(),
                model.received_bytes.to_string(),
                accuracy,
            ];
            start.iter().cloned().chain(rest).collect()
        })
        .collect();
    match rows.is_empty() {
        true => vec![start.into_iter().chain(std::iter::repeat_n("-".to_owned(), 7)).collect()],
        false => rows,
    }
}

/// Why it does not act on its repository.
fn trouble(device: &Device) -> String {
    let trouble = device.report.as_ref().and_then(|report| report.repository.as_ref());
    trouble.map_or_else(String::new, |trouble| format!(" (repository: {})", trouble.name))
}

fn seen(device: &Device) -> String {
    device.seen_at_ms.map_or_else(|| "never".to_owned(), |seen| ago(seen, now()))
}
