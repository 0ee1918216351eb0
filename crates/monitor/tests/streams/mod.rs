//! Seeded sources of rows for the statistical tests.

use edgeward_monitor::{Reference, Sample};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

pub(crate) struct Source(ChaCha8Rng);

impl Source {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform on [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal: G. Box and M. Muller (1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    pub(crate) fn gaussian_row(&mut self, features: usize) -> Vec<f32> {
        (0..features).map(|_| self.normal() as f32).collect()
    }

    pub(crate) fn rows(&mut self, n: usize, row: impl Fn(&mut Self) -> Vec<f32>) -> Vec<Vec<f32>> {
        (0..n).map(|_| row(self)).collect()
    }
}

pub(crate) fn sample(features: &[f32]) -> Sample<'_> {
    Sample { features, predicted: None, confidence: None }
}

pub(crate) fn names(features: usize) -> Vec<String> {
    (0..features).map(|i| format!("f{i}")).collect()
}

pub(crate) fn fit(rows: &[Vec<f32>]) -> Reference {
    Reference::fit(&names(rows[0].len()), &[], rows.iter().map(|row| sample(row))).expect("rows are valid")
}
