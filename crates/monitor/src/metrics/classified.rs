//! Metrics of classifiers: accuracy, balanced accuracy, F1, area under the curve, log loss, Brier, calibration error.

use std::collections::BTreeMap;

use super::estimate::{Estimate, PerformanceReport};
use super::exact::ExactSum;
use super::scores::{Calibrated, ScoreBins};
use super::sequence::{Interval, Moments, bounded, share, within};
use super::{Scores, read_count};
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::reference::MAX_CLASSES;

/// Most classes of a model whose log loss, Brier score and areas are counted; beyond it, only whether the predicted
/// class was right and how sure the model was.
pub const MAX_SCORED_CLASSES: usize = 64;
/// Where a class that the model does not know is counted; indices beyond the limit of classes are, too.
const UNKNOWN: u32 = MAX_CLASSES as u32;
/// Probabilities are clipped as scikit-learn clips doubles before it takes their logarithm.
const CLIP: f64 = f64::EPSILON;
/// Scores whose sum is farther from 1 are no probabilities of classes that exclude each other.
const SUM_TOLERANCE: f64 = 0.01;

/// Counts of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ClassCounts {
    /// Predicted and true.
    hits: u64,
    /// Predicted.
    predicted: u64,
    /// True.
    actual: u64,
}

/// What is counted of a classifier's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Classified {
    n: u64,
    hits: u64,
    classes: BTreeMap<u32, ClassCounts>,
    calibrated: Calibrated,
    probabilistic: Probabilistic,
}

/// What is counted of labels whose every class had a probability.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Probabilistic {
    n: u64,
    log_loss: ExactSum,
    log_loss_squares: ExactSum,
    brier: ExactSum,
    brier_squares: ExactSum,
    /// Two classes count once: as the second one.
    areas: BTreeMap<u32, ScoreBins>,
    /// Most classes seen; 2 makes the Brier score the binary one.
    classes: u32,
}

impl Classified {
    pub(super) const fn labels(&self) -> u64 {
        self.n
    }

    pub(super) const fn hits(&self) -> u64 {
        self.hits
    }

    pub(super) fn observe(&mut self, predicted: u32, truth: Option<u32>, scores: Scores<'_>) {
        let (predicted, truth) = (predicted.min(UNKNOWN), truth.unwrap_or(UNKNOWN).min(UNKNOWN));
        let hit = predicted == truth && truth != UNKNOWN;
        self.n += 1;
        self.hits += u64::from(hit);
        let counts = self.classes.entry(predicted).or_default();
        counts.predicted += 1;
        counts.hits += u64::from(hit);
        self.classes.entry(truth).or_default().actual += 1;
        match scores {
            Scores::Unknown => {}
            Scores::Top { confidence, classes } => {
                self.top(f64::from(confidence), classes, (predicted, truth));
            }
            Scores::All(scores) => self.all(scores, (predicted, truth)),
        }
    }

    fn top(&mut self, confidence: f64, classes: u32, (predicted, truth): (u32, u32)) {
        if !(0.0..=1.0).contains(&confidence) {
            return;
        }
        self.calibrated.add(confidence, predicted == truth);
        if classes == 2 && predicted < 2 {
            let positive = if predicted == 1 { confidence } else { 1.0 - confidence };
            self.probabilistic.observe(&[1.0 - positive, positive], truth);
        }
    }

