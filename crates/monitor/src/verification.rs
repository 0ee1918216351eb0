//! Trying a whitened stream on a part of the reference that it was not fitted on.
//!
//! The first 70% of the reference are fitted, the last 30% are played to the detector. A reference is without
//! change, so its evidence there should stay near one per row: evidence `E` over `m` rows has a probability of
//! at most `m / E` (J. Ville's inequality for the detector's martingale). If it is rarer than [`SURPRISING`],
//! or residuals are still correlated (G. Ljung and G. Box, Biometrika 65 (1978)), the stream's evidence is
//! divided by what was measured, which raises its threshold as much.

use serde::{Deserialize, Serialize};

use crate::alternative::{Worth, table};
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::fit::numeric_stream;
use crate::ratio::decode;
use crate::whitening::Filter;

/// Share of the reference that is fitted.
const FITTED: f64 = 0.7;
/// Fewer held-back rows than this verify nothing.
const HELD_BACK_MIN: usize = 30;
/// Probability under which the held-back evidence counts as dependence that was left over.
const SURPRISING: f64 = 0.1;
/// Lags of the portmanteau statistic, and its 99.9% quantile (chi-square with as many degrees of freedom).
const LAGS: usize = 20;
const PORTMANTEAU: f64 = 45.31;
/// Surprises count as at most this many deviations in correlations.
const SURPRISE_MAX: f64 = 4.0;
/// Evidence is never divided by more; a stream that asks for it is as good as unwatched.
const FACTOR_MAX: f64 = 1e12;

/// What the held-back part of an ordered reference showed about one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Rows held back; 0 if there were too few to verify anything.
    pub held_back: u64,
    /// Largest evidence of change on them; about `log10(held_back)` or less is expected.
    pub log10_evidence: f64,
    /// Ljung-Box statistic of 20 lags; above 45.3 residuals are correlated.
    pub ljung_box: f64,
    /// What the stream's evidence is divided by: 1 if verified.
    pub factor: f64,
}

impl Verification {
    /// Nothing was held back.
    pub(crate) const NONE: Self = Self { held_back: 0, log10_evidence: 0.0, ljung_box: 0.0, factor: 1.0 };

    /// Whether the stream kept its promise on the held-back rows.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.factor <= 1.0
    }

    /// Fits the first part of `series` as the whole was fitted, and plays it the rest.
    pub(crate) fn of(series: &[f32], seasons: &[usize], find_seasons: bool) -> Self {
        let cut = (series.len() as f64 * FITTED) as usize;
        let Some(filter) = Filter::fit(&series[..cut], seasons, find_seasons) else { return Self::NONE };
        let surprises = filter.surprises(series);
        let fitted: Vec<f32> = surprises[..cut].iter().copied().flatten().collect();
        let held_back: Vec<f32> = surprises[cut..].iter().copied().flatten().collect();
        if held_back.len() < HELD_BACK_MIN || fitted.is_empty() {
            return Self::NONE;
        }
        let worth = filter.worth(fitted.len() as u64);
        let evidence = largest_evidence(fitted, worth, &held_back);
        let (ljung_box, inflation) = correlation(&held_back);
        let rows = held_back.len() as f64;
        let by_evidence = (evidence * SURPRISING / rows).max(1.0);
        let by_correlation = if ljung_box > PORTMANTEAU { inflation * inflation } else { 1.0 };
        Self {
            held_back: held_back.len() as u64,
            log10_evidence: evidence.max(1e-30).log10(),
            ljung_box,
            factor: (by_evidence * by_correlation).min(FACTOR_MAX),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u64(self.held_back);
        [self.log10_evidence, self.ljung_box, self.factor].into_iter().for_each(|value| w.f64(value));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let held_back = r.u64("verification")?;
        let mut values = [0.0; 3];
        for value in &mut values {
            *value = r.f64("verification")?;
        }
        let [log10_evidence, ljung_box, factor] = values;
        let finite = log10_evidence.is_finite() && ljung_box.is_finite();
        ensure(finite && (1.0..=FACTOR_MAX).contains(&factor), "verification")?;
        Ok(Self { held_back, log10_evidence, ljung_box, factor })
    }
}

/// The largest evidence that a detector of the `fitted` values finds in the `held_back` ones.
fn largest_evidence(fitted: Vec<f32>, worth: Worth, held_back: &[f32]) -> f64 {
    let stream = numeric_stream("", fitted, None);
    let Some(numeric) = stream.numeric() else { return 0.0 };
    let Some(table) = table(&stream, worth, 1) else { return 0.0 };
    let mut statistics = vec![0.0f64; table.alternatives.len()];
    let mut largest = 0.0f64;
    for value in held_back {
        let from = numeric.bins.cell(*value) * table.lanes;
        for ((statistic, weight), code) in statistics.iter_mut().zip(&table.weights).zip(&table.codes[from..])
        {
            *statistic = ((*statistic + f64::from(*weight)) * f64::from(decode(*code))).min(1e100);
        }
        largest = largest.max(statistics.iter().sum::<f64>());
    }
    largest
}

/// Ljung-Box statistic, and the factor by which correlation widens the sum of many values.
fn correlation(values: &[f32]) -> (f64, f64) {
    let known: Vec<f64> = values
        .iter()
        .filter(|v| v.is_finite())
        .map(|v| f64::from(*v).clamp(-SURPRISE_MAX, SURPRISE_MAX))
        .collect();
    let n = known.len() as f64;
    let mean = known.iter().sum::<f64>() / n;
    let energy: f64 = known.iter().map(|v| (v - mean).powi(2)).sum();
    if known.len() <= LAGS || energy <= 0.0 {
        return (0.0, 1.0);
    }
    let (mut statistic, mut inflation) = (0.0, 1.0);
    for lag in 1..=LAGS {
        let pairs = known[lag..].iter().zip(&known);
        let correlation = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / energy;
        statistic += n * (n + 2.0) * correlation * correlation / (n - lag as f64);
        inflation += 2.0 * (1.0 - lag as f64 / (LAGS as f64 + 1.0)) * correlation;
    }
    (statistic, inflation.max(1.0))
}
