//! Two tables, column by column: how far each moved, which to look at first, what is new and what is gone.
//!
//! Numbers are compared over the cells of a monitor's reference that is fitted on the first table, so that the values are
//! those a device would report; categories over all their names. Effect sizes only: an alarm is a detector's business.

use std::collections::{BTreeMap, HashMap};

use edgeward_monitor::{
    Blamed, FitError, MAX_CLASSES, MAX_REFERENCE_ROWS, Profile, ProfileError, Reference, Sample, StreamDrift,
    blame,
};
use serde::Serialize;

use super::describe::{quantile, sorted};
use super::streams::{Encoded, Encoding, EncodingError, How, LeftOut, OTHERS, matrix};
use super::{Cell, Column, Table};

/// Bars of a column of numbers.
const BARS: usize = 32;
/// Bars of a column of categories, that of all others apart.
const NAMED_BARS_MAX: usize = 12;
/// New and missing categories that are named.
const NAMED_MAX: usize = 10;
/// Share of the values beyond the outermost bars on each side.
const BEYOND: f64 = 0.005;

/// Tables that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Nothing of them can be watched.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// No reference follows from the first.
    #[error("cannot fit the reference")]
    Fit(#[from] FitError),
    /// The counts do not belong together.
    #[error("cannot compare with the reference")]
    Profile(#[from] ProfileError),
}

/// What became of every column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Columns of both tables, the most to blame first.
    pub features: Vec<ColumnDrift>,
    /// Columns that moved, the most to blame first.
    pub blame: Vec<Blamed>,
    /// Columns that only the reference has.
    pub only_in_reference: Vec<String>,
    /// Columns that only the current table has.
    pub only_in_current: Vec<String>,
    /// Columns that are not compared.
    pub left_out: Vec<LeftOut>,
}

/// How far one column moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnDrift {
    /// The column.
    pub feature: String,
    /// `numbers` or `categories`.
    pub kind: &'static str,
    /// Share of the reference's cells without a value.
    pub reference_missing: f64,
    /// Share of the current cells without a value.
    pub current_missing: f64,
    /// Current cells that are no number, in a column of numbers.
    pub not_numbers: u64,
    /// Categories that the reference does not have; at most the ten most frequent.
    pub new_categories: Vec<String>,
    /// Categories that only the reference has; at most the ten most frequent.
    pub missing_categories: Vec<String>,
    /// The effect sizes.
    #[serde(flatten)]
    pub drift: StreamDrift,
    /// Both distributions, for a drawing.
    #[serde(skip)]
    pub bars: Vec<Bar>,
}

/// The share of both tables in one bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// Share of the reference's values, 0 to 1.
    pub reference: f64,
    /// Share of the current values, 0 to 1.
    pub current: f64,
}

/// Compares the columns called `wanted`, or every one that can be, of two tables.
///
/// # Errors
/// Nothing can be compared.
pub fn compare(reference: &Table, current: &Table, wanted: &[String]) -> Result<Comparison, CompareError> {
    let encoding = Encoding::learn(reference, 0..reference.rows(), wanted)?;
    let names = |of: &Table, other: &Table| {
        let absent = |column: &&Column| other.column(column.name()).is_none();
        of.columns().iter().filter(absent).map(|column| column.name().to_owned()).collect::<Vec<_>>()
    };
    let mut features = Vec::new();
    for encoded in encoding.columns() {
        let pair = reference.column(&encoded.column).zip(current.column(&encoded.column));
        if let Some(((_, reference), (_, current))) = pair {
            features.push(column_drift(encoded, reference, current)?);
        }
    }
    let drifts: Vec<StreamDrift> = features.iter().map(|feature| feature.drift.clone()).collect();
    let blame = blame(&drifts, &BTreeMap::new());
    let rank =
        |feature: &ColumnDrift| blame.iter().position(|b| b.stream == feature.feature).unwrap_or(usize::MAX);
    features.sort_by_cached_key(rank);
    Ok(Comparison {
        features,
        only_in_reference: names(reference, current),
        only_in_current: names(current, reference),
        left_out: encoding.left_out().to_vec(),
        blame,
    })
}

