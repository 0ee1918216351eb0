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
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rten::ThreadPool;

use self::plan::{Plan, Step, Work};
use self::values::declared;
use super::outline::{self, Limits, Outline};
use super::{Engine, EngineError, EngineErrorKind, LoadOptions, Runnable, THREADS_MAX};
use crate::onnx;
use crate::signature::TensorSpec;
use crate::tensor::Tensor;

const NAME: &str = "rten";

/// `BYTES` pass through the kernels of this crate.
const LIMITS: Limits = Limits { engine: NAME, depth_max: 4096, bytes: true };

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
        let (mut model, outline) = Outline::read_model(bytes, LIMITS)?;
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
    outline::contain(NAME, &format!("{what} the model"), work)
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
        outline::count_inputs(NAME, &self.inputs, inputs)?;
        self.inputs.iter().zip(inputs).try_for_each(|(spec, tensor)| outline::admit(NAME, spec, tensor))?;
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
