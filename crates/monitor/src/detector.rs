//! Sequential change detection over all streams of a reference, with one false-alarm budget.
//!
//! Every alternative `k` of stream `s` keeps a Shiryaev-Roberts statistic `R <- (1 + R) * ratio(cell)`. Under any
//! null of the reference's confidence region `R_n - n` is a supermartingale, and so is the average over
//! alternatives and streams, whatever the dependence *between* streams. An alarm at `A` therefore has a mean
//! time to a false alarm of at least `A`, for observations independent over time. Serial dependence breaks
//! the promise; streams of an ordered reference are whitened first ([`crate::whitening`]).
//!
//! Sources: A. Shiryaev (1963) and S. Roberts (1966) for the statistic; M. Pollak, Annals of Statistics 15
//! (1987) for `E[T] >= A`; J. Shin, A. Ramdas, A. Rinaldo, "E-detectors" (2022) for averages.

use std::ops::Range;
use std::sync::Arc;

use crate::alternative::{Alternative, LANES, Table, table};
use crate::bins::MISSING;
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::limiter::Limiter;
use crate::ratio::decode;
use crate::reference::{Numeric, Reference, Stream};
use crate::sample::Sample;
use crate::whitening::{Past, Surprise, Whitening};

/// Largest statistic, and product of a statistic and its age, that a stored state may hold.
const STATISTIC_MAX: f32 = 1e36;
/// Cell of a value that cannot be judged yet; beyond every table.
const WAITING: u32 = 1 << 20;
const DOCUMENT: &str = "detector state";
const MAGIC: [u8; 4] = *b"EWDT";
const VERSION: u8 = 3;
/// Version of states without runs of missing values and holding of peace.
const VERSION_BEFORE_LIMITS: u8 = 2;
/// Samples that a stream holds its peace after its first drift alarm; doubled by each further one.
pub(crate) const HOLD_OFF_SAMPLES: u64 = 128;

/// Evidence that passed the threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Index of the stream with the most evidence.
    pub stream: usize,
    /// The change that explains it best.
    pub alternative: Alternative,
    /// Observations since the detector was made, this one included.
    pub sample: u64,
    /// Estimated first observation after the change: the posterior mean under a flat prior.
    pub change_sample: u64,
    /// Evidence of all streams together.
    pub log10_evidence: f64,
    /// Threshold it passed.
    pub log10_threshold: f64,
}

/// One stream's table, and where its statistics are.
#[derive(Debug)]
struct Lane {
    table: Table,
    start: usize,
}

/// The tables of every stream of one reference: made once, shared by all its detectors.
#[derive(Debug)]
pub(crate) struct Tables {
    lanes: Vec<Option<Lane>>,
    width: usize,
}

impl Tables {
    pub(crate) fn of(reference: &Reference) -> Self {
        let watched = reference.streams.iter().filter(|stream| !stream.is_silent()).count();
        let made = reference.streams.iter().map(|stream| {
            let judged = stream.judged();
            if stream.is_silent() { None } else { table(judged, stream.worth(), watched) }
        });
        let made: Vec<Option<Table>> = made.collect();
        let active = made.iter().flatten().count();
        let mut width = 0;
        let mut lane = |mut table: Table, divisor: f32| {
            let start = width;
            width += table.lanes;
            table.weights.iter_mut().for_each(|weight| *weight /= divisor * active as f32);
            Lane { table, start }
        };
        let divided = |stream: &Stream| stream.verification().map_or(1.0, |verified| verified.factor as f32);
        let lanes = made
            .into_iter()
            .zip(&reference.streams)
            .map(|(table, stream)| table.map(|table| lane(table, divided(stream))));
        let lanes = lanes.collect();
        Self { lanes, width }
    }
}

/// The sequential detector of one device.
#[derive(Debug, Clone)]
pub struct Detector {
    fingerprint: u64,
    threshold: f64,
    tables: Arc<Tables>,
    samples: u64,
    state: State,
    /// What whitened streams remember.
    pasts: Vec<Option<Past>>,
    /// Whether the latest value of a stream was missing; kept where that says something about the next.
    missing: Vec<bool>,
    /// Streams that hold their peace after an alarm.
    limiter: Limiter,
    /// Cells of one sample, and the state before a block: reused so that quiet samples allocate nothing.
    cells: Vec<u32>,
    before: State,
    sums: Vec<Sums>,
}

/// Cells of a few rows, one stream after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    rows: usize,
    cells: Vec<u32>,
}

impl Block {
    pub(crate) fn resize(&mut self, streams: usize, rows: usize) {
        self.rows = rows;
        self.cells.resize(streams * rows, 0);
    }

