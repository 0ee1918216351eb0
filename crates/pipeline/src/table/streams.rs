//! What can be watched of a table: columns of numbers, and columns of categories.
//!
//! Learned on the rows of a reference and then applied to any rows. Numbers that single precision cannot tell apart, or
//! hold, are moved and scaled first. Of categories the [`CATEGORIES_MAX`] most frequent are watched one by one and all
//! others, those that never were included, as one; so a column in which every text is different stays quiet.
//!
//! Left out unless asked for by name: the column that says when, other columns of times, columns that count rows or only
//! ever rise, and columns without a value.

use std::collections::HashMap;
use std::ops::Range;

use edgeward_monitor::MAX_STREAMS;
use serde::Serialize;

use super::{Cell, Column, Kind, Table};

/// Most categories of a column that are watched one by one.
pub const CATEGORIES_MAX: usize = 30;
/// Rows of the reference that make a category frequent.
pub const CATEGORY_ROWS_MIN: usize = 5;
/// Most values of an encoded table.
pub const VALUES_MAX: usize = 1 << 28;
/// Name of all categories that are not watched one by one.
pub const OTHERS: &str = "(others)";
/// Numbers that are larger than this many of their ranges lose the difference between them in single precision.
const RANGES_MAX: f64 = 65_536.0;
/// Numbers beyond are scaled, for single precision ends at 3.4e38.
const MAGNITUDE_MAX: f64 = 1e30;

/// A table that nothing can be watched of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// A column that was asked for says when a row was, or nothing.
    #[error("the column '{name}' {reason}: it cannot be watched")]
    Unfit {
        /// The column.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No column is left.
    #[error("no column can be watched: {left_out}")]
    Nothing {
        /// What was left out, and why.
        left_out: String,
    },
    /// More columns than a monitor holds, or more values than fit into memory.
    #[error("{columns} columns of {rows} rows are too many; name fewer of them")]
    TooLarge {
        /// How many columns.
        columns: usize,
        /// How many rows.
        rows: usize,
    },
}

/// A column that is not watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub column: String,
    /// Why.
    pub reason: &'static str,
}

/// How columns become streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    columns: Vec<Encoded>,
    time: Option<String>,
    left_out: Vec<LeftOut>,
}

/// How one column becomes streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The column's name.
    pub column: String,
    /// How.
    pub how: How,
}

/// What a column's streams are.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// As `(value - offset) / scale`.
    Number {
        /// What is taken off.
        offset: f64,
        /// What the rest is divided by.
        scale: f64,
    },
    /// One of these, or another one.
    Categories(Vec<String>),
}

impl Encoding {
    /// Learns from `rows` of `table`: of the columns called `wanted`, or of every one if that is empty.
    ///
    /// # Errors
    /// A wanted column cannot be watched, none is left, or there are too many.
    pub fn learn(table: &Table, rows: Range<usize>, wanted: &[String]) -> Result<Self, EncodingError> {
        let time = table
            .time(rows.clone())
            .filter(|at| !wanted.iter().any(|name| name == table.columns[*at].name()));
        let mut encoding = Self { columns: Vec::new(), time: None, left_out: Vec::new() };
        encoding.time = time.map(|at| table.columns[at].name().to_owned());
        for (_, column) in table.columns.iter().enumerate().filter(|(at, _)| Some(*at) != time) {
            let asked = wanted.iter().any(|name| name == column.name());
            if asked || wanted.is_empty() {
                encoding.take(column, rows.clone(), asked)?;
            }
        }
        if encoding.columns.is_empty() {
            return Err(EncodingError::Nothing { left_out: encoding.excuses() });
        }
        match encoding.columns.len() + 2 > MAX_STREAMS {
            true => Err(EncodingError::TooLarge { columns: encoding.columns.len(), rows: table.rows }),
            false => Ok(encoding),
        }
    }

