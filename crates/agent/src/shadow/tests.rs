//! Production never waits for shadows, and what they count is what they said.

use std::sync::Arc;

use edgeward_core::shadow::Shadows;
use edgeward_core::{Digest, ModelName, RunId};
use edgeward_model::engine::conformance::fixture;
use edgeward_model::{NamedTensor, RtenEngine, Tensor};
use edgeward_sdk::Loaded;
use uuid::Uuid;

use super::*;
use crate::fixtures::{ONE_THREAD, model, onnx_bytes};

fn loaded(version: &str) -> Arc<Loaded> {
    Arc::new(Loaded::from_onnx(&onnx_bytes(version), &RtenEngine::new(), &ONE_THREAD).unwrap())
}

fn rows() -> Vec<NamedTensor> {
    vec![Tensor::from_rows(2, 4, fixture::noise(8, 1)).unwrap().named("x")]
}

struct Bench {
    bench: ShadowBench,
    champion: Arc<Loaded>,
    model: ModelName,
}

impl Bench {
    /// A champion with two shadows, which answer only if `answering`.
    fn new(answering: bool) -> Self {
        let (champion, shadows) = (loaded("1"), [loaded("2"), loaded("3")]);
        let wanted = Shadows {
            run: RunId::new("run-1").unwrap(),
            champion: champion.bundle(),
            bundles: shadows.iter().map(|shadow| shadow.bundle()).collect(),
        };
        let bench = ShadowBench::default();
        if !answering {
            // The queue's other end is kept by nobody who takes anything from it.
            std::mem::forget(bench.jobs.lock().unwrap().take());
        }
        bench.begin(&model(), ShadowSet::new(wanted, shadows.to_vec(), None));
        Self { bench, champion, model: model() }
    }

    /// Answers one request as the endpoint does; whether it was copied.
    fn ask(&self) -> (Prediction, bool) {
        let ticket = self.bench.ticket(&self.model, self.champion.bundle(), 100);
        let answer = self.champion.infer(rows()).unwrap();
        let is_copied = ticket.is_some();
        if let Some(ticket) = ticket {
            self.bench.mirror(ticket.of(rows(), &answer));
        }
        (answer, is_copied)
    }

    fn report(&self) -> ShadowReport {
        self.bench.report(&self.model).unwrap()
    }

    fn until(&self, is_so: impl Fn(&ShadowReport) -> bool) -> ShadowReport {
        for _ in 0..60_000 {
            let report = self.report();
            if is_so(&report) {
                return report;
            }
            thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("it never came to that: {:?}", self.report());
    }
}

#[test]
fn production_answers_all_requests_while_the_shadows_answer_none() {
    let bench = Bench::new(false);
    let copied = (0..WAITING_MAX * 3).filter(|_| bench.ask().1).count();
    let report = bench.report();
    assert_eq!(copied, WAITING_MAX, "as many wait as may");
    assert_eq!((report.mirrored, report.dropped), (WAITING_MAX as u64, 2 * WAITING_MAX as u64));
    assert!(report.candidates.iter().all(|candidate| candidate.answered == 0));
    let label =
        Label { id: PredictionId(Uuid::from_u128(1)), row: 0, label: "a".to_owned(), tags: Vec::new() };
    bench.bench.label(&[label]);
    assert_eq!(bench.report().dropped, 2 * WAITING_MAX as u64 + 1, "labels do not wait either");
}

#[test]
fn a_request_larger_than_the_queue_is_dropped() {
    let bench = Bench::new(true);
    assert!(bench.bench.ticket(&bench.model, bench.champion.bundle(), WAITING_BYTES_MAX + 1).is_none());
    assert_eq!(bench.report().dropped, 1);
    assert!(bench.bench.ticket(&bench.model, Digest::of(b"another champion"), 1).is_none());
    assert_eq!(bench.report().dropped, 1, "what another bundle answers is nobody's business");
}

#[test]
fn shadows_answer_what_the_champion_answered_and_labels_find_them() {
    let bench = Bench::new(true);
    let (answer, _) = bench.ask();
    let truth = predicted_text(&answer.rows[0]).unwrap();
    let label = |row, text: &str| Label { id: answer.id, row, label: text.to_owned(), tags: Vec::new() };
    bench.bench.label(&[label(0, &truth), label(1, "nothing like it"), label(1, &truth)]);
    let report = bench.until(|report| report.losses.iter().sum::<u64>() == 2);
    // The three models are alike: all right once, all wrong once, and a row is labelled once.
    assert_eq!(report.losses, [1, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!((report.mirrored, report.dropped), (1, 0));
    for candidate in &report.candidates {
        assert_eq!((candidate.answered, candidate.agreed, candidate.failed), (2, 2, 0));
        assert!(candidate.confidence_micros > 0);
    }
}

#[test]
fn nothing_is_counted_before_all_are_there_or_after_they_left() {
    let bench = Bench::new(true);
    let report = ShadowReport { mirrored: 0, ..bench.report() };
    bench.bench.wait(&bench.model, report.clone());
    assert!(bench.bench.ticket(&bench.model, bench.champion.bundle(), 1).is_none());
    assert_eq!(bench.report(), report);
    bench.bench.end(&bench.model);
    assert_eq!(bench.bench.report(&bench.model), None);
}

#[test]
fn what_shadows_say_to_a_prediction_that_is_kept_is_kept_too() {
    let mut bench = Bench::new(true);
    let (sender, kept) = channel();
    bench.bench.keep_answers(move |run, id, said| drop(sender.send((run.clone(), id, said))));
    let (unkept, _) = bench.ask();
    let policy = edgeward_core::RecordPolicy {
        schema: edgeward_core::record::RECORD_POLICY_SCHEMA.to_owned(),
        inputs: edgeward_core::record::InputsKept::Never,
        sampled: 0.0,
        redact: Vec::new(),
        retention_days: 1,
        records_days: None,
        subject: None,
    };
    let onnx = Loaded::from_onnx(&onnx_bytes("1"), &RtenEngine::new(), &ONE_THREAD).unwrap();
    bench.champion = Arc::new(onnx.with_records(Some(policy)));
    let (answer, _) = bench.ask();
    let (run, id, said) = kept.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert_ne!(id, unkept.id, "the first leaves no record");
    assert_eq!((run.as_str(), id, said.len()), ("run-1", answer.id, 2));
    let set = bench.bench.set(&bench.model).unwrap();
    for (one, bundle) in said.iter().zip(&set.shadows().bundles) {
        let answers = one.answers.as_ref().unwrap();
        assert_eq!((one.bundle, answers.len()), (*bundle, 2));
        assert_eq!(answers[0].predicted, predicted_text(&answer.rows[0]), "the models are alike");
    }
}
