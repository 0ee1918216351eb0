//! Alerts, labels and the clock become runs: each project's policy is asked whether to retrain.
//!
//! The run that is asked for is one event, decided in the transaction that reads the state, so two turns, or two
//! servers, ask for one run.

use std::collections::BTreeMap;

use edgeward_core::event::{Project, Runner};
use edgeward_core::trigger::{self, Observed, Trigger, TriggerPolicy};
use edgeward_core::{Event, RunId, Timestamp, cron};
use edgeward_store::{ROWS_PAGE_MAX, StoreError, View};

use super::{ReconcileError, rollouts, shadows};
use crate::app::{App, Decision};
use crate::handlers::fresh_run_id;

/// Asks for the runs that are due.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    let now = app.now();
    let due = app.read(move |view| due(view, now).map_err(ReconcileError::from)).await?;
    for (project, _) in due {
        app.decide(move |decision| request(decision, &project)).await?;
    }
    Ok(())
}

/// Projects whose policy asks for a run, each with the reason.
fn due(view: &View<'_>, now: Timestamp) -> Result<Vec<(Project, String)>, StoreError> {
    let mut due = Vec::new();
    for project in view.projects()? {
        if let Some(cause) = cause(view, &project, now)? {
            due.push((project, cause));
        }
    }
    Ok(due)
}

fn cause(view: &View<'_>, project: &Project, now: Timestamp) -> Result<Option<String>, StoreError> {
    Ok(trigger::plan(&project.trigger, &observed(view, project)?, now).start)
}

fn request(decision: &Decision<'_, '_>, project: &Project) -> Result<(), ReconcileError> {
    let Some(cause) = cause(decision, project, decision.now())? else { return Ok(()) };
    let run: RunId = fresh_run_id(decision.now())?;
    tracing::info!(%run, project = %project.name, cause, "run requested");
    let (project, runner) = (project.name.clone(), Runner::ControlPlane);
    Ok(decision.append(Event::RunRequested { run, project, cause, runner, commit: None })?)
}

fn observed(view: &View<'_>, project: &Project) -> Result<Observed, StoreError> {
    let runs = view.runs(Some(&project.name), ROWS_PAGE_MAX)?;
    let running = runs.iter().any(|run| run.outcome.is_none());
    let last_start = runs.iter().map(|run| run.requested_at_ms).max();
    let champion = view.aliased(&project.model, rollouts::CHAMPION)?;
    let model = &project.model;
    let under_way = rollouts::is_under_way(view, model)? || shadows::is_under_way(view, model)?;
    Ok(Observed {
        champion: champion.map(|version| version.bundle),
        alerts: view.alerts(Some(&project.model), ROWS_PAGE_MAX)?,
        labels_new: view.count_labelled_since(&project.model, last_start.unwrap_or_default())?,
        cron_next_ms: last_start.map(|start| moments(&project.trigger, start)).unwrap_or_default(),
        run_starts_ms: runs.iter().map(|run| run.requested_at_ms).collect(),
        last_run_ended_ms: if running {
            None
        } else {
            runs.iter().filter_map(|run| run.finished_at_ms).max()
        },
        running,
        rolling_out: under_way || rollouts::due(view, project)?.is_some(),
    })
}

/// The first moment after `start` of each schedule that a policy has; one that cannot be read has none.
fn moments(policy: &TriggerPolicy, start: Timestamp) -> BTreeMap<String, Timestamp> {
    let next = |trigger: &Trigger| match trigger {
        Trigger::Cron { cron } => match cron::next_after(cron, start) {
            Ok(next) => next.map(|next| (cron.clone(), next)),
            Err(error) => {
                tracing::warn!(%error, "a trigger never fires");
                None
            }
        },
        _ => None,
    };
    policy.triggers.iter().filter_map(next).collect()
}
