//! The internal validation split: seeded, stratified by class, never one input on both sides.
//!
//! Rows with equal values form a group; groups are ordered by the digest of (seed, values), and the first share
//! of each class is held out. A class keeps at least one group for training.

use std::collections::BTreeMap;

use edgeward_core::{Dataset, Digest};

use crate::table::Targets;

/// Row indices, ascending on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) train: Vec<usize>,
    /// May be empty.
    pub(crate) validation: Vec<usize>,
}

/// Holds `share` of the rows out. The order of the rows does not matter.
pub(crate) fn split(dataset: &Dataset, targets: &Targets, share: f64, seed: u64) -> Split {
    let mut groups: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
    for row in 0..dataset.len() {
        let digest = dataset.row_digest(row);
        groups.entry(Digest::of_parts([&seed.to_le_bytes()[..], digest.as_bytes()])).or_default().push(row);
    }
    let mut by_class: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
    for rows in groups.into_values() {
        let class = rows.iter().map(|&row| targets.class_of(row)).min().unwrap_or(0);
        by_class.entry(class).or_default().push(rows);
    }
    let mut sides = Split { train: Vec::new(), validation: Vec::new() };
    for groups in by_class.into_values() {
        let held_out = ((groups.len() as f64 * share).round() as usize).min(groups.len() - 1);
        sides.validation.extend(groups[..held_out].iter().flatten());
        sides.train.extend(groups[held_out..].iter().flatten());
    }
    sides.train.sort_unstable();
    sides.validation.sort_unstable();
    sides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(rows: usize) -> (Dataset, Targets) {
        let mut dataset = Dataset::with_columns(vec!["x".into()]);
        for row in 0..rows {
            dataset.push(&[(row / 2) as f32], if row % 10 < 2 { "rare" } else { "usual" }).unwrap();
        }
        let classes = dataset.classes();
        let targets = Targets::Classes(crate::table::class_indices(&dataset, &classes));
        (dataset, targets)
    }

    #[test]
    fn equal_inputs_stay_on_one_side_and_every_class_is_on_both() {
        let (dataset, targets) = pairs(100);
        let split = split(&dataset, &targets, 0.2, 7);
        assert_eq!(split.train.len() + split.validation.len(), 100);
        assert_eq!(split.validation.len(), 20);
        for side in [&split.train, &split.validation] {
            assert!(side.iter().any(|&row| targets.class_of(row) == 0));
            assert!(side.chunks(2).all(|pair| pair[0] / 2 == pair[1] / 2));
        }
    }

    #[test]
    fn a_lone_row_of_a_class_is_trained_on() {
        let (dataset, targets) = pairs(2);
        let split = split(&dataset, &targets, 0.5, 0);
        assert_eq!((split.train.len(), split.validation.len()), (2, 0));
    }

    #[test]
    fn the_seed_changes_the_split() {
        let (dataset, targets) = pairs(100);
        assert_ne!(split(&dataset, &targets, 0.2, 1), split(&dataset, &targets, 0.2, 2));
    }
}
