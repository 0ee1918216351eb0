//! A commit of the pipeline's repository on trial: checked out, its own tests, a smoke run on some rows. What is left is an
//! ordinary run against the version that serves, by gates that the commit cannot have weakened.
//!
//! The commit's own commands run as `[train] run` does: with the rights of the control plane's user. Who may push to the
//! branch may run commands here. Deliberately missing: submodules, files in Git LFS.

mod checkout;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use edgeward_api::operator::GateVerdict;
use edgeward_core::RunId;
use edgeward_core::event::RunOutcome;
use edgeward_core::source::{Source, short};

pub use checkout::{CheckoutError, commit_of};

use crate::pattern::{self, PatternError};
use crate::project::{GateTable, ProjectFile, ValidateTable};
use crate::run::{RunContext, RunError, chain, run};
use crate::runner::JobError;
use crate::runner::command::{self, Job};
use crate::validate::verdict;
use crate::workdir::{WorkDir, WorkError};

/// How much worse than the champion a commit's model may be if neither pipeline says.
pub const REGRESSION_MAX: f64 = 0.02;

/// A trial.
pub struct Trial<'a> {
    /// Where the commit comes from.
    pub source: &'a Source,
    /// The commit.
    pub commit: &'a str,
    /// The pipeline that is in use.
    pub active: &'a ProjectFile,
    /// The run.
    pub run: &'a RunId,
    /// The project's work folder.
    pub work: &'a Path,
    /// Set from elsewhere to stop a command.
    pub cancel: &'a AtomicBool,
    /// Takes lines for people.
    pub said: &'a dyn Fn(&str),
}

/// What became of the first part of a trial.
pub struct Prepared {
    /// The commit's pipeline, with the gates of both; none if it was refused.
    pub project: Option<ProjectFile>,
    /// What was checked.
    pub verdicts: Vec<GateVerdict>,
}

/// A trial that could not be made. That a commit is no good is no error.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The commit cannot be had.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// The work folder.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// Someone stopped it.
    #[error(transparent)]
    Stopped(JobError),
    /// The smoke run could not be made, for a reason that lies elsewhere.
    #[error("the smoke run")]
    Smoke(#[source] Box<RunError>),
}

