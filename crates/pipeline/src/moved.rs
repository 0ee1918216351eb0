//! Has the data left what the model that serves was made for? One verdict, by the population stability index of each
//! feature against the model's reference.
//!
//! Drift is what retraining is for, so nothing is asked unless `[validate] drift_max` is set: for those whose data may move a
//! little, and beyond that is broken. What finite samples explain is no move.

use edgeward_api::operator::GateVerdict;
use edgeward_core::Dataset;
use edgeward_model::{Bundle, BundleError};
use edgeward_monitor::{
    DecodeError, MonitorConfig, Profile, ProfileError, Reference, Sample, StreamDrift, View,
};

use crate::incumbent::IncumbentError;
use crate::validate::{shortened, verdict};

const GATE: &str = "data.drift";

/// A reference that nothing can be held against.
#[derive(Debug, thiserror::Error)]
pub enum MovedError {
    /// It cannot be had.
    #[error("fetching the model that serves, to hold the data against its reference")]
    Incumbent(#[source] Box<IncumbentError>),
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its reference is.
    #[error("reading the reference of the model that serves")]
    Reference(#[from] DecodeError),
    /// Its configuration of the monitor is.
    #[error("reading how devices watch the model that serves")]
    Config(#[from] serde_json::Error),
    /// The counts do not fit.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// The verdict where there is nothing to hold the data against.
#[must_use]
pub fn without(why: &str) -> GateVerdict {
    verdict(GATE, true, format!("{why}, so there is no reference to hold the data against"))
}

/// Holds `rows` against the reference in `bundle`.
///
/// # Errors
/// The bundle does not say what it should.
pub fn judge(max: f64, bundle: &Bundle, rows: &Dataset) -> Result<GateVerdict, MovedError> {
    let (Some(reference), Some(config)) = (bundle.reference_profile()?, bundle.monitor()?) else {
        return Ok(without("the model that serves has no reference"));
    };
    let reference = Reference::from_bytes(&reference)?;
    let config: MonitorConfig = serde_json::from_value(config)?;
    let view = View::new(config.input, rows.width(), None);
    let names = view.names(&rows.feature_names);
    let known: Vec<&str> = reference.streams().iter().map(edgeward_monitor::Stream::name).collect();
    if known.len() < names.len() || !names.iter().zip(&known).all(|(name, known)| name == known) {
        let reason = "the model that serves has other features, so its reference says nothing about these; \
                      leave [validate] drift_max out for the run that changes them";
        return Ok(verdict(GATE, false, reason));
    }
    let mut profile = Profile::new(&reference);
    for (features, _) in rows.rows() {
        let features = &view.input(features);
        profile.observe(&reference, &Sample { features, predicted: None, confidence: None })?;
    }
    let mut drifts = profile.drift(&reference)?;
    drifts.truncate(names.len());
    Ok(judged(max, drifts))
}

fn judged(max: f64, mut drifts: Vec<StreamDrift>) -> GateVerdict {
    let psi = |drift: &StreamDrift| drift.psi.filter(|_| drift.effect > 0.0).unwrap_or(0.0);
    drifts.sort_by(|a, b| psi(b).total_cmp(&psi(a)));
    let told = |drift: &StreamDrift| format!("'{}' {:.3}", drift.stream, psi(drift));
    let over: Vec<String> = drifts.iter().filter(|drift| psi(drift) > max).map(told).collect();
    match (over.is_empty(), drifts.first()) {
        (true, Some(most)) => verdict(
            GATE,
            true,
            format!(
                "no feature's population stability index is over {max}; the largest is that of {}",
                told(most)
            ),
        ),
        (true, None) => without("there are no features"),
        (false, _) => {
            let reasons =
                drifts.first().map(|drift| drift.reasons.join("; ")).filter(|reason| !reason.is_empty());
            let reason = format!(
                "population stability index over {max} of {}{}; look at the data, and if it is right, raise [validate] drift_max",
                shortened(&over),
                reasons.map_or_else(String::new, |reason| format!(" ({reason})"))
            );
            verdict(GATE, false, reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_moves_beyond_noise_and_the_limit_refuse() {
        let drift = |stream: &str, psi, effect| StreamDrift {
            stream: stream.to_owned(),
            psi: Some(psi),
            effect,
            reasons: vec!["mean 3 instead of 1".to_owned()],
            ..StreamDrift::default()
        };
        let passed = judged(0.25, vec![drift("a", 0.1, 0.1), drift("noisy", 0.9, 0.0)]);
        assert!(passed.passed && passed.reason.contains("that of 'a' 0.100"), "{passed:?}");
        let refused = judged(0.25, vec![drift("a", 0.1, 0.1), drift("b", 0.5, 0.2)]);
        assert!(
            !refused.passed && refused.reason.contains("of 'b' 0.500 (mean 3 instead of 1)"),
            "{refused:?}"
        );
    }
}
