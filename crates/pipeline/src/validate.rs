//! Is the data fit to learn from? One verdict per check, each with its reason.
//!
//! Drift against the reference of the model that serves is judged in [`crate::moved`].

use std::collections::BTreeSet;

use edgeward_api::operator::GateVerdict;
use edgeward_core::{Dataset, Digest};

use crate::origin::Origins;
use crate::project::{TaskKind, ValidateTable};
use crate::schema::DataSchema;
use crate::snapshot::Snapshot;
use crate::split::{By, Split};

/// Most classes that a reason names.
const NAMED_MAX: usize = 8;

/// What is validated.
pub struct Subject<'a> {
    /// What the snapshot is made of.
    pub snapshot: &'a Snapshot,
    /// Its rows.
    pub dataset: &'a Dataset,
    /// Where they are from.
    pub origins: &'a Origins,
    /// Their sides.
    pub split: &'a Split,
    /// What the label is.
    pub task: TaskKind,
    /// What the rows must be like, where that is pinned.
    pub schema: Option<&'a DataSchema>,
}

/// The verdict of every check, in a fixed order.
#[must_use]
pub fn validate(rules: &ValidateTable, subject: &Subject<'_>) -> Vec<GateVerdict> {
    let mut verdicts = vec![
        rows(rules, subject),
        missing(rules, subject.dataset),
        range(rules, subject.dataset),
        label_conflicts(rules, subject.snapshot),
        leak(subject),
    ];
    verdicts.extend(subject.schema.map(|schema| schema.check(subject.dataset)));
    match subject.task {
        TaskKind::Classification => verdicts.extend([rows_per_class(rules, subject), one_class(subject)]),
        TaskKind::Regression => verdicts.extend([numeric_labels(subject.dataset), spread(subject.dataset)]),
    }
    verdicts
}

pub(crate) fn verdict(gate: &str, passed: bool, reason: impl Into<String>) -> GateVerdict {
    GateVerdict { gate: gate.to_owned(), passed, reason: reason.into() }
}

fn rows(rules: &ValidateTable, subject: &Subject<'_>) -> GateVerdict {
    let Snapshot { rows, duplicates, captured, .. } = subject.snapshot;
    let (train, held_out) = (subject.split.train.len(), subject.split.holdout.len());
    let facts = format!(
        "{rows} rows ({duplicates} duplicates dropped, {captured} captured), {train} to learn from, {held_out} held out"
    );
    let facts = match subject.split.left_out {
        0 => facts,
        left_out => format!("{facts}, {left_out} on neither side"),
    };
    let enough = *rows >= rules.rows_min && train > 0 && held_out > 0;
    match enough {
        true => verdict("data.rows", true, facts),
        false => verdict("data.rows", false, format!("{facts}; needs {}", rules.rows_min.max(2))),
    }
}

fn rows_per_class(rules: &ValidateTable, subject: &Subject<'_>) -> GateVerdict {
    let train = |class: &String| subject.split.train_classes.get(class).copied().unwrap_or(0);
    let scarce: Vec<String> = subject
        .snapshot
        .classes
        .iter()
        .filter(|(class, rows)| **rows < rules.rows_per_class_min || train(class) == 0)
        .map(|(class, rows)| format!("'{class}' {rows}"))
        .collect();
    let least = subject.snapshot.classes.values().min().copied().unwrap_or(0);
    let (min, classes) = (rules.rows_per_class_min, subject.snapshot.classes.len());
    match scarce.is_empty() {
        true => verdict("data.rows_per_class", true, format!("{classes} classes of at least {least} rows")),
        false => {
            let named = shortened(&scarce);
            verdict("data.rows_per_class", false, format!("too few rows of {named}; needs {min} of each"))
        }
    }
}

