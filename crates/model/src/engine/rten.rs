//! The embedded engine: `rten`, on the CPU.
//!
//! `rten` computes `INT64`, `BOOL` in 32-bit integers and `FP64` in `FP32`; values are converted on the way in and back
//! to the declared datatype on the way out. An `INT64` input outside 32 bits is refused rather than cut; `FP64` inputs
//! lose precision. Graphs deeper than 4,096 nodes in a row are refused because `rten` plans by recursion.
//!
//! Trees and tables of texts (`ai.onnx.ml`) are computed by kernels of this crate: a graph that has any is split into
//! steps ([`plan`]), and values go from one to the next. `BYTES` pass through those kernels only.
//!
//! Engines made by [`RtenEngine::new`] share nothing; models loaded by one engine with the same number of threads share
//! one pool, so that a shadow beside a model adds no threads.

mod plan;
mod segment;
mod ties;
mod values;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rten::ThreadPool;

use self::plan::{Plan, Step, Work};
use self::segment::Operators;
use self::values::{admit, declared};
use super::{Engine, EngineError, EngineErrorKind, LoadOptions, Runnable, THREADS_MAX, node_name};
use crate::onnx::{self, ModelProto, ValueInfoProto};
use crate::signature::TensorSpec;
use crate::tensor::Tensor;

const NAME: &str = "rten";

/// Most nodes that may wait for one another in a row.
const DEPTH_MAX: usize = 4096;

/// The first bytes of `rten`'s own file format, which is refused here: only ONNX is signed.
const RTEN_MAGIC: &[u8] = b"RTEN";

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

    fn load(&self, bytes: &[u8], options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        let (mut model, outline) = Outline::read(bytes)?;
        let settled = ties::settle(&mut model).then(|| onnx::encode(&model));
        let bytes = settled.as_deref().unwrap_or(bytes);
        let pool = self.pool(options.threads);
        let specs = (&outline.inputs[..], &outline.outputs[..]);
        let plan = Plan::new(&model, bytes, specs, &outline.operators, pool.as_ref())?;
        let Outline { inputs, outputs, .. } = outline;
        Ok(Arc::new(RtenRunnable { inputs, outputs, plan }))
    }
}

fn error(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
    EngineError::new(NAME, kind, message)
}

/// Runs `work`; a panic becomes an error.
fn contain<T>(what: &str, work: impl FnOnce() -> T) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        error(EngineErrorKind::Panicked, format!("the engine panicked while {what} the model: {text}"))
    })
}

/// What is kept of the ONNX file beside the engine's own form.
struct Outline {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    operators: Operators,
}

impl Outline {
    fn read(bytes: &[u8]) -> Result<(ModelProto, Self), EngineError> {
        let not_onnx = |why: &str| error(EngineErrorKind::NotOnnx, why);
        if bytes.starts_with(RTEN_MAGIC) {
            return Err(not_onnx(
                "the bytes are an .rten file, not an ONNX model; load the ONNX model it was made from",
            ));
        }
        let model = onnx::decode(bytes).map_err(|cause| not_onnx(&cause.to_string()).caused_by(cause))?;
        let invalid = |why: String| error(EngineErrorKind::InvalidGraph, why);
        onnx::graph::check(&model).map_err(|cause| invalid(cause.to_string()))?;
        let outline = Self::of(&model)?;
        Ok((model, outline))
    }

    fn of(model: &ModelProto) -> Result<Self, Refusal> {
        let graph =
            model.graph.as_ref().ok_or_else(|| Refusal::Graph("the model has no graph".to_owned()))?;
        let depth = onnx::graph::depth(graph);
        if depth > DEPTH_MAX {
            return Err(Refusal::Graph(format!("{depth} nodes in a row are more than {DEPTH_MAX}")));
        }
        if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.is_external()) {
            let name = &tensor.name;
            let why = format!(
                "constant '{name}' is stored in another file; save the model with its weights inside"
            );
            return Err(Refusal::Graph(why));
        }
        let operators: HashMap<String, String> =
            graph.node.iter().map(|node| (node_name(node).to_owned(), node.op_type.clone())).collect();
        let inputs = onnx::inputs(graph).map(input_spec).collect::<Result<_, _>>()?;
        let outputs = graph.output.iter().map(output_spec).collect::<Result<_, _>>()?;
        Ok(Self { inputs, outputs, operators: Arc::new(operators) })
    }
}

enum Refusal {
    Graph(String),
    Type(String),
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Graph(why) => error(EngineErrorKind::InvalidGraph, why),
            Refusal::Type(why) => error(EngineErrorKind::UnsupportedType, why),
        }
    }
}

fn input_spec(value: &ValueInfoProto) -> Result<TensorSpec, Refusal> {
    let (datatype, shape) = value.declared().map_err(|cause| Refusal::Type(cause.to_string()))?;
    let name = &value.name;
    let shape = shape.ok_or_else(|| {
        Refusal::Type(format!(
            "input '{name}' declares no shape; export the model with the rank of its inputs"
        ))
    })?;
    Ok(TensorSpec::new(name, datatype, shape))
}

fn output_spec(value: &ValueInfoProto) -> Result<TensorSpec, Refusal> {
    value.spec().map_err(|cause| Refusal::Type(cause.to_string()))
}

struct RtenRunnable {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    plan: Plan,
}

impl Runnable for RtenRunnable {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        if inputs.len() != self.inputs.len() {
            let why = format!("the model takes {} inputs but {} were given", self.inputs.len(), inputs.len());
            return Err(error(EngineErrorKind::InvalidInput, why));
        }
        self.inputs.iter().zip(inputs).try_for_each(|(spec, tensor)| admit(spec, tensor))?;
        let mut values: Vec<Option<Cow<'_, Tensor>>> = inputs.iter().map(Cow::Borrowed).map(Some).collect();
        values.resize(self.plan.places, None);
        for (place, tensor) in &self.plan.constants {
            values[*place] = Some(Cow::Borrowed(tensor));
        }
        for step in &self.plan.steps {
            let made = run_step(step, &values)?;
            for (&place, tensor) in step.outputs.iter().zip(made) {
                values[place] = Some(Cow::Owned(tensor));
            }
        }
        let output = |(spec, &place): (&TensorSpec, &usize)| {
            let missing =
                || error(EngineErrorKind::InvalidGraph, format!("'{}' is an output twice", spec.name));
            declared(spec, values[place].take().ok_or_else(missing)?.into_owned())
        };
        self.outputs.iter().zip(&self.plan.outputs).map(output).collect()
    }
}

fn run_step(step: &Step, values: &[Option<Cow<'_, Tensor>>]) -> Result<Vec<Tensor>, EngineError> {
    let input = |(name, place): &'_ (String, usize)| {
        let missing = || error(EngineErrorKind::InvalidGraph, format!("'{name}' was not computed"));
        values[*place].as_deref().ok_or_else(missing)
    };
    let tensors = step.inputs.iter().map(input).collect::<Result<Vec<&Tensor>, _>>()?;
    match &step.work {
        Work::Native(node) => contain("running", || node.run(&tensors))?,
        Work::Plain(segment) => {
            let names = step.inputs.iter().map(|(name, _)| name.as_str());
            segment.run(&names.zip(tensors).collect::<Vec<_>>())
        }
    }
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
