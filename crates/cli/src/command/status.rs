//! `edgeward status`: what a device on this machine says about itself (`GET /v1/status` of its endpoint).

use std::time::Duration;

use serde_json::Value;

use crate::args::StatusArgs;
use crate::output::{Explain, Failure, Outcome, Output};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &StatusArgs, out: Output) -> Outcome {
    let address = format!("{}/v1/status", args.endpoint.trim_end_matches('/'));
    let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).proxy(None).build();
    let mut answer = ureq::Agent::from(config).get(&address).call().map_err(|error| {
        Failure::new("unreachable", format!("asking {address}: {error}"))
            .hint("is the agent running? name its endpoint with --endpoint")
    })?;
    let status: Value = answer
        .body_mut()
        .read_json()
        .explain("malformed", format_args!("reading the answer of {address}"))?;
    out.document(&status, |status| {
        let mut lines = Vec::new();
        flatten("", status, &mut lines);
        lines.join("\n")
    })
}

/// One line per value: `path.to.key: value`.
fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| flatten(&below(key), inner, lines)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, inner)| flatten(&below(&i.to_string()), inner, lines));
        }
        Value::String(text) => lines.push(format!("{path}: {text}")),
        other => lines.push(format!("{path}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_per_value() {
        let mut lines = Vec::new();
        flatten("", &serde_json::json!({"device": "d", "models": [{"n": 1}], "none": {}}), &mut lines);
        assert_eq!(lines, ["device: d", "models.0.n: 1"]);
    }
}
