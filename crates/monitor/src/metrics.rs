//! Performance from labels, by the names and values of scikit-learn, each with a confidence sequence.
//!
//! A [`Performance`] holds counts and exact sums, so that windows, segments and devices merge by addition to the same
//! bytes in any order. A label counts when it arrives, however late; joining labels to predictions is the caller's
//! business. Memory is bounded: counts per class, [`SCORE_BINS`] bins of scores, a few sums.
//!
//! Deliberately missing: a confusion matrix, whose size is the square of the classes, and alarms ([`crate::DecayDetector`]).

mod classified;
mod estimate;
mod exact;
mod measured;
mod scores;
mod segmenter;
mod segments;
mod sequence;

pub use classified::MAX_SCORED_CLASSES;
pub use estimate::{Estimate, PerformanceReport};
pub use scores::{CALIBRATION_BINS, SCORE_BINS};
pub use segmenter::Segmenter;
pub use segments::SegmentedPerformance;
pub use segments::{Judged, MAX_SEGMENT_BYTES, MAX_SEGMENTS, OTHER_SEGMENT, Segment, SegmentLoss};

use classified::Classified;
use measured::Measured;

use crate::codec::{DecodeError, Reader, Writer, ensure};

/// Most labels a performance counts.
pub const MAX_LABELS: u64 = 1 << 40;

const DOCUMENT: &str = "performance";
const MAGIC: [u8; 4] = *b"EWPM";
const VERSION: u8 = 1;

/// A prediction and its truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome<'a> {
    /// Of a classifier.
    Class {
        /// Index of the predicted class.
        predicted: u32,
        /// Index of the true class; none if the model does not know the class.
        truth: Option<u32>,
        /// What the model thought of the classes.
        scores: Scores<'a>,
    },
    /// Of a regression; numbers that are not finite cannot be judged.
    Number {
        /// What was predicted.
        predicted: f64,
        /// What was true.
        truth: f64,
    },
}

/// Probabilities that a classifier gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scores<'a> {
    /// It gave none.
    Unknown,
    /// That of the class it predicted, one of `classes`. Of two classes it tells both.
    Top {
        /// The probability, 0 to 1.
        confidence: f32,
        /// How many classes the model knows.
        classes: u32,
    },
    /// One per class.
    All(&'a [f32]),
}

/// Performances that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sum would hold more than {MAX_LABELS} labels")]
pub struct TooManyLabels;

/// How well predictions agreed with labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Performance {
    /// Labels that said nothing: not finite, or beyond the limit.
    unjudged: u64,
    classified: Classified,
    measured: Measured,
}

impl Performance {
    /// Labels that were judged.
    #[must_use]
    pub const fn labels(&self) -> u64 {
        self.classified.labels() + self.measured.labels()
    }

    /// Labels that could not be judged.
    #[must_use]
    pub const fn unjudged(&self) -> u64 {
        self.unjudged
    }

    /// Share of right classes, and the number of labels; none without a classifier's labels.
    #[must_use]
    pub fn accuracy(&self) -> Option<(f64, u64)> {
        let labels = self.classified.labels();
        (labels > 0).then(|| (self.classified.hits() as f64 / labels as f64, labels))
    }

    /// Counts one outcome.
    pub fn observe(&mut self, outcome: &Outcome<'_>) {
        let full = self.labels() + self.unjudged >= MAX_LABELS;
        let judged = match *outcome {
            _ if full => false,
            Outcome::Class { predicted, truth, scores } => {
                self.classified.observe(predicted, truth, scores);
                true
            }
            Outcome::Number { predicted, truth } => self.measured.observe(predicted, truth),
        };
        self.unjudged += u64::from(!judged && self.unjudged < MAX_LABELS);
    }

    /// The sum of both; the same bytes in any order and grouping.
    ///
    /// # Errors
    /// They hold too many labels together.
    pub fn merge(&self, other: &Self) -> Result<Self, TooManyLabels> {
        let total = self.labels() + self.unjudged + other.labels() + other.unjudged;
        if total > MAX_LABELS {
            return Err(TooManyLabels);
        }
        let mut sum = self.clone();
        sum.unjudged += other.unjudged;
        sum.classified.merge(&other.classified);
        sum.measured.merge(&other.measured);
        Ok(sum)
    }

    /// Every metric that the labels allow, each at confidence `1 - alpha` on its own.
    ///
    /// `classes` names the classes; `quantile` is the quantile that a regression predicts, 0.5 for the median.
    #[must_use]
    pub fn report(&self, classes: &[String], quantile: f64, alpha: f64) -> PerformanceReport {
        let alpha = if alpha > 0.0 && alpha < 1.0 { alpha } else { estimate::DEFAULT_ALPHA };
        let mut report =
            PerformanceReport { labels: self.labels(), unjudged: self.unjudged, ..Default::default() };
        self.classified.report(classes, alpha, &mut report);
        self.measured.report(quantile, alpha, &mut report);
        report
    }

    /// The stored form, version 1.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC, VERSION);
        self.write(&mut w);
        w.finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are not a performance of a known version, or hold values that no performance has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, VERSION)?;
        let performance = Self::read(&mut r)?;
        r.finish()?;
        Ok(performance)
    }

    fn write(&self, w: &mut Writer) {
        w.varint(self.unjudged);
        self.classified.write(w);
        self.measured.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let unjudged = r.varint("labels")?;
        let (classified, measured) = (Classified::read(r)?, Measured::read(r)?);
        let counts = [unjudged, classified.labels(), measured.labels()];
        ensure(
            counts.iter().try_fold(0u64, |a, b| a.checked_add(*b)).is_some_and(|n| n <= MAX_LABELS),
            "labels",
        )?;
        Ok(Self { unjudged, classified, measured })
    }
}

/// A count of at most [`MAX_LABELS`].
fn read_count(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let count = r.varint("labels")?;
    ensure(count <= MAX_LABELS, "labels")?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_performance_stays_as_it_is() {
        let mut one = Performance::default();
        one.observe(&Outcome::Number { predicted: 1.0, truth: 2.0 });
        let mut full = Performance { unjudged: MAX_LABELS - 1, ..Performance::default() };
        assert_eq!(full.merge(&one).unwrap().labels(), 1);
        full.observe(&Outcome::Number { predicted: f64::NAN, truth: 2.0 });
        assert_eq!(full.unjudged(), MAX_LABELS);
        full.observe(&Outcome::Number { predicted: 1.0, truth: 2.0 });
        assert_eq!((full.labels(), full.unjudged()), (0, MAX_LABELS));
        assert_eq!(full.merge(&one), Err(TooManyLabels));
    }
}
