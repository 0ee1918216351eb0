//! Algebra of merging, and bytes: stable, round-tripping, and harmless when hostile.

use edgeward_monitor::{
    DecodeError, Detector, ErrorBaseline, Feature, FeatureKind, FitError, LossDetector, MISSING_VALUE,
    Monitor, MonitorConfig, Neighbours, Profile, ProfileError, Reference, Sample, Seasons, StreamProfile,
    WRONG_TYPE_VALUE,
};
use proptest::prelude::*;
use std::sync::Arc;

const REFERENCE_V1: &[u8] = include_bytes!("golden/reference-v1.bin");
/// Three streams in order: whitened by version 2, with shapes of tails, worth and runs since version 3.
const REFERENCE_V2: &[u8] = include_bytes!("golden/reference-v2.bin");
const REFERENCE_V3: &[u8] = include_bytes!("golden/reference-v3.bin");
/// State of a monitor of [`REFERENCE_V2`] after 300 rows.
const REFERENCE_V4: &[u8] = include_bytes!("golden/reference-v4.bin");
const MONITOR_V1: &[u8] = include_bytes!("golden/monitor-v1.bin");
/// State of a monitor of [`REFERENCE_V3`] with [`errors`] after 40 rows and labels.
const MONITOR_V2: &[u8] = include_bytes!("golden/monitor-v2.bin");
const LOSSES_V1: &[u8] = include_bytes!("golden/losses-v1.bin");
const EMBEDDINGS_V2: &[u8] = include_bytes!("golden/embeddings-v2.bin");
const PROFILE_V1: &[u8] = include_bytes!("golden/profile-v1.bin");
const PROFILE_V2: &[u8] = include_bytes!("golden/profile-v2.bin");

fn names(features: usize) -> Vec<String> {
    (0..features).map(|i| format!("f{i}")).collect()
}

fn classes() -> Vec<String> {
    ["cat", "dog", "owl"].map(str::to_owned).to_vec()
}

/// A reference by arithmetic alone, so that its bytes are the same everywhere.
fn reference() -> Reference {
    let rows: Vec<[f32; 3]> = (0..200u16)
        .map(|i| [f32::from(i), f32::from(i % 5), if i % 50 == 0 { f32::NAN } else { 1.5 }])
        .collect();
    let samples = rows.iter().zip(0u32..).map(|(row, i)| Sample {
        features: row,
        predicted: Some(i % 3),
        confidence: Some(0.5 + (i % 64) as f32 / 128.0),
    });
    Reference::fit(&names(3), &classes(), samples).expect("rows are valid")
}

type Row = (Vec<f32>, Option<u32>, Option<f32>);

fn as_sample(row: &Row) -> Sample<'_> {
    Sample { features: &row.0, predicted: row.1, confidence: row.2 }
}

fn profile(reference: &Reference, rows: &[Row]) -> Profile {
    let mut profile = Profile::new(reference);
    rows.iter()
        .for_each(|row| profile.observe(reference, &as_sample(row)).expect("the reference is its own"));
    profile
}

fn fixed_rows() -> Vec<Row> {
    vec![
        (vec![12.0, 3.0, 1.5], Some(1), Some(0.75)),
        (vec![-4.5, f32::NAN, 1.5], Some(7), None),
        (vec![f32::INFINITY, 4.0], None, Some(0.5)),
        (vec![1e30, f32::NEG_INFINITY, 2.0, 9.0], Some(2), Some(2.0)),
    ]
}

