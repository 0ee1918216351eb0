//! The candidates of `[[shadow]]`, trained side by side in one run: beside a champion they take the place of the project's
//! own model, and those that pass their gates run on devices as its shadows.
//!
//! Each goes through the same stages as any model, on a thread of its own, at most as many at once as the runner takes.
//! They share the cache: what two of them need is made once, and a run that was killed goes on with what is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use edgeward_api::operator::{GateVerdict, NamedBundle};
use edgeward_core::event::RunOutcome;
use edgeward_core::{Digest, Timestamp};
use edgeward_model::Bundle;
use edgeward_trust::Signer;

use super::noted::Notes;
use super::{Made, Pipeline, RunContext, RunError, Shared};
use crate::captured::Captured;
use crate::incumbent;
use crate::progress::{Progress, RunSummary, ShadowSummary, StageSummary};
use crate::project::{ProjectFile, TaskKind};
use crate::register::{RegisterError, Registry};
use crate::validate::verdict;

/// What came of one candidate.
struct Tried {
    name: String,
    made: Result<Made, RunError>,
    stages: Vec<StageSummary>,
    notes: Notes,
}

/// One that passed.
struct Passed {
    name: String,
    made: Made,
    bundle: Digest,
}

/// The champion beside which the candidates of `project` are to run; none if it declares none, if nothing serves yet, or if
/// this run is a trial of something else.
pub(super) fn champion(project: &ProjectFile, context: &RunContext<'_>) -> Result<Option<Digest>, RunError> {
    let Some(client) = context.server else { return Ok(None) };
    if project.shadow.is_empty() || context.adopts.is_some() || context.rows_max.is_some() {
        return Ok(None);
    }
    let told = |source| RegisterError::Call { what: "asking for the champion", source };
    Ok(incumbent::champion(client, &project.model).map_err(told)?)
}

/// Trains the candidates and registers the best of those that pass as shadows of `champion`.
pub(super) fn run(
    pipeline: &Pipeline<'_>,
    shared: &Shared<'_>,
    registry: &Registry<'_>,
    champion: Digest,
) -> Result<RunSummary, RunError> {
    let project = pipeline.project;
    let candidates = project.candidates();
    if candidates.iter().any(|(_, candidate)| candidate.data.captured) {
        // What one candidate finds, all find.
        Captured::pinned(registry.client, &project.model, shared.work, &shared.context.run)?;
    }
    let mut tried = try_all(&candidates, shared);
    tried.iter_mut().for_each(|one| pipeline.note_candidate(&one.name, std::mem::take(&mut one.notes)));
    let (verdicts, passed, stages) = sift(project, tried, champion)?;
    registry.record_gates(&verdicts)?;
    let signer = shared.context.signer.ok_or(RunError::NoSigner)?;
    let shadows = register(registry, &passed, signer, shared.context.now)?;
    let best = passed.into_iter().next();
    let outcome = match &best {
        Some(best) => RunOutcome::Passed { bundle: best.bundle },
        None => RunOutcome::Refused { reason: refusal(&verdicts) },
    };
    let named = shadows.iter().map(|shadow| NamedBundle { name: shadow.name.clone(), bundle: shadow.bundle });
    registry.finish_beside(&outcome, named.collect())?;
    let path = best.as_ref().and_then(|best| best.made.bundle.as_ref());
    Ok(RunSummary {
        run: shared.context.run.clone(),
        project: project.name.clone(),
        model: project.model.clone(),
        outcome,
        bundle: best.as_ref().map(|best| best.bundle),
        bundle_path: path.map(|bundle| bundle.dir().display().to_string()),
        version: shadows.first().map(|shadow| shadow.version),
        stages,
        metrics: best.map(|best| best.made.metrics).unwrap_or_default(),
        gates: verdicts,
        shadows,
    })
}

