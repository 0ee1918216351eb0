//! Integer counts of what was seen, merged by addition: the same bytes in any order of merging.
//!
//! Sums of values are kept as integers in units of the reference's range divided by 2^20 and clamped to
//! 2^11 ranges around its centre, so that moments merge exactly too. An approximate sketch would not: its
//! merge is noise. Deliberately missing: wall-clock windows (the caller swaps profiles) and p-values.

use crate::bins::{BELOW, MISSING, NEGATIVE_INFINITY, UNSEEN_CLASS};
use crate::category::CategorySketch;
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::reference::{MAX_CLASSES, MAX_STREAMS, Numeric, Reference, Stream};
use crate::sample::{MISSING_VALUE, Sample, WRONG_TYPE_VALUE};

/// Most observations a profile counts; beyond it, it stays as it is.
pub const MAX_OBSERVATIONS: u64 = (1 << 48) - 1;

const DOCUMENT: &str = "profile";
const MAGIC: [u8; 4] = *b"EWPF";
/// Without [`Rare::absent`], [`Rare::wrong_type`] and [`Rare::categories`].
const VERSION_PLAIN: u8 = 1;
const VERSION: u8 = 2;
const UNITS_PER_RANGE: f64 = 1_048_576.0;
const CLAMP_UNITS: f64 = 2_147_483_648.0;
/// Adding and subtracting it rounds a smaller `f64` to an integer, to even on ties.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// Profiles that cannot be combined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Counts over different cells mean nothing together.
    #[error("profile of reference {found:016x} cannot join one of {expected:016x}")]
    OtherReference {
        /// Fingerprint of this profile's reference.
        expected: u64,
        /// Fingerprint of the other.
        found: u64,
    },
    /// Equal fingerprints over different shapes: one of the two is forged.
    #[error("profiles of one reference differ in shape")]
    OtherShape,
    /// More than [`MAX_OBSERVATIONS`].
    #[error("the merged profile would hold more than {MAX_OBSERVATIONS} observations")]
    TooMany,
}

/// A finite value outside the reference's support.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offender {
    /// Which observation of its profile it was, from 1.
    pub at: u64,
    /// The value.
    pub value: f32,
}

impl Offender {
    /// Total order, so that merging keeps the same one whatever the order.
    fn key(self) -> (u64, u32) {
        (self.at, self.value.to_bits())
    }
}

/// Counts of one stream.
#[derive(Debug, Clone)]
pub struct StreamProfile {
    /// Counts since the last carry into [`Rare::settled`].
    fresh: Box<[u16]>,
    min: f32,
    max: f32,
    sum: i128,
    sum_of_squares: i128,
    center: f64,
    per_unit: f64,
    /// Nothing until something rare happens.
    rare: Option<Box<Rare>>,
    numeric: bool,
}

/// What few streams need.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rare {
    /// Counts per cell in units of 65,536; empty until a cell has as many.
    settled: Box<[u32]>,
    offender: Option<Offender>,
    /// Missing values that were not given at all.
    absent: u64,
    /// Missing values that were of another type.
    wrong_type: u64,
    categories: Option<Box<CategorySketch>>,
}

impl Rare {
    fn settled(&self, cell: usize) -> u64 {
        u64::from(self.settled.get(cell).copied().unwrap_or(0)) << 16
    }
}

impl StreamProfile {
    fn new(stream: &Stream) -> Self {
        let (center, per_unit) = stream.numeric().map_or((0.0, 0.0), fixed_point);
        Self::empty(stream.counts.len(), stream.numeric().is_some(), (center, per_unit))
    }

    fn empty(cells: usize, numeric: bool, (center, per_unit): (f64, f64)) -> Self {
        Self {
            fresh: vec![0; cells].into(),
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            sum: 0,
            sum_of_squares: 0,
            center,
            per_unit,
            rare: None,
            numeric,
        }
    }

