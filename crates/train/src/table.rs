//! A checked table: what every algorithm may rely on.
//!
//! Contract: rows x width finite values (NaN only where the algorithm takes it), targets that match the task, at
//! least two classes for classification.

use edgeward_core::Dataset;
use ndarray::{Array2, Axis};

use crate::TrainError;
use crate::params::Task;

/// Most values (rows x width) the embedded trainer takes: 1 GiB of FP32.
const VALUES_MAX: usize = 1 << 28;
/// Most classes of a classifier.
const CLASSES_MAX: usize = 4096;

/// What is to be predicted, one per row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Targets {
    /// An index into [`Table::classes`].
    Classes(Vec<usize>),
    /// A finite number.
    Values(Vec<f64>),
}

/// Whether a missing value is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingValues {
    Refused,
    Accepted,
}

/// Features and targets that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Shape `[rows, width]`.
    pub(crate) features: Array2<f32>,
    pub(crate) targets: Targets,
    /// Empty for a regression.
    pub(crate) classes: Vec<String>,
}

impl Targets {
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(indices) => Self::Classes(rows.iter().map(|&row| indices[row]).collect()),
            Self::Values(values) => Self::Values(rows.iter().map(|&row| values[row]).collect()),
        }
    }

    /// The class indices; empty for a regression.
    pub(crate) fn classes(&self) -> &[usize] {
        match self {
            Self::Classes(indices) => indices,
            Self::Values(_) => &[],
        }
    }

    /// The numbers; empty for a classification.
    pub(crate) fn values(&self) -> &[f64] {
        match self {
            Self::Classes(_) => &[],
            Self::Values(values) => values,
        }
    }

    pub(crate) fn class_of(&self, row: usize) -> usize {
        match self {
            Self::Classes(indices) => indices[row],
            Self::Values(_) => 0,
        }
    }
}

impl Table {
    pub(crate) fn new(dataset: &Dataset, task: Task, missing: MissingValues) -> Result<Self, TrainError> {
        let (rows, width) = check_shape(dataset)?;
        check_values(dataset, missing)?;
        let (targets, classes) = match task {
            Task::Classification => class_targets(dataset)?,
            Task::Regression => (Targets::Values(number_targets(dataset)?), Vec::new()),
        };
        let features = Array2::from_shape_vec((rows, width), dataset.values.clone())
            .expect("check_shape compared the lengths");
        Ok(Self { features, targets, classes })
    }

    pub(crate) fn len(&self) -> usize {
        self.features.nrows()
    }

    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        Self {
            features: self.features.select(Axis(0), rows),
            targets: self.targets.select(rows),
            classes: self.classes.clone(),
        }
    }
}

fn check_shape(dataset: &Dataset) -> Result<(usize, usize), TrainError> {
    let (rows, width, values) = (dataset.len(), dataset.width(), dataset.values.len());
    if width == 0 {
        return Err(TrainError::NoFeatures);
    }
    if rows == 0 {
        return Err(TrainError::NoRows);
    }
    if values > VALUES_MAX {
        return Err(TrainError::TooLarge { values, limit: VALUES_MAX });
    }
    if rows.checked_mul(width) != Some(values) {
        return Err(TrainError::Ragged { rows, width, values });
    }
    Ok((rows, width))
}

fn check_values(dataset: &Dataset, missing: MissingValues) -> Result<(), TrainError> {
    let bad = |value: &f32| !(value.is_finite() || value.is_nan() && missing == MissingValues::Accepted);
    let Some(at) = dataset.values.iter().position(bad) else {
        return Ok(());
    };
    let (row, column) = (at / dataset.width(), at % dataset.width());
    let feature = dataset.feature_names[column].clone();
    Err(if dataset.values[at].is_nan() {
        TrainError::Missing { row, feature }
    } else {
        TrainError::Infinite { row, feature }
    })
}

fn class_targets(dataset: &Dataset) -> Result<(Targets, Vec<String>), TrainError> {
    let no_class = |label: &str| {
        label.trim().is_empty() || label.trim().parse::<f64>().is_ok_and(|number| !number.is_finite())
    };
    if let Some(row) = dataset.labels.iter().position(|label| no_class(label)) {
        let label = dataset.labels[row].clone();
        return Err(TrainError::BadLabel { row, label, expected: "a class needs a name" });
    }
    let classes = dataset.classes();
    if let [class] = classes.as_slice() {
        return Err(TrainError::OneClass { class: class.clone() });
    }
    if classes.len() > CLASSES_MAX {
        return Err(TrainError::TooManyClasses { classes: classes.len(), limit: CLASSES_MAX });
    }
    Ok((Targets::Classes(class_indices(dataset, &classes)), classes))
}

/// The index in `classes` of each row's label.
pub(crate) fn class_indices(dataset: &Dataset, classes: &[String]) -> Vec<usize> {
    let index: std::collections::HashMap<&str, usize> =
        classes.iter().enumerate().map(|(index, class)| (class.as_str(), index)).collect();
    dataset.labels.iter().map(|label| index[label.as_str()]).collect()
}

fn number_targets(dataset: &Dataset) -> Result<Vec<f64>, TrainError> {
    let number = |(row, label): (usize, &String)| match label.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value.abs() <= f64::from(f32::MAX) => Ok(value),
        _ => Err(TrainError::BadLabel {
            row,
            label: label.clone(),
            expected: "a regression needs a finite number",
        }),
    };
    dataset.labels.iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(rows: &[([f32; 2], &str)]) -> Dataset {
        let mut dataset = Dataset::with_columns(vec!["x".into(), "y".into()]);
        for (row, label) in rows {
            dataset.push(row, *label).unwrap();
        }
        dataset
    }

    fn check(rows: &[([f32; 2], &str)], task: Task, expect: &TrainError) {
        assert_eq!(&Table::new(&dataset(rows), task, MissingValues::Refused).unwrap_err(), expect);
    }

    #[test]
    fn refusals_say_where() {
        let nan = TrainError::Missing { row: 1, feature: "y".into() };
        check(&[([0.0, 0.0], "a"), ([0.0, f32::NAN], "b")], Task::Classification, &nan);
        let infinite = TrainError::Infinite { row: 0, feature: "x".into() };
        check(&[([f32::INFINITY, 0.0], "a")], Task::Classification, &infinite);
        check(&[([0.0, 0.0], "a")], Task::Classification, &TrainError::OneClass { class: "a".into() });
        check(&[], Task::Classification, &TrainError::NoRows);
        let empty = TrainError::BadLabel { row: 1, label: " ".into(), expected: "a class needs a name" };
        check(&[([0.0, 0.0], "a"), ([0.0, 0.0], " ")], Task::Classification, &empty);
        for label in ["NaN", "inf", "much", "1e300"] {
            let expected = "a regression needs a finite number";
            let error = TrainError::BadLabel { row: 0, label: label.into(), expected };
            check(&[([0.0, 0.0], label)], Task::Regression, &error);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let no_width = Dataset { labels: vec!["a".into()], ..Dataset::default() };
        let refused = |dataset: &Dataset| {
            Table::new(dataset, Task::Classification, MissingValues::Refused).unwrap_err()
        };
        assert_eq!(refused(&no_width), TrainError::NoFeatures);
        let mut ragged = dataset(&[([0.0, 0.0], "a"), ([1.0, 1.0], "b")]);
        ragged.values.pop();
        assert_eq!(refused(&ragged), TrainError::Ragged { rows: 2, width: 2, values: 3 });
    }
}
