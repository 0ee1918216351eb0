//! `edgeward run --commit`: a commit of the pipeline's repository on trial, as the control plane asks for it at level 2.

use std::path::Path;

use edgeward_api::Client;
use edgeward_api::operator::GateVerdict;
use edgeward_core::event::RunOutcome;
use edgeward_core::source::Source;
use edgeward_pipeline::commit::{Prepared, Trial};
use edgeward_pipeline::register::Registry;
use edgeward_pipeline::{Progress, ProjectFile, RunContext, RunSummary};

use super::remote::refused;
use super::run::{failed, tell};
use crate::output::{Explain, Failure, note};

/// Tries `commit` beside the pipeline that is in use; passing, it takes over.
pub(super) fn run(
    active: &ProjectFile,
    commit: &str,
    context: &RunContext<'_>,
) -> Result<RunSummary, Failure> {
    let client = context.server.ok_or_else(|| Failure::usage("--commit needs --server"))?;
    let source = source(active, client)?;
    let trial = Trial {
        source: &source,
        commit,
        active,
        run: &context.run,
        work: &context.work_dir,
        cancel: context.cancel,
        said: &|line| note(line),
    };
    let doing = format!("trying commit {commit} of {}", source.git);
    let Prepared { project, verdicts } = trial.prepare(context).explain("commit", &doing)?;
    verdicts.iter().for_each(|verdict| tell(&Progress::Judged(verdict.clone())));
    let registry = Registry { client, project: active, run: &context.run };
    registry.record_gates(&verdicts).explain("server", &doing)?;
    let Some(candidate) = project else {
        let outcome = RunOutcome::Refused { reason: refusal(&verdicts) };
        registry.finish(&outcome, None).explain("server", &doing)?;
        return Ok(without_model(active, context, outcome, verdicts));
    };
    let adopts = candidate.to_adopted_project(Path::new(&source.home), commit);
    let context = RunContext {
        work_dir: context.work_dir.clone(),
        run: context.run.clone(),
        cause: context.cause.clone(),
        adopts: Some(&adopts),
        ..*context
    };
    let mut summary =
        edgeward_pipeline::run(&candidate, &context).map_err(|error| failed(&candidate, &error))?;
    summary.gates.splice(0..0, verdicts);
    trial.clear().explain("commit", "removing earlier commits")?;
    Ok(summary)
}

/// Where the project comes from, as the control plane knows it.
fn source(active: &ProjectFile, client: &Client) -> Result<Source, Failure> {
    let known = client.projects().map_err(|error| refused("asking for the project", &error))?;
    let project = known.projects.into_iter().find(|project| project.name == active.name);
    project.and_then(|project| project.source).ok_or_else(|| {
        Failure::new("project", format!("project {} follows no repository", active.name))
            .hint("set level = 2 and [source] git in edgeward.toml and register it with edgeward run")
    })
}

fn refusal(verdicts: &[GateVerdict]) -> String {
    let failed = verdicts.iter().find(|verdict| !verdict.passed);
    failed.map_or_else(String::new, |verdict| format!("{}: {}", verdict.gate, verdict.reason))
}

fn without_model(
    active: &ProjectFile,
    context: &RunContext<'_>,
    outcome: RunOutcome,
    gates: Vec<GateVerdict>,
) -> RunSummary {
    RunSummary {
        run: context.run.clone(),
        project: active.name.clone(),
        model: active.model.clone(),
        outcome,
        bundle: None,
        bundle_path: None,
        version: None,
        stages: Vec::new(),
        metrics: std::collections::BTreeMap::new(),
        gates,
        shadows: Vec::new(),
    }
}
