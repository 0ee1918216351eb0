//! What a run puts into its bundle for monitors, as the app's own library then watches with it.

use std::fmt::Write as _;
use std::path::Path;

use crate::harness::{Bench, digits};
use edgeward_model::{Bundle, LoadOptions, RtenEngine, Tensor};
use edgeward_monitor::{Alarm, AlarmKind, EMBEDDING_DISTANCE};
use edgeward_sdk::{Labelled, Loaded};

/// What the finished run of a project serves.
fn served(bench: &Bench) -> Loaded {
    let summary = bench.run().unwrap();
    assert!(summary.bundle.is_some(), "{:?}", summary.gates);
    let bundle = Bundle::verify(Path::new(&summary.bundle_path.unwrap()), &summary.bundle.unwrap()).unwrap();
    Loaded::from_bundle(&bundle, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap()
}

/// Alarms of one request.
fn ask(loaded: &Loaded, row: &[f32]) -> Vec<Alarm> {
    let input = loaded.session().signature().inputs[0].name.clone();
    let tensor = Tensor::from_rows(1, row.len(), row.to_vec()).unwrap();
    loaded.infer(vec![tensor.named(input)]).unwrap().alarms
}

/// The pixels of digits that `keep` admits, after the first `skip` of them.
fn images(skip: usize, keep: impl Fn(&str) -> bool) -> Vec<Vec<f32>> {
    let text = digits(usize::MAX, keep);
    let pixels = |line: &str| line.split(',').take(64).map(|cell| cell.parse().unwrap()).collect();
    text.lines().skip(1 + skip).map(pixels).collect()
}

fn is_known(label: &str) -> bool {
    !matches!(label, "8" | "9")
}

const EMBEDDED: &str = r#"
[project]
name = "digits"
[data]
files = ["data/*.csv"]
[train]
builtin = "mlp"
params = { embedding = true }
"#;

#[test]
fn new_classes_show_in_the_embedding_without_a_label() {
    let bench = Bench::new(EMBEDDED);
    bench.write("data/digits.csv", &digits(1_000, is_known));
    let loaded = served(&bench);
    let signature = loaded.session().signature();
    assert_eq!(signature.roles.embedding.as_deref(), Some("embedding"));
    assert_eq!(signature.classes().len(), 8);
    let known = images(1_000, is_known);
    let quiet: Vec<Alarm> = known.iter().flat_map(|row| ask(&loaded, row)).collect();
    assert!(quiet.iter().all(|alarm| alarm.stream.as_deref() != Some(EMBEDDING_DISTANCE)), "{quiet:?}");
    let new = images(0, |label| !is_known(label));
    let found = new.iter().enumerate().find_map(|(at, row)| {
        let alarms = ask(&loaded, row);
        Some((at, alarms.into_iter().find(|alarm| alarm.stream.as_deref() == Some(EMBEDDING_DISTANCE))?))
    });
    let (at, alarm) = found.expect("new digits lie elsewhere in the hidden layer");
    eprintln!("digits 8 and 9 were found by their embedding after {at}: {}", alarm.message);
    assert_eq!(alarm.kind, AlarmKind::Drift);
    assert!(at < 150, "{at}");
    let profile = loaded.recorder().unwrap().take_window().unwrap().profile;
    assert_eq!(profile.streams()[64].missing(), 0, "every answer's embedding was looked at");
}

#[test]
fn an_embedding_that_the_model_does_not_have_is_named() {
    let bench =
        Bench::new(&EMBEDDED.replace("params = { embedding = true }", "[monitor]\nembedding = \"hidden\""));
    let error = bench.run().unwrap_err().chain();
    assert!(
        error.contains("[monitor] embedding names 'hidden'") && error.contains("probabilities"),
        "{error}"
    );
}

#[test]
fn an_image_is_watched_by_its_summary() {
    let toml = EMBEDDED
        .replace("params = { embedding = true }", "[monitor.image]\nwidth = 8\nheight = 8\nwhite = 16");
    let bench = Bench::new(&toml);
    bench.write("data/digits.csv", &digits(1_000, |_| true));
    let loaded = served(&bench);
    let fresh = images(1_000, |_| true);
    let quiet: Vec<Alarm> = fresh.iter().flat_map(|row| ask(&loaded, row)).collect();
    assert!(quiet.is_empty(), "{quiet:?}");
    let dusk = |row: &Vec<f32>| row.iter().map(|pixel| pixel * 0.7).collect::<Vec<f32>>();
    let found = fresh.iter().enumerate().find_map(|(at, row)| Some((at, ask(&loaded, &dusk(row)).pop()?)));
    let (at, alarm) = found.expect("darker images are seen");
    eprintln!("digits at 70% of their ink were found after {at}: {}", alarm.message);
    assert!(at < 200 && alarm.stream.as_deref().unwrap().starts_with("image."), "{at} {alarm:?}");
    let window = loaded.recorder().unwrap().take_window().unwrap();
    assert_eq!(window.profile.streams().len(), 13, "eleven features of an image, prediction, confidence");
    let label = Labelled { predicted: "1", truth: "1", scores: &[], values: &fresh[0], tags: &[], of: None };
    assert!(loaded.recorder().unwrap().label(&label).is_none());
}

#[test]
fn an_image_of_another_size_is_refused() {
    let toml = EMBEDDED.replace("params = { embedding = true }", "[monitor.image]\nwidth = 9\nheight = 8");
    let error = Bench::new(&toml).run().unwrap_err().chain();
    assert!(error.contains("[monitor.image] has 72 values (9 x 8 x 1), the input 64"), "{error}");
}

const REGRESSION: &str = r#"
[project]
name = "prices"
[data]
files = ["data/*.csv"]
label = "y"
[train]
builtin = "ridge"
"#;

/// Reproducible noise between -1 and 1 of no order.
fn noise(n: u32) -> f64 {
    let mut z = u64::from(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    f64::from((z >> 40) as u32) / f64::from(1_u32 << 23) - 1.0
}

fn x_of(n: u32) -> f64 {
    50.0 + 50.0 * noise(n + 1_000_000)
}

/// The alarm of a label, `slope` times the input and noise, of the prediction for row `n`.
fn label(loaded: &Loaded, n: u32, slope: f64) -> Option<Alarm> {
    let row = [x_of(n) as f32];
    let input = loaded.session().signature().inputs[0].name.clone();
    let asked = loaded.infer(vec![Tensor::from_rows(1, 1, row.to_vec()).unwrap().named(input)]).unwrap();
    let predicted = asked.rows[0].value.unwrap().to_string();
    let truth = (slope * f64::from(row[0]) + 5.0 * noise(n)).to_string();
    let label =
        Labelled { predicted: &predicted, truth: &truth, scores: &[], values: &row, tags: &[], of: None };
    loaded.recorder().unwrap().label(&label)
}

#[test]
fn a_regression_whose_errors_grow_has_decayed() {
    let bench = Bench::new(REGRESSION);
    let mut csv = "x,y\n".to_owned();
    (0..4_000).for_each(|n| writeln!(csv, "{},{}", x_of(n), 3.0 * x_of(n) + 5.0 * noise(n)).unwrap());
    std::fs::remove_file(bench.dir.path().join("data/digits.csv")).unwrap();
    bench.write("data/rows.csv", &csv);
    let loaded = served(&bench);
    let quiet: Vec<Alarm> = (4_000..9_000).filter_map(|n| label(&loaded, n, 3.0)).collect();
    assert!(quiet.is_empty(), "{quiet:?}");
    let (mae, _) = loaded.recorder().unwrap().mean_absolute_error().unwrap();
    assert!((mae - 2.5).abs() < 0.6, "{mae}");
    let (after, alarm) = (0..400).find_map(|n| Some((n, label(&loaded, 9_000 + n, 3.1)?))).unwrap();
    eprintln!("a slope of 3.1 in place of 3 was found after {after} labels: {}", alarm.message);
    assert_eq!((alarm.kind, alarm.stream), (AlarmKind::Decay, None));
    assert!(alarm.change_sample.unwrap().abs_diff(5_001) < 60, "{:?}", alarm.change_sample);
}
