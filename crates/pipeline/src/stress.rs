//! The preferred form under noise and with missing values, its size, and its time for one row.

use std::f64::consts::TAU;
use std::time::Instant;

use edgeward_core::Dataset;
use edgeward_model::{Engine, Signature};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::convert::Form;
use crate::examine::{self, ExamineError};
use crate::gates::endurance::Endurance;
use crate::measure::Quality;
use crate::project::{GateTable, TaskKind};

/// Rows that are asked one by one.
const TIMED_ROWS_MAX: usize = 200;
/// Rows asked before the clock runs.
const WARM_UP_ROWS: usize = 20;

/// What is measured, and how.
pub struct Stress<'a> {
    /// What the model's tensors mean.
    pub signature: &'a Signature,
    /// What it predicts.
    pub task: TaskKind,
    /// How much noise, and how many missing values.
    pub rules: &'a GateTable,
    /// Where randomness starts from.
    pub seed: u64,
}

impl Stress<'_> {
    /// Measures `form` on `rows`.
    ///
    /// # Errors
    /// The form does not load here, or does not fit the rows.
    pub fn measure(
        &self,
        form: &Form,
        rows: &Dataset,
        engines: &[&dyn Engine],
    ) -> Result<Endurance, ExamineError> {
        let engine = examine::engine_for(&form.variant, engines).map_err(|why| {
            let form = form.variant.label();
            ExamineError::Purpose(format!("the form {form} does not run here: {why}"))
        })?;
        let session = examine::load(&form.bytes, self.signature, &form.variant.dtype, engine)?;
        let quality = |rows: &Dataset| -> Result<Quality, ExamineError> {
            Ok(Quality::of(self.task, &rows.labels, &examine::predict(&session, rows)?))
        };
        let columns = Columns::of(rows);
        let mut times = Vec::new();
        for row in 0..rows.len().min(TIMED_ROWS_MAX + WARM_UP_ROWS) {
            let one = rows.select(&[row]);
            let began = Instant::now();
            examine::predict(&session, &one)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok(Endurance {
            noise: quality(&columns.noisy(rows, self.rules.noise, self.seed))?,
            missing: quality(&columns.incomplete(rows, self.rules.missing, self.seed))?,
            latency_us: median(times.split_off(WARM_UP_ROWS.min(times.len()))),
            size_bytes: form.bytes.len() as u64,
        })
    }
}

fn median(mut times: Vec<f64>) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

/// Mean and standard deviation of each column, of the values that are there.
struct Columns {
    mean: Vec<f32>,
    sd: Vec<f32>,
}

impl Columns {
    fn of(rows: &Dataset) -> Self {
        let column = |at: usize| {
            let values =
                || (0..rows.len()).map(move |row| f64::from(rows.row(row)[at])).filter(|v| v.is_finite());
            let n = values().count().max(1) as f64;
            let mean = values().sum::<f64>() / n;
            let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
            (mean as f32, variance.sqrt() as f32)
        };
        let (mean, sd) = (0..rows.width()).map(column).unzip();
        Self { mean, sd }
    }

    /// The rows with noise of `share` of each column's standard deviation.
    fn noisy(&self, rows: &Dataset, share: f64, seed: u64) -> Dataset {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        self.changed(rows, |column, value| {
            // G. E. P. Box and M. E. Muller (1958).
            let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
            let normal = (-2.0 * u.ln()).sqrt() * (TAU * v).cos();
            value + (share * normal) as f32 * self.sd[column]
        })
    }

    /// The rows with a share of the values replaced by their column's mean, as a caller does who has no value.
    fn incomplete(&self, rows: &Dataset, share: f64, seed: u64) -> Dataset {
        let mut random = ChaCha8Rng::seed_from_u64(!seed);
        self.changed(
            rows,
            |column, value| {
                if random.random::<f64>() < share { self.mean[column] } else { value }
            },
        )
    }

    fn changed(&self, rows: &Dataset, mut change: impl FnMut(usize, f32) -> f32) -> Dataset {
        let width = self.mean.len().max(1);
        let values = rows.values.iter().enumerate().map(|(at, value)| change(at % width, *value)).collect();
        Dataset { values, ..rows.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Dataset {
        let mut rows = Dataset::with_columns(vec!["x".to_owned(), "y".to_owned()]);
        (0..2000).for_each(|n| rows.push(&[n as f32, 5.0], "a").unwrap());
        rows
    }

    #[test]
    fn noise_is_a_share_of_each_columns_deviation() {
        let (rows, columns) = (rows(), Columns::of(&rows()));
        let noisy = columns.noisy(&rows, 0.5, 7);
        let shift = |at: usize| f64::from(noisy.row(at)[0] - rows.row(at)[0]);
        let sd = ((0..2000).map(|at| shift(at) * shift(at)).sum::<f64>() / 2000.0).sqrt();
        assert!((sd / f64::from(columns.sd[0]) - 0.5).abs() < 0.03, "{sd}");
        assert!(noisy.rows().all(|(row, _)| row[1] == 5.0), "a column that is constant stays");
        assert_eq!(columns.noisy(&rows, 0.5, 7), noisy);
        assert_ne!(columns.noisy(&rows, 0.5, 8), noisy);
    }

    #[test]
    fn missing_values_are_means() {
        let (rows, columns) = (rows(), Columns::of(&rows()));
        let incomplete = columns.incomplete(&rows, 0.1, 7);
        let replaced = incomplete.rows().zip(rows.rows()).filter(|((new, _), (old, _))| new[0] != old[0]);
        let replaced: Vec<f32> = replaced.map(|((new, _), _)| new[0]).collect();
        assert!((150..250).contains(&replaced.len()), "{}", replaced.len());
        assert!(replaced.iter().all(|value| *value == columns.mean[0]));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
