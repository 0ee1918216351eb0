//! Rounds of trees, each on the slopes of the loss that the trees before it leave.
//!
//! Classification minimises the softmax cross-entropy with the diagonal of its Hessian; for binary problems that
//! is the logistic loss. Rows may be sampled per round. Rounds stop once the held-out loss no longer falls, and
//! the rounds after the best one are dropped.

use ndarray::Array2;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::bins::Binned;
use super::grow::{Grower, Growth, Slopes};
use super::{Forest, Objective, Tree};
use crate::TrainError;
use crate::network::{fit_of, softmax_rows};
use crate::params::GbdtParams;
use crate::table::{Table, Targets};

/// Most trees of a forest.
const TREES_MAX: usize = 100_000;
/// Keeps leaves finite where the model is already certain.
const HESSIAN_MIN: f64 = 1e-6;

/// A forest cut at its best round, and how many rounds were run.
pub(crate) struct Boosted {
    pub(crate) forest: Forest,
    pub(crate) rounds: usize,
}

/// A table with the scores of the trees so far.
struct Scored<'a> {
    table: &'a Table,
    scores: Array2<f32>,
}

impl<'a> Scored<'a> {
    fn new(table: &'a Table, objective: Objective) -> Self {
        Self { table, scores: Array2::zeros((table.len(), objective.outputs())) }
    }

    fn add(&mut self, tree: &Tree, objective: Objective, index: usize) {
        tree.add_to(&mut self.scores, &self.table.features, objective, index);
    }

    fn loss(&self) -> Option<f64> {
        (self.table.len() > 0).then(|| fit_of(&self.scores, &self.table.targets).loss)
    }
}

/// Boosts on `learn` until `held_out` (may be empty) says to stop; `on_round(round, train, validation)`.
pub(crate) fn boost(
    learn: &Table,
    held_out: &Table,
    params: &GbdtParams,
    on_round: &mut dyn FnMut(usize, f64, Option<f64>),
) -> Result<Boosted, TrainError> {
    let objective = objective_of(learn);
    if params.rounds * objective.trees_per_round() > TREES_MAX {
        let (value, expected) = (params.rounds.to_string(), "at most 100000 / classes");
        return Err(TrainError::BadParameter { parameter: "rounds", value, expected });
    }
    let binned = Binned::new(&learn.features, params.bins);
    let grower = Grower::new(&binned, growth_of(params));
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let (mut seen, mut unseen) = (Scored::new(learn, objective), Scored::new(held_out, objective));
    let mut forest = Forest { objective, trees: Vec::new() };
    let (mut best_loss, mut best_round, mut round) = (f64::INFINITY, 0, 0);
    while round < params.rounds && round < best_round + params.patience {
        round += 1;
        let rows = sample(learn.len(), params.row_share, &mut rng);
        for (index, tree) in grow_round(&grower, &seen, objective, &rows, round == 1).into_iter().enumerate()
        {
            seen.add(&tree, objective, index);
            unseen.add(&tree, objective, index);
            forest.trees.push(tree);
        }
        let (train, validation) = (seen.loss().unwrap_or(f64::NAN), unseen.loss());
        let loss = validation.unwrap_or(train);
        if !(train.is_finite() && loss.is_finite()) {
            return Err(TrainError::Diverged { epoch: round });
        }
        on_round(round, train, validation);
        if loss < best_loss {
            (best_loss, best_round) = (loss, round);
        }
    }
    forest.trees.truncate(best_round.max(1) * objective.trees_per_round());
    Ok(Boosted { forest, rounds: round })
}

fn objective_of(table: &Table) -> Objective {
    match table.classes.len() {
        0 => Objective::Regression,
        2 => Objective::Binary,
        classes => Objective::Multiclass(classes),
    }
}

fn growth_of(params: &GbdtParams) -> Growth {
    Growth {
        leaves_max: params.leaves,
        depth_max: params.depth,
        rows_per_leaf: params.rows_per_leaf,
        l2: params.l2,
        learning_rate: params.learning_rate,
    }
}

