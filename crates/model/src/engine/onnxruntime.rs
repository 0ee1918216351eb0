//! ONNX Runtime, from a shared library that the user has: fast where the embedded engine is everywhere.
//!
//! A process has one ONNX Runtime. The first library opened stays; asking for another is an error. Opening runs the
//! library's code, so its path must come from whoever runs the process, never from a bundle or the network.
//!
//! `ort` holds that a session must not run twice at once, so calls of one [`Runnable`] wait for one another. Load a
//! model twice to run it twice at the same time.
//!
//! Deliberately missing: finding the library (the command line does), and providers that are plug-in libraries of their
//! own. Memory of a dropped model is free for the next, but the allocator returns it to the system when it likes.

mod library;
mod ort_format;
mod provider;
mod tensor;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::{Error as OrtError, ErrorCode};

use self::library::Library;
use self::provider::Provider;
use super::outline::{Limits, Outline, contain, count_inputs, is_ort};
use super::{
    Engine, EngineError, EngineErrorKind, LoadOptions, Prepared, Runnable, THREADS_MAX, read_bounded,
};
use crate::signature::TensorSpec;
use crate::tensor::Tensor;

use edgeward_core::variant::Format;
pub use library::VERSION_MIN;

const NAME: &str = "onnxruntime";

/// Most nodes that may wait for one another in a row; deeper graphs take the library minutes or its whole stack.
const DEPTH_MAX: usize = 8192;

const LIMITS: Limits = Limits { engine: NAME, depth_max: DEPTH_MAX, bytes: true, external: false };

/// Without this setting (level 1: FP32) products of float activations and int8 weights round the activations to 8 bits
/// too, and nobody is told.
const PRECISE: (&str, &str) = ("session.qdq_matmulnbits_accuracy_level", "1");

/// The setting that writes the optimised model in the library's own format.
const SAVE_AS_ORT: (&str, &str) = ("session.save_model_format", "ORT");

/// The file of a prepared form.
const PREPARED: &str = "model.ort";

/// What ONNX Runtime says of an operator that it does not have, or not for these types or in this version.
const UNSUPPORTED: &[&str] = &[
    "is not a registered function/op",
    "No Op registered for",
    "No opset import for domain",
    "Could not find an implementation",
    "is under development",
];

/// The ONNX Runtime engine on one execution provider.
pub struct OnnxRuntimeEngine {
    library: Library,
    provider: Provider,
}

impl OnnxRuntimeEngine {
    /// The engine of the shared library at `library`, on the CPU.
    ///
    /// # Errors
    /// [`EngineErrorKind::Library`]: no such file, not a whole library, not ONNX Runtime, older than [`VERSION_MIN`], or
    /// another library was opened before.
    pub fn open(library: &Path) -> Result<Self, EngineError> {
        Self::open_with(library, "cpu")
    }

    /// As [`OnnxRuntimeEngine::open`], on the execution provider of this name: `cpu`, `cuda`, `tensorrt`, `xnnpack`,
    /// `qnn`, `openvino`, `coreml`, ... What a provider cannot compute runs on the CPU.
    ///
    /// # Errors
    /// As [`OnnxRuntimeEngine::open`], and [`EngineErrorKind::Provider`]: the library was built without this provider.
    pub fn open_with(library: &Path, provider: &str) -> Result<Self, EngineError> {
        let library = Library::open(library)?;
        let provider = Provider::find(provider)?;
        Ok(Self { library, provider })
    }

    /// What the library says of how it was built, its version included.
    #[must_use]
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }

    /// A session of the model in `onnx`; its optimised form is written to `optimised`.
    fn session_from(
        &self,
        onnx: &[u8],
        options: &LoadOptions,
        optimised: Option<&Path>,
    ) -> Result<Session, SessionError> {
        let builder = Session::builder(self.library.environment())?;
        // Errors come back as such; a library does not write to the terminal.
        let mut builder = builder.with_log_level(LogLevel::Fatal)?;
        builder = builder.with_config_entry(PRECISE.0, PRECISE.1)?;
        if let Some(threads) = options.threads {
            builder = builder.with_intra_threads(threads.clamp(1, THREADS_MAX))?;
        }
        if let Some(path) = optimised {
            builder = builder.with_optimized_model_path(path)?;
            builder = builder.with_config_entry(SAVE_AS_ORT.0, SAVE_AS_ORT.1)?;
        }
        if let Some(dispatch) = self.provider.dispatch() {
            builder = builder
                .with_execution_providers([dispatch])
                .map_err(|error| SessionError::Provider(error.into()))?;
        }
        Ok(builder.commit_from_memory(onnx)?)
    }
}

/// Which step of making a session failed.
enum SessionError {
    Provider(OrtError),
    Load(OrtError),
}

impl<R> From<OrtError<R>> for SessionError
where
    OrtError: From<OrtError<R>>,
{
    fn from(error: OrtError<R>) -> Self {
        Self::Load(error.into())
    }
}

