//! Fitting a reference to rows.
//!
//! Deliberately missing: streaming. A fit happens where the model is trained, sorts each column and may use
//! the memory that takes; [`MAX_REFERENCE_ROWS`] bounds it.

use crate::alternative::Worth;
use crate::bins::{Bins, FIRST_CLASS};
use crate::feature::{self, FeatureKind};
use crate::reference::{CONFIDENCE, MAX_CLASSES, MAX_NAME_BYTES, MAX_STREAMS, Numeric, PREDICTION};
use crate::reference::{Reference, Stream, StreamKind};
use crate::runs::Runs;
use crate::sample::Sample;
use crate::tail::Tails;
use crate::verification::Verification;
use crate::wander;
use crate::whitening::{Filter, Whitening};

/// Most rows a reference is fitted on; more add nothing that 32 bins could show.
pub const MAX_REFERENCE_ROWS: usize = 1 << 20;

/// Rows that no reference follows from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// There is nothing to learn from.
    #[error("no rows to fit a reference on")]
    NoRows,
    /// More than [`MAX_REFERENCE_ROWS`] rows.
    #[error("more than {MAX_REFERENCE_ROWS} rows; pass a random part of them")]
    TooManyRows,
    /// More than [`MAX_STREAMS`] streams, [`MAX_CLASSES`] classes or a name beyond its limit.
    #[error("{what}: {found} is over the limit of {limit}")]
    OverLimit {
        /// What is over its limit.
        what: &'static str,
        /// How many or how long.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A row has another number of features than there are names.
    #[error("row {row} has {found} features, expected {expected}")]
    FeatureCount {
        /// Index of the row.
        row: usize,
        /// Number of names.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// A row predicts a class that has no name.
    #[error("row {row} predicts class {class} of {classes}")]
    ClassOutOfRange {
        /// Index of the row.
        row: usize,
        /// Predicted class index.
        class: u32,
        /// Number of named classes.
        classes: usize,
    },
}

impl Reference {
    /// What the streams of `rows` look like. Name no `classes` for a model that does not classify.
    ///
    /// # Errors
    /// No rows, too many, or rows that do not match the names.
    pub fn fit<'a>(
        feature_names: &[String],
        classes: &[String],
        rows: impl IntoIterator<Item = Sample<'a>>,
    ) -> Result<Self, FitError> {
        let columns = Columns::of(feature_names, classes, rows)?;
        Ok(columns.assemble(feature_names, classes, |_, name, column| numeric_stream(name, column, None)))
    }

    /// The same of features that may be categories.
    ///
    /// # Errors
    /// As [`Reference::fit`].
    pub fn fit_features<'a>(
        features: &[Feature],
        classes: &[String],
        rows: impl IntoIterator<Item = Sample<'a>>,
    ) -> Result<Self, FitError> {
        let names: Vec<String> = features.iter().map(|feature| feature.name.clone()).collect();
        let kinds: Vec<&FeatureKind> = features.iter().map(|feature| &feature.kind).collect();
        let columns = Columns::of(&names, classes, rows)?;
        Ok(columns.assemble(&names, classes, |at, name, column| match kinds.get(at) {
            Some(kind) if **kind != FeatureKind::Number => category_stream(name, kind, &column),
            _ => numeric_stream(name, column, None),
        }))
    }

    /// The same of rows in the order in which they came, one after the other at an even pace, so that numeric
    /// streams are whitened: a value is then judged by what its past lets expect. Shuffled rows do not show
    /// what follows what; fit those with [`Reference::fit`].
    ///
    /// # Errors
    /// As [`Reference::fit`].
    pub fn fit_ordered<'a>(
        feature_names: &[String],
        classes: &[String],
        rows: impl IntoIterator<Item = Sample<'a>>,
        seasons: &Seasons,
    ) -> Result<Self, FitError> {
        let columns = Columns::of(feature_names, classes, rows)?;
        Ok(columns.assemble(feature_names, classes, |_, name, column| {
            let (whitening, runs) = (whiten(name, &column, seasons), Runs::of(&column));
            Stream { whitening, ..numeric_stream(name, column, runs) }
        }))
    }
}

/// One feature of a fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// How it is watched.
    pub kind: FeatureKind,
}

/// Cycles of an ordered reference, in samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seasons {
    /// Known cycles, as 24 for a day of hourly samples; those over [`crate::SEASON_MAX`] are ignored.
    pub lags: Vec<usize>,
    /// Whether to look for further ones.
    pub find: bool,
}

impl Default for Seasons {
    fn default() -> Self {
        Self { lags: Vec::new(), find: true }
    }
}

/// The whitening of one stream, unless there is nothing to take out and nothing to warn of.
fn whiten(name: &str, column: &[f32], seasons: &Seasons) -> Option<Box<Whitening>> {
    let filter = Filter::fit(column, &seasons.lags, seasons.find)?;
    let verification = Verification::of(column, &seasons.lags, seasons.find);
    let surprises: Vec<f32> = filter.surprises(column).into_iter().flatten().collect();
    let rows = surprises.len() as u64;
    let (assumed, found) = (Worth::of_rows(rows), wander::worth(&surprises));
    if filter.is_trivial() && verification.is_clean() && found == assumed {
        return None;
    }
    let worth = filter.worth(rows).min(found);
    let runs = Runs::of(&surprises);
    let surprises = numeric_stream(name, surprises, runs);
    Some(Box::new(Whitening { filter, surprises, verification, worth }))
}

