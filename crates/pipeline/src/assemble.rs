//! Putting a bundle together: the model's forms, their golden tests, the monitor's reference, card and lineage.

use std::path::Path;

use edgeward_core::canonical::{self, CanonicalError};
use edgeward_core::{Dataset, Digest};
use edgeward_model::bundle::path;
use edgeward_model::golden::GoldenError;
use edgeward_model::{Bundle, BundleError, BundleWriter, Engine, Golden, Signature, Tolerance};
use serde_json::Value;

use crate::convert::Form;
use crate::examine::{self, ExamineError};
use crate::measure::Prediction;
use crate::project::ProjectFile;
use crate::run::Tools;
use crate::yardstick::{Yardstick, YardstickError};

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
    /// No reference follows from the rows.
    #[error(transparent)]
    Yardstick(#[from] YardstickError),
    /// A field to redact, or that says whom a row is about, that the model does not have.
    #[error(
        "[records] {key} names '{field}', which is no feature and no input of the model; correct the name"
    )]
    Records {
        /// The key in the table.
        key: &'static str,
        /// What it names.
        field: String,
    },
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
    /// The rows it learned from; they are needed of a model with an embedding.
    pub learned: Option<&'a Dataset>,
    /// What the preferred form said about them.
    pub predictions: &'a [Prediction],
    /// Accuracy of the preferred form and the number of rows it was measured on; none for numbers.
    pub baseline_accuracy: Option<(f64, u64)>,
    /// For people.
    pub card: String,
    /// What it is made of.
    pub bom: Value,
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
    let Yardstick { reference, labels, neighbours, config } = Yardstick::of(parts, tools.engines)?;
    writer
        .add(path::REFERENCE_PROFILE, reference.to_bytes())?
        .add(path::MONITOR, canonical::to_bytes(&config)?)?
        .add(path::CARD, parts.card.clone().into_bytes())?
        .add(path::BOM, canonical::to_bytes(&parts.bom)?)?
        .add(path::LINEAGE, canonical::to_bytes(&parts.lineage)?)?;
    if let Some(policy) = parts.project.record_policy() {
        check_named("redact", &policy.redact, parts.signature)?;
        check_named("subject", policy.subject.as_slice(), parts.signature)?;
        writer.add(path::RECORDS, canonical::to_bytes(&policy)?)?;
    }
    if let Some(labels) = labels {
        writer.add(path::LABELS_PROFILE, labels.to_bytes())?;
    }
    if let Some(neighbours) = neighbours {
        writer.add(path::REFERENCE_EMBEDDINGS, neighbours.to_bytes())?;
    }
    Ok(writer.write(parent)?)
}

/// A name that is misspelt would leave what it means in every record.
fn check_named(key: &'static str, fields: &[String], signature: &Signature) -> Result<(), AssembleError> {
    let known = |field: &String| {
        signature.feature_names.contains(field) || signature.inputs.iter().any(|input| input.name == *field)
    };
    match fields.iter().find(|field| !known(field)) {
        Some(field) => Err(AssembleError::Records { key, field: field.clone() }),
        None => Ok(()),
    }
}

/// The held-out rows with the smallest digests: the same ones whatever their order.
fn golden_rows(holdout: &Dataset) -> Dataset {
    some_rows(holdout, GOLDEN_ROWS)
}

/// The rows with the smallest digests, at most `most`.
pub(crate) fn some_rows(dataset: &Dataset, most: usize) -> Dataset {
    let mut rows: Vec<(Digest, usize)> =
        (0..dataset.len()).map(|row| (dataset.row_digest(row), row)).collect();
    rows.sort_unstable();
    rows.truncate(most);
    dataset.select(&rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>())
}

/// The first form that runs here, and on what.
pub(crate) fn running<'a>(
    forms: &'a [Form],
    engines: &[&'a dyn Engine],
) -> Result<(&'a Form, &'a dyn Engine), ExamineError> {
    let found = forms.iter().find_map(|form| Some((form, examine::engine_for(&form.variant, engines).ok()?)));
    found.ok_or_else(|| ExamineError::Purpose("no engine here runs any form of the model".to_owned()))
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
    let (preferred, engine) = running(parts.forms, engines)?;
    let parity = &parts.project.convert.parity;
    let abs = parity.abs_difference_max.unwrap_or(Tolerance::default().abs);
    record(preferred, engine, Tolerance { abs, rel: parity.rel_difference_max.unwrap_or(0.0) })
}
