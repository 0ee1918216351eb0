//! One operator at a time on the embedded engine: ONNX Runtime's answer, or a refusal that names the node. Never another
//! answer. The cases are written by `fixtures/operators.py`; operator sets from 7 to 22.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use edgeward_model::{Engine, EngineError, Golden, GoldenError, LoadOptions, RtenEngine};

/// Fewest cases that must be answered, so that refusing everything is no way to pass.
const ANSWERED_MIN: usize = 325;

struct Case {
    name: String,
    onnx: Vec<u8>,
    golden: Golden,
}

fn cases() -> Vec<Case> {
    let entries: Vec<serde_json::Value> =
        serde_json::from_slice(include_bytes!("fixtures/operators.json")).unwrap();
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let case = |entry: serde_json::Value| Case {
        name: entry["name"].as_str().unwrap().to_owned(),
        onnx: decode(entry["onnx"].as_str().unwrap()),
        golden: Golden::parse(entry["golden"].to_string().as_bytes()).unwrap(),
    };
    entries.into_iter().map(case).collect()
}

enum Outcome {
    Answered,
    Refused(EngineError),
    Wrong(String),
}

fn tried(case: &Case) -> Outcome {
    let model = match RtenEngine::new().load(&case.onnx, &LoadOptions::with_threads(1)) {
        Ok(model) => model,
        Err(error) => return Outcome::Refused(error),
    };
    match case.golden.check(&*model) {
        Ok(_) => Outcome::Answered,
        Err(GoldenError::Run { source, .. }) => Outcome::Refused(source),
        Err(error) => Outcome::Wrong(error.to_string()),
    }
}

#[test]
fn every_operator_answers_as_onnx_runtime_does_or_is_refused_by_name() {
    let (mut answered, mut faults) = (0, Vec::new());
    for case in cases() {
        match tried(&case) {
            Outcome::Answered => answered += 1,
            Outcome::Refused(error) if error.node() == Some("n") && error.operator().is_some() => {}
            Outcome::Refused(error) => faults.push(format!("{}: refused without a name: {error}", case.name)),
            Outcome::Wrong(why) => faults.push(format!("{}: {why}", case.name)),
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(answered >= ANSWERED_MIN, "only {answered} cases were answered");
}

#[test]
fn what_the_engine_would_compute_wrongly_is_refused() {
    let refused = [
        ("Resize 13 cubic", "no cubic interpolation"),
        ("LSTM with a length per row", "no length per row"),
        ("GRU forward 0", "linear_before_reset"),
        ("NonMaxSuppression", "measures overlap otherwise"),
        ("ConvTranspose SAME_LOWER", "SAME_LOWER"),
        ("RNN forward", "RNN"),
    ];
    let cases = cases();
    for (name, why) in refused {
        let case = cases.iter().find(|case| case.name == name).expect("the case is there");
        match tried(case) {
            Outcome::Refused(error) => assert!(error.to_string().contains(why), "{name}: {error}"),
            Outcome::Answered | Outcome::Wrong(_) => panic!("{name} was not refused"),
        }
    }
}
