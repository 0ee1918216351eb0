//! Worse losses than the baseline's, of any kind that lies between 0 and 1: an absolute error over the largest that
//! matters, a log loss over its cap, a Brier score.
//!
//! For a stake `s` the factor `1 + s (loss - mean)` has an expectation of at most one while losses have a mean of
//! at most `mean`, whatever their distribution and however they depend on each other. Multiplied and restarted at
//! every loss as Shiryaev and Roberts do, and averaged over a grid of stakes, it is an e-detector: the mean time to a
//! false alarm is at least the threshold. Source: J. Shin, A. Ramdas, A. Rinaldo, "E-detectors" (2022), for the
//! detector; A. Maurer, M. Pontil, COLT (2009), for the mean of a finite baseline.
//!
//! "However they depend on each other" has one condition: that the *expected* loss stays at most the baseline's, whatever
//! came before. Times in which a model errs more than it did over its held-out rows are decay by this measure, even if
//! they are known to pass.
//!
//! Deliberately missing: better losses (no alarm is due) and losses without a bound (no such test exists).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::confidence::{bernoulli_upper, radius};
use crate::mixture::Mixture;
use crate::performance::DecayDetection;

const STAKES: usize = 8;
/// Least stake, and the largest in parts of the one that a loss of 0 would ruin.
const STAKE_MIN: f64 = 0.1;
const STAKE_PART_MAX: f64 = 0.9;
/// Probability that a baseline's mean lies beyond its bound.
const BASELINE_MISS: f64 = 0.05;
const BASELINE_DEVIATIONS: f64 = 1.645;
/// Share of held-out rows whose error is below the bound of losses.
const BOUND_QUANTILE: f64 = 0.99;
const DOCUMENT: &str = "loss detector state";
const MAGIC: [u8; 4] = *b"EWLD";
const VERSION: u8 = 1;

/// How large a regression's errors were on held-out rows, as losses from 0 to 1: what [`LossDetector`] compares with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBaseline {
    /// Absolute error that counts as a whole loss, in the label's unit; larger ones count no more.
    pub bound: f64,
    /// Mean absolute error, in the label's unit.
    pub mae: f64,
    /// Mean loss.
    pub mean: f64,
    /// Standard deviation of the losses.
    pub sd: f64,
    /// Held-out rows.
    pub rows: u64,
}

impl ErrorBaseline {
    /// The baseline of absolute errors on held-out rows. The bound is the error that one row in a hundred exceeded, so
    /// that no single row outweighs the others, and at least `resolution`, below which errors are of no account. None of
    /// fewer than two errors, or of any that is no number.
    #[must_use]
    pub fn of(errors: &[f64], resolution: f64) -> Option<Self> {
        let mut rising: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        if rising.len() < 2 || !rising.iter().all(|error| error.is_finite()) {
            return None;
        }
        rising.sort_by(f64::total_cmp);
        let rows = rising.len() as f64;
        let rank = (BOUND_QUANTILE * (rows - 1.0)).round() as usize;
        let bound = rising[rank].max(resolution).max(f64::MIN_POSITIVE);
        let losses = rising.iter().map(|error| (error / bound).min(1.0));
        let mean = losses.clone().sum::<f64>() / rows;
        let sd = (losses.map(|loss| (loss - mean).powi(2)).sum::<f64>() / rows).sqrt();
        let mae = rising.iter().sum::<f64>() / rows;
        (mae.is_finite() && bound.is_finite()).then_some(Self {
            bound,
            mae,
            mean,
            sd,
            rows: rising.len() as u64,
        })
    }

    /// The loss of an absolute error: 0 to 1, NaN for what is no number.
    #[must_use]
    pub fn loss(&self, error: f64) -> f64 {
        if error.is_nan() { f64::NAN } else { (error.abs() / self.bound).min(1.0) }
    }
}

/// E-detector of a mean loss above the baseline's.
#[derive(Debug, Clone, PartialEq)]
pub struct LossDetector {
    mean: f64,
    stakes: [f64; STAKES],
    mixture: Mixture<STAKES>,
}

