//! What each feature of a leaf's path gets, per mask.

use std::collections::HashMap;

use super::walk::{Leaf, PATH_FEATURES_MAX};
use crate::explain::quadrature::gauss_legendre;

/// Masks of at most this many bits are told apart by a table.
const TABLE_BITS: usize = 12;

const NONE: u32 = u32::MAX;

/// Rows of equal mask at a leaf.
#[derive(Default)]
pub(super) struct Groups {
    table: Vec<u32>,
    map: HashMap<u64, u32>,
    masks: Vec<u64>,
    counts: Vec<u32>,
    rows: Vec<u32>,
    background: Vec<(u64, u32)>,
}

impl Groups {
    /// Groups rows whose masks have `bits` bits.
    fn sort(&mut self, masks: &[u64], bits: usize) {
        for list in [&mut self.counts, &mut self.rows] {
            list.clear();
        }
        self.masks.clear();
        if bits <= TABLE_BITS {
            self.table.clear();
            self.table.resize(1 << bits, NONE);
        } else {
            self.map.clear();
        }
        for &mask in masks {
            let next = self.masks.len() as u32;
            let group = if bits <= TABLE_BITS {
                &mut self.table[mask as usize]
            } else {
                self.map.entry(mask).or_insert(NONE)
            };
            if *group == NONE {
                *group = next;
                self.masks.push(mask);
                self.counts.push(0);
            }
            self.counts[*group as usize] += 1;
            self.rows.push(*group);
        }
    }

    /// The group of a row.
    pub(super) fn of_row(&self, row: usize) -> usize {
        self.rows[row] as usize
    }
}

/// What the features of a path get for a leaf of value 1, group by group.
#[derive(Default)]
pub(super) struct Payoffs {
    shares: Vec<f64>,
    paid: Vec<bool>,
    coefficients: Coefficients,
    points: HashMap<usize, Vec<(f64, f64)>>,
}

impl Payoffs {
    /// What the features get in this group; none if nothing.
    pub(super) fn of(&self, group: usize, features: usize) -> Option<&[f64]> {
        self.paid[group].then(|| &self.shares[group * features..][..features])
    }

    /// Payoffs against background rows with the masks `usual`; the share of them that reach the leaf.
    pub(super) fn against_rows(
        &mut self,
        leaf: &Leaf,
        own: &[u64],
        usual: &[u64],
        groups: &mut Groups,
    ) -> f64 {
        let (features, full) = (leaf.features.len(), leaf.full());
        groups.sort(usual, features);
        let found = groups.masks.iter().copied().zip(groups.counts.iter().copied());
        groups.background.clear();
        groups.background.extend(found);
        let ever = groups.masks.iter().fold(0, |ever, mask| ever | mask);
        groups.sort(own, features);
        self.begin(groups.masks.len(), features);
        let rows = usual.len() as f64;
        for (group, &mask) in groups.masks.iter().enumerate() {
            if mask | ever != full {
                continue;
            }
            let shares = &mut self.shares[group * features..][..features];
            self.paid[group] = pay(mask, full, rows, &groups.background, &mut self.coefficients, shares);
        }
        let reach = groups.background.iter().filter(|(mask, _)| *mask == full);
        reach.map(|(_, count)| f64::from(*count)).sum::<f64>() / rows
    }

    /// Payoffs against the shares of training rows that passed; the share that reached the leaf.
    pub(super) fn against_cover(&mut self, leaf: &Leaf, own: &[u64], groups: &mut Groups) -> f64 {
        let features = leaf.features.len();
        groups.sort(own, features);
        self.begin(groups.masks.len(), features);
        let count = features / 2 + 1;
        let points = self.points.entry(count).or_insert_with(|| gauss_legendre(count));
        for (group, &mask) in groups.masks.iter().enumerate() {
            let shares = &mut self.shares[group * features..][..features];
            integrate(mask, &leaf.shares, points, shares);
            self.paid[group] = true;
        }
        leaf.shares.iter().product()
    }

