//! The embedded engine: `rten`, on the CPU.
//!
//! `rten` computes `INT64`, `BOOL` in 32-bit integers and `FP64` in `FP32`; values are converted on the way in and back
//! to the declared datatype on the way out. An `INT64` input outside 32 bits is refused rather than cut; `FP64` inputs
//! lose precision. Graphs deeper than 4,096 nodes in a row are refused because `rten` plans by recursion.
//!
//! Engines made by [`RtenEngine::new`] share nothing; models loaded by one engine with the same number of threads share
//! one pool, so that a shadow beside a model adds no threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rten::{
    LoadError, LoadErrorKind, Model, ModelOptions, NodeId, RunError, RunErrorKind, RunOptions, ThreadPool,
    Value, ValueOrView, ValueView,
};
use rten_tensor::{AsView as _, Layout as _};

use super::outline::{Limits, Outline, admit, contain};
use super::{Engine, EngineError, EngineErrorKind, LoadOptions, Runnable, THREADS_MAX};
use crate::signature::TensorSpec;
use crate::tensor::{DataType, Tensor, TensorData};

const NAME: &str = "rten";

/// Most nodes that may wait for one another in a row.
const DEPTH_MAX: usize = 4096;

const LIMITS: Limits = Limits { engine: NAME, depth_max: DEPTH_MAX, bytes: false };

/// The `rten` engine.
#[derive(Default)]
pub struct RtenEngine {
    pools: Mutex<BTreeMap<usize, Arc<ThreadPool>>>,
}

impl RtenEngine {
    /// An engine that has loaded nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn pool(&self, threads: Option<usize>) -> Option<Arc<ThreadPool>> {
        let threads = threads?.clamp(1, THREADS_MAX);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(
            pools.entry(threads).or_insert_with(|| Arc::new(ThreadPool::with_num_threads(threads))),
        ))
    }
}

impl Engine for RtenEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        let outline = Outline::read(onnx, LIMITS)?;
        let load = || ModelOptions::with_all_ops().load(onnx.to_vec());
        let model = contain(NAME, "loading the model", load)?.map_err(|cause| outline.load_error(&cause))?;
        let pool = self.pool(options.threads);
        Ok(Arc::new(RtenRunnable::new(model, outline, pool)?))
    }
}

fn error(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
    EngineError::new(NAME, kind, message)
}

impl Outline {
    fn load_error(&self, cause: &LoadError) -> EngineError {
        let kind = match cause.kind() {
            LoadErrorKind::OperatorInvalid => EngineErrorKind::UnsupportedOperator,
            LoadErrorKind::ParseError | LoadErrorKind::UnknownFileType => EngineErrorKind::NotOnnx,
            _ => EngineErrorKind::InvalidGraph,
        };
        let node = cause.node().map(str::to_owned);
        let operator = node.as_ref().and_then(|node| self.operators.get(node).cloned());
        let message = std::error::Error::source(cause).map_or_else(|| cause.to_string(), ToString::to_string);
        error(kind, message).at(node, operator)
    }

    fn run_error(&self, cause: &RunError) -> EngineError {
        let kind = match cause.kind() {
            RunErrorKind::InvalidInput => EngineErrorKind::InvalidInput,
            RunErrorKind::OperatorError => EngineErrorKind::OperatorFailed,
            _ => EngineErrorKind::InvalidGraph,
        };
        let node = cause.node_path().last().copied().flatten().map(str::to_owned);
        let operator = node.as_ref().and_then(|node| self.operators.get(node).cloned());
        error(kind, cause.to_string()).at(node, operator)
    }
}

struct RtenRunnable {
    model: Model,
    outline: Outline,
    input_ids: Vec<NodeId>,
    output_ids: Vec<NodeId>,
    options: RunOptions,
}

impl RtenRunnable {
    fn new(model: Model, outline: Outline, pool: Option<Arc<ThreadPool>>) -> Result<Self, EngineError> {
        let id = |spec: &TensorSpec| model.node_id(&spec.name).map_err(|cause| outline.run_error(&cause));
        let input_ids = outline.inputs.iter().map(id).collect::<Result<_, _>>()?;
        let output_ids = outline.outputs.iter().map(id).collect::<Result<_, _>>()?;
        let options = RunOptions::default().with_thread_pool(pool);
        Ok(Self { model, outline, input_ids, output_ids, options })
    }
}

