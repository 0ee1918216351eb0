//! The golden test: inputs with the outputs a model gave where it was made, run again where it is to serve.
//!
//! A device runs it before a model takes a request; an engine, a processor or a file that changes the answers is caught
//! there. Floats may differ by `abs * m + rel * |expected|`, where `m` is the greatest finite magnitude expected of that
//! output in that call, at least 1: a value near zero beside large ones is no more exact than they are. NaN equals NaN
//! and an infinity only itself. Integers, booleans and byte strings, labels among them, must be equal.
//!
//! Deliberately missing: judging quality. That is evaluation's work, on far more rows.

use serde::{Deserialize, Serialize};

use crate::engine::{EngineError, Runnable};
use crate::signature::TensorSpec;
use crate::tensor::{DataType, NamedTensor, Tensor, TensorData};

/// Schema of [`Golden`].
pub const GOLDEN_SCHEMA: &str = "edgeward.golden/1";

/// Largest golden file accepted, in bytes.
pub const GOLDEN_BYTES_MAX: usize = 64 << 20;

/// Most cases of one golden test.
pub const GOLDEN_CASES_MAX: usize = 1024;

/// How far a float output may be from the expected value: `abs * m + rel * |expected|`, `m` being the greatest magnitude
/// of the output, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Absolute part, for an output whose values are at most 1.
    pub abs: f64,
    /// Part relative to the expected value.
    pub rel: f64,
}

impl Default for Tolerance {
    /// 1e-4 of each: ten times what engines differ by on float models.
    fn default() -> Self {
        Self { abs: 1e-4, rel: 1e-4 }
    }
}

impl Tolerance {
    /// For forms that compute in int8, where processors round differently: 2 % of an output's magnitude.
    #[must_use]
    pub const fn int8() -> Self {
        Self { abs: 0.02, rel: 0.0 }
    }

    /// Whether `found` is near enough to `expected`, a value of an output of this magnitude.
    #[must_use]
    pub fn admits(&self, expected: f64, found: f64, magnitude: f64) -> bool {
        if expected.is_nan() || found.is_nan() {
            return expected.is_nan() && found.is_nan();
        }
        if expected.is_infinite() || found.is_infinite() {
            return expected == found;
        }
        (found - expected).abs() <= self.abs * magnitude.max(1.0) + self.rel * expected.abs()
    }
}

/// One call of the model and what it answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenCase {
    /// Every input, by name.
    pub inputs: Vec<NamedTensor>,
    /// The outputs to compare, by name.
    pub expected: Vec<NamedTensor>,
}

/// A golden test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Always [`GOLDEN_SCHEMA`].
    pub schema: String,
    /// How far floats may differ.
    pub tolerance: Tolerance,
    /// The calls; never empty.
    pub cases: Vec<GoldenCase>,
}

/// A golden test that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoldenReport {
    /// Calls made.
    pub cases: usize,
    /// Values compared.
    pub values: usize,
    /// Largest absolute difference of a float.
    pub abs_difference_max: f64,
}

