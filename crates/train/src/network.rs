//! The one shape of every neural and linear model here: standardise, dense ReLU layers, a dense head.
//!
//! A linear model has no hidden layer. The forward pass is the exported graph's, in FP32.

use ndarray::{Array1, Array2, Axis};

use crate::standardise::Standardiser;
use crate::table::Targets;

/// `x * weight + bias`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dense {
    /// Shape `[inputs, outputs]`.
    pub(crate) weight: Array2<f32>,
    /// Shape `[outputs]`.
    pub(crate) bias: Array1<f32>,
}

/// A model that takes raw features.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    pub(crate) standardiser: Standardiser,
    /// Each is followed by ReLU.
    pub(crate) hidden: Vec<Dense>,
    /// Gives one logit per class, or one value.
    pub(crate) head: Dense,
}

/// How well outputs fit targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fit {
    /// Mean negative log likelihood in nats, or mean squared error.
    pub(crate) loss: f64,
    /// Share of rows whose first largest logit is their class; `None` for a regression.
    pub(crate) accuracy: Option<f64>,
}

impl Dense {
    pub(crate) fn apply(&self, input: &Array2<f32>) -> Array2<f32> {
        input.dot(&self.weight) + &self.bias
    }

    /// Multiplies the outputs by `scale`.
    pub(crate) fn scale(&mut self, scale: f64) {
        self.weight.mapv_inplace(|weight| (f64::from(weight) * scale) as f32);
        self.bias.mapv_inplace(|bias| (f64::from(bias) * scale) as f32);
    }
}

impl Network {
    /// What the head sees, shape `[rows, last hidden units]`.
    pub(crate) fn hidden_features(&self, raw: &Array2<f32>) -> Array2<f32> {
        hidden_features(&self.hidden, self.standardiser.apply(raw))
    }

    /// Logits or values, shape `[rows, outputs]`.
    pub(crate) fn forward(&self, raw: &Array2<f32>) -> Array2<f32> {
        self.head.apply(&self.hidden_features(raw))
    }

    /// How well the outputs fit the targets of a table with rows.
    #[cfg(test)]
    pub(crate) fn fit_to(&self, table: &crate::table::Table) -> Fit {
        fit_of(&self.forward(&table.features), &table.targets)
    }
}

/// The output of the last ReLU, from standardised input.
pub(crate) fn hidden_features(hidden: &[Dense], standardised: Array2<f32>) -> Array2<f32> {
    hidden.iter().fold(standardised, |features, layer| {
        let mut out = layer.apply(&features);
        out.mapv_inplace(|value| value.max(0.0));
        out
    })
}

/// Loss and accuracy of logits or values against the targets of the same rows.
pub(crate) fn fit_of(outputs: &Array2<f32>, targets: &Targets) -> Fit {
    let rows = outputs.nrows() as f64;
    match targets {
        Targets::Classes(classes) => {
            let right = outputs.rows().into_iter().zip(classes);
            let right = right.filter(|(row, class)| argmax(row.iter()) == **class).count();
            let loss = mean_nll(outputs, classes, 1.0);
            Fit { loss, accuracy: Some(right as f64 / rows) }
        }
        Targets::Values(values) => {
            let errors = outputs.iter().zip(values).map(|(out, value)| (f64::from(*out) - value).powi(2));
            Fit { loss: errors.sum::<f64>() / rows, accuracy: None }
        }
    }
}

/// Mean negative log likelihood, in nats per row, of logits divided by `temperature`.
pub(crate) fn mean_nll(logits: &Array2<f32>, classes: &[usize], temperature: f64) -> f64 {
    let nll = |row: ndarray::ArrayView1<'_, f32>, class: usize| {
        let scaled = |logit: f32| f64::from(logit) / temperature;
        let top = row.iter().copied().map(scaled).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|&logit| (scaled(logit) - top).exp()).sum();
        top + sum.ln() - scaled(row[class])
    };
    let sum: f64 = logits.axis_iter(Axis(0)).zip(classes).map(|(row, &class)| nll(row, class)).sum();
    sum / classes.len() as f64
}

/// Turns each row of logits into probabilities.
pub(crate) fn softmax_rows(logits: &mut Array2<f32>) {
    for mut row in logits.rows_mut() {
        let top = row.fold(f32::NEG_INFINITY, |top, &logit| top.max(logit));
        row.mapv_inplace(|logit| (logit - top).exp());
        let sum = row.sum();
        row.mapv_inplace(|value| value / sum);
    }
}

/// The index of the first largest value.
pub(crate) fn argmax<'a>(values: impl Iterator<Item = &'a f32>) -> usize {
    let best =
        values.enumerate().fold(
            (0, f32::NEG_INFINITY),
            |best, (index, &value)| {
                if value > best.1 { (index, value) } else { best }
            },
        );
    best.0
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn nll_of_even_odds_is_the_log_of_the_class_count() {
        let logits = array![[700.0, 700.0, 700.0, 700.0]];
        assert!((mean_nll(&logits, &[2], 1.0) - 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_tie_goes_to_the_first_class() {
        assert_eq!(argmax([1.0, 2.0, 2.0].iter()), 1);
    }

    #[test]
    fn softmax_survives_large_logits() {
        let mut logits = array![[1000.0, 999.0]];
        softmax_rows(&mut logits);
        assert!((logits[[0, 0]] - 0.731_058_6).abs() < 1e-6);
    }
}