fn any_row() -> impl Strategy<Value = Row> {
    let special = prop_oneof![Just(MISSING_VALUE), Just(WRONG_TYPE_VALUE)];
    let value = prop_oneof![8 => -50f32..300.0, 2 => any::<f32>(), 1 => special];
    (prop::collection::vec(value, 0..5), prop::option::of(0u32..5), prop::option::of(0f32..1.5))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_the_same_bytes_in_any_order(parts in prop::collection::vec(prop::collection::vec(any_row(), 0..8), 3)) {
        let reference = reference();
        let [a, b, c] = [0, 1, 2].map(|i| profile(&reference, &parts[i]));
        let left = a.merge(&b).unwrap().merge(&c).unwrap();
        let right = a.merge(&b.merge(&c).unwrap()).unwrap();
        let turned = c.merge(&a).unwrap().merge(&b).unwrap();
        prop_assert_eq!(left.to_bytes(), right.to_bytes());
        prop_assert_eq!(left.to_bytes(), turned.to_bytes());
        prop_assert_eq!(a.merge(&Profile::new(&reference)).unwrap().to_bytes(), a.to_bytes());
        let whole = profile(&reference, &parts.concat());
        for (one, many) in whole.streams().iter().zip(left.streams()) {
            prop_assert_eq!(one.counts(), many.counts());
            prop_assert_eq!(one.missing_kinds(), many.missing_kinds());
            prop_assert_eq!(one.moments(), many.moments());
            prop_assert_eq!(one.range(), many.range());
        }
        prop_assert_eq!(Profile::from_bytes(&left.to_bytes()).unwrap(), left);
    }

    #[test]
    fn any_reference_survives_its_bytes(rows in prop::collection::vec(any_row(), 1..60)) {
        let rows: Vec<Row> = rows.into_iter().map(|(mut f, p, c)| { f.resize(3, 0.5); (f, p.map(|p| p % 3), c) }).collect();
        let reference = Reference::fit(&names(3), &classes(), rows.iter().map(as_sample)).unwrap();
        prop_assert_eq!(&Reference::from_bytes(&reference.to_bytes()).unwrap(), &reference);
        let mut monitor = Monitor::new(Arc::new(reference), MonitorConfig::default()).unwrap();
        rows.iter().for_each(|row| drop(monitor.observe(&as_sample(row))));
        prop_assert!(monitor.evidence().iter().all(|e| e.log10_evidence.is_finite()));
    }

    #[test]
    fn hostile_bytes_are_refused_or_harmless(at in any::<prop::sample::Index>(), byte in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let rows = fixed_rows();
        for good in [REFERENCE_V1.to_vec(), PROFILE_V1.to_vec(), PROFILE_V2.to_vec()] {
            let mut bytes = good.clone();
            bytes[at.index(good.len())] = byte;
            let mut tail = good[..5].to_vec();
            tail.extend(&noise);
            for bytes in [&bytes, &tail, &noise] {
                if let Ok(profile) = Profile::from_bytes(bytes) {
                    let _ = profile.merge(&profile);
                    let _ = profile.drift(&reference());
                }
                if let Ok(reference) = Reference::from_bytes(bytes) {
                    let mut monitor = Monitor::new(Arc::new(reference), MonitorConfig::default()).unwrap();
                    rows.iter().for_each(|row| drop(monitor.observe(&as_sample(row))));
                    drop(monitor.take_profile().drift(monitor.reference()));
                }
            }
        }
    }

    #[test]
    fn hostile_states_are_refused_or_harmless(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let reference = Arc::new(reference());
        let config = MonitorConfig { baseline_accuracy: Some((0.9, 100)), ..MonitorConfig::default() };
        let mut monitor = Monitor::new(reference, config).unwrap();
        fixed_rows().iter().for_each(|row| drop(monitor.observe(&as_sample(row))));
        monitor.observe_label(true);
        let mut bytes = monitor.state_to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if monitor.restore(&bytes).is_ok() {
            fixed_rows().iter().for_each(|row| drop(monitor.observe(&as_sample(row))));
            monitor.observe_label(false);
        }
        prop_assert!(monitor.restore(&bytes[..at]).is_err());
    }
}

/// The profile of [`fixed_rows`], and two texts that came where numbers or classes were due.
fn told() -> Profile {
    let reference = Reference::from_bytes(REFERENCE_V1).expect("it is one");
    let mut profile = profile(&reference, &fixed_rows());
    profile.observe_text(0, "n/a");
    profile.observe_text(3, "wombat");
    profile
}

