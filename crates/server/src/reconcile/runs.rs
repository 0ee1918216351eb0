//! Requested runs become child processes.
//!
//! A run that is not finished and has no child here gets one: after a request, after the child died, after the server
//! came back. A child of a server that was killed may still be alive then; the pipeline locks its work folder, so the
//! second one waits for the first, and the end of a run is recorded once whoever reports it. A run that someone else
//! carries out and never ends is given up after [`CALLER_TIME_MAX`], for it keeps the project's other runs waiting.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use edgeward_core::event::{Project, RunOutcome, Runner};
use edgeward_core::{Event, RunId};
use edgeward_store::{RunRow, View};
use tokio::process::{Child, Command};

use super::ReconcileError;
use crate::app::App;
use crate::mlflow::{self, BringError};

/// Deaths of a run's child before the run counts as failed.
const DEATHS_MAX: u32 = 3;
/// How long a run that someone else carries out may take.
const CALLER_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// A log larger than this is begun anew.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// The model that a run takes from MLflow, in the project's work folder.
const CHAMPION_FILE: &str = "champion.onnx";
/// How much of a log's end explains a failure.
const LOG_TAIL_BYTES: u64 = 600;
/// Time a child gets to end by itself when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The children of this server.
#[derive(Debug, Default)]
pub(crate) struct Children {
    alive: BTreeMap<RunId, Child>,
    /// How often the child of a run died, and the last time how.
    deaths: BTreeMap<RunId, (u32, String)>,
}

impl Children {
    /// Takes note of those that ended.
    fn reap(&mut self) {
        let mut ended = Vec::new();
        for (run, child) in &mut self.alive {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => ended.push((run.clone(), status.to_string())),
                Err(error) => ended.push((run.clone(), error.to_string())),
            }
        }
        for (run, how) in ended {
            self.alive.remove(&run);
            self.died(run, how);
        }
    }

    fn died(&mut self, run: RunId, how: String) {
        let death = self.deaths.entry(run).or_default();
        *death = (death.0 + 1, how);
    }
}

/// Gives every unfinished run of the control plane a child, or gives it up.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    give_up_callers(app).await?;
    let mut children = app.children.lock().await;
    // Children report the end of their run before they end, so what is read after reaping is the truth about them.
    children.reap();
    let wanted = app.read(unfinished).await?;
    children.deaths.retain(|run, _| wanted.iter().any(|(known, _)| known.id == *run));
    for (asked, project) in wanted {
        let run = asked.id.clone();
        if children.alive.contains_key(&run) {
            continue;
        }
        match children.deaths.get(&run) {
            Some((deaths, how)) if *deaths >= DEATHS_MAX => give_up(app, &run, how).await?,
            _ => match begin(app, &asked, &project).await {
                Ok(child) => {
                    tracing::info!(%run, project = %project.name, pid = child.id(), "run started");
                    children.alive.insert(run, child);
                }
                Err(BringError::NotNow(why)) => children.died(run, format!("it could not be started: {why}")),
                Err(BringError::Never(why)) => fail(app, &run, why).await?,
            },
        }
    }
    Ok(())
}

/// Runs of the control plane that have not ended, each with its project.
fn unfinished(view: &View<'_>) -> Result<Vec<(RunRow, Project)>, ReconcileError> {
    let mut unfinished = Vec::new();
    for project in view.projects()? {
        let run = view.run_under_way(&project.name)?.filter(|run| run.runner == Runner::ControlPlane);
        unfinished.extend(run.map(|run| (run, project)));
    }
    Ok(unfinished)
}

