//! Serial dependence: a reference in order keeps its budget on streams whose samples follow from each other.

mod streams;

use edgeward_monitor::{
    AlarmKind, BacktestConfig, BacktestError, Reference, Rows, Sample, Seasons, backtest,
};
use proptest::prelude::*;
use streams::{Source, fit, names, sample};

/// A stream of `n` values after a start-up, from its two latest values, the time and a source.
fn stream(seed: u64, n: usize, next: impl Fn(&mut [f64; 4], usize, &mut Source) -> f64) -> Vec<f32> {
    let mut source = Source::new(seed);
    let mut state = [0.0; 4];
    let values: Vec<f32> = (0..n + 500).map(|t| next(&mut state, t, &mut source) as f32).collect();
    values[500..].to_vec()
}

fn autoregressive(phi: f64) -> impl Fn(&mut [f64; 4], usize, &mut Source) -> f64 + Copy {
    move |state, _, source| {
        state[0] = phi * state[0] + source.normal();
        state[0]
    }
}

fn moving_average(state: &mut [f64; 4], _: usize, source: &mut Source) -> f64 {
    let shock = source.normal();
    let value = shock + 0.8 * state[0];
    state[0] = shock;
    value
}

/// A day of 24, a week of 168, and noise that follows itself.
fn daily_and_weekly(state: &mut [f64; 4], t: usize, source: &mut Source) -> f64 {
    state[0] = 0.5 * state[0] + source.normal();
    let turn = |period: f64| (std::f64::consts::TAU * t as f64 / period).sin();
    3.0 * turn(24.0) + 2.0 * turn(168.0) + state[0]
}

fn garch(state: &mut [f64; 4], _: usize, source: &mut Source) -> f64 {
    state[0] = 0.05 + 0.1 * state[1] * state[1] + 0.85 * state[0];
    state[1] = state[0].sqrt() * source.normal();
    state[1]
}

fn wandering(state: &mut [f64; 4], _: usize, source: &mut Source) -> f64 {
    state[0] += source.normal();
    state[0]
}

/// Alarms on `length` rows after references of `n` rows at a run length of 10,000, and how many are budgeted.
fn check(name: &str, n: usize, next: impl Fn(&mut [f64; 4], usize, &mut Source) -> f64 + Copy, times: f64) {
    let (references, length, arl) = (12, 10_000, 1e4);
    let config = BacktestConfig::new(n, arl);
    let replay = |seed| {
        let history = stream(seed, n + length, next);
        backtest(&names(1), &history, &config).expect("the history is a table").alarms.len()
    };
    let alarms: usize = (0..references).map(replay).sum();
    let budgeted = times * (references as usize * length) as f64 / arl;
    eprintln!("{name}, {n} rows: {alarms} alarms, allowed {budgeted}");
    assert!(alarms as f64 <= budgeted + 2.0 * 1.645 * budgeted.sqrt(), "{name}, {n}: {alarms}");
}

#[test]
fn autoregressive_streams_stay_inside_the_budget() {
    for phi in [0.7, 0.95] {
        check(&format!("AR({phi})"), 1_000, autoregressive(phi), 1.0);
        check(&format!("AR({phi})"), 5_000, autoregressive(phi), 1.0);
    }
}

#[test]
fn moving_averages_and_cycles_stay_inside_the_budget() {
    check("MA(.8)", 2_000, moving_average, 1.0);
    check("daily and weekly", 2_000, daily_and_weekly, 1.0);
    check("daily and weekly", 5_000, daily_and_weekly, 1.0);
}

#[test]
fn moving_variance_and_level_stay_near_the_budget() {
    check("GARCH", 2_000, garch, 3.0);
    check("GARCH", 5_000, garch, 3.0);
    check("random walk", 2_000, wandering, 1.0);
}

#[test]
fn a_shift_of_a_dependent_stream_is_found() {
    let mut history = stream(5, 6_000, autoregressive(0.7));
    history[5_000..].iter_mut().for_each(|value| *value += 3.0);
    let found = backtest(&names(1), &history, &BacktestConfig::new(4_000, 1e5)).unwrap();
    let alarm = found.alarms.first().expect("the shift is found");
    assert_eq!((alarm.feature.as_str(), alarm.kind), ("f0", AlarmKind::Drift));
    assert!((5_000..5_150).contains(&alarm.index), "{alarm:?}");
    assert!(alarm.estimated_change.unwrap().abs_diff(5_000) < 60 && alarm.severity >= 0.0, "{alarm:?}");
    assert_eq!((found.samples, found.budget_per_sample), (2_000, 1e-5));
    assert!(found.verifications[0].1.as_ref().is_some_and(|v| v.is_clean() && v.held_back > 1_000));
}