/// The golden files of version 1 hold [`reference`] and the profile of [`fixed_rows`], as the first build wrote them: it did not
/// tell why a value was missing.
#[test]
fn version_1_is_read_as_ever_and_written_back() {
    let reference = Reference::from_bytes(REFERENCE_V1).unwrap();
    assert_eq!(reference.to_bytes(), REFERENCE_V1);
    let refitted = self::reference();
    assert_eq!(reference.streams()[0].counts(), refitted.streams()[0].counts());
    let profile = profile(&reference, &fixed_rows());
    let read = Profile::from_bytes(PROFILE_V1).unwrap();
    assert_eq!(read.to_bytes(), PROFILE_V1);
    for (then, now) in read.streams().iter().zip(profile.streams()) {
        assert_eq!((then.counts(), then.moments(), then.range()), (now.counts(), now.moments(), now.range()));
        assert_eq!((then.offender(), then.missing_kinds().1), (now.offender(), 0));
    }
}

#[test]
fn version_2_is_written_and_read_as_ever() {
    assert_eq!(told().to_bytes(), PROFILE_V2);
    assert_eq!(Profile::from_bytes(PROFILE_V2).unwrap(), told());
    let profile = told();
    let texts = profile.streams()[3].categories().unwrap();
    assert_eq!((texts.counts(), texts.distinct()), (vec![("wombat", 1)], 1.0));
}

#[test]
fn why_a_value_is_missing_is_counted() {
    let reference = reference();
    let rows: Vec<Row> = vec![
        (vec![f32::NAN, MISSING_VALUE, WRONG_TYPE_VALUE], None, None),
        (vec![-f32::NAN, WRONG_TYPE_VALUE], None, Some(0.5)),
    ];
    let one = profile(&reference, &rows);
    let kinds =
        |profile: &Profile| profile.streams().iter().map(StreamProfile::missing_kinds).collect::<Vec<_>>();
    // NaN, absent, wrong type.
    assert_eq!(kinds(&one), [(2, 0, 0), (0, 1, 1), (0, 1, 1), (2, 0, 0), (0, 1, 0)]);
    let twice = one.merge(&one).unwrap();
    assert_eq!(kinds(&Profile::from_bytes(&twice.to_bytes()).unwrap())[1], (0, 2, 2));
    let mut full = one.clone();
    (0..9).for_each(|_| full.observe_text(2, "text"));
    full.observe_text(99, "nowhere");
    assert_eq!(full.streams()[2].categories().unwrap().total(), full.n(), "no more texts than observations");
}

/// A reference of a number, codes and texts.
fn categorical() -> Reference {
    let feature = |name: &str, kind| Feature { name: name.to_owned(), kind };
    let features = [
        feature("x", FeatureKind::Number),
        feature("code", FeatureKind::Codes),
        feature("colour", FeatureKind::Texts(["red", "blue", "rare"].map(str::to_owned).to_vec())),
    ];
    let row = |i: u8| {
        [
            f32::from(i % 50),
            [3.0, 1.5, f32::NAN][usize::from(i % 3)],
            if i == 77 { 2.0 } else { f32::from(i % 2) },
        ]
    };
    let rows: Vec<[f32; 3]> = (0..200).map(row).collect();
    let samples = rows.iter().map(|features| Sample { features, predicted: None, confidence: None });
    Reference::fit_features(&features, &[], samples).expect("the rows are valid")
}

#[test]
fn a_reference_with_categories_has_version_4() {
    let stored = Reference::from_bytes(REFERENCE_V4).unwrap();
    assert_eq!((stored.to_bytes(), categorical().to_bytes()), (REFERENCE_V4.to_vec(), REFERENCE_V4.to_vec()));
    assert_eq!(stored.streams()[1].counts(), [66, 0, 67, 67]);
    assert_eq!(stored.streams()[2].counts(), [0, 1, 99, 100]);
}

