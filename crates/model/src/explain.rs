//! Why a model answered as it did: how much each input moved the answer away from what is usual.
//!
//! The measure is the Shapley value of a game in which the players are the features and the worth of a coalition is the
//! mean answer over background rows whose values of the coalition's features are replaced by the explained row's
//! (interventional, Lundberg and Lee 2017; Janzing et al. 2020). Whatever the method, the attributions add up to the
//! answer less the background's mean answer.
//!
//! | features and model | method |
//! |---|---|
//! | up to [`EXACT_FEATURES_MAX`] | [`exact`]: every coalition |
//! | any number | [`sample()`]: random orders, with a standard error; [`kernel()`]: regression on coalitions, likewise |
//! | a tree ensemble | [`TreeExplainer`]: exact, from the file, without asking the model |
//! | an image or a spectrogram | [`occlusion`], [`rise`]: a map of what matters |
//!
//! Beside attributions of one answer: [`importance`] (of a feature for a model's quality) and [`counterfactual()`] (the
//! smallest change that gives another answer). None needs gradients; the model is a function over rows, whatever engine
//! runs it. Whatever is random follows from a seed.
//!
//! Deliberately missing: a clock. A caller with a time budget says after each batch whether to go on, and gets the number
//! of evaluations, which with the seed gives the same figures again.

mod counterfactual;
mod exact;
mod importance;
mod kernel;
mod map;
mod quadrature;
mod sample;
mod session;
mod tree;

pub use counterfactual::{Change, Counterfactual, CounterfactualOptions, counterfactual};
pub use exact::exact;
pub use importance::{Importance, importance};
pub use kernel::kernel;
pub use map::{HeatMap, ImageLayout, occlusion, rise};
pub use sample::sample;
pub use session::{SessionFunction, Unfit};
pub use tree::{TreeError, TreeExplainer};

/// Most features of which every coalition is tried.
pub const EXACT_FEATURES_MAX: usize = 12;

/// Most rows that are given to the model at once.
const BATCH_ROWS: usize = 1024;

/// Rows of equally many numbers, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    /// Rows of `width` numbers; none if `values` are no whole number of rows or a row has no number.
    #[must_use]
    pub fn new(values: Vec<f64>, width: usize) -> Option<Self> {
        (width > 0 && values.len().is_multiple_of(width)).then_some(Self { values, width })
    }

    /// Numbers per row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One row.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.width..(at + 1) * self.width]
    }

    /// Every number, row by row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError<E> {
    /// The model did not answer.
    #[error(transparent)]
    Model(E),
    /// The rows do not fit together or the question is too large.
    #[error("{0}")]
    Question(String),
}

impl<E> ExplainError<E> {
    fn question(why: impl Into<String>) -> Self {
        Self::Question(why.into())
    }
}

/// How much each feature moved each output.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributions {
    /// The mean answer over the background, per output.
    pub base: Vec<f64>,
    /// The explained row's answer, per output.
    pub answer: Vec<f64>,
    /// Feature by feature, one number per output. Their sum over the features is `answer - base`.
    pub values: Vec<f64>,
    /// Standard errors of `values`; zeros where they are exact.
    pub errors: Vec<f64>,
    /// How many rows the model was asked about.
    pub evaluations: usize,
}

impl Attributions {
    /// Number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.base.len()
    }

    /// Number of features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.values.len() / self.base.len().max(1)
    }

    /// What `feature` did to `output`.
    ///
    /// # Panics
    /// There is no such feature or output.
    #[must_use]
    pub fn value(&self, feature: usize, output: usize) -> f64 {
        self.values[feature * self.outputs() + output]
    }

    /// How far the attributions of `output` are from adding up: the sum less `answer - base`.
    #[must_use]
    pub fn gap(&self, output: usize) -> f64 {
        let sum: f64 = (0..self.features()).map(|feature| self.value(feature, output)).sum();
        sum - (self.answer[output] - self.base[output])
    }
}

/// The game whose Shapley values are asked for: a function, the row to explain and the background.
struct Game<'a, F> {
    function: &'a mut F,
    row: &'a [f64],
    background: &'a Rows,
    evaluations: usize,
}

impl<'a, E, F: FnMut(&Rows) -> Result<Vec<f64>, E>> Game<'a, F> {
    fn new(function: &'a mut F, row: &'a [f64], background: &'a Rows) -> Result<Self, ExplainError<E>> {
        if background.is_empty() {
            return Err(ExplainError::question(
                "there is no background row; give some rows of what is usual, 100 say",
            ));
        }
        if background.width() != row.len() {
            let (found, expected) = (background.width(), row.len());
            return Err(ExplainError::question(format!(
                "the background has {found} features but the row to explain has {expected}"
            )));
        }
        Ok(Self { function, row, background, evaluations: 0 })
    }

    fn features(&self) -> usize {
        self.row.len()
    }

    /// The answer to the explained row itself.
    fn answer(&mut self) -> Result<Vec<f64>, ExplainError<E>> {
        let row = Rows { values: self.row.to_vec(), width: self.row.len() };
        let answer = self.ask(&row)?;
        if answer.is_empty() {
            Err(ExplainError::question("the model has no numeric output"))
        } else {
            Ok(answer)
        }
    }

    /// What each coalition is worth: one line of outputs per coalition.
    fn worths(&mut self, coalitions: &[Vec<bool>]) -> Result<Vec<f64>, ExplainError<E>> {
        let share = (BATCH_ROWS / self.background.len()).max(1);
        let mut worths = Vec::new();
        for chunk in coalitions.chunks(share) {
            let mut values = Vec::with_capacity(chunk.len() * self.background.values.len());
            for coalition in chunk {
                for usual in self.background.iter() {
                    let mix = coalition.iter().zip(self.row).zip(usual);
                    values.extend(mix.map(|((&inside, &own), &usual)| if inside { own } else { usual }));
                }
            }
            let answers = self.ask(&Rows { values, width: self.row.len() })?;
            worths.extend(means(&answers, chunk.len(), self.background.len()));
        }
        Ok(worths)
    }

    fn ask(&mut self, rows: &Rows) -> Result<Vec<f64>, ExplainError<E>> {
        let answers = (self.function)(rows).map_err(ExplainError::Model)?;
        self.evaluations += rows.len();
        if !answers.len().is_multiple_of(rows.len()) {
            let (found, rows) = (answers.len(), rows.len());
            return Err(ExplainError::question(format!("the model gave {found} numbers for {rows} rows")));
        }
        Ok(answers)
    }
}

/// The mean over each group of `size` lines of answers.
fn means(answers: &[f64], groups: usize, size: usize) -> Vec<f64> {
    let outputs = answers.len() / (groups * size);
    let mut means = vec![0.0; groups * outputs];
    for (line, answer) in answers.chunks_exact(outputs.max(1)).enumerate() {
        let mean = &mut means[line / size * outputs..][..outputs];
        mean.iter_mut().zip(answer).for_each(|(mean, answer)| *mean += answer / size as f64);
    }
    means
}