impl Trial<'_> {
    /// Where commits are checked out.
    fn commits(&self) -> PathBuf {
        self.work.join("commits")
    }

    /// Checks the commit out, reads its project file, runs its tests and the smoke run; stops at the first that fails.
    /// `smoke` is how runs are made; its server is left out.
    ///
    /// # Errors
    /// The repository does not give the commit, or the trial was stopped.
    pub fn prepare(&self, smoke: &RunContext<'_>) -> Result<Prepared, TrialError> {
        let folder = self.work.join("trial");
        let _alone = WorkDir::open(&folder, || (self.said)("waiting for another trial of this project"))?;
        let tree = checkout::checkout(self.source, self.commit, &self.commits())?;
        let mut verdicts = Vec::new();
        let candidate = match self.read(&tree) {
            Ok(candidate) => candidate,
            Err(refusal) => return Ok(refused(verdicts, refusal)),
        };
        verdicts.push(verdict(
            "commit.project",
            true,
            format!("commit {} is a pipeline", short(self.commit)),
        ));
        if let Some(tested) = self.test(&candidate, &folder)? {
            if !tested.passed {
                return Ok(refused(verdicts, tested));
            }
            verdicts.push(tested);
        }
        checkout::restore(&tree, self.commit)?;
        let smoked = self.smoke(&candidate, smoke, &folder.join("smoke"))?;
        if !smoked.passed {
            return Ok(refused(verdicts, smoked));
        }
        verdicts.push(smoked);
        let gate = strictest(&self.active.gate, &candidate.gate);
        Ok(Prepared { project: Some(ProjectFile { gate, ..candidate }), verdicts })
    }

    /// Removes every checkout but this commit's and the one in use.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn clear(&self) -> Result<(), WorkError> {
        let commits = self.commits();
        let kept = BTreeSet::from([Some(self.commit), self.source.commit.as_deref()]);
        for entry in fs::read_dir(&commits).map_err(WorkError::at("listing", &commits))?.flatten() {
            let name = entry.file_name();
            if !kept.contains(&name.to_str()) {
                fs::remove_dir_all(entry.path()).map_err(WorkError::at("removing", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// The commit's project file, which must still be of this project.
    fn read(&self, tree: &Path) -> Result<ProjectFile, GateVerdict> {
        const GATE: &str = "commit.project";
        let dir = tree.join(&self.source.path);
        let candidate = ProjectFile::load(&dir).map_err(|error| verdict(GATE, false, chain(&error)))?;
        let (active, home) = (self.active, Path::new(&self.source.home));
        if (&candidate.name, &candidate.model) != (&active.name, &active.model) {
            let reason = format!(
                "it makes model {} of project {}, not model {} of project {}",
                candidate.model, candidate.name, active.model, active.name
            );
            return Err(verdict(GATE, false, reason));
        }
        if candidate.task() != active.task() {
            return Err(verdict(
                GATE,
                false,
                "its label is another kind of thing: classes and numbers are not compared",
            ));
        }
        candidate.with_data_at(home).map_err(|error| verdict(GATE, false, error.to_string()))
    }

    /// The commit's own tests. One that takes the tests away does not pass.
    fn test(&self, candidate: &ProjectFile, folder: &Path) -> Result<Option<GateVerdict>, TrialError> {
        const GATE: &str = "commit.tests";
        let timeout = candidate.source.as_ref().map(|source| source.timeout.0);
        let test = |project: &ProjectFile| project.source.as_ref().and_then(|source| source.test.clone());
        let Some((command, timeout)) = test(candidate).zip(timeout) else {
            let lost = test(self.active).is_some();
            return Ok(
                lost.then(|| verdict(GATE, false, "it takes away the pipeline's tests, [source] test"))
            );
        };
        (self.said)(&format!("testing commit {}: {command}", short(self.commit)));
        let log = folder.join(format!("{}.tests.log", self.run));
        let (dir, cancel) = (&candidate.dir, self.cancel);
        let job = Job { command: &command, dir, env: &[], log: &log, timeout, cancel };
        let begun = Instant::now();
        let result = command::run(&job, &mut |line| (self.said)(line));
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Some(match result {
            Ok(()) => verdict(GATE, true, format!("'{command}' passed in {seconds:.1} s")),
            Err(error @ JobError::Cancelled { .. }) => return Err(TrialError::Stopped(error)),
            Err(error) => verdict(GATE, false, chain(&error)),
        }))
    }

    /// A whole run on some rows, without gates on quality: does the pipeline come to an end at all?
    fn smoke(
        &self,
        candidate: &ProjectFile,
        context: &RunContext<'_>,
        work: &Path,
    ) -> Result<GateVerdict, TrialError> {
        const GATE: &str = "commit.smoke";
        let rows_max = candidate.source.as_ref().map(|source| source.smoke_rows);
        let validate = ValidateTable { rows_min: 1, rows_per_class_min: 1, ..candidate.validate.clone() };
        let project = ProjectFile { validate, gate: GateTable::default(), ..candidate.clone() };
        if work.exists() {
            fs::remove_dir_all(work).map_err(WorkError::at("clearing", work))?;
        }
        let context = RunContext {
            work_dir: work.to_owned(),
            run: self.run.clone(),
            cause: context.cause.clone(),
            server: None,
            signer: None,
            rows_max,
            adopts: None,
            ..*context
        };
        (self.said)(&format!("smoke run of commit {}", short(self.commit)));
        let outcome = run(&project, &context);
        // A folder that stays is cleared by the next trial.
        let _ = fs::remove_dir_all(work);
        match outcome {
            Ok(summary) => Ok(match summary.outcome {
                RunOutcome::Passed { .. } => {
                    let rows = rows_max.unwrap_or_default();
                    verdict(GATE, true, format!("a run on at most {rows} rows came to its end"))
                }
                RunOutcome::Refused { reason } | RunOutcome::Failed { reason } => {
                    verdict(GATE, false, reason)
                }
            }),
            Err(error) if error.may_pass() => Err(TrialError::Smoke(Box::new(error))),
            Err(error) => Ok(verdict(GATE, false, error.chain())),
        }
    }
}

fn refused(mut verdicts: Vec<GateVerdict>, last: GateVerdict) -> Prepared {
    verdicts.push(last);
    Prepared { project: None, verdicts }
}

/// Of each gate the stricter one: a commit is judged by what is in use, and by what it adds.
#[must_use]
pub fn strictest(active: &GateTable, candidate: &GateTable) -> GateTable {
    let most = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
    let least = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::min);
    GateTable {
        accuracy_min: most(active.accuracy_min, candidate.accuracy_min),
        mae_max: least(active.mae_max, candidate.mae_max),
        regression_max: least(active.regression_max, candidate.regression_max).or(Some(REGRESSION_MAX)),
        proof: active.proof || candidate.proof,
        rows_min: active.rows_min.max(candidate.rows_min),
        slices: active
            .slices
            .iter()
            .chain(&candidate.slices)
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        slice_drop_max: active.slice_drop_max.min(candidate.slice_drop_max),
        slice_rows_min: active.slice_rows_min.min(candidate.slice_rows_min),
        calibration_max: least(active.calibration_max, candidate.calibration_max),
        noise: active.noise.max(candidate.noise),
        noise_drop_max: least(active.noise_drop_max, candidate.noise_drop_max),
        missing: active.missing.max(candidate.missing),
        missing_drop_max: least(active.missing_drop_max, candidate.missing_drop_max),
        latency_max_ms: least(active.latency_max_ms, candidate.latency_max_ms),
        size_max_bytes: active.size_max_bytes.into_iter().chain(candidate.size_max_bytes).min(),
    }
}

impl ProjectFile {
    /// The project with its data looked for in `home` if its own folder holds none.
    ///
    /// # Errors
    /// A pattern is none.
    pub fn with_data_at(self, home: &Path) -> Result<Self, PatternError> {
        if self.data.source.is_some() {
            return Ok(self);
        }
        let found = pattern::files(&self.dir, &self.data.files)?;
        let data_dir = if found.is_empty() { home.to_owned() } else { self.dir.clone() };
        Ok(Self { data_dir, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_cannot_weaken_the_gates_it_is_judged_by() {
        let active = GateTable { accuracy_min: Some(0.9), rows_min: 50, ..GateTable::default() };
        let lax = GateTable { accuracy_min: Some(0.1), regression_max: Some(0.5), ..GateTable::default() };
        let judged = strictest(&active, &lax);
        assert_eq!((judged.accuracy_min, judged.rows_min), (Some(0.9), 50));
        assert_eq!(judged.regression_max, Some(0.5), "the active pipeline had none");
        let silent = strictest(&GateTable::default(), &GateTable::default());
        assert_eq!((silent.regression_max, silent.mae_max), (Some(REGRESSION_MAX), None));
        let strict = GateTable { regression_max: Some(0.01), mae_max: Some(2.0), ..GateTable::default() };
        assert_eq!(strictest(&strict, &lax).regression_max, Some(0.01));
        let slices = |names: &[&str]| GateTable {
            slices: names.iter().map(ToString::to_string).collect(),
            ..GateTable::default()
        };
        assert_eq!(strictest(&slices(&["b", "a"]), &slices(&["b"])).slices, ["a", "b"]);
    }
}
