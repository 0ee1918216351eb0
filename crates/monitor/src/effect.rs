//! How far each stream of a profile has moved from its reference: effect sizes by name, and the move in words.
//!
//! Contract: every number is an effect size; none is a probability, for a histogram's noise says nothing about one.
//! [`StreamDrift::effect`] is what is left of the Jensen-Shannon distance when the noise of two finite samples is
//! taken off, so that streams of different sizes compare.
//! Deliberately missing: verdicts. Whether a move is an alarm is the detector's business.

use serde::{Deserialize, Serialize};

use crate::bins::{BELOW, FIRST_CLASS, MISSING, NEGATIVE_INFINITY, UNSEEN_CLASS};
use crate::measure;
use crate::profile::{Profile, ProfileError, StreamProfile};
use crate::reference::{Numeric, Reference, Stream, StreamKind};

/// Deviations of the noise that are taken off with its mean before anything counts as an effect.
const NOISE_DEVIATIONS: f64 = 3.0;
/// Smallest difference of a share that is put into words.
const SHARE_WORTH_WORDS: f64 = 0.01;
/// Smallest move of a mean that is put into words, in standard deviations of the reference.
const MOVE_WORTH_WORDS: f64 = 0.05;

/// Effect sizes of one stream: how far what was seen is from the reference.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamDrift {
    /// Name of the stream.
    pub stream: String,
    /// Observations.
    pub n: u64,
    /// Observations without a value.
    pub missing: u64,
    /// Finite observations outside the support, or of a class that the reference does not name.
    pub outside: u64,
    /// Mean now, of numeric streams.
    pub mean: Option<f64>,
    /// Mean of the reference, of numeric streams.
    pub reference_mean: Option<f64>,
    /// Population stability index.
    pub psi: Option<f64>,
    /// Jensen-Shannon distance (the square root of the divergence), nats.
    pub jensen_shannon_distance: Option<f64>,
    /// Hellinger distance.
    pub hellinger: Option<f64>,
    /// Two-sample chi-square statistic; it grows with the number of observations.
    pub chi_square: Option<f64>,
    /// Largest difference of a cell's frequency.
    pub l_infinity: Option<f64>,
    /// Kolmogorov-Smirnov distance, of numeric streams, over the values that are not missing.
    pub kolmogorov_smirnov: Option<f64>,
    /// Wasserstein distance in the stream's unit, of numeric streams, over the finite values.
    pub wasserstein: Option<f64>,
    /// The same in standard deviations of the reference.
    pub wasserstein_normed: Option<f64>,
    /// Jensen-Shannon distance beyond the noise of finite samples, over its largest value; 0 to 1.
    pub effect: f64,
    /// The move in words, the plainest first; empty where there is no effect.
    pub reasons: Vec<String>,
}

impl Profile {
    /// Effect sizes of every stream, in the order of the reference.
    ///
    /// # Errors
    /// `reference` is not the one this profile was made for.
    pub fn drift(&self, reference: &Reference) -> Result<Vec<StreamDrift>, ProfileError> {
        self.check(reference)?;
        let pairs = self.streams().iter().zip(reference.streams());
        Ok(pairs.map(|(seen, stream)| stream_drift(self.n(), seen, stream)).collect())
    }
}

fn stream_drift(n: u64, seen: &StreamProfile, stream: &Stream) -> StreamDrift {
    let (reference, current) = (&*stream.counts(), &*seen.counts());
    let effect = effect(reference, current);
    let mut drift = StreamDrift {
        stream: stream.name().to_owned(),
        n,
        missing: seen.missing(),
        outside: outside(seen, current),
        psi: measure::psi(reference, current),
        jensen_shannon_distance: measure::jensen_shannon_distance(reference, current),
        hellinger: measure::hellinger(reference, current),
        chi_square: measure::chi_square(reference, current),
        l_infinity: measure::l_infinity(reference, current),
        effect,
        ..StreamDrift::default()
    };
    if let Some(numeric) = stream.numeric() {
        ordered(&mut drift, (numeric, stream), seen, current);
    }
    if effect > 0.0 {
        drift.reasons = reasons(&drift, stream, current);
    }
    drift
}

/// What only numbers have: distances along their axis, and means.
fn ordered(drift: &mut StreamDrift, of: (&Numeric, &Stream), seen: &StreamProfile, current: &[u64]) {
    let (numeric, stream) = of;
    let reference = &*stream.counts();
    let finite = BELOW..reference.len() - 1;
    let positions = positions(stream, seen);
    let (past, now) = (&reference[finite.clone()], &current[finite]);
    let unbounded = |distance: Option<f64>| distance.filter(|distance| distance.is_finite());
    drift.mean = seen.moments().map(|(mean, _)| mean);
    drift.reference_mean = Some(numeric.mean);
    drift.kolmogorov_smirnov =
        measure::kolmogorov_smirnov(&reference[NEGATIVE_INFINITY..], &current[NEGATIVE_INFINITY..]);
    drift.wasserstein = unbounded(measure::wasserstein(past, now, &positions));
    drift.wasserstein_normed = unbounded(measure::wasserstein_normed(past, now, &positions, numeric.sd));
}

