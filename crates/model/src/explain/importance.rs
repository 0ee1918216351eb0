//! How much a model's quality rests on each feature.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{ExplainError, Rows};

/// Two-sided 95% of the normal distribution.
const NORMAL_95: f64 = 1.959_963_984_540_054;

/// What a model loses without a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Importance {
    /// Mean rise of the loss per row when the feature's values are shuffled among the rows.
    pub mean: f64,
    /// Lower end of its 95% interval over rows.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Permutation importance of every feature (Breiman 2001; Fisher et al. 2019): the rise of the loss when its column is
/// shuffled, the mean over `repeats` shuffles.
///
/// `losses` gives each row's loss from the answers for all rows. The interval is the normal one over the rows' mean rises,
/// so it says what other rows of the same kind might have shown; it assumes independent rows, some dozens at least.
///
/// # Errors
/// No rows, other than one loss per row, or a model that does not answer.
pub fn importance<E>(
    mut function: impl FnMut(&Rows) -> Result<Vec<f64>, E>,
    mut losses: impl FnMut(&[f64]) -> Vec<f64>,
    rows: &Rows,
    repeats: usize,
    seed: u64,
) -> Result<Vec<Importance>, ExplainError<E>> {
    if rows.len() < 2 || repeats == 0 {
        return Err(ExplainError::question("importance needs at least two rows and one shuffle"));
    }
    let mut loss_of = |rows: &Rows| {
        let found = losses(&function(rows).map_err(ExplainError::Model)?);
        if found.len() == rows.len() {
            return Ok(found);
        }
        Err(ExplainError::question(format!("there are {} losses for {} rows", found.len(), rows.len())))
    };
    let usual = loss_of(rows)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut all = Vec::with_capacity(rows.width());
    for feature in 0..rows.width() {
        let mut rises = vec![0.0; rows.len()];
        for _ in 0..repeats {
            order.shuffle(&mut random);
            let mut shuffled = rows.clone();
            for (at, &from) in order.iter().enumerate() {
                shuffled.values[at * rows.width + feature] = rows.values[from * rows.width + feature];
            }
            let found = loss_of(&shuffled)?;
            for ((rise, found), usual) in rises.iter_mut().zip(found).zip(&usual) {
                *rise += (found - usual) / repeats as f64;
            }
        }
        all.push(interval(&rises));
    }
    Ok(all)
}

fn interval(rises: &[f64]) -> Importance {
    let count = rises.len() as f64;
    let mean = rises.iter().sum::<f64>() / count;
    let variance = rises.iter().map(|rise| (rise - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = NORMAL_95 * (variance / count).sqrt();
    Importance { mean, low: mean - half, high: mean + half }
}
