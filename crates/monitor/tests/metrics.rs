//! Metrics are those of scikit-learn (`oracle/metrics.py` wrote what it says), merge to the same bytes in any order,
//! and survive their bytes; hostile ones are refused.

use edgeward_monitor::{
    DecodeError, Judged, MAX_SEGMENTS, OTHER_SEGMENT, Outcome, Performance, Scores, Segment,
    SegmentedPerformance,
};
use proptest::prelude::*;

const ORACLE: &str = include_str!("oracle/metrics.csv");
const PERFORMANCE_V1: &[u8] = include_bytes!("golden/performance-v1.bin");
const QUANTILE: f64 = 0.9;
const ALPHA: f64 = 0.05;

/// One case of the oracle.
#[derive(Default)]
struct Case<'a> {
    name: &'a str,
    performance: Performance,
    expected: Vec<(&'a str, f64)>,
}

fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut classes = "";
    for line in ORACLE.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        match (fields[0], cases.last_mut()) {
            ("case", _) => {
                classes = fields[2];
                cases.push(Case { name: fields[1], ..Case::default() });
            }
            ("=", Some(case)) => case.expected.push((fields[1], fields[2].parse().expect("a number"))),
            (_, Some(case)) if classes == "0" => case.performance.observe(&Outcome::Number {
                predicted: f64::from(number(fields[1])),
                truth: f64::from(number(fields[0])),
            }),
            (_, Some(case)) => {
                let scores: Vec<f32> = fields[2..].iter().map(|field| number(field)).collect();
                case.performance.observe(&Outcome::Class {
                    predicted: fields[1].parse().expect("a class"),
                    truth: Some(fields[0].parse().expect("a class")),
                    scores: Scores::All(&scores),
                });
            }
            (_, None) => unreachable!("data before the first case"),
        }
    }
    cases
}

fn number(text: &str) -> f32 {
    text.parse().expect("a number")
}

#[test]
fn values_are_those_of_scikit_learn() {
    let cases = cases();
    assert_eq!(cases.len(), 8);
    for case in &cases {
        let report = case.performance.report(&[], QUANTILE, ALPHA);
        assert_eq!(case.expected.len(), report.metrics.len() + report.f1.len(), "{}", case.name);
        for (metric, expected) in &case.expected {
            let found = match metric.strip_prefix("f1/") {
                Some(class) => &report.f1[class],
                None => &report.metrics[*metric],
            };
            let tolerance = 1e-9 * expected.abs() + found.binning_error;
            assert!(
                (found.value - expected).abs() <= tolerance,
                "{} {metric}: {found:?} {expected}",
                case.name
            );
            assert!(
                found.low <= found.value && found.value <= found.high,
                "{} {metric}: {found:?}",
                case.name
            );
            assert!(
                found.binning_error < 0.002 || case.name == "coarse",
                "{} {metric}: {found:?}",
                case.name
            );
            assert_eq!(
                found.assumes.is_some(),
                *metric == "mae" || *metric == "rmse" || *metric == "quantile_loss"
            );
        }
    }
}

#[test]
fn the_error_of_binning_is_stated_and_kept() {
    let coarse = cases().into_iter().find(|case| case.name == "coarse").expect("it is there");
    let found = &coarse.performance.report(&[], QUANTILE, ALPHA).metrics["auc"];
    let expected = coarse.expected.iter().find(|(metric, _)| *metric == "auc").expect("it is there").1;
    // Scores that are equal count half in scikit-learn as well: nothing is lost here.
    assert!((found.value - expected).abs() < 1e-12 && found.binning_error > 0.01, "{found:?}");
}

#[test]
fn two_classes_need_only_the_confidence() {
    let (mut all, mut top) = (Performance::default(), Performance::default());
    for i in 0..64u32 {
        let positive = (i as f32 + 0.5) / 64.0;
        let predicted = u32::from(positive >= 0.5);
        let confidence = positive.max(1.0 - positive);
        let truth = Some(u32::from(i % 5 > 2));
        let scores = Scores::All(&[1.0 - positive, positive]);
        all.observe(&Outcome::Class { predicted, truth, scores });
        let scores = Scores::Top { confidence, classes: 2 };
        top.observe(&Outcome::Class { predicted, truth, scores });
    }
    assert_eq!(all.report(&[], 0.5, ALPHA), top.report(&[], 0.5, ALPHA));
    let mut three = Performance::default();
    let scores = Scores::Top { confidence: 0.8, classes: 3 };
    three.observe(&Outcome::Class { predicted: 2, truth: Some(1), scores });
    let report = three.report(&[], 0.5, ALPHA);
    assert!(report.metrics.contains_key("calibration_error") && !report.metrics.contains_key("log_loss"));
}

