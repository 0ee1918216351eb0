//! Shapley values by trying every coalition.

use super::{Attributions, EXACT_FEATURES_MAX, ExplainError, Game, Rows};

/// The Shapley values of `row` against `background`, from all `2^features` coalitions.
///
/// `function` answers rows with one line of outputs each. It is asked about `2^features - 1` times the background's rows.
///
/// # Errors
/// More than [`EXACT_FEATURES_MAX`] features, rows that do not fit together, or a model that does not answer.
pub fn exact<E, F: FnMut(&Rows) -> Result<Vec<f64>, E>>(
    mut function: F,
    row: &[f64],
    background: &Rows,
) -> Result<Attributions, ExplainError<E>> {
    let mut game = Game::new(&mut function, row, background)?;
    let features = game.features();
    if features > EXACT_FEATURES_MAX {
        return Err(ExplainError::question(format!(
            "{features} features are too many for every coalition; up to {EXACT_FEATURES_MAX} are tried, more are sampled"
        )));
    }
    let answer = game.answer()?;
    let full = (1_usize << features) - 1;
    let coalition = |mask: usize| (0..features).map(|at| mask >> at & 1 == 1).collect();
    let mut worths = game.worths(&(0..full).map(coalition).collect::<Vec<_>>())?;
    worths.extend(&answer);

    let outputs = answer.len();
    let weights = weights(features);
    let mut values = vec![0.0; features * outputs];
    for mask in 0..=full {
        for feature in (0..features).filter(|feature| mask >> feature & 1 == 0) {
            let weight = weights[mask.count_ones() as usize];
            for output in 0..outputs {
                let gain = worths[(mask | 1 << feature) * outputs + output] - worths[mask * outputs + output];
                values[feature * outputs + output] += weight * gain;
            }
        }
    }
    let errors = vec![0.0; values.len()];
    Ok(Attributions {
        base: worths[..outputs].to_vec(),
        answer,
        values,
        errors,
        evaluations: game.evaluations,
    })
}

/// How likely a feature joins exactly after `size` others, divided among the coalitions of that size:
/// `size! (features - size - 1)! / features!`.
fn weights(features: usize) -> Vec<f64> {
    let mut choose = 1.0;
    (0..features)
        .map(|size| {
            let weight = 1.0 / (features as f64 * choose);
            choose *= (features - 1 - size) as f64 / (size + 1) as f64;
            weight
        })
        .collect()
}
