//! What every stream looked like when the model was evaluated: the yardstick of all monitoring.
//!
//! Stored in a bundle as `reference.profile`. Fit it on rows the model was *not* trained on: confidence on
//! training rows is too high, and the difference would look like drift.
//!
//! Streams are the features in order, then `prediction` if classes are named, then `confidence`.

use std::sync::{Arc, OnceLock};

use crate::alternative::Worth;
use crate::bins::{BELOW, Bins, FIRST_CLASS, MISSING, UNSEEN_CLASS};
use crate::codec::{DecodeError, Reader, Writer, ensure, fingerprint};
use crate::detector::Tables;
use crate::feature::Categories;
use crate::runs::Runs;
use crate::sample::{MISSING_VALUE, Rows, Sample};
use crate::tail::Tails;
use crate::verification::Verification;
use crate::whitening::{Filter, Whitening};

/// Most streams of a reference, the prediction and the confidence included.
pub const MAX_STREAMS: usize = 16_384;
/// Most classes of the prediction stream.
pub const MAX_CLASSES: usize = 4_096;
/// Longest name of a stream or class, in bytes.
pub const MAX_NAME_BYTES: usize = 1_024;
/// Name of the stream of predicted classes.
pub const PREDICTION: &str = "prediction";
/// Name of the stream of the model's confidence.
pub const CONFIDENCE: &str = "confidence";

const DOCUMENT: &str = "reference profile";
const MAGIC: [u8; 4] = *b"EWRF";
const VERSION: u8 = 1;
/// Version of references with whitened streams.
const VERSION_ORDERED: u8 = 2;
/// Version of references whose tails have a shape.
const VERSION_TAILS: u8 = 3;
/// Version of references with features that are categories.
const VERSION_CATEGORIES: u8 = 4;
const KIND_NUMERIC: u8 = 0;
const KIND_CATEGORICAL: u8 = 1;
const KIND_CATEGORIES: u8 = 2;

/// One stream of the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    pub(crate) name: String,
    pub(crate) kind: StreamKind,
    /// At most [`crate::MAX_REFERENCE_ROWS`] in all.
    pub(crate) counts: Box<[u32]>,
    /// Of streams whose order says something.
    pub(crate) whitening: Option<Box<Whitening>>,
}

/// How values of a stream are placed into cells.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamKind {
    /// Numbers: missing, -inf, below, bins, above, +inf.
    Numeric(Numeric),
    /// Classes: missing, unseen, then one cell per class.
    Categorical {
        /// Names of the classes.
        classes: Vec<String>,
    },
    /// A feature that is one of a set: missing, unseen, then one cell per category.
    Categories(Categories),
}

/// Shape of a numeric stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Numeric {
    /// Where values are placed.
    pub bins: Bins,
    /// Mean of the finite values; 0 without any.
    pub mean: f64,
    /// Standard deviation of the finite values; 0 without any.
    pub sd: f64,
    /// Mean excess of the lower and upper tail beyond a high quantile, for the support check; 0 if unknown.
    pub tail_low: f64,
    /// See `tail_low`.
    pub tail_high: f64,
    /// Shape of both tails; none in references of versions 1 and 2.
    pub(crate) tails: Option<Box<Tails>>,
    /// How missing values follow each other, if they come in runs.
    pub(crate) runs: Option<Runs>,
}

impl Stream {
    /// Name of the feature, or `prediction` or `confidence`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How values are placed.
    #[must_use]
    pub const fn kind(&self) -> &StreamKind {
        &self.kind
    }

