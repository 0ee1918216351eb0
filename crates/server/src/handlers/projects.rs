//! Projects and their runs.
//!
//! A run is asked for once by its id; its verdicts and its end are recorded once, so that a pipeline which lost an
//! answer may simply say it again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeward_api::operator::{GateVerdicts, Projects, Run, RunAnnouncement, RunEnd, RunRequest, Runs};
use edgeward_api::{Problem, routes};
use edgeward_core::event::{Project, RunOutcome, Runner};
use edgeward_core::shadow::SHADOWS_MAX;
use edgeward_core::source::{is_commit, is_safe_name};
use edgeward_core::{Event, ProjectName, RunId};
use edgeward_store::RunRow;

use super::{check_text, fresh_run_id};
use crate::app::{App, Decision};
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::listing;
use crate::reconcile::shadows::{self, BeginError};

/// Most gates of one run.
const GATES_MAX: usize = 256;

/// The projects.
#[utoipa::path(get, path = routes::PROJECTS, responses((status = 200, body = Projects)))]
pub(crate) async fn projects(State(app): State<Arc<App>>) -> Result<Json<Projects>, Failure> {
    let projects = app.read(|view| view.projects().map_err(Failure::from)).await?;
    Ok(Json(Projects { projects }))
}

/// Adds a project or changes its policies.
#[utoipa::path(post, path = routes::PROJECTS, request_body = Object,
    responses((status = 204), (status = 422, body = Problem)))]
