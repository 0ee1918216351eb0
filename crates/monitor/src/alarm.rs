//! What a monitor says when it speaks.

use serde::{Deserialize, Serialize};

use crate::category::MAX_CATEGORY_BYTES;
use crate::detector::Detection;
use crate::outlier::Outlier;
use crate::performance::DecayDetection;
use crate::reference::Stream;
use crate::sample::UNSEEN_VALUE;

/// Categories that an alarm names.
const NAMED_MAX: usize = 8;

/// Why an alarm was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The distribution of inputs, predictions or confidence changed.
    Drift,
    /// A single impossible value.
    Outlier,
    /// Labels show a higher error rate, or larger errors, than at evaluation.
    Decay,
}

/// One alarm, with the evidence it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Why it was raised.
    pub kind: AlarmKind,
    /// Stream with the most evidence: a feature's name, `prediction` or `confidence`; none for decay.
    pub stream: Option<String>,
    /// Samples (labels for [`AlarmKind::Decay`]) seen since the monitor's first start, this one included.
    pub sample: u64,
    /// Estimated sample (or label) at which the change began.
    pub change_sample: Option<u64>,
    /// Evidence against "nothing changed".
    pub log10_evidence: f64,
    /// Threshold that the evidence passed; it follows from the budget.
    pub log10_threshold: f64,
    /// The offending value of an outlier if finite; the windowed accuracy of a decay, or the windowed mean absolute error
    /// of a regression's.
    pub value: Option<f64>,
    /// The same in a sentence.
    pub message: String,
}

impl Alarm {
    /// The same for a form that knows no infinity, such as JSON: evidence without bound becomes the largest number.
    #[must_use]
    pub fn with_finite_evidence(self) -> Self {
        let finite = |value: f64| if value.is_finite() { value } else { f64::MAX.copysign(value) };
        Self {
            log10_evidence: finite(self.log10_evidence),
            log10_threshold: finite(self.log10_threshold),
            value: self.value.filter(|value| value.is_finite()),
            ..self
        }
    }
}

/// Evidence of one stream, for a plot beside the threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamEvidence {
    /// Name of the stream.
    pub stream: String,
    /// The stream's share of the device's evidence; at most the sum that is held against the threshold.
    pub log10_evidence: f64,
    /// Threshold for the sum over streams.
    pub log10_threshold: f64,
}

pub(crate) fn drift_alarm(stream: &Stream, detection: &Detection) -> Alarm {
    let ago = detection.sample - detection.change_sample;
    Alarm {
        kind: AlarmKind::Drift,
        stream: Some(stream.name.clone()),
        sample: detection.sample,
        change_sample: Some(detection.change_sample),
        log10_evidence: detection.log10_evidence,
        log10_threshold: detection.log10_threshold,
        value: None,
        message: format!(
            "'{}' has {} since about {ago} samples ago (evidence 10^{:.1}, threshold 10^{:.1})",
            stream.name,
            detection.alternative.describe(stream),
            detection.log10_evidence,
            detection.log10_threshold,
        ),
    }
}

pub(crate) fn outlier_alarm(stream: &Stream, outlier: Outlier, sample: u64, arl: f64) -> Alarm {
    let what = match (stream.categories(), outlier.value) {
        (Some(categories), value)
            if value.to_bits() == UNSEEN_VALUE.to_bits() || categories.are_texts() && !value.is_nan() =>
        {
            "another category".to_owned()
        }
        (_, value) if value.is_nan() => "no value".to_owned(),
        (_, value) => format!("the value {value}"),
    };
    let log10_threshold = arl.log10();
    Alarm {
        kind: AlarmKind::Outlier,
        stream: Some(stream.name.clone()),
        sample,
        change_sample: Some(sample),
        log10_evidence: if outlier.log10_evidence.is_finite() {
            outlier.log10_evidence
        } else {
            log10_threshold
        },
        log10_threshold,
        value: outlier.value.is_finite().then_some(f64::from(outlier.value)),
        message: match outlier.surprise {
            Some(surprise) => format!(
                "'{}' has {what}, {surprise:.1} deviations from what its past let expect",
                stream.name
            ),
            None => format!("'{}' has {what}; {}", stream.name, held(stream)),
        },
    }
}

/// What the reference holds of a stream, in words.
fn held(stream: &Stream) -> String {
    match stream.numeric().map(|numeric| numeric.bins.support()) {
        Some((low, high)) => format!("the reference holds {low} to {high}"),
        None => {
            let names = stream.names().unwrap_or_default();
            let shown = names.iter().take(NAMED_MAX).map(|name| format!("'{name}'"));
            let shown: Vec<String> =
                shown.chain((names.len() > NAMED_MAX).then(|| "...".to_owned())).collect();
            format!("the reference holds {} categories: {}", names.len(), shown.join(", "))
        }
    }
}

/// Names the category that nobody knew, in the alarms that it raised.
pub(crate) fn name_category(alarms: &mut [Alarm], stream: &Stream, text: &str) {
    let raised = |alarm: &&mut Alarm| {
        alarm.kind == AlarmKind::Outlier && alarm.stream.as_deref() == Some(stream.name())
    };
    let short = &text[..text.floor_char_boundary(MAX_CATEGORY_BYTES)];
    for alarm in alarms.iter_mut().filter(raised) {
        alarm.message = format!("'{}' has '{short}'; {}", stream.name, held(stream));
    }
}

pub(crate) fn decay_alarm(
    detection: DecayDetection,
    window: Option<(f64, u64)>,
    baseline: Option<(f64, u64)>,
) -> Alarm {
    let (accuracy, n) = window.unwrap_or((0.0, 0));
    let expected = baseline.map_or(0.0, |(accuracy, _)| accuracy);
    let words = format!("accuracy is {accuracy:.3} over the last {n} labels, {expected:.3} at evaluation");
    decay(detection, accuracy, &words)
}

/// Decay of a regression: `errors` are the window's mean absolute error and its labels.
pub(crate) fn error_alarm(detection: DecayDetection, errors: Option<(f64, u64)>, evaluated: f64) -> Alarm {
    let (mae, n) = errors.unwrap_or((0.0, 0));
    let words =
        format!("the mean absolute error is {mae:.4} over the last {n} labels, {evaluated:.4} at evaluation");
    decay(detection, mae, &words)
}

fn decay(detection: DecayDetection, value: f64, words: &str) -> Alarm {
    Alarm {
        kind: AlarmKind::Decay,
        stream: None,
        sample: detection.label,
        change_sample: Some(detection.change_label),
        log10_evidence: detection.log10_evidence,
        log10_threshold: detection.log10_threshold,
        value: Some(value).filter(|value| value.is_finite()),
        message: format!(
            "{words}; worse since about {} labels ago",
            detection.label - detection.change_label
        ),
    }
}
