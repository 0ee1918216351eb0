//! From one model to the variants a plan asks for, each held to its bounds on its own engine.

use std::sync::Arc;

use edgeward_core::Digest;
use edgeward_model::onnx::{self, GraphError, ModelProto};
use edgeward_model::{Engine, EngineError, LoadOptions, Runnable, Signature, Tensor};
use serde::{Deserialize, Serialize};

use crate::import::{ImportError, Imported, import};
use crate::optimise::{OptimiseReport, optimise};
use crate::parity::{self, Bounds, Parity, Verdict};
use crate::quantise::{self, Half, Int8Options, Judgement, QuantiseError, QuantiseReport};

/// The numeric type of a variant's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// As trained.
    F32,
    /// int8 weights, float activations.
    W8,
    /// float16 weights, float activations.
    F16,
    /// bfloat16 weights, float activations.
    Bf16,
    /// int8 weights and activations, calibrated on the sample rows.
    Int8,
    /// int8 weights, activations turned into int8 call by call: for models of matrix products.
    Int8Dynamic,
}

impl Dtype {
    /// All, in the order of their size as stored.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Bf16, Self::W8, Self::Int8, Self::Int8Dynamic];

    /// The name manifests use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::W8 => "w8",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int8Dynamic => "int8_dynamic",
        }
    }
}

/// One form of the model that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// Name of the engine that will run it.
    pub engine: String,
    /// Type of its weights.
    pub dtype: Dtype,
}

/// What is wanted of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvertPlan {
    /// The forms, in order of preference.
    pub variants: Vec<VariantSpec>,
    /// How far a form with quantised weights may be from the original. Float forms are held to [`Bounds::exact`].
    #[serde(default)]
    pub bounds: Bounds,
    /// How forms with int8 activations are made.
    #[serde(default)]
    pub int8: Int8Options,
}

/// What a form was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The original as it was exported, on an engine that has every operator of ONNX: what other engines must answer.
    Exported,
    /// The original, on the same engine.
    Original,
    /// The optimised model, because the engine does not load the original. For a float form, which *is* the optimised
    /// model, this says only that it runs.
    Optimised,
}

/// A form that was built and is within its bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BuiltVariant {
    /// Engine it was checked on.
    pub engine: String,
    /// Type of its weights.
    pub dtype: Dtype,
    /// Digest of the file.
    pub digest: Digest,
    /// Size of the file.
    pub size_bytes: u64,
    /// The original's size over this one's.
    pub size_ratio: f64,
    /// What it was compared with.
    pub reference: Reference,
    /// How far it is from the reference on the sample rows.
    pub parity: Parity,
    /// What became of the weights, for quantised forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantise: Option<QuantiseReport>,
    /// The file itself; not part of the report's JSON.
    #[serde(skip)]
    pub onnx: Vec<u8>,
}

/// A form that was wanted and is not to be had.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusedVariant {
    /// Engine it was wanted for.
    pub engine: String,
    /// Type of the weights wanted.
    pub dtype: Dtype,
    /// Why not.
    pub reason: String,
    /// How far it was from the original, where that is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parity: Option<Parity>,
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConvertReport {
    /// Digest of the original.
    pub original: Digest,
    /// Size of the original.
    pub original_size_bytes: u64,
    /// What optimising did.
    pub optimise: OptimiseReport,
    /// The forms built, in the plan's order.
    pub built: Vec<BuiltVariant>,
    /// The forms refused, in the plan's order.
    pub refused: Vec<RefusedVariant>,
}