fn refusal(verdicts: &[GateVerdict]) -> String {
    let failed = verdicts.iter().find(|verdict| !verdict.passed);
    failed.map_or_else(
        || "every candidate is the champion itself".to_owned(),
        |verdict| format!("no candidate passed; {}: {}", verdict.gate, verdict.reason),
    )
}

fn try_all(candidates: &[(String, ProjectFile)], shared: &Shared<'_>) -> Vec<Tried> {
    let (next, tried) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let at_once = shared.runner.at_once().min(candidates.len());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((name, project)) = candidates.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = try_one(name, project, shared);
                    tried.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
    });
    let mut tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
    let place = |one: &Tried| candidates.iter().position(|(name, _)| *name == one.name);
    tried.sort_by_key(place);
    tried
}

fn try_one(name: &str, project: &ProjectFile, shared: &Shared<'_>) -> Tried {
    let of_it = |progress: Progress| (shared.context.progress)(progress.of(name));
    let context = RunContext {
        work_dir: shared.context.work_dir.clone(),
        run: shared.context.run.clone(),
        cause: shared.context.cause.clone(),
        progress: &of_it,
        ..*shared.context
    };
    let pipeline = Pipeline::new(project, &Shared { context: &context, ..*shared });
    let made = pipeline.run();
    let of_it = |stage: StageSummary| StageSummary { name: format!("{name}/{}", stage.name), ..stage };
    let stages = pipeline.stages.take().into_iter().map(of_it).collect();
    Tried { name: name.to_owned(), made, stages, notes: pipeline.notes.take() }
}

type Sifted = (Vec<GateVerdict>, Vec<Passed>, Vec<StageSummary>);

/// What the gates said of each, and the best that passed. A candidate that cannot be made at all is no reason to give up the
/// others, unless the same run may make it later.
fn sift(project: &ProjectFile, tried: Vec<Tried>, champion: Digest) -> Result<Sifted, RunError> {
    let (mut verdicts, mut passed, mut stages) = (Vec::new(), Vec::new(), Vec::new());
    for Tried { name, made, stages: of_it, .. } in tried {
        stages.extend(of_it);
        match made {
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => verdicts.push(verdict(&format!("{name}/run"), false, error.chain())),
            Ok(made) => {
                let named =
                    |one: &GateVerdict| GateVerdict { gate: format!("{name}/{}", one.gate), ..one.clone() };
                verdicts.extend(made.verdicts.iter().map(named));
                let bundle = made.bundle.as_ref().map(Bundle::digest);
                passed.extend(bundle.map(|bundle| Passed { name, made, bundle }));
            }
        }
    }
    let mut known = BTreeSet::from([champion]);
    passed.retain(|one: &Passed| known.insert(one.bundle));
    passed.sort_by(|one, other| goodness(project, &other.made).total_cmp(&goodness(project, &one.made)));
    passed.truncate(project.shadows.max);
    Ok((verdicts, passed, stages))
}

/// How good a candidate was on its own held-out rows; higher is better.
fn goodness(project: &ProjectFile, made: &Made) -> f64 {
    let (metric, sign) = match project.task() {
        TaskKind::Classification => ("accuracy", 1.0),
        TaskKind::Regression => ("rmse", -1.0),
    };
    made.metrics.get(metric).map_or(f64::NEG_INFINITY, |value| sign * value)
}

fn register(
    registry: &Registry<'_>,
    passed: &[Passed],
    signer: &dyn Signer,
    now: Timestamp,
) -> Result<Vec<ShadowSummary>, RunError> {
    let mut shadows = Vec::new();
    for Passed { name, made, bundle: digest } in passed {
        let Some(bundle) = &made.bundle else { continue };
        let version = registry.register(bundle, &made.metrics, signer, now)?;
        let (name, metrics) = (name.clone(), made.metrics.clone());
        shadows.push(ShadowSummary { name, version, bundle: *digest, metrics });
    }
    Ok(shadows)
}
