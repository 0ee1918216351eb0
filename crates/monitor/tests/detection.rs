//! False alarms against the budget, and delays against the optimum, on seeded streams.

mod streams;

use edgeward_monitor::{
    Budget, DecayDetector, Detector, Monitor, MonitorConfig, Reference, SECONDS_PER_YEAR,
};
use std::sync::Arc;
use streams::{Source, fit, sample};

/// Integers 0 to 16 with heavy ties, some constant, dependent on each other: like the pixels of a digit.
fn pixel_row(source: &mut Source, features: usize) -> Vec<f32> {
    let weight = source.normal();
    let ink = |i: usize| 9.0 - 20.0 * (i as f64 / features as f64);
    let value = |i: usize, noise: f64| (ink(i) + 4.0 * weight + 4.0 * noise).clamp(0.0, 16.0).round() as f32;
    (0..features).map(|i| if i % 16 == 15 { 0.0 } else { value(i, source.normal()) }).collect()
}

/// Alarms of `references` fresh references of `n` rows over `length` null samples each.
fn false_alarms(
    n: usize,
    references: u64,
    length: usize,
    arl: f64,
    row: impl Fn(&mut Source) -> Vec<f32> + Copy,
) -> (u64, f64) {
    let mut alarms = 0;
    for seed in 0..references {
        let mut source = Source::new(seed * 31 + n as u64);
        let reference = fit(&source.rows(n, row));
        let mut detector = Detector::new(&reference, arl);
        for _ in 0..length {
            alarms += u64::from(detector.observe(&reference, &sample(&row(&mut source))).is_some());
        }
    }
    (alarms, (references * length as u64) as f64 / arl)
}

/// The budget must hold with 95% confidence: alarms of one reference cluster, so the slack is twice Poisson's.
fn check_rate(name: &str, n: usize, (alarms, budgeted): (u64, f64)) {
    let allowed = budgeted + 2.0 * 1.645 * budgeted.sqrt();
    assert!(alarms as f64 <= allowed, "{name}, {n} rows: {alarms} alarms, budgeted {budgeted}");
    eprintln!("{name}, {n} rows: {alarms} alarms, budgeted {budgeted}");
}

#[test]
fn gaussian_null_streams_stay_inside_the_budget() {
    for n in [500, 2_000, 10_000] {
        check_rate("gaussian", n, false_alarms(n, 40, 40_000, 1e4, |s| s.gaussian_row(1)));
    }
}

#[test]
fn a_longer_run_length_is_kept_too() {
    for n in [500, 2_000] {
        check_rate("gaussian at 1e5", n, false_alarms(n, 80, 50_000, 1e5, |s| s.gaussian_row(1)));
    }
}

#[test]
fn tied_null_streams_stay_inside_the_budget() {
    for n in [500, 2_000, 10_000] {
        check_rate("tied", n, false_alarms(n, 30, 30_000, 1e4, |s| vec![pixel_row(s, 3)[1]]));
    }
}

#[test]
fn twenty_features_share_one_budget() {
    for n in [500, 2_000, 10_000] {
        check_rate("20 gaussian", n, false_alarms(n, 8, 20_000, 1e4, |s| s.gaussian_row(20)));
        check_rate("20 tied", n, false_alarms(n, 8, 20_000, 1e4, |s| pixel_row(s, 20)));
    }
}

fn monitor(reference: Reference, log10_arl: i32) -> Monitor {
    let budget = Budget {
        false_alarms_per_device_year: SECONDS_PER_YEAR / 10f64.powi(log10_arl),
        samples_per_second: 1.0,
    };
    Monitor::new(Arc::new(reference), MonitorConfig { budget, ..MonitorConfig::default() })
        .expect("the configuration is valid")
}

#[test]
fn another_finite_pool_of_the_same_source_is_not_drift() {
    for seed in 0..4 {
        let mut source = Source::new(seed);
        let mut monitor = monitor(fit(&source.rows(500, |s| pixel_row(s, 64))), 9);
        let pool = source.rows(700, |s| pixel_row(s, 64));
        for _ in 0..20_000 {
            let row = &pool[source.below(pool.len())];
            assert_eq!(monitor.observe(&sample(row)), [], "seed {seed}");
        }
    }
}

#[test]
fn held_out_digits_are_not_drift() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/robots/data/digits.csv");
    let text = std::fs::read_to_string(path).expect("the digits are part of the repository");
    let numbers = |line: &str| line.split(',').map(|v| v.trim().parse().ok()).collect::<Option<Vec<f32>>>();
    let mut rows: Vec<Vec<f32>> = text.lines().filter_map(numbers).collect();
    for seed in 0..3 {
        let mut source = Source::new(seed);
        (1..rows.len()).rev().for_each(|i| rows.swap(i, source.below(i + 1)));
        let pixels: Vec<Vec<f32>> = rows.iter().map(|row| row[..64].to_vec()).collect();
        let mut monitor = monitor(fit(&pixels[..500]), 9);
        for _ in 0..20_000 {
            let row = &pixels[500 + source.below(700)];
            assert_eq!(monitor.observe(&sample(row)), [], "seed {seed}");
        }
    }
}

