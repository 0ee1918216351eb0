//! Which features moved, weighted by how much the model leans on them.
//!
//! A pure function of effect sizes and importances. Deliberately missing: causes. A feature that moved and matters
//! is where to look first, not proof that it did the harm.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::effect::StreamDrift;
use crate::profile::{Profile, ProfileError};
use crate::reference::Reference;

/// One feature that moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blamed {
    /// Name of the feature.
    pub stream: String,
    /// How far it moved beyond noise, see [`StreamDrift::effect`]; 0 to 1.
    pub effect: f64,
    /// How much the model leans on it; all features together make 1.
    pub importance: f64,
    /// Effect times importance.
    pub score: f64,
    /// This feature's part of all scores; 0 if all scores are 0.
    pub share: f64,
    /// The move in words.
    pub reasons: Vec<String>,
}

/// The streams of `drifts` that moved, the most to blame first.
///
/// `importance` is by name, on any scale: a negative one counts as 0, a stream without one as the mean of the
/// others; without any, all are equally important.
#[must_use]
pub fn blame(drifts: &[StreamDrift], importance: &BTreeMap<String, f64>) -> Vec<Blamed> {
    let weights = weights(drifts, importance);
    let moved = drifts.iter().zip(weights).filter(|(drift, _)| drift.effect > 0.0);
    let mut blamed: Vec<Blamed> = moved.map(|(drift, weight)| judge(drift, weight)).collect();
    let total: f64 = blamed.iter().map(|feature| feature.score).sum();
    if total > 0.0 {
        blamed.iter_mut().for_each(|feature| feature.share = feature.score / total);
    }
    blamed.sort_by(most_to_blame);
    blamed
}

impl Profile {
    /// The *features* that moved, the most to blame first; what the model made of them is no cause.
    ///
    /// # Errors
    /// `reference` is not the one this profile was made for.
    pub fn blame(
        &self,
        reference: &Reference,
        importance: &BTreeMap<String, f64>,
    ) -> Result<Vec<Blamed>, ProfileError> {
        let mut drifts = self.drift(reference)?;
        drifts.truncate(reference.features());
        Ok(blame(&drifts, importance))
    }
}

/// Importances that make 1.
fn weights(drifts: &[StreamDrift], importance: &BTreeMap<String, f64>) -> Vec<f64> {
    let given =
        |drift: &StreamDrift| importance.get(&drift.stream).copied().filter(|value| value.is_finite());
    let known: Vec<f64> = drifts.iter().filter_map(given).map(|value| value.max(0.0)).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let raw: Vec<f64> =
        drifts.iter().map(|drift| given(drift).map_or(mean, |value| value.max(0.0))).collect();
    let total: f64 = raw.iter().sum();
    if total > 0.0 && total.is_finite() {
        raw.into_iter().map(|value| value / total).collect()
    } else {
        vec![1.0 / drifts.len().max(1) as f64; drifts.len()]
    }
}

fn judge(drift: &StreamDrift, importance: f64) -> Blamed {
    Blamed {
        stream: drift.stream.clone(),
        effect: drift.effect,
        importance,
        score: drift.effect * importance,
        share: 0.0,
        reasons: drift.reasons.clone(),
    }
}

fn most_to_blame(a: &Blamed, b: &Blamed) -> Ordering {
    let by_score = b.score.total_cmp(&a.score).then(b.effect.total_cmp(&a.effect));
    by_score.then_with(|| a.stream.cmp(&b.stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(stream: &str, effect: f64) -> StreamDrift {
        let reasons = vec![format!("{stream} moved")];
        StreamDrift { stream: stream.to_owned(), effect, reasons, ..StreamDrift::default() }
    }

    fn check(importance: &[(&str, f64)], expected: &[(&str, f64, f64)]) {
        let drifts = [drift("a", 0.5), drift("b", 0.2), drift("c", 0.0), drift("d", 0.2)];
        let importance = importance.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let found = blame(&drifts, &importance);
        assert_eq!(found.len(), expected.len());
        for (found, (stream, score, share)) in found.iter().zip(expected) {
            assert_eq!(found.stream, *stream);
            assert!((found.score - score).abs() < 1e-12 && (found.share - share).abs() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn effect_and_importance_both_count() {
        check(&[], &[("a", 0.125, 5.0 / 9.0), ("b", 0.05, 2.0 / 9.0), ("d", 0.05, 2.0 / 9.0)]);
        let given = [("a", 1.0), ("b", 8.0), ("c", 1.0), ("d", -4.0)];
        check(&given, &[("b", 0.16, 16.0 / 21.0), ("a", 0.05, 5.0 / 21.0), ("d", 0.0, 0.0)]);
    }

    #[test]
    fn a_stream_without_an_importance_counts_as_the_mean() {
        check(
            &[("a", 3.0), ("b", 1.0), ("c", f64::NAN)],
            &[("a", 0.1875, 0.1875 / 0.2625), ("d", 0.05, 0.05 / 0.2625), ("b", 0.025, 0.025 / 0.2625)],
        );
    }

    #[test]
    fn without_any_use_all_are_equal() {
        check(
            &[("a", 0.0), ("b", -1.0), ("c", 0.0), ("d", 0.0)],
            &[("a", 0.125, 5.0 / 9.0), ("b", 0.05, 2.0 / 9.0), ("d", 0.05, 2.0 / 9.0)],
        );
        assert!(blame(&[], &BTreeMap::new()).is_empty());
    }
}
