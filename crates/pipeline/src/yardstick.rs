//! What a device holds a model's requests and labels against: the reference, errors and confidence of the evaluation, what
//! labels looked like, and the embeddings of rows that the model learned from.
//!
//! Everything but the embeddings is of held-out rows: on rows a model learned from it is surer than it will ever be again.

use edgeward_core::Dataset;
use edgeward_model::{Dim, Engine, Signature};
use edgeward_monitor::{
    Calibration, ErrorBaseline, Feature, FeatureKind, FitError, ImageLayout, InputView, MAX_EMBEDDINGS,
    MAX_REFERENCE_ROWS, MonitorConfig, Neighbours, NeighboursError, Reference, Sample, View,
};

use crate::assemble::{Parts, running, some_rows};
use crate::examine::{self, ExamineError};
use crate::project::{ImageTable, TaskKind};

/// Part of the largest label that an error must exceed to count: sixteen steps of single precision.
const PRECISION: f64 = 16.0 * f32::EPSILON as f64;

/// Features that an error names.
const NAMED_MAX: usize = 12;

/// What nothing can be held against.
#[derive(Debug, thiserror::Error)]
pub enum YardstickError {
    /// No reference follows from the held-out rows.
    #[error("fitting the monitor's reference")]
    Reference(#[from] FitError),
    /// The model's embeddings are of no use.
    #[error(
        "keeping the embeddings of rows that the model learned from; [train.params] embedding = false does without"
    )]
    Neighbours(#[from] NeighboursError),
    /// The input is not what `[monitor]` says.
    #[error("{0}")]
    Input(String),
    /// The model does not run.
    #[error(transparent)]
    Examine(#[from] ExamineError),
}

/// What a device compares with.
pub(crate) struct Yardstick {
    /// What features, predictions and confidence looked like.
    pub(crate) reference: Reference,
    /// What labels that are numbers looked like.
    pub(crate) labels: Option<Reference>,
    /// Embeddings that the model learned from.
    pub(crate) neighbours: Option<Neighbours>,
    /// How to compare.
    pub(crate) config: MonitorConfig,
}

impl Yardstick {
    /// Measures it.
    ///
    /// # Errors
    /// No reference follows from the rows, or the model does not run on them.
    pub(crate) fn of(parts: &Parts<'_>, engines: &[&dyn Engine]) -> Result<Self, YardstickError> {
        let Parts { holdout, predictions, signature, .. } = parts;
        let mut config = parts.project.monitor_config(parts.baseline_accuracy);
        config.input = input_view(parts)?;
        let (neighbours, embedded) = Embedded::of(parts, engines)?.unzip();
        let view = View::new(config.input, holdout.width(), neighbours.clone());
        let rows: Vec<_> = (0..holdout.len().min(MAX_REFERENCE_ROWS))
            .map(|row| {
                view.row(
                    holdout.row(row),
                    embedded.as_ref().and_then(|embedded: &Embedded| embedded.row(row)),
                )
            })
            .collect();
        let samples = rows.iter().zip(*predictions).map(|(features, said)| Sample {
            features,
            predicted: said.class,
            confidence: said.confidence,
        });
        let features = features(view.names(&holdout.feature_names), &parts.project.monitor.categories)?;
        let reference = Reference::fit_features(&features, signature.classes(), samples)?;
        config.calibration = calibration(parts, &reference);
        config.baseline_error = error_baseline(parts);
        let labels = match parts.project.task() {
            TaskKind::Regression => Some(label_reference(holdout)?),
            TaskKind::Classification => None,
        };
        Ok(Self { reference, labels, neighbours, config })
    }
}

/// The features by name, those that are codes told apart.
fn features(names: Vec<String>, codes: &[String]) -> Result<Vec<Feature>, YardstickError> {
    if let Some(unknown) = codes.iter().find(|code| !names.contains(code)) {
        let known: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = if names.len() > NAMED_MAX { ", ..." } else { "" };
        return Err(YardstickError::Input(format!(
            "[monitor] categories names '{unknown}', which is no feature; the features are {}{more}",
            known.join(", ")
        )));
    }
    let kind = |name: &String| if codes.contains(name) { FeatureKind::Codes } else { FeatureKind::Number };
    Ok(names.into_iter().map(|name| Feature { kind: kind(&name), name }).collect())
}

/// How devices watch inputs: as `[monitor]` says, else as images if their shape is that of images.
fn input_view(parts: &Parts<'_>) -> Result<InputView, YardstickError> {
    let (monitor, holdout) = (&parts.project.monitor, parts.holdout);
    if let Some(audio) = monitor.audio {
        return Ok(InputView::Audio { sample_rate: audio.sample_rate });
    }
    let said = monitor.image.map(|image| {
        let ImageTable { width, height, channels, planar, .. } = image;
        let white = image.white.unwrap_or_else(|| white(holdout));
        ImageLayout { width, height, channels, planar, white }
    });
    let layout = said.or_else(|| image_of(&parts.signature.inputs.first()?.shape, holdout));
    let Some(layout) = layout else { return Ok(InputView::Columns) };
    let values = layout.width * layout.height * layout.channels;
    match values == holdout.width() {
        true => Ok(InputView::Image(layout)),
        false => Err(YardstickError::Input(format!(
            "[monitor.image] has {values} values ({} x {} x {}), the input {}; correct width, height and channels",
            layout.width,
            layout.height,
            layout.channels,
            holdout.width()
        ))),
    }
}

/// The image that an input of four dimensions is.
fn image_of(shape: &[Dim], holdout: &Dataset) -> Option<ImageLayout> {
    let [_, Dim::Fixed(a), Dim::Fixed(b), Dim::Fixed(c)] = *shape else { return None };
    let is_colour = |channels| matches!(channels, 1 | 3 | 4);
    let (height, width, channels, planar) = match (is_colour(a), is_colour(c)) {
        (true, _) => (b, c, a, true),
        (false, true) => (a, b, c, false),
        _ => return None,
    };
    Some(ImageLayout { width, height, channels, planar, white: white(holdout) })
}

/// The value of white that pixels on held-out rows suggest.
fn white(holdout: &Dataset) -> f32 {
    let largest = holdout.values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f32::max);
    [1.0, 255.0].into_iter().find(|white| largest <= *white).unwrap_or(largest)
}

