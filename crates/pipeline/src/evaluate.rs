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
    engines: &[&dyn Engine],
) -> Result<Evaluation, ExamineError> {
    let predict = |onnx: &[u8], dtype: &str, engine: &dyn Engine| {
        examine::predict(&examine::load(onnx, subject.signature, dtype, engine)?, rows)
    };
    let names = || engines.iter().map(|engine| engine.name()).collect::<Vec<_>>().join(", ");
    let quality = |predictions: &[Prediction]| Quality::of(subject.task, &rows.labels, predictions);
    let mut trained = None;
    for engine in engines {
        trained = match predict(subject.trained, "f32", *engine) {
            Ok(predictions) => Some(quality(&predictions)),
            Err(ExamineError::Engine(error)) if error.kind() == EngineErrorKind::UnsupportedOperator => None,
            Err(error) => return Err(error),
        };
        if trained.is_some() {
            break;
        }
    }
    let mut evaluation = Evaluation { trained, forms: Vec::new(), predictions: Vec::new() };
    for (variant, onnx) in subject.forms {
        let engine = engines.iter().find(|engine| engine.name() == variant.engine).ok_or_else(|| {
            let (form, wanted, found) = (variant.name(), &variant.engine, names());
            ExamineError::Purpose(format!(
                "the form {form} needs the engine {wanted}; this program has {found}"
            ))
        })?;
        let predictions = predict(onnx, &variant.dtype, *engine)?;
        evaluation.forms.push(FormQuality { variant: variant.clone(), quality: quality(&predictions) });
        if evaluation.predictions.is_empty() {
            evaluation.predictions = predictions;
        }
    }
    Ok(evaluation)
}
