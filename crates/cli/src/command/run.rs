//! `edgeward run`: a project's pipeline, once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use edgeward_api::Client;
use edgeward_core::RunId;
use edgeward_core::event::RunOutcome;
use edgeward_model::Engine;
use edgeward_pipeline::{Announcement, Progress, ProjectFile, RunContext, RunError, RunSummary, Tools};

use super::remote::{self, credential, now, refused};
use super::{sign_model, trial};
use crate::adapters::{EmbeddedConverter, EmbeddedTrainer, S3Buckets};
use crate::args::{EngineArgs, RunArgs};
use crate::engines::{engines, engines_for, warn_of_refusals};
use crate::output::{Explain, Failure, Outcome, Output, note};
use crate::process::interrupted;
use crate::signers::read_signer;

/// The work folder inside a project.
const WORK_DIR: &str = ".edgeward";
/// How long a run that was asked to stop may take for it.
const STOP_GRACE: Duration = Duration::from_secs(3);

pub(crate) fn run(args: &RunArgs, out: Output) -> Outcome {
    let project = load(args)?;
    let announcement = if args.run_id.is_some() { Announcement::Known } else { Announcement::Announce };
    let run = run_id(args.run_id.as_deref())?;
    let key = args.release_key.as_deref().map(read_signer).transpose()?;
    let model_key = args.model_signing_key.as_deref().map(sign_model::read_key).transpose()?;
    let client = client(args)?;
    if let (Some(client), Announcement::Announce) = (&client, announcement) {
        let told = client.register_project(&project.to_core_project());
        told.map_err(|error| refused(&format!("registering project {}", project.name), &error))?;
    }
    if let (Some(_), Some(name), None) = (&client, &project.train.mlflow, &args.trained) {
        return out.document(&Follows { project: project.name.as_str(), mlflow: name }, Follows::words);
    }
    let cancel = Arc::new(AtomicBool::new(false));
    cancel_on_signal(&cancel).explain("system", "watching for signals")?;
    let at_hand = at_hand(&project, &args.engines);
    let at_hand: Vec<&dyn Engine> = at_hand.iter().map(|engine| &**engine).collect();
    let converter = EmbeddedConverter { engines: &at_hand };
    let tools =
        Tools { trainer: &EmbeddedTrainer, converter: &converter, engines: &at_hand, buckets: &S3Buckets };
    let context = RunContext {
        work_dir: work_dir(&project, args.work.as_deref()),
        run,
        announcement,
        cause: args.cause.clone(),
        now: now(),
        signer: key.as_deref(),
        server: client.as_ref(),
        trained: args.trained.as_deref(),
        rows_max: None,
        adopts: None,
        tools: &tools,
        cancel: &cancel,
        progress: &|progress| tell(&progress),
    };
    let summary = match &args.commit {
        Some(commit) => trial::run(&project, commit, &context)?,
        None => edgeward_pipeline::run(&project, &context).map_err(|error| failed(&project, &error))?,
    };
    if let (Some(key), Some(folder)) = (&model_key, &summary.bundle_path) {
        sign_model::sign(key, Path::new(folder))?;
    }
    out.document(&summary, words)?;
    verdict(&summary)
}

/// A project that is registered and has nothing to run yet.
#[derive(serde::Serialize)]
struct Follows<'a> {
    project: &'a str,
    mlflow: &'a str,
}

impl Follows<'_> {
    fn words(&self) -> String {
        let Self { project, mlflow } = self;
        format!(
            "{project} is registered; the control plane runs it when a version of '{mlflow}' in its MLflow registry gets the \
             alias champion"
        )
    }
}

/// The engines that the forms of a project are made for, as far as they are here.
pub(super) fn at_hand(project: &ProjectFile, args: &EngineArgs) -> Vec<Arc<dyn Engine>> {
    let engines = engines(args);
    warn_of_refusals(&engines, args);
    let wanted: Vec<String> =
        project.convert.variant.iter().map(edgeward_pipeline::project::VariantTable::target_engine).collect();
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    engines_for(&engines, &names)
}

/// Where a project works.
pub(super) fn work_dir(project: &ProjectFile, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| project.dir.join(WORK_DIR), Path::to_owned)
}

fn load(args: &RunArgs) -> Result<ProjectFile, Failure> {
    let project = ProjectFile::load(&args.project).explain("project", "reading the project")?;
    match &args.home {
        Some(home) => project.with_data_at(home).explain("project", "looking for the project's data"),
        None => Ok(project),
    }
}

pub(super) fn failed(project: &ProjectFile, error: &RunError) -> Failure {
    Failure::new("run", format!("running project {}: {}", project.name, error.chain()))
}

fn run_id(given: Option<&str>) -> Result<RunId, Failure> {
    let text = given.map_or_else(|| format!("run-{}", uuid::Uuid::now_v7().simple()), str::to_owned);
    RunId::new(text).map_err(|error| Failure::usage(format!("--run-id: {error}")))
}

fn client(args: &RunArgs) -> Result<Option<Client>, Failure> {
    let Some(server) = &args.server else { return Ok(None) };
    if args.release_key.is_none() {
        return Err(Failure::usage("--server needs --release-key: devices run only what is signed").hint(
            "the control plane's key is DATA/keys/releases.json; without --server the run stays local",
        ));
    }
    let token = credential(args.token.as_deref(), args.token_file.as_deref())?;
    remote::client(server, token, args.ca.as_deref()).map(Some)
}

/// At the first signal the training command is stopped; what then still works has a moment to end. Stages are kept or not
/// kept as a whole, so a run that is cut off goes on where it stopped.
fn cancel_on_signal(cancel: &Arc<AtomicBool>) -> std::io::Result<()> {
    let cancel = Arc::clone(cancel);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(interrupted());
        cancel.store(true, Ordering::SeqCst);
        thread::sleep(STOP_GRACE);
        std::process::exit(1);
    })?;
    Ok(())
}

pub(super) fn tell(progress: &Progress) {
    note(&match progress {
        Progress::Waiting => "waiting for another run of this project".to_owned(),
        Progress::StageStarted { stage } => format!("{stage} ..."),
        Progress::StageCached { stage } => format!("{stage}: nothing new"),
        Progress::StageFinished { stage, millis } => format!("{stage}: done in {millis} ms"),
        Progress::Log { stage, line } => format!("{stage}: {line}"),
        Progress::Judged(verdict) => {
            let word = if verdict.passed { "passed" } else { "refused" };
            format!("gate {} {word}: {}", verdict.gate, verdict.reason)
        }
    });
}

fn words(summary: &RunSummary) -> String {
    let cached = summary.stages.iter().filter(|stage| stage.cached).count();
    let stages = format!("{} stages, {cached} of them with nothing new to do", summary.stages.len());
    let version = summary.version.map_or_else(String::new, |version| format!(", version {version}"));
    match &summary.bundle {
        Some(bundle) => {
            let place = summary.bundle_path.as_deref().unwrap_or_default();
            format!("{} passed{version}: {bundle}\n{place}\n{stages}", summary.model)
        }
        None => format!("{} did not pass its gates\n{stages}", summary.model),
    }
}

fn verdict(summary: &RunSummary) -> Outcome {
    match &summary.outcome {
        RunOutcome::Passed { .. } => Ok(()),
        RunOutcome::Refused { reason } => {
            Err(Failure::new("gate", format!("run {} was refused: {reason}", summary.run))
                .hint("look at the data, or at [gate] and [validate] in edgeward.toml"))
        }
        RunOutcome::Failed { reason } => {
            Err(Failure::new("run", format!("run {} failed: {reason}", summary.run)))
        }
    }
}
