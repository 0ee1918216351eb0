//! Features as small integers: at most 255 value bins of about equal count, and one for missing values.
//!
//! A cut lies between two values that occur, so that the FP32 comparison `value <= cut` decides exactly as the
//! bin does.

use ndarray::{Array2, ArrayView1};

/// Most value bins of a feature.
pub(crate) const BINS_MAX: usize = 255;

/// How one feature is binned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cuts(Vec<f32>);

/// A binned table.
pub(crate) struct Binned {
    pub(crate) cuts: Vec<Cuts>,
    /// Feature after feature, one code per row.
    codes: Vec<u8>,
    rows: usize,
}

impl Cuts {
    /// Cuts `column` into at most `bins` bins; NaN is ignored.
    fn fit(column: &ArrayView1<'_, f32>, bins: usize) -> Self {
        let mut values: Vec<f32> = column.iter().copied().filter(|value| !value.is_nan()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let distinct = 1 + values.windows(2).filter(|pair| pair[0] < pair[1]).count();
        let per_bin = if distinct <= bins { 0 } else { values.len().div_ceil(bins) };
        let (mut cuts, mut start) = (Vec::new(), 0);
        for at in 1..values.len() {
            if values[at - 1] < values[at] && at - start >= per_bin && cuts.len() + 1 < bins {
                cuts.push(between(values[at - 1], values[at]));
                start = at;
            }
        }
        Self(cuts)
    }

    /// Value bins, at least 1.
    #[cfg(test)]
    fn value_bins(&self) -> usize {
        self.0.len() + 1
    }

    /// The code of a missing value.
    pub(crate) fn missing_code(&self) -> usize {
        self.0.len() + 1
    }

    /// The bin of `value`: how many cuts lie below it.
    pub(crate) fn code(&self, value: f32) -> usize {
        if value.is_nan() { self.missing_code() } else { self.0.partition_point(|&cut| cut < value) }
    }

    /// `value <= threshold(bin)` exactly when the bin of `value` is at most `bin`.
    pub(crate) fn threshold(&self, bin: usize) -> f32 {
        self.0.get(bin).copied().unwrap_or(f32::MAX)
    }
}

/// A number `m` with `low <= m < high`, the middle where FP32 has one.
fn between(low: f32, high: f32) -> f32 {
    let middle = (f64::midpoint(f64::from(low), f64::from(high))) as f32;
    if middle < high { middle } else { low }
}

impl Binned {
    pub(crate) fn new(features: &Array2<f32>, bins: usize) -> Self {
        let cuts: Vec<Cuts> = features.columns().into_iter().map(|column| Cuts::fit(&column, bins)).collect();
        let codes = features.columns().into_iter().zip(&cuts).flat_map(|(column, cuts)| {
            column.iter().map(|&value| cuts.code(value) as u8).collect::<Vec<u8>>()
        });
        Self { codes: codes.collect(), rows: features.nrows(), cuts }
    }

    /// The codes of one feature, one per row.
    pub(crate) fn codes(&self, feature: usize) -> &[u8] {
        &self.codes[feature * self.rows..(feature + 1) * self.rows]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fit(values: &[f32], bins: usize) -> Cuts {
        Cuts::fit(&ArrayView1::from(values), bins)
    }

    #[test]
    fn few_values_get_a_bin_each() {
        let cuts = fit(&[3.0, 1.0, f32::NAN, 1.0, 2.0], 255);
        assert_eq!(cuts, Cuts(vec![1.5, 2.5]));
        assert_eq!([cuts.code(1.0), cuts.code(9.0), cuts.code(f32::NAN)], [0, 2, 3]);
    }

    #[test]
    fn neighbours_in_fp32_are_told_apart() {
        let next = f32::from_bits(1.0_f32.to_bits() + 1);
        assert_eq!(fit(&[1.0, next], 255), Cuts(vec![1.0]));
        assert_eq!(fit(&[f32::MIN, f32::MAX], 255), Cuts(vec![0.0]));
    }

    proptest! {
        #[test]
        fn a_bin_and_its_threshold_agree(
            values in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::ZERO, 1..400),
            bins in 2usize..=BINS_MAX,
        ) {
            let cuts = fit(&values, bins);
            prop_assert!(cuts.value_bins() <= bins);
            for &value in &values {
                for bin in 0..cuts.value_bins() {
                    prop_assert_eq!(cuts.code(value) <= bin, value <= cuts.threshold(bin));
                }
            }
        }
    }
}