/// Rows turned into columns.
struct Columns {
    features: Vec<Vec<f32>>,
    confidence: Vec<f32>,
    predicted: Vec<u32>,
}

impl Columns {
    fn of<'a>(
        feature_names: &[String],
        classes: &[String],
        rows: impl IntoIterator<Item = Sample<'a>>,
    ) -> Result<Self, FitError> {
        check_limits(feature_names, classes)?;
        let mut columns = vec![Vec::new(); feature_names.len()];
        let mut confidence = Vec::new();
        let mut predicted = vec![0u32; FIRST_CLASS + classes.len()];
        for (row, sample) in rows.into_iter().enumerate() {
            check_row(row, &sample, feature_names.len(), classes.len())?;
            columns.iter_mut().zip(sample.features).for_each(|(column, value)| column.push(*value));
            confidence.push(sample.confidence.unwrap_or(f32::NAN));
            predicted[sample.predicted.map_or(0, |class| FIRST_CLASS + class as usize)] += 1;
        }
        if confidence.is_empty() {
            return Err(FitError::NoRows);
        }
        Ok(Self { features: columns, confidence, predicted })
    }

    fn assemble(
        self,
        feature_names: &[String],
        classes: &[String],
        stream: impl Fn(usize, &str, Vec<f32>) -> Stream,
    ) -> Reference {
        let Self { features, confidence, predicted } = self;
        let n = confidence.len() as u64;
        let named = feature_names.iter().zip(features).enumerate();
        let mut streams: Vec<Stream> = named.map(|(at, (name, column))| stream(at, name, column)).collect();
        if !classes.is_empty() {
            let kind = StreamKind::Categorical { classes: classes.to_vec() };
            streams.push(Stream {
                name: PREDICTION.to_owned(),
                kind,
                counts: predicted.into(),
                whitening: None,
            });
        }
        streams.push(stream(feature_names.len(), CONFIDENCE, confidence));
        Reference::assemble(feature_names.len(), n, streams)
    }
}

fn check_limits(feature_names: &[String], classes: &[String]) -> Result<(), FitError> {
    let longest = feature_names.iter().chain(classes).map(String::len).max().unwrap_or(0);
    let limits = [
        ("streams", feature_names.len() + 2, MAX_STREAMS),
        ("classes", classes.len(), MAX_CLASSES),
        ("bytes of a name", longest, MAX_NAME_BYTES),
    ];
    match limits.into_iter().find(|(_, found, limit)| found > limit) {
        Some((what, found, limit)) => Err(FitError::OverLimit { what, found, limit }),
        None => Ok(()),
    }
}

fn check_row(row: usize, sample: &Sample<'_>, expected: usize, classes: usize) -> Result<(), FitError> {
    if row >= MAX_REFERENCE_ROWS {
        return Err(FitError::TooManyRows);
    }
    let found = sample.features.len();
    if found != expected {
        return Err(FitError::FeatureCount { row, expected, found });
    }
    match sample.predicted {
        Some(class) if classes > 0 && class as usize >= classes => {
            Err(FitError::ClassOutOfRange { row, class, classes })
        }
        Some(class) if classes == 0 => Err(FitError::ClassOutOfRange { row, class, classes }),
        _ => Ok(()),
    }
}

/// A stream of numbers: values as they come, or surprises. `runs` are its missing values', if it has an order.
pub(crate) fn numeric_stream(name: &str, column: Vec<f32>, runs: Option<Runs>) -> Stream {
    let mut finite: Vec<f32> = column.iter().copied().filter(|v| v.is_finite()).collect();
    finite.sort_by(f32::total_cmp);
    let bins = Bins::of_sorted(&finite);
    let mut counts = vec![0u32; bins.cells()];
    column.into_iter().for_each(|value| counts[bins.cell(value)] += 1);
    let (mean, sd) = moments(&finite);
    let tail_high = tail_scale(finite.iter().rev().map(|v| -f64::from(*v)), finite.len());
    let tail_low = tail_scale(finite.iter().map(|v| f64::from(*v)), finite.len());
    let tails = Some(Box::new(Tails::of_sorted(&finite)));
    let kind = StreamKind::Numeric(Numeric { bins, mean, sd, tail_low, tail_high, tails, runs });
    Stream { name: name.to_owned(), kind, counts: counts.into(), whitening: None }
}

fn category_stream(name: &str, kind: &FeatureKind, column: &[f32]) -> Stream {
    let (categories, counts) = feature::fit(kind, column);
    Stream { name: name.to_owned(), kind: StreamKind::Categories(categories), counts, whitening: None }
}

fn moments(values: &[f32]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// Mean distance of the values strictly beyond the `sqrt(n)`-th most extreme one, most extreme first,
/// enlarged by two standard errors; 0 if there are none.
///
/// Exceedances over a high threshold are nearly exponential: J. Pickands, Annals of Statistics 3 (1975).
fn tail_scale(extreme_first: impl Iterator<Item = f64> + Clone, n: usize) -> f64 {
    let rank = (n as f64).sqrt().ceil() as usize;
    let Some(threshold) = extreme_first.clone().nth(rank) else { return 0.0 };
    let beyond = extreme_first.map(|v| threshold - v).take_while(|excess| *excess > 0.0);
    let (count, sum) = beyond.fold((0.0, 0.0), |(count, sum), excess| (count + 1.0, sum + excess));
    if count > 0.0 { sum / count * (1.0 + 2.0 / f64::sqrt(count)) } else { 0.0 }
}