impl Engine for OnnxRuntimeEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn provider(&self) -> &str {
        self.provider.name()
    }

    fn version(&self) -> Option<String> {
        self.library.version().or_else(|| built_from(self.build_info()).map(str::to_owned))
    }

    fn formats(&self) -> &'static [&'static str] {
        &[Format::ONNX, Format::ORT, Format::QNN_CONTEXT]
    }

    fn takes_as_exported(&self) -> bool {
        true
    }

    fn prepare(&self, onnx: &[u8]) -> Result<Option<Vec<Prepared>>, EngineError> {
        if is_ort(onnx) {
            return Ok(None);
        }
        let outline = Outline::read(onnx, LIMITS)?;
        let reading = |cause| error(EngineErrorKind::Read, "writing the optimised model").caused_by(cause);
        let folder = tempfile::tempdir().map_err(reading)?;
        let path = folder.path().join(PREPARED);
        let work = || self.session_from(onnx, &LoadOptions::default(), Some(&path)).map(drop);
        contain(NAME, "preparing the model", work)?.map_err(|cause| self.explain(&outline, cause))?;
        let bytes = std::fs::read(&path).map_err(reading)?;
        Ok(Some(vec![Prepared { name: PREPARED, bytes }]))
    }

    fn load_prepared(&self, folder: &Path, options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        self.load(&read_bounded(NAME, &folder.join(PREPARED))?, options)
    }

    fn load(&self, bytes: &[u8], options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        let (session, outline) = match is_ort(bytes) {
            true => self.load_ort(bytes, options)?,
            false => self.load_onnx(bytes, options)?,
        };
        Ok(Arc::new(OnnxRuntimeRunnable { session: Mutex::new(session), outline }))
    }
}

impl OnnxRuntimeEngine {
    fn load_ort(&self, bytes: &[u8], options: &LoadOptions) -> Result<(Session, Outline), EngineError> {
        ort_format::admit(bytes)?;
        let session = self.load_session(bytes, options, &ort_format::unread())?;
        let outline = ort_format::outline(&session)?;
        Ok((session, outline))
    }

    fn load_session(
        &self,
        bytes: &[u8],
        options: &LoadOptions,
        outline: &Outline,
    ) -> Result<Session, EngineError> {
        let session = contain(NAME, "loading the model", || self.session_from(bytes, options, None))?;
        session.map_err(|cause| self.explain(outline, cause))
    }

    fn explain(&self, outline: &Outline, cause: SessionError) -> EngineError {
        match cause {
            SessionError::Provider(cause) => self.provider.refusal(&cause),
            SessionError::Load(cause) => outline.ort_error(&cause, EngineErrorKind::InvalidGraph),
        }
    }

    fn load_onnx(&self, onnx: &[u8], options: &LoadOptions) -> Result<(Session, Outline), EngineError> {
        let outline = Outline::read(onnx, LIMITS)?;
        let session = self.load_session(onnx, options, &outline)?;
        let names = |outlets: &[ort::value::Outlet]| {
            outlets.iter().map(|outlet| outlet.name().to_owned()).collect::<Vec<_>>()
        };
        let specs = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>();
        if names(session.inputs()) != specs(&outline.inputs)
            || names(session.outputs()) != specs(&outline.outputs)
        {
            let why = "the library sees other inputs or outputs than the model declares";
            return Err(error(EngineErrorKind::InvalidGraph, why));
        }
        Ok((session, outline))
    }
}

/// The version of the branch inside a text such as `ORT Build Info: git-branch=rel-1.32.0, ...`.
fn built_from(info: &str) -> Option<&str> {
    let (_, rest) = info.split_once("git-branch=rel-")?;
    rest.split(',').next().filter(|version| !version.is_empty())
}

fn error(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
    EngineError::new(NAME, kind, message)
}

impl Outline {
    /// `cause` with its kind, and the node and operator it names; `other` if it does not say what kind it is.
    fn ort_error(&self, cause: &OrtError, other: EngineErrorKind) -> EngineError {
        let message = cause.message();
        let unsupported = cause.code() == ErrorCode::NotImplemented
            || UNSUPPORTED.iter().any(|text| message.contains(text));
        let kind = match cause.code() {
            _ if unsupported => EngineErrorKind::UnsupportedOperator,
            ErrorCode::InvalidProtobuf => EngineErrorKind::NotOnnx,
            ErrorCode::InvalidArgument if other == EngineErrorKind::OperatorFailed => {
                EngineErrorKind::InvalidInput
            }
            _ => other,
        };
        let node = ["Name:'", "In Node, (\"", "node (", "Node ("]
            .iter()
            .find_map(|before| message.split_once(before))
            .and_then(|(_, after)| after.split(['\'', '"', ')']).next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let operator = node.as_ref().and_then(|node| self.operators.get(node).cloned());
        error(kind, message).at(node, operator)
    }
}

struct OnnxRuntimeRunnable {
    session: Mutex<Session>,
    outline: Outline,
}

impl Runnable for OnnxRuntimeRunnable {
    fn inputs(&self) -> &[TensorSpec] {
        &self.outline.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outline.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        count_inputs(NAME, &self.outline.inputs, inputs)?;
        contain(NAME, "running the model", || self.run_session(inputs))?
    }
}

impl OnnxRuntimeRunnable {
    fn run_session(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let values =
            self.outline.inputs.iter().zip(inputs).map(|(spec, tensor)| tensor::to_value(spec, tensor));
        let values: Vec<SessionInputValue<'_>> = values.collect::<Result<_, _>>()?;
        // A session keeps nothing between calls, so one that a panic interrupted can go on.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session
            .run(&values[..])
            .map_err(|cause| self.outline.ort_error(&cause, EngineErrorKind::OperatorFailed))?;
        self.outline
            .outputs
            .iter()
            .zip(outputs.values())
            .map(|(spec, value)| tensor::from_value(spec, &value))
            .collect()
    }
}

#[cfg(test)]
mod tests;
