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
//! their threads; what works in the background has others ([`work_in_background`](super::work_in_background)).

mod plan;
mod pools;
mod prepared;
mod segment;
mod settle;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::plan::{Plan, Step, Work};
use self::pools::Pools;
use self::values::declared;
use super::outline::{self, Limits, Outline};
use super::{Engine, EngineError, EngineErrorKind, LoadOptions, Prepared, Runnable, THREADS_MAX, native};
use crate::onnx;
use crate::signature::TensorSpec;
use crate::tensor::Tensor;

const NAME: &str = "rten";

/// Version of the library; a test holds it to the lock file.
const VERSION: &str = "0.27.0";

/// `BYTES` pass through the kernels of this crate.
const LIMITS: Limits = Limits { engine: NAME, depth_max: 4096, bytes: true, external: false };

/// The `rten` engine.
#[derive(Default)]
pub struct RtenEngine {
    pools: Mutex<BTreeMap<usize, Arc<Pools>>>,
}

impl RtenEngine {
    /// An engine that has loaded nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn pools(&self, threads: Option<usize>) -> Option<Arc<Pools>> {
        let threads = threads?.clamp(1, THREADS_MAX);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(pools.entry(threads).or_insert_with(|| Arc::new(Pools::new(threads)))))
    }
}

impl Engine for RtenEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Option<String> {
        Some(VERSION.to_owned())
    }

    fn load(&self, bytes: &[u8], options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        let (mut model, outline) = Outline::read_model(bytes, LIMITS)?;
        let settled = settle::settle(&mut model)?.then(|| onnx::encode(&model));
        let bytes = settled.as_deref().unwrap_or(bytes);
        let pools = self.pools(options.threads);
        let specs = (&outline.inputs[..], &outline.outputs[..]);
        let plan = Plan::new(&model, bytes, specs, &outline.operators, pools.as_ref())?;
        let Outline { inputs, outputs, .. } = outline;
        Ok(Arc::new(RtenRunnable { inputs, outputs, plan }))
    }

    fn prepare(&self, onnx: &[u8]) -> Result<Option<Vec<Prepared>>, EngineError> {
        let (mut model, _) = Outline::read_model(onnx, LIMITS)?;
        if model.graph.iter().flat_map(|graph| &graph.node).any(native::is_native) {
            return Ok(None);
        }
        settle::settle(&mut model)?;
        Ok(Some(prepared::prepare(model)))
    }

    fn load_prepared(&self, folder: &Path, options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
        let (graph, weights) = prepared::read(folder)?;
        let (model, outline) = Outline::read_model(&graph, Limits { external: true, ..LIMITS })?;
        prepared::check(&model, &weights)?;
        let pools = self.pools(options.threads);
        let data = Some((prepared::WEIGHTS, weights));
        let specs = (&outline.inputs[..], &outline.outputs[..]);
        let plan = Plan::plain(graph, data, specs, &outline.operators, pools.as_ref())?;
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
    fn the_version_is_that_of_the_lock_file() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"rten\"\nversion = \"{VERSION}\"")));
    }

    #[test]
    fn a_prepared_form_answers_the_same_and_torn_ones_are_refused() {
        use super::super::conformance::fixture;
        let engine = RtenEngine::new();
        let options = LoadOptions::with_threads(1);
        let onnx = onnx::encode(&fixture::wide());
        let files = engine.prepare(&onnx).unwrap().unwrap();
        assert_eq!(files, engine.prepare(&onnx).unwrap().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &Prepared| std::fs::write(folder.path().join(file.name), &file.bytes).unwrap();
        files.iter().for_each(write);
        assert!(files[0].bytes.len() < 2048 && files[1].bytes.len() > 10_000, "the weights stand apart");
        let loaded = engine.load_prepared(folder.path(), &options).unwrap();
        let input = [Tensor::from_rows(2, fixture::WIDTH, fixture::noise(2 * fixture::WIDTH, 9)).unwrap()];
        let expected = engine.load(&onnx, &options).unwrap().run(&input).unwrap();
        assert_eq!(loaded.run(&input).unwrap(), expected);
        let torn = Prepared { name: files[1].name, bytes: files[1].bytes[..5000].to_vec() };
        write(&torn);
        let error = engine.load_prepared(folder.path(), &options).err().unwrap();
        assert!(error.to_string().contains("prepare the model again"), "{error}");
        assert!(engine.load(&files[0].bytes, &options).is_err(), "a signed model has its weights inside");
        std::fs::remove_file(folder.path().join(files[0].name)).unwrap();
        assert!(engine.load_prepared(folder.path(), &options).is_err());
    }

    #[test]
    fn pools_are_shared_by_thread_count() {
        let engine = RtenEngine::new();
        let (one, again) = (engine.pools(Some(1)).unwrap(), engine.pools(Some(1)).unwrap());
        assert!(Arc::ptr_eq(&one, &again));
        assert!(engine.pools(None).is_none());
    }
}
