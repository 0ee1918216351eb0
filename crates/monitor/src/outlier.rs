//! The first impossible value, on the same sample.
//!
//! A finite value is impossible if it lies beyond the reference's support by more than `margin` ranges *and* is
//! rarer than the budget allows in the heaviest tail that the reference makes plausible (`tail.rs`). A category that
//! the reference never saw is impossible if, by how its rarest ones thin out, there is no other (`feature.rs`). A
//! non-finite or missing value is impossible if the reference never had one. A feature that was constant has no
//! scale; for it only non-finite values count, and the detector watches for the rest.
//!
//! Limit: after an alarm a stream holds its peace for [`HOLD_OFF_SAMPLES`], then twice as long, and so on;
//! the profile counts every value all the same.
//!
//! The support of a stream whose values follow from each other says little about tomorrow, so a whitened one is
//! checked by its surprise instead: its change from what its past let expect, in units of its recent spread. Where
//! the level wanders, a jump from within the support to `margin` ranges beyond it is two oddities in one; for it
//! the surprise needs to be rare only in an exponential tail.

use crate::alarm::{Alarm, outlier_alarm};
use crate::bins::{BELOW, MISSING, NEGATIVE_INFINITY, UNSEEN_CLASS};
use crate::feature::is_closed;
use crate::limiter::Limiter;
use crate::reference::{Numeric, Reference, Stream};
use crate::whitening::{Surprise, Whitening};

/// Samples that a stream holds its peace after its first alarm; doubled by each further one.
pub const HOLD_OFF_SAMPLES: u64 = 1_000;
/// Reference ranges beyond the support that a value may lie without alarm, by default.
pub const DEFAULT_MARGIN: f64 = 0.25;
/// A jump out of the support is asked for no more than one in this many times the squared rows in an exponential
/// tail: leaving the support at all is the rest of the evidence.
const EXPONENTIAL_TRUST: f64 = 16.0;

/// A value that the reference says is impossible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// Index of the stream.
    pub stream: usize,
    /// The value; NaN if missing.
    pub value: f32,
    /// Deviations from what the stream's past let expect, if that and not the value itself is impossible.
    pub surprise: Option<f32>,
    /// Base-ten logarithm of how much rarer than one in `n` it is; infinite for what cannot be.
    pub log10_evidence: f64,
}

/// Checks one value of stream `stream`, which is none of classes, whatever was alarmed before.
///
/// `arl_samples` is the mean number of samples between false outliers of the whole device.
#[must_use]
pub fn check(
    reference: &Reference,
    stream: usize,
    value: f32,
    margin: f64,
    arl_samples: f64,
) -> Option<Outlier> {
    let described = reference.streams.get(stream)?;
    if let Some(categories) = described.categories() {
        let cell = categories.cell(value);
        let impossible = described.counts[cell] == 0
            && !described.is_silent()
            && (cell == MISSING || cell == UNSEEN_CLASS && is_closed(&described.counts));
        let outlier = Outlier { stream, value, surprise: None, log10_evidence: f64::INFINITY };
        return impossible.then_some(outlier);
    }
    let numeric = described.numeric()?;
    let rare = || {
        let alone = described.whitening.is_none() && beyond(numeric, f64::from(value)) > margin;
        alone.then(|| rare(numeric, reference.n, value, arl_samples * tests(reference))).flatten()
    };
    check_cell(described, numeric, numeric.bins.cell(value), value)
        .or_else(rare)
        .map(|log10_evidence| Outlier { stream, value, surprise: None, log10_evidence })
}

/// Checks how far a value lies from what its past let expect, in the units of its whitened stream.
fn check_surprise(
    reference: &Reference,
    stream: usize,
    (value, surprise): (f32, Surprise),
    margin: f64,
    arl_samples: f64,
) -> Option<Outlier> {
    let described = reference.streams.get(stream)?;
    let Whitening { filter, surprises, .. } = described.whitening.as_deref()?;
    let (numeric, rows) = (surprises.numeric()?, surprises.rows());
    let (rarity, deviations) = (arl_samples * tests(reference), surprise.deviations);
    if !value.is_finite() || beyond(numeric, f64::from(deviations)) <= margin {
        return None;
    }
    let trusted = rarity.min((rows as f64).powi(2) * EXPONENTIAL_TRUST);
    let jumped = || {
        let support = described.numeric()?;
        let left = beyond(support, surprise.expected) <= 0.0 && beyond(support, f64::from(value)) > margin;
        (left && filter.prediction.wanders())
            .then(|| exponential(numeric, rows, deviations, trusted))
            .flatten()
    };
    rare(numeric, rows, deviations, rarity).or_else(jumped).map(|log10_evidence| Outlier {
        stream,
        value,
        surprise: Some(deviations),
        log10_evidence,
    })
}

