//! `edgeward status --project`, `diff` and `log`: what the next run of a project would do, what differs, and what was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use edgeward_core::RunId;
use edgeward_core::event::RunOutcome;
use edgeward_model::Engine;
use edgeward_pipeline::compare::{Change, Changes, State, from_to};
use edgeward_pipeline::history::RunRecord;
use edgeward_pipeline::status::{self, StageState, Status};
use edgeward_pipeline::{Announcement, ProjectFile, RunContext, RunError, Tools, commit};
use serde_json::{Value, json};

use super::remote::{ago, now};
use super::run::{at_hand, failed, tell, work_dir};
use crate::adapters::{EmbeddedConverter, EmbeddedTrainer, S3Buckets};
use crate::args::{DiffArgs, EngineArgs, LogArgs, ProjectArgs, StatusArgs};
use crate::output::{Explain, Failure, Outcome, Output, table};

/// Runs that are looked through for the one that is meant.
const RUNS_MAX: usize = 100_000;
/// The word for the newest run.
const LAST: &str = "last";
/// Lines that one kind of change may take.
const LINES_MAX: usize = 40;

pub(crate) fn status(args: &StatusArgs, out: Output) -> Outcome {
    let dir = args.project.as_deref().unwrap_or(Path::new("."));
    let project = load(dir)?;
    let status =
        looking(&project, args.work.as_deref(), &args.engines, |context| status::status(&project, context))?;
    out.document(&status, status_words)
}

pub(crate) fn diff(args: &DiffArgs, out: Output) -> Outcome {
    let project = load(&args.project.project)?;
    let records = history(&project, &args.project, RUNS_MAX)?;
    let before = meant(&project, &records, &args.before)?;
    let after = args.after.as_deref().map(|text| meant(&project, &records, text)).transpose()?;
    let now = match after {
        Some(record) => State::from(record),
        None => looking(&project, args.project.work.as_deref(), &EngineArgs::default(), |context| {
            status::state_of_now(&project, context)
        })?,
    };
    let changes = Changes::between(&State::from(before), &now);
    let document = json!({
        "before": before.run, "after": after.map(|record| &record.run), "changes": changes,
    });
    out.document(&document, |_| {
        let names = (
            before.run.to_string(),
            after.map_or_else(|| "the folder".to_owned(), |after| after.run.to_string()),
        );
        match changes.is_empty() {
            true => format!("{} and {} do not differ", names.0, names.1),
            false => format!("{} -> {}\n{}", names.0, names.1, change_lines(&changes).join("\n")),
        }
    })
}

pub(crate) fn log(args: &LogArgs, out: Output) -> Outcome {
    let project = load(&args.project.project)?;
    let records = history(&project, &args.project, args.limit as usize)?;
    let runs: Vec<Value> = records.iter().map(logged).collect();
    out.document(&json!({"runs": runs}), |_| {
        let rows: Vec<Vec<String>> = records.iter().map(row).collect();
        table(
            &["run", "begun", "commit", "stages", "outcome", "metrics", "cause"],
            &rows,
            "no run yet; start one with `edgeward run`",
        )
    })
}

fn load(dir: &Path) -> Result<ProjectFile, Failure> {
    ProjectFile::load(dir).explain("project", "reading the project")
}

/// Asks the pipeline without letting it make anything.
fn looking<T>(
    project: &ProjectFile,
    work: Option<&Path>,
    engines: &EngineArgs,
    ask: impl FnOnce(&RunContext<'_>) -> Result<T, RunError>,
) -> Result<T, Failure> {
    let at_hand = at_hand(project, engines);
    let at_hand: Vec<&dyn Engine> = at_hand.iter().map(|engine| &**engine).collect();
    let converter = EmbeddedConverter { engines: &at_hand };
    let tools =
        Tools { trainer: &EmbeddedTrainer, converter: &converter, engines: &at_hand, buckets: &S3Buckets };
    let run = RunId::new("look").explain("system", "naming a look")?;
    let context = RunContext {
        work_dir: work_dir(project, work),
        run,
        announcement: Announcement::Known,
        cause: String::new(),
        now: now(),
        signer: None,
        server: None,
        trained: None,
        rows_max: None,
        adopts: None,
        tools: &tools,
        cancel: &AtomicBool::new(false),
        progress: &|progress| {
            if progress == edgeward_pipeline::Progress::Waiting {
                tell(&progress);
            }
        },
    };
    ask(&context).map_err(|error| failed(project, &error))
}

fn history(project: &ProjectFile, args: &ProjectArgs, limit: usize) -> Result<Vec<RunRecord>, Failure> {
    looking(project, args.work.as_deref(), &EngineArgs::default(), |context| status::history(context, limit))
}

/// The run that `text` means.
fn meant<'r>(project: &ProjectFile, records: &'r [RunRecord], text: &str) -> Result<&'r RunRecord, Failure> {
    let none = |why: String| Failure::usage(why).hint("`edgeward log` lists the runs of a project");
    if let Some(back) = back_of(text) {
        return records
            .get(back)
            .ok_or_else(|| none(format!("'{text}': the project has {} recorded runs", records.len())));
    }
    let mut named = records.iter().filter(|record| record.run.as_str().starts_with(text));
    match (named.next(), named.next()) {
        (Some(record), None) => return Ok(record),
        (Some(_), Some(_)) => return Err(none(format!("'{text}' is the beginning of several runs' ids"))),
        (None, _) => {}
    }
    let commit = commit::commit_of(&project.dir, text).ok_or_else(|| {
        none(format!("'{text}' is neither a run nor a commit, a branch or a tag of the project's repository"))
    })?;
    let of_commit = |record: &&RunRecord| record.commit.as_deref() == Some(commit.as_str());
    records
        .iter()
        .find(of_commit)
        .ok_or_else(|| none(format!("no run was made at commit {commit}, which '{text}' is")))
}

