//! Linear models in closed or convex form, in FP64: multinomial logistic regression and ridge regression.
//!
//! Contract: the input is standardised. The penalty leaves the intercepts alone.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis};

use crate::TrainError;
use crate::lbfgs::{Limits, minimise};
use crate::network::Dense;

const GRADIENT_MAX: f64 = 1e-6;
/// Most features of a ridge regression: its normal matrix is 128 MiB.
const RIDGE_WIDTH_MAX: usize = 4096;

/// A fitted softmax regression and what it took.
pub(crate) struct Softmax {
    /// One column of logits per class.
    pub(crate) head: Dense,
    pub(crate) iterations: usize,
}

/// Minimises mean NLL + `l2`/2 * squared norm of the coefficients, by L-BFGS from zero.
///
/// `features` has shape `[rows, width]`; `classes` one index below `class_count` per row.
pub(crate) fn softmax_regression(
    features: &Array2<f32>,
    classes: &[usize],
    class_count: usize,
    l2: f64,
    iterations_max: usize,
) -> Softmax {
    let features = features.mapv(f64::from);
    let width = features.ncols();
    let limits = Limits { iterations_max, gradient_max: GRADIENT_MAX };
    let start = vec![0.0; (width + 1) * class_count];
    let minimum = minimise(start, limits, &mut |at, gradient| {
        softmax_loss(&features, classes, class_count, l2, at, gradient)
    });
    let (weight, bias) = minimum.at.split_at(width * class_count);
    let weight = matrix(weight, width, class_count).mapv(|value| value as f32);
    let bias = bias.iter().map(|&value| value as f32).collect();
    Softmax { head: Dense { weight, bias }, iterations: minimum.iterations }
}

fn matrix(values: &[f64], rows: usize, columns: usize) -> ArrayView2<'_, f64> {
    ArrayView2::from_shape((rows, columns), values).expect("the caller split at rows x columns")
}

/// `at` and `gradient` hold the coefficients `[width, classes]`, then the intercepts.
fn softmax_loss(
    features: &Array2<f64>,
    classes: &[usize],
    class_count: usize,
    l2: f64,
    at: &[f64],
    gradient: &mut [f64],
) -> f64 {
    let (rows, width) = (features.nrows() as f64, features.ncols());
    let (weight, bias) = at.split_at(width * class_count);
    let weight = matrix(weight, width, class_count);
    let mut delta = features.dot(&weight) + ArrayView1::from(bias);
    let nll = nll_and_delta(&mut delta, classes);
    delta /= rows;
    let (weight_slope, bias_slope) = gradient.split_at_mut(width * class_count);
    let slope = features.t().dot(&delta) + &(&weight * l2);
    ArrayViewMut2::from_shape((width, class_count), weight_slope).expect("as split").assign(&slope);
    bias_slope.iter_mut().zip(delta.sum_axis(Axis(0))).for_each(|(slope, sum)| *slope = sum);
    nll / rows + 0.5 * l2 * weight.iter().map(|value| value * value).sum::<f64>()
}

/// Turns logits into probabilities minus one-hot targets; the sum of the NLL.
fn nll_and_delta(logits: &mut Array2<f64>, classes: &[usize]) -> f64 {
    let mut nll = 0.0;
    for (mut row, &class) in logits.rows_mut().into_iter().zip(classes) {
        let top = row.fold(f64::NEG_INFINITY, |top, &logit| top.max(logit));
        let own = row[class];
        row.mapv_inplace(|logit| (logit - top).exp());
        let sum = row.sum();
        nll += top + sum.ln() - own;
        row.mapv_inplace(|value| value / sum);
        row[class] -= 1.0;
    }
    nll
}

