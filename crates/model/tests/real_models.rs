//! Models written by other tools: read, written again, and run with the answers of another engine.

use std::path::{Path, PathBuf};

use edgeward_model::onnx;
use edgeward_model::{Engine, EngineErrorKind, Golden, LoadOptions, RtenEngine};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).expect("the fixture is in the repository")
}

#[test]
fn nothing_is_lost_by_writing_a_model_again() {
    for name in ["digits_mlp.onnx", "digits_cnn.onnx", "sklearn_mlp.onnx"] {
        let model = onnx::decode(&bytes(name)).unwrap();
        let written = onnx::encode(&model);
        assert_eq!(onnx::decode(&written).unwrap(), model, "{name}");
        // Other writers spell out empty texts and defaults, a few bytes each; weights make up the rest.
        let (before, after) = (bytes(name).len(), written.len());
        assert!(after <= before && before - after < 200, "{name}: {before} bytes became {after}");
        onnx::graph::check(&model).unwrap();
    }
}

#[test]
fn the_embedded_engine_answers_as_onnx_runtime_does() {
    let model =
        RtenEngine::new().load_file(&fixture("digits_cnn.onnx"), &LoadOptions::with_threads(1)).unwrap();
    let golden = Golden::parse(&bytes("digits_cnn.golden.json")).unwrap();
    let report = golden.check(&*model).unwrap();
    assert_eq!(report.values, 80);
    assert!(report.abs_difference_max < 1e-5, "{}", report.abs_difference_max);
}

#[test]
fn operators_the_engine_lacks_are_named() {
    for (name, node, operator) in [
        ("digits_mlp.onnx", "dropout", "Dropout"),
        ("sklearn_mlp.onnx", "ArrayFeatureExtractor", "ArrayFeatureExtractor"),
    ] {
        let loaded = RtenEngine::new().load(&bytes(name), &LoadOptions::with_threads(1));
        let error = loaded.err().unwrap();
        assert_eq!(error.kind(), EngineErrorKind::UnsupportedOperator, "{error}");
        assert!(error.node().is_some_and(|found| found.contains(node)), "{error}");
        assert_eq!(error.operator(), Some(operator), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = RtenEngine::new().load_file(&fixture("gone.onnx"), &LoadOptions::default()).err().unwrap();
    assert_eq!(error.kind(), EngineErrorKind::Read);
    assert!(error.to_string().contains("gone.onnx"), "{error}");
}
