//! A number with the range it is known to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sequence::Interval;

/// Error level where none, or nonsense, is asked for.
pub(crate) const DEFAULT_ALPHA: f64 = 0.05;
/// What the intervals of losses without a bound rest on.
const FINITE_VARIANCE: &str = "assumes losses of finite variance; rough below 100 labels";

/// A metric with its confidence sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Its value on the labels so far.
    pub value: f64,
    /// Lower end; it holds at all numbers of labels at once.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Labels it rests on.
    pub n: u64,
    /// How far `value` may be from that of the same labels without binning; 0 for metrics that bin nothing.
    #[serde(default)]
    pub binning_error: f64,
    /// What the range, or the value, takes for granted beyond losses of one mean; none for most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumes: Option<String>,
}

impl Estimate {
    pub(crate) const fn new(value: f64, (low, high): Interval, n: u64) -> Self {
        Self { value, low, high, n, binning_error: 0.0, assumes: None }
    }

    pub(crate) fn of_unbounded(value: f64, interval: Interval, n: u64) -> Self {
        Self { assumes: Some(FINITE_VARIANCE.to_owned()), ..Self::new(value, interval, n) }
    }

    /// Whether `value` lies outside the range.
    #[must_use]
    pub fn excludes(&self, value: f64) -> bool {
        value < self.low || value > self.high
    }
}

/// The metrics of some labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PerformanceReport {
    /// Labels that were judged.
    pub labels: u64,
    /// Labels that could not be.
    pub unjudged: u64,
    /// By name: `accuracy`, `balanced_accuracy`, `f1_macro`, `auc`, `log_loss`, `brier`, `calibration_error` of
    /// classifiers; `mae`, `rmse`, `quantile_loss` of regressions.
    pub metrics: BTreeMap<String, Estimate>,
    /// F1 of each class, by its name or, beyond the names, its index.
    pub f1: BTreeMap<String, Estimate>,
}

impl PerformanceReport {
    pub(crate) fn put(&mut self, name: &str, estimate: Estimate) {
        self.metrics.insert(name.to_owned(), estimate);
    }
}
