//! Why training cannot start or cannot finish, and what to do next.

/// Training was refused or failed.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum TrainError {
    /// The table has no row.
    #[error("there are no rows to train on; check the data source and its filters")]
    NoRows,
    /// The table has no feature column.
    #[error("the data has no feature columns; keep at least one column besides the label")]
    NoFeatures,
    /// `values` does not hold rows x width numbers.
    #[error("{rows} rows of {width} features need {} values but there are {values}; rebuild the table", rows * width)]
    Ragged {
        /// Rows by the labels.
        rows: usize,
        /// Feature columns.
        width: usize,
        /// Values present.
        values: usize,
    },
    /// More values than the embedded trainer takes.
    #[error(
        "{values} values are more than the {limit} the embedded trainer takes; sample the rows or train with a command"
    )]
    TooLarge {
        /// Values present.
        values: usize,
        /// The limit.
        limit: usize,
    },
    /// Only one class is present.
    #[error("every row has the label '{class}'; a classifier needs rows of at least two classes")]
    OneClass {
        /// The class.
        class: String,
    },
    /// More classes than a classifier takes.
    #[error(
        "{classes} distinct labels are more than the {limit} a classifier takes; for numbers set task = \"regression\""
    )]
    TooManyClasses {
        /// Distinct labels.
        classes: usize,
        /// The limit.
        limit: usize,
    },
    /// A feature value is missing and the algorithm cannot use it.
    #[error(
        "row {row}, feature '{feature}' is missing (NaN); fill it, drop the row, or use algorithm = \"gbdt\""
    )]
    Missing {
        /// The row, from 0.
        row: usize,
        /// The column's name.
        feature: String,
    },
    /// A feature value is infinite.
    #[error("row {row}, feature '{feature}' is infinite; clip it or drop the row")]
    Infinite {
        /// The row, from 0.
        row: usize,
        /// The column's name.
        feature: String,
    },
    /// A label is empty, not a number where one is needed, or not finite.
    #[error("row {row} has the label '{label}'; {expected}; correct or drop the row")]
    BadLabel {
        /// The row, from 0.
        row: usize,
        /// The label.
        label: String,
        /// What a label has to be.
        expected: &'static str,
    },
    /// A parameter is out of range.
    #[error("{parameter} = {value} is out of range; it has to be {expected}")]
    BadParameter {
        /// The parameter's name in the file.
        parameter: &'static str,
        /// What it was.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// The loss stopped being a number.
    #[error("training diverged in epoch {epoch}; lower learning_rate or check the data for extreme values")]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
    },
    /// The normal equations have no unique solution.
    #[error("the features are too strongly dependent on each other for l2 = {l2}; raise l2")]
    Singular {
        /// The penalty used.
        l2: f64,
    },
}