    pub(crate) fn stream(&self, index: usize) -> &[u32] {
        &self.cells[index * self.rows..(index + 1) * self.rows]
    }

    pub(crate) fn stream_mut(&mut self, index: usize) -> &mut [u32] {
        &mut self.cells[index * self.rows..(index + 1) * self.rows]
    }
}

/// Partial sums of one row's evidence.
type Sums = [f32; LANES];

#[derive(Debug, Clone, Default)]
struct State {
    /// Statistics times their stream's weight: their sum is the evidence.
    statistics: Vec<f32>,
    /// Each statistic times the mean age of the change under its alternative, in observations.
    ages: Vec<f32>,
}

impl State {
    fn new(width: usize) -> Self {
        Self { statistics: vec![0.0; width], ages: vec![0.0; width] }
    }

    fn copy_from(&mut self, other: &Self) {
        self.statistics.clone_from(&other.statistics);
        self.ages.clone_from(&other.ages);
    }
}

impl Detector {
    /// A detector whose mean time between false alarms is at least `arl_samples`.
    #[must_use]
    pub fn new(reference: &Reference, arl_samples: f64) -> Self {
        let tables = reference.tables();
        Self {
            fingerprint: reference.fingerprint,
            threshold: arl_samples.clamp(1.0, crate::MAX_ARL),
            samples: 0,
            state: State::new(tables.width),
            pasts: pasts(reference),
            missing: vec![false; tables.lanes.len()],
            limiter: Limiter::new(tables.lanes.len(), HOLD_OFF_SAMPLES),
            cells: vec![0; tables.lanes.len()],
            before: State::default(),
            sums: Vec::new(),
            tables,
        }
    }

    /// Takes one sample; reports a change and re-arms when the evidence passes the threshold.
    ///
    /// `reference` must be the one the detector was made for; another one is ignored.
    pub fn observe(&mut self, reference: &Reference, sample: &Sample<'_>) -> Option<Detection> {
        if reference.fingerprint != self.fingerprint {
            return None;
        }
        let mut cells = std::mem::take(&mut self.cells);
        reference
            .place(sample, |i, cell, value| cells[i] = self.whiten(&reference.streams[i], i, cell, value).0);
        let detection = self.observe_cells(&cells);
        self.cells = cells;
        detection
    }

    /// The cell that a stream's value is judged by, and its surprise if the stream is whitened.
    #[inline]
    pub(crate) fn whiten(
        &mut self,
        stream: &Stream,
        i: usize,
        cell: usize,
        value: f32,
    ) -> (u32, Option<Surprise>) {
        let (judged, surprise) = match (&stream.whitening, &mut self.pasts[i]) {
            (Some(whitening), Some(past)) => surprise(whitening, past, value),
            _ => (cell as u32, None),
        };
        match stream.judged().numeric() {
            Some(numeric) if numeric.runs.is_some() => (self.in_run(numeric, i, judged), surprise),
            _ => (judged, surprise),
        }
    }

    /// The cell of a value of a stream whose missing values come in runs.
    fn in_run(&mut self, numeric: &Numeric, i: usize, judged: u32) -> u32 {
        let before = std::mem::replace(&mut self.missing[i], judged == MISSING as u32);
        match (before, self.missing[i]) {
            (true, true) => numeric.bins.cells() as u32,
            (true, false) => numeric.bins.cells() as u32 + 1,
            _ => judged,
        }
    }

    /// Takes the cells of one sample, one per stream.
    pub(crate) fn observe_cells(&mut self, cells: &[u32]) -> Option<Detection> {
        self.samples += 1;
        let mut sums = [0.0; LANES];
        for (stream, (lane, cell)) in self.tables.lanes.iter().zip(cells).enumerate() {
            if let Some(lane) = lane
                && self.limiter.quiet_until[stream] <= self.samples
            {
                lane.step(&mut self.state, std::slice::from_ref(cell), std::slice::from_mut(&mut sums));
            }
        }
        let total = total(&sums);
        (total >= self.threshold).then(|| self.alarm(total))
    }

    /// Takes rows of a block until the first that raises an alarm, and tells which row of the block that was.
    /// The state is then that of [`Self::observe_cells`], bit by bit.
    pub(crate) fn observe_block(&mut self, cells: &Block, from: usize) -> Option<(usize, Detection)> {
        self.before.copy_from(&self.state);
        self.advance(cells, from..cells.rows);
        let over = self.sums.iter().position(|sums| total(sums) >= self.threshold);
        let Some(quiet) = over else {
            self.samples += (cells.rows - from) as u64;
            return None;
        };
        std::mem::swap(&mut self.state, &mut self.before);
        self.advance(cells, from..from + quiet + 1);
        self.samples += quiet as u64 + 1;
        let total = total(&self.sums[quiet]);
        Some((from + quiet, self.alarm(total)))
    }

