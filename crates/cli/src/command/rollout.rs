//! `edgeward rollout`: list rollouts, take one back.

use edgeward_api::operator::Rollout;
use edgeward_core::RolloutId;
use edgeward_core::event::RolloutOutcome;

use super::remote::{ago, now, refused};
use crate::args::{Remote, RolloutCommand};
use crate::describe;
use crate::output::{Failure, Outcome, Output, table};

const HEADER: [&str; 6] = ["rollout", "model", "version", "started", "state", "reasons"];

pub(crate) fn run(command: &RolloutCommand, out: Output) -> Outcome {
    match command {
        RolloutCommand::Ls { remote } => list(remote, out),
        RolloutCommand::Abort { rollout, remote } => abort(rollout, remote, out),
    }
}

fn list(remote: &Remote, out: Output) -> Outcome {
    let rollouts = remote.client()?.rollouts().map_err(|error| refused("listing rollouts", &error))?;
    out.document(&rollouts, |rollouts| {
        let rows: Vec<Vec<String>> = rollouts.rollouts.iter().map(row).collect();
        table(&HEADER, &rows, "no rollout yet; start one with `edgeward deploy`")
    })
}

fn abort(rollout: &str, remote: &Remote, out: Output) -> Outcome {
    let id = RolloutId::new(rollout).map_err(|error| Failure::usage(error.to_string()))?;
    let rollout = remote.client()?.abort_rollout(&id).map_err(|error| {
        refused(&format!("taking rollout {id} back"), &error).hint("see `edgeward rollout ls`")
    })?;
    out.document(&rollout, |rollout| match rollout.outcome {
        Some(RolloutOutcome::RolledBack) => format!("rollout {} is taken back", rollout.id),
        _ => format!("rollout {} had ended before: {}; deploy another version", rollout.id, state(rollout)),
    })
}

fn state(rollout: &Rollout) -> String {
    match (&rollout.outcome, rollout.wave) {
        (Some(outcome), _) => describe::rollout_outcome(*outcome).to_owned(),
        (None, Some(wave)) => format!("wave {}", wave + 1),
        (None, None) => "starting".to_owned(),
    }
}

fn row(rollout: &Rollout) -> Vec<String> {
    vec![
        rollout.id.to_string(),
        rollout.model.to_string(),
        rollout.version.to_string(),
        ago(rollout.started_at_ms, now()),
        state(rollout),
        rollout.reasons.join("; "),
    ]
}
