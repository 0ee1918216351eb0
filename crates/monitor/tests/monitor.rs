//! The facade as an application uses it.

mod streams;

use std::sync::Arc;

use edgeward_monitor::{
    Alarm, AlarmKind, Budget, Monitor, MonitorConfig, MonitorError, Reference, Sample, Unsupported,
};
use streams::{Source, fit, names, sample};

fn reference() -> Arc<Reference> {
    Arc::new(fit(&Source::new(1).rows(2_000, |s| s.gaussian_row(3))))
}

fn config() -> MonitorConfig {
    MonitorConfig { baseline_accuracy: Some((0.95, 400)), accuracy_window: 50, ..MonitorConfig::default() }
}

fn monitor() -> Monitor {
    Monitor::new(reference(), config()).expect("the configuration is valid")
}

#[test]
fn an_impossible_value_alarms_on_its_own_sample_and_not_on_the_next() {
    let mut monitor = monitor();
    assert_eq!(monitor.observe(&sample(&[0.1, 0.2, 0.3])), []);
    let alarms = monitor.observe(&sample(&[0.1, -400.0, 0.3]));
    assert_eq!(alarms.len(), 1);
    assert_eq!(
        (alarms[0].kind, alarms[0].stream.as_deref(), alarms[0].sample),
        (AlarmKind::Outlier, Some("f1"), 2)
    );
    assert_eq!(alarms[0].value, Some(-400.0));
    assert!(alarms[0].log10_evidence > alarms[0].log10_threshold);
    assert_eq!(monitor.observe(&sample(&[0.1, -400.0, 0.3])), []);
    assert_eq!(monitor.profile().streams()[1].outside(), (2, 0));
    let missing = monitor.observe(&sample(&[f32::NAN, 0.0, 0.0]));
    assert_eq!((missing[0].kind, missing[0].value), (AlarmKind::Outlier, None));
}

fn first_drift(monitor: &mut Monitor, row: impl Fn(&mut Source) -> Vec<f32>) -> Alarm {
    let mut source = Source::new(77);
    let mut alarms = (0..5_000).flat_map(|_| monitor.observe(&sample(&row(&mut source))));
    alarms.find(|alarm| alarm.kind == AlarmKind::Drift).expect("drift is found")
}

#[test]
fn drift_names_its_stream_its_change_and_re_arms() {
    let mut monitor = monitor();
    let mut source = Source::new(5);
    (0..1_000).for_each(|_| assert_eq!(monitor.observe(&sample(&source.gaussian_row(3))), []));
    let shifted = |s: &mut Source| vec![s.normal() as f32, s.normal() as f32, s.normal() as f32 + 1.0];
    let alarm = first_drift(&mut monitor, shifted);
    assert_eq!(alarm.stream.as_deref(), Some("f2"));
    assert!(alarm.change_sample.unwrap().abs_diff(1_001) < 25, "{alarm:?}");
    assert!(alarm.sample < 1_100 && alarm.log10_evidence >= alarm.log10_threshold);
    assert!(alarm.message.contains("higher values"), "{}", alarm.message);
    let again = first_drift(&mut monitor, shifted);
    assert!(again.sample > alarm.sample);
}

#[test]
fn a_class_that_takes_over_is_drift_of_the_prediction() {
    let classes: Vec<String> = (0..8).map(|c| format!("c{c}")).collect();
    let rows: Vec<([f32; 1], u32)> = (0..1_000u32).map(|i| ([0.0], i % 8)).collect();
    let samples = |(features, class): &([f32; 1], u32)| (*features, *class);
    let made = rows.iter().map(|(f, c)| Sample { features: f, predicted: Some(*c), confidence: Some(0.9) });
    let reference = Reference::fit(&names(1), &classes, made).unwrap();
    let mut monitor = Monitor::new(Arc::new(reference), config()).unwrap();
    let mut source = Source::new(3);
    let alarm = (0..500).find_map(|_| {
        let (features, class) = samples(&rows[source.below(rows.len())]);
        let class = if source.uniform() < 0.5 { 7 } else { class };
        monitor.observe(&Sample { features: &features, predicted: Some(class), confidence: Some(0.9) }).pop()
    });
    let alarm = alarm.expect("drift is found");
    assert_eq!(alarm.stream.as_deref(), Some("prediction"));
    assert!(alarm.message.contains("class 'c7' more often"), "{}", alarm.message);
}