#[test]
fn a_class_that_the_model_does_not_know_is_always_wrong() {
    let mut performance = Performance::default();
    for truth in [Some(0), None, Some(7_000)] {
        performance.observe(&Outcome::Class { predicted: 0, truth, scores: Scores::All(&[0.75, 0.25]) });
    }
    performance.observe(&Outcome::Class { predicted: 7_000, truth: None, scores: Scores::Unknown });
    let report = performance.report(&["cat".to_owned()], 0.5, ALPHA);
    assert_eq!(report.metrics["accuracy"].value, 0.25);
    assert!(
        (report.metrics["log_loss"].value - (2.0 * -f64::EPSILON.ln() - 0.75f64.ln()) / 3.0).abs() < 1e-12
    );
    assert_eq!(report.f1.keys().collect::<Vec<_>>(), ["cat"]);
    assert_eq!(report.f1["cat"].value, 0.5);
}

#[test]
fn what_cannot_be_judged_is_counted_as_such() {
    let mut performance = Performance::default();
    for (predicted, truth) in [(f64::NAN, 1.0), (1.0, f64::INFINITY), (1e200, 0.0), (1.0, 2.0)] {
        performance.observe(&Outcome::Number { predicted, truth });
    }
    assert_eq!((performance.labels(), performance.unjudged()), (1, 3));
    assert!(Performance::default().report(&[], 0.5, ALPHA).metrics.is_empty());
    for scores in [&[f32::NAN, 0.5][..], &[0.9, 0.9], &[2.0, -1.0], &[], &[1.0]] {
        let mut odd = Performance::default();
        odd.observe(&Outcome::Class { predicted: 0, truth: Some(0), scores: Scores::All(scores) });
        let report = odd.report(&[], 0.5, f64::NAN);
        assert_eq!(report.metrics["accuracy"].value, 1.0);
        assert!(!report.metrics.contains_key("log_loss"), "{scores:?}");
    }
}

/// What may come: classes with all, top or no scores, or numbers.
fn any_outcome() -> impl Strategy<Value = (u8, u32, Option<u32>, f32, f64)> {
    (0u8..4, 0u32..4, prop::option::of(0u32..5), -0.1f32..1.1, any::<f64>())
}

