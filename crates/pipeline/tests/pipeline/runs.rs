//! Whole runs with the real trainer, converter and engine on real digits, without a control plane.

use std::fs;
use std::sync::atomic::Ordering;

use crate::harness::{Bench, LOGISTIC, digits, stage_file, worked};
use edgeward_core::event::RunOutcome;
use edgeward_model::{Bundle, LoadOptions, RtenEngine, Session};
use edgeward_monitor::{Monitor, MonitorConfig, Reference};

#[test]
fn a_run_makes_a_bundle_that_serves() {
    let bench = Bench::new(LOGISTIC);
    let summary = bench.run().unwrap();
    let RunOutcome::Passed { bundle: digest } = summary.outcome else { panic!("{:?}", summary.gates) };
    assert!(summary.metrics["accuracy"] > 0.85, "{:?}", summary.metrics);
    assert_eq!(summary.version, None);

    let bundle = Bundle::verify(summary.bundle_path.unwrap(), &digest).unwrap();
    let session = Session::load(&bundle, &RtenEngine::new(), &LoadOptions::default()).unwrap();
    let golden = bundle.golden(session.variant()).unwrap();
    assert_eq!(session.check_golden(&golden).unwrap().cases, 16);
    assert_eq!(session.signature().classes().len(), 10);
    assert_eq!(session.signature().feature_names.len(), 64);

    let reference = Reference::from_bytes(&bundle.reference_profile().unwrap().unwrap()).unwrap();
    let config: MonitorConfig = serde_json::from_value(bundle.monitor().unwrap().unwrap()).unwrap();
    assert_eq!(config.baseline_accuracy.unwrap().0, summary.metrics["accuracy"]);
    Monitor::new(reference.into(), config).unwrap();
    assert!(bundle.card().unwrap().unwrap().contains("400 rows"));
    let lineage = bundle.lineage().unwrap().unwrap();
    assert_eq!(lineage["predicate"]["buildDefinition"]["resolvedDependencies"][0]["name"], "data/snapshot");
}

#[test]
fn a_second_run_does_no_work() {
    let bench = Bench::new(LOGISTIC);
    let first = bench.run().unwrap();
    let calls = bench.calls();
    let second = bench.run_as("run-2", None).unwrap();
    assert_eq!(bench.calls(), calls);
    assert_eq!(worked(&second), [""; 0]);
    assert_eq!(second.outcome, first.outcome);
    assert_eq!(second.metrics, first.metrics);
}