#[test]
fn labels_give_a_window_and_an_alarm() {
    let mut monitor = monitor();
    assert_eq!(monitor.accuracy(), None);
    (0..100).for_each(|_| assert_eq!(monitor.observe_label(true), None));
    let alarm = (0..200).find_map(|i| monitor.observe_label(i % 2 == 0)).expect("decay is found");
    assert_eq!((alarm.kind, alarm.stream), (AlarmKind::Decay, None));
    assert!(alarm.change_sample.unwrap().abs_diff(101) < 10 && alarm.sample < 160);
    assert!(alarm.value.unwrap() < 0.7);
    assert_eq!(monitor.accuracy().unwrap().1, 50);
}

#[test]
fn a_restart_changes_nothing() {
    let (mut whole, mut source) = (monitor(), Source::new(9));
    let mut restarted = monitor();
    for i in 0..600 {
        let shift = if i < 400 { 0.0 } else { 0.4 };
        let row: Vec<f32> = source.gaussian_row(3).iter().map(|v| v + shift).collect();
        assert_eq!(whole.observe(&sample(&row)), restarted.observe(&sample(&row)));
        assert_eq!(whole.observe_label(i % 9 > 0), restarted.observe_label(i % 9 > 0));
        if i % 50 == 0 {
            let state = restarted.state_to_bytes();
            restarted = monitor();
            restarted.restore(&state).unwrap();
            assert_eq!(restarted.state_to_bytes(), state);
        }
    }
    assert_eq!(whole.take_profile().to_bytes(), restarted.take_profile().to_bytes());
    assert_eq!((whole.profile().n(), whole.samples()), (0, 600));
    assert_eq!(whole.evidence(), restarted.evidence());
}

#[test]
fn a_hold_off_spaces_alarms() {
    let config = MonitorConfig { hold_off_samples: 500, ..config() };
    let mut monitor = Monitor::new(reference(), config).unwrap();
    let mut source = Source::new(4);
    let mut alarms = Vec::new();
    for _ in 0..1_200 {
        let row: Vec<f32> = source.gaussian_row(3).iter().map(|v| v + 1.5).collect();
        alarms.extend(monitor.observe(&sample(&row)).into_iter().map(|alarm| alarm.sample));
    }
    assert!(alarms.len() >= 2 && alarms.windows(2).all(|pair| pair[1] - pair[0] >= 500), "{alarms:?}");
}

#[test]
fn configuration_is_checked_and_round_trips() {
    let text = serde_json::to_string(&config()).unwrap();
    assert_eq!(serde_json::from_str::<MonitorConfig>(&text).unwrap(), config());
    assert!(serde_json::from_str::<MonitorConfig>(r#"{"acuracy_window":3}"#).is_err());
    let budget = Budget { false_alarms_per_device_year: 0.0, samples_per_second: 1.0 };
    let refused = Monitor::new(reference(), MonitorConfig { budget, ..config() });
    assert!(matches!(refused, Err(MonitorError::Budget(_))));
    let refused = Monitor::new(reference(), MonitorConfig { outlier_margin: f64::NAN, ..config() });
    assert!(matches!(refused, Err(MonitorError::Config { field: "outlier_margin", .. })));
}

#[test]
fn a_budget_beyond_the_reference_is_refused_if_so_wished() {
    let refuse = |arl| MonitorConfig {
        budget: Budget::of_arl(arl),
        unsupported: Unsupported::Refuse,
        ..MonitorConfig::default()
    };
    assert_eq!(reference().supported_arl(), 1.6e13);
    assert!(Monitor::new(reference(), refuse(1.5e13)).is_ok());
    let refused = Monitor::new(reference(), refuse(1e14)).unwrap_err();
    assert!(matches!(refused, MonitorError::Unsupported { supported: 1.6e13, .. }));
    assert!(refused.to_string().contains("supports one in 1.6e13"), "{refused}");
    let clamped = MonitorConfig { unsupported: Unsupported::Clamp, ..refuse(1e14) };
    let alarms = Monitor::new(reference(), clamped).unwrap().observe(&sample(&[0.0, 1e9, 0.0]));
    assert!((alarms[0].log10_threshold - (1.6e13f64 / 0.25).log10()).abs() < 1e-9, "{alarms:?}");
}

#[test]
fn an_alarm_survives_json() {
    let alarms = monitor().observe(&sample(&[f32::INFINITY, 0.0, 0.0]));
    let text = serde_json::to_string(&alarms).unwrap();
    assert!(text.contains(r#""kind":"outlier""#), "{text}");
    assert_eq!(serde_json::from_str::<Vec<Alarm>>(&text).unwrap(), alarms);
}