    /// Observations per cell, laid out as the reference's.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        (0..self.fresh.len()).map(|cell| self.count(cell)).collect()
    }

    fn count(&self, cell: usize) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.settled(cell)) + u64::from(self.fresh[cell])
    }

    /// Sets the counts, each at most [`MAX_OBSERVATIONS`].
    fn set_counts(&mut self, counts: &[u64]) {
        self.fresh = counts.iter().map(|count| (*count & 0xffff) as u16).collect();
        if counts.iter().any(|count| *count > 0xffff) {
            self.rare().settled = counts.iter().map(|count| (*count >> 16) as u32).collect();
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Of the observations without a value: those that were NaN, those that were not given, and those of another type.
    #[must_use]
    pub fn missing_kinds(&self) -> (u64, u64, u64) {
        let (absent, wrong_type) = self.rare.as_ref().map_or((0, 0), |rare| (rare.absent, rare.wrong_type));
        (self.missing().saturating_sub(absent + wrong_type), absent, wrong_type)
    }

    /// Texts that were no category of the reference, as far as they were told; none if there were none.
    #[must_use]
    pub fn categories(&self) -> Option<&CategorySketch> {
        self.rare.as_ref()?.categories.as_deref()
    }

    /// Observations without a value.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.count(MISSING)
    }

    /// Observations of -inf and +inf.
    #[must_use]
    pub fn infinite(&self) -> (u64, u64) {
        if self.numeric { (self.count(NEGATIVE_INFINITY), self.count(self.fresh.len() - 1)) } else { (0, 0) }
    }

    /// Finite observations below and above the support.
    #[must_use]
    pub fn outside(&self) -> (u64, u64) {
        if self.numeric { (self.count(BELOW), self.count(self.fresh.len() - 2)) } else { (0, 0) }
    }

    /// Smallest and largest finite value.
    #[must_use]
    pub fn range(&self) -> Option<(f32, f32)> {
        (self.min <= self.max).then_some((self.min, self.max))
    }

    /// The last value outside the support.
    #[must_use]
    pub fn offender(&self) -> Option<Offender> {
        self.rare.as_ref().and_then(|rare| rare.offender)
    }

    /// Whether it counts numbers.
    #[must_use]
    pub const fn is_numeric(&self) -> bool {
        self.numeric
    }

    fn finite(&self) -> u64 {
        let (low, high) = self.infinite();
        if self.numeric { self.counts().iter().sum::<u64>() - self.missing() - low - high } else { 0 }
    }

    /// Mean and standard deviation of the finite values, in the stream's unit.
    #[must_use]
    pub fn moments(&self) -> Option<(f64, f64)> {
        let n = self.finite() as f64;
        if n == 0.0 || self.per_unit == 0.0 {
            return None;
        }
        let mean = self.sum as f64 / n;
        let variance = (self.sum_of_squares as f64 / n - mean * mean).max(0.0);
        Some((self.center + mean / self.per_unit, variance.sqrt() / self.per_unit))
    }

    #[inline]
    fn observe(&mut self, cell: usize, value: f32, at: u64) {
        let fresh = &mut self.fresh[cell];
        *fresh = fresh.wrapping_add(1);
        if *fresh == 0 {
            self.carry(cell);
        }
        if !value.is_finite() || !self.numeric {
            return self.observe_special(cell, value);
        }
        if value.total_cmp(&self.min).is_lt() {
            self.min = value;
        }
        if value.total_cmp(&self.max).is_gt() {
            self.max = value;
        }
        if cell == BELOW || cell + 2 == self.fresh.len() {
            self.rare().offender = Some(Offender { at, value });
        }
        let scaled = ((f64::from(value) - self.center) * self.per_unit).clamp(-CLAMP_UNITS, CLAMP_UNITS);
        let units = ((scaled + ROUNDER) - ROUNDER) as i64;
        self.sum += i128::from(units);
        self.sum_of_squares += i128::from(units * units);
    }

    #[cold]
    fn carry(&mut self, cell: usize) {
        let cells = self.fresh.len();
        let rare = self.rare();
        if rare.settled.is_empty() {
            rare.settled = vec![0; cells].into();
        }
        rare.settled[cell] += 1;
    }

    #[cold]
    fn observe_special(&mut self, cell: usize, value: f32) {
        if !self.numeric && cell == UNSEEN_CLASS && value.is_finite() {
            self.rare().categories.get_or_insert_default().observe(&value.to_string());
        }
        if !self.numeric || cell != MISSING {
            return;
        }
        if value.to_bits() == MISSING_VALUE.to_bits() {
            self.rare().absent += 1;
        } else if value.to_bits() == WRONG_TYPE_VALUE.to_bits() {
            self.rare().wrong_type += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        let sums: Vec<u64> = self.counts().iter().zip(other.counts()).map(|(a, b)| a + b).collect();
        self.set_counts(&sums);
        self.min = if other.min.total_cmp(&self.min).is_lt() { other.min } else { self.min };
        self.max = if other.max.total_cmp(&self.max).is_gt() { other.max } else { self.max };
        self.sum += other.sum;
        self.sum_of_squares += other.sum_of_squares;
        if let Some(theirs) = &other.rare {
            let mine = self.rare();
            mine.offender = [mine.offender, theirs.offender].into_iter().flatten().max_by_key(|o| o.key());
            mine.absent += theirs.absent;
            mine.wrong_type += theirs.wrong_type;
            if let Some(theirs) = &theirs.categories {
                mine.categories.get_or_insert_default().merge(theirs);
            }
        }
    }

    /// Whether version 1 of the stored form says all there is.
    fn is_plain(&self) -> bool {
        let (_, absent, wrong_type) = self.missing_kinds();
        absent == 0 && wrong_type == 0 && self.categories().is_none()
    }

    fn same_shape(&self, other: &Self) -> bool {
        self.fresh.len() == other.fresh.len()
            && self.numeric == other.numeric
            && self.center.to_bits() == other.center.to_bits()
            && self.per_unit.to_bits() == other.per_unit.to_bits()
    }
}

impl PartialEq for StreamProfile {
    /// Equal counts are equal wherever they are kept.
    fn eq(&self, other: &Self) -> bool {
        let numbers = |s: &Self| (s.min.to_bits(), s.max.to_bits(), s.sum, s.sum_of_squares);
        self.same_shape(other)
            && self.counts() == other.counts()
            && numbers(self) == numbers(other)
            && self.offender() == other.offender()
            && self.missing_kinds() == other.missing_kinds()
            && self.categories() == other.categories()
    }
}

/// Centre and units per value of a stream's fixed-point sums.
fn fixed_point(numeric: &Numeric) -> (f64, f64) {
    let (min, max) = numeric.bins.support();
    if min > max {
        return (0.0, UNITS_PER_RANGE);
    }
    let (min, max) = (f64::from(min), f64::from(max));
    let range = if max > min { max - min } else { min.abs().max(1.0) };
    (f64::midpoint(min, max), UNITS_PER_RANGE / range)
}

/// Counts of every stream of one reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    fingerprint: u64,
    n: u64,
    streams: Vec<StreamProfile>,
}