/// Each row with probability `share`; never none.
fn sample(rows: usize, share: f64, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if share >= 1.0 {
        return (0..rows).collect();
    }
    let picked: Vec<usize> = (0..rows).filter(|_| rng.random_bool(share)).collect();
    if picked.is_empty() { vec![rng.random_range(0..rows)] } else { picked }
}

/// One round of trees. The first stands on the base scores, and its leaves contain them.
fn grow_round(
    grower: &Grower<'_>,
    seen: &Scored<'_>,
    objective: Objective,
    rows: &[usize],
    first: bool,
) -> Vec<Tree> {
    let bases = if first { base_scores(&seen.table.targets, objective) } else { Vec::new() };
    let mut scores = seen.scores.clone();
    for (index, &base) in bases.iter().enumerate() {
        for (output, times) in objective.targets(index) {
            scores.column_mut(output).mapv_inplace(|score| score + times * base as f32);
        }
    }
    if objective != Objective::Regression {
        softmax_rows(&mut scores);
    }
    let trees = (0..objective.trees_per_round()).map(|index| {
        let slopes = slopes(&scores, &seen.table.targets, objective, index);
        let mut tree = grower.grow(rows.to_vec(), &slopes);
        if let Some(&base) = bases.get(index) {
            tree.map_leaves(|leaf| (f64::from(leaf) + base) as f32);
        }
        tree
    });
    trees.collect()
}

/// The best constant: the mean, the log odds, or the log shares.
fn base_scores(targets: &Targets, objective: Objective) -> Vec<f64> {
    let classes = targets.classes();
    let share = |class| {
        let count = classes.iter().filter(|&&own| own == class).count();
        (count as f64 / classes.len() as f64).max(f64::MIN_POSITIVE).ln()
    };
    match objective {
        Objective::Regression => vec![targets.values().iter().sum::<f64>() / targets.values().len() as f64],
        Objective::Binary => vec![share(1) - share(0)],
        Objective::Multiclass(count) => (0..count).map(share).collect(),
    }
}

/// Derivatives by the `index`-th tree of a round. `predicted` holds probabilities, or values.
fn slopes(predicted: &Array2<f32>, targets: &Targets, objective: Objective, index: usize) -> Slopes {
    let outputs = objective.outputs();
    let output = if objective == Objective::Binary { 1 } else { index };
    let column = predicted.column(output);
    if objective == Objective::Regression {
        let gradient = column.iter().zip(targets.values()).map(|(&value, label)| f64::from(value) - label);
        return Slopes { gradient: gradient.collect(), hessian: vec![1.0; column.len()] };
    }
    // Friedman's (K - 1) / K for the diagonal approximation; 1 for the exact binary Hessian.
    let scale = if outputs == 2 { 1.0 } else { outputs as f64 / (outputs as f64 - 1.0) };
    let own = targets.classes().iter().map(|&class| if class == output { 1.0 } else { 0.0 });
    let gradient = column.iter().zip(own).map(|(&share, own)| f64::from(share) - own).collect();
    let hessian = column.iter().map(|&share| {
        let share = f64::from(share);
        (scale * share * (1.0 - share)).max(HESSIAN_MIN)
    });
    Slopes { gradient, hessian: hessian.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_scores_are_the_best_constants() {
        let classes = Targets::Classes(vec![0, 1, 1, 1]);
        assert!((base_scores(&classes, Objective::Binary)[0] - 3f64.ln()).abs() < 1e-12);
        let values = Targets::Values(vec![1.0, 2.0, 6.0]);
        assert_eq!(base_scores(&values, Objective::Regression), [3.0]);
    }

    #[test]
    fn a_sample_is_never_empty() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert!((0..50).all(|_| !sample(3, 0.01, &mut rng).is_empty()));
        assert_eq!(sample(3, 1.0, &mut rng), [0, 1, 2]);
    }
}