/// Conformal p-value of a value of a feature: at most `p` of independent values are as extreme.
///
/// Two-sided, from the reference's cells at least as far out as the value's; at least `2 / (n + 1)` however far
/// out a value lies. None for a value that is not finite. Of a category, from those that are at most as frequent;
/// at least `1 / (n + 1)`, and none for a missing one. Source: V. Vovk, A. Gammerman, G. Shafer, Algorithmic
/// Learning in a Random World (2005).
#[must_use]
pub fn conformal(reference: &Reference, stream: usize, value: f32) -> Option<f64> {
    rank_p(reference.streams.get(stream)?, value)
}

/// The same of a surprise of a whitened stream: its change from what its past let expect.
#[must_use]
pub fn conformal_surprise(reference: &Reference, stream: usize, surprise: f32) -> Option<f64> {
    rank_p(&reference.streams.get(stream)?.whitening.as_ref()?.surprises, surprise)
}

fn rank_p(stream: &Stream, value: f32) -> Option<f64> {
    if let Some(categories) = stream.categories() {
        let cell = categories.cell(value);
        let rarer = stream.counts[1..].iter().filter(|count| **count <= stream.counts[cell]);
        let rarer: u64 = rarer.map(|count| u64::from(*count)).sum();
        let given = rows(&stream.counts[1..]);
        return (cell != MISSING).then(|| ((rarer + 1) as f64 / (given + 1) as f64).min(1.0));
    }
    let bins = &stream.numeric()?.bins;
    if !value.is_finite() {
        return None;
    }
    let cell = bins.cell(value);
    let below: u64 = rows(&stream.counts[BELOW..=cell]);
    let above: u64 = rows(&stream.counts[cell..=bins.above()]);
    let finite: u64 = rows(&stream.counts[BELOW..=bins.above()]);
    Some((2.0 * (below.min(above) + 1) as f64 / (finite + 1) as f64).min(1.0))
}

/// Tests per sample: both sides of each stream that the reference describes, as it comes and by its surprise.
fn tests(reference: &Reference) -> f64 {
    let tested = |stream: &&Stream| !stream.is_silent();
    let whitened = reference.streams.iter().filter(|stream| stream.whitening.is_some()).count();
    2.0 * (reference.streams.iter().filter(tested).count() + whitened).max(1) as f64
}

/// Evidence against a value whose kind the reference never had.
fn check_cell(stream: &Stream, numeric: &Numeric, cell: usize, value: f32) -> Option<f64> {
    let special =
        [MISSING, NEGATIVE_INFINITY, numeric.bins.above() + 1].contains(&cell) && !value.is_finite();
    (special && stream.counts[cell] == 0 && !stream.is_silent()).then_some(f64::INFINITY)
}

/// How far beyond the support `value` lies, in ranges of the support; not positive inside, for what is no number,
/// and without a range.
fn beyond(numeric: &Numeric, value: f64) -> f64 {
    let (min, max) = numeric.bins.support();
    let (min, max) = (f64::from(min), f64::from(max));
    if min < max && value.is_finite() { (min - value).max(value - max) / (max - min) } else { 0.0 }
}

/// Evidence against `value` if it is rarer than one in `rarity`.
fn rare(numeric: &Numeric, n: u64, value: f32, rarity: f64) -> Option<f64> {
    let Some(tails) = &numeric.tails else { return exponential(numeric, n, value, rarity) };
    let evidence = tails.log10_rarity(f64::from(value));
    (evidence > rarity.log10()).then_some(evidence)
}