/// Why a plan cannot be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The model is refused.
    #[error("importing the model")]
    Import(#[from] ImportError),
    /// The graph is not sound.
    #[error("optimising the model")]
    Optimise(#[from] GraphError),
    /// No engine at hand.
    #[error("converting needs an engine to check the result on, and none was given")]
    NoEngine,
    /// No sample rows.
    #[error("converting needs sample rows to compare answers on, and none were given")]
    NoSamples,
}

/// Builds every variant of `plan` and compares it with the original on its own engine, over `samples` (each a call's
/// inputs in order). What the model's outputs mean is said by `signature`; without one it is guessed from the graph.
///
/// # Errors
/// The model is refused, or there is nothing to check results on. A variant that cannot be had is no error: it stands
/// in the report with its reason.
pub fn convert(
    model: &[u8],
    plan: &ConvertPlan,
    engines: &[&dyn Engine],
    signature: Option<&Signature>,
    samples: &[Vec<Tensor>],
) -> Result<ConvertReport, ConvertError> {
    let first = engines.first().ok_or(ConvertError::NoEngine)?;
    if samples.iter().all(|call| call.first().is_none_or(|input| input.rows() == 0)) {
        return Err(ConvertError::NoSamples);
    }
    let imported = import(model, engines)?;
    let (optimised, optimise) = optimise(&imported.model, *first)?;
    let mut report = ConvertReport {
        original: Digest::of(&imported.onnx),
        original_size_bytes: imported.onnx.len() as u64,
        optimise,
        built: Vec::new(),
        refused: Vec::new(),
    };
    let signature = signature.unwrap_or(&imported.signature);
    let (imported, optimised) = (&imported, &optimised);
    let exported = engines.iter().filter(|engine| engine.takes_as_exported());
    let exported = exported.filter_map(|engine| load(*engine, &imported.onnx).ok()).next();
    let job =
        Job { imported, optimised, exported, bounds: plan.bounds, int8: &plan.int8, signature, samples };
    for spec in &plan.variants {
        let engine = engines.iter().find(|engine| engine.name() == spec.engine);
        let built =
            engine.map_or_else(|| Err(no_engine(engines).into()), |engine| job.build(*engine, spec.dtype));
        match built {
            Ok(variant) => report.built.push(variant),
            Err(Refusal { reason, parity }) => {
                let (engine, dtype) = (spec.engine.clone(), spec.dtype);
                report.refused.push(RefusedVariant { engine, dtype, reason, parity });
            }
        }
    }
    Ok(report)
}

fn no_engine(engines: &[&dyn Engine]) -> String {
    let names: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
    format!("this engine is not available here; available: {}", names.join(", "))
}

struct Refusal {
    reason: String,
    parity: Option<Parity>,
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), parity: None }
    }
}

/// What every variant of a plan is built from.
struct Job<'a> {
    imported: &'a Imported,
    optimised: &'a ModelProto,
    /// The model as it was exported, where an engine runs it so.
    exported: Option<Arc<dyn Runnable>>,
    bounds: Bounds,
    int8: &'a Int8Options,
    signature: &'a Signature,
    samples: &'a [Vec<Tensor>],
}

