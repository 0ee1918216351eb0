//! Running a model on rows: what its tensors mean, how rows become tensors, and what it says about each.

use std::sync::Arc;

use edgeward_core::manifest::{BundlePath, ManifestError, Variant};
use edgeward_core::{Dataset, Digest};
use edgeward_model::bundle::path;
use edgeward_model::engine::capabilities;
use edgeward_model::onnx::{self, OnnxError};
use edgeward_model::session::{METADATA_EMBEDDING, derive_with};
use edgeward_model::tensor::ShapeError;
use edgeward_model::{
    DataType, Dim, Engine, EngineError, LoadOptions, Outputs, Session, SessionError, Signature, Task, Tensor,
    TensorData,
};

use crate::measure::Prediction;
use crate::project::TaskKind;

/// Most rows in one call of a model.
const BATCH_ROWS: usize = 256;

/// A model that cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The bytes are no ONNX model.
    #[error("reading the model")]
    Onnx(#[from] OnnxError),
    /// The model does not load or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model and its signature do not fit.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The model does not predict what the project says.
    #[error("{0}")]
    Purpose(String),
    /// The rows do not fit the model's input.
    #[error("{0}")]
    Input(String),
    /// A tensor breaks a limit.
    #[error("shaping rows for the model")]
    Shape(#[from] ShapeError),
    /// A name is not usable in a bundle.
    #[error(transparent)]
    Name(#[from] ManifestError),
}

/// The signature of a model trained on `rows`: guessed from the file, with the names of the data.
///
/// # Errors
/// Not ONNX, or a model that does not predict what `task` says.
pub fn signature_of(model: &[u8], rows: &Dataset, task: TaskKind) -> Result<Signature, ExamineError> {
    signature_with(model, rows, task, None)
}

/// The same of a model whose output `embedding` is a hidden layer's, whatever the file says.
///
/// # Errors
/// As [`signature_of`], or the model has no such output.
pub fn signature_with(
    model: &[u8],
    rows: &Dataset,
    task: TaskKind,
    embedding: Option<&str>,
) -> Result<Signature, ExamineError> {
    let model = onnx::decode(model)?;
    let mut signature = derive_with(&model, embedding.or_else(|| model.metadata(METADATA_EMBEDDING)))?;
    if let (Some(name), None) = (embedding, &signature.roles.embedding) {
        return Err(ExamineError::Purpose(no_embedding(name, &signature.outputs)));
    }
    let classes = rows.classes();
    match (task, &mut signature.task) {
        (TaskKind::Regression, Task::Regression) => {}
        (TaskKind::Classification, Task::Classification { classes: named }) => {
            let says = model.metadata(edgeward_model::session::METADATA_CLASSES).is_some();
            if !says && named.len() == classes.len() {
                named.clone_from(&classes);
            }
            if let Some(strange) = classes.iter().find(|class| !named.contains(class)) {
                return Err(ExamineError::Purpose(format!(
                    "the model knows {} classes and not '{strange}', which it was trained on; write the class names, in \
                     the order of its probabilities, into the ONNX metadata entry edgeward.classes",
                    named.len()
                )));
            }
        }
        (_, found) => return Err(ExamineError::Purpose(wrong_purpose(task, found, &signature.outputs))),
    }
    let width = signature.inputs.first().map_or(0, |input| width_of(&input.shape));
    if width == rows.width() {
        signature.feature_names.clone_from(&rows.feature_names);
    }
    Ok(signature)
}

fn no_embedding(name: &str, outputs: &[edgeward_model::TensorSpec]) -> String {
    let outputs: Vec<String> = outputs.iter().map(ToString::to_string).collect();
    format!(
        "[monitor] embedding names '{name}', which is no float output of [N, width] (outputs: {}); export the hidden layer \
         as an output of that name, or, with builtin = \"mlp\", set [train.params] embedding = true and leave the key out",
        outputs.join(", ")
    )
}

fn wrong_purpose(task: TaskKind, found: &Task, outputs: &[edgeward_model::TensorSpec]) -> String {
    let found = match found {
        Task::Classification { .. } => "looks like a classifier",
        Task::Regression => "looks like a regression",
        Task::Other => "cannot be understood",
    };
    let wanted = match task {
        TaskKind::Classification => {
            "a classifier gives one float output of [N, classes], with or without an integer label beside it"
        }
        TaskKind::Regression => "a regression gives one float output of [N, 1]",
    };
    let outputs: Vec<String> = outputs.iter().map(ToString::to_string).collect();
    format!("the model {found} (outputs: {}); {wanted}; or set [data] task", outputs.join(", "))
}

/// Values per row of an input: the product of all dimensions after the first.
fn width_of(shape: &[Dim]) -> usize {
    shape.iter().skip(1).map(|dim| if let Dim::Fixed(size) = dim { *size } else { 0 }).product()
}

/// Loads a model for judging.
///
/// # Errors
/// The engine does not take it, or the signature is not its own.
pub fn load(
    model: &[u8],
    signature: &Signature,
    dtype: &str,
    engine: &dyn Engine,
) -> Result<Session, ExamineError> {
    let runnable = engine.load(model, &LoadOptions::default())?;
    let variant = Variant::new(engine.name(), dtype, model_path()?);
    Ok(Session::new(Arc::clone(&runnable), signature.clone(), Digest::of(model), variant)?)
}

/// Where a form's file stands before it has a place in a bundle.
pub(crate) fn model_path() -> Result<BundlePath, ExamineError> {
    Ok(BundlePath::new(path::MODEL)?)
}

/// The first of `engines` that runs a form, as far as the form says.
///
/// # Errors
/// Why none does, in words.
pub fn engine_for<'a>(variant: &Variant, engines: &[&'a dyn Engine]) -> Result<&'a dyn Engine, String> {
    let usable = |engine: &&&'a dyn Engine| variant.usable_on(&capabilities(&[**engine])).is_ok();
    engines.iter().find(usable).copied().ok_or_else(|| {
        variant
            .usable_on(&capabilities(engines))
            .map_or_else(|why| why.to_string(), |()| "no engine fits".to_owned())
    })
}