/// Minimises mean squared error + `l2` * squared norm of the coefficients, by Cholesky factorisation.
///
/// `features` has shape `[rows, width]` with column means 0; one of `values` per row.
pub(crate) fn ridge_regression(features: &Array2<f32>, values: &[f64], l2: f64) -> Result<Dense, TrainError> {
    let width = features.ncols();
    if width > RIDGE_WIDTH_MAX {
        let value = width.to_string();
        return Err(TrainError::BadParameter {
            parameter: "width",
            value,
            expected: "at most 4096 for ridge",
        });
    }
    let features = features.mapv(f64::from);
    let rows = features.nrows() as f64;
    let mean = values.iter().sum::<f64>() / rows;
    let centred: Array1<f64> = values.iter().map(|value| value - mean).collect();
    let mut normal = features.t().dot(&features) / rows;
    normal.diag_mut().iter_mut().for_each(|value| *value += l2);
    let right = features.t().dot(&centred) / rows;
    let weight = solve_cholesky(normal, right).ok_or(TrainError::Singular { l2 })?;
    let column_means = features.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(width));
    let bias = (mean - column_means.dot(&weight)) as f32;
    let weight = weight.mapv(|value| value as f32).insert_axis(Axis(1));
    Ok(Dense { weight, bias: Array1::from_elem(1, bias) })
}

/// Solves `matrix * x = right`; `None` unless the matrix is positive definite in FP64.
fn solve_cholesky(mut matrix: Array2<f64>, mut right: Array1<f64>) -> Option<Array1<f64>> {
    let order = right.len();
    for row in 0..order {
        for column in 0..=row {
            let (above, here) = (matrix.row(column), matrix.row(row));
            let done = above.iter().zip(here).take(column).map(|(a, b)| a * b).sum::<f64>();
            let rest = matrix[[row, column]] - done;
            if row > column {
                matrix[[row, column]] = rest / matrix[[column, column]];
            } else if rest > f64::EPSILON * matrix[[row, row]] {
                matrix[[row, row]] = rest.sqrt();
            } else {
                return None;
            }
        }
        let known = (0..row).map(|k| matrix[[row, k]] * right[k]).sum::<f64>();
        right[row] = (right[row] - known) / matrix[[row, row]];
    }
    for row in (0..order).rev() {
        let known = (row + 1..order).map(|k| matrix[[k, row]] * right[k]).sum::<f64>();
        right[row] = (right[row] - known) / matrix[[row, row]];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_gradient_is_the_slope_of_the_loss(at in prop::collection::vec(-2.0..2.0_f64, 9), l2 in 0.0..1.0) {
            let features = array![[0.5, -1.0], [2.0, 0.1], [-0.3, 0.7], [1.0, 1.0]];
            let loss = |at: &[f64], slope: &mut [f64]| softmax_loss(&features, &[0, 2, 1, 2], 3, l2, at, slope);
            let mut gradient = vec![0.0; 9];
            loss(&at, &mut gradient);
            for index in 0..9 {
                let moved = |by: f64| {
                    let mut at = at.clone();
                    at[index] += by;
                    loss(&at, &mut [0.0; 9])
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                prop_assert!((slope - gradient[index]).abs() < 1e-7, "{} {}", slope, gradient[index]);
            }
        }

        #[test]
        fn cholesky_solves_what_it_accepts(values in prop::collection::vec(-3.0..3.0_f64, 12)) {
            let root = Array2::from_shape_vec((4, 3), values).unwrap();
            let matrix = root.t().dot(&root) + Array2::<f64>::eye(3) * 0.1;
            let right = array![1.0, -2.0, 0.5];
            let solution = solve_cholesky(matrix.clone(), right.clone()).unwrap();
            for (left, right) in matrix.dot(&solution).iter().zip(&right) {
                prop_assert!((left - right).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn a_singular_matrix_is_refused() {
        assert_eq!(solve_cholesky(array![[1.0, 1.0], [1.0, 1.0]], array![1.0, 1.0]), None);
    }

    #[test]
    fn ridge_finds_the_line() {
        let features = array![[-1.0], [0.0], [1.0]];
        let line = ridge_regression(&features, &[1.0, 3.0, 5.0], 1e-9).unwrap();
        assert!((line.weight[[0, 0]] - 2.0).abs() < 1e-5 && (line.bias[0] - 3.0).abs() < 1e-5);
    }

    #[test]
    fn a_strong_penalty_leaves_only_the_class_shares() {
        let features = array![[-1.0], [1.0], [1.0], [1.0]];
        let fitted = softmax_regression(&features, &[0, 1, 1, 1], 2, 1e6, 100);
        let odds = fitted.head.bias[1] - fitted.head.bias[0];
        assert!((f64::from(odds) - 3f64.ln()).abs() < 1e-3, "{odds}");
    }
}
