//! Does one form of a model answer as another does, on the engine that will run it?
//!
//! Engines, quantisers and optimisers have given wrong answers without an error; so every form is compared with the
//! original on real rows before it may ship, and [`Bounds`] say how far it may be.

use std::collections::BTreeMap;

use edgeward_model::signature::InterpretError;
use edgeward_model::{EngineError, Interpretation, NamedTensor, Runnable, Signature, Tensor};
use serde::{Deserialize, Serialize};

/// Least magnitude an output is taken to have; below, a relative difference says nothing.
const MAGNITUDE_MIN: f64 = 1e-3;

/// How far two forms of a model are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// Rows compared.
    pub rows: usize,
    /// Largest absolute difference of a float output. Infinite if one is NaN or infinite and the other is not.
    pub abs_difference_max: f64,
    /// Largest difference of an output relative to that output's largest magnitude over the rows (at least 0.001), so
    /// that logits, probabilities and values are measured alike.
    pub rel_difference_max: f64,
    /// Share of rows with the same predicted class; none if the model is no classifier.
    pub top1_agreement: Option<f64>,
}

/// How far a form may be from the original. An empty bound does not bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Greatest absolute difference.
    pub abs_difference_max: Option<f64>,
    /// Greatest relative difference.
    pub rel_difference_max: Option<f64>,
    /// Least share of rows with the same class; for classifiers.
    pub top1_agreement_min: Option<f64>,
}

impl Default for Bounds {
    /// Differences up to 5 % of an output's magnitude, and the same class in 99 rows of 100.
    fn default() -> Self {
        Self { abs_difference_max: None, rel_difference_max: Some(0.05), top1_agreement_min: Some(0.99) }
    }
}

impl Bounds {
    /// For forms that should compute the same numbers.
    #[must_use]
    pub const fn exact() -> Self {
        Self { abs_difference_max: None, rel_difference_max: Some(1e-4), top1_agreement_min: Some(0.999) }
    }

    /// Whether `parity` keeps every bound.
    #[must_use]
    pub fn judge(&self, parity: &Parity) -> Verdict {
        let above = |what: &str, found: f64, bound: Option<f64>| {
            let bound = bound.filter(|&bound| found.is_nan() || found > bound)?;
            Some(format!(
                "the {what} difference to the original is {found:.3e}, over the bound of {bound:.3e}"
            ))
        };
        let below = || {
            let (found, bound) = (parity.top1_agreement?, self.top1_agreement_min?);
            let rows = parity.rows;
            (found < bound).then(|| {
                format!("only {found:.4} of {rows} rows keep their class, under the bound of {bound}")
            })
        };
        let reason = above("absolute", parity.abs_difference_max, self.abs_difference_max)
            .or_else(|| above("relative", parity.rel_difference_max, self.rel_difference_max))
            .or_else(below);
        reason.map_or(Verdict::Within, |reason| Verdict::Outside { reason })
    }
}

/// What the bounds say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every bound is kept.
    Within,
    /// One is not.
    Outside {
        /// Which, with the numbers.
        reason: String,
    },
}

