//! A labelled table in memory: what training, validation and evaluation pass around.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Rows of numeric features with one label each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// One name per column.
    pub feature_names: Vec<String>,
    /// `rows x width` values, row after row. A missing value is NaN.
    pub values: Vec<f32>,
    /// One label per row: a class name, or a number written as text for regression.
    pub labels: Vec<String>,
}

/// Rows that do not fit the table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a row has {found} values but the table has {expected} columns")]
pub struct WidthMismatch {
    expected: usize,
    found: usize,
}

impl Dataset {
    /// A table with these columns and no row.
    #[must_use]
    pub fn with_columns(feature_names: Vec<String>) -> Self {
        Self { feature_names, ..Self::default() }
    }

    /// Number of columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.feature_names.len()
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The values of row `index`.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width()..(index + 1) * self.width()]
    }

    /// Every row with its label.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], &str)> {
        (0..self.len()).map(|index| (self.row(index), self.labels[index].as_str()))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The row's width differs from the table's.
    pub fn push(&mut self, row: &[f32], label: impl Into<String>) -> Result<(), WidthMismatch> {
        if row.len() != self.width() {
            return Err(WidthMismatch { expected: self.width(), found: row.len() });
        }
        self.values.extend_from_slice(row);
        self.labels.push(label.into());
        Ok(())
    }

    /// The rows at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut picked = Self::with_columns(self.feature_names.clone());
        for &index in indices {
            picked.values.extend_from_slice(self.row(index));
            picked.labels.push(self.labels[index].clone());
        }
        picked
    }

    /// The distinct labels: numbers in numeric order first, then texts in byte order.
    #[must_use]
    pub fn classes(&self) -> Vec<String> {
        let mut classes = self.labels.clone();
        classes.sort_by(|a, b| label_order(a).total_cmp(&label_order(b)).then_with(|| a.cmp(b)));
        classes.dedup();
        classes
    }

    /// What row `index` is, whatever its label: the digest of its values. Equal inputs are equal, so a
    /// split by this digest never puts one input on both sides.
    #[must_use]
    pub fn row_digest(&self, index: usize) -> Digest {
        row_digest(self.row(index))
    }
}

/// The digest of one row of values (little-endian f32 bytes).
#[must_use]
pub fn row_digest(row: &[f32]) -> Digest {
    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    Digest::of(&bytes)
}

fn label_order(label: &str) -> f64 {
    label.parse().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_sort_as_people_count() {
        let labels = ["10", "9", "b", "a", "9"].map(str::to_owned).to_vec();
        let table = Dataset { labels, ..Dataset::default() };
        assert_eq!(table.classes(), ["9", "10", "a", "b"]);
    }

    #[test]
    fn select_keeps_order() {
        let mut table = Dataset::with_columns(vec!["x".into(), "y".into()]);
        table.push(&[1.0, 2.0], "a").unwrap();
        table.push(&[3.0, 4.0], "b").unwrap();
        assert_eq!(table.push(&[1.0], "c"), Err(WidthMismatch { expected: 2, found: 1 }));
        let picked = table.select(&[1, 0]);
        assert_eq!(picked.values, [3.0, 4.0, 1.0, 2.0]);
        assert_eq!(picked.labels, ["b", "a"]);
    }
}