    /// Reference rows per cell.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| u64::from(*count)).collect()
    }

    /// Shape of a numeric stream.
    #[must_use]
    pub const fn numeric(&self) -> Option<&Numeric> {
        match &self.kind {
            StreamKind::Numeric(numeric) => Some(numeric),
            StreamKind::Categorical { .. } | StreamKind::Categories(_) => None,
        }
    }

    /// Names of what has a cell of its own; none of numbers.
    #[must_use]
    pub fn names(&self) -> Option<&[String]> {
        match &self.kind {
            StreamKind::Numeric(_) => None,
            StreamKind::Categorical { classes } => Some(classes),
            StreamKind::Categories(categories) => Some(categories.names()),
        }
    }

    /// The categories of a feature that is one of a set.
    #[must_use]
    pub const fn categories(&self) -> Option<&Categories> {
        match &self.kind {
            StreamKind::Categories(categories) => Some(categories),
            _ => None,
        }
    }

    /// What the reference's last rows showed about whitening this stream; none if it is judged as it comes.
    #[must_use]
    pub fn verification(&self) -> Option<&Verification> {
        self.whitening.as_ref().map(|whitening| &whitening.verification)
    }

    /// Whether the reference never saw a value in `cell`, or a surprise in `judged`.
    #[inline]
    pub(crate) fn is_odd(&self, cell: usize, judged: u32) -> bool {
        let surprising = |whitening: &Whitening| whitening.surprises.counts.get(judged as usize) == Some(&0);
        self.counts[cell] == 0 || self.whitening.as_deref().is_some_and(surprising)
    }

    /// What the detector compares with: the stream, or its surprises.
    pub(crate) fn judged(&self) -> &Self {
        self.whitening.as_ref().map_or(self, |whitening| &whitening.surprises)
    }

    /// Whether the reference says nothing about this stream: every row lacked it.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.counts[1..].iter().all(|count| *count == 0)
    }

    /// Rows it was fitted on.
    pub(crate) fn rows(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// How many independent rows it is worth.
    pub(crate) fn worth(&self) -> Worth {
        match &self.whitening {
            Some(whitening) => whitening.worth,
            None => Worth::of_rows(self.rows()),
        }
    }

    /// A coarse position of each numeric cell, in the stream's unit, for distances; empty for classes.
    #[must_use]
    pub fn positions(&self) -> Vec<f64> {
        let Some(numeric) = self.numeric() else { return Vec::new() };
        let (min, max) = numeric.bins.support();
        let (min, max) = (f64::from(min), f64::from(max));
        let mut bounds = vec![min];
        bounds.extend(numeric.bins.edges().iter().map(|e| f64::from(*e)));
        bounds.push(max);
        let mut positions = vec![min; BELOW + 1];
        positions.extend(bounds.windows(2).map(|w| f64::midpoint(w[0], w[1])));
        positions.extend([max, max]);
        positions
    }
}

/// The reference of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub(crate) features: usize,
    pub(crate) n: u64,
    pub(crate) streams: Vec<Stream>,
    pub(crate) fingerprint: u64,
    tables: TableCache,
}

/// Likelihood ratios that follow from a reference; made when first needed, no part of its identity.
#[derive(Debug, Clone, Default)]
struct TableCache(OnceLock<Arc<Tables>>);

impl PartialEq for TableCache {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Reference {
    pub(crate) fn assemble(features: usize, n: u64, streams: Vec<Stream>) -> Self {
        let mut reference = Self { features, n, streams, fingerprint: 0, tables: TableCache::default() };
        reference.fingerprint = fingerprint(&reference.to_bytes());
        reference
    }

    /// Streams: features, then prediction (if classes are named), then confidence.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// Number of features.
    #[must_use]
    pub const fn features(&self) -> usize {
        self.features
    }

    /// Number of rows it was fitted on.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.n
    }

    /// Longest run length that this reference supports: the fourth power of its rows.
    ///
    /// What is rarer than any reference row follows from the shape of its tails ([`crate::outlier`]). Shapes were
    /// measured to hold the budget that far (`benches/false_alarms.rs`); further out nothing was. Drift rests on
    /// many samples and needs no such step; its threshold holds whatever the run length, for nulls that the
    /// reference's confidence region covers.
    #[must_use]
    pub fn supported_arl(&self) -> f64 {
        supported_arl(self.n)
    }

