//! How rare a value beyond all that was seen is: a tail that grows as heavy as the reference makes plausible.
//!
//! The distance from the median is taken for Tukey's h-distribution: `z exp(h z^2 / 2)` of a standard normal `z`,
//! a normal tail at `h = 0` and a power law of index `1 / h` otherwise; for `z^power` where the tail is surely
//! lighter than a normal one. Both are the mean over the most extreme rows of what `ln distance` grows beyond a
//! normal's, plus [`DEVIATIONS`] standard errors, so that few rows mean a heavy tail. Student's, normal, exponential, lognormal and Pareto tails all lie under it, measured down to a
//! ten-millionth from 250 rows on.
//!
//! Source: J. Tukey (1977); D. Hoaglin, "Summarizing Shape Numerically: The g-and-h Distributions" (1985).

use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::normal;

/// Share of the reference whose distances show the shape, and how many rows that is at least and at most.
const SHARE: f64 = 0.05;
const ROWS_MIN: usize = 16;
const ROWS_MAX: usize = 256;
/// Standard errors by which a shape is taken for heavier than it looks: of one side, of both, and more for few rows.
const DEVIATIONS: f64 = 2.0;
const DEVIATIONS_OF_BOTH: f64 = 2.5;
const DEVIATIONS_OF_ONE_ROW: f64 = 12.0;
/// Standard errors up to which the two sides of a stream may differ and still be taken for one.
const ALIKE_DEVIATIONS: f64 = 4.0;
const SHAPE_MAX: f64 = 8.0;
/// Lightest tail: where bounded values end is known no better.
const POWER_MIN: f64 = 0.2;
const BISECTIONS: usize = 60;
const DEVIATIONS_MAX: f64 = 37.0;

/// How far a numeric stream reaches from its median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tails {
    median: f64,
    low: Option<Tail>,
    high: Option<Tail>,
}

impl Tails {
    /// The tails of ascending finite values.
    pub(crate) fn of_sorted(sorted: &[f32]) -> Self {
        let median = sorted.get(sorted.len() / 2).map_or(0.0, |value| f64::from(*value));
        let rows = ((sorted.len() as f64 * SHARE) as usize).clamp(ROWS_MIN, ROWS_MAX) + 1;
        let low: Vec<f64> = sorted.iter().take(rows).map(|value| median - f64::from(*value)).collect();
        let high: Vec<f64> = sorted.iter().rev().take(rows).map(|value| f64::from(*value) - median).collect();
        let [low, high] = [Side::of(&low, sorted.len()), Side::of(&high, sorted.len())];
        let both = low.as_ref().zip(high.as_ref()).and_then(|(low, high)| low.with(high));
        let most = |side: &Side| {
            let both = both.map_or(f64::NEG_INFINITY, |both| both.most(DEVIATIONS_OF_BOTH));
            side.excess.most(DEVIATIONS).max(both)
        };
        let tail = |side: &Side| Tail::of(side, most(side));
        Self { median, low: low.as_ref().map(tail), high: high.as_ref().map(tail) }
    }

    /// Negative base-ten logarithm of the probability of `value` or one farther out on its side; infinite where
    /// the reference does not reach beyond its median.
    pub(crate) fn log10_rarity(&self, value: f64) -> f64 {
        let distance = value - self.median;
        let tail = if distance < 0.0 { self.low } else { self.high };
        tail.map_or(f64::INFINITY, |tail| tail.log10_rarity(distance.abs()))
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.f64(self.median);
        Tail::write(self.low.as_ref(), w);
        Tail::write(self.high.as_ref(), w);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let median = r.f64("median")?;
        ensure(median.is_finite(), "median")?;
        Ok(Self { median, low: Tail::read(r)?, high: Tail::read(r)? })
    }
}

/// The most extreme rows of one side.
#[derive(Debug)]
struct Side {
    threshold: f64,
    deviation: f64,
    step: f64,
    excess: Excess,
    /// Means over the rows of what a normal's logarithm and half its square grow.
    normal: f64,
    growth: f64,
}

/// What logarithms of distances grow beyond a normal's, over some rows.
#[derive(Debug, Clone, Copy)]
struct Excess {
    mean: f64,
    spread: f64,
    rows: f64,
}

impl Excess {
    /// The most that it plausibly is.
    fn most(self, deviations: f64) -> f64 {
        self.mean + (deviations + DEVIATIONS_OF_ONE_ROW / self.rows) * self.error()
    }

    fn error(self) -> f64 {
        self.spread / self.rows.sqrt()
    }
}

