//! Telling the control plane: that a run is under way, what its gates said, the bundle, and how it ended.
//!
//! Every call may be repeated; a run that was killed and started again says the same things once more.

use std::collections::BTreeMap;
use std::fs::File;

use edgeward_api::operator::{
    GateVerdict, GateVerdicts, NamedBundle, RunAnnouncement, RunEnd, VersionRegistration,
};
use edgeward_api::{Client, ClientError};
use edgeward_core::canonical::CanonicalError;
use edgeward_core::envelope::Base64;
use edgeward_core::event::{Project, RunOutcome};
use edgeward_core::{Digest, RunId, Timestamp};
use edgeward_model::bundle::path;
use edgeward_model::{Bundle, BundleError};
use edgeward_trust::Signer;
use edgeward_trust::fleet::{Draft, Lives, PublishError, add_release};

use crate::patience::patiently;
use crate::project::ProjectFile;
use crate::workdir::WorkError;

/// How often a release is signed again because another came first.
const RACES_MAX: usize = 16;

/// A run that cannot be told of.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The control plane refuses, or does not answer.
    #[error("{what}")]
    Call {
        /// What was to be told.
        what: &'static str,
        /// Why it was not.
        #[source]
        source: ClientError,
    },
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file of the bundle cannot be opened.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The manifest has no canonical form.
    #[error("writing the manifest")]
    Write(#[from] CanonicalError),
    /// The releases cannot be signed.
    #[error("adding the bundle to the signed releases")]
    Release(#[from] PublishError),
    /// Others released faster than this run could sign.
    #[error("other runs kept changing the releases; run again")]
    Races,
}

impl RegisterError {
    /// Whether the same run may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Call { source, .. } => source.is_transient(),
            Self::Races => true,
            _ => false,
        }
    }
}

/// The control plane, on behalf of one run.
pub struct Registry<'a> {
    /// Its client.
    pub client: &'a Client,
    /// The project.
    pub project: &'a ProjectFile,
    /// The run.
    pub run: &'a RunId,
}

fn call<T>(what: &'static str, call: impl FnMut() -> Result<T, ClientError>) -> Result<T, RegisterError> {
    patiently(call).map_err(|source| RegisterError::Call { what, source })
}

impl Registry<'_> {
    /// Says that the run is under way here.
    ///
    /// # Errors
    /// The control plane refuses, or does not answer.
    pub fn announce(&self, cause: &str) -> Result<(), RegisterError> {
        let announcement = RunAnnouncement {
            run: self.run.clone(),
            project: self.project.name.clone(),
            cause: cause.to_owned(),
        };
        call("announcing the run", || self.client.announce_run(&announcement)).map(|_| ())
    }

    /// Says what checks and gates said.
    ///
    /// # Errors
    /// As [`Registry::announce`].
    pub fn record_gates(&self, verdicts: &[GateVerdict]) -> Result<(), RegisterError> {
        let verdicts = GateVerdicts { verdicts: verdicts.to_vec() };
        call("recording the gates", || self.client.record_gates(self.run, &verdicts))
    }

    /// Says how the run ended, and which pipeline is followed from now on if it passed.
    ///
    /// # Errors
    /// As [`Registry::announce`].
    pub fn finish(&self, outcome: &RunOutcome, adopts: Option<&Project>) -> Result<(), RegisterError> {
        let adopts = adopts.filter(|_| matches!(outcome, RunOutcome::Passed { .. })).cloned();
        self.end(&RunEnd { outcome: outcome.clone(), adopts, shadows: Vec::new() })
    }

    /// Says how a run ended whose candidates run beside the champion.
    ///
    /// # Errors
    /// As [`Registry::announce`].
    pub fn finish_beside(
        &self,
        outcome: &RunOutcome,
        shadows: Vec<NamedBundle>,
    ) -> Result<(), RegisterError> {
        self.end(&RunEnd { outcome: outcome.clone(), adopts: None, shadows })
    }

    fn end(&self, end: &RunEnd) -> Result<(), RegisterError> {
        call("recording the end of the run", || self.client.finish_run(self.run, end))
    }

    /// Says that the run failed, unless the control plane knows of its end or does not know it at all.
    ///
    /// # Errors
    /// The control plane does not answer.
    pub fn end_if_open(&self, reason: &str) -> Result<(), RegisterError> {
        match self.finish(&RunOutcome::Failed { reason: reason.to_owned() }, None) {
            Err(RegisterError::Call { source: ClientError::Refused { status: 404 | 409, .. }, .. }) => Ok(()),
            ended => ended,
        }
    }

    /// Uploads what is missing of `bundle` and registers it as a version; its number.
    ///
    /// # Errors
    /// The bundle is damaged, the release cannot be signed, and as [`Registry::announce`].
    pub fn register(
        &self,
        bundle: &Bundle,
        metrics: &BTreeMap<String, f64>,
        signer: &dyn Signer,
        now: Timestamp,
    ) -> Result<u64, RegisterError> {
        let digest = bundle.digest();
        let bundle = Bundle::verify(bundle.dir(), &digest)?;
        for (path, entry) in &bundle.manifest().files {
            self.upload(&bundle, path.as_str(), &entry.digest)?;
        }
        self.upload(&bundle, path::MANIFEST, &digest)?;
        let manifest = bundle.manifest().to_bytes()?;
        for _ in 0..RACES_MAX {
            let registration = VersionRegistration {
                bundle: digest,
                run: self.run.clone(),
                metrics: metrics.clone(),
                releases: Base64(self.releases(&manifest, signer, now)?),
            };
            let model = &self.project.model;
            match call("registering the version", || self.client.register_version(model, &registration)) {
                // Another run has released something in between: sign on top of that.
                Err(RegisterError::Call { source: ClientError::Refused { status: 409, .. }, .. }) => {}
                registered => return Ok(registered?.version),
            }
        }
        Err(RegisterError::Races)
    }

    /// The releases of the fleet with this bundle among them.
    fn releases(
        &self,
        manifest: &[u8],
        signer: &dyn Signer,
        now: Timestamp,
    ) -> Result<Vec<u8>, RegisterError> {
        let known = call("asking for the releases", || self.client.releases())?;
        let custom = serde_json::json!({ "run": self.run, "issued_at_ms": now });
        let draft = Draft { model: &self.project.model, manifest, custom };
        Ok(add_release(&known, &draft, signer, &Lives::default(), now)?)
    }

    fn upload(&self, bundle: &Bundle, path: &str, digest: &Digest) -> Result<(), RegisterError> {
        let there = call("asking for a blob", || match self.client.blob(digest, 0) {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        })?;
        if there {
            return Ok(());
        }
        let file_path = bundle.dir().join(path);
        call("uploading a file of the bundle", || {
            let file = File::open(&file_path).map_err(|error| ClientError::Malformed {
                address: file_path.display().to_string(),
                reason: error.to_string(),
            })?;
            self.client.upload_blob_file(digest, &file)
        })
    }
}
