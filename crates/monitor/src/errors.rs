//! How large a regression's errors are: counts by size that merge by addition, so that groups of devices can be compared
//! by the share of errors that are large for one of them.
//!
//! Sizes are told apart by steps of a quarter of an octave (19 %), in the label's own unit, whatever the model: two
//! bundles are counted on one scale.
//!
//! Deliberately missing: the sign, and the mean (see [`crate::Performance`] for both).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Steps in an octave.
const STEPS: f64 = 4.0;
/// The largest step either way: 2^±100. What is smaller or larger, and what is no number, counts at the end.
const STEP_MAX: i16 = 400;

/// Counts of absolute errors by size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorSizes {
    /// By step; a step holds what is at least `2^(step / 4)`.
    counts: BTreeMap<i16, u64>,
}

impl From<BTreeMap<i16, u64>> for ErrorSizes {
    /// Counts that were sent; steps that are none count at the ends.
    fn from(counts: BTreeMap<i16, u64>) -> Self {
        let mut sizes = Self::default();
        sizes.merge(&Self { counts });
        sizes
    }
}

impl From<ErrorSizes> for BTreeMap<i16, u64> {
    fn from(sizes: ErrorSizes) -> Self {
        sizes.counts
    }
}

impl ErrorSizes {
    /// Counts one error.
    pub fn observe(&mut self, error: f64) {
        let count = self.counts.entry(step(error)).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds what was counted elsewhere; steps that are none count at the ends.
    pub fn merge(&mut self, other: &Self) {
        for (step, more) in &other.counts {
            let count = self.counts.entry((*step).clamp(-STEP_MAX, STEP_MAX)).or_default();
            *count = count.saturating_add(*more);
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The step above which at most a share of `1 - share` lies; none of nothing.
    #[must_use]
    pub fn quantile_step(&self, share: f64) -> Option<i16> {
        let all = self.total() as f64;
        let mut below = 0_u64;
        self.counts.iter().find_map(|(step, count)| {
            below = below.saturating_add(*count);
            (below as f64 >= share * all).then_some(*step)
        })
    }

    /// How many are larger than those of a step.
    #[must_use]
    pub fn above(&self, step: i16) -> u64 {
        let larger = self.counts.iter().filter(|(found, _)| **found > step);
        larger.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

fn step(error: f64) -> i16 {
    let steps = (error.abs().log2() * STEPS).floor();
    match steps.is_nan() {
        true => STEP_MAX,
        // A cast of a float saturates.
        false => (steps as i16).clamp(-STEP_MAX, STEP_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(errors: &[f64]) -> ErrorSizes {
        let mut sizes = ErrorSizes::default();
        errors.iter().for_each(|error| sizes.observe(*error));
        sizes
    }

    #[test]
    fn sizes_are_told_apart_by_a_fifth() {
        let check =
            |one: f64, other: f64, same: bool| assert_eq!(step(one) == step(other), same, "{one} {other}");
        check(1.0, -1.1, true);
        check(1.0, 1.2, false);
        check(0.0, 1e-40, true);
        check(f64::INFINITY, f64::NAN, true);
        check(f64::INFINITY, 1e40, true);
    }

    #[test]
    fn the_large_ones_are_those_beyond_a_quantile() {
        let errors: Vec<f64> = (1..=100).map(f64::from).collect();
        let sizes = sizes(&errors);
        let step = sizes.quantile_step(0.9).unwrap();
        assert!((5..=10).contains(&sizes.above(step)), "{}", sizes.above(step));
        assert_eq!(sizes.above(STEP_MAX), 0);
        assert_eq!(ErrorSizes::default().quantile_step(0.9), None);
    }

    #[test]
    fn counts_merge_and_survive_their_json() {
        let mut both = sizes(&[1.0, 2.0]);
        both.merge(&sizes(&[2.0, 1e9]));
        assert_eq!(both.total(), 4);
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<ErrorSizes>(&text).unwrap(), both);
        let odd: ErrorSizes = serde_json::from_str(r#"{"32000": 3}"#).unwrap();
        both.merge(&odd);
        assert_eq!((both.total(), both.above(STEP_MAX - 1)), (7, 3));
    }
}
