//! Sessions over bundles and bare files.

use edgeward_core::ModelName;

use super::*;
use crate::bundle::BundleWriter;
use crate::engine::RtenEngine;
use crate::engine::conformance::fixture;
use crate::golden::Tolerance;
use crate::onnx::{ModelProto, NodeProto};
use crate::signature::Task;

const ONE_THREAD: LoadOptions = LoadOptions::with_threads(1);

fn bare(model: &ModelProto) -> Session {
    Session::from_onnx(&onnx::encode(model), &RtenEngine::new(), &ONE_THREAD).unwrap()
}

fn rows(count: usize) -> Tensor {
    Tensor::from_rows(count, 4, fixture::noise(count * 4, 9)).unwrap()
}

#[test]
fn a_bundle_serves_and_passes_its_golden_test() {
    let bytes = onnx::encode(&fixture::classifier());
    let session = bare(&fixture::classifier());
    let golden = Golden::record(session.runnable(), &[vec![rows(3)]], Tolerance::default()).unwrap();
    let mut writer = BundleWriter::new(ModelName::new("c").unwrap());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
    writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let bundle = writer.write(parent.path()).unwrap();
    let loaded = Session::load(&bundle, &RtenEngine::new(), &ONE_THREAD).unwrap();
    loaded.check_golden(&bundle.golden(loaded.variant()).unwrap()).unwrap();
    assert_eq!(loaded.model(), bundle.digest());
    let outputs = loaded.infer(vec![rows(2).named("x")]).unwrap();
    assert_eq!(outputs, session.infer_ordered(&[rows(2)]).unwrap());
    assert_eq!(outputs.rows.len(), 2);
    let label = outputs.get("label").unwrap().as_i64().unwrap()[0];
    assert_eq!(outputs.rows[0].predicted, usize::try_from(label).ok());
}

#[test]
fn input_errors_are_told_apart() {
    let session = bare(&fixture::classifier());
    let error = session.infer(vec![rows(2).named("y")]).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("no input 'y'"), "{error}");
    let overflow = bare(&fixture::add_one(crate::DataType::Int64));
    let error = overflow.infer_ordered(&[Tensor::new([1], vec![i64::MAX]).unwrap()]).unwrap_err();
    assert!(error.is_input(), "{error}");
}

#[test]
fn a_signature_of_another_model_is_refused() {
    let session = bare(&fixture::classifier());
    let mut signature = session.signature().clone();
    signature.inputs[0].name = "z".into();
    let other =
        Session::new(Arc::clone(&session.runnable), signature, session.model(), session.variant().clone());
    assert!(matches!(other, Err(SessionError::Mismatch { .. })));
}

#[test]
fn signatures_are_derived_by_the_rules() {
    let check = |model: &ModelProto, classes: Option<usize>, roles: [bool; 4]| {
        let signature = derive_signature(model).unwrap();
        let found = &signature.roles;
        let given = [&found.label, &found.probabilities, &found.logits, &found.value].map(Option::is_some);
        assert_eq!(given, roles, "{signature:?}");
        let is_classification = matches!(signature.task, Task::Classification { .. });
        assert_eq!(is_classification.then(|| signature.classes().len()), classes);
    };
    check(&fixture::classifier(), Some(3), [true, true, false, false]);
    check(&fixture::regressor(), None, [false, false, false, true]);
    check(&fixture::int8_matmul(), Some(2), [false, false, true, false]);
    check(&fixture::convolution(), None, [false; 4]);
    let mut softmax = fixture::int8_matmul();
    replace_last(&mut softmax, "Softmax");
    check(&softmax, Some(2), [false, true, false, false]);
    let mut sigmoid = fixture::regressor();
    replace_last(&mut sigmoid, "Sigmoid");
    check(&sigmoid, Some(2), [false, true, false, false]);
}

fn replace_last(model: &mut ModelProto, op_type: &str) {
    let graph = model.graph.as_mut().unwrap();
    let last = graph.node.last_mut().unwrap();
    last.output[0] = "before".into();
    graph.node.push(NodeProto::new(op_type, "last", &["before"], &["y"]));
}

#[test]
fn metadata_names_classes_and_features() {
    let mut model = fixture::classifier();
    model.set_metadata(METADATA_CLASSES, r#"["cat","dog","eel"]"#);
    model.set_metadata(METADATA_FEATURE_NAMES, r#"["a","b","c","d"]"#);
    let signature = derive_signature(&model).unwrap();
    assert_eq!(signature.classes(), ["cat", "dog", "eel"]);
    assert_eq!(signature.feature_names, ["a", "b", "c", "d"]);
    model.set_metadata(METADATA_CLASSES, r#"["cat"]"#);
    assert_eq!(derive_signature(&model).unwrap().classes(), ["0", "1", "2"]);
}