    /// Tells references apart; profiles and states carry it.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Bytes of cells and counts; names apart.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.streams.iter().map(|s| size_of::<Stream>() + size_of_val(&*s.counts)).sum()
    }

    /// What every detector of this reference shares.
    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::clone(self.tables.0.get_or_init(|| Arc::new(Tables::of(self))))
    }

    /// Calls `put(stream index, cell, value)` for every stream.
    #[inline]
    pub(crate) fn place(&self, sample: &Sample<'_>, mut put: impl FnMut(usize, usize, f32)) {
        for (i, stream) in self.streams.iter().enumerate() {
            match &stream.kind {
                StreamKind::Numeric(numeric) => {
                    let value = self.value(sample, i);
                    put(i, numeric.bins.cell(value), value);
                }
                StreamKind::Categories(categories) => {
                    let value = self.value(sample, i);
                    put(i, categories.cell(value), value);
                }
                StreamKind::Categorical { classes } => {
                    put(i, class_cell(sample.predicted, classes.len()), f32::NAN);
                }
            }
        }
    }

    /// Value of stream `i`, which is none of classes; NaN if missing.
    pub(crate) fn value(&self, sample: &Sample<'_>, i: usize) -> f32 {
        let value = if i < self.features { sample.features.get(i).copied() } else { sample.confidence };
        value.unwrap_or(MISSING_VALUE)
    }

    /// Values of stream `i`, which is none of classes, from row `start` on; NaN if missing.
    pub(crate) fn values(&self, rows: &Rows<'_>, start: usize, i: usize, values: &mut [f32]) {
        let (column, first, stride) = if i >= self.features {
            (rows.confidence, start, 1)
        } else if i < rows.width {
            (rows.features, start * rows.width + i, rows.width)
        } else {
            (&[][..], 0, 1)
        };
        let mut at = first;
        for value in values {
            let given = column.get(at).copied().filter(|value| i < self.features || !value.is_nan());
            *value = given.unwrap_or(MISSING_VALUE);
            at += stride;
        }
    }

    /// Version 3, or 4 if a feature is one of categories, or that of the bytes it was read from: a reference keeps its
    /// fingerprint.
    fn version(&self) -> u8 {
        if self.streams.iter().any(|stream| stream.categories().is_some()) {
            VERSION_CATEGORIES
        } else if self.streams.iter().filter_map(Stream::numeric).any(|numeric| numeric.tails.is_some()) {
            VERSION_TAILS
        } else if self.streams.iter().any(|stream| stream.whitening.is_some()) {
            VERSION_ORDERED
        } else {
            VERSION
        }
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let version = self.version();
        let mut w = Writer::new(MAGIC, version);
        w.u64(self.n);
        w.len(self.features);
        w.len(self.streams.len());
        for stream in &self.streams {
            write_stream(&mut w, stream);
            if version >= VERSION_ORDERED {
                write_whitening(&mut w, stream.whitening.as_deref(), version);
            }
        }
        w.finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are not a reference of a known version, or hold values that no fit produces.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let found = bytes.get(MAGIC.len()).copied().unwrap_or(VERSION_CATEGORIES);
        let version =
            if (VERSION..=VERSION_CATEGORIES).contains(&found) { found } else { VERSION_CATEGORIES };
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, version)?;
        let n = r.u64("rows")?;
        ensure(n > 0 && n <= crate::MAX_REFERENCE_ROWS as u64, "rows")?;
        let features = r.len("features", MAX_STREAMS)?;
        let len = r.len("streams", MAX_STREAMS)?;
        let mut streams = Vec::with_capacity(len);
        for _ in 0..len {
            let stream = read_stream(&mut r, n, version)?;
            let whitening =
                if version >= VERSION_ORDERED { read_whitening(&mut r, &stream, n, version)? } else { None };
            streams.push(Stream { whitening, ..stream });
        }
        r.finish()?;
        ensure(layout_is_right(features, &streams), "layout of streams")?;
        Ok(Self { features, n, streams, fingerprint: fingerprint(bytes), tables: TableCache::default() })
    }
}

/// [`Reference::supported_arl`] of a reference of `rows` rows.
#[must_use]
pub fn supported_arl(rows: u64) -> f64 {
    (rows as f64).powi(4).min(crate::MAX_ARL)
}

pub(crate) fn class_cell(predicted: Option<u32>, classes: usize) -> usize {
    match predicted {
        None => MISSING,
        Some(class) if (class as usize) < classes => FIRST_CLASS + class as usize,
        Some(_) => UNSEEN_CLASS,
    }
}

/// Features are numbers or categories, then perhaps one categorical stream, then one numeric.
fn layout_is_right(features: usize, streams: &[Stream]) -> bool {
    let numeric = |s: &Stream| s.numeric().is_some();
    let feature = |s: &Stream| numeric(s) || s.categories().is_some();
    let classes = |s: &Stream| matches!(s.kind, StreamKind::Categorical { .. });
    match streams.get(features..) {
        Some([confidence]) => streams[..features].iter().all(feature) && numeric(confidence),
        Some([prediction, confidence]) => {
            streams[..features].iter().all(feature) && classes(prediction) && numeric(confidence)
        }
        _ => false,
    }
}

fn write_stream(w: &mut Writer, stream: &Stream) {
    w.str(&stream.name);
    match &stream.kind {
        StreamKind::Numeric(numeric) => write_numeric(w, numeric),
        StreamKind::Categorical { classes } => write_classes(w, classes),
        StreamKind::Categories(categories) => {
            w.u8(KIND_CATEGORIES);
            categories.write(w);
        }
    }
    stream.counts.iter().for_each(|count| w.varint(u64::from(*count)));
}

fn write_whitening(w: &mut Writer, whitening: Option<&Whitening>, version: u8) {
    w.u8(u8::from(whitening.is_some()));
    if let Some(whitening) = whitening {
        whitening.filter.write(w);
        whitening.verification.write(w);
        if version >= VERSION_TAILS {
            whitening.worth.write(w);
        }
        w.u64(whitening.surprises.rows());
        write_stream(w, &whitening.surprises);
    }
}