    fn begin(&mut self, groups: usize, features: usize) {
        self.shares.clear();
        self.shares.resize(groups * features, 0.0);
        self.paid.clear();
        self.paid.resize(groups, false);
    }
}

/// Adds up the payoffs over the background; whether there were any.
///
/// A feature that both the row and the background row pass plays no part. Of the others, each must be passed by one of the
/// two, or the leaf is never reached. `u` that only the row passes each get `(u-1)! v! / (u+v)!`, and `v` that only the
/// background row passes each lose `u! (v-1)! / (u+v)!`.
fn pay(
    mask: u64,
    full: u64,
    rows: f64,
    background: &[(u64, u32)],
    coefficients: &mut Coefficients,
    shares: &mut [f64],
) -> bool {
    let lacking = full & !mask;
    let v = lacking.count_ones() as usize;
    let (mut loss, mut paid) = (0.0, false);
    for &(usual, count) in background {
        if mask | usual != full || usual == mask {
            continue;
        }
        let mut gaining = full & !usual;
        let u = gaining.count_ones() as usize;
        let weight = f64::from(count) / rows;
        if v > 0 {
            loss += weight * coefficients.of(v - 1, u);
        }
        if u > 0 {
            let gain = weight * coefficients.of(u - 1, v);
            while gaining != 0 {
                shares[gaining.trailing_zeros() as usize] += gain;
                gaining &= gaining - 1;
            }
        }
        paid = true;
    }
    let mut rest = lacking;
    while rest != 0 {
        shares[rest.trailing_zeros() as usize] -= loss;
        rest &= rest - 1;
    }
    paid
}

/// `a! b! / (a + b + 1)!`, looked up.
struct Coefficients(Vec<f64>);

impl Default for Coefficients {
    fn default() -> Self {
        const SIDE: usize = PATH_FEATURES_MAX + 1;
        let mut table = vec![0.0; SIDE * SIDE];
        for a in 0..SIDE {
            // B(a + 1, 1) = 1 / (a + 1), then B(a + 1, b + 1) from B(a + 1, b).
            let mut value = 1.0 / (a as f64 + 1.0);
            for b in 0..SIDE {
                table[a * SIDE + b] = value;
                value *= (b as f64 + 1.0) / ((a + b) as f64 + 2.0);
            }
        }
        Self(table)
    }
}

impl Coefficients {
    fn of(&self, a: usize, b: usize) -> f64 {
        self.0[a * (PATH_FEATURES_MAX + 1) + b]
    }
}

/// The Shapley values of the product of factors that are 1 or 0 by `mask` inside a coalition and `usual` outside.
fn integrate(mask: u64, usual: &[f64], points: &[(f64, f64)], shares: &mut [f64]) {
    let own = |at: usize| if mask >> at & 1 == 1 { 1.0 } else { 0.0 };
    let mut factors = [0.0; PATH_FEATURES_MAX];
    let mut after = [1.0; PATH_FEATURES_MAX + 1];
    for &(t, weight) in points {
        for (at, usual) in usual.iter().enumerate() {
            factors[at] = t * own(at) + (1.0 - t) * usual;
        }
        after[usual.len()] = 1.0;
        for at in (0..usual.len()).rev() {
            after[at] = after[at + 1] * factors[at];
        }
        let mut before = weight;
        for at in 0..usual.len() {
            shares[at] += before * after[at + 1];
            before *= factors[at];
        }
    }
    for (at, usual) in usual.iter().enumerate() {
        shares[at] *= own(at) - usual;
    }
}

#[cfg(test)]
mod tests {
    use super::Coefficients;

    #[test]
    fn coefficients_are_the_beta_function_of_whole_numbers() {
        let table = Coefficients::default();
        assert_eq!(table.of(0, 0), 1.0);
        assert!((table.of(1, 0) - 0.5).abs() < 1e-15);
        assert!((table.of(2, 3) - 2.0 * 6.0 / 720.0).abs() < 1e-15);
        assert!((table.of(3, 2) - table.of(2, 3)).abs() < 1e-15);
    }
}
