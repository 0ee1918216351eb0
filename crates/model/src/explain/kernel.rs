//! Shapley values by weighted regression on coalitions (Kernel SHAP).

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Attributions, ExplainError, Game, Rows};

/// Shapley values from random coalitions, each with its complement, by least squares under the constraint that they add up
/// (Lundberg and Lee 2017; pairs as Covert and Lee 2021). Where all coalitions are no more than `coalitions`, all are taken
/// and the values are exact.
///
/// Standard errors are those of the regression with pairs as units (the sandwich estimator). At least `4 features`
/// coalitions are tried. A coalition costs the background's rows.
///
/// # Errors
/// Rows that do not fit together, or a model that does not answer.
pub fn kernel<E, F: FnMut(&Rows) -> Result<Vec<f64>, E>>(
    mut function: F,
    row: &[f64],
    background: &Rows,
    coalitions: usize,
    seed: u64,
) -> Result<Attributions, ExplainError<E>> {
    let mut game = Game::new(&mut function, row, background)?;
    let features = game.features();
    let answer = game.answer()?;
    let base = game.worths(&[vec![false; features]])?;
    let outputs = answer.len();
    if features == 1 {
        let values: Vec<f64> = answer.iter().zip(&base).map(|(answer, base)| answer - base).collect();
        return Ok(Attributions {
            base,
            answer,
            errors: vec![0.0; outputs],
            values,
            evaluations: game.evaluations,
        });
    }
    let Design { coalitions, weights, exact } = design(features, coalitions, seed);
    let worths = game.worths(&coalitions)?;
    let regression = Regression::new(&coalitions, &weights, features);
    let (mut values, mut errors) = (vec![0.0; features * outputs], vec![0.0; features * outputs]);
    for output in 0..outputs {
        let total = answer[output] - base[output];
        let gains: Vec<f64> =
            worths.iter().skip(output).step_by(outputs).map(|worth| worth - base[output]).collect();
        let (found, error) = regression.solve(&gains, total);
        for feature in 0..features {
            values[feature * outputs + output] = found[feature];
            errors[feature * outputs + output] = if exact { 0.0 } else { error[feature] };
        }
    }
    Ok(Attributions { base, answer, values, errors, evaluations: game.evaluations })
}

/// The coalitions to try, in pairs of complements, and their weights in the regression.
struct Design {
    coalitions: Vec<Vec<bool>>,
    weights: Vec<f64>,
    exact: bool,
}

fn design(features: usize, wanted: usize, seed: u64) -> Design {
    let sizes: Vec<f64> = (1..features).map(|size| 1.0 / (size * (features - size)) as f64).collect();
    let all = (features < 31).then(|| (1_usize << features) - 2);
    if let Some(all) = all.filter(|&all| all <= wanted) {
        return every(features, all);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let total: f64 = sizes.iter().sum();
    let mut order: Vec<usize> = (0..features).collect();
    let mut coalitions = Vec::new();
    for _ in 0..wanted.max(4 * features).div_ceil(2) {
        let mut place = random.random::<f64>() * total;
        let size = sizes
            .iter()
            .take_while(|&&share| {
                place -= share;
                place >= 0.0
            })
            .count()
            + 1;
        order.shuffle(&mut random);
        let mut coalition = vec![false; features];
        order[..size.min(features - 1)].iter().for_each(|&feature| coalition[feature] = true);
        let complement = coalition.iter().map(|inside| !inside).collect();
        coalitions.extend([coalition, complement]);
    }
    let weights = vec![1.0; coalitions.len()];
    Design { coalitions, weights, exact: false }
}

/// Every coalition but the empty and the full one, with the Shapley kernel's weights.
fn every(features: usize, all: usize) -> Design {
    let mut choose = vec![1.0];
    for size in 0..features {
        choose.push(choose[size] * (features - size) as f64 / (size + 1) as f64);
    }
    let mut design =
        Design { coalitions: Vec::with_capacity(all), weights: Vec::with_capacity(all), exact: true };
    for mask in 1..=all / 2 {
        for mask in [mask, all + 1 - mask] {
            let size = mask.count_ones() as usize;
            design.coalitions.push((0..features).map(|at| mask >> at & 1 == 1).collect());
            design.weights.push(1.0 / (choose[size] * (size * (features - size)) as f64));
        }
    }
    design
}

/// The normal equations, with the last feature put in terms of the others.
struct Regression<'a> {
    coalitions: &'a [Vec<bool>],
    weights: &'a [f64],
    features: usize,
    /// Inverse of the normal matrix, `(features - 1)` squared.
    inverse: Vec<f64>,
}

