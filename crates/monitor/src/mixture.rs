//! A mixture of Shiryaev-Roberts statistics over a grid of alternatives: the step, the alarm and the stored form that the
//! detectors of labels and of losses share.
//!
//! `R <- (R + 1) * factor` for each alternative; their mean is held against the threshold. While every factor has an
//! expectation of at most one, the mean time to a false alarm is at least the threshold. Source: M. Pollak, Annals of
//! Statistics 13 (1985); J. Shin, A. Ramdas, A. Rinaldo, "E-detectors" (2022).
//!
//! Deliberately missing: many streams at once, which [`crate::Detector`] steps through in blocks of single precision.

use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::performance::DecayDetection;

/// Evidence of `N` alternatives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mixture<const N: usize> {
    threshold: f64,
    statistics: [f64; N],
    /// Observations since each alternative's believed change.
    ages: [f64; N],
    observed: u64,
}

impl<const N: usize> Mixture<N> {
    /// A mixture whose mean number of observations to a false alarm is at least `arl`.
    pub(crate) fn new(arl: f64) -> Self {
        let threshold = arl.clamp(1.0, crate::MAX_ARL);
        Self { threshold, statistics: [0.0; N], ages: [0.0; N], observed: 0 }
    }

    /// Takes one observation by the factor it gives each alternative; reports and re-arms when the evidence passes the
    /// threshold.
    pub(crate) fn observe(&mut self, factor: impl Fn(usize) -> f64) -> Option<DecayDetection> {
        self.observed += 1;
        for (k, (statistic, age)) in self.statistics.iter_mut().zip(&mut self.ages).enumerate() {
            *age = (*age + 1.0) * *statistic / (*statistic + 1.0);
            *statistic = (*statistic + 1.0) * factor(k);
        }
        let evidence = self.statistics.iter().sum::<f64>() / N as f64;
        (evidence >= self.threshold).then(|| self.alarm(evidence))
    }

    fn alarm(&mut self, evidence: f64) -> DecayDetection {
        let leading = self.statistics.iter().zip(self.ages).max_by(|a, b| a.0.total_cmp(b.0));
        let age = leading.map_or(0.0, |(_, age)| age);
        self.rearm();
        DecayDetection {
            label: self.observed,
            change_label: self.observed.saturating_sub(age.round() as u64).max(1),
            log10_evidence: evidence.log10(),
            log10_threshold: self.threshold.log10(),
        }
    }

    /// Forgets all evidence.
    pub(crate) fn rearm(&mut self) {
        self.statistics = [0.0; N];
        self.ages = [0.0; N];
    }

    /// Observations since it was made.
    pub(crate) const fn observed(&self) -> u64 {
        self.observed
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u64(self.observed);
        self.statistics.iter().chain(&self.ages).for_each(|value| w.f64(*value));
    }

    /// The evidence that was written, held against this one's threshold.
    pub(crate) fn read(&self, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut restored = Self { observed: r.u64("observations")?, ..self.clone() };
        for value in restored.statistics.iter_mut().chain(&mut restored.ages) {
            *value = r.f64("statistics")?;
            ensure((0.0..=1e300).contains(value), "statistics")?;
        }
        Ok(restored)
    }
}
