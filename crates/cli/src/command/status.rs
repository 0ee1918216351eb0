//! `edgeward status`: what a device on this machine says about itself (`GET /v1/status` of its endpoint).

use edgeward_agent::{Client, Tls};
use serde_json::Value;

use super::agent::roots;
use crate::args::StatusArgs;
use crate::output::{Failure, Outcome, Output, with_causes};

pub(crate) fn run(args: &StatusArgs, out: Output) -> Outcome {
    let roots = args.ca.as_deref().map(roots).transpose()?.unwrap_or_default();
    let endpoint = args.endpoint.trim_end_matches('/');
    let status = Client::with_tls(endpoint, None, Tls::with_roots(roots)).endpoint_status();
    let status = status.map_err(|error| {
        Failure::new("unreachable", format!("asking {endpoint}: {}", with_causes(&error)))
            .hint("is the agent running? name its endpoint with --endpoint")
    })?;
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
