//! The repositories that pipelines come from: what was seen of them, and a word that there is news.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_api::operator::{SourceStatus, Sources};
use edgeward_api::{Problem, routes};
use edgeward_core::ProjectName;
use edgeward_core::event::{Project, RunOutcome};
use edgeward_core::source::{self, Observed, Source};
use edgeward_store::View;

use crate::app::App;
use crate::extract::Named;
use crate::failure::Failure;
use crate::reconcile::sources::observed;
use crate::replicas::News;

/// The repositories.
#[utoipa::path(get, path = routes::SOURCES, responses((status = 200, body = Sources)))]
pub(crate) async fn sources(State(app): State<Arc<App>>) -> Result<Json<Sources>, Failure> {
    let projects = app.read(|view| view.projects().map_err(Failure::from)).await?;
    let mut sources = Vec::new();
    for project in projects {
        let Some(source) = project.source.clone() else { continue };
        sources.push(status(&app, project, source).await?);
    }
    Ok(Json(Sources { sources }))
}

/// Looks at a project's repository now: for a webhook, so that a commit need not wait for the next look.
#[utoipa::path(post, path = routes::SOURCE_CHECK,
    params(("project" = String, Path, description = "The project's name")),
    responses((status = 200, body = SourceStatus), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    Named(name): Named<ProjectName>,
) -> Result<Json<SourceStatus>, Failure> {
    let wanted = name.clone();
    let project = app.read(move |view| view.project_named(&wanted).map_err(Failure::from)).await?;
    let Some(project) = project else {
        return Err(Failure::not_found(format!("there is no project {name}")));
    };
    let Some(source) = project.source.clone() else {
        return Err(Failure::conflict(format!("project {name} follows no repository")).hint(
            "Set level = 2 and [source] git in its edgeward.toml, and register it with edgeward run.",
        ));
    };
    match app.leads() {
        true => {
            app.sources.lock().await.ask(&name);
            app.wake.notify_one();
        }
        false => app.tell(News::Source(name.to_string())).await?,
    }
    status(&app, project, source).await.map(Json)
}

async fn status(app: &App, project: Project, source: Source) -> Result<SourceStatus, Failure> {
    let (looked_at_ms, head, error) = app.sources.lock().await.seen(&project.name);
    let seen = Observed { head: head.clone(), looked_at_ms, looking: true, ..Observed::default() };
    let (name, now, asked) = (project.name.clone(), app.now(), source.clone());
    let state = app.read(move |view| {
        let reason = source::plan(&asked, &observed(view, &project, seen.clone())?, now).reason;
        Ok::<_, Failure>(verdict(view, &project, &asked, seen.head.as_deref())?.unwrap_or(reason))
    });
    let state = state.await?;
    let Source { git, branch, commit, .. } = source;
    Ok(SourceStatus { project: name, git, branch, commit, head, looked_at_ms, error, state })
}

/// What the newest commit's trial said, or that it is under way.
fn verdict(
    view: &View<'_>,
    project: &Project,
    source: &Source,
    head: Option<&str>,
) -> Result<Option<String>, Failure> {
    let Some(head) = head.filter(|head| source.commit.as_deref() != Some(*head)) else { return Ok(None) };
    let Some(run) = view.run_of_commit(&project.name, head)? else { return Ok(None) };
    let commit = source::short(head);
    Ok(Some(match run.outcome {
        None => format!("commit {commit} is on trial: run {}", run.id),
        Some(RunOutcome::Refused { reason }) => format!("commit {commit} was refused: {reason}"),
        Some(RunOutcome::Failed { reason }) => format!("the trial of commit {commit} failed: {reason}"),
        Some(RunOutcome::Passed { .. }) => format!("commit {commit} passed"),
    }))
}