fn column_drift(
    encoded: &Encoded,
    reference: &Column,
    current: &Column,
) -> Result<ColumnDrift, CompareError> {
    match &encoded.how {
        How::Number { offset, scale } => numbers(reference, current, *offset, *scale),
        How::Categories(_) => categories(reference, current),
    }
}

fn shares_missing(column: &Column) -> f64 {
    let missing = column.cells().iter().filter(|cell| cell.is_missing()).count();
    missing as f64 / column.cells().len().max(1) as f64
}

fn numbers(
    reference: &Column,
    current: &Column,
    offset: f64,
    scale: f64,
) -> Result<ColumnDrift, CompareError> {
    let name = vec![reference.name().to_owned()];
    let values = |column: &Column| matrix(&[(column, offset, scale)], column.cells().len());
    let sample = |value| Sample { features: std::slice::from_ref(value), predicted: None, confidence: None };
    let (past, now) = (values(reference)?, values(current)?);
    let fitted = Reference::fit(&name, &[], thinned(&past).map(sample))?;
    let mut profile = Profile::new(&fitted);
    for value in &now {
        profile.observe(&fitted, &sample(value))?;
    }
    let mut drift = profile.drift(&fitted)?.swap_remove(0);
    in_own_unit(&mut drift, offset, scale);
    Ok(ColumnDrift {
        kind: "numbers",
        not_numbers: current.cells().iter().filter(|cell| cell.as_text().is_some()).count() as u64,
        new_categories: Vec::new(),
        missing_categories: Vec::new(),
        bars: number_bars(&sorted(reference.cells()), &sorted(current.cells())),
        ..described(reference, current, drift)
    })
}

fn described(reference: &Column, current: &Column, drift: StreamDrift) -> ColumnDrift {
    ColumnDrift {
        feature: reference.name().to_owned(),
        kind: "categories",
        reference_missing: shares_missing(reference),
        current_missing: shares_missing(current),
        not_numbers: 0,
        new_categories: Vec::new(),
        missing_categories: Vec::new(),
        drift,
        bars: Vec::new(),
    }
}

/// At most as many cells, evenly spread, as a reference is fitted on.
fn thinned<T>(cells: &[T]) -> impl Iterator<Item = &T> {
    cells.iter().step_by(cells.len().div_ceil(MAX_REFERENCE_ROWS).max(1))
}

/// Numbers that were moved or scaled to fit, and words about them, as the column has them.
fn in_own_unit(drift: &mut StreamDrift, offset: f64, scale: f64) {
    if offset == 0.0 && scale == 1.0 {
        return;
    }
    let own = |value: f64| value * scale + offset;
    drift.mean = drift.mean.map(own);
    drift.reference_mean = drift.reference_mean.map(own);
    drift.wasserstein = drift.wasserstein.map(|distance| distance * scale);
    if let (Some(mean), Some(past), false) = (drift.mean, drift.reference_mean, drift.reasons.is_empty()) {
        drift.reasons = vec![format!("mean {mean:.4}, {past:.4} in the reference")];
    }
}

/// How often each category is there, by name.
fn counts(column: &Column) -> HashMap<String, u64> {
    let mut by_cell: HashMap<Cell, u64> = HashMap::new();
    column.cells().iter().for_each(|cell| *by_cell.entry(*cell).or_default() += 1);
    let mut by_name = HashMap::new();
    for (cell, count) in by_cell {
        if let Some(name) = column.show(cell) {
            *by_name.entry(name.into_owned()).or_default() += count;
        }
    }
    by_name
}

/// Names by falling frequency, then by name.
fn ranked(counts: &HashMap<String, u64>) -> Vec<&String> {
    let mut names: Vec<&String> = counts.keys().collect();
    names.sort_by(|a, b| counts[*b].cmp(&counts[*a]).then_with(|| a.cmp(b)));
    names
}

