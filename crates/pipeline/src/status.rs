//! What a run would do now, and why, without doing it.
//!
//! The very stages of a run are asked for, and the first one that is not there ends the look: what comes after it depends on
//! what it would make. Samples of devices are taken to be those of the last run; asking for new ones is a run's.

use std::collections::BTreeMap;

use edgeward_core::{RunId, Timestamp};
use serde::Serialize;

use crate::compare::{Changes, State, reasons};
use crate::history::{History, RunRecord, StageRecord};
use crate::progress::Progress;
use crate::project::ProjectFile;
use crate::run::{self, RunContext, RunError};
use crate::workdir::WorkDir;

/// What would become of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// Its outputs are there.
    UpToDate,
    /// It would work.
    WouldRun,
    /// It would work if what it reads from the stage before comes out other than before.
    Depends,
}

/// A stage as the next run would find it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// What would become of it.
    pub state: StageState,
    /// Why it would work.
    pub reasons: Vec<String>,
}

/// A project as the next run would find it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Whether every stage's outputs are there, and no parameter changed since the last run.
    pub up_to_date: bool,
    /// The last run that did something; none before the first.
    pub last_run: Option<RunId>,
    /// When it began.
    pub last_run_at_ms: Option<Timestamp>,
    /// What differs from what it found.
    pub changes: Changes,
    /// The stages in order.
    pub stages: Vec<StageStatus>,
    /// Whether samples of devices would be asked for, which may change all of it.
    pub asks_devices: bool,
}

/// What a look at the stages found.
pub(crate) struct Looked {
    /// The stages up to the first that is not there.
    pub(crate) stages: Vec<StageRecord>,
    /// Whether the last of them is not there.
    pub(crate) ends_missing: bool,
    /// The parameters and files of now.
    pub(crate) state: State,
}

/// What the next run of `project` would do.
///
/// # Errors
/// The data cannot be listed or the work folder not be used.
pub fn status(project: &ProjectFile, context: &RunContext<'_>) -> Result<Status, RunError> {
    let work = WorkDir::open(&context.work_dir, || (context.progress)(Progress::Waiting))?;
    let last = History::of(&work).newest(1)?.pop();
    let captured = last.as_ref().and_then(|last| last.stage("snapshot")?.inputs.get("captured").copied());
    let looked = run::look(project, context, &work, captured)?;
    Ok(concluded(&looked, last.as_ref(), project.data.captured))
}

/// The parameters and files of now, to compare with a run's.
///
/// # Errors
/// As [`status`].
pub fn state_of_now(project: &ProjectFile, context: &RunContext<'_>) -> Result<State, RunError> {
    let work = WorkDir::open(&context.work_dir, || (context.progress)(Progress::Waiting))?;
    Ok(run::look(project, context, &work, None)?.state)
}

/// The records of the runs that worked in `context.work_dir`, newest first.
///
/// # Errors
/// The folder or a record cannot be read.
pub fn history(context: &RunContext<'_>, limit: usize) -> Result<Vec<RunRecord>, RunError> {
    let work = WorkDir::open(&context.work_dir, || (context.progress)(Progress::Waiting))?;
    Ok(History::of(&work).newest(limit)?)
}

fn concluded(looked: &Looked, last: Option<&RunRecord>, asks_devices: bool) -> Status {
    let before = last.map(State::from).unwrap_or_default();
    let changes = match last {
        Some(_) => Changes::between(&before, &looked.state),
        None => Changes::default(),
    };
    let missing = looked.ends_missing.then(|| looked.stages.len().saturating_sub(1));
    let mut stages: Vec<StageStatus> = Vec::new();
    for (at, stage) in looked.stages.iter().enumerate() {
        let before = last.and_then(|last| last.stage(&stage.name));
        let (state, why) = match missing == Some(at) {
            true => (StageState::WouldRun, reasons(stage, before, &changes)),
            false => (StageState::UpToDate, Vec::new()),
        };
        stages.push(StageStatus { name: stage.name.clone(), state, reasons: why });
    }
    if missing.is_some() {
        stages.extend(later(&stages));
    }
    Status {
        up_to_date: missing.is_none() && last.is_some() && changes.is_empty(),
        last_run: last.map(|last| last.run.clone()),
        last_run_at_ms: last.map(|last| last.at_ms),
        changes,
        stages,
        asks_devices,
    }
}

/// The stages after those that were looked at.
fn later(found: &[StageStatus]) -> Vec<StageStatus> {
    let Some(first) = found.last() else { return Vec::new() };
    let names: BTreeMap<&str, usize> = run::STAGES.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let from = names.get(first.name.as_str()).map_or(run::STAGES.len(), |at| at + 1);
    let depends = |name: &&str| StageStatus {
        name: (*name).to_owned(),
        state: StageState::Depends,
        reasons: vec![format!("after {}", first.name)],
    };
    run::STAGES[from..].iter().map(depends).collect()
}

#[cfg(test)]
mod tests {
    use edgeward_core::Digest;
    use edgeward_core::event::RunOutcome;

    use super::*;

    fn stage(name: &str, input: &[u8]) -> StageRecord {
        StageRecord {
            name: name.to_owned(),
            code: 1,
            params: serde_json::json!({}),
            inputs: BTreeMap::from([("snapshot".to_owned(), Digest::of(input))]),
            key: Digest::of(input),
            cached: true,
        }
    }

    fn record(stages: Vec<StageRecord>) -> RunRecord {
        let outcome = RunOutcome::Passed { bundle: Digest::of(b"b") };
        let run = RunId::new("run-1").unwrap();
        RunRecord { stages, ..RunRecord::new(run, Timestamp(1), "by hand".to_owned(), outcome) }
    }

    #[test]
    fn what_comes_after_a_missing_stage_depends_on_it() {
        let looked = Looked {
            stages: vec![stage("snapshot", b"1"), stage("split", b"2")],
            ends_missing: true,
            state: State::default(),
        };
        let last = record(vec![stage("snapshot", b"1"), stage("split", b"1")]);
        let status = concluded(&looked, Some(&last), false);
        let states: Vec<_> = status.stages.iter().map(|stage| (stage.name.as_str(), stage.state)).collect();
        assert_eq!(states[0], ("snapshot", StageState::UpToDate));
        assert_eq!(states[1], ("split", StageState::WouldRun));
        assert_eq!((states[2], states.len()), (("validate", StageState::Depends), run::STAGES.len()));
        assert_eq!(status.stages[1].reasons, ["snapshot is another"]);
        assert!(!status.up_to_date);
    }

    #[test]
    fn with_everything_there_nothing_would_be_done() {
        let looked =
            Looked { stages: vec![stage("snapshot", b"1")], ends_missing: false, state: State::default() };
        assert!(concluded(&looked, Some(&record(vec![stage("snapshot", b"1")])), false).up_to_date);
        assert!(!concluded(&looked, None, false).up_to_date, "no run was recorded");
    }
}
