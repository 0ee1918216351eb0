//! Ledger events in words, one line each. Listings and the demo's timeline say the same thing the same way.

use edgeward_core::Event;
use edgeward_core::event::{RolloutOutcome, RunOutcome};
use edgeward_core::shadow::ShadowOutcome;
use edgeward_core::source::short;

/// What happened.
pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::ProjectRegistered(project) => {
            let commit = project.source.as_ref().and_then(|source| source.commit.as_deref());
            let of = commit.map_or_else(String::new, |commit| format!(" from commit {}", short(commit)));
            format!("project {} is registered{of}", project.name)
        }
        Event::DeviceEnrolled { device } => format!("{device} joined the fleet"),
        Event::RunRequested { run, cause, .. } => format!("run {run} is asked for: {cause}"),
        Event::RunFinished { run, outcome, .. } => format!("run {run} {}", run_outcome(outcome)),
        Event::GateJudged { gate, passed, reason, .. } => {
            format!("gate {gate} {}: {reason}", if *passed { "passed" } else { "refused" })
        }
        Event::ModelRegistered(version) => {
            let (model, number, bundle) = (&version.model, version.version, version.bundle.short());
            format!("{model} version {number} ({bundle}) is registered")
        }
        Event::AliasMoved { model, alias, version } => format!("{alias} of {model} is now version {version}"),
        Event::RolloutStarted { model, version, cause, .. } => {
            format!("rollout of {model} version {version} begins: {cause}")
        }
        Event::DeviceLabelled { device, labels, by } => {
            let label = |(key, value): (&String, &Option<String>)| match value {
                Some(value) => format!("{key}={value}"),
                None => format!("no {key}"),
            };
            let labels: Vec<String> = labels.iter().map(label).collect();
            format!("{device} is labelled {} by {by}", labels.join(", "))
        }
        Event::DevicePinned { device, model, bundle, by } => {
            format!("{device} is pinned to {} of {model} by {by}", bundle.short())
        }
        Event::DeviceUnpinned { device, model, by } => {
            format!("{device} follows rollouts of {model} again, by {by}")
        }
        Event::GroupDefined { group, expression, by } => format!("group {group} is {expression}, by {by}"),
        Event::GroupRemoved { group, by } => format!("group {group} is removed by {by}"),
        Event::RolloutPaused { reasons, .. } => format!("rollout is paused: {}", reasons.join("; ")),
        Event::RolloutResumed { cause, .. } => format!("rollout goes on: {cause}"),
        Event::RolloutApproved { cause, .. } => format!("rollout: {cause}"),
        Event::RolloutAdvanced { wave, reasons, .. } => {
            format!("rollout wave {} opens: {}", wave + 1, reasons.join("; "))
        }
        Event::RolloutFinished { outcome, reasons, .. } => {
            format!("rollout {}: {}", rollout_outcome(*outcome), reasons.join("; "))
        }
        Event::ShadowsStarted { model, candidates, .. } => {
            let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
            format!("shadows run beside {model}: {}", names.join(", "))
        }
        Event::ShadowsJudged { model, outcome, reasons, .. } => {
            format!("shadows of {model}: {}: {}", shadow_outcome(outcome), reasons.join("; "))
        }
        Event::AlertRaised(alert) => {
            format!("{} alert from {}: {}", alert.kind.as_str(), alert.device, alert.message)
        }
        Event::AlertAcknowledged { alert, by, note } => acknowledged(alert, by, note.as_deref()),
        Event::AccessChanged(change) => change.to_string(),
        Event::SamplesJudged { model, samples, verdict, cause } => {
            format!(
                "{} samples of {model} that were held back are {}: {cause}",
                samples.len(),
                verdict.as_str()
            )
        }
        Event::RecordsKept { .. }
        | Event::RecordsRead { .. }
        | Event::InputsErased { .. }
        | Event::RecordsExpired { .. }
        | Event::SubjectErased { .. } => records(event),
    }
}

fn acknowledged(alert: &str, by: &str, note: Option<&str>) -> String {
    let note = note.map_or_else(String::new, |note| format!(": {note}"));
    format!("{by} acknowledged the alert {alert}{note}")
}

/// What became of records of predictions.
fn records(event: &Event) -> String {
    match event {
        Event::RecordsKept { batch, records, .. } => {
            format!("{records} records of predictions are batch {batch}")
        }
        Event::RecordsRead { what, by } => format!("{by} read {what}"),
        Event::InputsErased { inputs, .. } => format!("{inputs} inputs were erased: their time is over"),
        Event::RecordsExpired { records, .. } => {
            format!("{records} records of predictions were dropped: their time is over")
        }
        Event::SubjectErased { subject, inputs, records, samples, by } => format!(
            "{by} had subject {} erased: {inputs} inputs, {records} records, {samples} samples",
            subject.short()
        ),
        other => other.kind().replace('_', " "),
    }
}

/// How a run ended.
pub(crate) fn run_outcome(outcome: &RunOutcome) -> String {
    match outcome {
        RunOutcome::Passed { bundle } => format!("passed every gate and made {}", bundle.short()),
        RunOutcome::Refused { reason } => format!("was refused: {reason}"),
        RunOutcome::Failed { reason } => format!("failed: {reason}"),
    }
}

/// How a comparison of shadows ended.
pub(crate) fn shadow_outcome(outcome: &ShadowOutcome) -> String {
    match outcome {
        ShadowOutcome::Winner(winner) => {
            format!("'{}' (v{}) is better than the champion", winner.name, winner.version)
        }
        ShadowOutcome::NoneBetter => "none is better than the champion".to_owned(),
        ShadowOutcome::Undecided => "it ended without a verdict".to_owned(),
        ShadowOutcome::Superseded => "they made way for others".to_owned(),
    }
}

/// How a rollout ended.
pub(crate) const fn rollout_outcome(outcome: RolloutOutcome) -> &'static str {
    match outcome {
        RolloutOutcome::Completed => "completed",
        RolloutOutcome::RolledBack => "rolled back",
        RolloutOutcome::Superseded => "superseded",
    }
}

#[cfg(test)]
mod tests {
    use edgeward_core::{DeviceId, Digest, RunId};

    use super::*;

    #[test]
    fn events_read_as_sentences() {
        let joined = Event::DeviceEnrolled { device: DeviceId::new("robot-1").unwrap() };
        assert_eq!(event(&joined), "robot-1 joined the fleet");
        let judged = Event::GateJudged {
            run: RunId::new("r1").unwrap(),
            gate: "accuracy".into(),
            passed: false,
            reason: "0.7 is below 0.9".into(),
        };
        assert_eq!(event(&judged), "gate accuracy refused: 0.7 is below 0.9");
        let acknowledged = |note: Option<&str>| Event::AlertAcknowledged {
            alert: "a1".into(),
            by: "ann".into(),
            note: note.map(str::to_owned),
        };
        assert_eq!(event(&acknowledged(None)), "ann acknowledged the alert a1");
        assert_eq!(event(&acknowledged(Some("a new lens"))), "ann acknowledged the alert a1: a new lens");
        let bundle = Digest::of(b"x");
        assert!(run_outcome(&RunOutcome::Passed { bundle }).ends_with(&bundle.short()));
    }
}