fn categories(reference: &Column, current: &Column) -> Result<ColumnDrift, CompareError> {
    let (past, now) = (counts(reference), counts(current));
    let mut classes: Vec<String> = ranked(&past).into_iter().take(MAX_CLASSES - 1).cloned().collect();
    let pooled = past.len() > classes.len();
    if pooled {
        classes.push(OTHERS.to_owned());
    }
    let places: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let others = pooled.then(|| classes.len() as u32 - 1);
    let class = |column: &Column, cell: Cell| {
        let name = column.show(cell)?;
        let known = places.get(&*name).copied().or_else(|| others.filter(|_| past.contains_key(&*name)));
        Some(known.unwrap_or(u32::MAX))
    };
    let sample = |predicted| Sample { features: &[], predicted, confidence: None };
    let rows = thinned(reference.cells()).map(|cell| sample(class(reference, *cell)));
    let fitted = Reference::fit(&[], &classes, rows)?;
    let mut profile = Profile::new(&fitted);
    for cell in current.cells() {
        profile.observe(&fitted, &sample(class(current, *cell)))?;
    }
    let drift = StreamDrift { stream: reference.name().to_owned(), ..profile.drift(&fitted)?.swap_remove(0) };
    let only = |of: &HashMap<String, u64>, other: &HashMap<String, u64>| {
        let absent = ranked(of).into_iter().filter(|name| !other.contains_key(*name));
        absent.take(NAMED_MAX).cloned().collect::<Vec<_>>()
    };
    Ok(ColumnDrift {
        new_categories: only(&now, &past),
        missing_categories: only(&past, &now),
        bars: category_bars(&past, &now),
        ..described(reference, current, drift)
    })
}

/// Bars of equal width over all but the outermost values, which count in the bars at the ends.
fn number_bars(reference: &[f64], current: &[f64]) -> Vec<Bar> {
    let edges: Vec<(f64, f64)> = [reference, current]
        .iter()
        .filter(|values| !values.is_empty())
        .map(|values| (quantile(values, BEYOND), quantile(values, 1.0 - BEYOND)))
        .collect();
    let low = edges.iter().map(|edge| edge.0).fold(f64::INFINITY, f64::min);
    let high = edges.iter().map(|edge| edge.1).fold(f64::NEG_INFINITY, f64::max);
    let width = (high / BARS as f64) - (low / BARS as f64);
    if edges.is_empty() || !width.is_finite() {
        return Vec::new();
    }
    let place = |value: f64| {
        if width > 0.0 { ((value - low) / width).clamp(0.0, BARS as f64 - 1.0) as usize } else { 0 }
    };
    let shares = |values: &[f64]| {
        let mut shares = [0.0; BARS];
        values.iter().for_each(|value| shares[place(*value)] += 1.0 / values.len() as f64);
        shares
    };
    let (past, now) = (shares(reference), shares(current));
    let bar = |at: usize| {
        let (from, to) = (low + width * at as f64, low + width * (at + 1) as f64);
        Bar {
            label: format!("{} to {}", rounded(from, width), rounded(to, width)),
            reference: past[at],
            current: now[at],
        }
    };
    (0..if width > 0.0 { BARS } else { 1 }).map(bar).collect()
}

/// A number with as many digits as tell it from one a bar farther.
fn rounded(value: f64, width: f64) -> String {
    let digits = if width > 0.0 { (1.0 - width.log10()).ceil().clamp(0.0, 12.0) as usize } else { 4 };
    if value.abs() >= 1e15 { format!("{value:.4e}") } else { format!("{value:.digits$}") }
}

