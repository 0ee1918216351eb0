//! Scores in bins: areas under curves and calibration from counts of bounded size.

use std::collections::BTreeMap;

use super::exact::ExactSum;
use super::read_count;
use super::sequence::{Interval, Moments, distribution, within};
use crate::codec::{DecodeError, Reader, Writer, ensure};

/// Bins of a score for the area under the curve; finer towards 0 and 1, where classifiers put most.
pub const SCORE_BINS: u16 = 512;
/// Bins of the confidence for the calibration error: `(i/15, (i+1)/15]`.
pub const CALIBRATION_BINS: usize = 15;

/// The bin of a probability: a monotone map that is exact arithmetic on every machine.
fn bin(probability: f64) -> u16 {
    let p = probability.clamp(0.0, 1.0);
    let place = if p < 0.5 { (p / 2.0).sqrt() } else { 1.0 - ((1.0 - p) / 2.0).sqrt() };
    ((place * f64::from(SCORE_BINS)) as u16).min(SCORE_BINS - 1)
}

/// Scores of one class, of rows that are of it and rows that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ScoreBins(BTreeMap<u16, [u64; 2]>);

/// An area under a curve from bins.
pub(super) struct Area {
    pub(super) value: f64,
    pub(super) interval: Interval,
    /// How far the area of the unbinned scores may be away.
    pub(super) binning_error: f64,
    pub(super) n: u64,
}

impl ScoreBins {
    pub(super) fn add(&mut self, probability: f64, is_class: bool) {
        self.0.entry(bin(probability)).or_default()[usize::from(is_class)] += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (bin, counts) in &other.0 {
            let mine = self.0.entry(*bin).or_default();
            mine.iter_mut().zip(counts).for_each(|(a, b)| *a += b);
        }
    }

    /// The probability that a row of the class scores higher than one that is not, ties counting half; none unless
    /// there are both. Rows that share a bin count as ties: that is the binning error.
    pub(super) fn area(&self, alpha: f64) -> Option<Area> {
        let (mut others, mut members, mut below, mut tied) = (0u64, 0u64, 0.0, 0.0);
        for [no, yes] in self.0.values() {
            below += others as f64 * *yes as f64;
            tied += *no as f64 * *yes as f64;
            others += no;
            members += yes;
        }
        let pairs = others as f64 * members as f64;
        let value = (below + tied / 2.0) / pairs;
        let binning_error = tied / 2.0 / pairs;
        let reach = distribution(others, alpha / 2.0) + distribution(members, alpha / 2.0) + binning_error;
        let interval = ((value - reach).max(0.0), (value + reach).min(1.0));
        let n = others + members;
        (pairs > 0.0).then_some(Area { value, interval, binning_error, n })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.varint(self.0.len() as u64);
        for (bin, counts) in &self.0 {
            w.varint(u64::from(*bin));
            counts.iter().for_each(|count| w.varint(*count));
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut bins = Self::default();
        let len = r.varint("score bins")?;
        ensure(len <= u64::from(SCORE_BINS), "score bins")?;
        let mut next = 0;
        for _ in 0..len {
            let bin = r.varint("score bins")?;
            ensure((next..u64::from(SCORE_BINS)).contains(&bin), "score bins")?;
            next = bin + 1;
            let counts = [read_count(r)?, read_count(r)?];
            ensure(counts != [0, 0], "score bins")?;
            bins.0.insert(bin as u16, counts);
        }
        Ok(bins)
    }
}

/// How sure a classifier was of what it predicted, and how often it was right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Calibrated {
    n: u64,
    bins: [Gap; CALIBRATION_BINS],
}

/// Confidence less correctness of one bin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Gap {
    sum: ExactSum,
    squares: ExactSum,
}

impl Calibrated {
    pub(super) fn add(&mut self, confidence: f64, correct: bool) {
        // The edges of numpy.linspace(0, 1, 16); a confidence on an edge belongs below it.
        let above = |edge: usize| confidence > edge as f64 * (1.0 / CALIBRATION_BINS as f64);
        let bin = (1..CALIBRATION_BINS).filter(|edge| above(*edge)).count();
        let gap = confidence - f64::from(u8::from(correct));
        self.n += 1;
        self.bins[bin].sum.add(gap);
        self.bins[bin].squares.add(gap * gap);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            mine.sum.merge(&theirs.sum);
            mine.squares.merge(&theirs.squares);
        }
    }

    /// The expected calibration error: mean distance of confidence and accuracy over the bins, weighted by their rows.
    ///
    /// Source: C. Guo et al., "On calibration of modern neural networks" (2017).
    pub(super) fn error(&self, alpha: f64) -> Option<(f64, Interval, u64)> {
        if self.n == 0 {
            return None;
        }
        let (n, each) = (self.n as f64, alpha / CALIBRATION_BINS as f64);
        let gaps = self.bins.iter().map(|bin| (bin.sum.value(), bin.squares.value()));
        let (mut value, mut low, mut high) = (0.0, 0.0, 0.0);
        for (sum, squares) in gaps {
            // Gaps reach from -1 to 1: shifted to 0 to 2.
            let shifted = Moments { n: self.n, sum: sum + n, squares: squares + 2.0 * sum + n };
            let (least, most) = within(shifted, 2.0, each);
            let (least, most) = (least - 1.0, most - 1.0);
            value += f64::abs(sum / n);
            low += least.max(-most).max(0.0);
            high += most.max(-least);
        }
        Some((value, (low, high.min(1.0)), self.n))
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.varint(self.n);
        if self.n > 0 {
            self.bins.iter().for_each(|gap| {
                gap.sum.write(w);
                gap.squares.write(w);
            });
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut read = Self { n: read_count(r)?, ..Self::default() };
        if read.n > 0 {
            for gap in &mut read.bins {
                *gap = Gap { sum: ExactSum::read(r)?, squares: ExactSum::read(r)? };
                let squares = gap.squares.value();
                ensure(squares >= 0.0 && squares <= read.n as f64, "calibration")?;
                ensure(gap.sum.value().abs() <= read.n as f64, "calibration")?;
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_keep_the_order_and_are_finest_at_the_ends() {
        let places: Vec<u16> = (0..=10_000).map(|i| bin(f64::from(i) / 10_000.0)).collect();
        assert!(places.is_sorted());
        assert_eq!((places[0], places[5_000], places[10_000]), (0, SCORE_BINS / 2, SCORE_BINS - 1));
        assert_ne!(bin(1e-5), bin(1e-4));
        assert_eq!([bin(-1.0), bin(7.0)], [0, SCORE_BINS - 1]);
    }

    #[test]
    fn the_area_of_one_kind_is_none_and_of_equals_a_half() {
        let mut bins = ScoreBins::default();
        bins.add(0.7, true);
        assert!(bins.area(0.05).is_none());
        bins.add(0.7, false);
        let area = bins.area(0.05).unwrap();
        assert_eq!((area.value, area.binning_error, area.n), (0.5, 0.5, 2));
        assert_eq!(area.interval, (0.0, 1.0));
    }

    #[test]
    fn confidence_on_an_edge_belongs_below() {
        let mut calibrated = Calibrated::default();
        calibrated.add(1.0 / 15.0, true);
        assert_ne!(calibrated.bins[0], Gap::default());
        calibrated.add(1.0, true);
        assert_eq!(calibrated.bins[14], Gap::default(), "sure and right: no gap");
        let (value, (low, high), n) = calibrated.error(0.05).unwrap();
        assert!((value - 7.0 / 15.0).abs() < 1e-12 && low <= value && value <= high && n == 2);
    }
}
