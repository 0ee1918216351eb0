//! A session: a loaded model with its signature, ready to answer.
//!
//! [`Session::load`] takes a bundle, [`Session::from_onnx`] a bare model file whose signature is guessed
//! ([`derive_signature`] says how). A session is immutable and shared by any number of threads; a newer model is another
//! session.
//!
//! Deliberately missing: deciding that a model may serve. Run [`Session::check_golden`] before.

mod derive;

use std::sync::Arc;

use edgeward_core::Digest;
use edgeward_core::manifest::Variant;

pub use derive::{METADATA_CLASSES, METADATA_EMBEDDING, METADATA_FEATURE_NAMES};
pub use derive::{derive_signature, derive_with};

use crate::bundle::{Bundle, BundleError};
use crate::engine::{Engine, EngineError, LoadOptions, Runnable, capabilities};
use crate::golden::{Golden, GoldenError, GoldenReport};
use crate::onnx::{self, OnnxError, ValueInfoError};
use crate::signature::{InputError, InterpretError, Interpretation, Signature, SignatureError, TensorSpec};
use crate::tensor::{NamedTensor, Tensor};

/// Why there is no session, or no answer from one.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The bundle cannot be read.
    #[error("opening the model's bundle")]
    Bundle(#[from] BundleError),
    /// The bundle has nothing for the engine.
    #[error("the bundle has no variant for the engine '{engine}' on disk; it has: {available}")]
    NoVariant {
        /// The engine.
        engine: &'static str,
        /// What the bundle has.
        available: String,
    },
    /// The bare file is not an ONNX model.
    #[error("reading the model file")]
    Onnx(#[from] OnnxError),
    /// The bare file's inputs or outputs are not tensors.
    #[error("reading the model's inputs and outputs")]
    ValueInfo(#[from] ValueInfoError),
    /// The signature is refused.
    #[error("reading the model's signature")]
    Signature(#[from] SignatureError),
    /// The signature is not that of the model.
    #[error("the signature says {expected} but the model has {found}; the bundle was put together wrongly")]
    Mismatch {
        /// Tensor of the signature.
        expected: String,
        /// Tensors of the model.
        found: String,
    },
    /// The caller's input does not fit.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The outputs do not fit the signature.
    #[error(transparent)]
    Interpret(#[from] InterpretError),
}

impl SessionError {
    /// Whether the caller's input is to blame rather than the model.
    #[must_use]
    pub fn is_input(&self) -> bool {
        use crate::engine::EngineErrorKind::InvalidInput;
        match self {
            Self::Input(_) => true,
            Self::Engine(error) => error.kind() == InvalidInput,
            _ => false,
        }
    }
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// Every output, in the model's order.
    pub tensors: Vec<NamedTensor>,
    /// What they mean, one per row; none if the signature does not say.
    pub rows: Vec<Interpretation>,
}

impl Outputs {
    /// The output of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|output| output.name == name).map(|output| &output.tensor)
    }
}

/// A loaded model with its signature.
#[derive(Clone)]
pub struct Session {
    runnable: Arc<dyn Runnable>,
    signature: Arc<Signature>,
    model: Digest,
    variant: Variant,
}

impl Session {
    /// Loads the variant of `bundle` that is for `engine`, the maker's first choice of several.
    ///
    /// # Errors
    /// No such variant, a file that is damaged, a model that does not load, or a signature of another model.
    pub fn load(bundle: &Bundle, engine: &dyn Engine, options: &LoadOptions) -> Result<Self, SessionError> {
        let variant =
            bundle.variant_for(&capabilities(&[engine])).ok_or_else(|| no_variant(bundle, engine.name()))?;
        Self::load_variant(bundle, variant, engine, options)
    }

    /// Loads this variant of `bundle`.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn load_variant(
        bundle: &Bundle,
        variant: &Variant,
        engine: &dyn Engine,
        options: &LoadOptions,
    ) -> Result<Self, SessionError> {
        let runnable = engine.load(&bundle.read(variant.path.as_str())?, options)?;
        Self::new(runnable, bundle.signature()?, bundle.digest(), variant.clone())
    }

    /// Loads a bare model file. Its digest is that of the bytes, its signature the one [`derive_signature`] guesses.
    ///
    /// # Errors
    /// Not ONNX, inputs or outputs that are not tensors, or a model that does not load.
    pub fn from_onnx(bytes: &[u8], engine: &dyn Engine, options: &LoadOptions) -> Result<Self, SessionError> {
        let signature = derive_signature(&onnx::decode(bytes)?)?;
        let runnable = engine.load(bytes, options)?;
        let path = edgeward_core::manifest::BundlePath::new(crate::bundle::path::MODEL);
        let path = path.map_err(BundleError::Manifest)?;
        let variant = Variant::new(engine.name(), "f32", path);
        Self::new(runnable, signature, Digest::of(bytes), variant)
    }

    /// A session of parts that are loaded already.
    ///
    /// # Errors
    /// The signature breaks its rules or is not that of `runnable`.
    pub fn new(
        runnable: Arc<dyn Runnable>,
        signature: Signature,
        model: Digest,
        variant: Variant,
    ) -> Result<Self, SessionError> {
        signature.validate()?;
        must_agree(&signature.inputs, runnable.inputs())?;
        must_agree(&signature.outputs, runnable.outputs())?;
        Ok(Self { runnable, signature: Arc::new(signature), model, variant })
    }

    /// What the tensors are called and mean.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The bundle's digest, or the file's for a bare model.
    #[must_use]
    pub const fn model(&self) -> Digest {
        self.model
    }

    /// The form of the model that runs, and the engine it runs on.
    #[must_use]
    pub const fn variant(&self) -> &Variant {
        &self.variant
    }

    /// The loaded model itself.
    #[must_use]
    pub fn runnable(&self) -> &dyn Runnable {
        &*self.runnable
    }

    /// Runs the golden test.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_golden(&self, golden: &Golden) -> Result<GoldenReport, GoldenError> {
        golden.check(&*self.runnable)
    }

    /// Checks a caller's tensors, runs the model and says what the outputs mean.
    ///
    /// # Errors
    /// The input does not fit, the engine fails, or the outputs do not fit the signature.
    pub fn infer(&self, inputs: Vec<NamedTensor>) -> Result<Outputs, SessionError> {
        self.run(&self.signature.check_inputs(inputs)?)
    }

    /// As [`Session::infer`], for tensors in the order of the inputs.
    ///
    /// # Errors
    /// As [`Session::infer`].
    pub fn infer_ordered(&self, inputs: &[Tensor]) -> Result<Outputs, SessionError> {
        self.signature.check_ordered(inputs)?;
        self.run(inputs)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Outputs, SessionError> {
        let found = self.runnable.run(inputs)?;
        let named = |(spec, tensor): (&TensorSpec, Tensor)| NamedTensor::new(&spec.name, tensor);
        let tensors: Vec<NamedTensor> = self.signature.outputs.iter().zip(found).map(named).collect();
        let rows = self.signature.interpret(&tensors)?;
        Ok(Outputs { tensors, rows })
    }
}

fn no_variant(bundle: &Bundle, engine: &'static str) -> SessionError {
    let names: Vec<String> = bundle.manifest().variants.iter().map(Variant::label).collect();
    SessionError::NoVariant { engine, available: names.join(", ") }
}

/// The tensors must stand in the same order with the same names and datatypes. Shapes may differ: a signature may
/// know more than the graph declares.
fn must_agree(expected: &[TensorSpec], found: &[TensorSpec]) -> Result<(), SessionError> {
    let same = |(a, b): (&TensorSpec, &TensorSpec)| a.name == b.name && a.datatype == b.datatype;
    if expected.len() == found.len() && expected.iter().zip(found).all(same) {
        return Ok(());
    }
    let text = |specs: &[TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(SessionError::Mismatch { expected: text(expected), found: text(found) })
}

#[cfg(test)]
mod tests;