fn observe(performance: &mut SegmentedPerformance, outcomes: &[(u8, u32, Option<u32>, f32, f64)]) {
    for (kind, predicted, truth, score, number) in outcomes {
        let (predicted, truth) = (*predicted, *truth);
        let all = [*score, 1.0 - score, 0.0, 0.0];
        let scores = match kind {
            0 => Scores::Unknown,
            1 => Scores::Top { confidence: *score, classes: 2 + predicted % 2 },
            _ => Scores::All(&all[..2 + predicted as usize % 3]),
        };
        let segment = Segment::new("sign", if *number > 0.0 { "plus" } else { "minus" });
        match kind {
            3 => performance
                .observe(&Outcome::Number { predicted: *number, truth: f64::from(*score) }, [&segment]),
            _ => performance.observe(&Outcome::Class { predicted, truth, scores }, [&segment]),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_the_same_bytes_in_any_order(parts in prop::collection::vec(prop::collection::vec(any_outcome(), 0..12), 3)) {
        let each: Vec<SegmentedPerformance> = parts.iter().map(|part| {
            let mut performance = SegmentedPerformance::default();
            observe(&mut performance, part);
            performance
        }).collect();
        let [a, b, c] = &each[..] else { panic!("three parts") };
        let left = a.merge(b).unwrap().merge(c).unwrap();
        let right = c.merge(&b.merge(a).unwrap()).unwrap();
        let mut whole = SegmentedPerformance::default();
        observe(&mut whole, &parts.concat());
        prop_assert_eq!(left.to_bytes(), right.to_bytes());
        prop_assert_eq!(left.to_bytes(), whole.to_bytes());
        prop_assert_eq!(SegmentedPerformance::from_bytes(&left.to_bytes()).unwrap(), left.clone());
        let report = left.all().report(&[], 0.5, ALPHA);
        prop_assert_eq!(Performance::from_bytes(&left.all().to_bytes()).unwrap().report(&[], 0.5, ALPHA), report.clone());
        for estimate in report.metrics.values().chain(report.f1.values()) {
            prop_assert!(estimate.low <= estimate.high && estimate.value.is_finite(), "{:?}", estimate);
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_harmless(outcomes in prop::collection::vec(any_outcome(), 1..12), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut performance = SegmentedPerformance::default();
        observe(&mut performance, &outcomes);
        let good = performance.to_bytes();
        let at = at.index(good.len());
        prop_assert!(SegmentedPerformance::from_bytes(&good[..at]).is_err());
        let mut bytes = good.clone();
        bytes[at] = byte;
        if let Ok(read) = SegmentedPerformance::from_bytes(&bytes) {
            let _ = read.all().report(&[], 0.5, ALPHA);
            let _ = read.merge(&performance).map(|sum| sum.to_bytes());
        }
        let surplus = [&good[..], &[0]].concat();
        prop_assert_eq!(SegmentedPerformance::from_bytes(&surplus), Err(DecodeError::Trailing { count: 1 }));
    }
}

#[test]
fn segments_are_bounded_and_lose_nothing() {
    let mut performance = SegmentedPerformance::default();
    let outcome = Outcome::Number { predicted: 1.0, truth: 0.0 };
    for i in 0..MAX_SEGMENTS + 10 {
        performance.observe(&outcome, [&Segment::new("camera", &i.to_string())]);
    }
    assert_eq!(performance.segments().len(), MAX_SEGMENTS + 1);
    let other = &performance.segments()[&Segment::new(OTHER_SEGMENT, OTHER_SEGMENT)];
    assert_eq!((other.labels(), performance.all().labels()), (10, MAX_SEGMENTS as u64 + 10));
    let twice = performance.merge(&performance).unwrap();
    assert_eq!(twice.segments().len(), MAX_SEGMENTS + 1);
    assert_eq!(SegmentedPerformance::from_bytes(&twice.to_bytes()).unwrap(), twice);
    assert_eq!(Segment::new("é", &"é".repeat(200)).value.len(), 256);
}

#[test]
fn the_segment_that_lost_is_named_first() {
    let mut performance = SegmentedPerformance::default();
    for i in 0..2_000u32 {
        let camera = i % 4;
        let right = if camera == 2 { i % 8 < 4 } else { (i / 4) % 20 > 0 };
        let outcome = Outcome::Class { predicted: 1, truth: Some(u32::from(right)), scores: Scores::Unknown };
        let segments = [Segment::new("camera", &camera.to_string()), Segment::new("site", "north")];
        performance.observe(&outcome, &segments);
    }
    let judged = Judged { metric: "accuracy", classes: &[], quantile: 0.5, alpha: ALPHA };
    let losses = performance.losses(judged, |segment| (segment.name == "camera").then_some(0.95));
    assert_eq!(losses[0].segment, Segment::new("camera", "2"));
    assert!(losses[0].certain && (losses[0].score - 0.45 / 4.0).abs() < 1e-9, "{losses:?}");
    assert!(losses[1..].iter().all(|loss| !loss.certain && loss.segment.name == "camera"));
    assert_eq!(losses[0].reason, "accuracy is 0.500 where camera is 2, 0.950 is due (500 labels)");
    assert!(performance.losses(Judged { metric: "mae", ..judged }, |_| Some(0.0)).is_empty());
}

/// By arithmetic alone, so that its bytes are the same everywhere.
fn fixed() -> SegmentedPerformance {
    let mut performance = SegmentedPerformance::default();
    let segment = Segment::new("site", "north");
    for i in 0..8u32 {
        let high = 0.5 + i as f32 / 16.0;
        let scores = [high, 1.0 - high];
        let truth = (i != 5).then_some(u32::from(i == 3));
        performance
            .observe(&Outcome::Class { predicted: 0, truth, scores: Scores::All(&scores) }, [&segment]);
        performance.observe(&Outcome::Number { predicted: f64::from(i), truth: 2.5 }, []);
    }
    performance.observe(&Outcome::Number { predicted: f64::NAN, truth: 0.0 }, [&segment]);
    performance
}

#[test]
fn version_1_is_read_as_ever() {
    let read = SegmentedPerformance::from_bytes(PERFORMANCE_V1).unwrap();
    let (then, now) = (read.all().report(&[], 0.5, ALPHA), fixed().all().report(&[], 0.5, ALPHA));
    assert_eq!(read.to_bytes(), PERFORMANCE_V1);
    assert_eq!((then.labels, then.unjudged), (16, 1));
    assert_eq!(then.metrics.keys().collect::<Vec<_>>(), now.metrics.keys().collect::<Vec<_>>());
    for (name, metric) in &then.metrics {
        // The logarithm of a machine may differ in its last digit.
        assert!((metric.value - now.metrics[name].value).abs() < 1e-12, "{name}");
    }
    for len in 0..PERFORMANCE_V1.len() {
        assert!(SegmentedPerformance::from_bytes(&PERFORMANCE_V1[..len]).is_err(), "{len}");
    }
    let mut later = PERFORMANCE_V1.to_vec();
    later[4] = 2;
    assert!(matches!(
        SegmentedPerformance::from_bytes(&later),
        Err(DecodeError::Version { found: 2, known: 1, .. })
    ));
}