/// Where the finite cells lie: values outside the support half way between it and the farthest that was seen.
fn positions(stream: &Stream, seen: &StreamProfile) -> Vec<f64> {
    let mut positions = stream.positions();
    positions.pop();
    positions.drain(..BELOW);
    let Some((low, high)) = seen.range() else { return positions };
    if let Some(first) = positions.first_mut() {
        *first = first.min(f64::midpoint(*first, f64::from(low)));
    }
    if let Some(last) = positions.last_mut() {
        *last = last.max(f64::midpoint(*last, f64::from(high)));
    }
    positions
}

fn outside(seen: &StreamProfile, current: &[u64]) -> u64 {
    let (below, above) = seen.outside();
    if seen.is_numeric() { below + above } else { current[UNSEEN_CLASS] }
}

/// The Jensen-Shannon distance beyond noise, over its largest value.
///
/// For two samples of one distribution, `8 * divergence / (1/n + 1/m)` is about chi-square with one degree of
/// freedom less than there are occupied cells (the divergence's second-order expansion).
fn effect(reference: &[u64], current: &[u64]) -> f64 {
    let Some(divergence) = measure::jensen_shannon_divergence(reference, current) else { return 0.0 };
    let occupied = reference.iter().zip(current).filter(|(p, q)| **p + **q > 0).count();
    let freedom = (occupied as f64 - 1.0).max(0.0);
    let rows = |counts: &[u64]| counts.iter().map(|count| *count as f64).sum::<f64>();
    let scale = (1.0 / rows(reference) + 1.0 / rows(current)) / 8.0;
    let noise = scale * (freedom + NOISE_DEVIATIONS * (2.0 * freedom).sqrt());
    ((divergence - noise).max(0.0) / std::f64::consts::LN_2).sqrt()
}

fn reasons(drift: &StreamDrift, stream: &Stream, current: &[u64]) -> Vec<String> {
    let mut reasons = match stream.kind() {
        StreamKind::Numeric(numeric) => numeric_reasons(drift, numeric),
        _ => class_reasons(&stream.counts(), current, stream),
    };
    let missing = |counts: &[u64]| share(counts[MISSING], counts);
    let (past, now) = (missing(&stream.counts()), missing(current));
    if (past - now).abs() >= SHARE_WORTH_WORDS {
        reasons.push(format!("{} missing, {} in the reference", percent(now), percent(past)));
    }
    if reasons.is_empty() {
        reasons.push("its values are spread in another way".to_owned());
    }
    reasons
}

fn numeric_reasons(drift: &StreamDrift, numeric: &Numeric) -> Vec<String> {
    let mut reasons = Vec::new();
    let moved = drift.mean.map(|mean| (mean, (mean - numeric.mean) / numeric.sd));
    if let Some((mean, deviations)) = moved.filter(|(_, moved)| moved.abs() >= MOVE_WORTH_WORDS) {
        let unit = if deviations.is_finite() { format!(" ({deviations:+.1} sd)") } else { String::new() };
        reasons.push(format!("mean {mean:.4}, {:.4} in the reference{unit}", numeric.mean));
    }
    let outside = drift.outside as f64 / drift.n.max(1) as f64;
    if outside >= SHARE_WORTH_WORDS {
        let (low, high) = numeric.bins.support();
        reasons.push(format!("{} outside the reference's {low} to {high}", percent(outside)));
    }
    reasons
}

/// The class whose share moved most, and classes that the reference does not know.
fn class_reasons(reference: &[u64], current: &[u64], stream: &Stream) -> Vec<String> {
    let shares = |cell: usize| (share(reference[cell], reference), share(current[cell], current));
    let moved = |cell: usize| (shares(cell).0 - shares(cell).1).abs();
    let widest = (FIRST_CLASS..reference.len()).max_by(|a, b| moved(*a).total_cmp(&moved(*b)));
    let mut reasons = Vec::new();
    if let Some(cell) = widest.filter(|cell| moved(*cell) >= SHARE_WORTH_WORDS) {
        let ((past, now), name) = (shares(cell), &stream.names().unwrap_or_default()[cell - FIRST_CLASS]);
        reasons.push(format!("'{name}' {}, {} in the reference", percent(now), percent(past)));
    }
    let (expected, unseen) = shares(UNSEEN_CLASS);
    if unseen - expected >= SHARE_WORTH_WORDS {
        let what = if stream.categories().is_some() { "category" } else { "class" };
        reasons.push(format!("{} of a {what} that the reference does not know", percent(unseen)));
    }
    reasons
}

fn share(count: u64, counts: &[u64]) -> f64 {
    count as f64 / counts.iter().map(|count| *count as f64).sum::<f64>().max(1.0)
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}
