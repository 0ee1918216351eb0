//! Gradient-boosted regression trees on histograms (Friedman 2001; second-order gains as in Chen and Guestrin
//! 2016; best-first growth).
//!
//! Contract: raw features; a missing value (NaN) goes to the side that lowers the loss more. Binary problems grow
//! one tree per round, more classes one tree per class and round. Exported as `ai.onnx.ml` tree ensembles; see
//! [`export`]. Deliberately missing: categorical splits, monotone constraints, ranking.

pub(crate) mod bins;
pub(crate) mod boost;
pub(crate) mod export;
pub(crate) mod grow;
#[cfg(test)]
mod walk;

use ndarray::{Array1, Array2, ArrayView1};

/// One node; children are indices into [`Tree::nodes`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Branch {
        feature: usize,
        /// `value <= threshold` goes to `below`.
        threshold: f32,
        missing_below: bool,
        below: usize,
        above: usize,
    },
    Leaf(f32),
}

/// A tree; its root is node 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
}

/// What the trees add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objective {
    /// One tree per round: minus half of it for class 0, plus half of it for class 1.
    Binary,
    /// One tree per class and round.
    Multiclass(usize),
    /// One tree per round.
    Regression,
}

/// Trees in rounds. The base scores are part of the first round's leaves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forest {
    pub(crate) objective: Objective,
    /// [`Objective::trees_per_round`] trees per round.
    pub(crate) trees: Vec<Tree>,
}

impl Objective {
    pub(crate) const fn trees_per_round(self) -> usize {
        match self {
            Self::Binary | Self::Regression => 1,
            Self::Multiclass(classes) => classes,
        }
    }

    /// Columns of the scores: classes, or 1.
    pub(crate) const fn outputs(self) -> usize {
        match self {
            Self::Regression => 1,
            Self::Binary => 2,
            Self::Multiclass(classes) => classes,
        }
    }

    /// Which outputs the `index`-th tree of a round adds to, and times what.
    pub(crate) fn targets(self, index: usize) -> Vec<(usize, f32)> {
        match self {
            Self::Binary => vec![(0, -0.5), (1, 0.5)],
            Self::Multiclass(_) | Self::Regression => vec![(index, 1.0)],
        }
    }
}

impl Tree {
    /// The leaf a row falls into.
    pub(crate) fn value(&self, row: &ArrayView1<'_, f32>) -> f32 {
        let mut at = 0;
        loop {
            match &self.nodes[at] {
                Node::Leaf(value) => return *value,
                Node::Branch { feature, threshold, missing_below, below, above } => {
                    let value = row[*feature];
                    let goes_below = if value.is_nan() { *missing_below } else { value <= *threshold };
                    at = if goes_below { *below } else { *above };
                }
            }
        }
    }

    /// Changes every leaf.
    pub(crate) fn map_leaves(&mut self, change: impl Fn(f32) -> f32) {
        for node in &mut self.nodes {
            if let Node::Leaf(value) = node {
                *value = change(*value);
            }
        }
    }

    /// Adds this tree, the `index`-th of its round, to the scores of `features`.
    pub(crate) fn add_to(
        &self,
        scores: &mut Array2<f32>,
        features: &Array2<f32>,
        objective: Objective,
        index: usize,
    ) {
        let values: Array1<f32> = features.rows().into_iter().map(|row| self.value(&row)).collect();
        for (output, times) in objective.targets(index) {
            scores.column_mut(output).scaled_add(times, &values);
        }
    }
}

impl Forest {
    /// Logits or values, shape `[rows, outputs]`.
    pub(crate) fn forward(&self, features: &Array2<f32>) -> Array2<f32> {
        let mut scores = Array2::zeros((features.nrows(), self.objective.outputs()));
        let per_round = self.objective.trees_per_round();
        for (index, tree) in self.trees.iter().enumerate() {
            tree.add_to(&mut scores, features, self.objective, index % per_round);
        }
        scores
    }
}
