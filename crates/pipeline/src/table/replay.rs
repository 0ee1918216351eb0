//! A history replayed: which alarms a monitor would have raised, on which row, over which column.
//!
//! Numbers go to [`backtest()`], which whitens them. A column of categories, or of a handful of distinct numbers, is
//! counted by category and needs rows that are independent: where the reference shows that they are not, only every so
//! many rows are looked at, as few as pass, and a column that would have to be looked at too rarely is not watched. One
//! budget pays for all columns, each with an equal share.

use std::ops::Range;

use edgeward_monitor::{
    AlarmKind, Backtest, BacktestConfig, BacktestError, Budget, BudgetError, Detection, Detector, FitError,
    MonitorConfig, MonitorError, Reference, Sample, Seasons, Unsupported, backtest,
};

use super::describe::distinct;
use super::streams::{Encoding, EncodingError, How, OTHERS, frequent, matrix, places};
use super::{Cell, Column, Table};

/// Distinct numbers that are few enough to be counted one by one,
const FEW_NUMBERS: usize = 10;
/// and rows for each of them that make them codes: any five measurements are five numbers.
const ROWS_PER_FEW_NUMBERS: usize = 3;
/// Fewest reference rows that a column of categories may be thinned to.
const THINNED_ROWS_MIN: usize = 100;
/// Lengths of the blocks over which counts must scatter like those of independent rows.
const BLOCKS: [usize; 9] = [2, 5, 10, 20, 50, 100, 200, 500, 1000];
/// Fewest blocks that show a scatter.
const BLOCKS_MIN: usize = 10;
/// Standard errors by which the scatter may be too large.
const SCATTER_ERRORS: f64 = 4.0;

/// A history that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The budget is none.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// Too large.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// The numbers cannot be replayed.
    #[error(transparent)]
    Backtest(#[from] BacktestError),
    /// The categories cannot be learned.
    #[error("cannot learn the categories of the first rows")]
    Fit(#[from] FitError),
}

/// How a history is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplayConfig {
    /// Rows, the first, that the monitor learns from.
    pub reference_rows: usize,
    /// Tolerated false alarms.
    pub budget: Budget,
    /// Rows without a further drift alarm after one.
    pub hold_off_rows: u64,
    /// What to do with a budget beyond what the reference supports.
    pub unsupported: Unsupported,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct RowAlarm {
    /// The row, from 0.
    pub index: u64,
    /// The column.
    pub feature: String,
    /// What happened.
    pub kind: AlarmKind,
    /// Powers of ten by which the evidence passed its threshold.
    pub severity: f64,
    /// The row with which the change is believed to have begun.
    pub estimated_change: Option<u64>,
    /// The same in a sentence.
    pub message: String,
}

/// What the replay showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// In the order of the history.
    pub alarms: Vec<RowAlarm>,
    /// Rows replayed.
    pub samples: u64,
    /// False alarms that the budget allows per row, all columns together.
    pub budget_per_sample: f64,
    /// What to know about columns that are watched less closely, a sentence each.
    pub notes: Vec<String>,
}

/// A column of numbers as it is watched: where it is, and how it fits into single precision.
type Number<'a> = (&'a Column, f64, f64);