    fn all(&mut self, scores: &[f32], (predicted, truth): (u32, u32)) {
        let usable = scores.iter().all(|score| (0.0..=1.0).contains(score));
        let Some(top) = scores.get(predicted as usize).filter(|_| usable) else { return };
        self.calibrated.add(f64::from(*top), predicted == truth);
        let scores: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        let adds_up = (scores.iter().sum::<f64>() - 1.0).abs() <= SUM_TOLERANCE;
        if adds_up && (2..=MAX_SCORED_CLASSES).contains(&scores.len()) {
            self.probabilistic.observe(&scores, truth);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.hits += other.hits;
        for (class, counts) in &other.classes {
            let mine = self.classes.entry(*class).or_default();
            mine.hits += counts.hits;
            mine.predicted += counts.predicted;
            mine.actual += counts.actual;
        }
        self.calibrated.merge(&other.calibrated);
        self.probabilistic.merge(&other.probabilistic);
    }

    pub(super) fn report(&self, classes: &[String], alpha: f64, report: &mut PerformanceReport) {
        if self.n == 0 {
            return;
        }
        let accuracy = self.hits as f64 / self.n as f64;
        report.put("accuracy", Estimate::new(accuracy, bounded(self.n, self.hits as f64, alpha), self.n));
        self.report_recalls(alpha, report);
        self.report_f1(classes, alpha, report);
        if let Some((value, interval, n)) = self.calibrated.error(alpha) {
            report.put("calibration_error", Estimate::new(value, interval, n));
        }
        self.probabilistic.report(alpha, report);
    }

    /// The mean recall of the classes that labels speak of; its range is the mean of the recalls' ranges.
    fn report_recalls(&self, alpha: f64, report: &mut PerformanceReport) {
        let actual = self.classes.iter().filter(|(_, counts)| counts.actual > 0);
        let recalls = actual
            .map(|(class, counts)| proportion(counts.hits, counts.actual, share(alpha, *class as usize)));
        if let Some((value, interval)) = mean(&recalls.collect::<Vec<_>>()) {
            report.put("balanced_accuracy", Estimate::new(value, interval, self.n));
        }
    }

    /// F1 is `2 J / (1 + J)` of the share J of hits among the rows that were predicted or were of the class, and a
    /// sequence for that share is one for F1.
    fn report_f1(&self, classes: &[String], alpha: f64, report: &mut PerformanceReport) {
        let involved = |counts: &ClassCounts| counts.predicted + counts.actual - counts.hits;
        let f1 = |counts: &ClassCounts, alpha: f64| {
            let (value, (low, high)) = proportion(counts.hits, involved(counts), alpha);
            let of = |jaccard: f64| 2.0 * jaccard / (1.0 + jaccard);
            (of(value), (of(low), of(high)))
        };
        let together = |class: u32| share(alpha, class as usize);
        let each: Vec<_> = self.classes.iter().map(|(class, counts)| f1(counts, together(*class))).collect();
        if let Some((value, interval)) = mean(&each) {
            report.put("f1_macro", Estimate::new(value, interval, self.n));
        }
        for (class, counts) in self.classes.iter().filter(|(class, _)| **class != UNKNOWN) {
            let name = classes.get(*class as usize).cloned().unwrap_or_else(|| class.to_string());
            let (value, interval) = f1(counts, alpha);
            report.f1.insert(name, Estimate::new(value, interval, involved(counts)));
        }
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.varint(self.classes.len() as u64);
        for (class, counts) in &self.classes {
            w.varint(u64::from(*class));
            [counts.hits, counts.predicted, counts.actual].into_iter().for_each(|count| w.varint(count));
        }
        self.calibrated.write(w);
        self.probabilistic.write(w);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        let (len, mut next) = (r.varint("classes")?, 0);
        for _ in 0..len {
            let class = read_class(r, &mut next, UNKNOWN)?;
            let counts =
                ClassCounts { hits: read_count(r)?, predicted: read_count(r)?, actual: read_count(r)? };
            ensure(counts.hits <= counts.predicted.min(counts.actual), "labels")?;
            ensure(class != UNKNOWN || counts.hits == 0, "labels")?;
            read.n += counts.actual;
            read.hits += counts.hits;
            read.classes.insert(class, counts);
        }
        let predicted: u64 = read.classes.values().map(|counts| counts.predicted).sum();
        ensure(predicted == read.n, "labels")?;
        (read.calibrated, read.probabilistic) = (Calibrated::read(r)?, Probabilistic::read(r)?);
        Ok(read)
    }
}

/// A class of at least `next`, which it then raises, and at most `last`.
fn read_class(r: &mut Reader<'_>, next: &mut u32, last: u32) -> Result<u32, DecodeError> {
    let class = r.varint("classes")?;
    ensure((u64::from(*next)..=u64::from(last)).contains(&class), "classes")?;
    *next = class as u32 + 1;
    Ok(class as u32)
}

fn proportion(hits: u64, n: u64, alpha: f64) -> (f64, Interval) {
    (hits as f64 / n.max(1) as f64, bounded(n, hits as f64, alpha))
}

/// Means of values and of their ranges.
fn mean(parts: &[(f64, Interval)]) -> Option<(f64, Interval)> {
    let n = parts.len() as f64;
    let of = |part: fn(&(f64, Interval)) -> f64| parts.iter().map(part).sum::<f64>() / n;
    (!parts.is_empty()).then(|| (of(|p| p.0), (of(|p| p.1.0), of(|p| p.1.1))))
}

impl Probabilistic {
    /// Probabilities of all classes; a truth that is not among them had none.
    fn observe(&mut self, scores: &[f64], truth: u32) {
        self.n += 1;
        self.classes = self.classes.max(scores.len() as u32);
        let given = scores.get(truth as usize).copied().unwrap_or(0.0);
        let loss = -given.clamp(CLIP, 1.0 - CLIP).ln();
        self.log_loss.add(loss);
        self.log_loss_squares.add(loss * loss);
        let brier = brier(scores, truth);
        self.brier.add(brier);
        self.brier_squares.add(brier * brier);
        if scores.len() == 2 {
            if truth < 2 {
                self.areas.entry(1).or_default().add(scores[1], truth == 1);
            }
            return;
        }
        for (class, score) in (0..).zip(scores) {
            self.areas.entry(class).or_default().add(*score, truth == class);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.classes = self.classes.max(other.classes);
        self.log_loss.merge(&other.log_loss);
        self.log_loss_squares.merge(&other.log_loss_squares);
        self.brier.merge(&other.brier);
        self.brier_squares.merge(&other.brier_squares);
        for (class, bins) in &other.areas {
            self.areas.entry(*class).or_default().merge(bins);
        }
    }

    fn report(&self, alpha: f64, report: &mut PerformanceReport) {
        if self.n == 0 {
            return;
        }
        let mut put = |name: &str, sum: &ExactSum, squares: &ExactSum, range: f64| {
            let moments = Moments { n: self.n, sum: sum.value(), squares: squares.value() };
            let estimate = Estimate::new(moments.sum / self.n as f64, within(moments, range, alpha), self.n);
            report.put(name, estimate);
        };
        put("log_loss", &self.log_loss, &self.log_loss_squares, -CLIP.ln());
        put("brier", &self.brier, &self.brier_squares, if self.classes == 2 { 1.0 } else { 2.0 });
        self.report_area(alpha, report);
    }

    /// The mean of one class against the rest over the classes that have both.
    fn report_area(&self, alpha: f64, report: &mut PerformanceReport) {
        let each = |(class, bins): (&u32, &ScoreBins)| {
            let alpha = if self.areas.len() == 1 { alpha } else { share(alpha, *class as usize) };
            bins.area(alpha)
        };
        let areas: Vec<_> = self.areas.iter().filter_map(each).collect();
        let parts: Vec<_> = areas.iter().map(|area| (area.value, area.interval)).collect();
        if let Some((value, interval)) = mean(&parts) {
            let binning_error = areas.iter().map(|area| area.binning_error).sum::<f64>() / areas.len() as f64;
            let n = areas.iter().map(|area| area.n).max().unwrap_or(0);
            report.put("auc", Estimate { binning_error, ..Estimate::new(value, interval, n) });
        }
    }

    const fn sums(&self) -> [&ExactSum; 4] {
        [&self.log_loss, &self.log_loss_squares, &self.brier, &self.brier_squares]
    }

    fn write(&self, w: &mut Writer) {
        w.varint(self.n);
        if self.n == 0 {
            return;
        }
        w.varint(u64::from(self.classes));
        self.sums().into_iter().for_each(|sum| sum.write(w));
        w.varint(self.areas.len() as u64);
        for (class, bins) in &self.areas {
            w.varint(u64::from(*class));
            bins.write(w);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = read_count(r)?;
        if n == 0 {
            return Ok(Self::default());
        }
        let classes = r.varint("classes")?;
        ensure((2..=MAX_SCORED_CLASSES as u64).contains(&classes), "classes")?;
        let mut sum = || -> Result<ExactSum, DecodeError> {
            let sum = ExactSum::read(r)?;
            ensure(sum.value() >= 0.0, "sum")?;
            Ok(sum)
        };
        let [log_loss, log_loss_squares, brier, brier_squares] = [sum()?, sum()?, sum()?, sum()?];
        let mut areas = BTreeMap::new();
        let (len, mut next) = (r.varint("classes")?, 0);
        for _ in 0..len {
            let class = read_class(r, &mut next, MAX_SCORED_CLASSES as u32 - 1)?;
            areas.insert(class, ScoreBins::read(r)?);
        }
        Ok(Self { n, log_loss, log_loss_squares, brier, brier_squares, areas, classes: classes as u32 })
    }
}

/// Squared distance of the probabilities from the truth; of two classes, that of the second one's.
fn brier(scores: &[f64], truth: u32) -> f64 {
    let is = |class: usize| f64::from(u8::from(class == truth as usize));
    let distance = || scores.iter().enumerate().map(|(class, p)| (p - is(class)).powi(2)).sum::<f64>();
    match (scores, truth) {
        ([_, second], 0 | 1) => (second - is(1)).powi(2),
        ([_, _], _) => f64::midpoint(distance(), 1.0),
        _ if (truth as usize) < scores.len() => distance(),
        _ => distance() + 1.0,
    }
}
