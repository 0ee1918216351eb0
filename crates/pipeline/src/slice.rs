//! Parts of the data by a column: its values where there are few, quarters of its range of ranks where there are many.

use std::collections::BTreeSet;

use edgeward_core::Dataset;

use crate::gates::SliceColumn;

/// Most values of a column that are parts of their own.
const VALUES_MAX: usize = 12;
/// Parts of a column with more.
const QUANTILES: usize = 4;

/// Which part of `column` each row is in.
///
/// # Errors
/// There is no such column, in words.
pub fn slice(rows: &Dataset, column: &str) -> Result<SliceColumn, String> {
    let at = rows.feature_names.iter().position(|name| name == column).ok_or_else(|| {
        format!("[gate] slices names '{column}', which is no feature; the features are {}", listed(rows))
    })?;
    let values: Vec<f32> = rows.rows().map(|(row, _)| row[at]).collect();
    let distinct: BTreeSet<u32> = values.iter().map(|value| value.to_bits()).collect();
    let parts = match distinct.len() <= VALUES_MAX {
        true => values.iter().map(ToString::to_string).collect(),
        false => quarters(&values),
    };
    Ok(SliceColumn { name: column.to_owned(), parts })
}

fn listed(rows: &Dataset) -> String {
    let known: Vec<&str> = rows.feature_names.iter().take(VALUES_MAX).map(String::as_str).collect();
    let more = if rows.width() > VALUES_MAX { ", ..." } else { "" };
    format!("{}{more}", known.join(", "))
}

/// Named by the values they lie between; equal values are in one part.
fn quarters(values: &[f32]) -> Vec<String> {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f32::total_cmp);
    let bound = |quantile: usize| sorted[(sorted.len() * quantile / QUANTILES).min(sorted.len() - 1)];
    let bounds: Vec<f32> = (1..QUANTILES).map(bound).collect();
    let part = |value: &f32| match bounds.iter().position(|bound| value < bound) {
        _ if value.is_nan() => "missing".to_owned(),
        Some(0) => format!("below {}", bounds[0]),
        Some(part) => format!("{} to {}", bounds[part - 1], bounds[part]),
        None => format!("from {}", bounds[QUANTILES - 2]),
    };
    values.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: impl Iterator<Item = f32>) -> Dataset {
        let mut rows = Dataset::with_columns(vec!["site".to_owned()]);
        values.for_each(|value| rows.push(&[value], "a").unwrap());
        rows
    }

    #[test]
    fn few_values_are_parts_and_many_are_quartered() {
        let few = slice(&rows((0..9).map(|n| (n % 3) as f32)), "site").unwrap();
        assert_eq!(few.parts[..4], ["0", "1", "2", "0"]);
        let many = slice(&rows((0..100).map(|n| n as f32)), "site").unwrap();
        let names: BTreeSet<&String> = many.parts.iter().collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["25 to 50", "50 to 75", "below 25", "from 75"]);
        assert_eq!(many.parts.iter().filter(|part| *part == "below 25").count(), 25);
    }

    #[test]
    fn a_column_that_is_not_there_is_named() {
        let error = slice(&rows([1.0].into_iter()), "sites").unwrap_err();
        assert_eq!(error, "[gate] slices names 'sites', which is no feature; the features are site");
    }
}
