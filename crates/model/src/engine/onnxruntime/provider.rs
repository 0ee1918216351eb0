//! Execution providers: which hardware a session computes on.

use ort::Error as OrtError;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};

use super::error;
use crate::engine::{EngineError, EngineErrorKind};

/// A provider by the name people write, how to ask the library for it, and how to use it.
struct Entry {
    name: &'static str,
    is_available: fn() -> ort::Result<bool>,
    dispatch: fn() -> ExecutionProviderDispatch,
}

macro_rules! entry {
    ($name:literal, $provider:ty) => {
        Entry {
            name: $name,
            is_available: <$provider>::is_available,
            dispatch: || <$provider>::default().build().error_on_failure(),
        }
    };
}

/// Every provider but the CPU, which is always there.
const ENTRIES: &[Entry] = &[
    entry!("cann", ep::CANN),
    entry!("coreml", ep::CoreML),
    entry!("cuda", ep::CUDA),
    entry!("directml", ep::DirectML),
    entry!("migraphx", ep::MIGraphX),
    entry!("nnapi", ep::NNAPI),
    entry!("openvino", ep::OpenVINO),
    entry!("qnn", ep::QNN),
    entry!("rocm", ep::ROCm),
    entry!("tensorrt", ep::TensorRT),
    entry!("webgpu", ep::WebGPU),
    entry!("xnnpack", ep::XNNPACK),
];

/// One provider that the library has.
pub(super) struct Provider(Option<&'static Entry>);

impl Provider {
    /// The provider of this name. The library must be open.
    pub(super) fn find(name: &str) -> Result<Self, EngineError> {
        if name == "cpu" {
            return Ok(Self(None));
        }
        let has = |entry: &&Entry| (entry.is_available)().unwrap_or(false);
        let available: Vec<&str> =
            std::iter::once("cpu").chain(ENTRIES.iter().filter(has).map(|entry| entry.name)).collect();
        let entry = ENTRIES.iter().find(|entry| entry.name == name).filter(has);
        entry.map(|entry| Self(Some(entry))).ok_or_else(|| {
            let available = available.join(", ");
            error(
                EngineErrorKind::Provider,
                format!("this library has no execution provider '{name}'; it has: {available}"),
            )
        })
    }

    pub(super) const fn name(&self) -> &'static str {
        match self.0 {
            Some(entry) => entry.name,
            None => "cpu",
        }
    }

    pub(super) fn dispatch(&self) -> Option<ExecutionProviderDispatch> {
        self.0.map(|entry| (entry.dispatch)())
    }

    pub(super) fn refusal(&self, cause: &OrtError) -> EngineError {
        let why = format!("the execution provider '{}' does not start: {}", self.name(), cause.message());
        error(EngineErrorKind::Provider, why)
    }
}
