//! Features that are categories: codes and texts, on a device.

use std::sync::Arc;

use edgeward_monitor::{
    Alarm, AlarmKind, Budget, Feature, FeatureKind, Monitor, MonitorConfig, Profile, Reference, Rows, Sample,
    Segment, Segmenter, UNSEEN_VALUE, outlier,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

struct Source(ChaCha8Rng);

impl Source {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform on [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn sample(features: &[f32]) -> Sample<'_> {
    Sample { features, predicted: None, confidence: None }
}

/// Frequencies of colours; the last ones are rare.
const SHARES: [f64; 12] = [0.3, 0.25, 0.15, 0.1, 0.08, 0.05, 0.03, 0.02, 0.01, 0.006, 0.003, 0.001];

fn texts() -> Vec<String> {
    (0..SHARES.len()).map(|i| format!("colour {i}")).collect()
}

fn draw(source: &mut Source, shares: &[f64]) -> f32 {
    let mut left = source.uniform();
    let place = shares.iter().position(|share| {
        left -= share;
        left < 0.0
    });
    place.unwrap_or(shares.len() - 1) as f32
}

fn fit(kind: FeatureKind, values: &[f32]) -> Arc<Reference> {
    let features = [Feature { name: "colour".to_owned(), kind }];
    let rows = values.chunks(1).map(sample);
    Arc::new(Reference::fit_features(&features, &[], rows).expect("the rows are valid"))
}

fn monitor(reference: &Arc<Reference>, budget: Budget) -> Monitor {
    Monitor::new(Arc::clone(reference), MonitorConfig { budget, ..MonitorConfig::default() })
        .expect("the configuration is valid")
}

fn colours(seed: u64, rows: usize) -> Arc<Reference> {
    let mut source = Source::new(seed);
    let values: Vec<f32> = (0..rows).map(|_| draw(&mut source, &SHARES)).collect();
    fit(FeatureKind::Texts(texts()), &values)
}

#[test]
fn an_unseen_category_alarms_at_once_where_the_set_is_closed() {
    let even: Vec<f32> = (0..300u16).map(|i| f32::from(i % 3)).collect();
    let kind = FeatureKind::Texts(["red", "green", "blue"].map(str::to_owned).to_vec());
    let reference = fit(kind, &even);
    let mut watched = monitor(&reference, Budget::default());
    let categories = reference.streams()[0].categories().unwrap();
    let (red, mauve) = ([categories.code("red")], [categories.code("mauve")]);
    assert_eq!(watched.observe_with_texts(&sample(&red), &[]), []);
    let alarms = watched.observe_with_texts(&sample(&mauve), &[(0, "mauve")]);
    assert_eq!((alarms.len(), alarms[0].kind, alarms[0].sample), (1, AlarmKind::Outlier, 2));
    assert_eq!(
        alarms[0].message,
        "'colour' has 'mauve'; the reference holds 3 categories: 'blue', 'green', 'red'"
    );
    assert_eq!(watched.observe(&sample(&mauve)), []);
    let seen = &watched.profile().streams()[0];
    assert_eq!(
        (seen.counts(), seen.categories().unwrap().counts()),
        (vec![0, 2, 0, 0, 1], vec![("mauve", 1)])
    );
    assert_eq!(watched.observe(&sample(&[f32::NAN]))[..].first().map(|a| a.kind), None);
    let missing = monitor(&reference, Budget::default()).observe(&sample(&[f32::NAN]));
    assert_eq!(
        missing[0].message,
        "'colour' has no value; the reference holds 3 categories: 'blue', 'green', 'red'"
    );
}

#[test]
fn unseen_codes_are_named_in_alarm_and_profile() {
    let codes: Vec<f32> = (0..400u16).map(|i| [10.0, 20.0, 7.0, 7.5][usize::from(i % 4)]).collect();
    let reference = fit(FeatureKind::Codes, &codes);
    let mut watched = monitor(&reference, Budget::default());
    let alarms = watched.observe(&sample(&[8.0]));
    assert_eq!(alarms[0].value, Some(8.0));
    assert_eq!(
        alarms[0].message,
        "'colour' has the value 8; the reference holds 4 categories: '7', '7.5', '10', '20'"
    );
    assert_eq!(watched.profile().streams()[0].categories().unwrap().counts(), [("8", 1)]);
    let read = Profile::from_bytes(&watched.profile().to_bytes()).unwrap();
    assert_eq!(&read, watched.profile());
}

fn first_drift(reference: &Arc<Reference>, shares: &[f64], seed: u64) -> (u64, Alarm) {
    let (mut watched, mut source) = (monitor(reference, Budget::default()), Source::new(seed));
    let alarm = (0..5_000).flat_map(|_| {
        let value = [draw(&mut source, shares)];
        // The draw is a place in the vocabulary, which is in another order than the reference's.
        let code = reference.streams()[0]
            .categories()
            .expect("colours are categories")
            .code(&texts()[value[0] as usize]);
        watched.observe(&sample(&[code]))
    });
    let alarm = alarm.into_iter().find(|alarm| alarm.kind == AlarmKind::Drift).expect("drift is found");
    (alarm.sample, alarm)
}

#[test]
fn frequencies_that_change_are_found_alone_and_in_groups() {
    let reference = colours(3, 4_000);
    let raised = |place: usize, share: f64| {
        let mut shares = SHARES.map(|other| other * (1.0 - share) / (1.0 - SHARES[place]));
        shares[place] = share;
        shares
    };
    let mean = |shares: &[f64], words: &str| {
        let found = (0..8).map(|seed| first_drift(&reference, shares, seed));
        found
            .map(|(sample, alarm)| {
                assert!(alarm.message.contains(words), "{}", alarm.message);
                sample
            })
            .sum::<u64>()
            / 8
    };
    let (alone, grouped) = (
        mean(&raised(3, 0.3), "category 'colour 3' more often"),
        mean(&raised(9, 0.1), "one of 1 rarer categories ('colour 9') more often"),
    );
    assert!(alone < 230 && grouped < 290, "{alone} {grouped}");
}

#[test]
fn the_same_rows_one_by_one_and_in_blocks_give_the_same_state() {
    let reference = colours(4, 2_000);
    let mut source = Source::new(5);
    let mut values: Vec<f32> = (0..3_000).map(|_| draw(&mut source, &SHARES)).collect();
    (values[700], values[1_000]) = (f32::NAN, UNSEEN_VALUE);
    values[2_000..].fill(3.0);
    let (mut single, mut block) =
        (monitor(&reference, Budget::default()), monitor(&reference, Budget::default()));
    let one_by_one: Vec<Alarm> = values.chunks(1).flat_map(|row| single.observe(&sample(row))).collect();
    assert_eq!(block.observe_rows(&Rows::of_features(&values, 1)), one_by_one);
    assert_eq!(block.state_to_bytes(), single.state_to_bytes());
    assert!(one_by_one.iter().any(|alarm| alarm.kind == AlarmKind::Drift));
    let mut restored = monitor(&reference, Budget::default());
    restored.restore(&single.state_to_bytes()).unwrap();
    assert_eq!(restored.state_to_bytes(), single.state_to_bytes());
    let mut none = monitor(&reference, Budget::default());
    let merged =
        single.profile().merge(none.take_profile().merge(single.profile()).as_ref().unwrap()).unwrap();
    assert_eq!(merged.n(), 6_000);
}

/// Alarms on streams of the reference's own kind, over those that the budget allows.
fn null_alarms(
    rows: usize,
    arl: f64,
    samples: usize,
    fitted: impl Fn(&[f32]) -> Arc<Reference>,
    shares: &[f64],
) -> f64 {
    let mut alarms = 0;
    let references = 12;
    for seed in 0..references {
        let mut source = Source::new(1_000 + seed + rows as u64 * 31);
        let values: Vec<f32> = (0..rows).map(|_| draw(&mut source, shares)).collect();
        let reference = fitted(&values);
        let code = |place: f32| match reference.streams()[0].categories() {
            Some(categories) if categories.are_texts() => categories.code(&texts()[place as usize]),
            _ => place,
        };
        let codes: Vec<f32> = (0..shares.len()).map(|place| code(place as f32)).collect();
        let mut watched = monitor(&reference, Budget::of_arl(arl));
        let stream: Vec<f32> = (0..samples).map(|_| codes[draw(&mut source, shares) as usize]).collect();
        alarms += watched.observe_rows(&Rows::of_features(&stream, 1)).len();
    }
    alarms as f64 / (samples as f64 * references as f64 / arl)
}

#[test]
fn nothing_that_stays_as_it_was_alarms_beyond_the_budget() {
    for rows in [100, 300, 1_000, 10_000] {
        let texts = null_alarms(rows, 1e4, 40_000, |v| fit(FeatureKind::Texts(texts()), v), &SHARES);
        let codes = null_alarms(rows, 1e4, 40_000, |v| fit(FeatureKind::Codes, v), &SHARES[..5]);
        assert!(texts <= 1.0 && codes <= 1.0, "{rows}: {texts} {codes}");
    }
}

/// A column that is one in a thousand rows, as a number and as a category, whatever its reference saw of it.
#[test]
fn a_rare_flag_does_not_alarm_until_it_is_not_rare() {
    let rare = [0.999, 0.001];
    for kind in [FeatureKind::Number, FeatureKind::Codes] {
        for rows in [100, 1_000, 10_000] {
            let ratio = null_alarms(rows, 1e5, 100_000, |v| fit(kind.clone(), v), &rare);
            assert!(ratio <= 0.5, "{kind:?} {rows}: {ratio}");
        }
        let mut source = Source::new(12);
        let values: Vec<f32> = (0..10_000).map(|_| draw(&mut source, &rare)).collect();
        let mut watched = monitor(&fit(kind.clone(), &values), Budget::default());
        let mut alarms =
            (0..20_000).flat_map(|_| watched.observe(&sample(&[draw(&mut source, &[0.95, 0.05])])));
        let found =
            alarms.next().unwrap_or_else(|| panic!("{kind:?}: a flag fifty times as frequent is found"));
        assert!(found.kind == AlarmKind::Drift && found.sample < 1_000, "{kind:?} {found:?}");
    }
}

#[test]
fn conformal_p_values_of_flags_and_categories_keep_their_level() {
    let rare = [0.999, 0.001];
    let mut source = Source::new(13);
    let values: Vec<f32> = (0..10_000).map(|_| draw(&mut source, &rare)).collect();
    for kind in [FeatureKind::Number, FeatureKind::Codes] {
        let reference = fit(kind, &values);
        let p = |value: f32| outlier::conformal(&reference, 0, value).unwrap();
        assert!(p(0.0) > 0.99 && p(1.0) > 0.0005 && p(1.0) < 0.004, "{} {}", p(0.0), p(1.0));
        assert!(outlier::check(&reference, 0, 1.0, 0.25, 1e9).is_none());
    }
    let reference = colours(14, 5_000);
    let categories = reference.streams()[0].categories().unwrap();
    let mut levels = [0u32; 3];
    for _ in 0..20_000 {
        let code = categories.code(&texts()[draw(&mut source, &SHARES) as usize]);
        let p = outlier::conformal(&reference, 0, code).unwrap();
        levels.iter_mut().zip([0.01, 0.05, 0.2]).for_each(|(n, level)| *n += u32::from(p <= level));
    }
    assert!(levels[0] <= 260 && levels[1] <= 1_150 && levels[2] <= 4_300, "{levels:?}");
    assert_eq!(outlier::conformal(&reference, 0, f32::NAN), None);
}

/// Codes may trade places without a shift or a spread; as few distinct numbers they are told apart all the same.
#[test]
fn codes_that_trade_places_are_found_though_nobody_said_that_they_are_codes() {
    let (before, after) = ([0.2, 0.35, 0.1, 0.35], [0.2, 0.1, 0.6, 0.1]);
    let mut source = Source::new(21);
    let values: Vec<f32> = (0..5_000).map(|_| draw(&mut source, &before)).collect();
    for kind in [FeatureKind::Number, FeatureKind::Codes] {
        let mut watched = monitor(&fit(kind.clone(), &values), Budget::default());
        let mut quiet = (0..3_000).flat_map(|_| watched.observe(&sample(&[draw(&mut source, &before)])));
        assert_eq!(quiet.next(), None);
        drop(quiet);
        let mut alarms = (0..500).flat_map(|_| watched.observe(&sample(&[draw(&mut source, &after)])));
        let found = alarms.next().unwrap_or_else(|| panic!("{kind:?}"));
        assert!(found.sample < 3_100, "{kind:?} {found:?}");
        if kind == FeatureKind::Number {
            assert!(found.message.contains("values between 1.5 and 2.5 more often"), "{}", found.message);
        }
    }
}

#[test]
fn effects_and_segments_go_by_name() {
    let reference = colours(15, 3_000);
    let mut profile = Profile::new(&reference);
    let categories = reference.streams()[0].categories().unwrap();
    let mut source = Source::new(16);
    for _ in 0..500 {
        let code = if source.uniform() < 0.5 { UNSEEN_VALUE } else { categories.code("colour 1") };
        profile.observe(&reference, &sample(&[code])).unwrap();
    }
    let drift = &profile.drift(&reference).unwrap()[0];
    assert!(drift.effect > 0.5 && drift.mean.is_none(), "{drift:?}");
    assert!(
        drift.reasons.iter().any(|r| r.contains("of a category that the reference does not know")),
        "{drift:?}"
    );
    let segmenter = Segmenter::new(&reference, &["colour".to_owned()]);
    let segment = |value: f32| segmenter.of(&[value]);
    assert_eq!(segment(categories.code("colour 1")), [Segment::new("colour", "colour 1")]);
    assert_eq!(segment(UNSEEN_VALUE), [Segment::new("colour", "(other)")]);
    assert_eq!(segment(f32::NAN), [Segment::new("colour", "missing")]);
}

#[test]
fn bytes_that_no_fit_writes_are_refused() {
    let bytes = colours(17, 1_000).to_bytes();
    assert_eq!(Reference::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    for len in 0..bytes.len() {
        assert!(Reference::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    for at in 0..bytes.len() {
        let mut torn = bytes.clone();
        torn[at] ^= 0x41;
        if let Ok(read) = Reference::from_bytes(&torn) {
            let mut watched = Monitor::new(Arc::new(read), MonitorConfig::default()).unwrap();
            watched.observe(&Sample { features: &[0.0], predicted: None, confidence: None });
        }
    }
    let mut older = bytes;
    older[4] = 3;
    assert!(Reference::from_bytes(&older).is_err());
}
