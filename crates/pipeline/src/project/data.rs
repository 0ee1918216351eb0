//! `[data]` and `[validate]`: what is learned from, and what it must be like.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Span;

/// What a model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One of the classes in the label column.
    Classification,
    /// The number in the label column.
    Regression,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataTable {
    /// The bucket in which the data lies; the project's folder if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Patterns of CSV files, relative to the project's folder or to the bucket.
    pub files: Vec<String>,
    /// Name of the label column.
    #[serde(default = "default_label")]
    pub label: String,
    /// Whether samples that devices captured and people labelled are added.
    #[serde(default)]
    pub captured: bool,
    /// Name of the column that says when a row was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Name of the column that says whom or what a row is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only the newest rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Only rows with this feature between these two values, ends included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, [f64; 2]>,
    /// Share of the rows held out for evaluation.
    #[serde(default = "default_holdout")]
    pub holdout: f64,
    /// What decides which.
    #[serde(default)]
    pub split: SplitBy,
    /// Whether each class gets its share of the rows held out.
    #[serde(default)]
    pub stratify: bool,
    /// Rows this long before those held out by time are not learned from.
    #[serde(default = "no_gap")]
    pub gap: Span,
    /// What the label column holds; implied by the trainer if absent.
    pub task: Option<TaskKind>,
}

fn default_label() -> String {
    "label".to_owned()
}

const fn no_gap() -> Span {
    Span::seconds(0)
}

const fn default_holdout() -> f64 {
    0.25
}

/// What decides which rows are held out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// A row's values, by their hash.
    #[default]
    Row,
    /// Whom or what it is about: a group is on one side as a whole.
    Group,
    /// When it was: the newest.
    Time,
}

/// The newest rows: so many, or those of the last days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of rows, such as 5000, or a duration, such as \"30d\"")]
pub enum Window {
    /// So many.
    Rows(usize),
    /// Those that are not older than the newest by this much.
    Time(Span),
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Time(span) => write!(f, "{span}"),
        }
    }
}

/// `[validate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidateTable {
    /// Fewest rows.
    pub rows_min: u64,
    /// Fewest rows of each class.
    pub rows_per_class_min: u64,
    /// Largest share of missing values.
    pub missing_max: f64,
    /// What every value must lie in.
    pub range: Option<[f64; 2]>,
    /// Most inputs that carry several labels (all their rows are dropped).
    pub label_conflicts_max: Option<u64>,
    /// The file that says what the data must be like; inferred where it is not there.
    pub schema: Option<String>,
    /// Largest population stability index of a feature against the reference of the model that serves.
    pub drift_max: Option<f64>,
}

impl Default for ValidateTable {
    fn default() -> Self {
        Self {
            rows_min: 1,
            rows_per_class_min: 2,
            missing_max: 0.0,
            range: None,
            label_conflicts_max: None,
            schema: None,
            drift_max: None,
        }
    }
}
