//! Putting a bundle together: the model's forms, their golden tests, the monitor's reference, card and lineage.

use std::path::Path;

use edgeward_core::canonical::{self, CanonicalError};
use edgeward_core::{Dataset, Digest};
use edgeward_model::bundle::path;
use edgeward_model::golden::GoldenError;
use edgeward_model::{Bundle, BundleError, BundleWriter, Engine, Golden, Signature, Tolerance};
use edgeward_monitor::{Calibration, FitError, MAX_REFERENCE_ROWS, Reference, Sample};
use serde_json::Value;

use crate::convert::Form;
use crate::examine::{self, ExamineError};
use crate::measure::Prediction;
use crate::project::{ProjectFile, TaskKind};
use crate::run::Tools;

/// Held-out rows of a golden test.
pub const GOLDEN_ROWS: usize = 16;

/// A bundle that cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A file cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A golden test cannot be recorded.
    #[error("recording the golden test")]
    Golden(#[from] GoldenError),
    /// A form does not run.
    #[error(transparent)]
    Examine(#[from] ExamineError),
    /// No reference follows from the held-out rows.
    #[error("fitting the monitor's reference")]
    Reference(#[from] FitError),
    /// A document has no canonical form.
    #[error(transparent)]
    Write(#[from] CanonicalError),
}

/// What goes into a bundle.
pub struct Parts<'a> {
    /// The project.
    pub project: &'a ProjectFile,
    /// The trained model.
    pub trained: &'a [u8],
    /// What its tensors mean.
    pub signature: &'a Signature,
    /// Its forms, the preferred one first.
    pub forms: &'a [Form],
    /// The held-out rows.
    pub holdout: &'a Dataset,
    /// What the preferred form said about them.
    pub predictions: &'a [Prediction],
    /// Accuracy of the preferred form and the number of rows it was measured on; none for numbers.
    pub baseline_accuracy: Option<(f64, u64)>,
    /// For people.
    pub card: String,
    /// Where it comes from.
    pub lineage: Value,
}

/// Writes the bundle below `parent`.
///
/// # Errors
/// A form does not run, the reference cannot be fitted, or a file cannot be written.
pub fn assemble(parts: &Parts<'_>, tools: &Tools<'_>, parent: &Path) -> Result<Bundle, AssembleError> {
    let mut writer = BundleWriter::new(parts.project.model.clone());
    writer.model(parts.trained.to_vec())?.signature(parts.signature)?;
    let rows = golden_rows(parts.holdout);
    for form in parts.forms {
        writer.form(form.variant.clone(), form.bytes.clone())?;
        writer.variant_golden(&form.variant.label(), &golden(parts, form, &rows, tools.engines)?)?;
    }
    let reference = reference(parts)?;
    let mut config = parts.project.monitor_config(parts.baseline_accuracy);
    config.calibration = calibration(parts, &reference);
    writer
        .add(path::REFERENCE_PROFILE, reference.to_bytes())?
        .add(path::MONITOR, canonical::to_bytes(&config)?)?
        .add(path::CARD, parts.card.clone().into_bytes())?
        .add(path::LINEAGE, canonical::to_bytes(&parts.lineage)?)?;
    if parts.project.task() == TaskKind::Regression {
        writer.add(path::LABELS_PROFILE, label_reference(parts.holdout)?.to_bytes())?;
    }
    Ok(writer.write(parent)?)
}

/// The held-out rows with the smallest digests: the same ones whatever their order.
fn golden_rows(holdout: &Dataset) -> Dataset {
    let mut rows: Vec<(Digest, usize)> =
        (0..holdout.len()).map(|row| (holdout.row_digest(row), row)).collect();
    rows.sort_unstable();
    rows.truncate(GOLDEN_ROWS);
    holdout.select(&rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>())
}

/// Row by row, so that a device needs no batch to run it. A form that no engine here runs is held to the answers of the
/// preferred one, within the bounds of parity.
fn golden(
    parts: &Parts<'_>,
    form: &Form,
    rows: &Dataset,
    engines: &[&dyn Engine],
) -> Result<Golden, AssembleError> {
    let record = |form: &Form, engine: &dyn Engine, tolerance: Tolerance| {
        let session = examine::load(&form.bytes, parts.signature, &form.variant.dtype, engine)?;
        let calls = examine::calls(parts.signature, rows, 1)?;
        Ok::<_, AssembleError>(Golden::record(session.runnable(), &calls, tolerance)?)
    };
    if let Ok(engine) = examine::engine_for(&form.variant, engines) {
        let is_int8 = form.variant.dtype.starts_with("int8");
        return record(form, engine, if is_int8 { Tolerance::int8() } else { Tolerance::default() });
    }
    let running = |form: &'_ Form| examine::engine_for(&form.variant, engines).ok();
    let Some((preferred, engine)) = parts.forms.iter().find_map(|form| Some((form, running(form)?))) else {
        let why = format!("no engine here runs {} or any other form", form.variant.label());
        return Err(ExamineError::Purpose(why).into());
    };
    let parity = &parts.project.convert.parity;
    let abs = parity.abs_difference_max.unwrap_or(Tolerance::default().abs);
    record(preferred, engine, Tolerance { abs, rel: parity.rel_difference_max.unwrap_or(0.0) })
}

/// Held-out rows only: on rows a model learned from it is surer than it will ever be again.
fn reference(parts: &Parts<'_>) -> Result<Reference, FitError> {
    let Parts { holdout, predictions, signature, .. } = parts;
    let rows = (0..holdout.len().min(MAX_REFERENCE_ROWS)).zip(*predictions).map(|(row, said)| Sample {
        features: holdout.row(row),
        predicted: said.class,
        confidence: said.confidence,
    });
    Reference::fit(&holdout.feature_names, signature.classes(), rows)
}

/// What the labels of a regression look like, so that a device knows an impossible one.
fn label_reference(holdout: &Dataset) -> Result<Reference, FitError> {
    let number = |label: &String| label.parse().unwrap_or(f32::NAN);
    let labels: Vec<f32> = holdout.labels.iter().take(MAX_REFERENCE_ROWS).map(number).collect();
    let rows = labels.iter().map(|label| Sample {
        features: std::slice::from_ref(label),
        predicted: None,
        confidence: None,
    });
    Reference::fit(&["label".to_owned()], &[], rows)
}

/// How often the model was right at each confidence, on held-out rows; none for numbers.
fn calibration(parts: &Parts<'_>, reference: &Reference) -> Option<Calibration> {
    parts.baseline_accuracy?;
    let pairs = parts.predictions.iter().zip(&parts.holdout.labels);
    let rows = pairs.map(|(said, truth)| (said.confidence, said.label.as_ref() == Some(truth)));
    Calibration::fit(reference, rows.filter(|(confidence, _)| confidence.is_some()))
}
