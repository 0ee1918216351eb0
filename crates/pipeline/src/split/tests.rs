//! What no split may do, on rows of any kind.

use edgeward_core::Dataset;
use proptest::prelude::*;

use super::*;
use crate::origin::Origins;

fn dataset(values: &[u8]) -> Rows {
    let mut dataset = Dataset::with_columns(vec!["x".to_owned()]);
    values.iter().for_each(|value| dataset.push(&[f32::from(*value)], "a").unwrap());
    dataset.into()
}

/// Rows with a value, a moment and a group each.
fn told(rows: &[(u8, u8, u8)]) -> Rows {
    let mut told = dataset(&rows.iter().map(|row| row.0).collect::<Vec<_>>());
    told.origins = Origins {
        times: Some(rows.iter().map(|row| Timestamp(i64::from(row.1))).collect()),
        groups: Some(rows.iter().map(|row| row.2.to_string()).collect()),
    };
    told
}

fn divided(rows: &Rows, rule: &SplitRule) -> Split {
    split(rows, rule.clone(), TaskKind::Classification).unwrap()
}

proptest! {
    #[test]
    fn an_input_is_on_one_side_only(
        rows in prop::collection::vec((0_u8..8, any::<u8>(), 0_u8..5), 0..60), seed: u64, kind in 0..3, from: u8, gap in 0_u8..20,
    ) {
        let rows = told(&rows);
        let by = match kind {
            0 => By::Row,
            1 => By::Group,
            _ => By::Time { from_ms: Timestamp(i64::from(from)), gap_ms: i64::from(gap), of_new_groups: gap % 2 == 0 },
        };
        let split = divided(&rows, &SplitRule { seed, holdout: 0.4, by });
        prop_assert_eq!(split.train.len() + split.holdout.len() + split.left_out as usize, rows.table.len());
        for held in &split.holdout {
            prop_assert!(split.train.iter().all(|row| rows.table.row(*row) != rows.table.row(*held)));
        }
    }

    #[test]
    fn held_out_rows_stay_held_out(values in prop::collection::vec(any::<u8>(), 1..60), more in 0_usize..60) {
        let rule = SplitRule::by_row(3, 0.25);
        let kept = more.min(values.len());
        let (before, after) = (dataset(&values[..kept]), dataset(&values));
        let first = divided(&before, &rule);
        let second = divided(&after, &rule);
        let upto = |rows: &[usize]| rows.iter().copied().filter(|row| *row < kept).collect::<Vec<_>>();
        prop_assert_eq!(first.holdout, upto(&second.holdout));
        let wider = divided(&after, &SplitRule::by_row(3, 0.5));
        prop_assert!(second.holdout.iter().all(|row| wider.holdout.contains(row)));
    }

    #[test]
    fn nobody_is_on_both_sides(rows in prop::collection::vec((any::<u8>(), any::<u8>(), 0_u8..9), 0..80), seed: u64) {
        let rows = told(&rows);
        let split = divided(&rows, &SplitRule { seed, holdout: 0.4, by: By::Group });
        let groups = rows.origins.groups.as_ref().unwrap();
        for held in &split.holdout {
            prop_assert!(split.train.iter().all(|row| groups[*row] != groups[*held]));
        }
    }

    #[test]
    fn what_is_held_out_is_later_and_of_others(
        rows in prop::collection::vec((any::<u8>(), any::<u8>(), 0_u8..40), 1..80), gap in 0_u8..30,
    ) {
        let rows = told(&rows);
        let times = rows.origins.times.clone().unwrap();
        let groups = rows.origins.groups.clone().unwrap();
        let from_ms = holdout_begins(&times, 0.3);
        let by = By::Time { from_ms, gap_ms: i64::from(gap), of_new_groups: true };
        let split = divided(&rows, &SplitRule { seed: 0, holdout: 0.3, by });
        for held in &split.holdout {
            for row in &split.train {
                prop_assert!(times[*row].0 + i64::from(gap) < times[*held].0 && groups[*row] != groups[*held]);
            }
        }
    }
}

#[test]
fn the_share_is_about_what_was_asked_for() {
    let mut dataset = Dataset::with_columns(vec!["x".to_owned()]);
    (0..10_000_u16).for_each(|value| dataset.push(&[f32::from(value)], "a").unwrap());
    let split = divided(&dataset.into(), &SplitRule::by_row(1, 0.25));
    // Four standard deviations of a binomial.
    assert!((2_327..=2_673).contains(&split.holdout.len()), "{}", split.holdout.len());
    assert_eq!(split.holdout_classes["a"], split.holdout.len() as u64);
}

#[test]
fn every_class_gets_its_share_when_stratified() {
    let mut dataset = Dataset::with_columns(vec!["x".to_owned()]);
    let labels = (0..1000).map(|row| {
        if row < 2 {
            "rare"
        } else if row < 10 {
            "few"
        } else {
            "many"
        }
    });
    labels.enumerate().for_each(|(row, label)| dataset.push(&[row as f32], label).unwrap());
    let rows = Rows::from(dataset);
    let rule = SplitRule { seed: 9, holdout: 0.25, by: By::Class(class_thresholds(9, 0.25, &rows)) };
    let split = divided(&rows, &rule);
    let held = |class: &str| (split.holdout_classes[class], split.train_classes[class]);
    assert_eq!((held("rare"), held("few"), held("many")), ((1, 1), (2, 6), (248, 742)));
    // The rule that is kept with the model says the same of the same rows.
    let kept: SplitRule = serde_json::from_str(&serde_json::to_string(&rule).unwrap()).unwrap();
    assert_eq!(divided(&rows, &kept), split);
}

#[test]
fn the_newest_rows_are_held_out_by_time() {
    let rows = told(&[(1, 10, 0), (2, 40, 1), (3, 20, 2), (4, 30, 3)]);
    let from_ms = holdout_begins(rows.origins.times.as_ref().unwrap(), 0.25);
    let by = By::Time { from_ms, gap_ms: 10, of_new_groups: false };
    let split = divided(&rows, &SplitRule { seed: 0, holdout: 0.25, by });
    assert_eq!((split.train, split.holdout, split.left_out), (vec![0, 2], vec![1], 1));
}

#[test]
fn rules_of_older_bundles_are_read_and_rows_without_origin_refused() {
    let rule: SplitRule = serde_json::from_str(r#"{"seed":3,"holdout":0.25}"#).unwrap();
    assert_eq!(rule, SplitRule::by_row(3, 0.25));
    let error = SplitRule { by: By::Group, ..rule }.sides(&dataset(&[1])).unwrap_err();
    assert!(error.to_string().contains("[data] group"), "{error}");
}
