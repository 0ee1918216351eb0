//! The evaluate stage: the trained model and each of its forms, on the held-out rows.

use edgeward_core::{Dataset, Variant};
use edgeward_model::{Engine, EngineErrorKind, Signature};
use serde::{Deserialize, Serialize};

use crate::convert::Form;
use crate::examine::{self, ExamineError};
use crate::measure::{Prediction, Quality};
use crate::project::TaskKind;

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
    pub variant: Variant,
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
    pub forms: &'a [Form],
    /// What it predicts.
    pub task: TaskKind,
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
    let quality = |predictions: &[Prediction]| Quality::of(subject.task, &rows.labels, predictions);
    let mut trained = None;
    for engine in engines {
        trained = match predict(subject.trained, "f32", *engine) {
            Ok(predictions) => Some(quality(&predictions)),
            Err(ExamineError::Engine(error)) if is_beyond_it(error.kind()) => None,
            Err(error) => return Err(error),
        };
        if trained.is_some() {
            break;
        }
    }
    let mut evaluation = Evaluation { trained, forms: Vec::new(), predictions: Vec::new() };
    for Form { variant, bytes } in subject.forms {
        let engine = match examine::engine_for(variant, engines) {
            Ok(engine) => engine,
            Err(_) if variant.tool.is_some() => continue,
            Err(why) => {
                let form = variant.label();
                return Err(ExamineError::Purpose(format!("the form {form} does not run here: {why}")));
            }
        };
        let predictions = predict(bytes, &variant.dtype, engine)?;
        evaluation.forms.push(FormQuality { variant: variant.clone(), quality: quality(&predictions) });
        if evaluation.predictions.is_empty() {
            evaluation.predictions = predictions;
        }
    }
    Ok(evaluation)
}

/// Whether an engine that fails like this may run the forms all the same: what it cannot do, conversion takes out.
const fn is_beyond_it(kind: EngineErrorKind) -> bool {
    matches!(kind, EngineErrorKind::UnsupportedOperator | EngineErrorKind::UnsupportedType)
}