pub(crate) async fn register_project(
    State(app): State<Arc<App>>,
    Document(project): Document<Project>,
) -> Result<StatusCode, Failure> {
    check_project(&project)?;
    app.decide(move |decision| {
        if decision.project_named(&project.name)?.as_ref() != Some(&project) {
            decision.append(Event::ProjectRegistered(project))?;
        }
        Ok::<_, Failure>(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a run on the control plane.
#[utoipa::path(post, path = routes::PROJECT_RUNS, request_body = RunRequest,
    params(("project" = String, Path, description = "The project's name")),
    responses((status = 200, body = Run), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn request_run(
    State(app): State<Arc<App>>,
    Named(project): Named<ProjectName>,
    Document(request): Document<RunRequest>,
) -> Result<Json<Run>, Failure> {
    check_text("cause", &request.cause)?;
    let run = fresh_run_id(app.now())?;
    let announcement = RunAnnouncement { run, project, cause: request.cause };
    let run = app.decide(move |decision| begin(decision, &announcement, Runner::ControlPlane)).await?;
    Ok(Json(run))
}

/// The runs.
#[utoipa::path(get, path = routes::RUNS, responses((status = 200, body = Runs)))]
pub(crate) async fn runs(State(app): State<Arc<App>>) -> Result<Json<Runs>, Failure> {
    let runs = app.read(|view| listing::runs(view).map_err(Failure::from)).await?;
    Ok(Json(Runs { runs }))
}

/// Announces a run that happens elsewhere. Announcing it again returns it.
#[utoipa::path(post, path = routes::RUNS, request_body = RunAnnouncement,
    responses((status = 200, body = Run), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn announce_run(
    State(app): State<Arc<App>>,
    Document(announcement): Document<RunAnnouncement>,
) -> Result<Json<Run>, Failure> {
    check_text("cause", &announcement.cause)?;
    let run = app.decide(move |decision| begin(decision, &announcement, Runner::Caller)).await?;
    Ok(Json(run))
}

fn begin(decision: &Decision<'_, '_>, asked: &RunAnnouncement, runner: Runner) -> Result<Run, Failure> {
    if let Some(known) = decision.run(&asked.run)? {
        return match known.project == asked.project {
            true => Ok(listing::run(known)),
            false => Err(Failure::conflict(format!("run {} is one of {}", asked.run, known.project))),
        };
    }
    if decision.project_named(&asked.project)?.is_none() {
        return Err(Failure::not_found(format!("there is no project {}", asked.project))
            .hint("Register it first; 'edgeward run --server' does."));
    }
    if let Some(other) = decision.run_under_way(&asked.project)? {
        return Err(Failure::conflict(format!("run {} of {} is under way", other.id, asked.project))
            .hint("Wait until it has ended. If its process is gone, run again in the same --work folder."));
    }
    let (run, project, cause) = (asked.run.clone(), asked.project.clone(), asked.cause.clone());
    decision.append(Event::RunRequested { run, project, cause, runner, commit: None })?;
    known_run(decision, &asked.run).map(listing::run)
}

fn known_run(decision: &Decision<'_, '_>, run: &RunId) -> Result<RunRow, Failure> {
    let known = decision.run(run)?;
    known.ok_or_else(|| Failure::not_found(format!("there is no run {run}")).hint("Announce it first."))
}

/// Records what a run's gates said.
#[utoipa::path(post, path = routes::RUN_GATES, request_body = GateVerdicts,
    params(("run" = String, Path, description = "The run's id")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn record_gates(
    State(app): State<Arc<App>>,
    Named(run): Named<RunId>,
    Document(said): Document<GateVerdicts>,
) -> Result<StatusCode, Failure> {
    if said.verdicts.len() > GATES_MAX {
        return Err(Failure::too_large(format!("a run has at most {GATES_MAX} gates")));
    }
    for verdict in &said.verdicts {
        check_text("gate's name", &verdict.gate)?;
        check_text("reason", &verdict.reason)?;
    }
    app.decide(move |decision| judge(decision, &run, said)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn judge(decision: &Decision<'_, '_>, run: &RunId, said: GateVerdicts) -> Result<(), Failure> {
    let known = known_run(decision, run)?;
    for verdict in said.verdicts {
        let repeated = known.gates.iter().any(|gate| {
            (&gate.gate, gate.passed, &gate.reason) == (&verdict.gate, verdict.passed, &verdict.reason)
        });
        if repeated {
            continue;
        }
        if known.outcome.is_some() {
            return Err(Failure::conflict(format!("run {run} has ended")));
        }
        let (gate, passed, reason) = (verdict.gate, verdict.passed, verdict.reason);
        decision.append(Event::GateJudged { run: run.clone(), gate, passed, reason })?;
    }
    Ok(())
}

/// Records the end of a run. Saying the same again changes nothing.
#[utoipa::path(post, path = routes::RUN_FINISH, request_body = RunEnd,
    params(("run" = String, Path, description = "The run's id")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn finish_run(
    State(app): State<Arc<App>>,
    Named(run): Named<RunId>,
    Document(end): Document<RunEnd>,
) -> Result<StatusCode, Failure> {
    if let RunOutcome::Refused { reason } | RunOutcome::Failed { reason } = &end.outcome {
        check_text("reason", reason)?;
    }
    if end.shadows.len() > SHADOWS_MAX {
        return Err(Failure::too_large(format!("at most {SHADOWS_MAX} shadows run beside a champion")));
    }
    end.shadows.iter().try_for_each(|shadow| check_text("shadow's name", &shadow.name))?;
    app.decide(move |decision| finish(decision, &run, end)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends `run`, unless it has ended the same way. The pipeline of a commit that passed is followed in the same step.
fn finish(decision: &Decision<'_, '_>, run: &RunId, end: RunEnd) -> Result<(), Failure> {
    let RunEnd { outcome, adopts, shadows: beside } = end;
    let known = known_run(decision, run)?;
    match known.outcome {
        Some(ended) if ended == outcome => return Ok(()),
        Some(_) => return Err(Failure::conflict(format!("run {run} has already ended otherwise"))),
        None => {}
    }
    if let Some(project) = adopts {
        adopt(decision, &known.project, (known.commit.is_some(), &outcome), project)?;
    }
    let passed = matches!(outcome, RunOutcome::Passed { .. });
    decision.append(Event::RunFinished { run: run.clone(), project: known.project.clone(), outcome })?;
    match decision.project_named(&known.project)?.filter(|_| passed && !beside.is_empty()) {
        Some(project) => shadows::begin(decision, &project, run, &beside).map_err(|error| match error {
            BeginError::Store(error) => Failure::from(error),
            refused @ BeginError::Refused(_) => Failure::conflict(refused.to_string()),
        }),
        None => Ok(()),
    }
}

fn adopt(
    decision: &Decision<'_, '_>,
    known: &ProjectName,
    (on_trial, outcome): (bool, &RunOutcome),
    project: Project,
) -> Result<(), Failure> {
    check_project(&project)?;
    if !on_trial || !matches!(outcome, RunOutcome::Passed { .. }) || project.name != *known {
        let refusal = format!("only a commit on trial that passed changes the pipeline of {known}");
        return Err(Failure::conflict(refusal));
    }
    match decision.project_named(known)?.as_ref() == Some(&project) {
        true => Ok(()),
        false => Ok(decision.append(Event::ProjectRegistered(project))?),
    }
}

/// What is kept of a project, and given to git.
fn check_project(project: &Project) -> Result<(), Failure> {
    check_text("path", &project.path)?;
    let Some(source) = &project.source else { return Ok(()) };
    for (what, text) in [("path", &source.path), ("home", &source.home)] {
        check_text(what, text)?;
    }
    let known = source.commit.as_deref().is_none_or(is_commit);
    match is_safe_name(&source.git) && is_safe_name(&source.branch) && known {
        true => Ok(()),
        false => Err(Failure::invalid("the source's repository, branch or commit is no such name")
            .hint("Look at [source] in edgeward.toml.")),
    }
}