#[test]
fn later_versions_of_a_reference_are_read_and_written_back() {
    for golden in [REFERENCE_V2, REFERENCE_V3] {
        let reference = Reference::from_bytes(golden).unwrap();
        assert_eq!(reference.to_bytes(), golden);
        assert_eq!(reference.streams().len(), 3);
    }
    let refitted = ordered();
    let stored = Reference::from_bytes(REFERENCE_V3).unwrap();
    let counts =
        |reference: &Reference| reference.streams().iter().map(|s| s.counts().to_vec()).collect::<Vec<_>>();
    assert_eq!(counts(&stored), counts(&refitted));
    assert_eq!(Reference::from_bytes(&refitted.to_bytes()).unwrap(), refitted);
}

#[test]
fn a_monitor_takes_up_the_state_of_an_earlier_version() {
    let reference = Arc::new(Reference::from_bytes(REFERENCE_V2).unwrap());
    let mut monitor = Monitor::new(reference, MonitorConfig::default()).unwrap();
    monitor.restore(MONITOR_V1).unwrap();
    assert_eq!((monitor.samples(), monitor.profile().n()), (300, 300));
}

/// Without rows, so that the highest mean loss is the same everywhere.
fn errors() -> ErrorBaseline {
    ErrorBaseline { bound: 2.0, mae: 0.5, mean: 0.25, sd: 0.25, rows: 0 }
}

fn monitor_of_errors() -> Monitor {
    let reference = Arc::new(Reference::from_bytes(REFERENCE_V3).expect("it is one"));
    let config = MonitorConfig { baseline_error: Some(errors()), ..MonitorConfig::default() };
    Monitor::new(reference, config).expect("the budget is positive")
}

#[test]
fn a_monitor_of_errors_takes_up_its_state() {
    let mut monitor = monitor_of_errors();
    monitor.restore(MONITOR_V2).unwrap();
    assert_eq!((monitor.samples(), monitor.profile().n()), (40, 40));
    assert_eq!(monitor.mean_absolute_error(), Some((0.75, 40)));
    assert_eq!(monitor.state_to_bytes(), MONITOR_V2);
    let reference = Arc::clone(monitor.reference());
    let mut unlabelled = Monitor::new(reference, MonitorConfig::default()).unwrap();
    unlabelled.restore(MONITOR_V2).unwrap();
    assert!((0..MONITOR_V2.len()).all(|len| monitor.restore(&MONITOR_V2[..len]).is_err()));
}

#[test]
fn losses_and_embeddings_are_read_as_ever() {
    let mut losses = LossDetector::new(f64::NAN, 0.0, 0, 1e6);
    losses.restore(LOSSES_V1).unwrap();
    assert_eq!((losses.losses(), losses.to_bytes()), (40, LOSSES_V1.to_vec()));
    let embeddings = Neighbours::from_bytes(EMBEDDINGS_V2).unwrap();
    assert_eq!(embeddings.to_bytes(), EMBEDDINGS_V2);
    assert_eq!(embeddings, Neighbours::fit(&embedded(), 3).unwrap());
    let mut first = EMBEDDINGS_V2.to_vec();
    first[4] = 1;
    assert!(matches!(Neighbours::from_bytes(&first), Err(DecodeError::Version { found: 1, known: 2, .. })));
}

/// Twenty embeddings of three numbers.
fn embedded() -> Vec<f32> {
    (0..60u16).map(|i| f32::from(i * 7 % 11) - 4.0).collect()
}

/// A day of 24 rows and gaps in runs.
fn ordered() -> Reference {
    let rows: Vec<[f32; 2]> = (0..1_000u16)
        .map(|i| {
            let day = f32::from(i % 24) + f32::from(i * 7 % 11) / 8.0;
            [day, if i % 100 < 12 { f32::NAN } else { f32::from(i * 13 % 97) }]
        })
        .collect();
    let samples = rows.iter().map(|row| Sample { features: row, predicted: None, confidence: None });
    let seasons = Seasons { lags: vec![24], find: false };
    Reference::fit_ordered(&names(2), &[], samples, &seasons).expect("rows are valid")
}