impl Profile {
    /// An empty profile.
    #[must_use]
    pub fn new(reference: &Reference) -> Self {
        let streams = reference.streams.iter().map(StreamProfile::new).collect();
        Self { fingerprint: reference.fingerprint, n: 0, streams }
    }

    /// Observations.
    #[must_use]
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Fingerprint of the reference.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Streams in the order of the reference.
    #[must_use]
    pub fn streams(&self) -> &[StreamProfile] {
        &self.streams
    }

    /// Counts one sample.
    ///
    /// # Errors
    /// `reference` is not the one this profile was made for.
    pub fn observe(&mut self, reference: &Reference, sample: &Sample<'_>) -> Result<(), ProfileError> {
        self.check(reference)?;
        if self.begin() {
            reference.place(sample, |i, cell, value| self.count(i, cell, value));
        }
        Ok(())
    }

    /// Counts a text of stream `stream` that is no category, or no number, of the reference; beside, not instead of, its
    /// observation. A stream that does not exist is ignored.
    pub fn observe_text(&mut self, stream: usize, text: &str) {
        let told = self.streams.get(stream).map_or(0, |s| s.categories().map_or(0, CategorySketch::total));
        if let Some(stream) = self.streams.get_mut(stream).filter(|_| told < self.n) {
            stream.rare().categories.get_or_insert_default().observe(text);
        }
    }

