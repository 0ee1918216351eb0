//! Decisions that must be taken on the state they are written on, so that asking twice decides once.

use std::collections::BTreeMap;

use edgeward_core::event::{ModelVersion, Runner};
use edgeward_core::{Alert, Digest, Event, ModelName, ProjectName, RunId, Timestamp};

use crate::database::Writer;
use crate::error::StoreError;

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The bundle is this new version.
    New(u64),
    /// The bundle was this version already.
    Already(u64),
}

/// What became of the wish for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunDecision {
    /// It may begin.
    Begin,
    /// This very run was asked for before.
    Already,
    /// Another run of the project is under way.
    Busy(RunId),
}

impl Registered {
    /// The version's number.
    #[must_use]
    pub const fn version(self) -> u64 {
        match self {
            Self::New(version) | Self::Already(version) => version,
        }
    }
}

impl Writer<'_> {
    /// Gives a bundle the model's next version number, unless it has one.
    ///
    /// # Errors
    /// The database fails.
    pub fn register_version(
        &self,
        model: &ModelName,
        bundle: Digest,
        run: &RunId,
        metrics: &BTreeMap<String, f64>,
        now: Timestamp,
    ) -> Result<Registered, StoreError> {
        if let Some(known) = self.version_of_bundle(model, bundle)? {
            return Ok(Registered::Already(known.version));
        }
        let version = self.next_version(model)?;
        let registered = ModelVersion {
            model: model.clone(),
            version,
            bundle,
            run: run.clone(),
            metrics: metrics.clone(),
            release: None,
        };
        self.append(Event::ModelRegistered(registered), now)?;
        Ok(Registered::New(version))
    }

    /// Begins a run, if no other run of the project is under way.
    ///
    /// # Errors
    /// The database fails.
    pub fn request_run(
        &self,
        run: &RunId,
        project: &ProjectName,
        cause: &str,
        runner: Runner,
        now: Timestamp,
    ) -> Result<RunDecision, StoreError> {
        if self.run(run)?.is_some() {
            return Ok(RunDecision::Already);
        }
        if let Some(other) = self.run_under_way(project)? {
            return Ok(RunDecision::Busy(other.id));
        }
        let (run, project, cause) = (run.clone(), project.clone(), cause.to_owned());
        self.append(Event::RunRequested { run, project, cause, runner, commit: None }, now)?;
        Ok(RunDecision::Begin)
    }

    /// Raises an alert, once by its id; says whether it was new.
    ///
    /// # Errors
    /// The database fails.
    pub fn raise_alert(&self, alert: &Alert, now: Timestamp) -> Result<bool, StoreError> {
        if self.has_alert(&alert.id)? {
            return Ok(false);
        }
        self.append(Event::AlertRaised(alert.clone()), now)?;
        Ok(true)
    }
}
