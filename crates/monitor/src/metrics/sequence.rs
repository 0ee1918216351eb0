//! Confidence sequences: intervals that hold at every number of labels at once, so that anyone may look at any time.
//!
//! Each takes sums only, so that merged counts have one too, and each function names what it assumes. All assume
//! that labels' losses have one mean as long as nothing changed; an interval that leaves the baseline says that it has.
//! Deliberately missing: betting sequences that depend on the order of the labels; they do not merge.

use std::f64::consts::PI;

use crate::normal::ln_gamma;

/// Halvings of an interval of length one: to 2^-50.
const BISECTIONS: usize = 50;
/// Prior weight of either side, in labels: that of Jeffreys.
const PRIOR: f64 = 0.5;
/// Labels at which the asymptotic sequence is tightest.
const TIGHTEST_AT: f64 = 1000.0;

/// A range.
pub(crate) type Interval = (f64, f64);

/// The mean of `n` values in [0, 1] that add up to `sum`, with probability `1 - alpha`, whatever their distribution.
///
/// A mixture of likelihood ratios of Bernoulli variables over a beta prior; for values between 0 and 1 each ratio is
/// convex in the value, so its mean is at most that of a Bernoulli variable. Sources: H. Robbins, Annals of
/// Mathematical Statistics 41 (1970); S. Howard et al., Annals of Statistics 49 (2021), sub-Bernoulli processes.
pub(crate) fn bounded(n: u64, sum: f64, alpha: f64) -> Interval {
    if n == 0 {
        return (0.0, 1.0);
    }
    let n = n as f64;
    let hits = sum.clamp(0.0, n);
    let misses = n - hits;
    let beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    let mixture = beta(PRIOR + hits, PRIOR + misses) - beta(PRIOR, PRIOR);
    let weighted = |count: f64, p: f64| if count > 0.0 { count * p.ln() } else { 0.0 };
    let outside = |p: f64| mixture - weighted(hits, p) - weighted(misses, 1.0 - p) >= -alpha.ln();
    let mean = hits / n;
    (edge(mean, 0.0, outside), edge(mean, 1.0, outside))
}

/// The last point between `inside` and `end` that is not `outside`, erring towards `end`.
fn edge(inside: f64, end: f64, outside: impl Fn(f64) -> bool) -> f64 {
    let (mut inside, mut out) = (inside, end);
    if !outside(end) {
        return end;
    }
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(inside, out);
        if outside(middle) {
            out = middle;
        } else {
            inside = middle;
        }
    }
    out
}

/// What is summed of values between 0 and `range`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments {
    /// How many.
    pub(crate) n: u64,
    /// Their sum.
    pub(crate) sum: f64,
    /// The sum of their squares.
    pub(crate) squares: f64,
}

/// The mean of values between 0 and `range`, whatever their distribution; narrower where they vary little.
///
/// The intersection of [`bounded`] with a Bernstein sequence, each at half of `alpha`. The variance that the latter
/// needs is at most what a [`bounded`] sequence allows for the mean square, less the lower bound of the mean squared.
pub(crate) fn within(moments: Moments, range: f64, alpha: f64) -> Interval {
    let Moments { n, sum, squares } = moments;
    let (low, high) = bounded(n, sum / range, alpha / 2.0);
    if n == 0 {
        return (0.0, range);
    }
    let (_, square) = bounded(n, squares / (range * range), alpha / 4.0);
    let variance = (square - low * low).max(0.0);
    let count = n as f64;
    let reach = stitched(count * variance, 1.0 / 3.0, alpha / 8.0) / count;
    let mean = sum / range / count;
    ((mean - reach).max(low) * range, (mean + reach).min(high) * range)
}

/// Where a sum of centred variables of variance `v` in all, with tails as heavy as scale `c` (a third of the range)
/// allows, stays below for ever with probability `1 - alpha`.
///
/// Source: Howard et al. (2021), equation 10, the polynomial stitched boundary with s = 1.4, eta = 2 and m = 1.
fn stitched(v: f64, c: f64, alpha: f64) -> f64 {
    const ETA: f64 = 2.0;
    const S: f64 = 1.4;
    const ZETA_OF_S: f64 = 3.105_547_278;
    let v = v.max(1.0);
    let l = S * (ETA * v).ln().ln() + (ZETA_OF_S / (alpha * ETA.ln().powf(S))).ln();
    let k1 = (ETA.powf(0.25) + ETA.powf(-0.25)) / 2f64.sqrt();
    let k2 = f64::midpoint(ETA.sqrt(), 1.0);
    (k1 * k1 * v * l + (k2 * c * l).powi(2)).sqrt() + k2 * c * l
}

