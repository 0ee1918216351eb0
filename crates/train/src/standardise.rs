//! Per-feature mean and scale of the training rows.
//!
//! `(x - mean) * scale` in FP32, the very operations of the exported graph. A feature that never varied gets
//! scale 0: what was not seen to vary must not move a prediction later.

use ndarray::{Array1, Array2, Axis, Zip};

use crate::network::Dense;

/// Means and inverse standard deviations, one per feature.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standardiser {
    pub(crate) mean: Array1<f32>,
    pub(crate) scale: Array1<f32>,
}

impl Standardiser {
    /// Fits on `features`, shape `[rows, width]`, all finite, at least one row.
    pub(crate) fn fit(features: &Array2<f32>) -> Self {
        let moments = features.axis_iter(Axis(1)).map(|column| {
            let (mean, sd) = mean_and_sd(column.iter().map(|&value| f64::from(value)));
            (mean as f32, inverse(mean, sd))
        });
        let (mean, scale): (Vec<f32>, Vec<f32>) = moments.unzip();
        Self { mean: mean.into(), scale: scale.into() }
    }

    /// Standardised copy of `features`.
    pub(crate) fn apply(&self, features: &Array2<f32>) -> Array2<f32> {
        let mut out = features.to_owned();
        for mut row in out.rows_mut() {
            Zip::from(&mut row).and(&self.mean).and(&self.scale).for_each(|x, &mean, &scale| {
                *x = (*x - mean) * scale;
            });
        }
        out
    }

    /// The layer that does to raw features what `layer` does to standardised ones.
    pub(crate) fn fold_into(&self, layer: &Dense) -> Dense {
        let weight = &layer.weight * &self.scale.view().insert_axis(Axis(1));
        let shift = layer.bias.iter().zip(weight.columns()).map(|(&bias, column)| {
            let moved = column.iter().zip(&self.mean).map(|(&w, &mean)| f64::from(w) * f64::from(mean));
            (f64::from(bias) - moved.sum::<f64>()) as f32
        });
        Dense { bias: shift.collect(), weight }
    }
}

/// Mean and population standard deviation, in two passes.
pub(crate) fn mean_and_sd(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// `1 / sd`, or 0 where the spread is below what FP32 can tell from none.
fn inverse(mean: f64, sd: f64) -> f32 {
    let scale = (1.0 / sd) as f32;
    let varies = sd > mean.abs() * f64::from(f32::EPSILON) * 0.5;
    if varies && scale.is_finite() { scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn columns_get_mean_0_and_sd_1() {
        let features = array![[1.0, 1e8], [3.0, 3e8], [5.0, 5e8]];
        let out = Standardiser::fit(&features).apply(&features);
        for column in out.columns() {
            let (mean, sd) = mean_and_sd(column.iter().map(|&value| f64::from(value)));
            assert!(mean.abs() < 1e-6 && (sd - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn folding_changes_where_not_what() {
        let features = array![[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]];
        let standardiser = Standardiser::fit(&features);
        let layer = Dense { weight: array![[0.5, -2.0], [9.0, 9.0]], bias: array![0.1, 0.2] };
        let apart = layer.apply(&standardiser.apply(&features));
        let folded = standardiser.fold_into(&layer).apply(&features);
        assert!(apart.iter().zip(&folded).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn a_feature_that_never_varied_stays_silent() {
        let features = array![[0.1, 1e-42], [0.1, 0.0], [0.1, 0.0]];
        let standardiser = Standardiser::fit(&features);
        assert_eq!(standardiser.apply(&array![[1e6, 1e6]]), array![[0.0, 0.0]]);
    }
}
