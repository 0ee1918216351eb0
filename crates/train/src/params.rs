//! What a user may choose, with defaults that suit small tables; read from `[train.builtin]`.
//!
//! Unknown keys are errors. Ranges are checked by [`TrainParams::check`], before any data is looked at.

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::gbdt::bins::BINS_MAX;

/// Most epochs or L-BFGS iterations.
pub(crate) const ITERATIONS_MAX: usize = 10_000;
/// Most hidden layers.
pub(crate) const HIDDEN_LAYERS_MAX: usize = 8;
/// Most units in one hidden layer.
pub(crate) const HIDDEN_UNITS_MAX: usize = 4096;
/// Most rows in one mini-batch.
pub(crate) const BATCH_ROWS_MAX: usize = 65_536;
/// Most leaves of a tree.
const LEAVES_MAX: usize = 1024;
/// Most branches from a tree's root to a leaf.
const DEPTH_MAX: usize = 64;

/// What a model predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of the classes seen in training.
    #[default]
    Classification,
    /// A number.
    Regression,
}

impl Task {
    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Regression => "regression",
        }
    }
}

/// An algorithm with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "algorithm", rename_all = "snake_case")]
pub enum TrainParams {
    /// Dense ReLU layers; classification or regression.
    Mlp(MlpParams),
    /// Multinomial logistic regression; classification.
    Logistic(LogisticParams),
    /// Linear regression with an L2 penalty; regression.
    Ridge(RidgeParams),
    /// Gradient-boosted trees; classification or regression, with missing values.
    Gbdt(GbdtParams),
}

/// Settings of the multi-layer perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpParams {
    /// What is learned.
    pub task: Task,
    /// Units of each hidden layer, from the input on; may be empty.
    pub hidden: Vec<usize>,
    /// Whether the model has the last hidden layer as a further output, for monitors.
    pub embedding: bool,
    /// Most passes over the data.
    pub epochs: usize,
    /// Rows per gradient step.
    pub batch_rows: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Decoupled weight decay per step, as a multiple of the step size.
    pub weight_decay: f64,
    /// Epochs without a better validation loss before training stops.
    pub patience: usize,
    /// Share of the rows held out for early stopping and temperature, 0 to 0.5.
    pub validation_share: f64,
    /// Seed of the split, the first weights and the batches.
    pub seed: u64,
}

impl Default for MlpParams {
    fn default() -> Self {
        Self {
            task: Task::Classification,
            hidden: vec![64],
            embedding: false,
            epochs: 200,
            batch_rows: 32,
            learning_rate: 2e-3,
            weight_decay: 0.1,
            patience: 15,
            validation_share: 0.15,
            seed: 0,
        }
    }
}

/// Settings of logistic regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticParams {
    /// Weight of the squared norm of the coefficients beside the mean loss per row.
    pub l2: f64,
    /// Most L-BFGS iterations.
    pub iterations: usize,
    /// Share of the rows held out to measure and to fit the temperature, 0 to 0.5. The final fit is on all rows.
    pub validation_share: f64,
    /// Seed of the split.
    pub seed: u64,
}

impl Default for LogisticParams {
    fn default() -> Self {
        Self { l2: 1e-3, iterations: 300, validation_share: 0.15, seed: 0 }
    }
}

/// Settings of ridge regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RidgeParams {
    /// Weight of the squared norm of the coefficients beside the mean squared error, both on standardised data.
    pub l2: f64,
    /// Share of the rows held out to measure, 0 to 0.5. The final fit is on all rows.
    pub validation_share: f64,
    /// Seed of the split.
    pub seed: u64,
}

impl Default for RidgeParams {
    fn default() -> Self {
        Self { l2: 1e-3, validation_share: 0.15, seed: 0 }
    }
}

/// Settings of gradient-boosted trees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GbdtParams {
    /// What is learned.
    pub task: Task,
    /// Most rounds; each adds one tree, or one per class when there are more than two.
    pub rounds: usize,
    /// Share of each tree's step that is taken.
    pub learning_rate: f64,
    /// Most leaves of a tree.
    pub leaves: usize,
    /// Most branches from the root to a leaf.
    pub depth: usize,
    /// Fewest rows in a leaf.
    pub rows_per_leaf: usize,
    /// Weight of the squared leaf values beside the loss.
    pub l2: f64,
    /// Share of the rows each round learns from.
    pub row_share: f64,
    /// Most bins of a feature, 2 to 255.
    pub bins: usize,
    /// Rounds without a better validation loss before training stops.
    pub patience: usize,
    /// Share of the rows held out for early stopping and temperature, 0 to 0.5.
    pub validation_share: f64,
    /// Seed of the split and of the rows of each round.
    pub seed: u64,
}

impl Default for GbdtParams {
    fn default() -> Self {
        Self {
            task: Task::Classification,
            rounds: 300,
            learning_rate: 0.1,
            leaves: 31,
            depth: 8,
            rows_per_leaf: 10,
            l2: 1.0,
            row_share: 0.8,
            bins: 255,
            patience: 20,
            validation_share: 0.15,
            seed: 0,
        }
    }
}

