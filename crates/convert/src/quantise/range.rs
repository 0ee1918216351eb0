//! From the values seen of an activation to the range that its 256 levels cover.
//!
//! uint8, asymmetric: `q = round(x / s) + z` with `s = (hi - lo) / 255` and `z = round(-lo / s)`; zero is always
//! exactly representable, since padding and Relu depend on it.

use serde::{Deserialize, Serialize};

/// Cells of the histogram of one activation.
pub(super) const CELLS: usize = 2048;

/// Share of values that percentile calibration keeps inside the range.
const PERCENTILE: f64 = 0.9999;

/// Thresholds tried by entropy calibration are this many cells apart.
const THRESHOLD_STEP: usize = 16;

/// Added to empty cells so that the divergence stays finite.
const EMPTY_SHARE: f64 = 1e-9;

/// How the range of an activation is chosen from the values seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// Everything seen.
    MinMax,
    /// All but 0.01 % of the values.
    Percentile,
    /// The threshold that loses least information: least Kullback-Leibler divergence of the values in 8 bits from the
    /// values seen (the method of Migacz, "8-bit inference with TensorRT", 2017).
    Entropy,
}

impl Calibration {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::MinMax, Self::Percentile, Self::Entropy];
}

/// What was seen of one activation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) min: f32,
    pub(super) max: f32,
    pub(super) cells: Vec<u64>,
}

impl Default for Seen {
    /// Nothing; zero is always inside.
    fn default() -> Self {
        Self { min: 0.0, max: 0.0, cells: vec![0; CELLS] }
    }
}

impl Seen {
    pub(super) fn widen(&mut self, values: &[f32]) {
        for &value in values.iter().filter(|value| value.is_finite()) {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }

    /// Counts `values` into the cells; [`Seen::widen`] must have seen them all.
    pub(super) fn count(&mut self, values: &[f32]) {
        let per_unit = CELLS as f32 / (self.max - self.min).max(f32::MIN_POSITIVE);
        for &value in values.iter().filter(|value| value.is_finite()) {
            let cell = ((value - self.min) * per_unit) as usize;
            self.cells[cell.min(CELLS - 1)] += 1;
        }
    }

    pub(super) fn range(&self, calibration: Calibration) -> Range {
        let (lo, hi) = match calibration {
            Calibration::MinMax => (self.min, self.max),
            Calibration::Percentile => self.percentile(),
            Calibration::Entropy => self.entropy(),
        };
        Range { lo: lo.min(0.0), hi: hi.max(0.0) }
    }

    fn edge(&self, cell: usize) -> f32 {
        self.min + (self.max - self.min) * cell as f32 / CELLS as f32
    }

    fn percentile(&self) -> (f32, f32) {
        let total: u64 = self.cells.iter().sum();
        let outside = (total as f64 * (1.0 - PERCENTILE) / 2.0) as u64;
        let cut = |cells: &mut dyn Iterator<Item = &u64>| {
            let mut seen = 0;
            cells
                .take_while(|&&count| {
                    seen += count;
                    seen <= outside
                })
                .count()
        };
        let (low, high) = (cut(&mut self.cells.iter()), cut(&mut self.cells.iter().rev()));
        if low + high >= CELLS {
            return (self.min, self.max);
        }
        (self.edge(low), self.edge(CELLS - high))
    }

    /// The values by magnitude: what lies on both sides of zero is folded onto one.
    fn magnitudes(&self) -> (Vec<f64>, f32) {
        let greatest = self.max.max(-self.min).max(f32::MIN_POSITIVE);
        let mut folded = vec![0.0; CELLS];
        for (cell, &count) in self.cells.iter().enumerate() {
            let centre = f32::midpoint(self.edge(cell), self.edge(cell + 1)).abs();
            let place = (centre / greatest * CELLS as f32) as usize;
            folded[place.min(CELLS - 1)] += count as f64;
        }
        // The cell of zero is mostly what Relu and padding put there; it would drown all else.
        folded[0] = folded[1];
        (folded, greatest)
    }

    fn entropy(&self) -> (f32, f32) {
        let (folded, greatest) = self.magnitudes();
        let levels = if self.min < 0.0 { 128 } else { 256 };
        let threshold = (levels..=CELLS)
            .step_by(THRESHOLD_STEP)
            .map(|cells| (divergence(&folded, cells, levels), cells))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(CELLS, |(_, cells)| cells);
        let bound = greatest * threshold as f32 / CELLS as f32;
        (self.min.max(-bound), self.max.min(bound))
    }
}

/// The divergence of the first `cells` cells, cut into `levels`, from all of them with what lies beyond put in the last.
fn divergence(all: &[f64], cells: usize, levels: usize) -> f64 {
    let kept = &all[..cells];
    let beyond: f64 = all[cells..].iter().sum();
    let (kept_sum, total) = (kept.iter().sum::<f64>(), all.iter().sum::<f64>());
    if kept_sum <= 0.0 {
        return f64::INFINITY;
    }
    let mut sum = 0.0;
    for level in 0..levels {
        let (from, to) = (level * cells / levels, (level + 1) * cells / levels);
        let level = &kept[from..to];
        let filled = level.iter().filter(|&&count| count > 0.0).count().max(1) as f64;
        let share = level.iter().sum::<f64>() / filled / kept_sum;
        for (cell, &count) in (from..to).zip(level) {
            let p = (count + if cell + 1 == cells { beyond } else { 0.0 }) / total;
            let q = if count > 0.0 { share } else { EMPTY_SHARE };
            sum += if p > 0.0 { p * (p / q.max(EMPTY_SHARE)).ln() } else { 0.0 };
        }
    }
    sum
}

/// The numbers that 256 levels cover; holds zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) lo: f32,
    pub(super) hi: f32,
}