fn read_whitening(
    r: &mut Reader<'_>,
    stream: &Stream,
    rows: u64,
    version: u8,
) -> Result<Option<Box<Whitening>>, DecodeError> {
    let present = r.u8("whitening")?;
    ensure(present == 0 || present == 1 && stream.numeric().is_some(), "whitening")?;
    if present == 0 {
        return Ok(None);
    }
    let filter = Filter::read(r)?;
    let verification = Verification::read(r)?;
    let worth = if version >= VERSION_TAILS { Some(Worth::read(r)?) } else { None };
    let n = r.u64("surprises")?;
    ensure(n <= rows, "surprises")?;
    let surprises = read_stream(r, n, version)?;
    ensure(surprises.numeric().is_some(), "surprises")?;
    let worth = worth.unwrap_or_else(|| filter.worth(n));
    Ok(Some(Box::new(Whitening { filter, surprises, verification, worth })))
}

fn write_numeric(w: &mut Writer, numeric: &Numeric) {
    w.u8(KIND_NUMERIC);
    let (min, max) = numeric.bins.support();
    w.f32(min);
    w.f32(max);
    w.u8(numeric.bins.edges().len() as u8);
    numeric.bins.edges().iter().for_each(|edge| w.f32(*edge));
    [numeric.mean, numeric.sd, numeric.tail_low, numeric.tail_high].into_iter().for_each(|v| w.f64(v));
    if let Some(tails) = &numeric.tails {
        tails.write(w);
        Runs::write(numeric.runs.as_ref(), w);
    }
}

fn write_classes(w: &mut Writer, classes: &[String]) {
    w.u8(KIND_CATEGORICAL);
    w.len(classes.len());
    classes.iter().for_each(|class| w.str(class));
}

fn read_stream(r: &mut Reader<'_>, n: u64, version: u8) -> Result<Stream, DecodeError> {
    let name = r.str("name of a stream", MAX_NAME_BYTES)?;
    let (kind, cells) = match r.u8("kind of a stream")? {
        KIND_NUMERIC => {
            let numeric = read_numeric(r, version)?;
            let cells = numeric.bins.cells();
            (StreamKind::Numeric(numeric), cells)
        }
        KIND_CATEGORICAL => {
            let classes = read_classes(r)?;
            let cells = FIRST_CLASS + classes.len();
            (StreamKind::Categorical { classes }, cells)
        }
        KIND_CATEGORIES if version >= VERSION_CATEGORIES => {
            let categories = Categories::read(r)?;
            let cells = FIRST_CLASS + categories.names().len();
            (StreamKind::Categories(categories), cells)
        }
        _ => return Err(DecodeError::Invalid { what: "kind of a stream" }),
    };
    let counts = (0..cells).map(|_| r.varint("counts")).collect::<Result<Vec<_>, _>>()?;
    let total = counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    ensure(total == Some(n), "counts")?;
    let outside = |numeric: &Numeric| counts[BELOW] == 0 && counts[numeric.bins.above()] == 0;
    ensure(!matches!(&kind, StreamKind::Numeric(numeric) if !outside(numeric)), "counts outside support")?;
    // They add up to `n`, which is at most the number of rows a reference may have.
    let counts = counts.into_iter().map(|count| count as u32).collect();
    Ok(Stream { name, kind, counts, whitening: None })
}

fn read_numeric(r: &mut Reader<'_>, version: u8) -> Result<Numeric, DecodeError> {
    let (min, max) = (r.f32("support")?, r.f32("support")?);
    let len = usize::from(r.u8("edges")?);
    let edges = (0..len).map(|_| r.f32("edges")).collect::<Result<Vec<_>, _>>()?;
    let bins = Bins::from_parts(&edges, min, max).ok_or(DecodeError::Invalid { what: "edges" })?;
    let mut moments = [0.0; 4];
    for moment in &mut moments {
        *moment = r.f64("moments")?;
    }
    let [mean, sd, tail_low, tail_high] = moments;
    let limit = 4.0 * f64::from(f32::MAX);
    ensure(
        mean.abs() <= limit && [sd, tail_low, tail_high].iter().all(|v| (0.0..=limit).contains(v)),
        "moments",
    )?;
    let shaped = version >= VERSION_TAILS;
    let tails = if shaped { Some(Box::new(Tails::read(r)?)) } else { None };
    let runs = if shaped { Runs::read(r)? } else { None };
    Ok(Numeric { bins, mean, sd, tail_low, tail_high, tails, runs })
}

fn read_classes(r: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let len = r.len("classes", MAX_CLASSES)?;
    (0..len).map(|_| r.str("name of a class", MAX_NAME_BYTES)).collect()
}