/// `rows` as calls of a model with `signature`, at most `batch` rows each.
///
/// # Errors
/// The model takes several inputs, another number of values, or no floats.
pub fn calls(signature: &Signature, rows: &Dataset, batch: usize) -> Result<Vec<Vec<Tensor>>, ExamineError> {
    let [input] = &signature.inputs[..] else {
        let count = signature.inputs.len();
        return Err(ExamineError::Input(format!(
            "the model takes {count} inputs; a table of rows fits a model with one"
        )));
    };
    let width = width_of(&input.shape);
    if width != rows.width() {
        return Err(ExamineError::Input(format!(
            "the model takes {width} values per row ({input}) but the data has {} features",
            rows.width()
        )));
    }
    let batch = match input.shape.first() {
        Some(Dim::Fixed(fixed)) if *fixed != 1 => {
            return Err(ExamineError::Input(format!(
                "the model takes exactly {fixed} rows per call ({input}); export it with a free first dimension"
            )));
        }
        Some(Dim::Fixed(_)) => 1,
        _ => batch.max(1),
    };
    rows.values.chunks(batch * width).map(|values| Ok(vec![tensor(input, values)?])).collect()
}

fn tensor(input: &edgeward_model::TensorSpec, values: &[f32]) -> Result<Tensor, ExamineError> {
    let width = width_of(&input.shape);
    let mut shape = vec![values.len() / width];
    shape.extend(input.shape.iter().skip(1).map(|dim| if let Dim::Fixed(size) = dim { *size } else { 0 }));
    match input.datatype {
        DataType::Fp32 => Ok(Tensor::new(shape, values.to_vec())?),
        DataType::Fp64 => {
            let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            Ok(Tensor::new(shape, values)?)
        }
        other => {
            Err(ExamineError::Input(format!("the model takes {other}; a table of rows fits FP32 and FP64")))
        }
    }
}

