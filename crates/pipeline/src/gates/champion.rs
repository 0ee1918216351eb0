//! The candidate against the model that serves, on rows that neither learned from: in all, and part by part.

use std::collections::BTreeMap;

use edgeward_api::operator::GateVerdict;
use edgeward_core::Digest;

use super::paired::{Bout, Difference, Discord, SliceColumn};
use super::{not_enough, shown};
use crate::measure::Quality;
use crate::project::GateTable;
use crate::validate::verdict;

const REGRESSION: &str = "gate.regression";
/// Error rate at which a part counts as worse, shared by the parts of a column.
const SLICE_ALPHA: f64 = 0.05;
/// Parts that a reason names.
const PARTS_NAMED_MAX: usize = 5;

/// The model that serves now, as far as it could be judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Incumbent {
    /// Nothing serves yet, or there is no control plane.
    None(String),
    /// The candidate is the incumbent.
    Same(Digest),
    /// Both were asked about the rows that neither learned from.
    Measured {
        /// Its bundle.
        bundle: Digest,
        /// What both said.
        bout: Bout,
    },
    /// It could not be read or run.
    Unreadable {
        /// Its bundle.
        bundle: Digest,
        /// Why.
        reason: String,
    },
}

/// Whether the candidate is worse than the incumbent by more than `max`.
pub(super) fn regression(max: f64, rules: &GateTable, incumbent: &Incumbent) -> GateVerdict {
    match incumbent {
        Incumbent::None(why) => verdict(REGRESSION, true, format!("no incumbent: {why}")),
        Incumbent::Same(bundle) => {
            verdict(REGRESSION, true, format!("the incumbent is this very bundle, {}", bundle.short()))
        }
        Incumbent::Unreadable { bundle, reason } => {
            let advice = "repair or replace it, or remove [gate] regression_max to go on without comparing";
            let reason =
                format!("the incumbent {} cannot be compared with: {reason}; {advice}", bundle.short());
            verdict(REGRESSION, false, reason)
        }
        Incumbent::Measured { bout, .. } if bout.rows() < rules.rows_min.max(1) => {
            let reason = not_enough(rules.rows_min.max(1), bout.rows());
            verdict(REGRESSION, false, format!("{reason} that the incumbent did not learn from either"))
        }
        Incumbent::Measured { bundle, bout } => compare(max, rules.proof, bundle, bout),
    }
}

fn compare(max: f64, proof: bool, bundle: &Digest, bout: &Bout) -> GateVerdict {
    let (name, rows) = (bundle.short(), bout.rows());
    let [old, new] =
        [&bout.incumbent, &bout.candidate].map(|said| Quality::of(bout.task, &bout.labels, said));
    match (&new.accuracy, &old.accuracy, new.rmse, old.rmse) {
        (Some(new), Some(old), ..) => {
            let gain = bout.accuracy_gain();
            let reason = format!(
                "accuracy {} against {} of the incumbent {name} on the same {rows} rows: {} (95%, paired); may be {max} less",
                shown(new),
                shown(old),
                signed(&gain)
            );
            decide(&gain, max, proof, reason)
        }
        (_, _, Some(new), Some(old)) => {
            let reason = format!(
                "RMSE {new:.6} against {old:.6} of the incumbent {name} on the same {rows} rows; may be {:.1}% more",
                max * 100.0
            );
            match bout.squared_error_gain(max) {
                Some(gain) => decide(&gain, 0.0, proof, reason),
                None => verdict(REGRESSION, new <= old * (1.0 + max), reason),
            }
        }
        _ => {
            let reason = format!("the incumbent {name} predicts something else; they cannot be compared");
            verdict(REGRESSION, false, reason)
        }
    }
}

fn signed(gain: &Difference) -> String {
    format!("{:+.4} ({:+.4} to {:+.4})", gain.value, gain.low, gain.high)
}

/// As measured, unless the interval has to exclude that the candidate is worse by more than is allowed.
fn decide(gain: &Difference, max: f64, proof: bool, reason: String) -> GateVerdict {
    if !proof || gain.low >= -max || gain.high < -max {
        let passed = if proof { gain.low >= -max } else { gain.value >= -max };
        return verdict(REGRESSION, passed, reason);
    }
    let needs = gain.rows_needed(max).map_or_else(
        || "and more rows would not show it".to_owned(),
        |rows| format!("needs about {rows} rows that neither learned from"),
    );
    verdict(REGRESSION, false, format!("not enough data to prove it, {needs}: {reason}"))
}

/// A verdict for each column whose parts are compared.
pub(super) fn slices(rules: &GateTable, incumbent: &Incumbent) -> Vec<GateVerdict> {
    let gate = |name: &str| format!("gate.slices.{name}");
    match incumbent {
        Incumbent::Measured { bout, .. } => {
            bout.slices.iter().map(|column| judge_column(&gate(&column.name), rules, bout, column)).collect()
        }
        Incumbent::None(_) | Incumbent::Same(_) => {
            let nothing = |name: &String| verdict(&gate(name), true, "no other model to compare with");
            rules.slices.iter().map(nothing).collect()
        }
        Incumbent::Unreadable { reason, .. } => {
            rules.slices.iter().map(|name| verdict(&gate(name), false, reason.clone())).collect()
        }
    }
}

fn judge_column(gate: &str, rules: &GateTable, bout: &Bout, column: &SliceColumn) -> GateVerdict {
    let mut parts: BTreeMap<&String, Discord> = BTreeMap::new();
    for part in &column.parts {
        parts.entry(part).or_insert_with(|| bout.discord(|row| column.parts.get(row) == Some(part)));
    }
    let (large, small): (Vec<_>, Vec<_>) =
        parts.iter().partition(|(_, discord)| discord.rows >= rules.slice_rows_min);
    let share = SLICE_ALPHA / large.len().max(1) as f64;
    let worse: Vec<String> = large
        .iter()
        .filter(|(_, discord)| discord.drop() > rules.slice_drop_max && discord.p_worse() <= share)
        .map(|(part, discord)| {
            let Discord { rows, wins, losses } = discord;
            format!("'{part}' is {:.4} worse: {losses} rows lost, {wins} won of {rows}", discord.drop())
        })
        .collect();
    if !worse.is_empty() {
        let named: Vec<String> = worse.into_iter().take(PARTS_NAMED_MAX).collect();
        return verdict(gate, false, format!("{}; may be {} worse", named.join("; "), rules.slice_drop_max));
    }
    let unjudged = match small.len() {
        0 => String::new(),
        some => format!("; not enough data for {some} parts, which need {} rows each", rules.slice_rows_min),
    };
    let none_judged = large.is_empty() && rules.proof;
    verdict(gate, !none_judged, format!("no part of {} is shown to be worse{unjudged}", large.len()))
}
