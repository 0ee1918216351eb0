//! What needs somebody's attention, in the shape of Alertmanager's webhook, version 4: whatever takes those (pagers, chats,
//! ticket systems) takes ours.

use edgeward_core::Digest;
use edgeward_core::event::{Event, RolloutOutcome, RunOutcome};
use edgeward_core::ledger::Entry;
use serde_json::json;

use super::Letter;
use crate::dashboard::words::happening;
use crate::instant::rfc3339;

/// When nothing has ended, as Go writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Labels of an alert, by name.
type Labels = Vec<(&'static str, String)>;

/// What a receiver is posted of `entry`; nothing if nobody need look.
pub(super) fn letter(entry: &Entry, address: &str) -> Option<Letter> {
    let (name, severity, of) = notice(&entry.event)?;
    let said = happening(&entry.event);
    let mut labels = json!({ "alertname": name, "severity": severity });
    for (key, value) in of {
        labels[key] = value.into();
    }
    let description = match said.detail.is_empty() {
        true => said.title.clone(),
        false => format!("{}: {}", said.title, said.detail),
    };
    let annotations = json!({ "summary": said.title, "description": description });
    let fingerprint = Digest::of(labels.to_string().as_bytes()).hex()[..16].to_owned();
    let document = json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname=\"{name}\"}}"),
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "edgeward",
        "groupLabels": { "alertname": name },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": address,
        "alerts": [{
            "status": "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": rfc3339(entry.at_ms),
            "endsAt": NEVER,
            "generatorURL": format!("{address}/audit?entry={}", entry.seq),
            "fingerprint": fingerprint,
        }],
    });
    Some(Letter { content_type: "application/json", body: document.to_string().into_bytes() })
}

/// What an alert about `event` is called, how bad it is, and what it is about.
fn notice(event: &Event) -> Option<(&'static str, &'static str, Labels)> {
    match event {
        Event::AlertRaised(alert) => {
            let of = vec![
                ("model", alert.model.to_string()),
                ("device", alert.device.to_string()),
                ("kind", alert.kind.as_str().to_owned()),
                ("stream", alert.stream.clone().unwrap_or_default()),
            ];
            Some(("EdgewardModelAlert", "warning", of))
        }
        Event::RolloutPaused { rollout, by: None, .. } => {
            Some(("EdgewardRolloutPaused", "warning", vec![("rollout", rollout.to_string())]))
        }
        Event::RolloutFinished { rollout, outcome: RolloutOutcome::RolledBack, .. } => {
            Some(("EdgewardRolloutRolledBack", "critical", vec![("rollout", rollout.to_string())]))
        }
        Event::RunFinished { run, project, outcome } => {
            let of = vec![("project", project.to_string()), ("run", run.to_string())];
            match outcome {
                RunOutcome::Passed { .. } => None,
                RunOutcome::Refused { .. } => Some(("EdgewardRunRefused", "warning", of)),
                RunOutcome::Failed { .. } => Some(("EdgewardRunFailed", "critical", of)),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use edgeward_core::{ProjectName, RunId, Timestamp};

    use super::*;

    fn entry(outcome: RunOutcome) -> Entry {
        let (run, project) = (RunId::new("run-1").unwrap(), ProjectName::new("digits").unwrap());
        let event = Event::RunFinished { run, project, outcome };
        Entry { seq: 7, at_ms: Timestamp(1_700_000_000_000), prev: Digest::of(b""), event }
    }

    #[test]
    fn only_what_needs_a_look_is_told() {
        let address = "http://127.0.0.1:7700";
        let passed = entry(RunOutcome::Passed { bundle: Digest::of(b"b") });
        assert!(letter(&passed, address).is_none());
        let refused = entry(RunOutcome::Refused { reason: "gate.accuracy: 0.5".to_owned() });
        let told: Value = serde_json::from_slice(&letter(&refused, address).unwrap().body).unwrap();
        assert_eq!(told["commonLabels"]["alertname"], "EdgewardRunRefused");
        let alert = &told["alerts"][0];
        assert_eq!(
            (&alert["labels"]["project"], &alert["startsAt"]),
            (&json!("digits"), &json!("2023-11-14T22:13:20Z"))
        );
        assert!(
            alert["annotations"]["description"].as_str().unwrap().contains("gate.accuracy: 0.5"),
            "{told}"
        );
    }
}
