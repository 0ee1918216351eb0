//! Whole runs that report to a control plane: registering, repeating, captured samples, the incumbent.

use crate::harness::control::Control;
use crate::harness::{Bench, LOGISTIC, digits, worked};
use edgeward_core::event::RunOutcome;
use edgeward_model::bundle::path;
use serde_json::{Value, json};

#[test]
fn a_run_registers_its_bundle_and_may_be_repeated() {
    let (bench, control) = (Bench::new(LOGISTIC), Control::start());
    control.told.lock().unwrap().away = 2;
    let first = bench.run_as("run-1", Some(&control.client)).unwrap();
    assert_eq!(first.version, Some(1));
    let uploads = {
        let told = control.told.lock().unwrap();
        assert_eq!(told.announced[0]["cause"], "a test");
        assert_eq!(told.ends[0]["outcome"]["result"], "passed");
        assert_eq!(told.gates[0]["verdicts"].as_array().unwrap().len(), first.gates.len());
        assert!(told.blobs.contains_key(&first.bundle.unwrap().hex()), "the manifest is a blob too");
        told.uploads
    };
    let again = bench.run_as("run-1", Some(&control.client)).unwrap();
    assert_eq!((again.bundle, again.version), (first.bundle, Some(1)));
    assert_eq!(worked(&again), ["register"]);
    assert_eq!(control.told.lock().unwrap().uploads, uploads);
}

#[test]
fn refusals_and_failures_are_recorded() {
    let control = Control::start();
    let strict = Bench::new(&LOGISTIC.replace("accuracy_min = 0.8", "accuracy_min = 0.9999"));
    strict.run_as("run-1", Some(&control.client)).unwrap();
    let broken = Bench::new(&LOGISTIC.replace("iterations = 60", "iterations = 0"));
    broken.run_as("run-2", Some(&control.client)).unwrap_err();
    let told = control.told.lock().unwrap();
    assert_eq!(told.ends[0]["outcome"]["result"], "refused");
    assert_eq!(told.ends[1]["outcome"]["result"], "failed");
    assert!(told.ends[1]["outcome"]["reason"].as_str().unwrap().contains("iterations"));
    assert!(told.versions.is_empty());
}

#[test]
fn a_run_that_was_killed_is_ended_by_the_next_one_in_its_place() {
    let (bench, control) = (Bench::new(LOGISTIC), Control::start());
    bench.write("work/announced", "run-killed");
    bench.run_as("run-2", Some(&control.client)).unwrap();
    bench.run_as("run-3", Some(&control.client)).unwrap();
    let told = control.told.lock().unwrap();
    let results: Vec<&Value> = told.ends.iter().map(|end| &end["outcome"]["result"]).collect();
    assert_eq!(results, ["failed", "passed", "passed"]);
    assert!(told.ends[0]["outcome"]["reason"].as_str().unwrap().contains("its process ended"));
}

/// A captured sample with these values.
fn sample(n: usize, line: &str) -> Value {
    use base64::Engine as _;
    let mut cells: Vec<&str> = line.split(',').collect();
    let label = cells.pop().unwrap();
    let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.parse::<f32>().unwrap().to_le_bytes()).collect();
    json!({
        "prediction": format!("00000000-0000-7000-8000-{n:012}"), "row": 0, "model": "digits",
        "bundle": edgeward_core::Digest::of(b"x"), "at_ms": 0, "predicted": null, "label": label,
        "features": base64::engine::general_purpose::STANDARD.encode(bytes),
    })
}

#[test]
fn captured_samples_are_learned_from_and_pinned_to_the_run() {
    let (bench, control) = (Bench::new(LOGISTIC), Control::start());
    bench.write("data/digits.csv", &digits(400, |label| label < "8"));
    let fresh = digits(60, |label| label >= "8");
    let samples: Vec<Value> = fresh.lines().skip(1).enumerate().map(|(n, line)| sample(n, line)).collect();
    control.told.lock().unwrap().samples.clone_from(&samples);
    let first = bench.run_as("run-1", Some(&control.client)).unwrap();
    assert!(first.metrics.contains_key("recall.9"), "{:?}", first.metrics);

    control.told.lock().unwrap().samples.truncate(5);
    let again = bench.run_as("run-1", Some(&control.client)).unwrap();
    assert_eq!(again.bundle, first.bundle, "the same run sees the same samples");
    let next = bench.run_as("run-2", Some(&control.client)).unwrap();
    assert_ne!(next.bundle, first.bundle, "another run sees what is there now");
}

#[test]
fn the_incumbent_is_compared_on_the_same_rows() {
    let (bench, control) = (Bench::new(LOGISTIC), Control::start());
    let first = bench.run_as("run-1", Some(&control.client)).unwrap();
    control.told.lock().unwrap().champion = Some(1);

    let weak = LOGISTIC
        .replace("accuracy_min = 0.8", "accuracy_min = 0.1")
        .replace("iterations = 60", "iterations = 1");
    bench.write("edgeward.toml", &weak);
    let worse = bench.run_as("run-2", Some(&control.client)).unwrap();
    let RunOutcome::Refused { reason } = &worse.outcome else { panic!("{:?}", worse.gates) };
    assert!(reason.starts_with("gate.regression: accuracy 0."), "{reason}");

    bench.write("edgeward.toml", LOGISTIC);
    let same = bench.run_as("run-3", Some(&control.client)).unwrap();
    assert_eq!(same.bundle, first.bundle);

    let elsewhere = Bench::new(&weak);
    let fetched = elsewhere.run_as("run-4", Some(&control.client)).unwrap();
    assert!(!fetched.passed(), "the incumbent was fetched, not found in the work folder");
}

#[test]
fn an_incumbent_that_cannot_be_read_refuses_openly() {
    let (bench, control) = (Bench::new(LOGISTIC), Control::start());
    let first = bench.run_as("run-1", Some(&control.client)).unwrap();
    {
        let mut told = control.told.lock().unwrap();
        told.champion = Some(1);
        let manifest: Value = serde_json::from_slice(&told.blobs[&first.bundle.unwrap().hex()]).unwrap();
        let lineage = manifest["files"][path::LINEAGE]["digest"].as_str().unwrap();
        told.blobs.insert(lineage.trim_start_matches("sha256:").to_owned(), b"rot".to_vec());
    }
    let elsewhere = Bench::new(LOGISTIC);
    elsewhere.write("data/digits.csv", &digits(500, |_| true));
    let summary = elsewhere.run_as("run-2", Some(&control.client)).unwrap();
    let RunOutcome::Refused { reason } = &summary.outcome else { panic!("{:?}", summary.gates) };
    assert!(reason.contains("cannot be compared with"), "{reason}");
}
