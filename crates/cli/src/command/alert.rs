//! `edgeward alert ls`: what devices noticed.

use edgeward_core::Alert;

use super::remote::{ago, now, refused};
use crate::args::ListCommand;
use crate::output::{Outcome, Output, table};

const HEADER: [&str; 7] = ["raised", "kind", "device", "model", "bundle", "sample", "message"];

pub(crate) fn run(command: &ListCommand, out: Output) -> Outcome {
    let ListCommand::Ls { remote } = command;
    let alerts = remote.client()?.alerts().map_err(|error| refused("listing alerts", &error))?;
    out.document(&alerts, |alerts| {
        let rows: Vec<Vec<String>> = alerts.alerts.iter().map(row).collect();
        table(&HEADER, &rows, "no alert")
    })
}

fn row(alert: &Alert) -> Vec<String> {
    vec![
        ago(alert.at_ms, now()),
        alert.kind.as_str().to_owned(),
        alert.device.to_string(),
        alert.model.to_string(),
        alert.bundle.short(),
        alert.sample.to_string(),
        alert.message.clone(),
    ]
}