impl LossDetector {
    /// A detector for a model whose losses had `mean` and standard deviation `sd` on `n` held-out rows, with a mean
    /// of at least `arl_losses` losses to a false alarm.
    #[must_use]
    pub fn new(mean: f64, sd: f64, n: u64, arl_losses: f64) -> Self {
        let mean = highest_mean(mean, sd, n);
        let most = STAKE_PART_MAX / mean;
        let ratio = (most / STAKE_MIN).max(1.0).powf(1.0 / (STAKES - 1) as f64);
        let mut stakes = [STAKE_MIN.min(most); STAKES];
        (1..STAKES).for_each(|k| stakes[k] = stakes[k - 1] * ratio);
        Self { mean, stakes, mixture: Mixture::new(arl_losses) }
    }

    /// Highest mean loss that is still the baseline.
    #[must_use]
    pub const fn highest_mean(&self) -> f64 {
        self.mean
    }

    /// Takes one loss, brought between 0 and 1; what is no number says nothing. Reports decay and re-arms when the
    /// evidence passes the threshold.
    pub fn observe(&mut self, loss: f64) -> Option<DecayDetection> {
        if loss.is_nan() {
            return None;
        }
        let beyond = loss.clamp(0.0, 1.0) - self.mean;
        let Self { stakes, mixture, .. } = self;
        mixture.observe(|k| 1.0 + stakes[k] * beyond)
    }

    /// Forgets all evidence.
    pub fn rearm(&mut self) {
        self.mixture.rearm();
    }

    /// Losses since the detector was made.
    #[must_use]
    pub const fn losses(&self) -> u64 {
        self.mixture.observed()
    }

    /// What a restart must not forget.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC, VERSION);
        w.f64(self.mean);
        self.mixture.write(&mut w);
        w.finish()
    }

    /// Takes up the state of a detector of the same baseline; on an error nothing changes.
    ///
    /// # Errors
    /// The bytes are not such a state.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, VERSION)?;
        ensure(r.f64("baseline")?.to_bits() == self.mean.to_bits(), "baseline")?;
        let mixture = self.mixture.read(&mut r)?;
        r.finish()?;
        self.mixture = mixture;
        Ok(())
    }
}

/// The latest absolute errors of a regression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ErrorWindow {
    latest: VecDeque<f32>,
    capacity: usize,
}

impl ErrorWindow {
    /// A window of `capacity` errors, clamped to 1 ..= [`crate::MAX_LABEL_WINDOW`].
    pub(crate) fn new(capacity: usize) -> Self {
        Self { latest: VecDeque::new(), capacity: capacity.clamp(1, crate::MAX_LABEL_WINDOW) }
    }

    /// Takes one error; what is no number says nothing.
    pub(crate) fn observe(&mut self, error: f64) {
        if error.is_nan() {
            return;
        }
        if self.latest.len() == self.capacity {
            self.latest.pop_front();
        }
        self.latest.push_back(error.abs() as f32);
    }

    /// Mean absolute error in the window and how many errors it holds; none before the first.
    pub(crate) fn mae(&self) -> Option<(f64, u64)> {
        let n = self.latest.len();
        (n > 0).then(|| (self.latest.iter().map(|error| f64::from(*error)).sum::<f64>() / n as f64, n as u64))
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.len(self.latest.len());
        self.latest.iter().for_each(|error| w.f32(*error));
    }

    pub(crate) fn read(capacity: usize, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut window = Self::new(capacity);
        for _ in 0..r.len("errors", crate::MAX_LABEL_WINDOW)? {
            let error = r.f32("errors")?;
            ensure(error >= 0.0, "errors")?;
            window.observe(f64::from(error));
        }
        Ok(window)
    }
}

