//! Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks").
//!
//! One number that the logits are divided by, fitted on held-out rows. It is applied only when it also improves
//! rows it was not fitted on: each half of the held-out rows judges the temperature of the other half. To fit, labels
//! are smoothed by 1 / (rows + 2) as Platt (1999) does: a few hundred rows without a mistake do not prove certainty.

use ndarray::{Array2, Axis};

use crate::network::mean_nll;

const TEMPERATURE_MIN: f64 = 0.2;
const TEMPERATURE_MAX: f64 = 5.0;
/// Fewer held-out rows say too little.
const ROWS_MIN: usize = 20;
const SEARCH_STEPS: usize = 40;

/// The temperature to divide the logits by, or `None` when there is no proof of a better one than 1.
pub(crate) fn fit_temperature(logits: &Array2<f32>, classes: &[usize]) -> Option<f64> {
    if classes.len() < ROWS_MIN {
        return None;
    }
    let halves = [0, 1].map(|start| (start..classes.len()).step_by(2).collect::<Vec<usize>>());
    let gain = |fit_on: &[usize], judge_on: &[usize]| {
        let (logits_fit, classes_fit) = pick(logits, classes, fit_on);
        let (logits_judge, classes_judge) = pick(logits, classes, judge_on);
        let temperature = best_temperature(&logits_fit, &classes_fit);
        let nll = |temperature| mean_nll(&logits_judge, &classes_judge, temperature);
        (nll(1.0) - nll(temperature)) * judge_on.len() as f64
    };
    let gained = gain(&halves[0], &halves[1]) + gain(&halves[1], &halves[0]);
    (gained > 0.0).then(|| best_temperature(logits, classes))
}

fn pick(logits: &Array2<f32>, classes: &[usize], rows: &[usize]) -> (Array2<f32>, Vec<usize>) {
    (logits.select(Axis(0), rows), rows.iter().map(|&row| classes[row]).collect())
}

/// Mean NLL when each label is its class with 1 - e and any class with e, e = 1 / (rows + 2).
fn smoothed_nll(logits: &Array2<f32>, classes: &[usize], temperature: f64) -> f64 {
    let share = 1.0 / (classes.len() as f64 + 2.0);
    let gap = |(row, &class): (ndarray::ArrayView1<'_, f32>, &usize)| {
        let sum: f64 = row.iter().map(|&logit| f64::from(logit)).sum();
        (f64::from(row[class]) - sum / row.len() as f64) / temperature
    };
    let gaps: f64 = logits.rows().into_iter().zip(classes).map(gap).sum();
    mean_nll(logits, classes, temperature) + share * gaps / classes.len() as f64
}

/// Golden-section search over the logarithm; the NLL is convex in 1/T, so it has one valley.
fn best_temperature(logits: &Array2<f32>, classes: &[usize]) -> f64 {
    let nll = |log: f64| smoothed_nll(logits, classes, log.exp());
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (TEMPERATURE_MIN.ln(), TEMPERATURE_MAX.ln());
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (nll(left), nll(right));
    for _ in 0..SEARCH_STEPS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = nll(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = nll(right);
        }
    }
    f64::midpoint(low, high).exp()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// Rows whose true logits are `logits / truth`.
    fn sample(rows: usize, truth: f64) -> (Array2<f32>, Vec<usize>) {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let logits = Array2::from_shape_fn((rows, 2), |_| rng.random_range(-4.0..4.0_f32));
        let drawn = logits.rows().into_iter().map(|row| {
            let odds = (f64::from(row[1] - row[0]) / truth).exp();
            usize::from(rng.random::<f64>() < odds / (1.0 + odds))
        });
        let classes = drawn.collect();
        (logits, classes)
    }

    #[test]
    fn recovers_the_temperature_of_the_data() {
        let (logits, classes) = sample(4000, 2.5);
        let temperature = fit_temperature(&logits, &classes).unwrap();
        assert!((temperature - 2.5).abs() < 0.25, "{temperature}");
    }

    #[test]
    fn a_spotless_score_does_not_prove_certainty() {
        let logits = Array2::from_shape_fn((200, 3), |(row, class)| if row % 3 == class { 6.0 } else { 0.0 });
        let classes: Vec<usize> = (0..200).map(|row| row % 3).collect();
        let temperature = fit_temperature(&logits, &classes).unwrap_or(1.0);
        assert!(temperature > 0.9, "{temperature}");
    }

    #[test]
    fn leaves_good_or_scarce_data_alone() {
        let (logits, classes) = sample(19, 2.5);
        assert_eq!(fit_temperature(&logits, &classes), None);
        let (logits, classes) = sample(4000, 1.0);
        let temperature = fit_temperature(&logits, &classes).unwrap_or(1.0);
        assert!((temperature - 1.0).abs() < 0.1, "{temperature}");
    }
}
