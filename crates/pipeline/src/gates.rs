//! May this model replace the one that serves? Each gate gives a verdict with its reason; one refusal refuses the model.
//!
//! A gate that cannot be decided refuses and says what it needs. Figures are compared as measured unless the project asks
//! for proof; reasons carry the 95% intervals, so that a person sees how much they weigh.
//!
//! - [`champion`]: against the model that serves, on the same rows, in all and part by part; [`paired`] has the statistics.
//! - [`endurance`]: calibration, noise, missing values, size and latency.

pub mod champion;
pub mod endurance;
pub mod paired;

use std::collections::BTreeSet;

use edgeward_api::operator::GateVerdict;
use edgeward_monitor::{Budget, MAX_REFERENCE_ROWS, Unsupported, supported_arl};

use crate::measure::{Proportion, Quality};
use crate::project::{GateTable, MonitorTable};
use crate::validate::verdict;

pub use champion::Incumbent;
pub use paired::{Bout, SliceColumn};

/// Room for the rounding of differences of shares.
const ROUNDING: f64 = 1e-9;

/// One form of the candidate, as measured on the held-out rows.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// `rten-f32` and the like.
    pub name: &'a str,
    /// How good it is.
    pub quality: &'a Quality,
}

/// The verdict of every gate that `rules` sets, in a fixed order.
#[must_use]
pub fn judge(rules: &GateTable, candidates: &[Candidate<'_>], incumbent: &Incumbent) -> Vec<GateVerdict> {
    let held_out = candidates.first().map_or(0, |candidate| candidate.quality.rows);
    let mut verdicts = vec![rows(rules, held_out)];
    if let Some(min) = rules.accuracy_min {
        verdicts.extend(candidates.iter().map(|candidate| accuracy(min, candidate)));
    }
    if let Some(max) = rules.mae_max {
        verdicts.extend(candidates.iter().map(|candidate| mae(max, candidate)));
    }
    verdicts.extend(rules.regression_max.map(|max| champion::regression(max, rules, incumbent)));
    verdicts.extend(champion::slices(rules, incumbent));
    verdicts
}

/// Whether devices can keep the budget of false alarms by a reference of so many held-out rows.
#[must_use]
pub fn budget(rules: &MonitorTable, held_out: u64) -> Option<GateVerdict> {
    const GATE: &str = "monitor.budget";
    let budget = Budget {
        false_alarms_per_device_year: rules.false_alarms_per_device_year,
        samples_per_second: rules.requests_per_second,
    };
    let arl = budget.arl_samples().ok()?;
    let rows = held_out.min(MAX_REFERENCE_ROWS as u64);
    let supported = supported_arl(rows);
    if arl <= supported {
        let reason = format!("{rows} held-out rows support one false alarm in {arl:.1e} rows");
        return Some(verdict(GATE, true, reason));
    }
    let short = format!(
        "{rows} held-out rows support one false outlier in {supported:.1e} rows, the budget is one in {arl:.1e}, which needs {} rows",
        arl.powf(0.25).ceil()
    );
    Some(match rules.unsupported {
        Unsupported::Clamp => {
            let reason =
                format!("{short}; devices judge single values by the former, drift and decay by the budget");
            verdict(GATE, true, reason)
        }
        Unsupported::Refuse => verdict(
            GATE,
            false,
            format!("{short}; give more rows, allow more alarms, or set [monitor] unsupported = \"clamp\""),
        ),
    })
}

fn rows(rules: &GateTable, held_out: u64) -> GateVerdict {
    let needed = rules.rows_min.max(1);
    match held_out >= needed {
        true => verdict("gate.rows", true, format!("{held_out} held-out rows to judge by")),
        false => verdict("gate.rows", false, not_enough(needed, held_out)),
    }
}

fn not_enough(needed: u64, found: u64) -> String {
    format!("not enough data: needs {needed} held-out rows, has {found}")
}

fn shown(share: &Proportion) -> String {
    format!("{:.4} ({:.4} to {:.4})", share.value, share.low, share.high)
}

fn accuracy(min: f64, candidate: &Candidate<'_>) -> GateVerdict {
    let gate = format!("gate.accuracy.{}", candidate.name);
    let Some(found) = &candidate.quality.accuracy else {
        return verdict(&gate, false, "the accuracy was not measured");
    };
    let relation = if found.value >= min { ">=" } else { "<" };
    verdict(&gate, found.value >= min, format!("accuracy {} {relation} {min}", shown(found)))
}

fn mae(max: f64, candidate: &Candidate<'_>) -> GateVerdict {
    let gate = format!("gate.mae.{}", candidate.name);
    match candidate.quality.mae {
        Some(found) if found <= max => {
            verdict(&gate, true, format!("mean absolute error {found:.6} <= {max}"))
        }
        Some(found) => verdict(&gate, false, format!("mean absolute error {found:.6} > {max}")),
        None => verdict(&gate, false, "the model gave values that are not numbers"),
    }
}

/// The verdict on what a form costs against the trained model on the same held-out rows: in points of accuracy, or as a
/// share of the root mean squared error. None where the trained model itself was not measured.
#[must_use]
pub fn metric_drop(max: f64, trained: Option<&Quality>, form: &Candidate<'_>) -> Option<GateVerdict> {
    let trained = trained?;
    let accuracies = trained.accuracy.zip(form.quality.accuracy);
    let (drop, what) = match accuracies {
        Some((trained, form)) => (trained.value - form.value, "accuracy"),
        None => {
            let (trained, form) = trained.rmse.zip(form.quality.rmse)?;
            ((form - trained) / trained.max(f64::MIN_POSITIVE), "root mean squared error, as a share,")
        }
    };
    let passed = drop <= max + ROUNDING;
    let relation = if passed { "within" } else { "over" };
    let reason = format!("{what} is {drop:.4} worse than the trained model's, {relation} {max}");
    Some(verdict(&metric_gate(form.name), passed, reason))
}

/// Name of the gate of [`metric_drop`].
#[must_use]
pub fn metric_gate(form: &str) -> String {
    format!("parity.metric.{form}")
}

/// The reasons of the refusals, or none. Gates in `left_out` judged forms that the bundle does without.
#[must_use]
pub fn refusal(verdicts: &[GateVerdict], left_out: &BTreeSet<String>) -> Option<String> {
    let refused: Vec<String> = verdicts
        .iter()
        .filter(|verdict| !verdict.passed && !left_out.contains(&verdict.gate))
        .map(|verdict| format!("{}: {}", verdict.gate, verdict.reason))
        .collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edgeward_core::Digest;

    use super::*;
    use crate::measure::Prediction;
    use crate::project::TaskKind;

    fn quality(hits: u64, rows: u64) -> Quality {
        let accuracy = Some(Proportion::wilson(hits, rows));
        Quality { rows, accuracy, recall: BTreeMap::new(), log_loss: None, mae: None, rmse: None }
    }

    #[test]
    fn a_budget_needs_as_many_rows_as_it_needs() {
        let judged = |unsupported, rows| {
            budget(&MonitorTable { unsupported, ..MonitorTable::default() }, rows).unwrap()
        };
        let enough = judged(Unsupported::Refuse, 240);
        assert!(
            enough.passed && enough.reason.contains("one false alarm in 3.2e9 rows"),
            "{}",
            enough.reason
        );
        for (unsupported, passed, said) in [
            (Unsupported::Clamp, true, "devices judge single values by the former"),
            (Unsupported::Refuse, false, "set [monitor] unsupported"),
        ] {
            let short = judged(unsupported, 100);
            assert_eq!((short.gate.as_str(), short.passed), ("monitor.budget", passed));
            assert!(
                short.reason.contains("which needs 238 rows") && short.reason.contains(said),
                "{}",
                short.reason
            );
        }
    }

    #[test]
    fn a_form_may_cost_only_so_much() {
        let check = |trained: &Quality, form: &Quality, passed| {
            let candidate = Candidate { name: "rten-int8", quality: form };
            let verdict = metric_drop(0.01, Some(trained), &candidate).unwrap();
            assert_eq!((verdict.gate.as_str(), verdict.passed), ("parity.metric.rten-int8", passed));
            let refused = refusal(std::slice::from_ref(&verdict), &BTreeSet::new());
            assert_eq!(refused.is_none(), passed);
            assert_eq!(
                refusal(std::slice::from_ref(&verdict), &BTreeSet::from([verdict.gate.clone()])),
                None
            );
        };
        check(&quality(98, 100), &quality(97, 100), true);
        check(&quality(98, 100), &quality(96, 100), false);
        check(&quality(96, 100), &quality(99, 100), true);
        check(&numeric(1.0), &numeric(1.005), true);
        check(&numeric(1.0), &numeric(1.1), false);
        let candidate = Candidate { name: "rten-f32", quality: &quality(1, 2) };
        assert!(metric_drop(0.01, None, &candidate).is_none());
    }

    fn numeric(error: f64) -> Quality {
        Quality { accuracy: None, mae: Some(error), rmse: Some(error), ..quality(0, 100) }
    }

    fn rules() -> GateTable {
        let (accuracy_min, regression_max) = (Some(0.9), Some(0.01));
        GateTable { accuracy_min, regression_max, rows_min: 50, ..GateTable::default() }
    }

    /// A bout of so many rows, of which the candidate and the incumbent got so many right, as few as possible of them both.
    fn against(candidate: u64, incumbent: u64, rows: u64) -> Incumbent {
        let said = |right: bool| Prediction {
            label: Some(if right { "a" } else { "b" }.to_owned()),
            ..Prediction::default()
        };
        let bout = Bout {
            task: TaskKind::Classification,
            labels: (0..rows).map(|_| "a".to_owned()).collect(),
            incumbent: (0..rows).map(|row| said(row < incumbent)).collect(),
            candidate: (0..rows).map(|row| said(rows - row <= candidate)).collect(),
            slices: Vec::new(),
        };
        Incumbent::Measured { bundle: Digest::of(b"old"), bout }
    }

    fn check(rules: &GateTable, found: &Quality, incumbent: &Incumbent, expect: &[&str]) {
        let candidates = [Candidate { name: "rten-f32", quality: found }];
        let verdicts = judge(rules, &candidates, incumbent);
        let refused: Vec<_> = verdicts.iter().filter(|verdict| !verdict.passed).collect();
        assert_eq!(refused.len(), expect.len(), "{refused:?}");
        for (refused, expected) in refused.iter().zip(expect) {
            assert!(refused.reason.contains(expected), "{}", refused.reason);
        }
        assert_eq!(refusal(&verdicts, &BTreeSet::new()).is_some(), !expect.is_empty());
    }

    #[test]
    fn a_first_good_model_passes() {
        let none = Incumbent::None("nothing serves yet".to_owned());
        check(&rules(), &quality(95, 100), &none, &[]);
        check(&rules(), &quality(95, 100), &Incumbent::Same(Digest::of(b"x")), &[]);
    }

    #[test]
    fn each_gate_refuses_with_its_reason() {
        let none = Incumbent::None("nothing serves yet".to_owned());
        check(&rules(), &quality(89, 100), &none, &["accuracy 0.8900 (0.8137 to 0.9375) < 0.9"]);
        check(&rules(), &quality(49, 49), &none, &["not enough data: needs 50 held-out rows, has 49"]);
        let better = against(95, 97, 100);
        check(
            &rules(),
            &quality(95, 100),
            &better,
            &["-0.0200 (-0.0771 to +0.0379) (95%, paired); may be 0.01 less"],
        );
        let few = against(20, 20, 20);
        check(&rules(), &quality(95, 100), &few, &["needs 50 held-out rows, has 20 that the incumbent"]);
        let torn = Incumbent::Unreadable { bundle: Digest::of(b"old"), reason: "it is torn".to_owned() };
        check(&rules(), &quality(95, 100), &torn, &["cannot be compared with: it is torn"]);
    }

    #[test]
    fn a_little_worse_is_allowed() {
        check(&rules(), &quality(96, 100), &against(96, 97, 100), &[]);
    }

    #[test]
    fn proof_asks_for_the_rows_it_needs() {
        let rules = GateTable { proof: true, accuracy_min: None, ..rules() };
        check(&rules, &quality(96, 100), &against(100, 60, 100), &[]);
        check(&rules, &quality(96, 100), &against(60, 100, 100), &["may be 0.01 less"]);
        let undecided = &["not enough data to prove it, needs about"];
        check(&rules, &quality(96, 100), &against(96, 96, 100), undecided);
        let hopeless = &["not enough data to prove it, and more rows would not show it"];
        check(&rules, &quality(96, 100), &against(94, 96, 100), hopeless);
    }

    #[test]
    fn a_part_that_became_worse_is_named() {
        let rules = GateTable { slices: vec!["site".to_owned()], ..rules() };
        let Incumbent::Measured { bundle, mut bout } = against(60, 100, 100) else { unreachable!() };
        // The rows that were lost are those of the first 40.
        let parts = (0..100).map(|row| if row < 40 { "north" } else { "south" }.to_owned()).collect();
        bout.slices.push(SliceColumn { name: "site".to_owned(), parts });
        let measured = Incumbent::Measured { bundle, bout };
        let lost = "'north' is 1.0000 worse: 40 rows lost, 0 won of 40; may be 0.05 worse";
        let expect = [lost];
        let rules = GateTable { regression_max: Some(1.0), accuracy_min: None, ..rules };
        check(&rules, &quality(60, 100), &measured, &expect);
        let few = GateTable { slice_rows_min: 41, ..rules };
        let verdicts = judge(&few, &[Candidate { name: "f", quality: &quality(60, 100) }], &measured);
        let said = &verdicts.last().unwrap().reason;
        assert!(said.contains("not enough data for 1 parts, which need 41 rows each"), "{said}");
    }

    #[test]
    fn numbers_have_gates_too() {
        let value = |value: f64| Prediction { value: Some(value), ..Prediction::default() };
        let against = |candidate: f64, incumbent: &Prediction| {
            let bout = Bout {
                task: TaskKind::Regression,
                labels: vec!["0".to_owned(); 100],
                incumbent: vec![incumbent.clone(); 100],
                candidate: vec![value(candidate); 100],
                slices: Vec::new(),
            };
            Incumbent::Measured { bundle: Digest::of(b"old"), bout }
        };
        let (mae_max, regression_max) = (Some(2.0), Some(0.1));
        let rules = GateTable { mae_max, regression_max, rows_min: 1, ..GateTable::default() };
        check(&rules, &numeric(1.0), &against(1.0, &value(0.95)), &[]);
        let worse = ["3.000000 > 2", "RMSE 3.000000"];
        check(&rules, &numeric(3.0), &against(3.0, &value(1.0)), &worse);
        let other = against(1.0, &Prediction::default());
        check(&rules, &numeric(1.0), &other, &["predicts something else"]);
    }

    #[test]
    fn gates_that_are_not_set_say_nothing() {
        let verdicts = judge(&GateTable::default(), &[], &Incumbent::None(String::new()));
        assert_eq!(verdicts.len(), 1);
        assert_eq!(verdicts[0].reason, "not enough data: needs 1 held-out rows, has 0");
    }
}
