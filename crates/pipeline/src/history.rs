//! What the runs of a work folder did, so that later ones can be compared with them.
//!
//! Every run that did something leaves `history/<number>.json`: the parameters, the files it read with their digests, each
//! stage with all that its key was made of, the metrics and how it ended. A run with nothing new leaves none; the last
//! record then still says what is so.
//!
//! Deliberately missing: the files themselves. Bundles and finished stages are kept beside it by content.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use edgeward_core::event::RunOutcome;
use edgeward_core::{Digest, RunId, Timestamp, canonical};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cache::{CacheError, write_json};
use crate::workdir::{WorkDir, WorkError, write_atomically};

const SCHEMA: &str = "edgeward.run-record/1";
const DIGITS: usize = 6;

/// What a stage was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// The version of its code.
    pub code: u32,
    /// Its parameters, without the files it reads.
    pub params: Value,
    /// What it reads, by digest.
    pub inputs: BTreeMap<String, Digest>,
    /// Its key in the cache.
    pub key: Digest,
    /// Whether its outputs were there already.
    pub cached: bool,
}

/// What one run did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Which layout this is.
    pub schema: String,
    /// The run.
    pub run: RunId,
    /// When it began.
    pub at_ms: Timestamp,
    /// Why it was started.
    pub cause: String,
    /// The commit that the project's folder was checked out at.
    pub commit: Option<String>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The parameters, by the keys of the project file.
    pub params: BTreeMap<String, Value>,
    /// The data, by path.
    pub files: BTreeMap<String, Digest>,
    /// What the training command depends on, by path.
    pub deps: BTreeMap<String, Digest>,
    /// The stages in order.
    pub stages: Vec<StageRecord>,
    /// What was measured.
    pub metrics: BTreeMap<String, f64>,
}

/// The last record: which it is, and what its run came to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    number: u64,
    state: Digest,
}

/// The records of one work folder.
pub struct History<'a> {
    work: &'a WorkDir,
}

impl RunRecord {
    /// The record of a run that is described by the rest.
    #[must_use]
    pub fn new(run: RunId, at_ms: Timestamp, cause: String, outcome: RunOutcome) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            run,
            at_ms,
            cause,
            commit: None,
            outcome,
            params: BTreeMap::new(),
            files: BTreeMap::new(),
            deps: BTreeMap::new(),
            stages: Vec::new(),
            metrics: BTreeMap::new(),
        }
    }

    /// What two runs have in common that came to the same: equal stages, parameters and ends.
    fn state(&self) -> Result<Digest, CacheError> {
        let keys: Vec<(&str, &Digest)> =
            self.stages.iter().map(|stage| (stage.name.as_str(), &stage.key)).collect();
        canonical::digest(&(keys, &self.params, &self.outcome))
            .map_err(|source| CacheError::Key { stage: "history", source })
    }

    /// The stage of this name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

impl<'a> History<'a> {
    /// The records in `work`.
    #[must_use]
    pub const fn of(work: &'a WorkDir) -> Self {
        Self { work }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.work.history().join(format!("{number:0DIGITS$}.json"))
    }

    fn head(&self) -> Option<Head> {
        serde_json::from_slice(&fs::read(self.work.history().join("head.json")).ok()?).ok()
    }

    /// Keeps `record`, unless the last one came to the same.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, record: &RunRecord) -> Result<(), CacheError> {
        let (state, head) = (record.state()?, self.head());
        if head.as_ref().is_some_and(|head| head.state == state) {
            return Ok(());
        }
        let newest = self.numbers()?.last().copied();
        let number = newest.max(head.map(|head| head.number)).unwrap_or_default() + 1;
        write_json(&self.path(number), record)?;
        let head = serde_json::to_vec(&Head { number, state }).unwrap_or_default();
        Ok(write_atomically(&self.work.history().join("head.json"), &head)?)
    }

    /// The numbers of the records, oldest first.
    fn numbers(&self) -> Result<Vec<u64>, WorkError> {
        let dir = self.work.history();
        let entries = fs::read_dir(&dir).map_err(WorkError::at("listing", &dir))?;
        let number = |entry: fs::DirEntry| {
            entry.file_name().to_str()?.strip_suffix(".json").and_then(|name| name.parse().ok())
        };
        let mut numbers: Vec<u64> = entries.flatten().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// At most `limit` records, newest first.
    ///
    /// # Errors
    /// One cannot be read, or was written by another version.
    pub fn newest(&self, limit: usize) -> Result<Vec<RunRecord>, CacheError> {
        self.numbers()?.into_iter().rev().take(limit).map(|number| self.read(number)).collect()
    }

    fn read(&self, number: u64) -> Result<RunRecord, CacheError> {
        let path = self.path(number);
        let bytes = fs::read(&path).map_err(WorkError::at("reading", &path))?;
        serde_json::from_slice(&bytes).map_err(|source| CacheError::Json { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(run: &str, accuracy: f64) -> RunRecord {
        let outcome = RunOutcome::Passed { bundle: Digest::of(b"bundle") };
        let mut record =
            RunRecord::new(RunId::new(run).unwrap(), Timestamp(5), "by hand".to_owned(), outcome);
        record.params.insert("train.params.width".to_owned(), serde_json::json!(accuracy));
        record.metrics.insert("accuracy".to_owned(), accuracy);
        record
    }

    fn runs(history: &History<'_>, limit: usize) -> Vec<String> {
        history.newest(limit).unwrap().iter().map(|record| record.run.to_string()).collect()
    }

    #[test]
    fn runs_that_did_something_are_kept_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::open(dir.path(), || ()).unwrap();
        let history = History::of(&work);
        assert_eq!(runs(&history, 9), Vec::<String>::new());
        for (run, accuracy) in [("one", 0.8), ("two", 0.9), ("again", 0.9), ("three", 0.8)] {
            history.keep(&record(run, accuracy)).unwrap();
        }
        assert_eq!(runs(&history, 9), ["three", "two", "one"]);
        assert_eq!(runs(&history, 1), ["three"]);
        assert_eq!(history.newest(1).unwrap(), [record("three", 0.8)]);
    }

    #[test]
    fn a_lost_head_loses_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::open(dir.path(), || ()).unwrap();
        let history = History::of(&work);
        history.keep(&record("one", 0.8)).unwrap();
        fs::write(work.history().join("head.json"), b"{ torn").unwrap();
        history.keep(&record("two", 0.9)).unwrap();
        assert_eq!(runs(&history, 9), ["two", "one"]);
    }

    #[test]
    fn a_damaged_record_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::open(dir.path(), || ()).unwrap();
        fs::write(work.history().join("000007.json"), b"{}").unwrap();
        let refused = History::of(&work).newest(1).unwrap_err();
        assert!(refused.to_string().ends_with("000007.json"), "{refused}");
    }
}
