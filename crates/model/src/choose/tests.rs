//! Choices on a clock that only the models move.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::bundle::BundleWriter;
use crate::engine::conformance::fixture;
use crate::engine::{Engine as _, EngineErrorKind, RtenEngine};
use crate::golden::Tolerance;
use crate::onnx;
use crate::signature::TensorSpec;

/// A model that takes the time it says on a clock that only models move.
struct Timed {
    model: Arc<dyn Runnable>,
    time_us: u64,
    now_us: Arc<AtomicU64>,
    runs: Arc<AtomicUsize>,
    fails_at: usize,
}

impl Runnable for Timed {
    fn inputs(&self) -> &[TensorSpec] {
        self.model.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.model.outputs()
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        self.now_us.fetch_add(self.time_us, Ordering::Relaxed);
        if self.runs.fetch_add(1, Ordering::Relaxed) == self.fails_at {
            return Err(EngineError::new("fake", EngineErrorKind::OperatorFailed, "out of memory"));
        }
        self.model.run(inputs)
    }
}

struct Course {
    now_us: Arc<AtomicU64>,
    golden: Golden,
    runs: Vec<Arc<AtomicUsize>>,
}

impl Course {
    fn new() -> Self {
        let call = vec![Tensor::from_rows(3, fixture::FEATURES, fixture::noise(12, 1)).unwrap()];
        let golden = Golden::record(&*load(), &[call], Tolerance::default()).unwrap();
        Self { now_us: Arc::default(), golden, runs: Vec::new() }
    }

    fn candidate(&mut self, variant: &str, time_us: u64) -> Candidate<'static> {
        self.failing(variant, time_us, usize::MAX)
    }

    fn failing(&mut self, variant: &str, time_us: u64, fails_at: usize) -> Candidate<'static> {
        let (now_us, runs) = (Arc::clone(&self.now_us), Arc::<AtomicUsize>::default());
        self.runs.push(Arc::clone(&runs));
        let model: Arc<dyn Runnable> = Arc::new(Timed { model: load(), time_us, now_us, runs, fails_at });
        self.of(variant, Box::new(move || Ok(model)))
    }

    fn of<'a>(&self, variant: &str, load: Load<'a>) -> Candidate<'a> {
        let (engine, provider) = ("fake".to_owned(), "cpu".to_owned());
        Candidate { variant: variant.to_owned(), engine, provider, load, golden: self.golden.clone() }
    }

    fn choose(&self, candidates: Vec<Candidate<'_>>) -> Choice {
        let now_us = Arc::clone(&self.now_us);
        choose(candidates, &TimingBudget::default(), &mut || {
            Duration::from_micros(now_us.load(Ordering::Relaxed))
        })
    }
}

fn load() -> Arc<dyn Runnable> {
    RtenEngine::new().load(&onnx::encode(&fixture::classifier()), &LoadOptions::with_threads(1)).unwrap()
}

fn name(choice: &Choice) -> Option<&str> {
    choice.chosen.as_ref().map(|(at, _)| choice.rows[*at].variant.as_str())
}

#[test]
fn the_fastest_is_taken_and_the_table_says_why() {
    let mut course = Course::new();
    let candidates = vec![course.candidate("a", 300), course.candidate("b", 100), course.candidate("c", 200)];
    let choice = course.choose(candidates);
    assert_eq!(name(&choice), Some("b"));
    let reasons: Vec<&str> = choice.rows.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "3.00 times the time of the fastest",
            "the fastest that is right",
            "2.00 times the time of the fastest"
        ]
    );
    assert_eq!((choice.rows[0].p50_us, choice.rows[0].p99_us), (Some(300.0), Some(300.0)));
    assert_eq!(choice.rows[1].parity.map(|report| report.cases), Some(1));
    let json = serde_json::to_value(&choice.rows).unwrap();
    assert_eq!(json[1]["chosen"], true);
    assert_eq!(serde_json::from_value::<Vec<ChoiceRow>>(json).unwrap(), choice.rows);
}

