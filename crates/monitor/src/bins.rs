//! Placing a number into a reference cell: equiprobable bins that respect ties, finer at the ends of references large
//! enough to know them.
//!
//! A shift of two or three deviations puts most values into the outermost of equiprobable bins, which then hides a
//! third of what they tell (its Kullback-Leibler divergence from the reference); three bins down to a four-thousandth
//! on each side leave a fourteenth hidden.
//!
//! A numeric stream has `bins + 5` cells: missing, -inf, below support, the bins, above support, +inf.

/// Most bins of a numeric stream inside its support.
pub const MAX_BINS: usize = 32;

/// Cell of missing values (NaN), of every kind of stream.
pub(crate) const MISSING: usize = 0;
/// Cell of negative infinity.
pub(crate) const NEGATIVE_INFINITY: usize = 1;
/// Cell of finite values below the reference's smallest.
pub(crate) const BELOW: usize = 2;
/// First cell inside the support of a numeric stream.
pub(crate) const FIRST_BIN: usize = 3;
/// Cell of class indices that the reference does not name.
pub(crate) const UNSEEN_CLASS: usize = 1;
/// Cell of class 0 of a categorical stream.
pub(crate) const FIRST_CLASS: usize = 2;

/// Bin edges of a numeric stream. Bin `i` holds values in `(edge[i-1], edge[i]]` within the support.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    /// Inner edges, ascending, padded with +inf so that a search takes the same steps for every value.
    edges: [f32; MAX_BINS],
    count: usize,
    min: f32,
    max: f32,
}

impl Bins {
    /// Bins of ascending finite values: one per distinct value if there are few, else about equally full.
    /// Equal values never part. Without values, everything finite is below support.
    pub(crate) fn of_sorted(sorted: &[f32]) -> Self {
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self {
                edges: [f32::INFINITY; MAX_BINS],
                count: 1,
                min: f32::INFINITY,
                max: f32::NEG_INFINITY,
            };
        };
        let runs: Vec<&[f32]> = sorted.chunk_by(|a, b| a == b).collect();
        let mut edges = [f32::INFINITY; MAX_BINS];
        let (mut count, mut filled, mut left) = (1, 0, sorted.len());
        let shares = shares(sorted.len());
        for (i, pair) in runs.windows(2).enumerate() {
            filled += pair[0].len();
            let bins_left = MAX_BINS - (count - 1);
            let share_left: usize = shares[count - 1..].iter().sum();
            let full = filled * share_left >= left * shares[count - 1] || runs.len() - i <= bins_left;
            if full && count < MAX_BINS {
                edges[count - 1] = between(pair[0][0], pair[1][0]);
                count += 1;
                left -= filled;
                filled = 0;
            }
        }
        Self { edges, count, min, max }
    }

    /// Bins from stored parts; `None` unless edges ascend strictly inside the support.
    pub(crate) fn from_parts(inner: &[f32], min: f32, max: f32) -> Option<Self> {
        let empty = inner.is_empty() && min == f32::INFINITY && max == f32::NEG_INFINITY;
        let finite = min.is_finite() && max.is_finite() && min <= max;
        let ascending = inner.windows(2).all(|w| w[0] < w[1]);
        let inside = inner.iter().all(|e| *e >= min && *e < max);
        if inner.len() >= MAX_BINS || !(empty || finite && ascending && inside) {
            return None;
        }
        let mut edges = [f32::INFINITY; MAX_BINS];
        edges[..inner.len()].copy_from_slice(inner);
        Some(Self { edges, count: inner.len() + 1, min, max })
    }

    /// Number of bins inside the support, 1 to [`MAX_BINS`].
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Inner edges, one fewer than bins.
    #[must_use]
    pub fn edges(&self) -> &[f32] {
        &self.edges[..self.count - 1]
    }

    /// Smallest and largest reference value.
    #[must_use]
    pub const fn support(&self) -> (f32, f32) {
        (self.min, self.max)
    }

    pub(crate) const fn cells(&self) -> usize {
        self.count + 5
    }

    pub(crate) const fn above(&self) -> usize {
        FIRST_BIN + self.count
    }

    /// The cell of `value`; below [`Self::cells`].
    #[inline]
    pub(crate) fn cell(&self, value: f32) -> usize {
        if value >= self.min && value <= self.max {
            return FIRST_BIN + self.passed(value) as usize;
        }
        self.cell_outside(value)
    }

    /// Number of edges below `value`. No branches: a comparison of all edges is quicker than a search.
    #[inline(never)]
    fn passed(&self, value: f32) -> u32 {
        self.edges.iter().map(|edge| u32::from(value > *edge)).sum()
    }

    /// The cell of each of `values`.
    pub(crate) fn cells_of(&self, values: &[f32], cells: &mut [u32]) {
        for i in 0..values.len().min(cells.len()) {
            cells[i] = self.cell(values[i]) as u32;
        }
    }

    #[cold]
    fn cell_outside(&self, value: f32) -> usize {
        if value.is_nan() {
            MISSING
        } else if value == f32::NEG_INFINITY {
            NEGATIVE_INFINITY
        } else if value == f32::INFINITY {
            self.above() + 1
        } else if value < self.min {
            BELOW
        } else {
            self.above()
        }
    }
}

