//! What a run notes of itself, for its record and for whoever asks what the next one would do.

use std::collections::BTreeMap;

use edgeward_core::event::RunOutcome;
use edgeward_core::{Digest, canonical};
use serde::Serialize;
use serde_json::Value;

use super::{Pipeline, RunError};
use crate::cache::{CacheError, Inputs, StageCode};
use crate::compare::{State, flattened};
use crate::git;
use crate::history::{History, RunRecord, StageRecord};
use crate::index::Content;
use crate::progress::RunSummary;
use crate::status::Looked;

/// The stages that every run has, in order.
pub(crate) const STAGES: [&str; 7] =
    ["snapshot", "split", "validate", "train", "convert", "evaluate", "bundle"];

/// What was seen on the way.
#[derive(Debug, Default)]
pub(super) struct Notes {
    stages: Vec<StageRecord>,
    files: BTreeMap<String, Digest>,
    pub(super) deps: BTreeMap<String, Digest>,
}

/// A look that makes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looking {
    /// Stands for the samples of devices, which are not asked for.
    pub(super) captured: Option<Digest>,
}

impl Pipeline<'_> {
    /// Notes what a stage is made of.
    pub(super) fn note(
        &self,
        code: StageCode,
        params: &impl Serialize,
        inputs: &Inputs<'_>,
        (key, cached): (&Digest, bool),
    ) -> Result<(), CacheError> {
        let failed = |source| CacheError::Key { stage: code.name, source };
        let params = canonical::to_bytes(params).map_err(failed)?;
        let params = serde_json::from_slice(&params).unwrap_or_default();
        self.notes.borrow_mut().stages.push(StageRecord {
            name: code.name.to_owned(),
            code: code.version,
            params,
            inputs: inputs.iter().map(|(name, digest)| ((*name).to_owned(), *digest)).collect(),
            key: *key,
            cached,
        });
        Ok(())
    }

    pub(super) fn note_files(&self, files: &BTreeMap<String, Content>) {
        self.notes.borrow_mut().files =
            files.iter().map(|(name, content)| (name.clone(), content.digest)).collect();
    }

    /// Takes what the candidate `name` of this run noted.
    pub(super) fn note_candidate(&self, name: &str, noted: Notes) {
        let mut notes = self.notes.borrow_mut();
        let of_it = |stage: StageRecord| StageRecord { name: format!("{name}/{}", stage.name), ..stage };
        notes.stages.extend(noted.stages.into_iter().map(of_it));
        notes.files.extend(noted.files);
        notes.deps.extend(noted.deps);
    }

    /// Refuses to make what is only looked for.
    pub(super) const fn may_make(&self, code: StageCode) -> Result<(), CacheError> {
        match self.looking {
            Some(_) => Err(CacheError::NotMade { stage: code.name }),
            None => Ok(()),
        }
    }

    pub(super) fn assumed_captured(&self) -> Option<Digest> {
        self.looking.and_then(|looking| looking.captured)
    }

    fn params(&self) -> BTreeMap<String, Value> {
        // In the form that a record has on disk, in which 10.0 is 10.
        let bytes = canonical::to_bytes(self.project).unwrap_or_default();
        let project: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let (top, tables) = flattened(&project).into_iter().partition::<BTreeMap<_, _>, _>(|(key, _)| {
            !key.contains('.') && project.get(key).is_none_or(|value| !value.is_array())
        });
        let named = top.into_iter().map(|(key, value)| (format!("project.{key}"), value));
        named.chain(tables).collect()
    }

    /// Keeps what this run did, however it ended.
    pub(super) fn record(&self, result: &Result<RunSummary, RunError>) -> Result<(), RunError> {
        let outcome = match result {
            Ok(summary) => summary.outcome.clone(),
            Err(error) => RunOutcome::Failed { reason: error.chain() },
        };
        let notes = self.notes.borrow();
        let context = self.context;
        let record = RunRecord {
            commit: git::commit(&self.project.dir),
            params: self.params(),
            files: notes.files.clone(),
            deps: notes.deps.clone(),
            stages: notes.stages.clone(),
            metrics: result.as_ref().map(|summary| summary.metrics.clone()).unwrap_or_default(),
            ..RunRecord::new(context.run.clone(), context.now, context.cause.clone(), outcome)
        };
        Ok(History::of(self.work).keep(&record)?)
    }

    /// What a look found.
    pub(super) fn looked(&self, ends_missing: bool) -> Looked {
        let notes = self.notes.take();
        let state = State { params: self.params(), files: notes.files, deps: notes.deps, metrics: None };
        Looked { stages: notes.stages, ends_missing, state }
    }
}