/// Replays the rows of `table` after the reference.
///
/// # Errors
/// The budget is none, or nothing follows from the reference.
pub fn replay(table: &Table, encoding: &Encoding, config: &ReplayConfig) -> Result<Replay, ReplayError> {
    let arl = config.budget.arl_samples()?;
    let reference = 0..config.reference_rows;
    let (mut numbers, mut categories): (Vec<Number<'_>>, Vec<(&Column, Vec<String>)>) =
        (Vec::new(), Vec::new());
    for encoded in encoding.columns() {
        let Some((_, column)) = table.column(&encoded.column) else { continue };
        match &encoded.how {
            How::Number { offset, scale } if !are_few(&column.cells()[reference.clone()]) => {
                numbers.push((column, *offset, *scale));
            }
            How::Number { .. } => categories.push((column, frequent(column, reference.clone()))),
            How::Categories(names) => categories.push((column, names.clone())),
        }
    }
    let share = |columns: usize| arl * (numbers.len() + categories.len()) as f64 / columns as f64;
    let mut found = Replay {
        alarms: Vec::new(),
        samples: (table.rows() - config.reference_rows.min(table.rows())) as u64,
        budget_per_sample: 1.0 / arl,
        notes: Vec::new(),
    };
    if !numbers.is_empty() {
        replay_numbers(table, &numbers, share(numbers.len()), config, &mut found)?;
    }
    for (column, names) in &categories {
        replay_categories(column, names, share(1), config, &mut found)?;
    }
    found.alarms.sort_by_key(|alarm| alarm.index);
    Ok(found)
}

/// Whether numbers are so few, and come so often, that they are counted one by one.
fn are_few(cells: &[Cell]) -> bool {
    let distinct = distinct(cells);
    distinct <= FEW_NUMBERS && distinct * ROWS_PER_FEW_NUMBERS <= cells.len()
}

fn replay_numbers(
    table: &Table,
    numbers: &[Number<'_>],
    arl: f64,
    config: &ReplayConfig,
    found: &mut Replay,
) -> Result<(), ReplayError> {
    let names: Vec<String> = numbers.iter().map(|(column, ..)| column.name().to_owned()).collect();
    let values = matrix(numbers, table.rows())?;
    let budget = Budget::of_arl(arl);
    let monitor =
        MonitorConfig { budget, hold_off_samples: config.hold_off_rows, ..MonitorConfig::default() };
    let (reference_rows, unsupported) = (config.reference_rows, config.unsupported);
    let config = BacktestConfig { reference_rows, monitor, seasons: Some(Seasons::default()) };
    let tested = supported(&names, &values, &config, (unsupported, &mut found.notes))?;
    for alarm in tested.alarms {
        let number = names.iter().position(|name| *name == alarm.feature).map(|at| numbers[at]);
        let moved = number.filter(|(_, offset, scale)| *offset != 0.0 || *scale != 1.0);
        let message = match moved {
            Some((column, ..)) => moved_message(column, alarm.index),
            None => alarm.message,
        };
        found.alarms.push(RowAlarm {
            index: alarm.index,
            feature: alarm.feature,
            kind: alarm.kind,
            severity: alarm.severity,
            estimated_change: alarm.estimated_change,
            message,
        });
    }
    let unsure = |(name, verification): (String, Option<edgeward_monitor::Verification>)| {
        let factor = verification?.factor;
        (factor > 1.0).then(|| {
            format!("the last reference rows of '{name}' surprised a monitor of its first; its evidence counts for 1/{factor:.3}")
        })
    };
    found.notes.extend(tested.verifications.into_iter().filter_map(unsure));
    Ok(())
}

/// Replays with the budget that was asked for. Where the reference does not support it, that is refused, or it is told by
/// which one single values are judged.
fn supported(
    names: &[String],
    values: &[f32],
    config: &BacktestConfig,
    (unsupported, notes): (Unsupported, &mut Vec<String>),
) -> Result<Backtest, BacktestError> {
    let refusing = MonitorConfig { unsupported: Unsupported::Refuse, ..config.monitor.clone() };
    match backtest(names, values, &BacktestConfig { monitor: refusing, ..config.clone() }) {
        Err(BacktestError::Monitor(MonitorError::Unsupported { supported, .. }))
            if unsupported == Unsupported::Clamp =>
        {
            notes.push(format!(
                "a reference of {} rows supports one false outlier in {supported:.1e} rows; single values are judged by that, \
                 drift by the whole budget",
                config.reference_rows
            ));
            backtest(names, values, config)
        }
        other => other,
    }
}

/// The monitor saw other numbers than the file holds: the sentence keeps to the file's.
fn moved_message(column: &Column, index: u64) -> String {
    let row = usize::try_from(index).unwrap_or(usize::MAX);
    let value = column.shown(row).map_or_else(|| "no value".to_owned(), |value| format!("the value {value}"));
    format!("'{}' left what its reference lets expect; this row has {value}", column.name())
}

fn replay_categories(
    column: &Column,
    names: &[String],
    arl: f64,
    config: &ReplayConfig,
    found: &mut Replay,
) -> Result<(), ReplayError> {
    let places = places(column, names);
    let (past, replayed) = places.split_at(config.reference_rows.min(places.len()));
    let Some(step) = step(past, names.len() + 1) else {
        let note = format!(
            "'{}' is not watched: its categories stay for so long that the reference shows too few changes",
            column.name()
        );
        found.notes.push(note);
        return Ok(());
    };
    if step > 1 {
        found.notes.push(format!(
            "of '{}' every {step}th row is watched: neighbours depend on each other",
            column.name()
        ));
    }
    let classes: Vec<String> = names.iter().cloned().chain([OTHERS.to_owned()]).collect();
    let sample = |predicted: &Option<u32>| Sample { features: &[], predicted: *predicted, confidence: None };
    let reference = Reference::fit(&[], &classes, past.iter().step_by(step).map(sample))?;
    let arl = arl / step as f64;
    let mut detector = Detector::new(&reference, arl);
    let (mut first, mut quiet_until) = (0, 0);
    for (row, place) in replayed.iter().enumerate().step_by(step) {
        if (row as u64) < quiet_until {
            continue;
        }
        if let Some(detection) = detector.observe(&reference, &sample(place)) {
            let began = first + (detection.change_sample.saturating_sub(1) as usize) * step;
            let rows = config.reference_rows + began.min(row)..config.reference_rows + row + 1;
            found.alarms.push(category_alarm(column, &reference, &detection, rows, config.reference_rows));
            (first, quiet_until) = (row + step, row as u64 + 1 + config.hold_off_rows);
            detector = Detector::new(&reference, arl);
        }
    }
    Ok(())
}

fn category_alarm(
    column: &Column,
    reference: &Reference,
    detection: &Detection,
    rows: Range<usize>,
    reference_rows: usize,
) -> RowAlarm {
    let row = rows.end - 1;
    let change = reference.streams().get(detection.stream).map_or_else(String::new, |stream| {
        detection.alternative.describe(stream).replace("class", "the value")
    });
    let value = column.shown(row).map_or_else(|| "no value".to_owned(), |value| format!("the value {value}"));
    RowAlarm {
        index: row as u64,
        feature: column.name().to_owned(),
        kind: AlarmKind::Drift,
        severity: detection.log10_evidence - detection.log10_threshold,
        estimated_change: Some(rows.start as u64),
        message: format!(
            "'{}' has {change} since about {} rows ago than in the first {reference_rows}; this row has {value}",
            column.name(),
            row - rows.start
        ),
    }
}

/// The smallest step at which the rows of a reference are independent; none if there is none that leaves enough rows.
fn step(places: &[Option<u32>], classes: usize) -> Option<usize> {
    if places.len() < THINNED_ROWS_MIN {
        return Some(1);
    }
    let steps = std::iter::successors(Some(1_usize), |step| Some(step * 2));
    let mut steps = steps.take_while(|step| places.len() / step >= THINNED_ROWS_MIN);
    steps.find(|step| {
        let thinned: Vec<Option<u32>> = places.iter().step_by(*step).copied().collect();
        (0..classes as u32).map(Some).chain([None]).all(|place| scatters_freely(&thinned, place))
    })
}

/// Whether the number of rows at `place` scatters from block to block no more than that of independent rows would, for
/// blocks of any length. The mean square of `m` such numbers, over their binomial variance `v`, has a variance of about
/// `(2 + 1 / v) / m`.
fn scatters_freely(places: &[Option<u32>], place: Option<u32>) -> bool {
    let n = places.len() as f64;
    let p = places.iter().filter(|found| **found == place).count() as f64 / n;
    BLOCKS.iter().filter(|block| places.len() / *block >= BLOCKS_MIN).all(|block| {
        let blocks = places.chunks_exact(*block);
        let (count, expected) = (blocks.len() as f64, *block as f64 * p);
        let variance = expected * (1.0 - p);
        let hits = |block: &[Option<u32>]| block.iter().filter(|found| **found == place).count() as f64;
        let scatter = blocks.map(|block| (hits(block) - expected).powi(2)).sum::<f64>() / count;
        variance <= 0.0
            || scatter / variance <= 1.0 + SCATTER_ERRORS * ((2.0 + 1.0 / variance) / count).sqrt()
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// A fixed sequence of numbers in `[0, 1)` that passes for random.
    fn uniform(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) as f64 / u64::MAX as f64
        })
    }

    fn config(reference_rows: usize, budget: Budget, hold_off_rows: u64) -> ReplayConfig {
        ReplayConfig { reference_rows, budget, hold_off_rows, unsupported: Unsupported::Clamp }
    }

    fn run(csv: &str, reference_rows: usize) -> Replay {
        let table =
            crate::table::delimited::read("t.csv", csv.as_bytes(), crate::table::Selection::All).unwrap();
        let encoding = Encoding::learn(&table, 0..reference_rows, &[]).unwrap();
        replay(&table, &encoding, &config(reference_rows, Budget::default(), 0)).unwrap()
    }

    fn column(rows: usize, mut line: impl FnMut(usize) -> String) -> String {
        let mut text = "c\n".to_owned();
        (0..rows).for_each(|row| writeln!(text, "{}", line(row)).unwrap());
        text
    }

    #[test]
    fn independent_rows_are_all_watched_and_rare_categories_raise_nothing() {
        for seed in 1..6 {
            let mut random = uniform(seed);
            let csv = column(20_000, |_| match random.next().unwrap() {
                share if share < 0.6 => "a".into(),
                share if share < 0.9 => "b".into(),
                share if share < 0.998 => "c".into(),
                _ => "rare".into(),
            });
            let found = run(&csv, 2000);
            assert_eq!((found.alarms.len(), found.samples, &found.notes[..]), (0, 18_000, &[][..]), "{seed}");
        }
    }

    #[test]
    fn states_that_last_are_thinned_or_left_alone() {
        for (seed, leaves, watched) in [(1, 0.3, true), (2, 0.3, true), (3, 0.01, false), (4, 0.002, false)] {
            let mut random = uniform(seed);
            let mut state = 'A';
            let csv = column(20_000, |_| {
                if random.next().unwrap() < leaves {
                    state = ['A', 'B', 'C'][(random.next().unwrap() * 3.0) as usize];
                }
                state.to_string()
            });
            let found = run(&csv, 4000);
            assert_eq!((found.alarms.len(), found.notes.len()), (0, 1), "{seed}: {:?}", found.alarms.first());
            assert_eq!(found.notes[0].starts_with("of 'c' every"), watched, "{:?}", found.notes);
        }
    }

    #[test]
    fn a_handful_of_measurements_are_numbers_and_no_codes() {
        let mut random = uniform(12);
        let csv = column(1000, |_| random.next().unwrap().to_string());
        let found = run(&csv, 5);
        assert!(found.notes[0].starts_with("a reference of 5 rows supports"), "{:?}", found.notes);
    }

    #[test]
    fn what_comes_round_is_watched() {
        let csv = column(3000, |row| ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][row % 7].into());
        let found = run(&csv, 700);
        assert_eq!((found.alarms.len(), found.notes.len()), (0, 0), "{:?}", found.alarms.first());
    }

    #[test]
    fn new_and_more_frequent_categories_are_found() {
        let mut random = uniform(7);
        let csv = column(4000, |row| match (row >= 3000, random.next().unwrap()) {
            (true, share) if share < 0.3 => "new".into(),
            (_, share) if share < 0.65 => "a".into(),
            _ => "b".into(),
        });
        let found = run(&csv, 1000);
        let first = &found.alarms[0];
        assert!((3000..3100).contains(&first.index), "{first:?}");
        assert!(first.estimated_change.unwrap().abs_diff(3000) < 40, "{first:?}");
        assert!(first.message.contains("'(others)' more often"), "{first:?}");
    }

    #[test]
    fn a_switch_that_is_rarely_on_is_quiet_until_it_is_not() {
        let mut random = uniform(8);
        let csv = column(12_000, |row| {
            let on = if row < 10_000 { 0.002 } else { 0.2 };
            u8::from(random.next().unwrap() < on).to_string()
        });
        let found = run(&csv, 2000);
        assert!(found.alarms[0].index >= 10_000 && found.alarms[0].index < 10_200, "{:?}", found.alarms[0]);
    }

    #[test]
    fn after_an_alarm_a_column_may_be_given_some_peace() {
        let mut random = uniform(9);
        let csv = column(6000, |row| {
            if random.next().unwrap() < if row < 3000 { 0.5 } else { 0.9 } { "a" } else { "b" }.into()
        });
        let table =
            crate::table::delimited::read("t.csv", csv.as_bytes(), crate::table::Selection::All).unwrap();
        let encoding = Encoding::learn(&table, 0..1000, &[]).unwrap();
        let found = replay(&table, &encoding, &config(1000, Budget::of_arl(1e6), 1000)).unwrap();
        assert!((2..=3).contains(&found.alarms.len()), "{:?}", found.alarms);
        assert!(found.alarms.windows(2).all(|pair| pair[1].index - pair[0].index > 1000));
        assert_eq!(found.budget_per_sample, 1e-6);
    }

    #[test]
    fn a_budget_that_the_reference_does_not_support_is_clamped_or_refused() {
        let mut random = uniform(11);
        let csv = column(600, |_| format!("{:.4}", random.next().unwrap()));
        let table =
            crate::table::delimited::read("t.csv", csv.as_bytes(), crate::table::Selection::All).unwrap();
        let encoding = Encoding::learn(&table, 0..100, &[]).unwrap();
        let clamped = config(100, Budget::of_arl(1e10), 0);
        let found = replay(&table, &encoding, &clamped).unwrap();
        assert!(found.notes[0].contains("supports one false outlier in 1.0e8 rows"), "{:?}", found.notes);
        let strict = ReplayConfig { unsupported: Unsupported::Refuse, ..clamped };
        let refused = replay(&table, &encoding, &strict).unwrap_err();
        assert!(
            matches!(refused, ReplayError::Backtest(BacktestError::Monitor(MonitorError::Unsupported { supported, .. })) if supported == 1e8),
            "{refused:?}"
        );
        let enough = ReplayConfig { budget: Budget::of_arl(1e8), ..strict };
        assert!(replay(&table, &encoding, &enough).unwrap().notes.is_empty());
    }

    #[test]
    fn one_value_far_out_is_an_outlier_on_its_row() {
        let mut random = uniform(10);
        let csv = column(3000, |row| {
            let noise: f64 = (&mut random).take(12).sum();
            if row == 2500 { "-400".into() } else { format!("{noise:.4}") }
        });
        let found = run(&csv, 1000);
        assert_eq!((found.alarms.len(), found.alarms[0].index), (1, 2500));
        assert_eq!(
            (found.alarms[0].kind, found.alarms[0].estimated_change),
            (AlarmKind::Outlier, Some(2500))
        );
    }
}
