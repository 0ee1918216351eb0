//! Sequential change detection over all streams of a reference, with one false-alarm budget.
//!
//! Every alternative `k` of stream `s` keeps a Shiryaev-Roberts statistic `R <- (1 + R) * ratio(cell)`. Under any
//! null of the reference's confidence region `R_n - n` is a supermartingale, and so is the average over
//! alternatives and streams, whatever the dependence *between* streams. An alarm at `A` therefore has a mean
//! time to a false alarm of at least `A`, for observations independent over time. Serial dependence breaks
//! the promise; whiten such streams before they reach this type.
//!
//! Sources: A. Shiryaev (1963) and S. Roberts (1966) for the statistic; M. Pollak, Annals of Statistics 15
//! (1987) for `E[T] >= A`; J. Shin, A. Ramdas, A. Rinaldo, "E-detectors" (2022) for averages.

use crate::alternative::{Alternative, LANES, Table, table};
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::reference::Reference;
use crate::sample::Sample;

/// A statistic never exceeds this, so that sums of many stay finite in `f32`.
const STATISTIC_MAX: f32 = 1e30;
/// Bound of a statistic times an age.
const AGE_MAX: f32 = 1e37;
const DOCUMENT: &str = "detector state";
const MAGIC: [u8; 4] = *b"EWDT";
const VERSION: u8 = 1;

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

/// Where one stream's lanes are.
#[derive(Debug, Clone)]
struct Lane {
    table: Table,
    start: usize,
}

/// The sequential detector of one device.
#[derive(Debug, Clone)]
pub struct Detector {
    fingerprint: u64,
    threshold: f64,
    lanes: Vec<Option<Lane>>,
    active: usize,
    samples: u64,
    statistics: Vec<f32>,
    /// Each statistic times the mean age of the change under its alternative, in observations.
    ages: Vec<f32>,
    /// Mean statistic of each stream's alternatives.
    evidence: Vec<f64>,
    cells: Vec<u32>,
}

impl Detector {
    /// A detector whose mean time between false alarms is at least `arl_samples`.
    #[must_use]
    pub fn new(reference: &Reference, arl_samples: f64) -> Self {
        let mut start = 0;
        let watched = reference.streams.iter().filter(|stream| !stream.is_silent()).count();
        let mut lanes = Vec::with_capacity(reference.streams.len());
        for stream in &reference.streams {
            let table = if stream.is_silent() { None } else { table(stream, reference.n, watched) };
            lanes.push(table.map(|table| {
                let lane = Lane { start, table };
                start += lane.table.lanes;
                lane
            }));
        }
        Self {
            fingerprint: reference.fingerprint,
            threshold: arl_samples.clamp(1.0, crate::MAX_ARL),
            active: lanes.iter().flatten().count(),
            evidence: vec![0.0; lanes.len()],
            cells: vec![0; lanes.len()],
            lanes,
            samples: 0,
            statistics: vec![0.0; start],
            ages: vec![0.0; start],
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
        reference.place(sample, |i, cell, _| cells[i] = cell as u32);
        let detection = self.observe_cells(&cells);
        self.cells = cells;
        detection
    }

    /// Takes the cells of one sample, one per stream.
    pub(crate) fn observe_cells(&mut self, cells: &[u32]) -> Option<Detection> {
        self.samples += 1;
        let mut total = 0.0;
        for ((lane, cell), evidence) in self.lanes.iter().zip(cells).zip(&mut self.evidence) {
            let Some(lane) = lane else { continue };
            let (from, lanes) = (*cell as usize * lane.table.lanes, lane.table.lanes);
            let Some(ratios) = lane.table.ratios.get(from..from + lanes) else { continue };
            let state = lane.start..lane.start + lanes;
            let sum = step(&mut self.statistics[state.clone()], &mut self.ages[state], ratios);
            *evidence = sum / lane.table.alternatives.len() as f64;
            total += *evidence;
        }
        let total = total / self.active.max(1) as f64;
        (total >= self.threshold).then(|| self.alarm(total))
    }

    fn alarm(&mut self, total: f64) -> Detection {
        let by_evidence = |a: &usize, b: &usize| self.evidence[*a].total_cmp(&self.evidence[*b]);
        let stream = (0..self.evidence.len()).max_by(by_evidence).unwrap_or(0);
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
        detection
    }

    /// The alternative of `stream` with the largest statistic, and its mean age.
    fn leading(&self, stream: usize) -> Option<(Alternative, f32)> {
        let lane = self.lanes.get(stream)?.as_ref()?;
        let best = (0..lane.table.alternatives.len())
            .max_by(|a, b| self.statistics[lane.start + a].total_cmp(&self.statistics[lane.start + b]))?;
        let statistic = self.statistics[lane.start + best].max(f32::MIN_POSITIVE);
        Some((lane.table.alternatives[best], self.ages[lane.start + best] / statistic))
    }

    /// Forgets all evidence.
    pub fn rearm(&mut self) {
        self.statistics.fill(0.0);
        self.ages.fill(0.0);
        self.evidence.fill(0.0);
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
        let active = self.active.max(1) as f64;
        self.evidence.iter().map(move |evidence| (evidence / active).max(1e-30).log10())
    }

    /// The alternatives watched for `stream`.
    #[must_use]
    pub fn alternatives(&self, stream: usize) -> &[Alternative] {
        self.lanes.get(stream).and_then(Option::as_ref).map_or(&[], |lane| &lane.table.alternatives)
    }

    /// What a restart must not forget.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC, VERSION);
        w.u64(self.fingerprint);
        w.u64(self.samples);
        w.len(self.statistics.len());
        self.statistics.iter().chain(&self.ages).for_each(|value| w.f32(*value));
        self.evidence.iter().for_each(|value| w.f64(*value));
        w.finish()
    }

