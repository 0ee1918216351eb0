//! What a device remembers by itself, while no control plane can be reached.

use std::time::Duration;

use edgeward_core::{PredictionId, Timestamp};
use serde_json::Value;

use crate::command::remote::{ago, now};
use crate::output::{Explain, Failure, Outcome, Output, table};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the agent's endpoint at `address`.
pub(super) fn run(address: &str, id: PredictionId, out: Output) -> Outcome {
    let address = format!("{}/v1/predictions/{id}", address.trim_end_matches('/'));
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIMEOUT))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let mut answer = ureq::Agent::from(config).get(&address).call().map_err(|error| {
        Failure::new("unreachable", format!("asking {address}: {error}"))
            .hint("is the agent running? name its endpoint with --agent")
    })?;
    let said: Value = answer
        .body_mut()
        .read_json()
        .explain("malformed", format_args!("reading the answer of {address}"))?;
    match said["error"].as_str() {
        Some(error) => Err(Failure::new("not_found", error.to_owned())
            .hint("the control plane may have its record: ask without --agent")),
        None => out.document(&said, words),
    }
}

fn words(said: &Value) -> String {
    let text = |key: &str| said[key].as_str().unwrap_or_default();
    let at = Timestamp(said["at_ms"].as_i64().unwrap_or_default());
    let rows = said["rows"].as_array().into_iter().flatten().enumerate().map(|(row, of)| {
        let predicted = of["predicted"].as_str().unwrap_or("-").to_owned();
        vec![row.to_string(), predicted, of["scores"].to_string(), of["values"].to_string()]
    });
    let rows = table(&["row", "predicted", "scores", "input"], &rows.collect::<Vec<_>>(), "no row");
    format!(
        "{} remembers: {} answered {} with bundle {}\n{rows}\nnothing proves this; the control plane's record does",
        text("device"),
        text("model"),
        ago(at, now()),
        text("bundle"),
    )
}
