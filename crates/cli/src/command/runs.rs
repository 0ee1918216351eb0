//! `edgeward runs ls`: pipeline runs and how they ended.

use edgeward_api::operator::Run;
use edgeward_core::event::RunOutcome;

use super::remote::{ago, now, refused};
use crate::args::ListCommand;
use crate::output::{Outcome, Output, table};

const HEADER: [&str; 5] = ["run", "project", "started", "outcome", "cause"];

pub(crate) fn run(command: &ListCommand, out: Output) -> Outcome {
    let ListCommand::Ls { remote } = command;
    let runs = remote.client()?.runs().map_err(|error| refused("listing runs", &error))?;
    out.document(&runs, |runs| {
        let rows: Vec<Vec<String>> = runs.runs.iter().map(row).collect();
        table(&HEADER, &rows, "no run yet; start one with `edgeward run`")
    })
}

fn row(run: &Run) -> Vec<String> {
    let outcome = match &run.outcome {
        None => "under way".to_owned(),
        Some(RunOutcome::Passed { bundle }) => format!("passed: {}", bundle.short()),
        Some(RunOutcome::Refused { reason }) => format!("refused: {reason}"),
        Some(RunOutcome::Failed { reason }) => format!("failed: {reason}"),
    };
    let started = ago(run.requested_at_ms, now());
    vec![run.id.to_string(), run.project.to_string(), started, outcome, run.cause.clone()]
}
