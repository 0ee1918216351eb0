//! `edgeward device ls`: the enrolled devices and what they last said.

use edgeward_api::operator::Device;

use super::remote::{ago, now, refused};
use crate::args::ListCommand;
use crate::output::{Outcome, Output, table};

const HEADER: [&str; 8] = ["device", "seen", "model", "bundle", "phase", "requests", "failed", "accuracy"];

pub(crate) fn run(command: &ListCommand, out: Output) -> Outcome {
    let ListCommand::Ls { remote } = command;
    let devices = remote.client()?.devices().map_err(|error| refused("listing devices", &error))?;
    out.document(&devices, |devices| {
        let rows: Vec<Vec<String>> = devices.devices.iter().flat_map(rows_of).collect();
        table(&HEADER, &rows, "no device has joined yet; make a token with `edgeward token create`")
    })
}

/// One row per model, or one that says there is none.
fn rows_of(device: &Device) -> Vec<Vec<String>> {
    let seen = device.seen_at_ms.map_or_else(|| "never".to_owned(), |seen| ago(seen, now()));
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
                accuracy,
            ];
            start.iter().cloned().chain(rest).collect()
        })
        .collect();
    match rows.is_empty() {
        true => vec![start.into_iter().chain(std::iter::repeat_n("-".to_owned(), 6)).collect()],
        false => rows,
    }
}