/// Rows that the outermost bin of a large reference holds at least, and the least part of all that it is.
const TAIL_ROWS_MIN: usize = 25;
const TAIL_PART: usize = 4_000;
/// Smaller references have equiprobable bins only.
const TAIL_REFERENCE_ROWS_MIN: usize = 4_096;
/// Part that the finer bins of one side are together, and how many there are at most.
const TAILS_PART: usize = 64;
const TAIL_BINS: usize = 3;

/// How much of `rows` rows each bin should hold, in parts of an arbitrary whole.
fn shares(rows: usize) -> [usize; MAX_BINS] {
    if rows < TAIL_REFERENCE_ROWS_MIN {
        return [1; MAX_BINS];
    }
    let least = (TAIL_ROWS_MIN as f64 / rows as f64).max(1.0 / TAIL_PART as f64);
    let widest = 1.0 / TAILS_PART as f64;
    let bins = if widest / least > 16.0 { TAIL_BINS } else { TAIL_BINS - 1 };
    let reach = |k: usize| least * (widest / least).powf(k as f64 / (bins - 1) as f64);
    let whole = 1e6;
    let inner = (1.0 - 2.0 * widest) / (MAX_BINS - 2 * bins) as f64;
    let mut shares = [(inner * whole) as usize; MAX_BINS];
    for k in 0..bins {
        let share = reach(k) - if k > 0 { reach(k - 1) } else { 0.0 };
        shares[k] = (share * whole) as usize;
        shares[MAX_BINS - 1 - k] = shares[k];
    }
    shares
}

/// An edge `e` with `low <= e < high`, half way where numbers are dense enough.
fn between(low: f32, high: f32) -> f32 {
    let middle = (f64::from(low) + f64::from(high)) / 2.0;
    let middle = middle as f32;
    if middle >= low && middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_distinct_values_get_a_bin_each() {
        let mut values = vec![0.0f32; 900];
        values.extend([1.0, 2.0, 2.0, 16.0]);
        let bins = Bins::of_sorted(&values);
        assert_eq!(bins.edges(), [0.5, 1.5, 9.0]);
        assert_eq!([-1.0, 0.0, 1.0, 2.0, 16.0, 17.0].map(|v| bins.cell(v)), [2, 3, 4, 5, 6, 7]);
        assert_eq!([f32::NAN, f32::NEG_INFINITY, f32::INFINITY].map(|v| bins.cell(v)), [0, 1, 8]);
    }

    #[test]
    fn many_distinct_values_are_spread_evenly() {
        let values: Vec<f32> = (0..3200u16).map(f32::from).collect();
        let bins = Bins::of_sorted(&values);
        let mut counts = vec![0; bins.cells()];
        values.iter().for_each(|v| counts[bins.cell(*v)] += 1);
        assert_eq!(counts[FIRST_BIN..bins.above()], [100; MAX_BINS]);
    }

    #[test]
    fn a_large_reference_has_finer_bins_at_its_ends() {
        let values: Vec<f32> = (0..100_000u32).map(|v| v as f32).collect();
        let bins = Bins::of_sorted(&values);
        let mut counts = vec![0usize; bins.cells()];
        values.iter().for_each(|v| counts[bins.cell(*v)] += 1);
        let inside = &counts[FIRST_BIN..bins.above()];
        assert!(
            inside.len() == 32 && inside[0].abs_diff(25) < 3 && inside[31].abs_diff(25) < 3,
            "{inside:?}"
        );
        assert!(inside[2] > inside[1] && inside[29] > inside[30] && inside[2] < 1_600, "{inside:?}");
        assert!(inside[3..29].iter().all(|count| count.abs_diff(inside[4]) <= 30), "{inside:?}");
    }

    #[test]
    fn a_large_tie_does_not_starve_the_rest() {
        let mut values = vec![0.0f32; 5000];
        values.extend((1..=1000u16).map(f32::from));
        let bins = Bins::of_sorted(&values);
        assert_eq!(bins.count(), MAX_BINS);
        assert_eq!(bins.cell(0.0), FIRST_BIN);
        assert_ne!(bins.cell(1000.0), bins.cell(900.0));
    }

    #[test]
    fn neighbours_that_have_no_number_between_them_part() {
        let (a, b) = (1.0f32, 1.0f32.next_up());
        let bins = Bins::of_sorted(&[a, b]);
        assert_ne!(bins.cell(a), bins.cell(b));
        let bins = Bins::of_sorted(&[f32::MIN, f32::MAX]);
        assert_ne!(bins.cell(f32::MIN), bins.cell(f32::MAX));
    }

    #[test]
    fn without_values_every_number_is_outside() {
        let bins = Bins::of_sorted(&[]);
        assert_eq!([bins.cell(0.0), bins.cell(f32::NAN), bins.cell(f32::INFINITY)], [BELOW, MISSING, 5]);
    }
}