impl Job<'_> {
    fn build(&self, engine: &dyn Engine, dtype: Dtype) -> Result<BuiltVariant, Refusal> {
        let (onnx, quantise) = self.form(engine, dtype)?;
        let (reference, original) = self.reference(engine)?;
        let parity = self.measure(engine, &*original, &onnx)?;
        let bounds = if dtype == Dtype::F32 { Bounds::exact() } else { self.bounds };
        if let Verdict::Outside { reason } = bounds.judge(&parity) {
            return Err(Refusal { reason, parity: Some(parity) });
        }
        Ok(BuiltVariant {
            engine: engine.name().to_owned(),
            dtype,
            digest: Digest::of(&onnx),
            size_bytes: onnx.len() as u64,
            size_ratio: self.imported.onnx.len() as f64 / onnx.len() as f64,
            reference,
            parity,
            quantise,
            onnx,
        })
    }

    /// The encoded form, and what became of the weights.
    fn form(&self, engine: &dyn Engine, dtype: Dtype) -> Result<(Vec<u8>, Option<QuantiseReport>), Refusal> {
        let (model, report) = match dtype {
            Dtype::F32 if engine.takes_as_exported() && load(engine, &self.imported.onnx).is_ok() => {
                return Ok((self.imported.onnx.clone(), None));
            }
            Dtype::F32 => return Ok((onnx::encode(self.optimised), None)),
            Dtype::W8 => quantise::weights_int8(self.optimised),
            Dtype::F16 => quantise::weights_half(self.optimised, Half::Float16),
            Dtype::Bf16 => quantise::weights_half(self.optimised, Half::Bfloat16),
            Dtype::Int8 | Dtype::Int8Dynamic => self.int8(engine, dtype)?,
        }
        .map_err(|error| error.to_string())?;
        Ok((onnx::encode(&model), Some(report)))
    }

    fn int8(
        &self,
        engine: &dyn Engine,
        dtype: Dtype,
    ) -> Result<Result<(ModelProto, QuantiseReport), QuantiseError>, Refusal> {
        let (_, original) = self.reference(engine)?;
        let mut judge = |model: &ModelProto| {
            let parity = self.measure(engine, &*original, &onnx::encode(model))?;
            let within = self.bounds.judge(&parity) == Verdict::Within;
            let flipped = parity.top1_agreement.map_or(0.0, |agreement| 1.0 - agreement);
            Ok(Judgement { within, distance: parity.rel_difference_max + flipped })
        };
        Ok(match dtype {
            Dtype::Int8Dynamic => quantise::dynamic_int8(self.optimised, self.int8, &mut judge),
            _ => quantise::static_int8(self.optimised, engine, self.samples, self.int8, &mut judge),
        })
    }

    /// What forms for `engine` are compared with. An engine that answers wrongly must not be its own judge, so another
    /// one's answers go first.
    fn reference(&self, engine: &dyn Engine) -> Result<(Reference, Arc<dyn Runnable>), Refusal> {
        if let Some(exported) = self.exported.as_ref().filter(|_| !engine.takes_as_exported()) {
            return Ok((Reference::Exported, Arc::clone(exported)));
        }
        if let Ok(original) = load(engine, &self.imported.onnx) {
            return Ok((Reference::Original, original));
        }
        let optimised = load(engine, &onnx::encode(self.optimised)).map_err(|error| error.to_string())?;
        Ok((Reference::Optimised, optimised))
    }

    fn measure(&self, engine: &dyn Engine, original: &dyn Runnable, onnx: &[u8]) -> Result<Parity, String> {
        let converted = load(engine, onnx).map_err(|error| error.to_string())?;
        let parity = parity::measure(original, &*converted, self.signature, self.samples);
        parity.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }
}

fn load(engine: &dyn Engine, onnx: &[u8]) -> Result<Arc<dyn Runnable>, EngineError> {
    engine.load(onnx, &LoadOptions::with_threads(1))
}

#[cfg(test)]
mod tests {
    use edgeward_model::RtenEngine;
    use edgeward_model::engine::conformance::fixture;

    use super::*;

    fn plan(dtypes: &[(&str, Dtype)]) -> ConvertPlan {
        let spec = |&(engine, dtype): &(&str, Dtype)| VariantSpec { engine: engine.to_owned(), dtype };
        ConvertPlan {
            variants: dtypes.iter().map(spec).collect(),
            bounds: Bounds::default(),
            int8: Int8Options::default(),
        }
    }

    fn samples() -> Vec<Vec<Tensor>> {
        vec![vec![Tensor::from_rows(20, 4, fixture::noise(80, 3)).unwrap()]]
    }

    fn run(plan: &ConvertPlan, samples: &[Vec<Tensor>]) -> Result<ConvertReport, ConvertError> {
        convert(&onnx::encode(&fixture::classifier()), plan, &[&RtenEngine::new()], None, samples)
    }