    /// Opens the next observation; false when full.
    pub(crate) fn begin(&mut self) -> bool {
        let open = self.n < MAX_OBSERVATIONS;
        self.n += u64::from(open);
        open
    }

    #[inline]
    pub(crate) fn count(&mut self, stream: usize, cell: usize, value: f32) {
        self.streams[stream].observe(cell, value, self.n);
    }

    /// Opens the next `rows` observations; false, and none is opened, when they are too many.
    pub(crate) fn begin_block(&mut self, rows: usize) -> bool {
        let open = self.n + rows as u64 <= MAX_OBSERVATIONS;
        self.n += if open { rows as u64 } else { 0 };
        open
    }

    /// Counts values of one stream in the latest block.
    pub(crate) fn count_block(&mut self, stream: usize, cells: &[u32], values: &[f32]) {
        let first = self.n + 1 - cells.len() as u64;
        let stream = &mut self.streams[stream];
        for i in 0..cells.len().min(values.len()) {
            stream.observe(cells[i] as usize, values[i], first + i as u64);
        }
    }

    /// Bytes that a sample touches, and all bytes.
    pub(crate) fn memory_bytes(&self) -> (usize, usize) {
        let hot = |s: &StreamProfile| size_of_val(&*s.fresh) + 2 * (size_of::<f32>() + size_of::<i128>());
        let rare = |rare: &Rare| size_of::<Rare>() + size_of_val(&*rare.settled);
        let all = |s: &StreamProfile| {
            size_of::<StreamProfile>() + size_of_val(&*s.fresh) + s.rare.as_deref().map_or(0, rare)
        };
        (self.streams.iter().map(hot).sum(), self.streams.iter().map(all).sum())
    }

    pub(crate) fn check(&self, reference: &Reference) -> Result<(), ProfileError> {
        if self.fingerprint != reference.fingerprint {
            return Err(ProfileError::OtherReference {
                expected: self.fingerprint,
                found: reference.fingerprint,
            });
        }
        let cells = self.streams.iter().map(|s| s.fresh.len());
        if cells.eq(reference.streams.iter().map(|s| s.counts.len())) {
            Ok(())
        } else {
            Err(ProfileError::OtherShape)
        }
    }

    /// The sum of two profiles; the same bytes in any order and grouping.
    ///
    /// # Errors
    /// The profiles are of different references, or hold too much together.
    pub fn merge(&self, other: &Self) -> Result<Self, ProfileError> {
        if self.fingerprint != other.fingerprint {
            return Err(ProfileError::OtherReference {
                expected: self.fingerprint,
                found: other.fingerprint,
            });
        }
        let pairs = || self.streams.iter().zip(&other.streams);
        if self.streams.len() != other.streams.len() || !pairs().all(|(a, b)| a.same_shape(b)) {
            return Err(ProfileError::OtherShape);
        }
        if self.n + other.n > MAX_OBSERVATIONS {
            return Err(ProfileError::TooMany);
        }
        let mut merged = self.clone();
        merged.n += other.n;
        merged.streams.iter_mut().zip(&other.streams).for_each(|(a, b)| a.merge(b));
        Ok(merged)
    }

    /// The stored form, version 2; version 1 while it says as much.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let plain = self.streams.iter().all(StreamProfile::is_plain);
        let mut w = Writer::new(MAGIC, if plain { VERSION_PLAIN } else { VERSION });
        w.u64(self.fingerprint);
        w.u64(self.n);
        w.len(self.streams.len());
        for stream in &self.streams {
            write_stream(&mut w, stream);
            if !plain {
                write_rare(&mut w, stream);
            }
        }
        w.finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are not a profile of a known version, or hold values that no profile produces.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let plain = bytes.get(MAGIC.len()) == Some(&VERSION_PLAIN);
        let version = if plain { VERSION_PLAIN } else { VERSION };
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, version)?;
        let fingerprint = r.u64("fingerprint")?;
        let n = r.u64("observations")?;
        ensure(n <= MAX_OBSERVATIONS, "observations")?;
        let len = r.len("streams", MAX_STREAMS)?;
        let streams = (0..len).map(|_| read_stream(&mut r, n, plain)).collect::<Result<Vec<_>, _>>()?;
        r.finish()?;
        Ok(Self { fingerprint, n, streams })
    }
}

