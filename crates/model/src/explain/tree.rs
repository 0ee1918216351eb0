//! Exact Shapley values of tree ensembles, from the file.
//!
//! An ensemble's answer is the sum of its leaves' values, and a leaf is reached if every feature on its path passes its
//! tests. So a leaf is a product of one factor per feature, and the Shapley value of a product game has a closed form: with
//! `a` the factors of the explained row (0 or 1) and `z` those of what is usual, feature i gets
//! `(a_i - z_i) * integral over t in [0, 1] of the product over j != i of (t a_j + (1 - t) z_j)` (Owen's multilinear
//! extension), a polynomial that Gauss-Legendre points integrate exactly.
//!
//! - **Interventional**: `z` is a background row's factors, 0 or 1, and the result is the mean over the background.
//! - **Path-dependent** (Lundberg et al. 2020): `z` is the share of the training rows that passed the feature's tests.
//!
//! Which factors of a leaf a row has is a bit mask. Rows go through a tree together, and rows with the same mask at a leaf
//! share the work there, so many rows cost little more than one.
//!
//! What is explained is the sum before any transform: log-odds where the model ends in a logistic function.
//!
//! Deliberately missing: ensembles that take the least or greatest tree, and graphs that compute with the features before
//! the trees read them. Those are sampled.

mod leaf;
mod read;
mod walk;

pub use read::TreeError;

use super::{Attributions, ExplainError, Rows};
use leaf::{Groups, Payoffs};
use walk::{Block, Tree};

/// Rows that go through a tree together, the background's aside.
const BLOCK_ROWS: usize = 512;

/// Exact attributions for one tree ensemble.
pub struct TreeExplainer {
    trees: Vec<Tree>,
    /// Numbers a row must have at least.
    features: usize,
    /// Index of each explained output among the model's outputs or classes.
    outputs: Vec<usize>,
    base_values: Vec<f64>,
    wide: bool,
    usual: Usual,
}

/// What a feature is when it is not known.
enum Usual {
    /// As in these rows.
    Background(Rows),
    /// As often left or right as in training.
    Cover,
}

impl TreeExplainer {
    /// An explainer against background rows (interventional).
    ///
    /// # Errors
    /// The model is no tree ensemble that can be explained from its file, or the background does not fit it.
    pub fn interventional(onnx: &[u8], background: Rows) -> Result<Self, TreeError> {
        let mut explainer = read::ensemble(onnx)?;
        explainer.check_rows(&background)?;
        if background.is_empty() {
            return Err(TreeError::Rows("there is no background row".to_owned()));
        }
        explainer.usual = Usual::Background(background);
        Ok(explainer)
    }

    /// An explainer against how often training rows took each branch (path-dependent). `training` says it anew; without it,
    /// the file must (`nodes_hitrates`).
    ///
    /// # Errors
    /// The model is no tree ensemble that can be explained from its file, or nothing says how often branches were taken.
    pub fn path_dependent(onnx: &[u8], training: Option<&Rows>) -> Result<Self, TreeError> {
        let mut explainer = read::ensemble(onnx)?;
        match training {
            Some(rows) => {
                explainer.check_rows(rows)?;
                let wide = explainer.wide;
                explainer.trees.iter_mut().for_each(|tree| tree.cover_from(rows, wide));
            }
            None if explainer.trees.iter().all(Tree::has_cover) => {}
            None => return Err(TreeError::NoCover),
        }
        explainer.usual = Usual::Cover;
        Ok(explainer)
    }

    /// Index of each explained output among the model's outputs or classes. Where leaves speak for one of two classes, it
    /// is that one.
    #[must_use]
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// The attributions of every row.
    ///
    /// # Errors
    /// Rows with too few features, or other than the background's number.
    pub fn explain(&self, rows: &Rows) -> Result<Vec<Attributions>, ExplainError<TreeError>> {
        self.check_rows(rows).map_err(ExplainError::Model)?;
        if let Usual::Background(background) = &self.usual
            && background.width() != rows.width()
        {
            return Err(ExplainError::question(format!(
                "rows have {} features but the background has {}",
                rows.width(),
                background.width()
            )));
        }
        let blocks = rows.values().chunks(BLOCK_ROWS * rows.width());
        Ok(blocks.flat_map(|block| self.explain_block(block, rows.width())).collect())
    }

    fn check_rows(&self, rows: &Rows) -> Result<(), TreeError> {
        if rows.width() >= self.features {
            return Ok(());
        }
        Err(TreeError::Rows(format!(
            "rows have {} features but the trees test {}",
            rows.width(),
            self.features
        )))
    }

    fn explain_block(&self, values: &[f64], width: usize) -> Vec<Attributions> {
        let background: &[f64] = match &self.usual {
            Usual::Background(rows) => rows.values(),
            Usual::Cover => &[],
        };
        let count = values.len() / width;
        let mut totals = Totals::new(count, width, self.outputs.len());
        let mut block = Block::new(values, background, width, self.wide);
        let mut groups = Groups::default();
        let mut payoffs = Payoffs::default();
        for tree in &self.trees {
            tree.walk(&mut block, |leaf, masks| {
                let (own, usual) = masks.split_at(count);
                let base = match &self.usual {
                    Usual::Background(_) => payoffs.against_rows(leaf, own, usual, &mut groups),
                    Usual::Cover => payoffs.against_cover(leaf, own, &mut groups),
                };
                totals.add(leaf, base, own, &groups, &payoffs);
            });
        }
        totals.finish(&self.base_values)
    }
}

/// What the trees add up to so far.
struct Totals {
    width: usize,
    base: Vec<f64>,
    answers: Vec<f64>,
    values: Vec<f64>,
}

impl Totals {
    fn new(rows: usize, width: usize, outputs: usize) -> Self {
        let zeros = |len: usize| vec![0.0; len];
        Self {
            width,
            base: zeros(outputs),
            answers: zeros(rows * outputs),
            values: zeros(rows * width * outputs),
        }
    }

    fn add(&mut self, leaf: &walk::Leaf, base: f64, masks: &[u64], groups: &Groups, payoffs: &Payoffs) {
        let outputs = self.base.len();
        let full = leaf.full();
        for &(output, value) in &leaf.weights {
            self.base[output] += value * base;
            for (row, &mask) in masks.iter().enumerate() {
                if mask == full {
                    self.answers[row * outputs + output] += value;
                }
                let Some(shares) = payoffs.of(groups.of_row(row), leaf.features.len()) else { continue };
                let values = &mut self.values[row * self.width * outputs..][..self.width * outputs];
                for (&feature, share) in leaf.features.iter().zip(shares) {
                    values[feature as usize * outputs + output] += value * share;
                }
            }
        }
    }

    fn finish(self, base_values: &[f64]) -> Vec<Attributions> {
        let outputs = self.base.len();
        let with_base =
            |values: &[f64]| values.iter().zip(base_values).map(|(value, base)| value + base).collect();
        let base: Vec<f64> = with_base(&self.base);
        let rows = self.answers.chunks_exact(outputs).zip(self.values.chunks_exact(self.width * outputs));
        rows.map(|(answer, values)| Attributions {
            base: base.clone(),
            answer: with_base(answer),
            values: values.to_vec(),
            errors: vec![0.0; values.len()],
            evaluations: 0,
        })
        .collect()
    }
}
