//! Rows in blocks and rows one by one: the same alarms and the same bytes.

mod streams;

use std::sync::Arc;

use edgeward_monitor::{
    Alarm, Budget, MISSING_VALUE, Monitor, MonitorConfig, Reference, Rows, SECONDS_PER_YEAR, Sample,
};
use proptest::prelude::*;
use streams::{Source, fit, names, sample};

const FEATURES: usize = 3;
const CLASSES: u32 = 4;

fn monitor(seed: u64, log10_arl: f64) -> Monitor {
    let mut source = Source::new(seed);
    let rows = source.rows(400, |s| s.gaussian_row(FEATURES));
    let classes = names(CLASSES as usize);
    let samples = rows.iter().zip(0..).map(|(row, i)| Sample {
        features: row,
        predicted: Some(i % CLASSES),
        confidence: Some(0.5 + (i % 50) as f32 / 100.0),
    });
    let reference = Reference::fit(&names(FEATURES), &classes, samples).expect("the rows are valid");
    let budget = Budget {
        false_alarms_per_device_year: SECONDS_PER_YEAR / 10f64.powf(log10_arl),
        samples_per_second: 1.0,
    };
    let config = MonitorConfig { budget, hold_off_samples: 7, ..MonitorConfig::default() };
    Monitor::new(Arc::new(reference), config).expect("the configuration is valid")
}

/// Rows that shift now and then, with holes and impossible values.
fn stream(seed: u64, n: usize, shift: f32, width: usize) -> (Vec<f32>, Vec<Option<u32>>, Vec<f32>) {
    let mut source = Source::new(seed);
    let mut features = Vec::new();
    for row in 0..n {
        let shift = if row % 300 > 150 { shift } else { 0.0 };
        for value in source.gaussian_row(width) {
            let odd = source.below(400);
            features.push([f32::NAN, f32::INFINITY, -1e9].get(odd).copied().unwrap_or(value + shift));
        }
    }
    let predicted = (0..n - n / 5).map(|_| Some(source.below(5) as u32).filter(|c| *c > 0)).collect();
    let confidence = (0..n - n / 7).map(|_| if source.below(9) == 0 { f32::NAN } else { 0.7 }).collect();
    (features, predicted, confidence)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_are_rows(seed in 0u64..1000, n in 1usize..700, shift in 0f32..3.0, width in 1usize..5, log10_arl in 2.0..6.0) {
        let (features, predicted, confidence) = stream(seed, n, shift, width);
        let rows = Rows { features: &features, width, predicted: &predicted, confidence: &confidence };
        let (mut one, mut many) = (monitor(seed, log10_arl), monitor(seed, log10_arl));
        let single: Vec<Alarm> = (0..n).flat_map(|row| one.observe(&rows.sample(row))).collect();
        let cut = n / 3 * width;
        let mut blocks = many.observe_rows(&Rows { features: &features[..cut], ..rows });
        let rest = Rows {
            features: &features[cut..],
            width,
            predicted: predicted.get(n / 3..).unwrap_or(&[]),
            confidence: confidence.get(n / 3..).unwrap_or(&[]),
        };
        blocks.extend(many.observe_rows(&rest));
        prop_assert_eq!(&single, &blocks);
        prop_assert_eq!(one.state_to_bytes(), many.state_to_bytes());
        prop_assert_eq!(one.samples(), n as u64);
    }
}

#[test]
fn the_property_sees_alarms_of_both_kinds() {
    let (features, ..) = stream(3, 600, 2.0, FEATURES);
    let alarms = monitor(3, 4.0).observe_rows(&Rows::of_features(&features, FEATURES));
    let kinds: std::collections::HashSet<_> = alarms.iter().map(|alarm| alarm.kind).collect();
    assert!(kinds.len() == 2 && alarms.len() > 4, "{alarms:?}");
    assert!(alarms.windows(2).all(|pair| pair[0].sample <= pair[1].sample));
}

#[test]
fn rows_without_a_width_are_none() {
    let rows = Rows::of_features(&[1.0, 2.0, 3.0], 0);
    assert!(rows.is_empty() && rows.sample(2).features.is_empty());
    assert_eq!(Rows::of_features(&[1.0, 2.0, 3.0], 2).len(), 1);
}

#[test]
fn a_numeric_feature_fits_its_memory() {
    let reference = fit(&Source::new(1).rows(2_000, |s| s.gaussian_row(20)));
    let mut monitor = Monitor::new(Arc::new(reference), MonitorConfig::default()).unwrap();
    assert_eq!(monitor.observe(&sample(&[0.5; 20])), []);
    // An outlier and a missing value in every stream: what few streams need is there as well.
    let odd = [[1e9; 20], [MISSING_VALUE; 20]];
    odd.iter().for_each(|row| drop(monitor.observe(&sample(row))));
    let memory = monitor.memory();
    let streams = monitor.reference().streams().len();
    assert!(memory.hot_bytes <= 256 * streams, "{memory:?}");
    assert!(memory.device_bytes + memory.shared_bytes <= 2_000 * streams, "{memory:?}");
}