/// How many runs before the newest: `last` is 0, `last~2` is 2.
fn back_of(text: &str) -> Option<usize> {
    match text.strip_prefix(LAST)? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

fn status_words(status: &Status) -> String {
    let mut lines = vec![match (&status.last_run, status.last_run_at_ms) {
        (Some(run), Some(at)) => format!("last run {run}, {}", ago(at, now())),
        _ => "no run is recorded yet".to_owned(),
    }];
    lines.extend(change_lines(&status.changes));
    for stage in &status.stages {
        let state = match stage.state {
            StageState::UpToDate => "nothing new",
            StageState::WouldRun => "would run",
            StageState::Depends => "would run if its input changes",
        };
        let why =
            if stage.reasons.is_empty() { String::new() } else { format!(": {}", stage.reasons.join("; ")) };
        lines.push(format!("  {:<9} {state}{why}", stage.name));
    }
    if status.asks_devices {
        lines.push("samples of devices were not asked for; a run with --server takes new ones".to_owned());
    }
    if status.up_to_date {
        lines.push("everything is up to date".to_owned());
    }
    lines.join("\n")
}

fn change_lines(changes: &Changes) -> Vec<String> {
    let mut lines: Vec<String> =
        shortened(changes.params.iter().map(|(name, change)| format!("param   {name}: {}", from_to(change))));
    lines.extend(file_lines("file", &changes.files));
    lines.extend(file_lines("dep", &changes.deps));
    lines.extend(changes.metrics.iter().map(|(name, metric)| {
        let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let by = metric.change.map_or_else(String::new, |change| format!(" ({change:+.4})"));
        format!("metric  {name}: {} -> {}{by}", text(metric.before), text(metric.now))
    }));
    lines
}

fn file_lines(kind: &str, files: &BTreeMap<String, Change>) -> Vec<String> {
    shortened(files.iter().map(|(path, change)| format!("{kind:<7} {path} {}", change.as_str())))
}

fn shortened(mut lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut some: Vec<String> = lines.by_ref().take(LINES_MAX).collect();
    let more = lines.count();
    some.extend((more > 0).then(|| format!("        and {more} more; --json has them all")));
    some
}

fn logged(record: &RunRecord) -> Value {
    json!({
        "run": record.run, "at_ms": record.at_ms, "cause": record.cause, "commit": record.commit,
        "outcome": record.outcome, "params": record.params, "metrics": record.metrics,
        "stages": record.stages.iter().map(|stage| json!({"name": stage.name, "cached": stage.cached})).collect::<Vec<_>>(),
    })
}

fn row(record: &RunRecord) -> Vec<String> {
    let outcome = match &record.outcome {
        RunOutcome::Passed { bundle } => format!("passed: {}", bundle.short()),
        RunOutcome::Refused { reason } => format!("refused: {reason}"),
        RunOutcome::Failed { reason } => format!("failed: {reason}"),
    };
    let worked = record.stages.iter().filter(|stage| !stage.cached).count();
    let metric = |name: &str| Some(format!("{name} {:.4}", record.metrics.get(name)?));
    let metrics: Vec<String> = ["accuracy", "mae", "rmse"].into_iter().filter_map(metric).collect();
    vec![
        record.run.to_string(),
        ago(record.at_ms, now()),
        record.commit.as_deref().map_or_else(|| "-".to_owned(), |commit| commit.chars().take(10).collect()),
        format!("{worked} of {} worked", record.stages.len()),
        outcome,
        metrics.join(", "),
        record.cause.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use edgeward_core::{Digest, Timestamp};
    use edgeward_pipeline::git;

    use super::*;

    fn records() -> Vec<RunRecord> {
        let outcome = RunOutcome::Passed { bundle: Digest::of(b"b") };
        ["run-bb", "run-ab", "run-aa"]
            .into_iter()
            .map(|run| {
                RunRecord::new(RunId::new(run).unwrap(), Timestamp(0), "by hand".into(), outcome.clone())
            })
            .collect()
    }

    fn project(dir: &Path) -> ProjectFile {
        std::fs::write(
            dir.join("edgeward.toml"),
            "[project]\nname = \"p\"\n[data]\nfiles = [\"*.csv\"]\n[train]\nbuiltin = \"mlp\"\n",
        )
        .unwrap();
        ProjectFile::load(dir).unwrap()
    }

    #[test]
    fn a_run_is_meant_by_place_id_or_commit() {
        let dir = tempfile::tempdir().unwrap();
        let project = project(dir.path());
        let mut records = records();
        for arguments in [
            &["init", "--quiet"][..],
            &["-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--allow-empty", "-m", "first"],
        ] {
            let mut git = std::process::Command::new("git");
            assert!(git.current_dir(dir.path()).args(arguments).status().unwrap().success());
        }
        records[1].commit = git::commit(dir.path());
        let check = |text: &str, expect: &str| match meant(&project, &records, text) {
            Ok(record) => assert_eq!(record.run.as_str(), expect, "{text}"),
            Err(failure) => assert!(failure.error.contains(expect), "{text}: {}", failure.error),
        };
        check("last", "run-bb");
        check("last~2", "run-aa");
        check("last~3", "3 recorded runs");
        check("run-b", "run-bb");
        check("run-a", "several");
        check("HEAD", "run-ab");
        check("nothing", "neither a run nor");
    }

    #[test]
    fn many_files_make_few_lines() {
        let files = (0..60).map(|n| (format!("{n}.csv"), Change::Added)).collect();
        let lines = file_lines("file", &files);
        assert_eq!((lines.len(), lines[40].trim()), (41, "and 20 more; --json has them all"));
    }
}
