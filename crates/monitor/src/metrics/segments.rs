//! Performance by segment: where the losses are.
//!
//! A segment is a value of something that the caller names: a feature's bin, a category, a tag. Their number is
//! bounded by [`MAX_SEGMENTS`]; what comes later counts as [`OTHER_SEGMENT`], so that nothing is lost from the whole.
//! Up to the limit, merging is exact and independent of order; beyond it, which segments keep their name is not.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Estimate, Outcome, Performance, TooManyLabels};
use crate::codec::{DecodeError, Reader, Writer, ensure};

/// Most segments beside [`OTHER_SEGMENT`].
pub const MAX_SEGMENTS: usize = 64;
/// Longest name, and longest value, of a segment, in bytes.
pub const MAX_SEGMENT_BYTES: usize = 256;
/// Name and value of the segment of all that found no room.
pub const OTHER_SEGMENT: &str = "(other)";

const DOCUMENT: &str = "performance by segment";
const MAGIC: [u8; 4] = *b"EWPS";
const VERSION: u8 = 1;

/// A part of the predictions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// What is told apart, as `camera`.
    pub name: String,
    /// Which one, as `3`.
    pub value: String,
}

impl Segment {
    /// A segment; name and value are cut at [`MAX_SEGMENT_BYTES`].
    #[must_use]
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: cut(name), value: cut(value) }
    }

    fn other() -> Self {
        Self::new(OTHER_SEGMENT, OTHER_SEGMENT)
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_SEGMENT_BYTES)].to_owned()
}

/// Performance in all and by segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentedPerformance {
    all: Performance,
    segments: BTreeMap<Segment, Performance>,
}

/// A segment that does worse than it should.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentLoss {
    /// Which one.
    pub segment: Segment,
    /// Its metric now, at a level that holds for all segments at once.
    pub estimate: Estimate,
    /// What the metric should be.
    pub baseline: f64,
    /// How much worse it is.
    pub loss: f64,
    /// Its part of the labels.
    pub weight: f64,
    /// Loss times weight: what the segment takes away from the whole.
    pub score: f64,
    /// Whether the range excludes the baseline.
    pub certain: bool,
    /// The same in a sentence.
    pub reason: String,
}

/// Metrics that are better the higher they are; of the others less is better.
const HIGHER_IS_BETTER: [&str; 4] = ["accuracy", "balanced_accuracy", "f1_macro", "auc"];

/// A metric to judge segments by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged<'a> {
    /// Its name in [`super::PerformanceReport::metrics`].
    pub metric: &'a str,
    /// Names of the classes.
    pub classes: &'a [String],
    /// The quantile that a regression predicts.
    pub quantile: f64,
    /// Error level, for all segments together.
    pub alpha: f64,
}

impl SegmentedPerformance {
    /// Performance over all segments.
    #[must_use]
    pub const fn all(&self) -> &Performance {
        &self.all
    }

    /// Performance by segment.
    #[must_use]
    pub const fn segments(&self) -> &BTreeMap<Segment, Performance> {
        &self.segments
    }

    /// Whether no label has come.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.labels() + self.all.unjudged() == 0
    }

    /// The whole without its parts.
    #[must_use]
    pub fn without_segments(&self) -> Self {
        Self { all: self.all.clone(), segments: BTreeMap::new() }
    }

    /// Counts one outcome, in all and in each of `segments`.
    pub fn observe<'a>(&mut self, outcome: &Outcome<'_>, segments: impl IntoIterator<Item = &'a Segment>) {
        self.all.observe(outcome);
        for segment in segments {
            self.room(segment).observe(outcome);
        }
    }

    fn room(&mut self, segment: &Segment) -> &mut Performance {
        let known = self.segments.contains_key(segment);
        let key = if known || self.named() < MAX_SEGMENTS { segment.clone() } else { Segment::other() };
        self.segments.entry(key).or_default()
    }

    fn named(&self) -> usize {
        self.segments.len() - usize::from(self.segments.contains_key(&Segment::other()))
    }

    /// The sum of both.
    ///
    /// # Errors
    /// They hold too many labels together.
    pub fn merge(&self, other: &Self) -> Result<Self, TooManyLabels> {
        let mut sum = Self { all: self.all.merge(&other.all)?, segments: self.segments.clone() };
        for (segment, theirs) in &other.segments {
            let mine = sum.room(segment);
            *mine = mine.merge(theirs)?;
        }
        Ok(sum)
    }

    /// The segments that do worse than `baseline` says they should, what they take away from the whole first.
    ///
    /// `baseline` may know each segment's own past, or say the same of all; segments it knows nothing of are left out.
    #[must_use]
    pub fn losses(&self, judged: Judged<'_>, baseline: impl Fn(&Segment) -> Option<f64>) -> Vec<SegmentLoss> {
        let each = Judged { alpha: judged.alpha / self.segments.len().max(1) as f64, ..judged };
        let total = self.all.labels().max(1) as f64;
        let lost = self.segments.iter().filter_map(|(segment, performance)| {
            let weight = performance.labels() as f64 / total;
            loss(segment, performance, baseline(segment)?, weight, each)
        });
        let mut losses: Vec<SegmentLoss> = lost.collect();
        losses.sort_by(most_lost);
        losses
    }

    /// The stored form, version 1.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC, VERSION);
        self.all.write(&mut w);
        w.len(self.segments.len());
        for (segment, performance) in &self.segments {
            w.str(&segment.name);
            w.str(&segment.value);
            performance.write(&mut w);
        }
        w.finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are not such a document of a known version, or hold values that none has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, VERSION)?;
        let mut read = Self { all: Performance::read(&mut r)?, segments: BTreeMap::new() };
        for _ in 0..r.len("segments", MAX_SEGMENTS + 1)? {
            let name = r.str("segments", MAX_SEGMENT_BYTES)?;
            let segment = Segment { name, value: r.str("segments", MAX_SEGMENT_BYTES)? };
            ensure(read.segments.last_key_value().is_none_or(|(last, _)| *last < segment), "segments")?;
            let performance = Performance::read(&mut r)?;
            ensure(performance.labels() <= read.all.labels(), "segments")?;
            read.segments.insert(segment, performance);
        }
        r.finish()?;
        ensure(read.named() <= MAX_SEGMENTS, "segments")?;
        Ok(read)
    }
}

fn loss(
    segment: &Segment,
    performance: &Performance,
    baseline: f64,
    weight: f64,
    judged: Judged<'_>,
) -> Option<SegmentLoss> {
    let mut report = performance.report(judged.classes, judged.quantile, judged.alpha);
    let estimate = report.metrics.remove(judged.metric)?;
    let higher = HIGHER_IS_BETTER.contains(&judged.metric);
    let loss = if higher { baseline - estimate.value } else { estimate.value - baseline };
    let certain = if higher { estimate.high < baseline } else { estimate.low > baseline };
    let reason = format!(
        "{} is {:.3} where {} is {}, {baseline:.3} is due ({} labels{})",
        judged.metric,
        estimate.value,
        segment.name,
        segment.value,
        estimate.n,
        if certain { "" } else { ", not certain" },
    );
    let segment = segment.clone();
    (loss > 0.0).then_some(SegmentLoss {
        segment,
        estimate,
        baseline,
        loss,
        weight,
        score: loss * weight,
        certain,
        reason,
    })
}

fn most_lost(a: &SegmentLoss, b: &SegmentLoss) -> Ordering {
    let by_score = b.certain.cmp(&a.certain).then(b.score.total_cmp(&a.score));
    by_score.then_with(|| a.segment.cmp(&b.segment))
}