    /// Steps through some rows of a block, one stream after the other.
    fn advance(&mut self, cells: &Block, rows: Range<usize>) {
        self.sums.clear();
        self.sums.resize(rows.len(), [0.0; LANES]);
        for (stream, lane) in self.tables.lanes.iter().enumerate() {
            let quiet = self.limiter.quiet_until[stream].saturating_sub(self.samples + 1);
            let quiet = usize::try_from(quiet).unwrap_or(usize::MAX).min(rows.len());
            if let Some(lane) = lane {
                let heard = &cells.stream(stream)[rows.start + quiet..rows.end];
                lane.step(&mut self.state, heard, &mut self.sums[quiet..]);
            }
        }
    }

    fn alarm(&mut self, total: f64) -> Detection {
        let by_evidence = |a: &usize, b: &usize| self.evidence(*a).total_cmp(&self.evidence(*b));
        let stream = (0..self.tables.lanes.len()).max_by(by_evidence).unwrap_or(0);
        let (alternative, age) = self.leading(stream).unwrap_or((Alternative::Higher, 0.0));
        let detection = Detection {
            stream,
            alternative,
            sample: self.samples,
            change_sample: self.samples.saturating_sub(age.round() as u64).max(1),
            log10_evidence: total.log10(),
            log10_threshold: self.log10_threshold(),
        };
        self.rearm();
        self.limiter.admit(stream, self.samples);
        detection
    }

    /// The alternative of `stream` with the largest statistic, and its mean age.
    fn leading(&self, stream: usize) -> Option<(Alternative, f32)> {
        let lane = self.tables.lanes.get(stream)?.as_ref()?;
        let statistics = &self.state.statistics[lane.start..];
        let best =
            (0..lane.table.alternatives.len()).max_by(|a, b| statistics[*a].total_cmp(&statistics[*b]))?;
        let statistic = statistics[best].max(f32::MIN_POSITIVE);
        Some((lane.table.alternatives[best], self.state.ages[lane.start + best] / statistic))
    }

    /// The share of `stream` in the device's evidence.
    fn evidence(&self, stream: usize) -> f64 {
        let lane = self.tables.lanes.get(stream).and_then(Option::as_ref);
        let held = lane.map_or(&[][..], |l| &self.state.statistics[l.start..l.start + l.table.lanes]);
        held.iter().map(|statistic| f64::from(*statistic)).sum()
    }

    /// Forgets all evidence.
    pub fn rearm(&mut self) {
        self.state.statistics.fill(0.0);
        self.state.ages.fill(0.0);
    }

    /// Observations since the detector was made.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// Base-ten logarithm of the evidence at which an alarm is raised: the average run length in samples.
    #[must_use]
    pub fn log10_threshold(&self) -> f64 {
        self.threshold.log10()
    }

    /// Base-ten logarithm of each stream's share of the evidence; at least -30.
    pub fn log10_evidence(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.tables.lanes.len()).map(|stream| self.evidence(stream).max(1e-30).log10())
    }

    /// The alternatives watched for `stream`.
    #[must_use]
    pub fn alternatives(&self, stream: usize) -> &[Alternative] {
        let lane = self.tables.lanes.get(stream).and_then(Option::as_ref);
        lane.map_or(&[], |lane| &lane.table.alternatives)
    }

    /// Bytes of statistics, and bytes of tables shared with other detectors of the reference.
    pub(crate) fn memory_bytes(&self) -> (usize, usize) {
        let codes = self.tables.lanes.iter().flatten().map(|lane| lane.table.codes.len());
        let tables = codes.sum::<usize>() * size_of::<u16>() + self.tables.lanes.len() * size_of::<Lane>();
        (2 * self.tables.width * size_of::<f32>(), tables)
    }

    /// What a restart must not forget.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC, VERSION);
        w.u64(self.fingerprint);
        w.u64(self.samples);
        w.len(self.state.statistics.len());
        self.state.statistics.iter().chain(&self.state.ages).for_each(|value| w.f32(*value));
        self.pasts.iter().flatten().for_each(|past| past.write(&mut w));
        self.missing.iter().for_each(|missing| w.u8(u8::from(*missing)));
        self.limiter.write(&mut w);
        w.finish()
    }

    /// Takes up the state of a detector of the same reference; on an error nothing changes.
    ///
    /// # Errors
    /// The bytes are not such a state.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let rested = bytes.get(MAGIC.len()) != Some(&VERSION_BEFORE_LIMITS);
        let version = if rested { VERSION } else { VERSION_BEFORE_LIMITS };
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, version)?;
        let found = r.u64("fingerprint")?;
        if found != self.fingerprint {
            return Err(DecodeError::OtherReference { expected: self.fingerprint, found });
        }
        let samples = r.u64("samples")?;
        let width = self.tables.width;
        ensure(r.len("lanes", width)? == width, "lanes")?;
        let mut read = || -> Result<Vec<f32>, DecodeError> {
            let values = (0..width).map(|_| r.f32("statistics")).collect::<Result<Vec<_>, _>>()?;
            ensure(values.iter().all(|v| (0.0..=STATISTIC_MAX).contains(v)), "statistics")?;
            Ok(values)
        };
        let state = State { statistics: read()?, ages: read()? };
        let past = |past: &Option<Past>| past.as_ref().map(|past| past.read(&mut r)).transpose();
        let pasts = self.pasts.iter().map(past).collect::<Result<Vec<_>, _>>()?;
        let (mut missing, mut limiter) =
            (vec![false; self.missing.len()], Limiter::new(self.missing.len(), HOLD_OFF_SAMPLES));
        if rested {
            for missing in &mut missing {
                *missing = r.u8("missing")? != 0;
            }
            limiter.read(&mut r)?;
        }
        r.finish()?;
        (self.samples, self.state, self.pasts, self.missing, self.limiter) =
            (samples, state, pasts, missing, limiter);
        Ok(())
    }
}

