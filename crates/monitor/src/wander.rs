//! How well a reference knows its own level and spread, from how they moved within it.
//!
//! A reference of `n` independent rows knows its level to `1 / n`. One whose level still moves slowly after
//! whitening knows it less well, for what it saw was one stretch of that movement. Means of blocks of rows then
//! vary by more than their rows' variance explains; the surplus is a variance that more rows of the same stretch
//! would not reduce. Levels are normal scores of ranks, spreads their squares, so that no tail matters.
//!
//! Deliberately missing: blocks shorter than [`BLOCK_ROWS_MIN`] (whitening's business) and movement slower than
//! the reference is long, which nothing in it shows.

use crate::alternative::Worth;
use crate::normal;
use crate::volatility::centred_ranks;

/// Numbers of blocks that are tried.
const BLOCKS: [usize; 5] = [4, 8, 16, 32, 64];
const BLOCK_ROWS_MIN: usize = 12;
/// Standard errors by which means of blocks must vary more than independent rows explain.
const DEVIATIONS: f64 = 3.0;

/// How many independent rows these, in order and NaN where missing, are worth: their number unless they wander.
pub(crate) fn worth(surprises: &[f32]) -> Worth {
    let finite: Vec<f64> = surprises.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v)).collect();
    let levels: Vec<f64> = centred_ranks(&finite).into_iter().map(|r| normal::quantile(r + 0.5)).collect();
    let level = mean(&levels);
    let spreads: Vec<f64> = levels.iter().map(|score| (score - level).powi(2)).collect();
    let rows = surprises.len().max(1) as f64;
    Worth { location: rows * share(&levels), spread: rows * share(&spreads) }
}

/// Part of the rows that counts as independent.
fn share(scores: &[f64]) -> f64 {
    let variance = variance(scores);
    let n = scores.len() as f64;
    let of_blocks = |count: &usize| {
        let length = scores.len() / count;
        if length < BLOCK_ROWS_MIN || variance <= 0.0 {
            return 1.0;
        }
        let means: Vec<f64> = scores.chunks_exact(length).map(mean).collect();
        let freedom = means.len() as f64 - 1.0;
        let length = length as f64;
        let inflation = self::variance(&means) * (freedom + 1.0) / freedom * length / variance;
        let surplus = (inflation - 1.0) * n / length;
        if inflation > 1.0 + DEVIATIONS * (2.0 / freedom).sqrt() { 1.0 / (1.0 + surplus) } else { 1.0 }
    };
    BLOCKS.iter().map(of_blocks).fold(1.0, f64::min)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn variance(values: &[f64]) -> f64 {
    let centre = mean(values);
    values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};

    fn worth_of(rows: usize, value: impl Fn(usize, f64) -> f64) -> Worth {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut uniform = || f64::from(random.next_u32()) / f64::from(u32::MAX);
        let normal = |u: f64| normal::quantile(u.clamp(1e-9, 1.0 - 1e-9));
        worth(&(0..rows).map(|t| value(t, normal(uniform())) as f32).collect::<Vec<_>>())
    }

    #[test]
    fn independent_rows_are_worth_their_number() {
        assert_eq!(worth_of(2_000, |_, noise| noise), Worth::of_rows(2_000));
        assert_eq!(worth(&[]), Worth::of_rows(1));
        assert_eq!(worth(&[1.0; 500]), Worth::of_rows(500));
    }

    #[test]
    fn a_level_that_moves_is_known_less_well_and_so_is_a_spread() {
        let slow = |t: usize| (t as f64 / 300.0).sin();
        let level = worth_of(2_000, |t, noise| noise + slow(t));
        assert!(level.location < 40.0, "{level:?}");
        let spread = worth_of(2_000, |t, noise| noise * slow(t).exp());
        assert!(spread.spread < 40.0 && spread.location > 400.0, "{spread:?}");
    }
}