impl Range {
    /// Step between levels, and the level of zero.
    pub(super) fn scale_and_zero(self) -> (f32, u8) {
        let scale = (self.hi - self.lo) / 255.0;
        if !(scale.is_finite() && scale >= f32::MIN_POSITIVE) {
            return (1.0, 0);
        }
        (scale, (-self.lo / scale).round().clamp(0.0, 255.0) as u8)
    }
}

#[cfg(test)]
mod tests {
    use edgeward_model::engine::conformance::fixture::noise;

    use super::*;

    fn seen(values: &[f32]) -> Seen {
        let mut seen = Seen::default();
        seen.widen(values);
        seen.count(values);
        seen
    }

    #[test]
    fn min_max_covers_everything_and_zero() {
        let range = seen(&[0.5, 2.0]).range(Calibration::MinMax);
        assert_eq!(range, Range { lo: 0.0, hi: 2.0 });
        assert_eq!(range.scale_and_zero(), (2.0 / 255.0, 0));
        let (scale, zero) =
            seen(&[-1.0, 3.0, f32::NAN, f32::INFINITY]).range(Calibration::MinMax).scale_and_zero();
        assert_eq!((scale, zero), (4.0 / 255.0, 64));
    }

    #[test]
    fn nothing_seen_or_only_zero_gives_a_usable_scale() {
        for calibration in Calibration::ALL {
            assert_eq!(seen(&[]).range(calibration).scale_and_zero(), (1.0, 0));
            assert_eq!(seen(&[0.0; 9]).range(calibration).scale_and_zero(), (1.0, 0));
        }
    }

    #[test]
    fn outliers_are_cut_by_percentile_and_entropy_alone() {
        // A bell: sums of uniform numbers. One value in 50,000 is far outside.
        let flat = noise(200_000, 3);
        let mut values: Vec<f32> = flat.chunks(4).map(|chunk| chunk.iter().sum()).collect();
        values[77] = 100.0;
        let seen = seen(&values);
        assert!(seen.range(Calibration::MinMax).hi > 99.0);
        for calibration in [Calibration::Percentile, Calibration::Entropy] {
            let Range { lo, hi } = seen.range(calibration);
            assert!(hi < 30.0 && hi > 2.0 && lo < -2.0, "{calibration:?}: {lo} to {hi}");
        }
    }

    #[test]
    fn values_without_outliers_keep_most_of_their_range() {
        let seen = seen(&noise(20_000, 5));
        for calibration in Calibration::ALL {
            let Range { lo, hi } = seen.range(calibration);
            assert!(lo < -0.8 && hi > 0.8, "{calibration:?}: {lo} to {hi}");
        }
    }
}
