//! Shapley values from random orders of the features.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Attributions, ExplainError, Game, Rows};

/// Shapley values from random orders in which the features join, each order with its reverse (Castro et al. 2009;
/// antithetic pairs as Mitchell et al. 2022). They add up exactly, however few orders are tried.
///
/// At most `pairs` pairs of orders are tried, at least two so that there is a standard error; `go_on` is asked before each
/// further one. A pair costs `2 (features - 1)` times the background's rows.
///
/// # Errors
/// Rows that do not fit together, or a model that does not answer.
pub fn sample<E, F: FnMut(&Rows) -> Result<Vec<f64>, E>>(
    mut function: F,
    row: &[f64],
    background: &Rows,
    pairs: usize,
    seed: u64,
    mut go_on: impl FnMut() -> bool,
) -> Result<Attributions, ExplainError<E>> {
    let mut game = Game::new(&mut function, row, background)?;
    let features = game.features();
    let answer = game.answer()?;
    let base = game.worths(&[vec![false; features]])?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..features).collect();
    let mut moments = Moments::new(features * answer.len());
    for pair in 0..pairs.max(2) {
        if pair >= 2 && !go_on() {
            break;
        }
        order.shuffle(&mut random);
        let mut gains = gains(&mut game, &order, &base, &answer)?;
        order.reverse();
        let reverse = self::gains(&mut game, &order, &base, &answer)?;
        gains.iter_mut().zip(reverse).for_each(|(gain, other)| *gain = f64::midpoint(*gain, other));
        moments.add(&gains);
    }
    let errors = moments.standard_errors();
    Ok(Attributions { base, answer, values: moments.means, errors, evaluations: game.evaluations })
}

/// What each feature adds when the features join in `order`.
fn gains<E, F: FnMut(&Rows) -> Result<Vec<f64>, E>>(
    game: &mut Game<'_, F>,
    order: &[usize],
    base: &[f64],
    answer: &[f64],
) -> Result<Vec<f64>, ExplainError<E>> {
    let mut coalition = vec![false; order.len()];
    let mut coalitions = Vec::with_capacity(order.len());
    for &feature in &order[..order.len() - 1] {
        coalition[feature] = true;
        coalitions.push(coalition.clone());
    }
    let between = game.worths(&coalitions)?;
    let outputs = answer.len();
    let mut gains = vec![0.0; order.len() * outputs];
    let mut before = base;
    for (feature, after) in order.iter().zip(between.chunks_exact(outputs).chain([answer])) {
        for output in 0..outputs {
            gains[feature * outputs + output] = after[output] - before[output];
        }
        before = after;
    }
    Ok(gains)
}

/// Running means and sums of squares (Welford).
struct Moments {
    count: f64,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(len: usize) -> Self {
        Self { count: 0.0, means: vec![0.0; len], squares: vec![0.0; len] }
    }

    fn add(&mut self, values: &[f64]) {
        self.count += 1.0;
        for ((mean, square), value) in self.means.iter_mut().zip(&mut self.squares).zip(values) {
            let off = value - *mean;
            *mean += off / self.count;
            *square += off * (value - *mean);
        }
    }

    fn standard_errors(&self) -> Vec<f64> {
        self.squares.iter().map(|square| (square / (self.count - 1.0) / self.count).sqrt()).collect()
    }
}