impl Runnable for RtenRunnable {
    fn inputs(&self) -> &[TensorSpec] {
        &self.outline.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outline.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let specs = &self.outline.inputs;
        self.outline.count_inputs(NAME, inputs.len())?;
        let values = specs.iter().zip(inputs).map(|(spec, tensor)| to_value(spec, tensor));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let pairs = self.input_ids.iter().copied().zip(values).collect();
        let run = || self.model.run(pairs, &self.output_ids, Some(self.options.clone()));
        let outputs =
            contain(NAME, "running the model", run)?.map_err(|cause| self.outline.run_error(&cause))?;
        self.outline.outputs.iter().zip(outputs).map(|(spec, value)| from_value(spec, value)).collect()
    }
}

fn to_value<'a>(spec: &TensorSpec, tensor: &'a Tensor) -> Result<ValueOrView<'a>, EngineError> {
    let invalid = |why: String| error(EngineErrorKind::InvalidInput, format!("input '{}' {why}", spec.name));
    admit(NAME, spec, tensor)?;
    let shape = tensor.shape();
    macro_rules! view {
        ($values:expr) => {
            ValueView::from_shape(shape, $values.as_slice())
                .map(ValueOrView::View)
                .map_err(|cause| invalid(cause.to_string()))
        };
    }
    macro_rules! owned {
        ($values:expr) => {
            Value::from_shape(shape, $values)
                .map(ValueOrView::Value)
                .map_err(|cause| invalid(cause.to_string()))
        };
    }
    match tensor.data() {
        TensorData::F32(values) => view!(values),
        TensorData::I32(values) => view!(values),
        TensorData::U8(values) => view!(values),
        TensorData::I8(values) => view!(values),
        TensorData::F64(values) => owned!(values.iter().map(|&value| value as f32).collect::<Vec<_>>()),
        TensorData::Bool(values) => owned!(values.iter().map(|&value| i32::from(value)).collect::<Vec<_>>()),
        TensorData::I64(values) => owned!(narrow(values).map_err(invalid)?),
        TensorData::Bytes(_) => Err(invalid("is BYTES, which the engine cannot pass".to_owned())),
    }
}

fn narrow(values: &[i64]) -> Result<Vec<i32>, String> {
    let narrow = |&value| {
        i32::try_from(value).map_err(|_| format!("holds {value}; the engine computes INT64 in 32 bits"))
    };
    values.iter().map(narrow).collect()
}

fn from_value(spec: &TensorSpec, value: Value) -> Result<Tensor, EngineError> {
    let (shape, data) = match value {
        Value::FloatTensor(tensor) => (tensor.shape().to_vec(), TensorData::F32(tensor.to_vec())),
        Value::Int32Tensor(tensor) => (tensor.shape().to_vec(), TensorData::I32(tensor.to_vec())),
        Value::Int8Tensor(tensor) => (tensor.shape().to_vec(), TensorData::I8(tensor.to_vec())),
        Value::UInt8Tensor(tensor) => (tensor.shape().to_vec(), TensorData::U8(tensor.to_vec())),
        _ => return Err(output_error(spec, "is not a tensor")),
    };
    let data = declared(spec, data)?;
    Tensor::new(shape, data).map_err(|cause| output_error(spec, &cause.to_string()))
}

/// The engine's values in the declared datatype.
fn declared(spec: &TensorSpec, data: TensorData) -> Result<TensorData, EngineError> {
    Ok(match (spec.datatype, data) {
        (DataType::Fp64, TensorData::F32(values)) => {
            TensorData::F64(values.into_iter().map(f64::from).collect())
        }
        (DataType::Int64, TensorData::I32(values)) => {
            TensorData::I64(values.into_iter().map(i64::from).collect())
        }
        (DataType::Bool, TensorData::I32(values)) => {
            TensorData::Bool(values.into_iter().map(|value| value != 0).collect())
        }
        (declared, data) if declared == data.datatype() => data,
        (declared, data) => {
            return Err(output_error(
                spec,
                &format!("is declared {declared} but computed as {}", data.datatype()),
            ));
        }
    })
}

fn output_error(spec: &TensorSpec, why: &str) -> EngineError {
    error(EngineErrorKind::OperatorFailed, format!("output '{}' {why}", spec.name))
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[test]
    fn conforms() {
        conformance::assert_conforms(&RtenEngine::new());
    }

    #[test]
    fn pools_are_shared_by_thread_count() {
        let engine = RtenEngine::new();
        let (one, again) = (engine.pool(Some(1)).unwrap(), engine.pool(Some(1)).unwrap());
        assert!(Arc::ptr_eq(&one, &again));
        assert!(engine.pool(None).is_none());
    }
}
