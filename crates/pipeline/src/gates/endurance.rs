//! What the candidate's preferred form stands: how honest its confidence is, what noise and missing values cost, how large
//! and how slow it is.
//!
//! The expected calibration error (M. P. Naeini et al., 2015) is taken over ten parts of equally many rows: the mean
//! difference between confidence and the share of right answers. A model that is perfectly calibrated shows some, too: about
//! `0.25 sqrt(p (1 - p) 10 / n)` or more of it on `n` rows.

use edgeward_api::operator::GateVerdict;
use serde::{Deserialize, Serialize};

use super::not_enough;
use crate::measure::{Prediction, Quality};
use crate::project::GateTable;
use crate::validate::verdict;

/// Parts of a calibration.
const PARTS: usize = 10;
/// Fewest rows of a part.
const PART_ROWS_MIN: usize = 10;

/// What was measured of the preferred form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endurance {
    /// How good it is on rows with noise.
    pub noise: Quality,
    /// How good it is on rows with missing values.
    pub missing: Quality,
    /// Median time of a request of one row on this machine, in microseconds; none without rows.
    pub latency_us: Option<f64>,
    /// Bytes of the form.
    pub size_bytes: u64,
}

/// Whether any rule needs an [`Endurance`].
#[must_use]
pub const fn is_asked(rules: &GateTable) -> bool {
    rules.noise_drop_max.is_some()
        || rules.missing_drop_max.is_some()
        || rules.latency_max_ms.is_some()
        || rules.size_max_bytes.is_some()
}

/// The verdicts of the rules that need what was measured beside the quality on `clean` rows.
#[must_use]
pub fn judge(rules: &GateTable, clean: &Quality, found: &Endurance) -> Vec<GateVerdict> {
    let noise = rules.noise_drop_max.map(|max| {
        let what = format!("noise of {} standard deviations", rules.noise);
        drop("gate.noise", &what, max, clean, &found.noise)
    });
    let missing = rules.missing_drop_max.map(|max| {
        let what = format!("{}% of the values missing (replaced by their mean)", rules.missing * 100.0);
        drop("gate.missing", &what, max, clean, &found.missing)
    });
    let latency = rules.latency_max_ms.map(|max| latency(max, found.latency_us));
    let size = rules.size_max_bytes.map(|max| {
        let relation = if found.size_bytes <= max { "<=" } else { ">" };
        verdict("gate.size", found.size_bytes <= max, format!("{} bytes {relation} {max}", found.size_bytes))
    });
    noise.into_iter().chain(missing).chain(latency).chain(size).collect()
}

fn drop(gate: &str, what: &str, max: f64, clean: &Quality, stressed: &Quality) -> GateVerdict {
    let (cost, unit) = match (&clean.accuracy, &stressed.accuracy, clean.rmse, stressed.rmse) {
        (Some(clean), Some(stressed), ..) => (clean.value - stressed.value, "of accuracy"),
        (_, _, Some(clean), Some(stressed)) => {
            ((stressed - clean) / clean.max(f64::MIN_POSITIVE), "of the RMSE, as a share,")
        }
        _ => return verdict(gate, false, "the model gave values that are not numbers"),
    };
    let relation = if cost <= max { "within" } else { "over" };
    verdict(
        gate,
        cost <= max,
        format!("{what} costs {cost:.4} {unit} on {} rows, {relation} {max}", stressed.rows),
    )
}

fn latency(max_ms: f64, found_us: Option<f64>) -> GateVerdict {
    const GATE: &str = "gate.latency";
    let Some(found) = found_us.map(|us| us / 1000.0) else { return verdict(GATE, false, not_enough(1, 0)) };
    let relation = if found <= max_ms { "<=" } else { ">" };
    let reason = format!("{found:.3} ms for one row on this machine (median) {relation} {max_ms}");
    verdict(GATE, found <= max_ms, reason)
}