impl Side {
    /// The side of `distances` from the median, largest first, of a stream of `n` rows; none if no row lies there.
    fn of(distances: &[f64], n: usize) -> Option<Self> {
        let beyond = distances.iter().take_while(|distance| **distance > 0.0).count();
        let rows = ((n as f64 * SHARE) as usize).clamp(ROWS_MIN, ROWS_MAX).min(beyond.checked_sub(1)?);
        let deviation_of = |rank: usize| (-normal::quantile((rank as f64 + 0.5) / n as f64)).max(0.1);
        let (threshold, deviation) = (distances[rows], deviation_of(rows));
        if rows == 0 {
            let excess = Excess { mean: SHAPE_MAX, spread: 0.0, rows: 1.0 };
            return Some(Self { threshold, deviation, step: threshold, excess, normal: 1.0, growth: 1.0 });
        }
        let step = step(&distances[..=rows]);
        let logs: Vec<f64> = distances[..rows].iter().map(|d| ((d + step / 2.0) / threshold).ln()).collect();
        let k = rows as f64;
        let normal = (0..rows).map(|i| (deviation_of(i) / deviation).ln()).sum::<f64>() / k;
        let growth = (0..rows).map(|i| (deviation_of(i).powi(2) - deviation.powi(2)) / 2.0).sum::<f64>() / k;
        let (mean, spread) = moments(&logs);
        let excess = Excess { mean: mean - normal, spread: spread.max(mean).max(normal), rows: k };
        Some(Self { threshold, deviation, step, excess, normal, growth })
    }

    /// Both sides as one, unless they clearly differ: rare spikes come to either side, and one side may have had few.
    fn with(&self, other: &Self) -> Option<Excess> {
        let (a, b) = (self.excess, other.excess);
        let rows = a.rows + b.rows;
        let alike = (a.mean - b.mean).abs() <= ALIKE_DEVIATIONS * a.error().hypot(b.error());
        alike.then(|| Excess {
            mean: (a.mean * a.rows + b.mean * b.rows) / rows,
            spread: ((a.spread.powi(2) * a.rows + b.spread.powi(2) * b.rows) / rows).sqrt(),
            rows,
        })
    }
}

/// The tail of one side.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tail {
    /// Distance from the median at which the tail begins, and the normal deviation of its rank.
    threshold: f32,
    deviation: f32,
    /// Tukey's `h`.
    shape: f32,
    /// Exponent of the normal deviation, at most 1.
    power: f32,
    /// What values count in here, as 1 for integers; added to every distance.
    step: f32,
}

impl Tail {
    /// The tail of a side whose logarithms grow `surplus` faster than a normal's, at most.
    fn of(side: &Side, surplus: f64) -> Self {
        Self {
            threshold: (side.threshold as f32).clamp(f32::MIN_POSITIVE, f32::MAX),
            deviation: side.deviation as f32,
            shape: (surplus / side.growth).clamp(0.0, SHAPE_MAX) as f32,
            power: (surplus / side.normal + 1.0).clamp(POWER_MIN, 1.0) as f32,
            step: (side.step as f32).min(f32::MAX),
        }
    }

    /// Negative base-ten logarithm of the probability of a value at `distance` from the median or beyond.
    fn log10_rarity(&self, distance: f64) -> f64 {
        let (power, shape) = (f64::from(self.power), f64::from(self.shape));
        let stretch = |z: f64| power * z.ln() + shape * z * z / 2.0;
        let ratio = (distance - f64::from(self.step)) / f64::from(self.threshold);
        let target = ratio.max(1e-300).ln() + stretch(f64::from(self.deviation));
        let (mut low, mut high) = (0.0, DEVIATIONS_MAX);
        for _ in 0..BISECTIONS {
            let middle = f64::midpoint(low, high);
            if stretch(middle) > target { high = middle } else { low = middle }
        }
        -log10_beyond(low)
    }

