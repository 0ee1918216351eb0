//! Which rows are held out for evaluation.
//!
//! A row's side follows from its values and the seed alone: `h < holdout`, where `h` is the first 64 bits of
//! SHA-256 over the seed and the row's digest, as a fraction. So an input is never on both sides, and a row once held out
//! stays held out whatever else later snapshots hold; a model and its predecessors can be compared on rows that none
//! of them learned from.
//!
//! Deliberately missing: stratification (the counts per class are reported) and splits by time or by identity.

use std::collections::BTreeMap;

use edgeward_core::{Dataset, Digest};
use serde::{Deserialize, Serialize};

use crate::project::TaskKind;
use crate::snapshot::class_counts;

const DOMAIN: &[u8] = b"edgeward.split/1";

/// How rows are divided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRule {
    /// Seed.
    pub seed: u64,
    /// Share of the rows held out.
    pub holdout: f64,
}

/// Rows of a snapshot by side, as indices in rising order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The rule it follows from.
    pub rule: SplitRule,
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows to judge by.
    pub holdout: Vec<usize>,
    /// Rows to learn from by label; empty for numbers.
    pub train_classes: BTreeMap<String, u64>,
    /// Rows to judge by, by label; empty for numbers.
    pub holdout_classes: BTreeMap<String, u64>,
}

impl SplitRule {
    /// Whether the row with this digest is held out.
    #[must_use]
    pub fn holds_out(&self, row: &Digest) -> bool {
        let digest = Digest::of_parts([DOMAIN, &self.seed.to_be_bytes(), row.as_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        let fraction = (u64::from_be_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64;
        fraction < self.holdout
    }
}

/// Divides the rows of `dataset`.
#[must_use]
pub fn split(dataset: &Dataset, rule: SplitRule, task: TaskKind) -> Split {
    let (holdout, train): (Vec<usize>, Vec<usize>) =
        (0..dataset.len()).partition(|row| rule.holds_out(&dataset.row_digest(*row)));
    let counts = |rows: &[usize]| {
        let labels: Vec<String> = rows.iter().map(|row| dataset.labels[*row].clone()).collect();
        class_counts(&labels, task)
    };
    let (train_classes, holdout_classes) = (counts(&train), counts(&holdout));
    Split { rule, train, holdout, train_classes, holdout_classes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dataset(values: &[u8]) -> Dataset {
        let mut dataset = Dataset::with_columns(vec!["x".to_owned()]);
        values.iter().for_each(|value| dataset.push(&[f32::from(*value)], "a").unwrap());
        dataset
    }

    proptest! {
        #[test]
        fn an_input_is_on_one_side_only(values in prop::collection::vec(0_u8..8, 0..60), seed: u64) {
            let dataset = dataset(&values);
            let split = split(&dataset, SplitRule { seed, holdout: 0.4 }, TaskKind::Classification);
            prop_assert_eq!(split.train.len() + split.holdout.len(), dataset.len());
            for held in &split.holdout {
                prop_assert!(split.train.iter().all(|row| dataset.row(*row) != dataset.row(*held)));
            }
        }

        #[test]
        fn held_out_rows_stay_held_out(values in prop::collection::vec(any::<u8>(), 1..60), more in 0_usize..60) {
            let rule = SplitRule { seed: 3, holdout: 0.25 };
            let kept = more.min(values.len());
            let (before, after) = (dataset(&values[..kept]), dataset(&values));
            let first = split(&before, rule, TaskKind::Classification);
            let second = split(&after, rule, TaskKind::Classification);
            let upto = |rows: &[usize]| rows.iter().copied().filter(|row| *row < kept).collect::<Vec<_>>();
            prop_assert_eq!(first.holdout, upto(&second.holdout));
            let wider = split(&after, SplitRule { holdout: 0.5, ..rule }, TaskKind::Classification);
            prop_assert!(second.holdout.iter().all(|row| wider.holdout.contains(row)));
        }
    }

    #[test]
    fn the_share_is_about_what_was_asked_for() {
        let mut dataset = Dataset::with_columns(vec!["x".to_owned()]);
        (0..10_000_u16).for_each(|value| dataset.push(&[f32::from(value)], "a").unwrap());
        let split = split(&dataset, SplitRule { seed: 1, holdout: 0.25 }, TaskKind::Classification);
        // Four standard deviations of a binomial.
        assert!((2_327..=2_673).contains(&split.holdout.len()), "{}", split.holdout.len());
        assert_eq!(split.holdout_classes["a"], split.holdout.len() as u64);
    }
}