/// Mean delay, mean error of the estimated change, of a change after 200 null samples.
fn delay(n: usize, shift: f64, sd: f64, arl: f64) -> (f64, f64) {
    let (mut delay, mut error) = (0, 0.0);
    let runs = 60;
    for seed in 0..runs {
        let mut source = Source::new(seed);
        let reference = fit(&source.rows(n, |s| s.gaussian_row(1)));
        let mut detector = Detector::new(&reference, arl);
        for _ in 0..200 {
            detector.observe(&reference, &sample(&source.gaussian_row(1)));
        }
        let changed = |s: &mut Source| [(s.normal() * sd + shift) as f32];
        detector.rearm();
        let mut found = None;
        while found.is_none() && detector.samples() < 20_000 {
            delay += 1;
            found = detector.observe(&reference, &sample(&changed(&mut source)));
        }
        error += found.expect("the change is found").change_sample as f64 - 201.0;
    }
    (f64::from(delay) / runs as f64, error / runs as f64)
}

/// Mean delay of the optimal CUSUM for a known shift (Moustakides 1986), its threshold from Siegmund's
/// corrected approximation of the run length, (e^b - b - 1) / (shift^2 / 2) with b = a + 1.166 shift.
fn cusum_delay(shift: f64, arl: f64) -> f64 {
    let run_length = |b: f64| (b.exp() - b - 1.0) / (shift * shift / 2.0);
    let corrected = (0..4_000)
        .map(|i| f64::from(i) * 0.01)
        .find(|b| run_length(*b) >= arl)
        .expect("a threshold below 40");
    let threshold = corrected - 1.166 * shift;
    let runs = 300;
    let mut total = 0;
    for seed in 0..runs {
        let mut source = Source::new(1_000 + seed);
        let mut sum = 0.0f64;
        while sum < threshold {
            sum = (sum + shift * (source.normal() + shift) - shift * shift / 2.0).max(0.0);
            total += 1;
        }
    }
    f64::from(total) / runs as f64
}

#[test]
fn delays_are_near_the_optimum() {
    for (shift, factor) in [(0.5, 1.6), (1.0, 1.6), (2.0, 1.8)] {
        let (found, error) = delay(10_000, shift, 1.0, 1e6);
        let best = cusum_delay(shift, 1e6);
        eprintln!("shift {shift}: delay {found:.1}, optimum {best:.1}, error of the change {error:.1}");
        assert!(found <= factor * best, "shift {shift}: {found} against {best}");
        assert!(error.abs() <= 0.3 * found, "shift {shift}: change off by {error}");
    }
}

#[test]
fn a_small_reference_costs_delay_but_finds_the_change() {
    for (shift, most) in [(0.5, 260.0), (1.0, 50.0), (2.0, 15.0)] {
        let (found, _) = delay(500, shift, 1.0, 1e6);
        eprintln!("500 rows, shift {shift}: delay {found:.1}");
        assert!(found <= most, "shift {shift}: {found}");
    }
}

#[test]
fn a_doubled_spread_is_found() {
    let (found, _) = delay(2_000, 0.0, 2.0, 1e6);
    eprintln!("doubled spread: {found:.1}");
    assert!(found <= 50.0, "{found}");
}

#[test]
fn decay_is_found_soon_and_only_then() {
    let (runs, mut delay) = (60u64, 0u64);
    for seed in 0..runs {
        let mut source = Source::new(seed);
        let mut detector = DecayDetector::new(0.97, 300, 1e9);
        assert!((0..500).all(|_| detector.observe(source.uniform() < 0.97).is_none()));
        while detector.observe(source.uniform() < 0.78).is_none() {
            delay += 1;
        }
    }
    let mean = delay as f64 / runs as f64;
    eprintln!("decay .97 -> .78: {mean:.0} labels");
    assert!(mean <= 125.0, "{mean}");
}

#[test]
fn a_baseline_of_300_labels_keeps_the_peace() {
    for seed in 0..40 {
        let mut source = Source::new(seed);
        let right = (0..300).filter(|_| source.uniform() < 0.97).count();
        let mut detector = DecayDetector::new(right as f64 / 300.0, 300, 1e9);
        let labels = 100_000;
        assert!((0..labels).all(|_| detector.observe(source.uniform() < 0.97).is_none()), "{seed}: {right}");
    }
}