/// The mean of values of any finite variance, nearly: the promise holds in the limit of many labels.
///
/// Source: I. Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences", Annals
/// of Statistics 52 (2024), theorem 2.2.
pub(crate) fn asymptotic(moments: Moments, alpha: f64) -> Interval {
    if moments.n == 0 {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let n = moments.n as f64;
    let mean = moments.sum / n;
    let variance = (moments.squares / n - mean * mean).max(0.0) * n / (n - 1.0).max(1.0);
    let tail = -2.0 * alpha.ln();
    let rho = (tail + (tail + 1.0).ln()) / TIGHTEST_AT;
    let spread = n * rho + 1.0;
    let reach = (variance * 2.0 * spread / (n * n * rho) * (spread.sqrt() / alpha).ln()).sqrt();
    (mean - reach, mean + reach)
}

/// How far an empirical distribution function of `n` values may be from the true one, everywhere and for ever, with
/// probability `1 - alpha`.
///
/// Source: S. Howard and A. Ramdas, "Sequential estimation of quantiles", Bernoulli 28 (2022), corollary 2.
pub(crate) fn distribution(n: u64, alpha: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let n = n as f64;
    (0.85 * (((1.0 + n.ln()).ln() + 0.8 * (1612.0 / alpha).ln()) / n).sqrt()).min(1.0)
}

/// `alpha` shared out over indices from 0 for ever: `6 / (pi i)^2` each.
pub(crate) fn share(alpha: f64, index: usize) -> f64 {
    let i = index as f64 + 1.0;
    alpha * 6.0 / (PI * i).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const ALPHA: f64 = 0.05;
    const RUNS: u32 = 300;
    const LABELS: u64 = 1_500;

    /// How often a sequence loses the mean `truth` of `draw` at any of many looks.
    fn misses(
        truth: f64,
        mut draw: impl FnMut(&mut ChaCha8Rng) -> f64,
        first: u64,
        sequence: impl Fn(Moments) -> Interval,
    ) -> u32 {
        let mut rng = ChaCha8Rng::seed_from_u64(99);
        let mut run = |_| {
            let mut m = Moments { n: 0, sum: 0.0, squares: 0.0 };
            (0..LABELS).any(|_| {
                let value = draw(&mut rng);
                m = Moments { n: m.n + 1, sum: m.sum + value, squares: m.squares + value * value };
                let due = m.n >= first && (m.n < 20 || m.n.is_multiple_of(23));
                let (low, high) = if due { sequence(m) } else { (truth, truth) };
                !(low..=high).contains(&truth)
            })
        };
        (0..RUNS).map(&mut run).map(u32::from).sum()
    }

    /// 5% of 300, and three deviations.
    const MISSES_MAX: u32 = 26;

    #[test]
    fn looking_at_any_time_keeps_the_promise() {
        for p in [0.02, 0.5, 0.93] {
            let coin = |rng: &mut ChaCha8Rng| f64::from(u8::from(rng.random::<f64>() < p));
            let of = |m: Moments| bounded(m.n, m.sum, ALPHA);
            assert!(misses(p, coin, 1, of) <= MISSES_MAX, "{p}");
            assert!(misses(p, coin, 1, |m| within(m, 1.0, ALPHA)) <= MISSES_MAX, "{p}");
        }
        let cubes = |rng: &mut ChaCha8Rng| 8.0 * rng.random::<f64>().powi(3);
        assert!(misses(2.0, cubes, 1, |m| within(m, 8.0, ALPHA)) <= MISSES_MAX);
        let exponential = |rng: &mut ChaCha8Rng| -(1.0 - rng.random::<f64>()).ln();
        assert!(misses(1.0, exponential, 100, |m| asymptotic(m, ALPHA)) <= MISSES_MAX);
    }

    #[test]
    fn an_empirical_distribution_keeps_the_promise() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut lost = 0;
        for _ in 0..100 {
            let values: Vec<f64> = (0..600).map(|_| rng.random()).collect();
            lost += u32::from((20..600).step_by(20).any(|n| {
                let mut sorted = values[..n].to_vec();
                sorted.sort_by(f64::total_cmp);
                let gap =
                    |(i, v): (usize, &f64)| (v - i as f64 / n as f64).max((i + 1) as f64 / n as f64 - v);
                sorted.iter().enumerate().map(gap).fold(0.0, f64::max) > distribution(n as u64, ALPHA)
            }));
        }
        assert!(lost <= 11, "{lost}");
    }

    #[test]
    fn the_boundaries_are_those_of_the_papers() {
        // Values of the authors' own package for v / m = 10, c / sqrt(m) = 3 / sqrt(10).
        let found = stitched(10.0, 3.0 / 10f64.sqrt(), 0.05) * 10f64.sqrt();
        assert!((found - 64.487_55).abs() < 1e-4, "{found}");
        // Their radius at 10 times the first look is .082048 with an unrounded constant.
        let found = distribution(10, 0.05) * 10f64.sqrt() / 1000f64.sqrt();
        assert!((0.082..0.0832).contains(&found), "{found}");
    }

    #[test]
    fn more_labels_narrow_and_none_say_nothing() {
        assert_eq!(bounded(0, 0.0, ALPHA), (0.0, 1.0));
        assert_eq!(within(Moments { n: 0, sum: 0.0, squares: 0.0 }, 3.0, ALPHA), (0.0, 3.0));
        let width = |n: u64| {
            let (low, high) = bounded(n, n as f64 * 0.9, ALPHA);
            assert!(low < 0.9 && high > 0.9);
            high - low
        };
        assert!(width(100) > 2.5 * width(1_000) && width(10_000) < 0.025);
        // Where values hardly vary, their size does not matter.
        let steady = Moments { n: 10_000, sum: 5_000.0, squares: 2_500.0 };
        let (low, high) = within(steady, 1.0, ALPHA);
        let (coarse, _) = bounded(steady.n, steady.sum, ALPHA);
        assert!(high - low < 0.04 && low > coarse, "{low} {high} {coarse}");
        let shares: f64 = (0..10_000).map(|i| share(ALPHA, i)).sum();
        assert!(shares < ALPHA && shares > ALPHA * 0.999);
    }
}