/// Why two forms cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// No rows: equality on nothing is no evidence.
    #[error("parity needs sample rows and none were given")]
    NoSamples,
    /// The original does not run.
    #[error("running the original model on sample call {call}")]
    Original {
        /// Number of the call.
        call: usize,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// The form does not run.
    #[error("running the converted model on sample call {call}")]
    Converted {
        /// Number of the call.
        call: usize,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// The outputs have other shapes or types.
    #[error("output '{output}' is {found} in the converted model, {expected} in the original")]
    Form {
        /// Name of the output.
        output: String,
        /// Of the original.
        expected: String,
        /// Of the converted model.
        found: String,
    },
    /// The outputs do not fit the signature.
    #[error("interpreting the outputs")]
    Interpret(#[from] InterpretError),
}

/// Runs both forms on `calls` (each the inputs in order) and compares. An embedding must have the same shape, but its numbers
/// are no answers: they have no unit that a bound could be stated in.
///
/// # Errors
/// No rows, a form that does not run, or outputs of different shapes.
pub fn measure(
    original: &dyn Runnable,
    converted: &dyn Runnable,
    signature: &Signature,
    calls: &[Vec<Tensor>],
) -> Result<Parity, ParityError> {
    let mut parity = Parity::default();
    let mut spreads = BTreeMap::new();
    let (mut same, mut classified) = (0_usize, 0_usize);
    for (call, inputs) in calls.iter().enumerate() {
        let expected = original.run(inputs).map_err(|source| ParityError::Original { call, source })?;
        let found = converted.run(inputs).map_err(|source| ParityError::Converted { call, source })?;
        let (expected, found) = (name_all(original, expected), name_all(converted, found));
        compare(&expected, &found, &mut spreads)?;
        let classes =
            |rows: Vec<Interpretation>| rows.into_iter().map(|row| row.predicted).collect::<Vec<_>>();
        let (expected, found) =
            (classes(signature.interpret(&expected)?), classes(signature.interpret(&found)?));
        parity.rows += inputs.first().map_or(0, Tensor::rows);
        classified += expected.iter().flatten().count();
        same += expected.iter().zip(&found).filter(|(a, b)| a.is_some() && a == b).count();
    }
    if parity.rows == 0 {
        return Err(ParityError::NoSamples);
    }
    let is_answer = |name: &String| signature.roles.embedding.as_ref() != Some(name);
    for (_, spread) in spreads.iter().filter(|(name, _)| is_answer(name)) {
        parity.abs_difference_max = parity.abs_difference_max.max(spread.difference_max);
        let relative = spread.difference_max / spread.magnitude_max.max(MAGNITUDE_MIN);
        parity.rel_difference_max = parity.rel_difference_max.max(relative);
    }
    parity.top1_agreement = (classified > 0).then(|| same as f64 / classified as f64);
    Ok(parity)
}

fn name_all(model: &dyn Runnable, tensors: Vec<Tensor>) -> Vec<NamedTensor> {
    model.outputs().iter().zip(tensors).map(|(spec, tensor)| NamedTensor::new(&spec.name, tensor)).collect()
}

/// What was seen of one output over all rows.
#[derive(Default)]
struct Spread {
    difference_max: f64,
    magnitude_max: f64,
}

fn compare(
    expected: &[NamedTensor],
    found: &[NamedTensor],
    spreads: &mut BTreeMap<String, Spread>,
) -> Result<(), ParityError> {
    for expected in expected {
        let found = found.iter().find(|output| output.name == expected.name);
        let form = |tensor: &Tensor| format!("{}{:?}", tensor.datatype(), tensor.shape());
        let same = |found: &&NamedTensor| form(&found.tensor) == form(&expected.tensor);
        let Some(found) = found.filter(same) else {
            let found = found.map_or_else(|| "missing".to_owned(), |found| form(&found.tensor));
            return Err(ParityError::Form {
                output: expected.name.clone(),
                expected: form(&expected.tensor),
                found,
            });
        };
        if expected.tensor.datatype().is_float() {
            let spread = spreads.entry(expected.name.clone()).or_default();
            (0..expected.tensor.len()).for_each(|at| widen(spread, &expected.tensor, &found.tensor, at));
        }
    }
    Ok(())
}

fn widen(spread: &mut Spread, expected: &Tensor, found: &Tensor, at: usize) {
    let (Some(expected), Some(found)) = (expected.number(at), found.number(at)) else { return };
    let same = expected == found || (expected.is_nan() && found.is_nan());
    let apart =
        Some((expected - found).abs()).filter(|difference| difference.is_finite()).unwrap_or(f64::INFINITY);
    spread.difference_max = spread.difference_max.max(if same { 0.0 } else { apart });
    if expected.is_finite() {
        spread.magnitude_max = spread.magnitude_max.max(expected.abs());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use edgeward_model::engine::conformance::fixture;
    use edgeward_model::onnx::{self, ModelProto, TensorProto};
    use edgeward_model::session::derive_signature;
    use edgeward_model::{Engine as _, LoadOptions, RtenEngine};

    use super::*;

    fn load(model: &ModelProto) -> Arc<dyn Runnable> {
        RtenEngine::new().load(&onnx::encode(model), &LoadOptions::with_threads(1)).unwrap()
    }

    /// The regressor with another bias.
    fn shifted(bias: f32) -> ModelProto {
        let mut model = fixture::regressor();
        let bias = TensorProto::from_tensor("b", &Tensor::new([1], vec![bias]).unwrap());
        model.graph.as_mut().unwrap().initializer[1] = bias;
        model
    }

    fn regression(bias: f32, calls: &[Vec<Tensor>]) -> Result<Parity, ParityError> {
        let signature = derive_signature(&fixture::regressor()).unwrap();
        measure(&*load(&fixture::regressor()), &*load(&shifted(bias)), &signature, calls)
    }

    fn zeros(rows: usize) -> Vec<Tensor> {
        vec![Tensor::from_rows(rows, 2, vec![0.0; rows * 2]).unwrap()]
    }

    #[test]
    fn differences_are_measured() {
        let parity = regression(0.75, &[zeros(2), zeros(1)]).unwrap();
        let expected =
            Parity { rows: 3, abs_difference_max: 0.25, rel_difference_max: 0.5, top1_agreement: None };
        assert_eq!(parity, expected);
        let nan = regression(f32::NAN, &[zeros(1)]).unwrap();
        assert_eq!(nan.abs_difference_max, f64::INFINITY);
        assert!(matches!(regression(0.5, &[]), Err(ParityError::NoSamples)));
        assert!(matches!(regression(0.5, &[vec![]]), Err(ParityError::Original { call: 0, .. })));
    }

    #[test]
    fn classes_that_flip_are_counted() {
        let mut flipped = fixture::classifier();
        let graph = flipped.graph.as_mut().unwrap();
        let bias = Tensor::new([3], vec![9.0_f32, 0.0, 0.0]).unwrap();
        graph.initializer[3] = TensorProto::from_tensor("b2", &bias);
        let signature = derive_signature(&fixture::classifier()).unwrap();
        let calls = [vec![Tensor::from_rows(50, 4, fixture::noise(200, 1)).unwrap()]];
        let original = load(&fixture::classifier());
        let agreement = |model: &ModelProto| {
            measure(&*original, &*load(model), &signature, &calls).unwrap().top1_agreement.unwrap()
        };
        assert!((agreement(&fixture::classifier()) - 1.0).abs() < 1e-12);
        assert!(agreement(&flipped) < 0.9);
    }

    #[test]
    fn bounds_give_reasons() {
        let check = |parity: Parity, bounds: Bounds, expected: &str| match bounds.judge(&parity) {
            Verdict::Within => assert_eq!(expected, ""),
            Verdict::Outside { reason } => assert_eq!(reason, expected),
        };
        let parity =
            Parity { rows: 10, abs_difference_max: 0.1, rel_difference_max: 1.0, top1_agreement: Some(0.9) };
        let none = Bounds { abs_difference_max: None, rel_difference_max: None, top1_agreement_min: None };
        check(parity, none, "");
        let abs = Bounds { abs_difference_max: Some(0.05), ..none };
        check(parity, abs, "the absolute difference to the original is 1.000e-1, over the bound of 5.000e-2");
        let top1 = Bounds { top1_agreement_min: Some(0.99), ..none };
        check(parity, top1, "only 0.9000 of 10 rows keep their class, under the bound of 0.99");
        let nan = Parity { abs_difference_max: f64::INFINITY, ..parity };
        check(nan, abs, "the absolute difference to the original is inf, over the bound of 5.000e-2");
    }
}
