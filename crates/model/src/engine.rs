//! Engines: what turns ONNX bytes into something that runs.
//!
//! An [`Engine`] loads; a [`Runnable`] is a loaded model, immutable and shared by any number of threads. Errors have a
//! [`kind`](EngineError::kind) to act on and name the node and its operator where the engine tells. Whatever bytes come
//! in, loading and running return; a panic inside an engine becomes an error of kind [`EngineErrorKind::Panicked`].
//!
//! Deliberately missing: limits on the time and memory a model takes to run. Only signed models reach a device, and a
//! service manager bounds the process.

mod background;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub(crate) mod native;
#[cfg(feature = "onnxruntime")]
pub mod onnxruntime;
mod outline;
mod rten;
pub mod set;

use std::error::Error;
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use edgeward_core::Capabilities;
use edgeward_core::target::EngineCapability;
use edgeward_core::variant::Format;

pub use background::work_in_background;
#[cfg(feature = "onnxruntime")]
pub use onnxruntime::OnnxRuntimeEngine;
pub use outline::is_contained;
pub use rten::RtenEngine;
pub use set::{Engines, OnnxRuntimeConfig};

use crate::onnx::{MODEL_BYTES_MAX, NodeProto};
use crate::signature::TensorSpec;
use crate::tensor::Tensor;

/// Most threads a model may be given.
pub const THREADS_MAX: usize = 256;

/// How to load a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads for one run, 1 to [`THREADS_MAX`] (more is cut); `None` lets the engine choose.
    pub threads: Option<usize>,
    /// Most rows of waiting requests that are computed together ([`crate::batch`]); engines take no notice of it.
    pub batch_rows: usize,
}

impl Default for LoadOptions {
    /// As many threads as the engine likes, requests one by one.
    fn default() -> Self {
        Self { threads: None, batch_rows: 1 }
    }
}

impl LoadOptions {
    /// Options for this many threads.
    #[must_use]
    pub const fn with_threads(threads: usize) -> Self {
        Self { threads: Some(threads), batch_rows: 1 }
    }
}

/// A file of a prepared form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Something that loads ONNX models.
pub trait Engine: Send + Sync {
    /// Short name, as manifests use it: `rten`.
    fn name(&self) -> &'static str;

    /// Name of the hardware backend it computes on, where it has several: `cpu`, `cuda`.
    fn provider(&self) -> &str {
        "cpu"
    }

    /// Its version, where it tells.
    fn version(&self) -> Option<String> {
        None
    }

    /// The formats of model files it reads, by the names that manifests use.
    fn formats(&self) -> &'static [&'static str] {
        &[Format::ONNX]
    }

    /// Whether it has every operator of ONNX and its machine-learning domain and optimises graphs by itself, so that a
    /// model is best handed over as it was exported.
    fn takes_as_exported(&self) -> bool {
        false
    }

    /// Loads a model from untrusted bytes. Constants must be inside the bytes.
    ///
    /// # Errors
    /// Not ONNX, a graph that cannot run, or an operator or type the engine does not have.
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError>;

    /// The form of an untrusted model that this engine, in this version, loads faster; none where it has no such form for
    /// the model. It is a set of files for one folder.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn prepare(&self, _onnx: &[u8]) -> Result<Option<Vec<Prepared>>, EngineError> {
        Ok(None)
    }

    /// Loads a form that [`Engine::prepare`] of this engine in this version made, from the folder its files stand in. The
    /// caller makes sure that they are still the same.
    ///
    /// # Errors
    /// No such form, or as [`Engine::load`].
    fn load_prepared(&self, folder: &Path, _options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        let why = format!("{} has no prepared forms, so {} is none", self.name(), folder.display());
        Err(EngineError::new(self.name(), EngineErrorKind::UnsupportedOperator, why))
    }

    /// Loads the model in the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read or is larger than [`MODEL_BYTES_MAX`], and as [`Engine::load`].
    fn load_file(&self, path: &Path, options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        self.load(&read_bounded(self.name(), path)?, options)
    }
}

