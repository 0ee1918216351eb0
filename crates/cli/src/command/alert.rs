//! `edgeward alert`: what was noticed, and that somebody has seen it.

use edgeward_api::operator::{AcknowledgeRequest, AlertAcknowledged, RaisedAlert};

use super::remote::{ago, now, refused};
use crate::args::{AlertCommand, Remote};
use crate::output::{Outcome, Output, table};

const HEADER: [&str; 9] =
    ["raised", "kind", "device", "model", "bundle", "sample", "alert", "acknowledged", "message"];

pub(crate) fn run(command: &AlertCommand, out: Output) -> Outcome {
    match command {
        AlertCommand::Ls { remote } => list(remote, out),
        AlertCommand::Acknowledge { alert, note, remote } => {
            let request = AcknowledgeRequest { alert: alert.clone(), note: note.clone() };
            let done = remote.client()?.acknowledge_alert(&request);
            let done = done.map_err(|error| refused("acknowledging an alert", &error))?;
            out.document(&done, said)
        }
    }
}

fn list(remote: &Remote, out: Output) -> Outcome {
    let alerts = remote.client()?.alerts().map_err(|error| refused("listing alerts", &error))?;
    out.document(&alerts, |alerts| {
        let rows: Vec<Vec<String>> = alerts.alerts.iter().map(row).collect();
        table(&HEADER, &rows, "no alert")
    })
}

fn row(raised: &RaisedAlert) -> Vec<String> {
    let RaisedAlert { alert, acknowledged } = raised;
    vec![
        ago(alert.at_ms, now()),
        alert.kind.as_str().to_owned(),
        alert.device.to_string(),
        alert.model.to_string(),
        alert.bundle.short(),
        alert.sample.to_string(),
        alert.id.clone(),
        acknowledged.as_ref().map_or_else(|| "-".to_owned(), |seen| format!("by {}", seen.by)),
        alert.message.clone(),
    ]
}

fn said(done: &AlertAcknowledged) -> String {
    let AlertAcknowledged { alert, acknowledged: seen, already } = done;
    let note = seen.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    match already {
        false => format!("alert {alert} is acknowledged by {}{note}", seen.by),
        true => format!(
            "alert {alert} was acknowledged before, {} by {}{note}; the first one stands",
            ago(seen.at_ms, now()),
            seen.by
        ),
    }
}
