//! Accuracy without labels: how often the model was right at each confidence, applied to the confidence it shows now.
//!
//! The estimate follows inputs that move (covariate shift) and is blind to a changed relation of inputs and truth: it
//! always says that it assumes no concept drift. Measured on held-out rows only; on training rows a model is too sure.
//! Source: S. Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance" (2022), for the setting;
//! W. Hoeffding (1963) for the range.
//! Deliberately missing: regressions, whose outputs carry no probability.

use serde::{Deserialize, Serialize};

use crate::metrics::Estimate;
use crate::profile::{Profile, ProfileError, StreamProfile};
use crate::reference::{Reference, Stream};

/// What every estimate without labels says of itself.
pub const NO_CONCEPT_DRIFT: &str = "assumes no concept drift";

/// How often the model was right, by cell of the reference's confidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Rows per cell.
    rows: Vec<u32>,
    /// Of which the prediction was right.
    correct: Vec<u32>,
}

impl Calibration {
    /// The calibration of held-out `rows`: the confidence of each and whether its prediction was right. None if there
    /// are no rows.
    pub fn fit(reference: &Reference, rows: impl IntoIterator<Item = (Option<f32>, bool)>) -> Option<Self> {
        let stream = confidence(reference)?;
        let bins = &stream.numeric()?.bins;
        let cells = stream.counts().len();
        let mut fitted = Self { rows: vec![0; cells], correct: vec![0; cells] };
        for (confidence, correct) in rows {
            let cell = bins.cell(confidence.unwrap_or(f32::NAN));
            fitted.rows[cell] = fitted.rows[cell].saturating_add(1);
            fitted.correct[cell] = fitted.correct[cell].saturating_add(u32::from(correct));
        }
        fitted.rows.iter().any(|rows| *rows > 0).then_some(fitted)
    }

    /// The accuracy that the confidence in `profile` lets expect, with a range at error level `alpha`; none without
    /// predictions, or if the calibration is of another reference.
    ///
    /// # Errors
    /// The profile is of another reference.
    pub fn estimate(
        &self,
        reference: &Reference,
        profile: &Profile,
        alpha: f64,
    ) -> Result<Option<Estimate>, ProfileError> {
        profile.check(reference)?;
        let counts = profile.streams().last().map(StreamProfile::counts).unwrap_or_default();
        let fits = self.rows.len() == counts.len() && self.correct.len() == counts.len();
        Ok((fits && profile.n() > 0).then(|| self.apply(&counts, profile.n(), alpha)))
    }

    fn apply(&self, counts: &[u64], n: u64, alpha: f64) -> Estimate {
        let total: f64 = self.rows.iter().map(|rows| f64::from(*rows)).sum();
        let overall = self.correct.iter().map(|correct| f64::from(*correct)).sum::<f64>() / total.max(1.0);
        let (mut value, mut variance, mut unknown) = (0.0, 0.0, 0.0);
        for ((count, rows), correct) in counts.iter().zip(&self.rows).zip(&self.correct) {
            let weight = *count as f64 / n as f64;
            let rows = f64::from(*rows);
            if rows > 0.0 {
                value += weight * (f64::from(*correct) / rows).min(1.0);
                variance += weight * weight / rows;
            } else {
                value += weight * overall;
                unknown += weight;
            }
        }
        let tail = (4.0 / alpha.clamp(1e-12, 1.0)).ln() / 2.0;
        let reach = (tail * variance).sqrt() + (tail / n as f64).sqrt() + unknown;
        let interval = ((value - reach).max(0.0), (value + reach).min(1.0));
        Estimate { assumes: Some(NO_CONCEPT_DRIFT.to_owned()), ..Estimate::new(value, interval, n) }
    }
}

/// The stream of the confidence: always the last.
fn confidence(reference: &Reference) -> Option<&Stream> {
    reference.streams().last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sample;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Rows of a perfectly calibrated model: one input, which is also the confidence.
    fn rows(rng: &mut ChaCha8Rng, n: usize, least: f32) -> Vec<(f32, bool)> {
        let mut row = || {
            let confidence = least + (1.0 - least) * rng.random::<f32>();
            (confidence, rng.random::<f32>() < confidence)
        };
        (0..n).map(|_| row()).collect()
    }

    fn sample((confidence, _): &(f32, bool)) -> Sample<'_> {
        Sample { features: std::slice::from_ref(confidence), predicted: None, confidence: Some(*confidence) }
    }

    fn fitted(rng: &mut ChaCha8Rng) -> (Reference, Calibration) {
        let rows = rows(rng, 4_000, 0.5);
        let reference = Reference::fit(&["x".to_owned()], &[], rows.iter().map(sample)).unwrap();
        let pairs = rows.iter().map(|(confidence, correct)| (Some(*confidence), *correct));
        let calibration = Calibration::fit(&reference, pairs).unwrap();
        (reference, calibration)
    }

    #[test]
    fn it_follows_inputs_that_move() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let (reference, calibration) = fitted(&mut rng);
        for (least, most) in [(0.5, 1.0), (0.8, 1.0), (0.5, 0.7)] {
            let mut profile = Profile::new(&reference);
            let now = rows(&mut rng, 3_000, least);
            let now: Vec<_> = now.into_iter().filter(|(confidence, _)| *confidence <= most).collect();
            now.iter().for_each(|row| profile.observe(&reference, &sample(row)).unwrap());
            let truth = now.iter().filter(|(_, correct)| *correct).count() as f64 / now.len() as f64;
            let found = calibration.estimate(&reference, &profile, 0.05).unwrap().unwrap();
            assert!((found.value - truth).abs() < 0.03, "{found:?} {truth}");
            assert!(!found.excludes(truth) && found.high - found.low < 0.2, "{found:?} {truth}");
            assert_eq!(found.assumes.as_deref(), Some("assumes no concept drift"));
        }
    }

    #[test]
    fn what_calibration_never_saw_widens_the_range() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (reference, calibration) = fitted(&mut rng);
        let mut profile = Profile::new(&reference);
        assert_eq!(calibration.estimate(&reference, &profile, 0.05), Ok(None));
        let unsure = [(0.1f32, false); 50];
        unsure.iter().for_each(|row| profile.observe(&reference, &sample(row)).unwrap());
        let found = calibration.estimate(&reference, &profile, 0.05).unwrap().unwrap();
        assert_eq!((found.low, found.high), (0.0, 1.0));
        assert_eq!(Calibration::default().estimate(&reference, &profile, 0.05), Ok(None));
        assert_eq!(Calibration::fit(&reference, []), None);
        let json = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
    }
}
