//! The loop in stages: which of its nine stages is alive, and what it last did.

use edgeward_api::operator::Run;
use edgeward_core::event::{RolloutOutcome, RunOutcome};

use super::alerts::Stand;
use super::figures::{ago, percent};
use super::fleet::Seen;
use super::snapshot::{Snapshot, champion};

/// How a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing happened here yet.
    Waiting,
    /// It did its work.
    Done,
    /// It is at work now.
    Live,
    /// It found something bad.
    Alarm,
}

impl State {
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Live => "live",
            Self::Alarm => "alarm",
        }
    }

    /// For those who cannot see colours.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "not yet",
            Self::Done => "done",
            Self::Live => "in progress",
            Self::Alarm => "needs attention",
        }
    }
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    pub(crate) detail: String,
}

impl Stage {
    /// The page that tells more of it.
    pub(crate) fn path(&self) -> &'static str {
        match self.name {
            "Convert" | "Sign" => "/models",
            "Deploy" => "/rollouts",
            "Serve" | "Monitor" => "/fleet",
            "Alert" => "/alerts",
            _ => "/runs",
        }
    }
}

fn stage(name: &'static str, state: State, detail: impl Into<String>) -> Stage {
    Stage { name, state, detail: detail.into() }
}

/// The loop, in order.
pub(crate) fn stages(seen: &Snapshot) -> [Stage; 9] {
    let run = seen.runs.first();
    let [convert, sign] = registered(seen, run);
    [
        train(seen, run),
        validate(run),
        convert,
        sign,
        deploy(seen),
        serve(seen),
        monitor(seen),
        alert(seen),
        retrain(seen, run),
    ]
}

fn train(seen: &Snapshot, run: Option<&Run>) -> Stage {
    let Some(run) = run else { return stage("Train", State::Waiting, "no run yet") };
    match (&run.outcome, run.gates.is_empty()) {
        (None, true) => stage("Train", State::Live, format!("since {}", ago(run.requested_at_ms, seen.now))),
        (Some(RunOutcome::Failed { .. }), _) => stage("Train", State::Alarm, "the last run failed"),
        _ => stage("Train", State::Done, ago(run.requested_at_ms, seen.now)),
    }
}

fn validate(run: Option<&Run>) -> Stage {
    let Some(run) = run.filter(|run| !run.gates.is_empty()) else {
        return stage("Validate", State::Waiting, "no verdict yet");
    };
    let passed = run.gates.iter().filter(|gate| gate.passed).count();
    let detail = format!("{passed} of {} gates", run.gates.len());
    let state = match (passed < run.gates.len(), run.outcome.is_none()) {
        (true, _) => State::Alarm,
        (false, true) => State::Live,
        (false, false) => State::Done,
    };
    stage("Validate", state, detail)
}

fn registered(seen: &Snapshot, run: Option<&Run>) -> [Stage; 2] {
    let newest = seen.models.iter().flat_map(|m| &m.versions).max_by_key(|version| version.registered_at_ms);
    let running = run.is_some_and(|run| run.outcome.is_none() && !run.gates.is_empty());
    match newest {
        _ if running => [
            stage("Convert", State::Live, "under way"),
            stage(
                "Sign",
                State::Waiting,
                newest.map_or_else(String::new, |v| format!("last v{}", v.version)),
            ),
        ],
        Some(version) => [
            stage("Convert", State::Done, format!("v{}", version.version)),
            stage("Sign", State::Done, format!("v{}", version.version)),
        ],
        None => {
            [stage("Convert", State::Waiting, "no version yet"), stage("Sign", State::Waiting, "nothing yet")]
        }
    }
}

fn deploy(seen: &Snapshot) -> Stage {
    let Some(rollout) = seen.rollouts.first() else {
        return stage("Deploy", State::Waiting, "no rollout yet");
    };
    let version = rollout.version;
    match (rollout.outcome, rollout.wave) {
        (None, None) => stage("Deploy", State::Live, format!("v{version} starting")),
        (None, Some(wave)) => stage("Deploy", State::Live, format!("v{version}, wave {}", wave + 1)),
        (Some(RolloutOutcome::RolledBack), _) => {
            stage("Deploy", State::Alarm, format!("v{version} taken back"))
        }
        (Some(_), _) => stage("Deploy", State::Done, format!("v{version}")),
    }
}

fn serve(seen: &Snapshot) -> Stage {
    let total = seen.fleet.devices.len();
    let serves = |device: &&Seen| {
        device.standing.reports() && device.models.iter().any(|model| model.active.is_some())
    };
    let serving = seen.fleet.devices.iter().filter(serves).count();
    let state = match (serving, total) {
        (0, 0) => return stage("Serve", State::Waiting, "no device yet"),
        (0, _) => State::Waiting,
        _ => State::Live,
    };
    stage("Serve", state, format!("{serving} of {total} devices"))
}

fn monitor(seen: &Snapshot) -> Stage {
    match (seen.fleet.accuracy(), &seen.drift) {
        (Some((accuracy, _)), _) => stage("Monitor", State::Live, format!("{} right", percent(accuracy))),
        (None, Some((_, drift))) if !drift.windows.is_empty() => {
            stage("Monitor", State::Live, "no labels yet")
        }
        _ => stage("Monitor", State::Waiting, "no traffic yet"),
    }
}

fn alert(seen: &Snapshot) -> Stage {
    let count = |stand| seen.alerts_that_are(stand).count();
    let (open, acknowledged) = (count(Stand::Open), count(Stand::Acknowledged));
    match (seen.alerts_that_are(Stand::Open).next(), seen.alerts.len()) {
        (Some(newest), _) if open == 1 => stage("Alert", State::Alarm, newest.kind.as_str()),
        (Some(newest), _) => stage("Alert", State::Alarm, format!("{open}, last {}", newest.kind.as_str())),
        (None, _) if acknowledged > 0 => stage("Alert", State::Done, format!("{acknowledged} acknowledged")),
        (None, 0) if seen.models.iter().any(|model| champion(model).is_some()) => {
            stage("Alert", State::Done, "quiet")
        }
        (None, 0) => stage("Alert", State::Waiting, "nothing to watch"),
        (None, settled) => stage("Alert", State::Done, format!("{settled} settled")),
    }
}

fn retrain(seen: &Snapshot, run: Option<&Run>) -> Stage {
    let again = seen.runs.len() > 1;
    // That a person has seen an alert changes nothing about what it starts.
    let alarmed = seen.alerts.iter().any(|raised| Stand::of(raised, &seen.models) != Stand::Settled);
    match run {
        Some(run) if again && run.outcome.is_none() => stage("Retrain", State::Live, "under way"),
        Some(run) if again => stage("Retrain", State::Done, ago(run.requested_at_ms, seen.now)),
        _ if alarmed => match seen.projects.iter().any(|p| p.trigger.level > 0) {
            true => stage("Retrain", State::Live, "waiting for labels"),
            false => stage("Retrain", State::Waiting, "by hand (level 0)"),
        },
        _ => stage("Retrain", State::Waiting, "when needed"),
    }
}
