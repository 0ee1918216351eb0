//! A prediction and its truth, as texts that came over a wire, and what they mean to a monitor.

use edgeward_core::PredictionId;
use edgeward_monitor::{
    Outcome, PREDICTION, Performance, PerformanceReport, Reference, Scores, Segment, Segmenter, StreamKind,
};

/// Error level of every confidence sequence that is shown.
const ALPHA: f64 = 0.05;
/// The quantile that a regression is taken to predict.
const MEDIAN: f64 = 0.5;

/// One prediction with its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labelled<'a> {
    /// What was predicted: the class's name (or index), or a number.
    pub predicted: &'a str,
    /// The truth, in the same terms.
    pub truth: &'a str,
    /// Probability of each class, or only that of the predicted one; empty if the model gave none.
    pub scores: &'a [f32],
    /// The input values, as far as they were kept.
    pub values: &'a [f32],
    /// What the caller tells predictions apart by, as name and value.
    pub tags: &'a [(String, String)],
    /// The prediction and its row, so that the truth stands in its record; none where no record is to say it.
    pub of: Option<(PredictionId, u32)>,
}

impl Labelled<'_> {
    /// Whether the prediction is the truth. Numbers are equal only in the same text.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        self.predicted == self.truth
    }
}

/// Knows what the texts of one model's labels mean.
#[derive(Debug)]
pub(crate) struct Reader {
    classes: Vec<String>,
    segmenter: Segmenter,
}

impl Reader {
    pub(crate) fn new(reference: &Reference, segments: &[String]) -> Self {
        let prediction =
            reference.streams().iter().skip(reference.features()).find(|s| s.name() == PREDICTION);
        let classes = match prediction.map(edgeward_monitor::Stream::kind) {
            Some(StreamKind::Categorical { classes }) => classes.clone(),
            _ => Vec::new(),
        };
        Self { classes, segmenter: Segmenter::new(reference, segments) }
    }

    /// What the label says; none of a prediction that is neither a class nor a number.
    pub(crate) fn outcome<'a>(&self, label: &Labelled<'a>) -> Option<Outcome<'a>> {
        let unnamed = self.classes.is_empty();
        if unnamed && label.scores.is_empty() {
            let number = |text: &str| text.trim().parse::<f64>().ok();
            return Some(Outcome::Number {
                predicted: number(label.predicted)?,
                truth: number(label.truth)?,
            });
        }
        let scores = match label.scores {
            scores if scores.len() > 1 && (unnamed || scores.len() == self.classes.len()) => {
                Scores::All(scores)
            }
            [confidence] => Scores::Top { confidence: *confidence, classes: self.classes.len() as u32 },
            _ => Scores::Unknown,
        };
        Some(Outcome::Class {
            predicted: self.class(label.predicted)?,
            truth: self.class(label.truth),
            scores,
        })
    }

    /// The index of a class; of classes without names, the number itself.
    fn class(&self, name: &str) -> Option<u32> {
        if self.classes.is_empty() {
            return name.trim().parse().ok();
        }
        let place = self.classes.iter().position(|class| class == name);
        place.and_then(|place| u32::try_from(place).ok())
    }

    pub(crate) fn segments(&self, label: &Labelled<'_>) -> Vec<Segment> {
        let mut segments = self.segmenter.of(label.values);
        segments.extend(label.tags.iter().map(|(name, value)| Segment::new(name, value)));
        segments
    }

    pub(crate) fn report(&self, performance: &Performance) -> PerformanceReport {
        performance.report(&self.classes, MEDIAN, ALPHA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_monitor::Sample;

    fn reader(classes: &[&str]) -> Reader {
        let rows = [[1.0f32], [2.0]];
        let rows = rows.iter().map(|row| Sample { features: row, predicted: None, confidence: None });
        let classes: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
        Reader::new(&Reference::fit(&["x".to_owned()], &classes, rows).unwrap(), &[])
    }

    fn check(classes: &[&str], predicted: &str, truth: &str, scores: &[f32], expected: Option<Outcome<'_>>) {
        let label = Labelled { predicted, truth, scores, values: &[], tags: &[], of: None };
        assert_eq!(reader(classes).outcome(&label), expected);
    }

    #[test]
    fn texts_are_classes_or_numbers() {
        let class = |predicted, truth, scores| Some(Outcome::Class { predicted, truth, scores });
        let both = [0.25, 0.75];
        check(&["a", "b"], "b", "a", &both, class(1, Some(0), Scores::All(&both)));
        check(&["a", "b"], "b", "zebra", &[], class(1, None, Scores::Unknown));
        check(&["a", "b"], "b", "b", &[0.5, 0.25, 0.25], class(1, Some(1), Scores::Unknown));
        let top = Scores::Top { confidence: 0.75, classes: 2 };
        check(&["a", "b"], "b", "b", &[0.75], class(1, Some(1), top));
        check(&["a", "b"], "zebra", "b", &[], None);
        check(&[], "1", "0", &both, class(1, Some(0), Scores::All(&both)));
        check(&[], "1.5", "-2e3", &[], Some(Outcome::Number { predicted: 1.5, truth: -2000.0 }));
        check(&[], "warm", "1", &[], None);
    }
}
