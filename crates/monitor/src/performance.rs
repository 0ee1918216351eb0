//! Performance from labels: a window of right and wrong, and a detector of a worse error rate.
//!
//! A label is observed when it arrives, however late; joining labels to predictions is the caller's business.
//! Deliberately missing: errors that are numbers ([`crate::LossDetector`]), confidence sequences and segments
//! ([`crate::Performance`]).

use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::confidence::{bernoulli_upper, radius};
use crate::mixture::Mixture;

/// Longest window of labels.
pub const MAX_LABEL_WINDOW: usize = 1 << 20;
/// Odds of an error, over the null's, that the detector looks for. The nearest also keeps a distance from
/// baselines that were a little lucky: it gains evidence only about half way between it and the null.
const ERROR_ODDS: [f64; 4] = [1.4, 2.2, 4.5, 12.0];
/// One-sided 95% for the baseline's own uncertainty, after one more error than was seen: a lucky baseline
/// of few errors is the dangerous one.
const BASELINE_DEVIATIONS: f64 = 1.645;

/// A bounded window over the latest labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelWindow {
    ring: Vec<bool>,
    capacity: usize,
    next: usize,
    correct: usize,
}

impl LabelWindow {
    /// A window of `capacity` labels, clamped to 1 ..= [`MAX_LABEL_WINDOW`].
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, MAX_LABEL_WINDOW);
        Self { ring: Vec::with_capacity(capacity), capacity, next: 0, correct: 0 }
    }

    /// Takes one label.
    pub fn observe(&mut self, correct: bool) {
        if self.ring.len() < self.capacity {
            self.ring.push(correct);
        } else {
            self.correct -= usize::from(self.ring[self.next]);
            self.ring[self.next] = correct;
        }
        self.correct += usize::from(correct);
        self.next = (self.next + 1) % self.capacity;
    }

    /// Share of right predictions in the window and how many it holds; none before the first label.
    #[must_use]
    pub fn accuracy(&self) -> Option<(f64, u64)> {
        let n = self.ring.len();
        (n > 0).then(|| (self.correct as f64 / n as f64, n as u64))
    }

    /// Forgets all labels, as after a change of model.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.next = 0;
        self.correct = 0;
    }

    /// Oldest first.
    fn labels(&self) -> impl Iterator<Item = bool> + '_ {
        let oldest = if self.ring.len() < self.capacity { 0 } else { self.next };
        self.ring[oldest..].iter().chain(&self.ring[..oldest]).copied()
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.bytes(&self.labels().map(u8::from).collect::<Vec<_>>());
    }

    pub(crate) fn read(capacity: usize, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut window = Self::new(capacity);
        let labels = r.bytes("labels", MAX_LABEL_WINDOW)?;
        ensure(labels.iter().all(|label| *label <= 1), "labels")?;
        labels.iter().for_each(|label| window.observe(*label == 1));
        Ok(window)
    }
}

/// A worse error rate than the baseline's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecayDetection {
    /// Labels since the detector was made, this one included.
    pub label: u64,
    /// Estimated first label after the change.
    pub change_label: u64,
    /// Evidence that passed the threshold.
    pub log10_evidence: f64,
    /// The threshold.
    pub log10_threshold: f64,
}

/// Shiryaev-Roberts detector of an error rate above the baseline's, over a grid of worse rates.
///
/// The null is every error rate up to the baseline's upper confidence bound; for rates below it the ratios
/// have expectations below one, so the mean time to a false alarm is at least the given run length.
#[derive(Debug, Clone, PartialEq)]
pub struct DecayDetector {
    null_error: f64,
    /// Per alternative: ratio of a wrong and of a right prediction.
    ratios: [(f64, f64); ERROR_ODDS.len()],
    mixture: Mixture<{ ERROR_ODDS.len() }>,
}

impl DecayDetector {
    /// A detector for a model that was right `accuracy` of the time on `n` held-out rows.
    #[must_use]
    pub fn new(accuracy: f64, n: u64, arl_labels: f64) -> Self {
        let error = if accuracy.is_nan() { 1.0 } else { (1.0 - accuracy).clamp(0.0, 1.0) };
        let rows = n as f64;
        let one_more = (error * rows + 1.0) / (rows + 1.0);
        let null_error = bernoulli_upper(one_more, radius(BASELINE_DEVIATIONS, n)).clamp(1e-6, 1.0 - 1e-6);
        let ratio = |odds: f64| {
            let worse = null_error * odds / (1.0 - null_error + null_error * odds);
            (worse / null_error, (1.0 - worse) / (1.0 - null_error))
        };
        Self { null_error, ratios: ERROR_ODDS.map(ratio), mixture: Mixture::new(arl_labels) }
    }

    /// Highest error rate that is still the baseline.
    #[must_use]
    pub const fn null_error(&self) -> f64 {
        self.null_error
    }

    /// Takes one label; reports decay and re-arms when the evidence passes the threshold.
    pub fn observe(&mut self, correct: bool) -> Option<DecayDetection> {
        let Self { ratios, mixture, .. } = self;
        mixture.observe(|k| if correct { ratios[k].1 } else { ratios[k].0 })
    }

    /// Forgets all evidence.
    pub fn rearm(&mut self) {
        self.mixture.rearm();
    }

    /// Labels since the detector was made.
    #[must_use]
    pub const fn labels(&self) -> u64 {
        self.mixture.observed()
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.mixture.write(w);
    }

    pub(crate) fn read(&self, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { mixture: self.mixture.read(r)?, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_the_oldest() {
        let mut window = LabelWindow::new(4);
        assert_eq!(window.accuracy(), None);
        [false, false, true, true, true].into_iter().for_each(|label| window.observe(label));
        assert_eq!(window.accuracy(), Some((0.75, 4)));
        window.observe(true);
        assert_eq!(window.accuracy(), Some((1.0, 4)));
    }

    #[test]
    fn the_null_grows_as_the_baseline_shrinks() {
        let bound = |n| DecayDetector::new(0.97, n, 1e9).null_error();
        assert!(bound(100_000) < 0.032 && bound(300) > 0.04 && bound(300) < 0.055 && bound(20) > 0.1);
        assert!(DecayDetector::new(1.0, 300, 1e9).null_error() > 1e-3);
    }

    #[test]
    fn nonsense_baselines_are_silent() {
        for accuracy in [f64::NAN, -1.0, 0.0] {
            let mut detector = DecayDetector::new(accuracy, 0, 1e6);
            assert!((0..5_000).all(|_| detector.observe(false).is_none()), "{accuracy}");
        }
    }
}