    #[test]
    fn the_plan_is_built_or_refused_with_reasons() {
        let plan = plan(&[("rten", Dtype::F32), ("rten", Dtype::W8), ("ort", Dtype::F32)]);
        let report = run(&plan, &samples()).unwrap();
        assert_eq!(report.built.len(), 1);
        let built = &report.built[0];
        assert_eq!((built.engine.as_str(), built.dtype, built.parity.rows), ("rten", Dtype::F32, 20));
        assert_eq!(built.digest, Digest::of(&built.onnx));
        let reasons: Vec<&str> = report.refused.iter().map(|refused| refused.reason.as_str()).collect();
        assert!(reasons[0].contains("no weight to quantise: 'w1': has 32 elements"), "{reasons:?}");
        assert_eq!(reasons[1], "this engine is not available here; available: rten");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["built"][0]["dtype"], "f32");
        assert!(json["built"][0].get("onnx").is_none());
    }

    #[test]
    fn the_same_model_gives_the_same_report() {
        let plan = plan(&[("rten", Dtype::F32)]);
        assert_eq!(run(&plan, &samples()).unwrap(), run(&plan, &samples()).unwrap());
    }

    #[test]
    fn nothing_is_converted_unchecked() {
        let plan = plan(&[("rten", Dtype::F32)]);
        assert!(matches!(run(&plan, &[]), Err(ConvertError::NoSamples)));
        assert!(matches!(convert(b"", &plan, &[], None, &samples()), Err(ConvertError::NoEngine)));
    }

    /// The embedded engine under another name; `shift` is added to every float it answers.
    struct Other {
        name: &'static str,
        takes_as_exported: bool,
        shift: f32,
    }

    struct Shifted(Arc<dyn Runnable>, f32);

    impl Runnable for Shifted {
        fn inputs(&self) -> &[edgeward_model::TensorSpec] {
            self.0.inputs()
        }

        fn outputs(&self) -> &[edgeward_model::TensorSpec] {
            self.0.outputs()
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
            let shift = |tensor: Tensor| match tensor.as_f32() {
                Some(values) => {
                    let shifted: Vec<f32> = values.iter().map(|value| value + self.1).collect();
                    Tensor::new(tensor.shape(), shifted).unwrap()
                }
                None => tensor,
            };
            Ok(self.0.run(inputs)?.into_iter().map(shift).collect())
        }
    }

    impl Engine for Other {
        fn name(&self) -> &'static str {
            self.name
        }

        fn takes_as_exported(&self) -> bool {
            self.takes_as_exported
        }

        fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Arc<dyn Runnable>, EngineError> {
            Ok(Arc::new(Shifted(RtenEngine::new().load(onnx, options)?, self.shift)))
        }
    }

    #[test]
    fn an_engine_that_answers_wrongly_is_not_its_own_judge() {
        let wrong = Other { name: "wrong", takes_as_exported: false, shift: 0.01 };
        let right = Other { name: "right", takes_as_exported: true, shift: 0.0 };
        let plan = plan(&[("wrong", Dtype::F32), ("right", Dtype::F32)]);
        let onnx = onnx::encode(&fixture::classifier());
        let alone = convert(&onnx, &plan, &[&wrong], None, &samples()).unwrap();
        assert_eq!(alone.built.len(), 1, "nobody else to ask");
        let report = convert(&onnx, &plan, &[&wrong, &right], None, &samples()).unwrap();
        let built: Vec<(&str, Reference)> =
            report.built.iter().map(|built| (built.engine.as_str(), built.reference)).collect();
        assert_eq!(built, [("right", Reference::Original)]);
        assert!(report.refused[0].reason.contains("difference to the original"), "{:?}", report.refused);
    }

    #[test]
    fn plans_are_read_strictly() {
        let read = |json: &str| serde_json::from_str::<ConvertPlan>(json);
        let plan = read(r#"{"variants":[{"engine":"rten","dtype":"w8"}]}"#).unwrap();
        assert_eq!(plan.bounds, Bounds::default());
        assert!(read(r#"{"variants":[{"engine":"rten","dtype":"w4"}]}"#).is_err());
        assert!(read(r#"{"variants":[],"bound":{}}"#).is_err());
    }
}