/// The same if exceedances over the support are exponential: with a mean of `beta`, a distance `d` beyond the
/// largest of `n` values has probability about `exp(-d / beta) / n`.
fn exponential(numeric: &Numeric, n: u64, value: f32, rarity: f64) -> Option<f64> {
    let (min, max) = numeric.bins.support();
    let (min, max, value) = (f64::from(min), f64::from(max), f64::from(value));
    let (beyond, scale) =
        if value < min { (min - value, numeric.tail_low) } else { (value - max, numeric.tail_high) };
    let nats = if scale > 0.0 { beyond / scale } else { f64::INFINITY };
    (nats + (n as f64).ln() > rarity.ln()).then_some((nats + (n as f64).ln()) / std::f64::consts::LN_10)
}

/// Checks values and raises alarms, not too many of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Watch {
    pub(crate) limiter: Limiter,
    margin: f64,
    arl_samples: f64,
}

impl Watch {
    pub(crate) fn new(streams: usize, margin: f64, arl_samples: f64) -> Self {
        Self { limiter: Limiter::new(streams, HOLD_OFF_SAMPLES), margin, arl_samples }
    }

    /// Judges a value and its surprise, one of which lies in a cell the reference never saw.
    #[cold]
    pub(crate) fn judge(
        &mut self,
        reference: &Reference,
        stream: usize,
        (value, surprise): (f32, Option<Surprise>),
        sample: u64,
    ) -> Option<Alarm> {
        let alone = || check(reference, stream, value, self.margin, self.arl_samples);
        let changed =
            |surprise| check_surprise(reference, stream, (value, surprise), self.margin, self.arl_samples);
        let outlier = alone().or_else(|| changed(surprise?))?;
        let admitted = self.limiter.admit(stream, sample);
        admitted.then(|| outlier_alarm(&reference.streams[stream], outlier, sample, self.arl_samples))
    }
}

fn rows(counts: &[u32]) -> u64 {
    counts.iter().map(|count| u64::from(*count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sample;

    fn reference(values: &[f32]) -> Reference {
        let rows = values.iter().map(|v| Sample {
            features: std::slice::from_ref(v),
            predicted: None,
            confidence: None,
        });
        Reference::fit(&["x".to_owned()], &[], rows).unwrap()
    }

    fn is_outlier(reference: &Reference, value: f32) -> bool {
        check(reference, 0, value, DEFAULT_MARGIN, 1e9).is_some()
    }

    #[test]
    fn a_negative_price_is_impossible_and_a_record_is_not() {
        let prices: Vec<f32> =
            (0..4000u16).map(|i| 18.0 + 60.0 * f32::from(i % 401) / 400.0 + f32::from(i % 7)).collect();
        let reference = reference(&prices);
        assert!(is_outlier(&reference, -36.98));
        assert!(!is_outlier(&reference, 12.0));
        assert!(!is_outlier(&reference, 90.0));
    }

    #[test]
    fn what_never_was_missing_or_infinite_must_not_be() {
        let never = reference(&[1.0, 2.0, 3.0]);
        let often = reference(&[1.0, f32::NAN, 3.0]);
        assert!([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].iter().all(|v| is_outlier(&never, *v)));
        assert!(!is_outlier(&often, f32::NAN));
    }

    #[test]
    fn constant_and_sparse_features_have_no_scale_to_judge_by() {
        let mut values = [0.0f32; 500];
        assert!(!is_outlier(&reference(&values), 16.0));
        values[7] = 1.0;
        assert!(!is_outlier(&reference(&values), 16.0));
        assert!(is_outlier(&reference(&values), f32::NAN));
    }

    #[test]
    fn p_values_are_ranks() {
        let values: Vec<f32> = (0..999u16).map(f32::from).collect();
        let reference = reference(&values);
        let p = |value: f32| conformal(&reference, 0, value);
        assert_eq!((p(-7.0), p(1e9)), (Some(0.002), Some(0.002)));
        assert_eq!((p(f32::NAN), conformal_surprise(&reference, 0, 0.0)), (None, None));
        let share = |level: f64| values.iter().filter(|v| p(**v).is_some_and(|p| p <= level)).count();
        assert!([0.1, 0.2, 0.5].iter().all(|level| share(*level) as f64 <= level * 1_000.0));
        assert!(share(0.2) > 100);
    }
}