    fn take(&mut self, column: &Column, rows: Range<usize>, asked: bool) -> Result<(), EncodingError> {
        let name = column.name().to_owned();
        let reason = match column.kind(rows.clone()) {
            Kind::Numbers if !asked && column.counts_rows(rows.clone()) => "counts the rows",
            Kind::Numbers if !asked && column.keeps_rising(rows.clone()) => "only ever rises",
            Kind::Numbers => {
                self.columns.push(Encoded { column: name, how: number(column, rows) });
                return Ok(());
            }
            Kind::Categories => {
                self.columns.push(Encoded { column: name, how: How::Categories(frequent(column, rows)) });
                return Ok(());
            }
            Kind::Times => "holds times",
            Kind::Empty => "has no value in the reference",
        };
        match asked {
            true => Err(EncodingError::Unfit { name, reason }),
            false => {
                self.left_out.push(LeftOut { column: name, reason });
                Ok(())
            }
        }
    }

    fn excuses(&self) -> String {
        let time = self.time.iter().map(|name| format!("'{name}' says when"));
        let others = self.left_out.iter().map(|left| format!("'{}' {}", left.column, left.reason));
        let all: Vec<String> = time.chain(others).collect();
        if all.is_empty() { "there is none".to_owned() } else { all.join(", ") }
    }

    /// The columns that are watched.
    #[must_use]
    pub fn columns(&self) -> &[Encoded] {
        &self.columns
    }

    /// The column that says when.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    /// The columns that are not watched.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }
}

/// The numbers of `columns`, the columns' first row, then its second, and so on; NaN where there is none.
///
/// # Errors
/// There are more than [`VALUES_MAX`] values.
pub fn matrix(columns: &[(&Column, f64, f64)], rows: usize) -> Result<Vec<f32>, EncodingError> {
    let width = columns.len();
    if width.saturating_mul(rows) > VALUES_MAX {
        return Err(EncodingError::TooLarge { columns: width, rows });
    }
    let mut values = vec![f32::NAN; width * rows];
    for (at, (column, offset, scale)) in columns.iter().enumerate() {
        for (row, cell) in values.chunks_exact_mut(width).zip(column.cells()) {
            row[at] = cell.as_number().map_or(f32::NAN, |value| ((value - offset) / scale) as f32);
        }
    }
    Ok(values)
}

/// Which of `names` each cell shows, `names.len()` for any other; none where it is missing.
#[must_use]
pub fn places(column: &Column, names: &[String]) -> Vec<Option<u32>> {
    let mut known = HashMap::new();
    let place = |cell: Cell| {
        let shown = column.show(cell)?;
        Some(names.iter().position(|name| *name == shown).unwrap_or(names.len()) as u32)
    };
    column.cells().iter().map(|cell| *known.entry(*cell).or_insert_with(|| place(*cell))).collect()
}

/// How numbers fit into single precision.
fn number(column: &Column, rows: Range<usize>) -> How {
    let finite =
        column.cells()[rows].iter().filter_map(|cell| cell.as_number()).filter(|value| value.is_finite());
    let (low, high) = finite
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return How::Number { offset: 0.0, scale: 1.0 };
    }
    let magnitude = low.abs().max(high.abs());
    let scale = if magnitude > MAGNITUDE_MAX { magnitude } else { 1.0 };
    let range = high - low;
    let crowded = magnitude > RANGES_MAX && magnitude / RANGES_MAX > range;
    How::Number { offset: if crowded { low + range / 2.0 } else { 0.0 }, scale }
}