    fn write(tail: Option<&Self>, w: &mut Writer) {
        w.u8(u8::from(tail.is_some()));
        if let Some(tail) = tail {
            [tail.threshold, tail.deviation, tail.shape, tail.power, tail.step]
                .into_iter()
                .for_each(|v| w.f32(v));
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        if r.u8("tail")? == 0 {
            return Ok(None);
        }
        let mut parts = [0.0; 5];
        for part in &mut parts {
            *part = r.f32("tail")?;
        }
        let [threshold, deviation, shape, power, step] = parts;
        let positive = [threshold, deviation].iter().all(|v| *v > 0.0 && v.is_finite());
        let shaped = (0.0..=SHAPE_MAX as f32).contains(&shape) && (POWER_MIN as f32..=1.0).contains(&power);
        ensure(positive && shaped && step >= 0.0 && step.is_finite(), "tail")?;
        Ok(Some(Self { threshold, deviation, shape, power, step }))
    }
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// Least difference of distances, largest first, that are not equal; 0 if all are.
fn step(distances: &[f64]) -> f64 {
    let gaps = distances.windows(2).map(|pair| pair[0] - pair[1]).filter(|gap| *gap > 0.0);
    let least = gaps.fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { distances[0] }
}

/// Base-ten logarithm of the probability that a standard normal exceeds `z >= 0`, from above.
///
/// Source: Z. Birnbaum, Annals of Mathematical Statistics 13 (1942); M. Sampford, same 24 (1953).
fn log10_beyond(z: f64) -> f64 {
    let mills = 4.0 / (3.0 * z + (z * z + 8.0).sqrt());
    let nats = -z * z / 2.0 + mills.ln() - (std::f64::consts::TAU).sqrt().ln();
    nats * std::f64::consts::LOG10_E
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tail of `quantile` at the mid-ranks of `n` rows.
    fn tail(n: usize, quantile: impl Fn(f64) -> f64) -> Tail {
        let distances: Vec<f64> = (0..n / 2).map(|i| quantile((i as f64 + 0.5) / n as f64)).collect();
        fit(&distances, n).unwrap()
    }

    fn fit(distances: &[f64], n: usize) -> Option<Tail> {
        Side::of(distances, n).map(|side| Tail::of(&side, side.excess.most(DEVIATIONS)))
    }

    #[test]
    fn normal_probabilities_agree_with_tables() {
        for (z, expected) in [(1.644_854, 0.05f64), (3.090_232, 1e-3), (5.199_338, 1e-7), (6.706_023, 1e-11)]
        {
            let found = log10_beyond(z);
            assert!(found >= expected.log10() - 1e-6 && found < expected.log10() + 0.01, "{z}: {found}");
        }
    }

    #[test]
    fn a_value_is_at_most_as_rare_as_its_tail_makes_it() {
        for n in [250, 1_000, 10_000] {
            let check = |name: &str, rarity: f64, actual: f64, least: f64| {
                assert!(rarity <= 1.1 * actual && rarity > least, "{name}, {n} rows: {rarity} for {actual}");
            };
            let normal = tail(n, |p| -normal::quantile(p));
            check("normal", normal.log10_rarity(5.2), 7.0, 2.3);
            let student = tail(n, |p| (1.1 / p).powf(1.0 / 3.0) - 0.0);
            check("cubic", student.log10_rarity(222.0), 7.0, 2.3);
            let exponential = tail(n, |p| -p.ln());
            check("exponential", exponential.log10_rarity(7.0 * std::f64::consts::LN_10), 7.0, 2.3);
        }
    }

    #[test]
    fn more_rows_let_an_outlier_look_rarer() {
        let rarity = |n| tail(n, |p| -normal::quantile(p)).log10_rarity(12.0);
        assert!(rarity(250) < rarity(1_000) && rarity(1_000) < rarity(10_000));
        assert!(rarity(1_000) > 5.5, "{}", rarity(1_000));
    }

    #[test]
    fn counts_are_stretched_by_their_step() {
        let ones = fit(&[1.0; 20], 1_000).unwrap();
        assert_eq!((ones.step, ones.threshold), (1.0, 1.0));
        assert!(ones.log10_rarity(2.0) < 2.0 && ones.log10_rarity(100.0) > 2.5);
        assert_eq!(fit(&[0.0; 20], 1_000), None);
        let lone = fit(&[3.0, 0.0], 1_000).unwrap();
        assert!(lone.log10_rarity(100.0) < 4.0);
    }

    #[test]
    fn bytes_that_no_fit_writes_are_refused() {
        let written = |tail| {
            let mut w = Writer::new(*b"TAIL", 1);
            Tail::write(tail, &mut w);
            w.finish()
        };
        let fitted = Tail { threshold: 1.0, deviation: 1.6, shape: 0.1, power: 1.0, step: 0.0 };
        let read =
            |bytes: &[u8]| Reader::new(bytes, "tail", *b"TAIL", 1).and_then(|mut r| Tail::read(&mut r));
        assert_eq!(read(&written(Some(&fitted))), Ok(Some(fitted)));
        assert_eq!(read(&written(None)), Ok(None));
        let broken = Tail { shape: f32::NAN, ..fitted };
        assert!(read(&written(Some(&broken))).is_err());
    }
}