/// The lesser of two upper bounds of a mean between 0 and 1: the widest distribution's, and by the deviation seen.
/// Nothing is known of a baseline that is none.
fn highest_mean(mean: f64, sd: f64, n: u64) -> f64 {
    if mean.is_nan() || n < 2 {
        return 1.0 - 1e-6;
    }
    let (mean, rows) = (mean.clamp(0.0, 1.0), n as f64);
    let widest = bernoulli_upper((mean * rows + 1.0) / (rows + 1.0), radius(BASELINE_DEVIATIONS, n));
    let nats = (2.0 / BASELINE_MISS).ln();
    let seen = mean + sd.abs() * (2.0 * nats / rows).sqrt() + 7.0 * nats / (3.0 * (rows - 1.0));
    widest.min(if seen.is_nan() { 1.0 } else { seen }).clamp(1e-6, 1.0 - 1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};

    fn uniform(seed: u64) -> impl FnMut() -> f64 {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        move || f64::from(random.next_u32()) / f64::from(u32::MAX)
    }

    /// Losses that are mostly small: mean 1/4, deviation 0.29 / 1.5.
    fn small(u: f64) -> f64 {
        u * u * u
    }

    #[test]
    fn losses_as_before_keep_the_peace() {
        let mut alarms = 0;
        for seed in 0..20 {
            let mut u = uniform(seed);
            let rows: Vec<f64> = (0..500).map(|_| small(u())).collect();
            let mean = rows.iter().sum::<f64>() / 500.0;
            let sd = (rows.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 500.0).sqrt();
            let mut detector = LossDetector::new(mean, sd, 500, 1e4);
            alarms += (0..20_000).filter(|_| detector.observe(small(u())).is_some()).count();
        }
        assert!(alarms <= 40, "{alarms} of 40 budgeted");
    }

    #[test]
    fn higher_losses_are_found_and_dated() {
        let (mut delay, mut error) = (0u64, 0.0);
        for seed in 0..40 {
            let mut u = uniform(seed);
            let mut detector = LossDetector::new(0.25, 0.28, 5_000, 1e6);
            assert!((0..500).all(|_| detector.observe(small(u())).is_none()));
            detector.rearm();
            let found = (0..5_000).find_map(|_| detector.observe(0.25 + 0.75 * small(u()))).unwrap();
            delay += found.label - 500;
            error += found.change_label as f64 - 501.0;
        }
        assert!(delay / 40 < 130 && (error / 40.0).abs() < 40.0, "{delay} {error}");
    }

    #[test]
    fn steady_small_losses_are_told_apart_sooner_than_the_widest_would_be() {
        let detector = LossDetector::new(0.05, 0.01, 10_000, 1e6);
        assert!(detector.highest_mean() < 0.0515, "{}", detector.highest_mean());
        let mut worse = detector.clone();
        let found = (0..10_000).find_map(|_| worse.observe(0.08)).unwrap();
        assert!(found.label < 60, "{found:?}");
    }

    #[test]
    fn a_baseline_is_bounded_by_what_one_row_in_a_hundred_exceeds() {
        let errors: Vec<f64> =
            (1..=1_000).map(|i| f64::from(i) * if i % 2 == 0 { 0.01 } else { -0.01 }).collect();
        let baseline = ErrorBaseline::of(&errors, 0.0).unwrap();
        assert!((baseline.bound - 9.9).abs() < 0.02 && (baseline.mae - 5.005).abs() < 1e-9, "{baseline:?}");
        assert!((baseline.mean - 0.505).abs() < 0.01 && baseline.rows == 1_000, "{baseline:?}");
        assert_eq!((baseline.loss(-99.0), baseline.loss(0.0), baseline.loss(f64::INFINITY)), (1.0, 0.0, 1.0));
        assert!(baseline.loss(f64::NAN).is_nan());
        let exact = ErrorBaseline::of(&[0.0; 50], 0.5).unwrap();
        assert_eq!((exact.bound, exact.loss(0.25)), (0.5, 0.5));
        assert_eq!(ErrorBaseline::of(&[1.0], 0.0), None);
        assert_eq!(ErrorBaseline::of(&[1.0, f64::NAN], 0.0), None);
    }

    #[test]
    fn nonsense_says_nothing() {
        for (mean, sd, n) in
            [(f64::NAN, 0.0, 9), (0.5, f64::NAN, 0), (2.0, -1.0, 5), (-1.0, f64::INFINITY, 1)]
        {
            let mut detector = LossDetector::new(mean, sd, n, 1e6);
            for loss in [f64::NAN, 0.3, -5.0, f64::NEG_INFINITY] {
                assert_eq!(detector.observe(loss), None, "{mean} {sd} {n}");
            }
            assert_eq!(detector.losses(), 3);
        }
    }

    #[test]
    fn a_state_survives_and_a_wrong_one_is_refused() {
        let mut detector = LossDetector::new(0.2, 0.1, 300, 1e6);
        assert!((0..50).all(|_| detector.observe(0.3).is_none()));
        let bytes = detector.to_bytes();
        let mut other = LossDetector::new(0.2, 0.1, 300, 1e6);
        other.restore(&bytes).unwrap();
        assert_eq!(other, detector);
        assert!((0..bytes.len()).all(|len| other.restore(&bytes[..len]).is_err()));
        assert!(LossDetector::new(0.3, 0.1, 300, 1e6).restore(&bytes).is_err());
    }
}