#[test]
fn policies_do_not_make_a_new_model_but_data_does() {
    let bench = Bench::new(LOGISTIC);
    let first = bench.run().unwrap();
    bench.write("edgeward.toml", &format!("{LOGISTIC}[rollout]\nbake = \"1s\"\n"));
    assert_eq!(bench.run().unwrap().bundle, first.bundle);
    bench.write("data/more.csv", &digits(500, |label| label == "3"));
    let third = bench.run().unwrap();
    assert_ne!(third.bundle, first.bundle);
    assert_eq!(bench.trainer.calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let bench = Bench::new(&LOGISTIC.replace("logistic", "mlp").replace("iterations = 60", "epochs = 0"));
    let error = bench.run().unwrap_err();
    assert!(error.chain().contains("epochs"), "{}", error.chain());
    bench.write("edgeward.toml", LOGISTIC);
    let summary = bench.run().unwrap();
    assert_eq!(worked(&summary), ["train", "convert", "evaluate", "bundle"]);
}

#[test]
fn damage_is_mended() {
    let bench = Bench::new(LOGISTIC);
    let first = bench.run().unwrap();
    fs::write(stage_file(&bench.work(), "model.onnx"), b"rot").unwrap();
    let second = bench.run().unwrap();
    assert_eq!(worked(&second), ["train"]);
    let bundle = first.bundle_path.as_ref().unwrap();
    fs::write(format!("{bundle}/card.md"), b"rot").unwrap();
    let third = bench.run().unwrap();
    assert_eq!(worked(&third), ["bundle"]);
    assert_eq!(third.bundle, first.bundle);
}

#[test]
fn a_refused_gate_is_an_outcome() {
    let bench = Bench::new(&LOGISTIC.replace("accuracy_min = 0.8", "accuracy_min = 0.9999"));
    let summary = bench.run().unwrap();
    let RunOutcome::Refused { reason } = &summary.outcome else { panic!("{:?}", summary.outcome) };
    assert!(reason.starts_with("gate.accuracy.rten-f32: accuracy 0."), "{reason}");
    assert!(!summary.passed() && summary.bundle.is_none());
}

#[test]
fn bad_data_is_refused_before_training() {
    let bench = Bench::new(&LOGISTIC.replace("[train]", "[validate]\nrange = [0, 15]\n[train]"));
    let summary = bench.run().unwrap();
    let RunOutcome::Refused { reason } = &summary.outcome else { panic!("{:?}", summary.outcome) };
    assert!(reason.starts_with("data.range: "), "{reason}");
    assert_eq!(bench.trainer.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn several_forms_are_made_and_judged() {
    let forms = "[[convert.variant]]\n[[convert.variant]]\ndtype = \"w8\"\n";
    let bench = Bench::new(&format!("{LOGISTIC}{forms}"));
    let summary = bench.run().unwrap();
    assert!(summary.passed(), "{:?}", summary.gates);
    let gates: Vec<&str> = summary.gates.iter().map(|verdict| verdict.gate.as_str()).collect();
    assert!(gates.contains(&"parity.rten-w8") && gates.contains(&"gate.accuracy.rten-w8"), "{gates:?}");
}

fn by_command(command: &str) -> String {
    let train = format!("run = '''{command}'''\ntimeout = \"20s\"\nparams = {{ depth = 3 }}");
    LOGISTIC.replace("builtin = \"logistic\"\nparams = { iterations = 60 }", &train)
}

#[test]
fn a_command_trains_on_the_training_rows_only() {
    let maker = Bench::new(LOGISTIC);
    let model = maker.run().unwrap();
    let onnx = fs::read(stage_file(&maker.work(), "metrics.json").with_file_name("model.onnx")).unwrap();
    let command = "wc -l < $EDGEWARD_TRAIN_DATA; echo $EDGEWARD_SEED $EDGEWARD_PARAMS; \
                   cp given.onnx $EDGEWARD_MODEL_OUT; echo '{\"loss\": {\"final\": 0.5}}' > $EDGEWARD_METRICS_OUT";
    let bench = Bench::new(&by_command(command));
    fs::write(bench.dir.path().join("given.onnx"), onnx).unwrap();
    let summary = bench.run().unwrap();
    assert!(summary.passed(), "{:?}", summary.gates);
    assert_eq!(summary.metrics["train.loss.final"], 0.5);
    assert_eq!(summary.metrics["accuracy"], model.metrics["accuracy"]);
    let log = fs::read_to_string(bench.work().join("logs/run-1-train.log")).unwrap();
    assert_eq!(log, format!("{}\n0 {{\"depth\":3}}\n", maker.trainer.rows.load(Ordering::SeqCst) + 1));

    assert_eq!(worked(&bench.run().unwrap()), [""; 0]);
    bench.write("helper.py", "x = 1");
    assert!(worked(&bench.run().unwrap()).contains(&"train"), "a file of the project changed");
}

#[test]
fn a_command_that_fails_says_why() {
    let check = |command: &str, expect: &str| {
        let bench = Bench::new(&by_command(command));
        let said = bench.run().unwrap_err().chain();
        assert!(said.contains(expect), "{said}");
    };
    check("echo no data >&2; exit 3", "no data");
    check("true", "wrote no file to $EDGEWARD_MODEL_OUT");
    check("echo x > $EDGEWARD_MODEL_OUT", "the ONNX model has no graph");
    check("touch $EDGEWARD_MODEL_OUT; echo 1 > $EDGEWARD_METRICS_OUT", "it is not an object");
}