fn write_stream(w: &mut Writer, stream: &StreamProfile) {
    w.u8(u8::from(stream.numeric));
    w.len(stream.fresh.len());
    stream.counts().iter().for_each(|count| w.varint(*count));
    if !stream.numeric {
        return;
    }
    w.f32(stream.min);
    w.f32(stream.max);
    w.u64(stream.offender().map_or(0, |o| o.at));
    w.f32(stream.offender().map_or(0.0, |o| o.value));
    w.i128(stream.sum);
    w.i128(stream.sum_of_squares);
    w.f64(stream.center);
    w.f64(stream.per_unit);
}

fn write_rare(w: &mut Writer, stream: &StreamProfile) {
    let (_, absent, wrong_type) = stream.missing_kinds();
    w.varint(absent);
    w.varint(wrong_type);
    w.u8(u8::from(stream.categories().is_some()));
    if let Some(categories) = stream.categories() {
        categories.write(w);
    }
}

fn read_rare(r: &mut Reader<'_>, n: u64, stream: &mut StreamProfile) -> Result<(), DecodeError> {
    let (absent, wrong_type) = (r.varint("missing values")?, r.varint("missing values")?);
    let both = absent.checked_add(wrong_type);
    ensure(
        both.is_some_and(|both| both <= stream.missing()) && (stream.numeric || both == Some(0)),
        "missing values",
    )?;
    if both != Some(0) {
        (stream.rare().absent, stream.rare().wrong_type) = (absent, wrong_type);
    }
    let told = r.u8("categories")?;
    ensure(told <= 1, "categories")?;
    if told == 1 {
        stream.rare().categories = Some(Box::new(CategorySketch::read(r, n)?));
    }
    Ok(())
}

fn read_stream(r: &mut Reader<'_>, n: u64, plain: bool) -> Result<StreamProfile, DecodeError> {
    let numeric = match r.u8("kind of a stream")? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Invalid { what: "kind of a stream" }),
    };
    let cells = r.len("counts", MAX_CLASSES + 2)?;
    ensure(cells >= if numeric { 6 } else { 2 }, "counts")?;
    let counts = (0..cells).map(|_| r.varint("counts")).collect::<Result<Vec<_>, _>>()?;
    let total = counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    ensure(total == Some(n), "counts")?;
    let mut stream = StreamProfile::empty(counts.len(), numeric, (0.0, 0.0));
    stream.set_counts(&counts);
    if numeric {
        read_numbers(r, n, &mut stream)?;
    }
    if !plain {
        read_rare(r, n, &mut stream)?;
    }
    Ok(stream)
}

fn read_numbers(r: &mut Reader<'_>, n: u64, stream: &mut StreamProfile) -> Result<(), DecodeError> {
    (stream.min, stream.max) = (r.f32("range")?, r.f32("range")?);
    let empty = stream.min == f32::INFINITY && stream.max == f32::NEG_INFINITY;
    let finite = stream.min.is_finite() && stream.max.is_finite() && stream.min <= stream.max;
    ensure(if stream.finite() == 0 { empty } else { finite }, "range")?;
    let offender = Offender { at: r.u64("offender")?, value: r.f32("offender")? };
    let none = offender.key() == (0, 0);
    ensure(none || (1..=n).contains(&offender.at) && offender.value.is_finite(), "offender")?;
    if !none {
        stream.rare().offender = Some(offender);
    }
    (stream.sum, stream.sum_of_squares) = (r.i128("sum")?, r.i128("sum")?);
    let limit = i128::from(n) << 31;
    ensure((-limit..=limit).contains(&stream.sum), "sum")?;
    ensure((0..=limit << 31).contains(&stream.sum_of_squares), "sum")?;
    (stream.center, stream.per_unit) = (r.f64("scale")?, r.f64("scale")?);
    ensure(stream.center.is_finite() && stream.per_unit.is_finite() && stream.per_unit >= 0.0, "scale")
}
