//! Taking serial dependence out of a numeric stream before it is judged.
//!
//! A value becomes its surprise: what the stream's past did not predict ([`crate::autoregression`]), in units of
//! the spread that its recent past suggests ([`crate::volatility`]). Surprises of the reference are nearly
//! independent, which is what the detector's promise needs. Before the past is long enough there is no
//! surprise, and the detector waits. A missing value is taken to be the predicted one, an extreme one is
//! brought within a range of the reference's support (unless the level wanders), so that neither echoes.
//!
//! Deliberately missing: learning. What was fitted on the reference stays.

use crate::alternative::Worth;
use crate::autoregression::{self, Prediction};
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::reference::Stream;
use crate::verification::Verification;
use crate::volatility::{self, Volatility};

/// Least part of a reference's rows that counts as independent.
const LOCATION_WORTH_MIN: f64 = 0.2;
/// The same of a moving variance.
const SPREAD_WORTH_MIN: f64 = 0.02;

/// How a stream follows from its past, and what its surprises look like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Whitening {
    pub(crate) filter: Filter,
    /// Surprises of the reference.
    pub(crate) surprises: Stream,
    pub(crate) verification: Verification,
    pub(crate) worth: Worth,
}

/// A value against what its past let expect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Surprise {
    /// Deviations from what was expected; what is no finite number stays what it is.
    pub(crate) deviations: f32,
    pub(crate) expected: f64,
}

/// Turns values into surprises.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter {
    pub(crate) prediction: Prediction,
    pub(crate) volatility: Volatility,
    /// What the past is held within.
    low: f32,
    high: f32,
}

impl Filter {
    /// The filter of `series`, NaN where missing; none for a series without spread or with too few rows.
    pub(crate) fn fit(series: &[f32], seasons: &[usize], find_seasons: bool) -> Option<Self> {
        let wide: Vec<f64> =
            series.iter().map(|x| if x.is_finite() { f64::from(*x) } else { f64::NAN }).collect();
        let prediction = autoregression::fit(&wide, seasons, find_seasons)?;
        let (deviation, wanders) = (prediction.variance.sqrt(), prediction.wanders());
        let recent = &wide[wide.len().saturating_sub(autoregression::ROWS_MAX)..];
        let residuals: Vec<f64> =
            prediction.residuals(recent).into_iter().filter(|r| r.is_finite()).collect();
        let standard: Vec<f64> = residuals.iter().map(|r| r / deviation).collect();
        let finite = || series.iter().copied().filter(|x| x.is_finite());
        let (min, max) = (finite().fold(f32::MAX, f32::min), finite().fold(f32::MIN, f32::max));
        let reach = if wanders { f32::MAX } else { max - min };
        let bounds = ((min - reach).max(f32::MIN), (max + reach).min(f32::MAX));
        Some(Self {
            prediction,
            volatility: volatility::fit(&standard, wanders),
            low: bounds.0,
            high: bounds.1,
        })
    }

    /// Whether there is nothing to take out.
    pub(crate) fn is_trivial(&self) -> bool {
        self.prediction.terms.is_empty() && self.volatility == Volatility::NONE
    }

    /// How many independent rows the surprises of `rows` rows are worth. A filter is estimated too: an error in
    /// it leaves in the surprises what changes as slowly as the stream does.
    pub(crate) fn worth(&self, rows: u64) -> Worth {
        let returning = 1.0 - self.prediction.persistence().abs();
        let kept = self.volatility.shock + self.volatility.memory;
        let location = rows.max(1) as f64 * returning.clamp(LOCATION_WORTH_MIN, 1.0);
        Worth { location, spread: location * ((1.0 - kept) / (1.0 + kept)).clamp(SPREAD_WORTH_MIN, 1.0) }
    }

