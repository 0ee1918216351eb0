//! A model that someone made champion in the MLflow API becomes a run of every project that follows it.
//!
//! Which version had its run is said by a tag on the version, written in the transaction that asks for the run; so an alias
//! that is set twice, or a server that was stopped in between, asks for one run. How the run ended is written beside it.

use edgeward_core::Event;
use edgeward_core::event::{Project, RunOutcome, Runner};
use edgeward_store::{MlflowLabelKind, View};

use super::ReconcileError;
use crate::app::{App, Decision};
use crate::handlers::fresh_run_id;
use crate::mlflow::{Champion, champion, run_tag};

/// The tag that says how a run for a version ended.
fn outcome_tag(project: &Project) -> String {
    format!("edgeward.outcome.{}", project.name)
}

/// What is to be done for a project.
enum Due {
    /// A run on what this champion is.
    Run(Champion),
    /// To write down how the run for this champion ended.
    Outcome(Champion, String),
}

/// Asks for the runs that are due, and writes down how others ended.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    let followers = app.read(|view| {
        let projects = view.projects()?;
        Ok::<Vec<Project>, ReconcileError>(
            projects.into_iter().filter(|project| project.mlflow.is_some()).collect(),
        )
    });
    for project in followers.await? {
        // On most turns nothing is due, and nobody who writes is held up by looking.
        let look = project.clone();
        if app.read(move |view| due(view, &look)).await?.is_some() {
            app.decide(move |decision| follow(decision, &project)).await?;
        }
    }
    Ok(())
}

fn due(view: &View<'_>, project: &Project) -> Result<Option<Due>, ReconcileError> {
    let Some(name) = &project.mlflow else { return Ok(None) };
    let found = champion(view, name).map_err(|refusal| ReconcileError::Champion(refusal.to_string()))?;
    let Some(champion) = found else { return Ok(None) };
    match view.mlflow_label(MlflowLabelKind::Tag, &champion.id, &run_tag(&project.name))? {
        Some(run) => {
            let outcome = outcome_to_note(view, project, &champion, &run)?;
            Ok(outcome.map(|outcome| Due::Outcome(champion, outcome)))
        }
        None if view.run_under_way(&project.name)?.is_some() => Ok(None),
        None => Ok(Some(Due::Run(champion))),
    }
}

/// Does what is still due within the transaction.
fn follow(decision: &Decision<'_, '_>, project: &Project) -> Result<(), ReconcileError> {
    match due(decision, project)? {
        None => Ok(()),
        Some(Due::Run(champion)) => request(decision, project, &champion),
        Some(Due::Outcome(champion, said)) => {
            let tag = outcome_tag(project);
            Ok(decision.put_mlflow_label(MlflowLabelKind::Tag, &champion.id, (&tag, &said))?)
        }
    }
}

fn request(
    decision: &Decision<'_, '_>,
    project: &Project,
    champion: &Champion,
) -> Result<(), ReconcileError> {
    let run = fresh_run_id(decision.now())?;
    let cause = format!("MLflow: version {} of {} is champion", champion.version, champion.name);
    tracing::info!(%run, project = %project.name, cause, "run requested");
    let tag = run_tag(&project.name);
    decision.put_mlflow_label(MlflowLabelKind::Tag, &champion.id, (&tag, run.as_str()))?;
    let (project, runner) = (project.name.clone(), Runner::ControlPlane);
    Ok(decision.append(Event::RunRequested { run, project, cause, runner, commit: None })?)
}

/// How the run for a champion ended, unless that is written down already or it has not ended.
fn outcome_to_note(
    view: &View<'_>,
    project: &Project,
    champion: &Champion,
    run: &str,
) -> Result<Option<String>, ReconcileError> {
    if view.mlflow_label(MlflowLabelKind::Tag, &champion.id, &outcome_tag(project))?.is_some() {
        return Ok(None);
    }
    let Some(outcome) = view.run(&run.parse()?)?.and_then(|known| known.outcome) else { return Ok(None) };
    Ok(Some(match outcome {
        RunOutcome::Passed { bundle } => match view.version_of_bundle(&project.model, bundle)? {
            Some(version) => format!("passed: {} version {}", project.model, version.version),
            None => "passed".to_owned(),
        },
        RunOutcome::Refused { reason } => format!("refused: {reason}"),
        RunOutcome::Failed { reason } => format!("failed: {reason}"),
    }))
}