fn category_bars(past: &HashMap<String, u64>, now: &HashMap<String, u64>) -> Vec<Bar> {
    let mut both = past.clone();
    now.iter().for_each(|(name, count)| *both.entry(name.clone()).or_default() += count);
    let total = |counts: &HashMap<String, u64>| counts.values().sum::<u64>().max(1) as f64;
    let (past_total, now_total) = (total(past), total(now));
    let share = |counts: &HashMap<String, u64>, name: &String, total: f64| {
        counts.get(name).map_or(0.0, |count| *count as f64 / total)
    };
    let named = |name: &String| Bar {
        label: name.clone(),
        reference: share(past, name, past_total),
        current: share(now, name, now_total),
    };
    let names = ranked(&both);
    let mut bars: Vec<Bar> = names.iter().take(NAMED_BARS_MAX).map(|name| named(name)).collect();
    let rest = names.iter().skip(NAMED_BARS_MAX).map(|name| named(name));
    let rest = rest.fold((0.0, 0.0), |sum, bar| (sum.0 + bar.reference, sum.1 + bar.current));
    if names.len() > NAMED_BARS_MAX {
        bars.push(Bar { label: OTHERS.to_owned(), reference: rest.0, current: rest.1 });
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(csv: &str) -> Table {
        crate::table::delimited::read("t.csv", csv.as_bytes(), crate::table::Selection::All).unwrap()
    }

    fn rows(header: &str, line: impl Fn(usize) -> String) -> Table {
        table(&format!("{header}\n{}", (0..400).map(|row| line(row) + "\n").collect::<String>()))
    }

    #[test]
    fn what_moved_comes_first_and_is_named() {
        let reference =
            rows("a,b,c,old", |row| format!("{},{},{},1", row % 7, row % 11, ["x", "y"][row % 2]));
        let current =
            rows("c,a,b,new", |row| format!("{},{},{},1", ["y", "z"][row % 2], row % 7, row % 11 + 6));
        let found = compare(&reference, &current, &[]).unwrap();
        let order: Vec<&str> = found.features.iter().map(|feature| feature.feature.as_str()).collect();
        assert_eq!(order, ["b", "c", "a"]);
        assert_eq!(found.blame.len(), 2);
        let c = &found.features[1];
        assert_eq!(
            (c.new_categories.as_slice(), c.missing_categories.as_slice()),
            (&["z".to_owned()][..], &["x".to_owned()][..])
        );
        assert_eq!((c.drift.outside, c.drift.kolmogorov_smirnov), (200, None));
        assert!(found.features[0].drift.psi.unwrap() > 0.5 && found.features[2].drift.effect == 0.0);
        assert_eq!(
            (&found.only_in_reference[..], &found.only_in_current[..]),
            (&["old".to_owned()][..], &["new".to_owned()][..])
        );
    }

    #[test]
    fn huge_numbers_are_compared_in_their_own_unit() {
        let huge = |shift: u64| {
            rows("x,y", move |row| {
                format!("{},{}", 9_007_199_254_000_000_u64 + shift + row as u64 % 50, row % 3)
            })
        };
        let found = compare(&huge(0), &huge(10), &[]).unwrap();
        let x = &found.features[0];
        assert!((x.drift.wasserstein.unwrap() - 10.0).abs() < 3.0, "{:?}", x.drift);
        assert!(x.drift.mean.unwrap() > 9e15 && x.drift.reasons[0].contains("in the reference"));
    }

    #[test]
    fn bars_add_up_and_faults_are_counted() {
        let reference = rows("x", |row| (row % 90).to_string());
        let current =
            rows("x", |row| if row % 40 == 0 { "odd".to_owned() } else { format!("{}", row % 90 + 5) });
        let found = compare(&reference, &current, &[]).unwrap();
        let x = &found.features[0];
        assert_eq!((x.bars.len(), x.not_numbers), (BARS, 10));
        let sums = x.bars.iter().fold((0.0, 0.0), |sum, bar| (sum.0 + bar.reference, sum.1 + bar.current));
        assert!((sums.0 - 1.0).abs() < 1e-9 && (sums.1 - 1.0).abs() < 1e-9, "{sums:?}");
        let constant = rows("x", |_| "7".to_owned());
        assert_eq!(compare(&constant, &constant, &[]).unwrap().features[0].bars.len(), 1);
    }

    #[test]
    fn more_categories_than_classes_are_pooled() {
        let line = |row: usize| (0..20).map(|at| format!("name-{}\n", row * 20 + at)).collect::<String>();
        let many = table(&format!("c\n{}", (0..400).map(line).collect::<String>()));
        let found = compare(&many, &many, &[]).unwrap();
        let c = &found.features[0];
        assert_eq!((c.drift.effect, c.new_categories.len(), c.bars.len()), (0.0, 0, NAMED_BARS_MAX + 1));
    }
}