/// A price that wanders between 20 and 100, and one negative day.
#[test]
fn an_impossible_change_of_a_wandering_price_alarms_on_its_day_and_nothing_else_does() {
    let mut history = stream(8, 9_000, |state, _, source| {
        state[0] = 0.02 + 0.08 * state[1] * state[1] + 0.9 * state[0];
        state[1] = state[0].sqrt() * source.normal();
        state[2] += state[1] - 0.001 * (state[2] - 60.0);
        state[2]
    });
    history[8_600] -= 60.0;
    let found = backtest(&names(1), &history, &BacktestConfig::new(7_000, 1e6)).unwrap();
    let days: Vec<_> = found.alarms.iter().map(|alarm| (alarm.index, alarm.kind)).collect();
    assert_eq!(days, [(8_600, AlarmKind::Outlier)], "{:?}", found.alarms);
}

#[test]
fn leftover_dependence_raises_the_threshold() {
    let trend = |state: &mut [f64; 4], t: usize, source: &mut Source| {
        state[0] = source.normal();
        state[0] + if t > 2_200 { 1.5 } else { 0.0 }
    };
    let rows: Vec<Vec<f32>> = stream(2, 2_000, trend).into_iter().map(|value| vec![value]).collect();
    let samples = || rows.iter().map(|row| sample(row));
    let reference = Reference::fit_ordered(&names(1), &[], samples(), &Seasons::default()).unwrap();
    let found = reference.streams()[0].verification().expect("the stream is no quiet one");
    assert!(found.factor > 1.0 && !found.is_clean(), "{found:?}");
    assert_eq!(fit(&rows).streams()[0].verification(), None);
}

#[test]
fn independent_rows_in_order_are_judged_as_they_come() {
    let rows = Source::new(14).rows(3_000, |s| s.gaussian_row(2));
    let ordered =
        Reference::fit_ordered(&names(2), &[], rows.iter().map(|row| sample(row)), &Seasons::default());
    assert_eq!(ordered.unwrap(), fit(&rows));
}

#[test]
fn histories_that_are_no_table_are_refused() {
    let refused = |columns: usize, values: usize, reference_rows: usize| {
        backtest(&names(columns), &vec![0.0; values], &BacktestConfig::new(reference_rows, 1e6)).unwrap_err()
    };
    assert_eq!(refused(2, 5, 1), BacktestError::Shape { values: 5, columns: 2 });
    assert_eq!(refused(0, 5, 1), BacktestError::Shape { values: 5, columns: 0 });
    assert_eq!(refused(1, 5, 5), BacktestError::History { reference_rows: 5, rows: 5 });
    assert!(matches!(refused(1, 5, 0), BacktestError::Fit(_)));
}

fn ordered_reference() -> Reference {
    let day = stream(1, 1_500, daily_and_weekly);
    let walk = stream(2, 1_500, wandering);
    let rows: Vec<[f32; 2]> = day.into_iter().zip(walk).map(|(a, b)| [a, b]).collect();
    let samples = rows.iter().map(|row| sample(row));
    Reference::fit_ordered(&names(2), &[], samples, &Seasons { lags: vec![24], find: true })
        .expect("the rows are valid")
}

#[test]
fn an_ordered_reference_survives_its_bytes_and_a_monitor_its_restart() {
    let reference = ordered_reference();
    assert_eq!(Reference::from_bytes(&reference.to_bytes()).unwrap(), reference);
    let reference = std::sync::Arc::new(reference);
    let new = || {
        let config = edgeward_monitor::MonitorConfig::default();
        edgeward_monitor::Monitor::new(std::sync::Arc::clone(&reference), config).unwrap()
    };
    let (mut whole, mut restarted, mut blocks) = (new(), new(), new());
    let mut source = Source::new(9);
    let mut history = Vec::new();
    for i in 0..800 {
        let row =
            [if source.below(97) == 0 { f32::NAN } else { source.normal() as f32 }, source.normal() as f32];
        history.extend(row);
        assert_eq!(whole.observe(&sample(&row)), restarted.observe(&sample(&row)));
        if i % 111 == 0 {
            let state = restarted.state_to_bytes();
            restarted = new();
            restarted.restore(&state).unwrap();
        }
    }
    blocks.observe_rows(&Rows::of_features(&history, 2));
    assert_eq!(whole.state_to_bytes(), restarted.state_to_bytes());
    assert_eq!(whole.state_to_bytes(), blocks.state_to_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_ordered_references_are_refused_or_harmless(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        thread_local! { static BYTES: Vec<u8> = ordered_reference().to_bytes(); }
        let mut bytes = BYTES.with(Clone::clone);
        let at = at.index(bytes.len());
        prop_assert!(Reference::from_bytes(&bytes[..at]).is_err());
        bytes[at] = byte;
        if let Ok(reference) = Reference::from_bytes(&bytes) {
            let config = edgeward_monitor::MonitorConfig::default();
            let mut monitor = edgeward_monitor::Monitor::new(std::sync::Arc::new(reference), config).unwrap();
            for value in [0.0, f32::NAN, f32::INFINITY, 1e38, -1e38, 3.0] {
                let row = [value; 2];
                monitor.observe(&Sample { features: &row, predicted: None, confidence: Some(value) });
            }
        }
    }
}