/// How far confidence is from the share of right answers.
#[must_use]
pub fn calibration(max: f64, labels: &[String], said: &[Prediction]) -> GateVerdict {
    const GATE: &str = "gate.calibration";
    let mut rows: Vec<(f32, bool)> = said
        .iter()
        .zip(labels)
        .filter_map(|(said, label)| Some((said.confidence?, said.label.as_ref() == Some(label))))
        .collect();
    let needed = PARTS * PART_ROWS_MIN;
    if rows.len() < needed {
        return verdict(
            GATE,
            false,
            format!("{} with a confidence", not_enough(needed as u64, rows.len() as u64)),
        );
    }
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    let found = expected_calibration_error(&rows);
    let relation = if found <= max { "<=" } else { ">" };
    verdict(
        GATE,
        found <= max,
        format!("expected calibration error {found:.4} {relation} {max} on {} rows", rows.len()),
    )
}

/// Of rows in rising order of confidence.
fn expected_calibration_error(rows: &[(f32, bool)]) -> f64 {
    let n = rows.len();
    let part = |at: usize| &rows[n * at / PARTS..n * (at + 1) / PARTS];
    let gap = |part: &[(f32, bool)]| {
        let confidence: f64 = part.iter().map(|(confidence, _)| f64::from(*confidence)).sum();
        let right = part.iter().filter(|(_, is_right)| *is_right).count() as f64;
        (confidence - right).abs()
    };
    (0..PARTS).map(part).map(gap).sum::<f64>() / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Proportion;

    fn quality(hits: u64) -> Quality {
        Quality::with_accuracy(Proportion::wilson(hits, 200), 200)
    }

    fn endurance() -> Endurance {
        Endurance { noise: quality(180), missing: quality(150), latency_us: Some(1500.0), size_bytes: 1000 }
    }

    fn check(rules: &GateTable, expect: &[(&str, bool, &str)]) {
        let judged = judge(rules, &quality(190), &endurance());
        assert_eq!(judged.len(), expect.len(), "{judged:?}");
        for (found, (gate, passed, words)) in judged.iter().zip(expect) {
            assert_eq!((found.gate.as_str(), found.passed), (*gate, *passed), "{}", found.reason);
            assert!(found.reason.contains(words), "{}", found.reason);
        }
    }

    #[test]
    fn only_what_is_asked_is_judged() {
        assert!(!is_asked(&GateTable::default()));
        check(&GateTable::default(), &[]);
        let rules = GateTable {
            noise_drop_max: Some(0.06),
            missing_drop_max: Some(0.06),
            latency_max_ms: Some(1.0),
            size_max_bytes: Some(1000),
            ..GateTable::default()
        };
        assert!(is_asked(&rules));
        check(
            &rules,
            &[
                ("gate.noise", true, "costs 0.0500 of accuracy on 200 rows, within 0.06"),
                ("gate.missing", false, "10% of the values missing (replaced by their mean) costs 0.2000"),
                ("gate.latency", false, "1.500 ms for one row on this machine (median) > 1"),
                ("gate.size", true, "1000 bytes <= 1000"),
            ],
        );
    }

    #[test]
    fn confidence_is_held_against_right_answers() {
        let said = |confidence: f32, right: bool| Prediction {
            label: Some(if right { "a" } else { "b" }.to_owned()),
            confidence: Some(confidence),
            ..Prediction::default()
        };
        let labels = vec!["a".to_owned(); 200];
        let check = |every: usize, passed: bool, words: &str| {
            let said: Vec<_> = (0..200).map(|row| said(0.9, row % every != 0)).collect();
            let found = calibration(0.05, &labels, &said);
            assert_eq!(found.passed, passed, "{}", found.reason);
            assert!(found.reason.contains(words), "{}", found.reason);
        };
        check(10, true, "error 0.0000 <= 0.05");
        check(2, false, "error 0.4000 > 0.05");
        let few = calibration(0.05, &labels[..50], &[]);
        assert!(!few.passed && few.reason.contains("needs 100 held-out rows, has 0"), "{}", few.reason);
    }
}