/// The most frequent categories, by name.
#[must_use]
pub fn frequent(column: &Column, rows: Range<usize>) -> Vec<String> {
    let mut counts: HashMap<Cell, usize> = HashMap::new();
    for cell in column.cells()[rows].iter().filter(|cell| !cell.is_missing()) {
        *counts.entry(*cell).or_default() += 1;
    }
    let named = |(cell, count)| Some((count, column.show(cell)?.into_owned()));
    let frequent = counts.into_iter().filter(|(_, count)| *count >= CATEGORY_ROWS_MIN);
    let mut ranked: Vec<(usize, String)> = frequent.filter_map(named).collect();
    ranked.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.cmp(right)));
    ranked.truncate(CATEGORIES_MAX);
    ranked.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(csv: &str) -> Table {
        crate::table::delimited::read("t.csv", csv.as_bytes(), crate::table::Selection::All).unwrap()
    }

    fn names(encoding: &Encoding) -> Vec<&str> {
        encoding.columns().iter().map(|encoded| encoded.column.as_str()).collect()
    }

    fn values(csv: &str) -> Vec<f32> {
        let (table, encoding) = (table(csv), learn(csv, &[]).unwrap());
        let How::Number { offset, scale } = encoding.columns()[0].how else { panic!("no numbers") };
        matrix(&[(&table.columns()[0], offset, scale)], table.rows()).unwrap()
    }

    fn learn(csv: &str, wanted: &[&str]) -> Result<Encoding, EncodingError> {
        let table = table(csv);
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        Encoding::learn(&table, 0..table.rows(), &wanted)
    }

    fn rows(line: impl Fn(usize) -> String) -> String {
        (0..40).map(|row| line(row) + "\n").collect()
    }

    #[test]
    fn frequent_categories_have_a_place_and_all_others_share_one() {
        let csv = format!(
            "c\n{}",
            rows(|row| ["a", "b", "a", "rare"][if row == 7 { 3 } else { row % 3 }].to_owned())
        );
        let encoding = learn(&csv, &[]).unwrap();
        let How::Categories(names) = &encoding.columns()[0].how else { panic!("no categories") };
        assert_eq!(names, &["a", "b"]);
        let found = places(&table("c\nb\nnew\n\"\"\na\n").columns()[0], names);
        assert_eq!(found, [Some(1), Some(2), None, Some(0)]);
    }

    #[test]
    fn what_says_when_or_counts_rows_or_is_empty_is_left_out() {
        let csv = format!(
            "Date,id,x,gone\n{}",
            rows(|row| format!("2020-01-{:02},{row},{},", row % 28 + 1, row % 5))
        );
        let encoding = learn(&csv, &[]).unwrap();
        assert_eq!((names(&encoding), encoding.time()), (vec!["x"], Some("Date")));
        let reasons: Vec<&str> = encoding.left_out().iter().map(|left| left.reason).collect();
        assert_eq!(reasons, ["counts the rows", "has no value in the reference"]);
        assert_eq!(names(&learn(&csv, &["id"]).unwrap()), ["id"]);
        let unfit = |name| learn(&csv, &[name]).unwrap_err().to_string();
        assert_eq!(unfit("Date"), "the column 'Date' holds times: it cannot be watched");
        assert!(unfit("gone").contains("has no value in the reference"));
    }

    #[test]
    fn a_running_total_is_left_out() {
        let csv = format!("x,total\n{}", rows(|row| format!("{},{}", row % 5, row * row / 2)));
        let encoding = learn(&csv, &[]).unwrap();
        assert_eq!((names(&encoding), encoding.left_out()[0].reason), (vec!["x"], "only ever rises"));
        assert_eq!(names(&learn(&csv, &["total"]).unwrap()), ["total"]);
    }

    #[test]
    fn the_first_column_may_count_rows_or_hold_an_epoch() {
        let index = format!(",x\n{}", rows(|row| format!("{row},{}", row % 5)));
        assert_eq!(learn(&index, &[]).unwrap().time(), Some("column 1"));
        let epoch = format!(
            "timestamp,x\n{}",
            rows(|row| format!("{},{}", 1_600_000_000 + row * row + row, row % 5))
        );
        assert_eq!(learn(&epoch, &[]).unwrap().time(), Some("timestamp"));
        let price = format!("price,x\n{}", rows(|row| format!("{},{}", row * row + row, row % 5)));
        assert_eq!(learn(&price, &[]).unwrap().time(), None);
    }

    #[test]
    fn huge_numbers_keep_their_differences() {
        let csv =
            format!("x\n{}", rows(|row| (9_007_199_254_740_000_u64 + (row as u64 * 7) % 13).to_string()));
        let values = values(&csv);
        assert_eq!((values[1] - values[0], values[2] - values[1]), (7.0, -6.0));
        let vast = format!("x\n{}", rows(|row| format!("{}e300", row % 5)));
        assert!(self::values(&vast).iter().all(|value| value.is_finite()));
    }

    #[test]
    fn nothing_to_watch_says_why() {
        let only_dates = format!("a,b\n{}", rows(|row| format!("2020-01-{:02},", row % 28 + 1)));
        let said = learn(&only_dates, &[]).unwrap_err().to_string();
        assert_eq!(said, "no column can be watched: 'a' says when, 'b' has no value in the reference");
    }
}