/// Embeddings of the held-out rows.
struct Embedded {
    values: Vec<f32>,
    width: usize,
}

impl Embedded {
    /// The embeddings to compare with, and those of the held-out rows; none for a model without.
    fn of(parts: &Parts<'_>, engines: &[&dyn Engine]) -> Result<Option<(Neighbours, Self)>, YardstickError> {
        let Some(learned) = parts.learned.filter(|_| has_embedding(parts.signature)) else { return Ok(None) };
        let (form, engine) = running(parts.forms, engines)?;
        let session = examine::load(&form.bytes, parts.signature, &form.variant.dtype, engine)?;
        let known = examine::embeddings(&session, &some_rows(learned, MAX_EMBEDDINGS))?;
        let held_out = examine::embeddings(&session, parts.holdout)?;
        let (Some((known, width)), Some((values, _))) = (known, held_out) else { return Ok(None) };
        Ok(Some((Neighbours::fit(&known, width)?, Self { values, width })))
    }

    fn row(&self, row: usize) -> Option<&[f32]> {
        self.values.get(row * self.width..(row + 1) * self.width)
    }
}

/// Whether the model gives an embedding beside its answer.
pub(crate) const fn has_embedding(signature: &Signature) -> bool {
    signature.roles.embedding.is_some()
}

/// How large a regression's errors are on held-out rows, so that a device knows larger ones; none for classes. Errors in
/// the last places of single precision, in which models answer, are of no account.
fn error_baseline(parts: &Parts<'_>) -> Option<ErrorBaseline> {
    if parts.project.task() != TaskKind::Regression {
        return None;
    }
    let truths: Vec<f64> =
        parts.holdout.labels.iter().map(|label| label.parse().unwrap_or(f64::NAN)).collect();
    let largest = truths.iter().fold(0.0, |largest: f64, truth| largest.max(truth.abs()));
    let said = parts.predictions.iter().map(|said| said.value.unwrap_or(f64::NAN));
    let errors: Vec<f64> = said.zip(&truths).map(|(said, truth)| said - truth).collect();
    ErrorBaseline::of(&errors, largest * PRECISION)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_and_unknown_ones_are_named() {
        let names = || ["size", "colour"].map(str::to_owned).to_vec();
        let found = features(names(), &["colour".to_owned()]).unwrap();
        assert_eq!(found[0].kind, FeatureKind::Number);
        assert_eq!((found[1].name.as_str(), &found[1].kind), ("colour", &FeatureKind::Codes));
        let said = features(names(), &["hue".to_owned()]).unwrap_err().to_string();
        assert_eq!(
            said,
            "[monitor] categories names 'hue', which is no feature; the features are size, colour"
        );
    }
}
