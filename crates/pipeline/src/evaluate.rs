//! The evaluate stage: the trained model and each of its forms, on the held-out rows.

use edgeward_core::Dataset;
use edgeward_model::{Engine, EngineErrorKind, Signature};
use serde::{Deserialize, Serialize};

use crate::examine::{self, ExamineError};
use crate::measure::{Prediction, Quality};
use crate::project::{TaskKind, VariantTable};

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The trained model itself; none where the engine does not take it before it is converted.
    pub trained: Option<Quality>,
    /// Its forms, in order of preference.
    pub forms: Vec<FormQuality>,
    /// What the preferred form said about each held-out row.
    pub predictions: Vec<Prediction>,
}

/// One form and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormQuality {
    /// Which form.
    pub variant: VariantTable,
    /// How good it is.
    pub quality: Quality,
}

/// A model with its forms, as bytes.
pub struct Subject<'a> {
    /// The trained model.
    pub trained: &'a [u8],
    /// What its tensors mean.
    pub signature: &'a Signature,
    /// Its forms.
    pub forms: &'a [(VariantTable, Vec<u8>)],
    /// What it predicts.
    pub task: TaskKind,
}

impl VariantTable {
    /// `rten-f32` and the like.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.engine, self.dtype)
    }
}

/// Measures the model and its forms on `rows`.
///
/// # Errors
/// A form is for another engine, does not load, or does not fit the rows.
pub fn evaluate(
    subject: &Subject<'_>,
    rows: &Dataset,
    engine: &dyn Engine,
) -> Result<Evaluation, ExamineError> {
    let predict = |onnx: &[u8], dtype: &str| {
        examine::predict(&examine::load(onnx, subject.signature, dtype, engine)?, rows)
    };
    let quality = |predictions: &[Prediction]| Quality::of(subject.task, &rows.labels, predictions);
    let trained = match predict(subject.trained, "f32") {
        Ok(predictions) => Some(quality(&predictions)),
        Err(ExamineError::Engine(error)) if error.kind() == EngineErrorKind::UnsupportedOperator => None,
        Err(error) => return Err(error),
    };
    let mut evaluation = Evaluation { trained, forms: Vec::new(), predictions: Vec::new() };
    for (variant, onnx) in subject.forms {
        if variant.engine != engine.name() {
            let (wanted, found) = (&variant.engine, engine.name());
            let why =
                format!("the form {} needs the engine {wanted}; this program has {found}", variant.name());
            return Err(ExamineError::Purpose(why));
        }
        let predictions = predict(onnx, &variant.dtype)?;
        evaluation.forms.push(FormQuality { variant: variant.clone(), quality: quality(&predictions) });
        if evaluation.predictions.is_empty() {
            evaluation.predictions = predictions;
        }
    }
    Ok(evaluation)
}