impl<'a> Regression<'a> {
    fn new(coalitions: &'a [Vec<bool>], weights: &'a [f64], features: usize) -> Self {
        let free = features - 1;
        let mut normal = vec![0.0; free * free];
        for (coalition, weight) in coalitions.iter().zip(weights) {
            let line = contrast(coalition);
            for (a, left) in line.iter().enumerate().filter(|(_, left)| **left != 0.0) {
                let target = &mut normal[a * free..(a + 1) * free];
                target.iter_mut().zip(&line).for_each(|(sum, right)| *sum += weight * left * right);
            }
        }
        Self { coalitions, weights, features, inverse: invert(normal, free) }
    }

    /// The values for these gains over the base, and their standard errors.
    fn solve(&self, gains: &[f64], total: f64) -> (Vec<f64>, Vec<f64>) {
        let free = self.features - 1;
        let target = |coalition: &[bool], gain: f64| gain - if coalition[free] { total } else { 0.0 };
        let mut moment = vec![0.0; free];
        for ((coalition, weight), &gain) in self.coalitions.iter().zip(self.weights).zip(gains) {
            let y = weight * target(coalition, gain);
            moment.iter_mut().zip(contrast(coalition)).for_each(|(sum, x)| *sum += x * y);
        }
        let mut values = self.times(&moment);
        let mut spread = vec![0.0; self.features];
        for (at, pair) in self.coalitions.chunks(2).enumerate() {
            let mut score = vec![0.0; free];
            for (coalition, &gain) in pair.iter().zip(&gains[at * 2..]) {
                let line = contrast(coalition);
                let fit: f64 = line.iter().zip(&values).map(|(x, value)| x * value).sum();
                let off = target(coalition, gain) - fit;
                score.iter_mut().zip(line).for_each(|(sum, x)| *sum += x * off);
            }
            let moved = self.times(&score);
            spread.iter_mut().zip(&moved).for_each(|(sum, moved)| *sum += moved * moved);
            spread[free] += moved.iter().sum::<f64>().powi(2);
        }
        values.push(total - values.iter().sum::<f64>());
        let pairs = self.coalitions.len() as f64 / 2.0;
        let correction = pairs / (pairs - free as f64).max(1.0);
        (values, spread.iter().map(|spread| (spread * correction).sqrt()).collect())
    }

    fn times(&self, vector: &[f64]) -> Vec<f64> {
        let rows = self.inverse.chunks_exact(vector.len());
        rows.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
    }
}

/// The coalition's indicator less the last feature's.
fn contrast(coalition: &[bool]) -> Vec<f64> {
    let number = |inside: bool| if inside { 1.0 } else { 0.0 };
    let last = number(coalition[coalition.len() - 1]);
    coalition[..coalition.len() - 1].iter().map(|&inside| number(inside) - last).collect()
}

/// Inverse of a positive definite matrix by Gauss-Jordan elimination with the greatest pivot. A pivot near zero, which
/// coalitions that do not tell two features apart leave, is taken as one: those features share what they get.
fn invert(mut matrix: Vec<f64>, size: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; size * size];
    (0..size).for_each(|at| inverse[at * size + at] = 1.0);
    for column in 0..size {
        let magnitude = |&row: &usize| matrix[row * size + column].abs();
        let pivot = (column..size).max_by(|a, b| magnitude(a).total_cmp(&magnitude(b))).unwrap_or(column);
        for at in 0..size {
            matrix.swap(column * size + at, pivot * size + at);
            inverse.swap(column * size + at, pivot * size + at);
        }
        let divisor = matrix[column * size + column];
        let divisor = if divisor.abs() < 1e-12 { 1.0 } else { divisor };
        for at in 0..size {
            matrix[column * size + at] /= divisor;
            inverse[column * size + at] /= divisor;
        }
        for row in (0..size).filter(|&row| row != column) {
            let factor = matrix[row * size + column];
            if factor == 0.0 {
                continue;
            }
            for at in 0..size {
                matrix[row * size + at] -= factor * matrix[column * size + at];
                inverse[row * size + at] -= factor * inverse[column * size + at];
            }
        }
    }
    inverse
}
