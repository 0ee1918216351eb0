//! How good predictions are, in numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::project::TaskKind;

/// Two-sided 95% of the standard normal distribution.
pub(crate) const Z95: f64 = 1.959_963_984_540_054;
/// Least probability the log loss counts, so that one row cannot make it infinite.
const PROBABILITY_MIN: f64 = 1e-12;

/// A share with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// The share that was seen.
    pub value: f64,
    /// Lower end of the 95% interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Proportion {
    /// `hits` of `n`, with the interval of E. B. Wilson (1927), 95%; everything is possible when `n` is 0.
    #[must_use]
    pub fn wilson(hits: u64, n: u64) -> Self {
        if n == 0 {
            return Self { value: 0.0, low: 0.0, high: 1.0 };
        }
        let (n, value) = (n as f64, hits as f64 / n as f64);
        let z2 = Z95 * Z95;
        let centre = (value + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z95 / (1.0 + z2 / n) * (value * (1.0 - value) / n + z2 / (4.0 * n * n)).sqrt();
        Self { value, low: (centre - half).clamp(0.0, value), high: (centre + half).clamp(value, 1.0) }
    }
}

/// What a model said about one row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Class or number, as text; none if the model says none.
    pub label: Option<String>,
    /// Index of the class.
    pub class: Option<u32>,
    /// Probability the model gives its class.
    pub confidence: Option<f32>,
    /// Probability the model gives the true class; none if it gives no probabilities.
    pub true_probability: Option<f64>,
    /// Result of a regression.
    pub value: Option<f64>,
}

/// How good a model is on a set of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How many rows.
    pub rows: u64,
    /// Share of right classes.
    pub accuracy: Option<Proportion>,
    /// Share of each class's rows that were recognised, and how many there are.
    pub recall: BTreeMap<String, (f64, u64)>,
    /// Mean negative log probability of the true class, in nats.
    pub log_loss: Option<f64>,
    /// Mean absolute error, in the label's unit.
    pub mae: Option<f64>,
    /// Root mean squared error, in the label's unit.
    pub rmse: Option<f64>,
}

impl Quality {
    /// Compares `predictions` with `labels`, row by row.
    #[must_use]
    pub fn of(task: TaskKind, labels: &[String], predictions: &[Prediction]) -> Self {
        match task {
            TaskKind::Classification => Self::of_classes(labels, predictions),
            TaskKind::Regression => Self::of_numbers(labels, predictions),
        }
    }

    /// Nothing but an accuracy.
    #[cfg(test)]
    pub(crate) fn with_accuracy(accuracy: Proportion, rows: usize) -> Self {
        Self { accuracy: Some(accuracy), ..Self::empty(rows) }
    }

    fn empty(rows: usize) -> Self {
        let rows = rows as u64;
        Self { rows, accuracy: None, recall: BTreeMap::new(), log_loss: None, mae: None, rmse: None }
    }

    fn of_classes(labels: &[String], predictions: &[Prediction]) -> Self {
        let mut by_class: BTreeMap<&String, (u64, u64)> = BTreeMap::new();
        let mut hits = 0;
        for (label, prediction) in labels.iter().zip(predictions) {
            let hit = u64::from(prediction.label.as_ref() == Some(label));
            let (right, all) = by_class.entry(label).or_default();
            (*right, *all, hits) = (*right + hit, *all + 1, hits + hit);
        }
        let recall =
            |(class, (right, all)): (&String, (u64, u64))| (class.clone(), (right as f64 / all as f64, all));
        Self {
            accuracy: Some(Proportion::wilson(hits, labels.len() as u64)),
            recall: by_class.into_iter().map(recall).collect(),
            log_loss: log_loss(predictions),
            ..Self::empty(labels.len())
        }
    }

    fn of_numbers(labels: &[String], predictions: &[Prediction]) -> Self {
        let error = |(label, prediction): (&String, &Prediction)| {
            let truth = label.parse::<f64>().unwrap_or(f64::NAN);
            prediction.value.unwrap_or(f64::NAN) - truth
        };
        let errors: Vec<f64> = labels.iter().zip(predictions).map(error).collect();
        let n = errors.len().max(1) as f64;
        let mae = errors.iter().map(|error| error.abs()).sum::<f64>() / n;
        let rmse = (errors.iter().map(|error| error * error).sum::<f64>() / n).sqrt();
        let finite = |value: f64| value.is_finite().then_some(value);
        Self { mae: finite(mae), rmse: finite(rmse), ..Self::empty(labels.len()) }
    }

    /// The numbers by name, as the registry keeps them.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::from([("rows_held_out".to_owned(), self.rows as f64)]);
        let mut put = |name: &str, value: Option<f64>| {
            metrics.extend(value.filter(|value| value.is_finite()).map(|value| (name.to_owned(), value)));
        };
        put("accuracy", self.accuracy.map(|accuracy| accuracy.value));
        put("accuracy_low", self.accuracy.map(|accuracy| accuracy.low));
        put("accuracy_high", self.accuracy.map(|accuracy| accuracy.high));
        put("log_loss", self.log_loss);
        put("mae", self.mae);
        put("rmse", self.rmse);
        for (class, (recall, _)) in &self.recall {
            put(&format!("recall.{class}"), Some(*recall));
        }
        metrics
    }
}

fn log_loss(predictions: &[Prediction]) -> Option<f64> {
    let losses: Option<Vec<f64>> = predictions
        .iter()
        .map(|prediction| prediction.true_probability.map(|p| -p.max(PROBABILITY_MIN).ln()))
        .collect();
    losses.filter(|losses| !losses.is_empty()).map(|losses| losses.iter().sum::<f64>() / losses.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-4
    }

    #[test]
    fn wilson_intervals_are_those_of_the_textbook() {
        // Newcombe (1998), table I: 81/263 and 15/148 and 0/20, method 3.
        for (hits, n, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]
        {
            let share = Proportion::wilson(hits, n);
            assert!(near(share.low, low) && near(share.high, high), "{share:?}");
        }
        assert_eq!(Proportion::wilson(0, 0).high, 1.0);
    }

    fn said(label: &str, p: f64) -> Prediction {
        Prediction { label: Some(label.to_owned()), true_probability: Some(p), ..Prediction::default() }
    }

    #[test]
    fn classes_are_counted() {
        let labels = ["a", "a", "b", "c"].map(str::to_owned);
        let predictions = [said("a", 1.0), said("b", 0.5), said("b", 1.0), said("b", 0.0)];
        let quality = Quality::of(TaskKind::Classification, &labels, &predictions);
        assert_eq!(quality.accuracy.unwrap().value, 0.5);
        assert_eq!(quality.recall["a"], (0.5, 2));
        assert_eq!(quality.recall["c"], (0.0, 1));
        assert!(near(quality.log_loss.unwrap(), (2.0_f64.ln() - PROBABILITY_MIN.ln()) / 4.0));
        assert_eq!(quality.metrics()["recall.b"], 1.0);
    }

    #[test]
    fn numbers_are_measured() {
        let labels = ["1", "2"].map(str::to_owned);
        let value = |value| Prediction { value: Some(value), ..Prediction::default() };
        let quality = Quality::of(TaskKind::Regression, &labels, &[value(4.0), value(-2.0)]);
        assert_eq!(quality.mae, Some(3.5));
        assert_eq!(quality.rmse, Some(12.5_f64.sqrt()));
        assert_eq!(quality.accuracy, None);
    }
}