#[test]
fn of_equals_the_first_named_is_taken() {
    let mut course = Course::new();
    let candidates = vec![course.candidate("preferred", 104), course.candidate("other", 100)];
    let choice = course.choose(candidates);
    assert_eq!(name(&choice), Some("preferred"));
    assert!(choice.rows[1].reason.contains("another is preferred"), "{}", choice.rows[1].reason);
    let candidates = vec![course.candidate("preferred", 106), course.candidate("other", 100)];
    assert_eq!(name(&course.choose(candidates)), Some("other"));
}

#[test]
fn what_is_wrong_is_never_taken_however_fast() {
    let mut course = Course::new();
    let mut wrong = course.candidate("wrong", 1);
    wrong.golden.cases[0].expected[1].tensor = Tensor::from_rows(3, 3, vec![0.0; 9]).unwrap();
    let broken = EngineError::new("fake", EngineErrorKind::UnsupportedOperator, "no such operator");
    let candidates = vec![
        wrong,
        course.of("broken", Box::new(move || Err(broken))),
        // Golden test, warming runs, then the third timed run fails.
        course.failing("tired", 10, 5),
        course.candidate("right", 500),
    ];
    let choice = course.choose(candidates);
    assert_eq!(name(&choice), Some("right"));
    assert!(
        choice.rows[0].reason.contains("golden test: golden case 0: output 'probabilities'"),
        "{:?}",
        choice.rows[0]
    );
    assert_eq!(choice.rows[1].reason, "does not load: fake: no such operator");
    assert!(
        choice.rows[2].reason.contains("fails when run again: fake: out of memory"),
        "{:?}",
        choice.rows[2]
    );
    assert_eq!((choice.rows[0].p50_us, choice.rows[2].p50_us), (None, None));
}

#[test]
fn with_none_right_none_is_taken() {
    assert!(Course::new().choose(Vec::new()).chosen.is_none());
    let mut course = Course::new();
    let candidates = vec![course.failing("tired", 10, 0)];
    let choice = course.choose(candidates);
    assert!(choice.chosen.is_none() && choice.rows[0].reason.contains("golden test"), "{:?}", choice.rows);
}

#[test]
fn the_budget_bounds_the_runs() {
    let mut course = Course::new();
    let candidates = vec![course.candidate("slow", 1_000_000), course.candidate("slower", 1_100_000)];
    course.choose(candidates);
    // One for the golden test, two to warm, five timed.
    assert_eq!(course.runs.iter().map(|runs| runs.load(Ordering::Relaxed)).collect::<Vec<_>>(), [8, 8]);
    let mut course = Course::new();
    let candidates =
        vec![course.candidate("fast", 10), course.candidate("near", 12), course.candidate("far", 100)];
    course.choose(candidates);
    assert_eq!(
        course.runs.iter().map(|runs| runs.load(Ordering::Relaxed)).collect::<Vec<_>>(),
        [203, 203, 5]
    );
}

#[test]
fn a_bundle_offers_what_its_engines_can_run() {
    let folder = tempfile::tempdir().unwrap();
    let course = Course::new();
    let bytes = onnx::encode(&fixture::classifier());
    let signature = crate::session::derive_signature(&fixture::classifier()).unwrap();
    let mut writer = BundleWriter::new(edgeward_core::ModelName::new("digits").unwrap());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes.clone()).unwrap();
    writer.variant("elsewhere", "f32", bytes).unwrap().signature(&signature).unwrap();
    let bundle = writer.golden(&course.golden).unwrap().write(folder.path()).unwrap();
    let engines = Engines::embedded();
    let device = engines.capabilities(&["rten", "elsewhere"]);
    let found = candidates(&bundle, &engines, &device, LoadOptions::with_threads(1)).unwrap();
    let absent = absent(&bundle, &engines, &device);
    assert_eq!(absent.len(), 1);
    assert_eq!(absent[0].reason, "the engine 'elsewhere' is not here");
    let names: Vec<&str> = found.iter().map(|candidate| candidate.variant.as_str()).collect();
    assert_eq!(names, ["rten-f32"]);
    let ticks = Rc::new(Cell::new(0));
    let choice = choose(found, &TimingBudget::default(), &mut || {
        ticks.set(ticks.get() + 1);
        Duration::from_micros(ticks.get())
    });
    assert_eq!(name(&choice), Some("rten-f32"));
    assert!(choice.chosen.unwrap().1.run(&[Tensor::from_rows(1, 4, vec![0.0; 4]).unwrap()]).is_ok());
}
