//! What a monitor says when it speaks.

use serde::{Deserialize, Serialize};

/// Why an alarm was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The distribution of inputs, predictions or confidence changed.
    Drift,
    /// A single impossible value.
    Outlier,
    /// Labels show a higher error rate than at evaluation.
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
    /// The offending value of an outlier if finite; the windowed accuracy of a decay.
    pub value: Option<f64>,
    /// The same in a sentence.
    pub message: String,
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
