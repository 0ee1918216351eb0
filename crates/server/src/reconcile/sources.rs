//! The repositories that pipelines come from become runs: each is looked at by the clock or when a webhook asks, and a new
//! commit is put on trial once.
//!
//! A look is `git ls-remote` in a process of its own, with a time limit. What was seen is kept in memory only: after a
//! restart everything is looked at anew, and the ledger knows which commits had their trial.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use edgeward_core::event::{Project, Runner};
use edgeward_core::source::{self, GIT_OPTIONS, GIT_VARIABLES, Observed, Source};
use edgeward_core::{Event, ProjectName, RunId, Timestamp};
use edgeward_store::{StoreError, View};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::{ReconcileError, rollouts};
use crate::app::{App, Decision};
use crate::handlers::fresh_run_id;

/// How long a look may take.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Longest word of git's that is shown.
const SAID_CHARS_MAX: usize = 400;

/// What was seen of each project's repository since the server started.
#[derive(Debug, Default)]
pub(crate) struct Looks(BTreeMap<ProjectName, Look>);

#[derive(Debug, Default)]
struct Look {
    /// Repository and branch; others are looked at anew.
    place: (String, String),
    began_at_ms: Option<Timestamp>,
    head: Option<String>,
    error: Option<String>,
    asked: bool,
    task: Option<JoinHandle<Result<String, String>>>,
}

impl Looks {
    /// Notes that there is news.
    pub(crate) fn ask(&mut self, project: &ProjectName) {
        self.0.entry(project.clone()).or_default().asked = true;
    }

    /// When the last look began, what it found, and why it failed.
    pub(crate) fn seen(&self, project: &ProjectName) -> (Option<Timestamp>, Option<String>, Option<String>) {
        let look = self.0.get(project);
        look.map_or((None, None, None), |look| (look.began_at_ms, look.head.clone(), look.error.clone()))
    }
}

impl Look {
    /// Takes note of a look that ended.
    async fn collect(&mut self) {
        let Some(task) = self.task.take_if(|task| task.is_finished()) else { return };
        match task.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(head) => (self.head, self.error) = (Some(head), None),
            Err(error) => {
                tracing::warn!(repository = self.place.0, error, "could not be looked at");
                self.error = Some(error);
            }
        }
    }

    fn begin(&mut self, now: Timestamp) {
        let (git, branch) = self.place.clone();
        (self.began_at_ms, self.asked) = (Some(now), false);
        self.task = Some(tokio::spawn(async move { head(&git, &branch).await }));
    }
}

/// The newest commit of a branch.
async fn head(git: &str, branch: &str) -> Result<String, String> {
    let mut command = Command::new("git");
    command.args(GIT_OPTIONS).args(["ls-remote", "--exit-code", "--", git]);
    command.arg(format!("refs/heads/{branch}")).envs(GIT_VARIABLES);
    let asked = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let answer = tokio::time::timeout(LOOK_MAX, asked)
        .await
        .map_err(|_| format!("git ls-remote {git} did not answer within {} s", LOOK_MAX.as_secs()))?
        .map_err(|error| {
            format!("git could not be started: {error}; install git on the control plane's machine")
        })?;
    if !answer.status.success() {
        let said: String =
            String::from_utf8_lossy(&answer.stderr).trim().chars().take(SAID_CHARS_MAX).collect();
        let said = if said.is_empty() { format!("it has no branch {branch}") } else { said };
        return Err(format!("git ls-remote {git}: {said}"));
    }
    let text = String::from_utf8_lossy(&answer.stdout);
    let commit = text.split_whitespace().next().unwrap_or_default();
    match source::is_commit(commit) {
        true => Ok(commit.to_owned()),
        false => Err(format!("git ls-remote {git}: no commit in its answer")),
    }
}

/// Looks where it is due, and asks for the trials that are.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    let now = app.now();
    let followed = app.read(|view| followed(view).map_err(ReconcileError::from)).await?;
    let mut looks = app.sources.lock().await;
    looks.0.retain(|name, _| followed.iter().any(|(project, _)| project.name == *name));
    let mut due = Vec::new();
    for (project, source) in followed {
        let look = looks.0.entry(project.name.clone()).or_default();
        let place = (source.git.clone(), source.branch.clone());
        if look.place != place {
            *look = Look { place, ..Look::default() };
        }
        look.collect().await;
        let (head, looked_at_ms) = (look.head.clone(), look.began_at_ms);
        let known = Observed {
            head,
            looked_at_ms,
            looking: look.task.is_some(),
            asked: look.asked,
            ..Observed::default()
        };
        let name = project.name.clone();
        let observed =
            app.read(move |view| observed(view, &project, known).map_err(ReconcileError::from)).await?;
        let plan = source::plan(&source, &observed, now);
        if plan.look {
            look.begin(now);
        }
        due.extend(plan.commit.map(|commit| (name, commit)));
    }
    drop(looks);
    for (project, commit) in due {
        app.decide(move |decision| request(decision, &project, commit)).await?;
    }
    Ok(())
}

fn followed(view: &View<'_>) -> Result<Vec<(Project, Source)>, StoreError> {
    let with_source = |project: Project| project.source.clone().map(|source| (project, source));
    Ok(view.projects()?.into_iter().filter_map(with_source).collect())
}

/// What the ledger adds to what was seen.
pub(crate) fn observed(view: &View<'_>, project: &Project, seen: Observed) -> Result<Observed, StoreError> {
    let trial = seen.head.as_ref().map(|head| view.run_of_commit(&project.name, head)).transpose()?.flatten();
    let tried = trial.is_some_and(|run| run.outcome.is_some());
    let running = view.run_under_way(&project.name)?.is_some();
    let rolling_out = rollouts::is_under_way(view, &project.model)?;
    Ok(Observed { tried, running, rolling_out, ..seen })
}

/// Asks for a trial, unless something else came first.
fn request(decision: &Decision<'_, '_>, project: &ProjectName, commit: String) -> Result<(), ReconcileError> {
    let Some(known) = decision.project_named(project)? else { return Ok(()) };
    let Some(source) = &known.source else { return Ok(()) };
    let seen = Observed { head: Some(commit), ..Observed::default() };
    let plan = source::plan(source, &observed(decision, &known, seen)?, decision.now());
    let Some(commit) = plan.commit else { return Ok(()) };
    let run: RunId = fresh_run_id(decision.now())?;
    tracing::info!(%run, %project, commit, "commit on trial");
    let (project, runner) = (project.clone(), Runner::ControlPlane);
    let (cause, commit) = (plan.reason, Some(commit));
    Ok(decision.append(Event::RunRequested { run, project, cause, runner, commit })?)
}