/// Ends runs of callers that nobody has heard of for too long.
async fn give_up_callers(app: &App) -> Result<(), ReconcileError> {
    let now = app.now();
    let is_lost =
        move |run: &RunRow| run.runner == Runner::Caller && now.since(run.requested_at_ms) > CALLER_TIME_MAX;
    let lost = app.read(move |view| {
        let mut lost = Vec::new();
        for project in view.projects()? {
            lost.extend(view.run_under_way(&project.name)?.filter(is_lost).map(|run| run.id));
        }
        Ok::<_, ReconcileError>(lost)
    });
    for run in lost.await? {
        let hours = CALLER_TIME_MAX.as_secs() / 3600;
        fail(app, &run, format!("whoever began it did not say within {hours} h how it ended")).await?;
    }
    Ok(())
}

async fn give_up(app: &App, run: &RunId, how: &str) -> Result<(), ReconcileError> {
    let tail = tail(log_path(app, run)).unwrap_or_default();
    let reason =
        format!("its process ended {DEATHS_MAX} times without a result, the last time: {how}. {tail}");
    fail(app, run, reason.trim_end().to_owned()).await
}

async fn fail(app: &App, run: &RunId, reason: String) -> Result<(), ReconcileError> {
    tracing::error!(%run, reason, "run failed");
    let run = run.clone();
    app.decide(move |decision| {
        if let Some(known) = decision.run(&run)?.filter(|known| known.outcome.is_none()) {
            let outcome = RunOutcome::Failed { reason };
            decision.append(Event::RunFinished { run, project: known.project, outcome })?;
        }
        Ok(())
    })
    .await
}

fn log_path(app: &App, run: &RunId) -> PathBuf {
    app.home.runs().join(format!("{run}.log"))
}

fn tail(path: PathBuf) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Starts a run; where the project takes its model from MLflow, that is brought first.
async fn begin(app: &App, run: &RunRow, project: &Project) -> Result<Child, BringError> {
    let trained = match &project.mlflow {
        None => None,
        Some(name) => {
            let work = app.home.work(&project.name);
            std::fs::create_dir_all(&work)?;
            let path = work.join(CHAMPION_FILE);
            mlflow::bring(app, name, (&project.name, &run.id), &path).await?;
            Some(path)
        }
    };
    Ok(spawn(app, run, project, trained.as_deref())?)
}

fn spawn(app: &App, run: &RunRow, project: &Project, trained: Option<&Path>) -> std::io::Result<Child> {
    let work = app.home.work(&project.name);
    std::fs::create_dir_all(&work)?;
    let mut log = open_log(&log_path(app, &run.id))?;
    writeln!(log, "# {} run --project {}", app.runner_program.display(), project.path)?;
    let mut command = Command::new(&app.runner_program);
    if app.is_tls {
        // By its address it shows the fleet's own certificate, whatever else it shows by its public name.
        command.env("EDGEWARD_CA", app.certificates.pem_file());
    }
    command
        .arg("run")
        .args(["--project", &project.path, "--server", &app.address, "--run-id", run.id.as_str()])
        .args(project.source.iter().flat_map(|source| ["--home", &source.home]))
        .args(run.commit.iter().flat_map(|commit| ["--commit", commit]))
        .args(trained.iter().flat_map(|path| [OsStr::new("--trained"), path.as_os_str()]))
        .arg("--work")
        .arg(work)
        .arg("--release-key")
        .arg(app.home.release_key())
        .arg("--token-file")
        .arg(app.home.token())
        .arg("--json")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

fn open_log(path: &PathBuf) -> std::io::Result<File> {
    let is_large = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX);
    if is_large {
        std::fs::remove_file(path)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Asks every child to end, and ends those that do not.
pub(crate) async fn stop(app: &App) {
    let mut children = app.children.lock().await;
    for child in children.alive.values() {
        terminate(child);
    }
    let deadline = tokio::time::Instant::now() + STOP_GRACE;
    for (run, child) in &mut children.alive {
        if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
            tracing::warn!(%run, "run ended by force");
            // The child may have ended in this instant; either way it is gone.
            let _ = child.kill().await;
        }
    }
    children.alive.clear();
}

#[cfg(unix)]
fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // An error says that it has ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(_child: &Child) {}