/// The surprise of a value and its cell; [`WAITING`] while the past is too short.
fn surprise(whitening: &Whitening, past: &mut Past, value: f32) -> (u32, Option<Surprise>) {
    let surprise = past.surprise(&whitening.filter, value);
    let numeric = whitening.surprises.numeric();
    let cell = surprise.zip(numeric).map(|(s, numeric)| numeric.bins.cell(s.deviations) as u32);
    (cell.unwrap_or(WAITING), surprise)
}

fn pasts(reference: &Reference) -> Vec<Option<Past>> {
    let past = |stream: &Stream| stream.whitening.as_ref().map(|whitening| Past::new(&whitening.filter));
    reference.streams.iter().map(past).collect()
}

/// Sum of the evidence of all streams.
fn total(sums: &Sums) -> f64 {
    f64::from(sums.iter().sum::<f32>())
}

impl Lane {
    /// Shiryaev-Roberts steps of this stream through `cells`; adds the evidence after each to `sums`.
    ///
    /// Nothing is capped: below the threshold a statistic is at most [`crate::MAX_ARL`], one step multiplies it
    /// by less than 2^16, and above the threshold it is forgotten.
    #[inline]
    fn step(&self, state: &mut State, cells: &[u32], sums: &mut [Sums]) {
        let held = self.start..self.start + self.table.lanes;
        let (statistics, _) = state.statistics[held.clone()].as_chunks_mut::<LANES>();
        let (ages, _) = state.ages[held].as_chunks_mut::<LANES>();
        let (codes, _) = self.table.codes.as_chunks::<LANES>();
        let (weights, _) = self.table.weights.as_chunks::<LANES>();
        let chunks = statistics.len().min(ages.len()).min(weights.len());
        let rows = cells.len().min(sums.len());
        for chunk in 0..chunks {
            let (mut evidence, mut aged) = (statistics[chunk], ages[chunk]);
            let weights = weights[chunk];
            for row in 0..rows {
                if let Some(codes) = codes.get(cells[row] as usize * chunks + chunk) {
                    shiryaev_roberts(&mut evidence, &mut aged, &weights, codes);
                    add(&mut sums[row], &evidence);
                }
            }
            (statistics[chunk], ages[chunk]) = (evidence, aged);
        }
    }
}

/// `R <- (R + weight) * ratio` in every lane, and the same for each statistic times its age.
#[inline(always)]
fn shiryaev_roberts(evidence: &mut Sums, aged: &mut Sums, weights: &Sums, codes: &[u16; LANES]) {
    let mut ratios = [0.0; LANES];
    for k in 0..LANES {
        ratios[k] = decode(codes[k]);
    }
    add(aged, evidence);
    multiply(aged, &ratios);
    for k in 0..LANES {
        evidence[k] = (evidence[k] + weights[k]) * ratios[k];
    }
}

#[inline(always)]
fn add(to: &mut Sums, from: &Sums) {
    for k in 0..LANES {
        to[k] += from[k];
    }
}

#[inline(always)]
fn multiply(to: &mut Sums, by: &Sums) {
    for k in 0..LANES {
        to[k] *= by[k];
    }
}