/// A golden test that failed, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// Larger than [`GOLDEN_BYTES_MAX`].
    #[error("the golden test is {0} bytes, over the limit of {GOLDEN_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON of a golden test.
    #[error("parsing the golden test")]
    Parse(#[source] serde_json::Error),
    /// Another schema.
    #[error("the golden test's schema is '{0}', this program reads '{GOLDEN_SCHEMA}'; update the program")]
    Schema(String),
    /// No case, or more than [`GOLDEN_CASES_MAX`].
    #[error("the golden test has {0} cases, not 1 to {GOLDEN_CASES_MAX}")]
    Cases(usize),
    /// Cannot be written.
    #[error("writing the golden test")]
    Write(#[source] edgeward_core::canonical::CanonicalError),
    /// The model does not run.
    #[error("golden case {case}: running the model")]
    Run {
        /// Number of the case, from 0.
        case: usize,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// The test gives no tensor for an input of the model.
    #[error("golden case {case}: the test has no tensor for the model's input '{input}'")]
    Input {
        /// Number of the case.
        case: usize,
        /// Name of the input.
        input: String,
    },
    /// The model does not have an output the test expects.
    #[error("golden case {case}: the model has no output '{output}'")]
    Output {
        /// Number of the case.
        case: usize,
        /// Name of the output.
        output: String,
    },
    /// An output of another shape or datatype.
    #[error("golden case {case}: output '{output}' is {found}, expected {expected}")]
    Form {
        /// Number of the case.
        case: usize,
        /// Name of the output.
        output: String,
        /// Expected datatype and shape.
        expected: String,
        /// Found datatype and shape.
        found: String,
    },
    /// An output with another value.
    #[error("golden case {case}: {difference}")]
    Value {
        /// Number of the case.
        case: usize,
        /// Where and how it differs.
        difference: Box<Difference>,
    },
}

/// The first value that differs from the expected one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("output '{output}'{index:?} is {found}, expected {expected} ({allowed})")]
pub struct Difference {
    /// Name of the output.
    pub output: String,
    /// Position in the tensor, one number per dimension.
    pub index: Vec<usize>,
    /// Expected value.
    pub expected: String,
    /// Found value.
    pub found: String,
    /// What difference was allowed.
    pub allowed: String,
}

impl Golden {
    /// The test that `runnable` passes by definition: its own answers to `calls`, each the inputs in order.
    ///
    /// # Errors
    /// The model does not run, or the number of calls breaks the limit.
    pub fn record(
        runnable: &dyn Runnable,
        calls: &[Vec<Tensor>],
        tolerance: Tolerance,
    ) -> Result<Self, GoldenError> {
        let record = |(case, call): (usize, &Vec<Tensor>)| {
            let outputs = runnable.run(call).map_err(|source| GoldenError::Run { case, source })?;
            Ok(GoldenCase {
                inputs: name_all(runnable.inputs(), call.clone()),
                expected: name_all(runnable.outputs(), outputs),
            })
        };
        let cases = calls.iter().enumerate().map(record).collect::<Result<_, GoldenError>>()?;
        let golden = Self { schema: GOLDEN_SCHEMA.to_owned(), tolerance, cases };
        golden.validate()?;
        Ok(golden)
    }

    /// Reads and checks a test from untrusted bytes.
    ///
    /// # Errors
    /// Too large, not its JSON, or another schema.
    pub fn parse(bytes: &[u8]) -> Result<Self, GoldenError> {
        if bytes.len() > GOLDEN_BYTES_MAX {
            return Err(GoldenError::TooLarge(bytes.len()));
        }
        let golden: Self = serde_json::from_slice(bytes).map_err(GoldenError::Parse)?;
        golden.validate()?;
        Ok(golden)
    }

    /// The canonical bytes of `golden.json`.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GoldenError> {
        edgeward_core::canonical::to_bytes(self).map_err(GoldenError::Write)
    }

    fn validate(&self) -> Result<(), GoldenError> {
        if self.schema != GOLDEN_SCHEMA {
            return Err(GoldenError::Schema(self.schema.clone()));
        }
        if self.cases.is_empty() || self.cases.len() > GOLDEN_CASES_MAX {
            return Err(GoldenError::Cases(self.cases.len()));
        }
        Ok(())
    }

    /// Runs every case on `runnable` and compares.
    ///
    /// # Errors
    /// The first difference, with its place and both values.
    pub fn check(&self, runnable: &dyn Runnable) -> Result<GoldenReport, GoldenError> {
        self.validate()?;
        let mut report = GoldenReport { cases: self.cases.len(), ..GoldenReport::default() };
        for (case, golden) in self.cases.iter().enumerate() {
            let inputs = ordered(case, runnable.inputs(), &golden.inputs)?;
            let outputs = runnable.run(&inputs).map_err(|source| GoldenError::Run { case, source })?;
            for expected in &golden.expected {
                let position = runnable.outputs().iter().position(|spec| spec.name == expected.name);
                let missing = || GoldenError::Output { case, output: expected.name.clone() };
                let found = position.and_then(|at| outputs.get(at)).ok_or_else(missing)?;
                self.compare(case, expected, found, &mut report)?;
            }
        }
        Ok(report)
    }

    fn compare(
        &self,
        case: usize,
        expected: &NamedTensor,
        found: &Tensor,
        report: &mut GoldenReport,
    ) -> Result<(), GoldenError> {
        let (output, expected) = (expected.name.clone(), &expected.tensor);
        if expected.shape() != found.shape() || expected.datatype() != found.datatype() {
            let (expected, found) = (form(expected), form(found));
            return Err(GoldenError::Form { case, output, expected, found });
        }
        report.values += expected.len();
        let magnitude = magnitude(expected);
        for at in 0..expected.len() {
            if !self.equal((expected, magnitude), found, at, report) {
                let difference = Box::new(self.difference(output, expected, found, at));
                return Err(GoldenError::Value { case, difference });
            }
        }
        Ok(())
    }

    fn equal(
        &self,
        (expected, magnitude): (&Tensor, f64),
        found: &Tensor,
        at: usize,
        report: &mut GoldenReport,
    ) -> bool {
        if !expected.datatype().is_float() {
            return exact(expected, found, at);
        }
        let (Some(wanted), Some(got)) = (expected.number(at), found.number(at)) else { return false };
        report.abs_difference_max = report.abs_difference_max.max((got - wanted).abs());
        self.tolerance.admits(wanted, got, magnitude)
    }

    fn difference(&self, output: String, expected: &Tensor, found: &Tensor, at: usize) -> Difference {
        let Tolerance { abs, rel } = self.tolerance;
        let float = expected.datatype().is_float();
        let allowed = if float {
            format!("allowed: {} + {rel} x expected", abs * magnitude(expected).max(1.0))
        } else {
            "must be equal".to_owned()
        };
        let index = unravel(expected.shape(), at);
        Difference { output, index, expected: text(expected, at), found: text(found, at), allowed }
    }
}

/// The greatest finite magnitude of a tensor of numbers.
fn magnitude(tensor: &Tensor) -> f64 {
    let numbers = (0..tensor.len()).filter_map(|at| tensor.number(at)).map(f64::abs);
    numbers.filter(|number| number.is_finite()).fold(0.0, f64::max)
}

fn name_all(specs: &[TensorSpec], tensors: Vec<Tensor>) -> Vec<NamedTensor> {
    specs.iter().zip(tensors).map(|(spec, tensor)| NamedTensor::new(&spec.name, tensor)).collect()
}

pub(crate) fn ordered(
    case: usize,
    specs: &[TensorSpec],
    given: &[NamedTensor],
) -> Result<Vec<Tensor>, GoldenError> {
    let find = |spec: &TensorSpec| {
        let found = given.iter().find(|tensor| tensor.name == spec.name);
        found
            .map(|tensor| tensor.tensor.clone())
            .ok_or_else(|| GoldenError::Input { case, input: spec.name.clone() })
    };
    specs.iter().map(find).collect()
}

fn form(tensor: &Tensor) -> String {
    format!("{}{:?}", tensor.datatype(), tensor.shape())
}

fn exact(expected: &Tensor, found: &Tensor, at: usize) -> bool {
    match (expected.data(), found.data()) {
        (TensorData::I64(a), TensorData::I64(b)) => a[at] == b[at],
        (TensorData::Bytes(a), TensorData::Bytes(b)) => a[at] == b[at],
        _ => expected.number(at) == found.number(at),
    }
}

fn text(tensor: &Tensor, at: usize) -> String {
    match (tensor.data(), tensor.datatype()) {
        (TensorData::I64(values), _) => values[at].to_string(),
        (TensorData::F32(values), _) => values[at].to_string(),
        (TensorData::Bytes(values), _) => format!("'{}'", String::from_utf8_lossy(&values[at])),
        (_, DataType::Bool) => (tensor.number(at) == Some(1.0)).to_string(),
        _ => tensor.number(at).map_or_else(String::new, |value| value.to_string()),
    }
}

fn unravel(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut index: Vec<usize> = Vec::with_capacity(shape.len());
    for &size in shape.iter().rev() {
        index.push(at % size.max(1));
        at /= size.max(1);
    }
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conformance::fixture;
    use crate::engine::{Engine, LoadOptions, RtenEngine};
    use crate::onnx;
    use std::sync::Arc;

    fn classifier() -> Arc<dyn Runnable> {
        let bytes = onnx::encode(&fixture::classifier());
        RtenEngine::new().load(&bytes, &LoadOptions::with_threads(1)).unwrap()
    }

    fn golden() -> Golden {
        let rows = |seed| vec![Tensor::from_rows(2, 4, fixture::noise(8, seed)).unwrap()];
        Golden::record(&*classifier(), &[rows(1), rows(2)], Tolerance::default()).unwrap()
    }

    fn refused(golden: &Golden) -> String {
        golden.check(&*classifier()).unwrap_err().to_string()
    }

    #[test]
    fn a_model_passes_its_own_test_after_a_round_trip() {
        let golden = golden();
        let bytes = golden.to_bytes().unwrap();
        let read = Golden::parse(&bytes).unwrap();
        assert_eq!(read, golden);
        let report = read.check(&*classifier()).unwrap();
        assert_eq!((report.cases, report.values), (2, 16));
        assert!(report.abs_difference_max < 1e-6);
    }

    #[test]
    fn the_first_difference_is_named() {
        let mut moved = golden();
        let mut values = moved.cases[1].expected[1].tensor.as_f32().unwrap().to_vec();
        values[4] += 0.25;
        moved.cases[1].expected[1].tensor = Tensor::from_rows(2, 3, values).unwrap();
        let error = refused(&moved);
        assert!(error.starts_with("golden case 1: output 'probabilities'[1, 1] is 0."), "{error}");
        assert!(error.ends_with("(allowed: 0.0001 + 0.0001 x expected)"), "{error}");

        let mut flipped = golden();
        let label = flipped.cases[0].expected[0].tensor.as_i64().unwrap()[0];
        flipped.cases[0].expected[0].tensor = Tensor::new([2], vec![label + 1, 0]).unwrap();
        let expected = format!("output 'label'[0] is {label}, expected {} (must be equal)", label + 1);
        assert_eq!(refused(&flipped), format!("golden case 0: {expected}"));
    }

    #[test]
    fn other_forms_and_names_are_refused() {
        let mut other = golden();
        other.cases[0].expected[0].tensor = Tensor::new([1], vec![0_i64]).unwrap();
        assert_eq!(refused(&other), "golden case 0: output 'label' is INT64[2], expected INT64[1]");
        other.cases[0].expected[0].name = "gone".into();
        assert_eq!(refused(&other), "golden case 0: the model has no output 'gone'");
        other.cases[0].inputs[0].name = "gone".into();
        assert_eq!(refused(&other), "golden case 0: the test has no tensor for the model's input 'x'");
        other.cases.clear();
        assert!(refused(&other).contains("has 0 cases"));
    }

    #[test]
    fn nan_and_infinity_equal_only_themselves() {
        let tolerance = Tolerance { abs: 1.0, rel: 1.0 };
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (a, b, same) in [
            (nan, nan, true),
            (nan, 0.0, false),
            (0.0, nan, false),
            (inf, inf, true),
            (inf, -inf, false),
            (inf, 1.0, false),
            (1.0, 3.0, true),
            (1.0, 3.1, false),
        ] {
            assert_eq!(tolerance.admits(a, b, 0.0), same, "{a} {b}");
        }
    }

    #[test]
    fn a_value_near_zero_beside_large_ones_is_as_inexact_as_they_are() {
        let tolerance = Tolerance { abs: 0.1, rel: 0.0 };
        assert!(tolerance.admits(0.0, 9.0, 100.0) && !tolerance.admits(0.0, 11.0, 100.0));
        assert!(tolerance.admits(0.0, 0.1, 0.01) && !tolerance.admits(0.0, 0.11, 0.01));
    }
}
