//! What the next run would do, told without doing it; and what runs leave behind.

use edgeward_core::event::RunOutcome;
use edgeward_pipeline::compare::{Change, Changes, State};
use edgeward_pipeline::status::{self, StageState, Status};

use super::harness::{Bench, LOGISTIC, digits, worked};

fn look(bench: &Bench) -> Status {
    bench.within("look", None, |project, context| status::status(project, context).unwrap())
}

/// The first stage that would run, and why.
fn would_run(status: &Status) -> Option<(&str, Vec<&str>)> {
    let stage = status.stages.iter().find(|stage| stage.state == StageState::WouldRun)?;
    Some((&stage.name, stage.reasons.iter().map(String::as_str).collect()))
}

#[test]
fn a_look_says_what_a_run_then_does_and_does_nothing_itself() {
    let bench = Bench::new(LOGISTIC);
    assert_eq!(would_run(&look(&bench)), Some(("snapshot", vec!["it never ran here"])));
    assert_eq!(bench.calls(), (0, 0, 0));
    bench.run().unwrap();
    let after = look(&bench);
    assert!(after.up_to_date && after.changes.is_empty(), "{after:?}");
    assert_eq!(worked(&bench.run_as("run-2", None).unwrap()), Vec::<&str>::new());

    bench.write("data/digits.csv", &digits(450, |_| true));
    bench.write("data/more.csv", &digits(30, |label| label == "3"));
    let calls = bench.calls();
    let changed = look(&bench);
    let reasons = vec!["data/digits.csv modified", "data/more.csv added"];
    assert_eq!(would_run(&changed), Some(("snapshot", reasons)));
    assert_eq!(changed.changes.files["data/more.csv"], Change::Added);
    assert_eq!(bench.calls(), calls);
    assert_eq!(worked(&bench.run_as("run-3", None).unwrap())[0], "snapshot");
    assert!(look(&bench).up_to_date);
}

#[test]
fn a_look_names_the_parameter_and_the_stage_it_belongs_to() {
    let bench = Bench::new(LOGISTIC);
    bench.run().unwrap();
    bench.write("edgeward.toml", &LOGISTIC.replace("iterations = 60", "iterations = 50"));
    let status = look(&bench);
    assert_eq!(would_run(&status), Some(("train", vec!["params.iterations: 60 -> 50"])));
    assert_eq!(status.changes.params.keys().collect::<Vec<_>>(), ["train.params.iterations"]);
    assert_eq!(worked(&bench.run_as("run-2", None).unwrap())[0], "train");

    bench.write("edgeward.toml", &LOGISTIC.replace("accuracy_min = 0.8", "accuracy_min = 0.9999"));
    let gates = look(&bench);
    assert_eq!(would_run(&gates), None, "the stages of the first run are kept");
    assert!(!gates.up_to_date && gates.changes.params.contains_key("gate.accuracy_min"));
}

#[test]
fn outputs_that_are_gone_are_the_reason() {
    let bench = Bench::new(LOGISTIC);
    bench.run().unwrap();
    let trained = super::harness::stage_file(&bench.work(), "model.onnx");
    std::fs::remove_file(trained).unwrap();
    assert_eq!(would_run(&look(&bench)), Some(("train", vec!["its outputs are gone or damaged"])));
}

#[test]
fn runs_that_did_something_leave_records_that_can_be_compared() {
    let bench = Bench::new(LOGISTIC);
    bench.run().unwrap();
    bench.run_as("run-again", None).unwrap();
    bench.write("data/digits.csv", &digits(500, |_| true));
    bench.run_as("run-more", None).unwrap();
    bench.write("data/digits.csv", "a,label\nx,1\n");
    bench.run_as("run-broken", None).unwrap_err();
    let records = bench.within("look", None, |_, context| status::history(context, 10).unwrap());
    let runs: Vec<&str> = records.iter().map(|record| record.run.as_str()).collect();
    assert_eq!(runs, ["run-broken", "run-more", "run-1"], "nothing new leaves no record");
    assert!(
        matches!(&records[0].outcome, RunOutcome::Failed { reason } if reason.contains("'x' is not a number"))
    );
    let changes = Changes::between(&State::from(&records[2]), &State::from(&records[1]));
    assert_eq!(changes.files["data/digits.csv"], Change::Modified);
    assert!(
        changes.params.is_empty() && changes.metrics.contains_key("rows_held_out"),
        "{:?}",
        changes.metrics
    );
}