#[test]
fn every_truncation_and_surplus_is_refused() {
    for golden in [REFERENCE_V1, REFERENCE_V2, REFERENCE_V3, REFERENCE_V4] {
        for len in 0..golden.len() {
            assert!(Reference::from_bytes(&golden[..len]).is_err(), "{len}");
        }
    }
    for len in 0..PROFILE_V1.len() {
        assert!(Profile::from_bytes(&PROFILE_V1[..len]).is_err(), "{len}");
    }
    for len in 0..PROFILE_V2.len() {
        assert!(Profile::from_bytes(&PROFILE_V2[..len]).is_err(), "{len}");
    }
    let surplus = [REFERENCE_V1, &[0]].concat();
    assert_eq!(Reference::from_bytes(&surplus), Err(DecodeError::Trailing { count: 1 }));
    let mut later = PROFILE_V1.to_vec();
    later[4] = 3;
    assert_eq!(
        Profile::from_bytes(&later),
        Err(DecodeError::Version { document: "profile", found: 3, known: 2 })
    );
}

#[test]
fn the_profile_knows_what_it_saw() {
    let reference = reference();
    let profile = profile(&reference, &fixed_rows());
    let [first, second, third, prediction, confidence] = profile.streams() else { panic!("five streams") };
    assert_eq!((first.outside(), first.infinite(), first.range()), ((1, 1), (0, 1), Some((-4.5, 1e30))));
    assert_eq!(first.offender().map(|o| (o.at, o.value)), Some((4, 1e30)));
    assert_eq!((second.missing(), second.infinite()), (1, (1, 0)));
    assert_eq!((third.missing(), third.outside()), (1, (0, 1)));
    assert_eq!(prediction.counts(), [1, 1, 0, 1, 1]);
    assert_eq!(confidence.missing(), 1);
    assert_eq!(profile.n(), 4);
}

#[test]
fn moments_are_those_of_the_values() {
    let reference = reference();
    let rows: Vec<Row> = (0..100u16).map(|i| (vec![f32::from(i), 0.0, 1.5], None, None)).collect();
    let (mean, sd) = profile(&reference, &rows).streams()[0].moments().unwrap();
    assert!((mean - 49.5).abs() < 1e-3 && (sd - 28.866_07).abs() < 1e-3, "{mean} {sd}");
}

#[test]
fn profiles_of_different_references_do_not_mix() {
    let (one, rows) = (reference(), [[1.0f32]; 9]);
    let other = Reference::fit(
        &names(1),
        &[],
        rows.iter().map(|r| Sample { features: r, predicted: None, confidence: None }),
    )
    .unwrap();
    let error = Profile::new(&one).merge(&Profile::new(&other)).unwrap_err();
    assert_eq!(
        error,
        ProfileError::OtherReference { expected: one.fingerprint(), found: other.fingerprint() }
    );
    assert!(Profile::new(&one).drift(&other).is_err());
    let state = Detector::new(&one, 1e6).to_bytes();
    assert!(matches!(Detector::new(&other, 1e6).restore(&state), Err(DecodeError::OtherReference { .. })));
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let row = |features: &'static [f32], predicted| Sample { features, predicted, confidence: None };
    let fit = |rows: Vec<Sample<'_>>| Reference::fit(&names(2), &classes(), rows).unwrap_err();
    assert_eq!(fit(vec![]), FitError::NoRows);
    assert_eq!(fit(vec![row(&[1.0], None)]), FitError::FeatureCount { row: 0, expected: 2, found: 1 });
    let bad = vec![row(&[1.0, 2.0], Some(2)), row(&[1.0, 2.0], Some(3))];
    assert_eq!(fit(bad), FitError::ClassOutOfRange { row: 1, class: 3, classes: 3 });
}