impl TrainParams {
    /// What these parameters learn.
    #[must_use]
    pub fn task(&self) -> Task {
        match self {
            Self::Mlp(mlp) => mlp.task,
            Self::Logistic(_) => Task::Classification,
            Self::Ridge(_) => Task::Regression,
            Self::Gbdt(gbdt) => gbdt.task,
        }
    }

    /// Refuses values out of range.
    ///
    /// # Errors
    /// [`TrainError::BadParameter`] naming the first one.
    pub fn check(&self) -> Result<(), TrainError> {
        match self {
            Self::Mlp(mlp) => mlp.check(),
            Self::Logistic(logistic) => logistic.check(),
            Self::Ridge(ridge) => ridge.check(),
            Self::Gbdt(gbdt) => gbdt.check(),
        }
    }
}

impl MlpParams {
    fn check(&self) -> Result<(), TrainError> {
        in_range("hidden", self.hidden.len(), 0..=HIDDEN_LAYERS_MAX, "at most 8 layers")?;
        for &units in &self.hidden {
            in_range("hidden", units, 1..=HIDDEN_UNITS_MAX, "1 to 4096 units per layer")?;
        }
        if self.embedding && self.hidden.is_empty() {
            let (parameter, expected) = ("embedding", "false without hidden layers");
            return Err(TrainError::BadParameter { parameter, value: "true".to_owned(), expected });
        }
        in_range("epochs", self.epochs, 1..=ITERATIONS_MAX, "1 to 10000")?;
        in_range("batch_rows", self.batch_rows, 1..=BATCH_ROWS_MAX, "1 to 65536")?;
        in_range("patience", self.patience, 1..=ITERATIONS_MAX, "1 to 10000")?;
        in_range("learning_rate", self.learning_rate, f64::MIN_POSITIVE..=1.0, "above 0, at most 1")?;
        in_range("weight_decay", self.weight_decay, 0.0..=1.0, "0 to 1")?;
        check_share(self.validation_share)
    }
}

impl LogisticParams {
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        in_range("l2", self.l2, 0.0..=1e6, "0 to 1e6")?;
        in_range("iterations", self.iterations, 1..=ITERATIONS_MAX, "1 to 10000")?;
        check_share(self.validation_share)
    }
}

impl RidgeParams {
    fn check(&self) -> Result<(), TrainError> {
        in_range("l2", self.l2, f64::MIN_POSITIVE..=1e6, "above 0, at most 1e6")?;
        check_share(self.validation_share)
    }
}

impl GbdtParams {
    fn check(&self) -> Result<(), TrainError> {
        in_range("rounds", self.rounds, 1..=ITERATIONS_MAX, "1 to 10000")?;
        in_range("learning_rate", self.learning_rate, f64::MIN_POSITIVE..=1.0, "above 0, at most 1")?;
        in_range("leaves", self.leaves, 2..=LEAVES_MAX, "2 to 1024")?;
        in_range("depth", self.depth, 1..=DEPTH_MAX, "1 to 64")?;
        in_range("rows_per_leaf", self.rows_per_leaf, 1..=BATCH_ROWS_MAX, "1 to 65536")?;
        in_range("l2", self.l2, 0.0..=1e6, "0 to 1e6")?;
        in_range("row_share", self.row_share, 0.01..=1.0, "0.01 to 1")?;
        in_range("bins", self.bins, 2..=BINS_MAX, "2 to 255")?;
        in_range("patience", self.patience, 1..=ITERATIONS_MAX, "1 to 10000")?;
        check_share(self.validation_share)
    }
}

fn check_share(share: f64) -> Result<(), TrainError> {
    in_range("validation_share", share, 0.0..=0.5, "0 to 0.5")
}

pub(crate) fn in_range<T: PartialOrd + ToString + Copy>(
    parameter: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    expected: &'static str,
) -> Result<(), TrainError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(TrainError::BadParameter { parameter, value: value.to_string(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithm_alone_is_enough() {
        let params: TrainParams = toml::from_str("algorithm = \"mlp\"").unwrap();
        assert_eq!(params, TrainParams::Mlp(MlpParams::default()));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = toml::from_str::<TrainParams>("algorithm = \"ridge\"\nl3 = 1.0").unwrap_err();
        assert!(error.to_string().contains("`l3`"), "{error}");
    }

    #[test]
    fn an_unknown_algorithm_lists_the_known() {
        let error = toml::from_str::<TrainParams>("algorithm = \"svm\"").unwrap_err();
        assert!(error.to_string().contains("`logistic`"), "{error}");
    }

    #[test]
    fn not_a_number_is_out_of_range() {
        let params = TrainParams::Ridge(RidgeParams { l2: f64::NAN, ..RidgeParams::default() });
        assert!(matches!(params.check(), Err(TrainError::BadParameter { parameter: "l2", .. })));
    }
}
