//! What a column holds, in figures: counts of every kind of cell, moments, quantiles, frequent values.
//!
//! Exact, from the cells themselves: a file that was read is in memory anyway. Sketches are for devices.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Cell, Column, Kind, Table};

/// Frequent values that are named.
const FREQUENT_MAX: usize = 8;
/// Quantiles that are given, in percent.
const PERCENTS: [(u8, &str); 7] =
    [(1, "p1"), (5, "p5"), (25, "p25"), (50, "p50"), (75, "p75"), (95, "p95"), (99, "p99")];

/// A column in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Its name.
    pub column: String,
    /// `numbers`, `categories`, `times` or `empty`.
    pub kind: &'static str,
    /// Cells.
    pub n: usize,
    /// Cells without a value.
    pub missing: usize,
    /// Cells of a column of numbers that hold something else.
    pub not_numbers: usize,
    /// Cells of -inf and +inf.
    pub infinite: [usize; 2],
    /// Distinct values, missing apart.
    pub distinct: usize,
    /// Figures of a column of numbers, over its finite values.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
    /// The most frequent values of any other column, the most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frequent: Vec<Frequent>,
    /// The first and the last value of a column of times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<[String; 2]>,
}

/// Figures of finite numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation, over n.
    pub sd: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Values equal to zero.
    pub zeros: usize,
    /// Quantiles by linear interpolation (type 7 of R. Hyndman and Y. Fan, The American Statistician 50, 1996).
    pub quantiles: Vec<Quantile>,
}

/// One quantile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quantile {
    /// Such as `p50`, the median.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// A frequent value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frequent {
    /// What the cells show.
    pub value: String,
    /// How many.
    pub n: usize,
}

/// The word for a kind.
#[must_use]
pub const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Numbers => "numbers",
        Kind::Categories => "categories",
        Kind::Times => "times",
        Kind::Empty => "empty",
    }
}

/// Every column of `table` in figures.
#[must_use]
pub fn describe(table: &Table) -> Vec<Description> {
    table.columns().iter().map(describe_column).collect()
}

fn describe_column(column: &Column) -> Description {
    let cells = column.cells();
    let kind = column.kind(0..cells.len());
    let count = |is: &dyn Fn(Cell) -> bool| cells.iter().filter(|cell| is(**cell)).count();
    let infinite = |sign: f64| count(&|cell| cell.as_number() == Some(sign * f64::INFINITY));
    let mut counts: HashMap<Cell, usize> = HashMap::new();
    cells.iter().filter(|cell| !cell.is_missing()).for_each(|cell| *counts.entry(*cell).or_default() += 1);
    let listed = kind == Kind::Categories;
    Description {
        column: column.name().to_owned(),
        kind: kind_word(kind),
        n: cells.len(),
        missing: count(&Cell::is_missing),
        not_numbers: if kind == Kind::Numbers { count(&|cell| cell.as_text().is_some()) } else { 0 },
        infinite: if kind == Kind::Numbers { [infinite(-1.0), infinite(1.0)] } else { [0, 0] },
        distinct: counts.len(),
        numbers: (kind == Kind::Numbers).then(|| numbers(cells)).flatten(),
        frequent: if listed { frequent(column, counts) } else { Vec::new() },
        span: (kind == Kind::Times).then(|| span(column)).flatten(),
    }
}

/// How many different values there are, missing ones apart.
pub(super) fn distinct(cells: &[Cell]) -> usize {
    let values: HashSet<Cell> = cells.iter().copied().filter(|cell| !cell.is_missing()).collect();
    values.len()
}

/// The finite numbers among `cells`, ascending.
pub(super) fn sorted(cells: &[Cell]) -> Vec<f64> {
    let finite = cells.iter().filter_map(|cell| cell.as_number()).filter(|value| value.is_finite());
    let mut values: Vec<f64> = finite.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn numbers(cells: &[Cell]) -> Option<Numbers> {
    let values = sorted(cells);
    let (min, max) = (*values.first()?, *values.last()?);
    let n = values.len() as f64;
    let mean = values.iter().map(|value| value / n).sum::<f64>();
    let variance = values.iter().map(|value| (value - mean).powi(2) / n).sum::<f64>();
    let quantiles = PERCENTS
        .iter()
        .map(|(percent, name)| Quantile { name, value: quantile(&values, f64::from(*percent) / 100.0) });
    Some(Numbers {
        mean,
        sd: variance.sqrt(),
        min,
        max,
        zeros: values.iter().filter(|value| **value == 0.0).count(),
        quantiles: quantiles.collect(),
    })
}

/// A quantile of ascending values, of which there is at least one.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

fn frequent(column: &Column, counts: HashMap<Cell, usize>) -> Vec<Frequent> {
    let named = |(cell, n): (Cell, usize)| Some(Frequent { value: column.show(cell)?.into_owned(), n });
    let mut frequent: Vec<Frequent> = counts.into_iter().filter_map(named).collect();
    frequent.sort_by(|a, b| b.n.cmp(&a.n).then_with(|| a.value.cmp(&b.value)));
    frequent.truncate(FREQUENT_MAX);
    frequent
}

fn span(column: &Column) -> Option<[String; 2]> {
    let rows = column.cells().len();
    let first = (0..rows).find_map(|row| column.shown(row))?.into_owned();
    let last = (0..rows).rev().find_map(|row| column.shown(row))?.into_owned();
    Some([first, last])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe_csv(csv: &str) -> Vec<Description> {
        let table = crate::table::delimited::read("t.csv", csv.as_bytes(), crate::table::Selection::All);
        describe(&table.unwrap())
    }

    #[test]
    fn numbers_have_moments_and_quantiles() {
        let rows: String = (1..=5).map(|value| format!("{value}\n")).collect();
        let found = describe_csv(&format!("x\n{rows}{rows}{rows}{rows}inf\nNA\n-\nodd\n"));
        let column = &found[0];
        assert_eq!((column.n, column.missing, column.not_numbers, column.distinct), (24, 2, 1, 7));
        assert_eq!(column.infinite, [0, 1]);
        let numbers = column.numbers.as_ref().unwrap();
        assert_eq!((numbers.mean, numbers.min, numbers.max, numbers.zeros), (3.0, 1.0, 5.0, 0));
        assert!((numbers.sd - 2_f64.sqrt()).abs() < 1e-12);
        let medians: Vec<f64> =
            numbers.quantiles.iter().filter(|q| q.name == "p50").map(|q| q.value).collect();
        assert_eq!(medians, [3.0]);
    }

    #[test]
    fn other_columns_name_their_values() {
        let found = describe_csv("d,c,e\n2020-01-01,a,\n2020-01-02,b,\n2020-01-03,a,\n");
        assert_eq!(found[0].span.as_ref().unwrap(), &["2020-01-01", "2020-01-03"]);
        let frequent = &found[1].frequent;
        assert_eq!((frequent[0].value.as_str(), frequent[0].n, frequent.len()), ("a", 2, 2));
        assert_eq!((found[2].kind, found[2].missing), ("empty", 3));
        assert!(describe_csv("x\n")[0].numbers.is_none());
    }

    #[test]
    fn vast_numbers_have_a_mean() {
        let found = describe_csv("x\n1e308\n1e308\n1e308\n");
        assert!((found[0].numbers.as_ref().unwrap().mean / 1e308 - 1.0).abs() < 1e-9);
    }
}
