//! The smallest change that gives another answer.

use super::{BATCH_ROWS, ExplainError, Rows};

/// Halvings of the way between a feature's value and its changed one.
const HALVINGS: usize = 24;

/// What may be changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CounterfactualOptions {
    /// The decision to reach; any other than the row's where none is given.
    pub target: Option<usize>,
    /// Features that stay as they are.
    pub frozen: Vec<usize>,
    /// How many of the nearest background rows to start from; 0 is 16.
    pub starts: usize,
}

/// One feature's change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Which feature.
    pub feature: usize,
    /// What it is.
    pub from: f64,
    /// What it would have to be.
    pub to: f64,
}

/// A row near the explained one that is decided otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterfactual {
    /// The whole row.
    pub row: Vec<f64>,
    /// Where it differs.
    pub changes: Vec<Change>,
    /// What the model decides for it.
    pub decision: usize,
    /// Sum of the changes, each in mean absolute deviations of its feature in the background.
    pub distance: f64,
}

/// The smallest change found that flips the decision: fewest features first, then the least distance. None if no background
/// row with the frozen features kept is decided otherwise.
///
/// It starts from the nearest background rows that are decided otherwise (nearest unlike neighbours), takes back every
/// change it can, the largest first, and halves what is left. Features whose background values are all whole numbers stay
/// whole. Every step is confirmed by the model, so the result is decided as said; a smaller change may exist.
///
/// # Errors
/// Rows that do not fit together, or a model that does not answer.
pub fn counterfactual<E>(
    function: impl FnMut(&Rows) -> Result<Vec<f64>, E>,
    decide: impl Fn(&[f64]) -> usize,
    row: &[f64],
    background: &Rows,
    options: &CounterfactualOptions,
) -> Result<Option<Counterfactual>, ExplainError<E>> {
    if background.width() != row.len() || background.is_empty() {
        return Err(ExplainError::question(format!(
            "the row has {} features; the background has {} rows of {}",
            row.len(),
            background.len(),
            background.width()
        )));
    }
    let mut search = Search { function, decide, row, scales: scales(background), whole: whole(background) };
    let own = search.decisions(&[row.to_vec()])?[0];
    let mut starts: Vec<Vec<f64>> = background.iter().map(<[f64]>::to_vec).collect();
    for start in &mut starts {
        options.frozen.iter().filter(|&&at| at < row.len()).for_each(|&at| start[at] = row[at]);
    }
    let decisions = search.decisions(&starts)?;
    let wanted = |decision: usize| decision != own && options.target.is_none_or(|target| decision == target);
    let mut found: Vec<(f64, Vec<f64>, usize)> = starts
        .into_iter()
        .zip(decisions)
        .filter(|(_, decision)| wanted(*decision))
        .map(|(start, decision)| (search.distance(&start), start, decision))
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.truncate(if options.starts == 0 { 16 } else { options.starts });
    let mut best: Option<Counterfactual> = None;
    for (_, start, decision) in found {
        let flipped = search.shrink(start, decision)?;
        let rank = |found: &Counterfactual| (found.changes.len(), found.distance);
        if best.as_ref().is_none_or(|best| rank(&flipped) < rank(best)) {
            best = Some(flipped);
        }
    }
    Ok(best)
}

struct Search<'a, F, D> {
    function: F,
    decide: D,
    row: &'a [f64],
    scales: Vec<f64>,
    whole: Vec<bool>,
}

impl<E, F: FnMut(&Rows) -> Result<Vec<f64>, E>, D: Fn(&[f64]) -> usize> Search<'_, F, D> {
    fn decisions(&mut self, rows: &[Vec<f64>]) -> Result<Vec<usize>, ExplainError<E>> {
        let mut decisions = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(BATCH_ROWS) {
            let rows = Rows { values: chunk.concat(), width: self.row.len() };
            let answers = (self.function)(&rows).map_err(ExplainError::Model)?;
            let outputs = answers.len() / chunk.len();
            if outputs == 0 {
                return Err(ExplainError::question("the model has no numeric output"));
            }
            decisions.extend(answers.chunks_exact(outputs).map(&self.decide));
        }
        Ok(decisions)
    }

    fn offset(&self, row: &[f64], feature: usize) -> f64 {
        (row[feature] - self.row[feature]).abs() / self.scales[feature]
    }

    fn distance(&self, row: &[f64]) -> f64 {
        (0..row.len()).map(|feature| self.offset(row, feature)).sum()
    }

    fn changed(&self, row: &[f64]) -> Vec<usize> {
        (0..row.len()).filter(|&feature| row[feature] != self.row[feature]).collect()
    }

    /// Takes back what can be taken back of a row that is decided otherwise.
    fn shrink(&mut self, mut row: Vec<f64>, decision: usize) -> Result<Counterfactual, ExplainError<E>> {
        loop {
            let changed = self.changed(&row);
            let without = |feature: usize| {
                let mut other = row.clone();
                other[feature] = self.row[feature];
                other
            };
            let others: Vec<Vec<f64>> = changed.iter().map(|&feature| without(feature)).collect();
            let decisions = self.decisions(&others)?;
            let free = changed.iter().zip(decisions).filter(|(_, found)| *found == decision);
            let largest = free.max_by(|a, b| self.offset(&row, *a.0).total_cmp(&self.offset(&row, *b.0)));
            let Some((&feature, _)) = largest else { break };
            row[feature] = self.row[feature];
        }
        for feature in self.changed(&row) {
            self.halve(&mut row, feature, decision)?;
        }
        let changes = self.changed(&row).into_iter().map(|feature| Change {
            feature,
            from: self.row[feature],
            to: row[feature],
        });
        Ok(Counterfactual { changes: changes.collect(), decision, distance: self.distance(&row), row })
    }

    /// Moves one feature back as far as the decision holds.
    fn halve(&mut self, row: &mut [f64], feature: usize, decision: usize) -> Result<(), ExplainError<E>> {
        let mut back = self.row[feature];
        for _ in 0..HALVINGS {
            let mut middle = f64::midpoint(back, row[feature]);
            if self.whole[feature] {
                middle = middle.round();
            }
            if middle == back || middle == row[feature] || !middle.is_finite() {
                break;
            }
            let mut other = row.to_vec();
            other[feature] = middle;
            if self.decisions(&[other])?[0] == decision {
                row[feature] = middle;
            } else {
                back = middle;
            }
        }
        Ok(())
    }
}

/// Mean absolute deviation of each feature; 1 for a constant one.
fn scales(rows: &Rows) -> Vec<f64> {
    let column = |feature: usize| rows.iter().map(move |row| row[feature]).filter(|value| value.is_finite());
    (0..rows.width())
        .map(|feature| {
            let count = column(feature).count().max(1) as f64;
            let mean = column(feature).sum::<f64>() / count;
            let deviation = column(feature).map(|value| (value - mean).abs()).sum::<f64>() / count;
            if deviation > 0.0 { deviation } else { 1.0 }
        })
        .collect()
}

fn whole(rows: &Rows) -> Vec<bool> {
    (0..rows.width()).map(|feature| rows.iter().all(|row| row[feature].fract() == 0.0)).collect()
}