    /// Takes up the state of a detector of the same reference; on an error nothing changes.
    ///
    /// # Errors
    /// The bytes are not such a state.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, VERSION)?;
        let found = r.u64("fingerprint")?;
        if found != self.fingerprint {
            return Err(DecodeError::OtherReference { expected: self.fingerprint, found });
        }
        let samples = r.u64("samples")?;
        ensure(r.len("lanes", self.statistics.len())? == self.statistics.len(), "lanes")?;
        let mut read = |max: f32| -> Result<Vec<f32>, DecodeError> {
            let values =
                (0..self.statistics.len()).map(|_| r.f32("statistics")).collect::<Result<Vec<_>, _>>()?;
            ensure(values.iter().all(|v| (0.0..=max).contains(v)), "statistics")?;
            Ok(values)
        };
        let (statistics, ages) = (read(STATISTIC_MAX)?, read(AGE_MAX)?);
        let evidence = (0..self.evidence.len()).map(|_| r.f64("evidence")).collect::<Result<Vec<_>, _>>()?;
        ensure(evidence.iter().all(|v| (0.0..=f64::MAX).contains(v)), "evidence")?;
        r.finish()?;
        (self.samples, self.statistics, self.ages, self.evidence) = (samples, statistics, ages, evidence);
        Ok(())
    }
}

/// One Shiryaev-Roberts step of every lane; returns the sum of the statistics.
#[inline]
fn step(statistics: &mut [f32], ages: &mut [f32], ratios: &[f32]) -> f64 {
    let mut sums = [0.0f32; LANES];
    let (statistics, _) = statistics.as_chunks_mut::<LANES>();
    let (ages, _) = ages.as_chunks_mut::<LANES>();
    let (ratios, _) = ratios.as_chunks::<LANES>();
    for ((statistics, ages), ratios) in statistics.iter_mut().zip(ages).zip(ratios) {
        for k in 0..LANES {
            let before = statistics[k];
            let after = (before + 1.0) * ratios[k];
            let age = (ages[k] + before) * ratios[k];
            statistics[k] = if after < STATISTIC_MAX { after } else { STATISTIC_MAX };
            ages[k] = if age < AGE_MAX { age } else { AGE_MAX };
            sums[k] += statistics[k];
        }
    }
    f64::from(sums.iter().sum::<f32>())
}