/// What a device that has these engines can run. What else it has (its chip, SDKs) the caller knows.
#[must_use]
pub fn capabilities(engines: &[&dyn Engine]) -> Capabilities {
    let engines = engines.iter().map(|engine| capability(*engine)).collect();
    Capabilities { arch: std::env::consts::ARCH.to_owned(), ..Capabilities::of_engines(engines) }
}

/// What `engine` can run.
#[must_use]
pub fn capability(engine: &dyn Engine) -> EngineCapability {
    EngineCapability {
        name: engine.name().to_owned(),
        version: engine.version(),
        providers: vec![engine.provider().to_owned()],
        formats: engine.formats().iter().copied().map(Format::new).collect(),
    }
}

/// A loaded model.
pub trait Runnable: Send + Sync {
    /// Inputs, in the order [`Runnable::run`] takes them.
    fn inputs(&self) -> &[TensorSpec];

    /// Outputs, in the order [`Runnable::run`] gives them.
    fn outputs(&self) -> &[TensorSpec];

    /// Runs the model once. Outputs have the declared datatypes, whatever the engine computes in.
    ///
    /// # Errors
    /// The inputs do not fit, or an operator fails.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError>;

    /// Whether a run may wait for others, to be computed with them: each wants a thread that has nothing else to do.
    fn keeps_company(&self) -> bool {
        false
    }
}

/// What kind of thing went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineErrorKind {
    /// The file cannot be read.
    Read,
    /// The bytes are not an ONNX model.
    NotOnnx,
    /// The graph breaks a rule: a cycle, an undefined value, a limit.
    InvalidGraph,
    /// The engine does not have an operator, or not in this version or with these attributes.
    UnsupportedOperator,
    /// An input or output has a type the engine cannot pass.
    UnsupportedType,
    /// The caller's tensors do not fit the model.
    InvalidInput,
    /// An operator failed while running.
    OperatorFailed,
    /// The engine's library is missing, is no such library, or is of a version that cannot be used.
    Library,
    /// The engine's library has no such execution provider, or the provider does not start here.
    Provider,
    /// The engine panicked. The model is not to be trusted on this engine.
    Panicked,
}

/// A model that did not load or run.
#[derive(Debug)]
pub struct EngineError {
    engine: &'static str,
    kind: EngineErrorKind,
    node: Option<String>,
    operator: Option<String>,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EngineError {
    /// An error of `engine`; `message` says what went wrong and, where it can, what to do.
    pub fn new(engine: &'static str, kind: EngineErrorKind, message: impl Into<String>) -> Self {
        Self { engine, kind, node: None, operator: None, message: message.into(), source: None }
    }

    /// The same error at this node.
    #[must_use]
    pub fn at(mut self, node: Option<String>, operator: Option<String>) -> Self {
        (self.node, self.operator) = (node, operator);
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub const fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// Name of the node it went wrong at, where the engine tells.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Operator of that node.
    #[must_use]
    pub fn operator(&self) -> Option<&str> {
        self.operator.as_deref()
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.engine)?;
        match (&self.node, &self.operator) {
            (Some(node), Some(operator)) => write!(f, "node '{node}' ({operator}): ")?,
            (Some(node), None) => write!(f, "node '{node}': ")?,
            (None, Some(operator)) => write!(f, "operator {operator}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Name under which errors speak of `node`; its first output stands for a missing name.
fn node_name(node: &NodeProto) -> &str {
    if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name }
}

fn read_bounded(engine: &'static str, path: &Path) -> Result<Vec<u8>, EngineError> {
    let limit = MODEL_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    let refuse = |why: String| EngineError::new(engine, EngineErrorKind::Read, why);
    read.map_err(|error| refuse(format!("reading the model file {}", path.display())).caused_by(error))?;
    if bytes.len() > MODEL_BYTES_MAX {
        return Err(refuse(format!("{} is over the limit of {MODEL_BYTES_MAX} bytes", path.display())));
    }
    Ok(bytes)
}