    /// The surprise of each value; none while the past is too short.
    pub(crate) fn surprises(&self, series: &[f32]) -> Vec<Option<f32>> {
        let mut past = Past::new(self);
        series.iter().map(|value| past.surprise(self, *value).map(|surprise| surprise.deviations)).collect()
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.f64(self.prediction.intercept);
        w.f64(self.prediction.variance);
        w.len(self.prediction.terms.len());
        for (lag, coefficient) in &self.prediction.terms {
            w.len(*lag);
            w.f64(*coefficient);
        }
        w.f64(self.volatility.shock);
        w.f64(self.volatility.memory);
        w.f32(self.low);
        w.f32(self.high);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (intercept, variance) = (r.f64("intercept")?, r.f64("variance")?);
        let terms = r.len("lags", autoregression::ORDER_MAX + 1 + autoregression::SEASONS * 4)?;
        let term = |r: &mut Reader<'_>| Ok((r.u32("lags")? as usize, r.f64("coefficients")?));
        let terms = (0..terms).map(|_| term(r)).collect::<Result<Vec<_>, DecodeError>>()?;
        let volatility = Volatility { shock: r.f64("volatility")?, memory: r.f64("volatility")? };
        let (low, high) = (r.f32("bounds")?, r.f32("bounds")?);
        let lags =
            terms.iter().all(|(lag, c)| (1..=autoregression::SEASON_MAX + 1).contains(lag) && c.abs() < 1e6);
        ensure(lags && intercept.is_finite() && variance > 0.0 && variance.is_finite(), "prediction")?;
        let parts = [volatility.shock, volatility.memory, 1.0 - volatility.shock - volatility.memory];
        ensure(parts.iter().all(|part| (0.0..=1.0).contains(part)), "volatility")?;
        ensure(low.is_finite() && high.is_finite() && low <= high, "bounds")?;
        Ok(Self { prediction: Prediction { intercept, terms, variance }, volatility, low, high })
    }
}

/// The recent past of one stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Past {
    ring: Vec<f32>,
    next: usize,
    seen: usize,
    /// Variance expected of the next residual, over the reference's.
    variance: f64,
    deviation: f64,
}

impl Past {
    pub(crate) fn new(filter: &Filter) -> Self {
        let reach = filter.prediction.reach();
        Self {
            ring: vec![0.0; reach],
            next: 0,
            seen: 0,
            variance: 1.0,
            deviation: filter.prediction.variance.sqrt(),
        }
    }

    /// What `filter` expects next; none while the past is too short.
    fn predicted(&self, filter: &Filter) -> Option<f64> {
        let reach = self.ring.len();
        let ago = |lag: usize| {
            let at = self.next + reach - lag;
            f64::from(self.ring[if at >= reach { at - reach } else { at }])
        };
        let terms = filter.prediction.terms.iter();
        (self.seen == reach)
            .then(|| filter.prediction.intercept + terms.map(|(lag, c)| c * ago(*lag)).sum::<f64>())
    }

    /// Takes the next value; returns its surprise.
    pub(crate) fn surprise(&mut self, filter: &Filter, value: f32) -> Option<Surprise> {
        let predicted = self.predicted(filter);
        let known = if value.is_finite() { Some(f64::from(value)) } else { predicted };
        let held = known.unwrap_or(f64::midpoint(f64::from(filter.low), f64::from(filter.high)));
        self.push((held as f32).clamp(filter.low, filter.high));
        if !value.is_finite() {
            return Some(Surprise { deviations: value, expected: f64::NAN });
        }
        let expected = predicted?;
        let z = (f64::from(value) - expected) / self.deviation;
        let surprise = z / self.variance.sqrt();
        self.variance = filter.volatility.next(self.variance, z);
        let deviations = surprise.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        Some(Surprise { deviations, expected })
    }

    fn push(&mut self, value: f32) {
        if self.ring.is_empty() {
            return;
        }
        self.ring[self.next] = value;
        self.next = if self.next + 1 == self.ring.len() { 0 } else { self.next + 1 };
        self.seen = (self.seen + 1).min(self.ring.len());
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.len(self.seen);
        w.len(self.next);
        w.f64(self.variance);
        self.ring.iter().for_each(|value| w.f32(*value));
    }

    /// A stored past of the same filter.
    pub(crate) fn read(&self, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (seen, next) = (r.u32("past")? as usize, r.u32("past")? as usize);
        let variance = r.f64("past")?;
        let ring = (0..self.ring.len()).map(|_| r.f32("past")).collect::<Result<Vec<_>, _>>()?;
        ensure(seen <= ring.len() && next <= ring.len().saturating_sub(1), "past")?;
        ensure(variance > 0.0 && variance < 1e12 && ring.iter().all(|x| x.is_finite()), "past")?;
        Ok(Self { ring, next, seen, variance, deviation: self.deviation })
    }
}