/// What the model says about each row.
///
/// # Errors
/// The rows do not fit, or the engine fails.
pub fn predict(session: &Session, rows: &Dataset) -> Result<Vec<Prediction>, ExamineError> {
    let mut predictions = Vec::with_capacity(rows.len());
    for call in calls(session.signature(), rows, BATCH_ROWS)? {
        let outputs = session.infer_ordered(&call)?;
        let first = predictions.len();
        for at in 0..outputs.rows.len().min(rows.len() - first) {
            predictions.push(prediction(session.signature(), &outputs, at, &rows.labels[first + at]));
        }
    }
    match predictions.len() == rows.len() {
        true => Ok(predictions),
        false => Err(ExamineError::Input(format!(
            "the model answered {} of {} rows; its first output dimension must be the number of rows",
            predictions.len(),
            rows.len()
        ))),
    }
}

/// The embedding of each row, one after the other, and how many numbers each is; none of a model without.
///
/// # Errors
/// The rows do not fit, or the engine fails.
pub fn embeddings(session: &Session, rows: &Dataset) -> Result<Option<(Vec<f32>, usize)>, ExamineError> {
    let Some(name) = &session.signature().roles.embedding else { return Ok(None) };
    let (mut values, mut width) = (Vec::new(), 0);
    for call in calls(session.signature(), rows, BATCH_ROWS)? {
        let outputs = session.infer_ordered(&call)?;
        let Some(embedding) = outputs.get(name) else { continue };
        width = embedding.row_len();
        values.extend((0..embedding.len()).map(|at| embedding.number(at).map_or(f32::NAN, |n| n as f32)));
    }
    match values.len() == rows.len() * width {
        true => Ok(Some((values, width))),
        false => Err(ExamineError::Input(format!(
            "the output '{name}' holds {} numbers for {} rows of {width}; its first dimension must be the number of rows",
            values.len(),
            rows.len()
        ))),
    }
}

fn prediction(signature: &Signature, outputs: &Outputs, at: usize, truth: &str) -> Prediction {
    let said = &outputs.rows[at];
    Prediction {
        label: said.label.clone(),
        class: said.predicted.and_then(|class| u32::try_from(class).ok()),
        confidence: said.confidence.filter(|confidence| confidence.is_finite()),
        true_probability: true_probability(signature, outputs, at, truth).filter(|p| p.is_finite()),
        value: said.value.map(f64::from).filter(|value| value.is_finite()),
    }
}

/// The probability given to the true class: 0 for a class the model does not know, none without probabilities.
fn true_probability(signature: &Signature, outputs: &Outputs, at: usize, truth: &str) -> Option<f64> {
    let roles = &signature.roles;
    let (name, logits) = match (&roles.probabilities, &roles.logits) {
        (Some(name), _) => (name, false),
        (None, Some(name)) => (name, true),
        (None, None) => return None,
    };
    let scores = row_of(outputs.get(name)?, at)?;
    let Some(class) = signature.classes().iter().position(|class| class == truth) else { return Some(0.0) };
    match scores[..] {
        [one] => {
            let positive = if logits { 1.0 / (1.0 + (-one).exp()) } else { one };
            Some(if class == 1 { positive } else { 1.0 - positive })
        }
        _ if logits => {
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            Some((scores.get(class)? - top).exp() / sum)
        }
        _ => scores.get(class).copied(),
    }
}

fn row_of(tensor: &Tensor, at: usize) -> Option<Vec<f64>> {
    let width = tensor.row_len();
    match tensor.data() {
        TensorData::Bytes(_) => None,
        _ => (at * width..(at + 1) * width).map(|index| tensor.number(index)).collect(),
    }
}