pub(crate) fn shortened(texts: &[String]) -> String {
    let shown = texts.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn missing(rules: &ValidateTable, dataset: &Dataset) -> GateVerdict {
    let missing = dataset.values.iter().filter(|value| value.is_nan()).count();
    let share = missing as f64 / dataset.values.len().max(1) as f64;
    let passed = share <= rules.missing_max;
    let reason = format!("{missing} of {} values are missing", dataset.values.len());
    match passed {
        true => verdict("data.missing", true, reason),
        false => {
            let worst = worst_column(dataset);
            let limit = rules.missing_max;
            verdict(
                "data.missing",
                false,
                format!("{reason}, most in '{worst}'; [validate] missing_max is {limit}"),
            )
        }
    }
}

fn worst_column(dataset: &Dataset) -> &str {
    let missing = |column: &usize| {
        dataset.values.iter().skip(*column).step_by(dataset.width()).filter(|value| value.is_nan()).count()
    };
    (0..dataset.width()).max_by_key(missing).map_or("", |column| &dataset.feature_names[column])
}

fn range(rules: &ValidateTable, dataset: &Dataset) -> GateVerdict {
    let [low, high] = rules.range.unwrap_or([f64::from(f32::MIN), f64::from(f32::MAX)]);
    let outside = |value: &f32| !value.is_nan() && !(low..=high).contains(&f64::from(*value));
    let count = dataset.values.iter().filter(|value| outside(value)).count();
    let Some(first) = dataset.values.iter().position(outside) else {
        return verdict(
            "data.range",
            true,
            match rules.range {
                Some(_) => format!("every value lies in [{low}, {high}]"),
                None => "every value is finite".to_owned(),
            },
        );
    };
    let (column, value) = (&dataset.feature_names[first % dataset.width()], dataset.values[first]);
    let expected = match rules.range {
        Some(_) => format!("[{low}, {high}]"),
        None => "the finite numbers".to_owned(),
    };
    verdict(
        "data.range",
        false,
        format!("{count} values lie outside {expected}, the first is '{column}' = {value}"),
    )
}

fn label_conflicts(rules: &ValidateTable, snapshot: &Snapshot) -> GateVerdict {
    let found = snapshot.label_conflicts;
    let facts =
        format!("{found} inputs carry several labels ({} rows dropped)", snapshot.label_conflict_rows);
    match rules.label_conflicts_max {
        Some(max) if found > max => verdict(
            "data.label_conflicts",
            false,
            format!("{facts}; [validate] label_conflicts_max is {max}"),
        ),
        _ => verdict("data.label_conflicts", true, facts),
    }
}

fn one_class(subject: &Subject<'_>) -> GateVerdict {
    let classes = subject.split.train_classes.len();
    match classes > 1 {
        true => verdict("data.label", true, format!("{classes} classes to learn")),
        false => verdict(
            "data.label",
            false,
            "the label is the same in every row to learn from; there is nothing to learn",
        ),
    }
}

fn numeric_labels(dataset: &Dataset) -> GateVerdict {
    let bad = dataset.labels.iter().find(|label| !label.parse::<f64>().is_ok_and(f64::is_finite));
    match bad {
        None => verdict("data.label", true, "every label is a number"),
        Some(label) => {
            let label: String = label.chars().take(80).collect();
            verdict(
                "data.label",
                false,
                format!("the label '{label}' is not a number; a regression needs numbers"),
            )
        }
    }
}

fn spread(dataset: &Dataset) -> GateVerdict {
    let distinct: BTreeSet<&String> = dataset.labels.iter().collect();
    match distinct.len() > 1 {
        true => verdict("data.label_spread", true, format!("{} distinct labels", distinct.len())),
        false => verdict(
            "data.label_spread",
            false,
            "the label is the same in every row; there is nothing to learn",
        ),
    }
}

fn leak(subject: &Subject<'_>) -> GateVerdict {
    let digests = |rows: &[usize]| {
        rows.iter().map(|row| subject.dataset.row_digest(*row)).collect::<BTreeSet<Digest>>()
    };
    let shared = digests(&subject.split.train).intersection(&digests(&subject.split.holdout)).count();
    let mut reason = format!("{shared} inputs are both learned from and held out");
    let mut passed = shared == 0;
    let Split { rule, train, holdout, .. } = subject.split;
    if let (By::Group | By::Time { of_new_groups: true, .. }, Some(groups)) =
        (&rule.by, &subject.origins.groups)
    {
        let of = |rows: &[usize]| rows.iter().map(|row| groups[*row].as_str()).collect::<BTreeSet<_>>();
        let shared = of(train).intersection(&of(holdout)).count();
        passed &= shared == 0;
        reason += &format!(", {shared} groups are on both sides");
    }
    if let (By::Time { .. }, Some(times)) = (&rule.by, &subject.origins.times) {
        let newest = train.iter().map(|row| times[*row]).max();
        let early = holdout.iter().filter(|row| newest.is_some_and(|newest| times[**row] <= newest)).count();
        passed &= early == 0;
        reason += &format!(", {early} rows held out are not newer than every row learned from");
    }
    verdict("data.leak", passed, reason)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::origin::Rows;
    use crate::snapshot::{SNAPSHOT_SCHEMA, class_counts};
    use crate::split::{SplitRule, split};

    struct Case {
        rules: ValidateTable,
        values: Vec<f32>,
        labels: Vec<&'static str>,
        task: TaskKind,
        conflicts: u64,
        split: fn(&mut Split),
    }

    impl Default for Case {
        fn default() -> Self {
            Self {
                rules: ValidateTable::default(),
                values: (0..40_u8).map(f32::from).collect(),
                labels: ["a", "b"].repeat(20),
                task: TaskKind::Classification,
                conflicts: 0,
                split: |_| {},
            }
        }
    }

    impl Case {
        fn refused(self) -> Vec<String> {
            let labels: Vec<String> = self.labels.iter().map(|&label| label.to_owned()).collect();
            let dataset = Dataset { feature_names: vec!["x".to_owned()], values: self.values, labels };
            let rows = Rows::from(dataset);
            let mut split = split(&rows, SplitRule::by_row(0, 0.3), self.task).unwrap();
            let dataset = rows.table;
            (self.split)(&mut split);
            let snapshot = Snapshot {
                schema: SNAPSHOT_SCHEMA.to_owned(),
                files: BTreeMap::new(),
                captured: 0,
                captured_position: 0,
                captured_digest: None,
                captured_unfit: 0,
                duplicates: 0,
                label_conflicts: self.conflicts,
                label_conflict_rows: 0,
                rows: dataset.len() as u64,
                classes: class_counts(&dataset.labels, self.task),
                digest: Digest::of(b""),
            };
            let subject = Subject {
                snapshot: &snapshot,
                dataset: &dataset,
                origins: &rows.origins,
                split: &split,
                task: self.task,
                schema: None,
            };
            let refused = validate(&self.rules, &subject).into_iter().filter(|verdict| !verdict.passed);
            refused.map(|verdict| format!("{}: {}", verdict.gate, verdict.reason)).collect()
        }
    }

    fn check(case: Case, expect: &[&str]) {
        let refused = case.refused();
        assert_eq!(refused.len(), expect.len(), "{refused:?}");
        for (found, expected) in refused.iter().zip(expect) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn sound_data_passes() {
        check(Case::default(), &[]);
    }

    #[test]
    fn each_fault_is_named() {
        let rules = |edit: fn(&mut ValidateTable)| {
            let mut rules = ValidateTable::default();
            edit(&mut rules);
            rules
        };
        check(Case { rules: rules(|r| r.rows_min = 41), ..Case::default() }, &["data.rows: 40 rows"]);
        check(
            Case { rules: rules(|r| r.rows_per_class_min = 21), ..Case::default() },
            &["too few rows of 'a' 20, 'b' 20; needs 21 of each"],
        );
        let range = rules(|r| r.range = Some([0.0, 38.0]));
        check(
            Case { rules: range, ..Case::default() },
            &["1 values lie outside [0, 38], the first is 'x' = 39"],
        );
        let mut holed = Case::default();
        holed.values[3] = f32::NAN;
        check(holed, &["1 of 40 values are missing, most in 'x'; [validate] missing_max is 0"]);
        let mut infinite = Case::default();
        infinite.values[3] = f32::INFINITY;
        check(infinite, &["outside the finite numbers"]);
        let conflicts = rules(|r| r.label_conflicts_max = Some(2));
        check(Case { rules: conflicts, conflicts: 3, ..Case::default() }, &["label_conflicts_max is 2"]);
        check(Case { labels: vec!["a"; 40], ..Case::default() }, &["nothing to learn"]);
        let leak = |split: &mut Split| split.train.push(split.holdout[0]);
        check(Case { split: leak, ..Case::default() }, &["data.leak: 1 inputs"]);
    }

    #[test]
    fn numbers_have_checks_of_their_own() {
        let regression = Case { task: TaskKind::Regression, ..Case::default() };
        check(regression, &["the label 'a' is not a number"]);
        let constant = Case { task: TaskKind::Regression, labels: vec!["1.5"; 40], ..Case::default() };
        check(constant, &["data.label_spread"]);
    }
}
