//! A model in memory with all it needs to answer and to be watched.

use std::sync::{Arc, OnceLock};

use edgeward_core::manifest::Variant;
use edgeward_core::record::RECORD_POLICY_SCHEMA;
use edgeward_core::{Digest, RecordPolicy};
use edgeward_model::{
    Bundle, BundleError, ChoiceRow, Engine, GoldenError, GoldenReport, LoadOptions, Runnable, Session,
    SessionError,
};
use edgeward_monitor::{DecodeError, MonitorConfig, MonitorError, Neighbours, Reference};

use crate::outbox::Outbox;
use crate::recorder::Recorder;

/// A model that does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bundle cannot be read.
    #[error("reading the bundle")]
    Bundle(#[from] BundleError),
    /// The engine does not take the model, or the signature does not fit it.
    #[error("loading the model")]
    Session(#[from] SessionError),
    /// The golden test failed.
    #[error("running the golden test")]
    Golden(#[from] GoldenError),
    /// Nothing says which form of the bundle to load, or no form of it is right here.
    #[error("no form of the bundle was found right on this device; bring one of its engines")]
    NothingTaken,
    /// The engine of the form that was taken is not in this app.
    #[error("the engine '{0}' is not in this app; give it the library that the agent has")]
    NoEngine(String),
    /// The record names a form that the bundle does not have.
    #[error("the bundle has no form '{0}'")]
    NoForm(String),
    /// `reference.profile` is damaged or of another version.
    #[error("reading the bundle's reference profile")]
    Reference(#[source] DecodeError),
    /// `reference.embeddings` is damaged or of another version.
    #[error("reading the bundle's reference embeddings")]
    Embeddings(#[source] DecodeError),
    /// `monitor.json` is not a monitor's configuration.
    #[error("reading the bundle's monitor.json")]
    MonitorConfig(#[source] serde_json::Error),
    /// `records.json` is no policy that this program reads.
    #[error("reading the bundle's records.json")]
    Records(#[source] serde_json::Error),
    /// The configuration is none that a monitor can follow.
    #[error("making the model's monitor")]
    Monitor(#[from] MonitorError),
}

/// One model, immutable, shared by every request that it answers.
pub struct Loaded {
    session: Session,
    recorder: Option<Arc<Recorder>>,
    choice: Vec<ChoiceRow>,
    records: Option<RecordPolicy>,
    outbox: OnceLock<Arc<Outbox>>,
}

impl Loaded {
    /// Loads the variant of `bundle` that `engine` runs, and the monitor the bundle describes. A bundle without a
    /// reference profile is not watched.
    ///
    /// # Errors
    /// Any part is missing, damaged or not for this engine.
    pub fn from_bundle(
        bundle: &Bundle,
        engine: &dyn Engine,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let session = Session::load(bundle, engine, options)?;
        let recorder = recorder_of(bundle)?;
        Self::new(session, recorder).kept_by(bundle)
    }

    /// A variant of `bundle` that is loaded already, and the monitor the bundle describes.
    ///
    /// # Errors
    /// The bundle's other files are missing or damaged, or its signature is not that of `runnable`.
    pub fn from_runnable(
        bundle: &Bundle,
        variant: &Variant,
        runnable: Arc<dyn Runnable>,
    ) -> Result<Self, LoadError> {
        let signature = bundle.signature()?;
        let session = Session::new(runnable, signature, bundle.digest(), variant.clone())?;
        Self::new(session, recorder_of(bundle)?).kept_by(bundle)
    }

    /// Loads a bare model file; it is not watched.
    ///
    /// # Errors
    /// The bytes are no ONNX model, or the engine does not take it.
    pub fn from_onnx(onnx: &[u8], engine: &dyn Engine, options: &LoadOptions) -> Result<Self, LoadError> {
        Ok(Self::new(Session::from_onnx(onnx, engine, options)?, None))
    }

    /// A model of parts that are loaded already.
    #[must_use]
    pub const fn new(session: Session, recorder: Option<Arc<Recorder>>) -> Self {
        Self { session, recorder, choice: Vec::new(), records: None, outbox: OnceLock::new() }
    }

    /// The same model with the table it was chosen by.
    #[must_use]
    pub fn with_choice(self, choice: Vec<ChoiceRow>) -> Self {
        Self { choice, ..self }
    }

    fn kept_by(self, bundle: &Bundle) -> Result<Self, LoadError> {
        Ok(Self { records: records_of(bundle)?, ..self })
    }

    /// The same model, of whose predictions so much is kept.
    #[must_use]
    pub fn with_records(self, records: Option<RecordPolicy>) -> Self {
        Self { records, ..self }
    }

    /// What is kept of its predictions; none if nothing is.
    #[must_use]
    pub const fn records(&self) -> Option<&RecordPolicy> {
        self.records.as_ref()
    }

    /// Lets its predictions leave their records there.
    pub(crate) fn leave_records_in(&self, outbox: &Arc<Outbox>) {
        // One that was given before is the same: an app follows one model by one watch.
        let _ = self.outbox.set(Arc::clone(outbox));
    }

    /// Where its predictions leave their records; none outside of an app that follows an agent.
    pub(crate) fn outbox(&self) -> Option<&Outbox> {
        self.outbox.get().map(|outbox| &**outbox)
    }

    /// What became of each form of the bundle when this one was chosen; empty if there was no choice.
    #[must_use]
    pub fn choice(&self) -> &[ChoiceRow] {
        &self.choice
    }

    /// Runs the golden test that `bundle` holds for the loaded variant.
    ///
    /// # Errors
    /// There is none, or the first difference.
    pub fn check_golden(&self, bundle: &Bundle) -> Result<GoldenReport, LoadError> {
        let golden = bundle.golden(self.session.variant())?;
        Ok(self.session.check_golden(&golden)?)
    }

    /// The bundle's digest, or the file's for a bare model.
    #[must_use]
    pub const fn bundle(&self) -> Digest {
        self.session.model()
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// What watches the model; none for a bare one. It may be kept after the model is gone, for what it counted last.
    #[must_use]
    pub const fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.recorder.as_ref()
    }
}

fn records_of(bundle: &Bundle) -> Result<Option<RecordPolicy>, LoadError> {
    let Some(value) = bundle.records()? else { return Ok(None) };
    let policy: RecordPolicy = serde_json::from_value(value).map_err(LoadError::Records)?;
    match policy.schema == RECORD_POLICY_SCHEMA {
        true => Ok(Some(policy)),
        false => Err(LoadError::Records(serde::de::Error::custom(format!(
            "its schema is '{}', this program reads '{RECORD_POLICY_SCHEMA}'",
            policy.schema
        )))),
    }
}

fn recorder_of(bundle: &Bundle) -> Result<Option<Arc<Recorder>>, LoadError> {
    let Some(bytes) = bundle.reference_profile()? else { return Ok(None) };
    let reference = Reference::from_bytes(&bytes).map_err(LoadError::Reference)?;
    let config: MonitorConfig = match bundle.monitor()? {
        Some(value) => serde_json::from_value(value).map_err(LoadError::MonitorConfig)?,
        None => MonitorConfig::default(),
    };
    let mut recorder = Recorder::new(Arc::new(reference), config.clone())?;
    if let Some(bytes) = bundle.reference_embeddings()? {
        recorder = recorder.with_neighbours(Neighbours::from_bytes(&bytes).map_err(LoadError::Embeddings)?);
    }
    Ok(Some(Arc::new(match bundle.labels_profile()? {
        Some(bytes) => {
            recorder.with_labels(&config, Reference::from_bytes(&bytes).map_err(LoadError::Reference)?)
        }
        None => recorder,
    })))
}
