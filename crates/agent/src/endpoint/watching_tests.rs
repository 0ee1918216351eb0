//! What the endpoint's answers and labels say to the monitor, over real loopback HTTP: texts, errors of a regression, and
//! embeddings.

use edgeward_core::Alert;
use edgeward_core::alert::AlertKind;
use edgeward_model::bundle::path;
use edgeward_model::engine::conformance::fixture;
use edgeward_model::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use edgeward_model::session::METADATA_EMBEDDING;
use edgeward_model::{BundleWriter, DataType, Dim, Golden, RtenEngine, Session, Tensor, Tolerance, onnx};
use edgeward_monitor::{ErrorBaseline, Feature, FeatureKind, MonitorConfig, Reference, Sample};
use serde_json::{Value, json};

use crate::fixtures::{ONE_THREAD, TestEndpoint, loaded, model};
use crate::spool::Lane;

const INFER: &str = "/v2/models/digits/infer";

/// An endpoint that serves `proto`, watched by `reference` and `config`.
fn serving(
    proto: &ModelProto,
    call: Vec<Tensor>,
    reference: &Reference,
    config: &MonitorConfig,
) -> TestEndpoint {
    let endpoint = TestEndpoint::new();
    let bytes = onnx::encode(proto);
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &ONE_THREAD).unwrap();
    let golden = Golden::record(session.runnable(), &[call], Tolerance::default()).unwrap();
    let mut writer = BundleWriter::new(model());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
    writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
    writer.add(path::REFERENCE_PROFILE, reference.to_bytes()).unwrap();
    writer.add(path::MONITOR, serde_json::to_vec(config).unwrap()).unwrap();
    let bundle = writer.write(&endpoint.folder.path().join("bundles")).unwrap();
    endpoint.served().publish(loaded(&bundle));
    endpoint
}

fn alerts(endpoint: &TestEndpoint) -> Vec<Alert> {
    let batch = endpoint.records.spool().batch(Lane::Alerts, 100, 1 << 20);
    batch.iter().map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect()
}

fn post(endpoint: &TestEndpoint, path: &str, body: &Value) -> Value {
    let (status, answer) = endpoint.post(path, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    answer
}

fn value(name: &str, datatype: DataType, width: Option<usize>) -> ValueInfoProto {
    let dims: Vec<Dim> = [Dim::symbol("batch")].into_iter().chain(width.map(Dim::Fixed)).collect();
    ValueInfoProto::tensor(name, datatype, &dims)
}

fn constant(name: &str, shape: [usize; 2], values: Vec<f32>) -> TensorProto {
    TensorProto::from_tensor(name, &Tensor::new(shape, values).unwrap())
}

/// `colour BYTES[batch, 1], size FP32[batch, 1] -> probabilities FP32[batch, 2]`, as an ordinal encoder before a linear
/// model is exported.
fn of_texts() -> ModelProto {
    let encoder = NodeProto::new("LabelEncoder", "encoder", &["colour"], &["code"]).in_domain("ai.onnx.ml");
    ModelProto::new(GraphProto {
        node: vec![
            encoder
                .with(AttributeProto::texts("keys_strings", &["red", "green", "blue"]))
                .with(AttributeProto::floats("values_floats", vec![0.0, 1.0, 2.0]))
                .with(AttributeProto::float("default_float", -1.0)),
            NodeProto::new("Concat", "row", &["code", "size"], &["x"]).with(AttributeProto::int("axis", 1)),
            NodeProto::new("MatMul", "linear", &["x", "w"], &["logits"]),
            NodeProto::new("Softmax", "softmax", &["logits"], &["probabilities"])
                .with(AttributeProto::int("axis", 1)),
        ],
        initializer: vec![constant("w", [2, 2], vec![0.5, -0.5, 1.0, -1.0])],
        input: vec![value("colour", DataType::Bytes, Some(1)), value("size", DataType::Fp32, Some(1))],
        output: vec![value("probabilities", DataType::Fp32, Some(2))],
        ..GraphProto::new("texts")
    })
}

fn of_colours() -> TestEndpoint {
    let feature = |name: &str, kind| Feature { name: name.to_owned(), kind };
    let texts = FeatureKind::Texts(["red", "green", "blue"].map(str::to_owned).to_vec());
    let features = [feature("colour", texts), feature("size", FeatureKind::Number)];
    let sizes = fixture::noise(900, 5);
    let rows: Vec<[f32; 2]> = sizes.iter().enumerate().map(|(i, size)| [(i % 3) as f32, *size]).collect();
    let samples = rows.iter().map(|features| Sample { features, predicted: None, confidence: None });
    let reference = Reference::fit_features(&features, &[], samples).unwrap();
    let call = vec![
        Tensor::new([1, 1], vec![b"green".to_vec()]).unwrap(),
        Tensor::new([1, 1], vec![0.25_f32]).unwrap(),
    ];
    serving(&of_texts(), call, &reference, &MonitorConfig::default())
}

fn colours(endpoint: &TestEndpoint, texts: &[&str], sizes: &[f32]) -> Value {
    let rows = texts.len();
    let body = json!({ "inputs": [
        { "name": "size", "shape": [rows, 1], "datatype": "FP32", "data": sizes },
        { "name": "colour", "shape": [rows, 1], "datatype": "BYTES", "data": texts },
    ]});
    post(endpoint, INFER, &body)
}

#[test]
fn a_model_of_texts_is_served_and_an_unknown_text_alerts_on_its_own_request() {
    let endpoint = of_colours();
    let answer = colours(&endpoint, &["red", "blue"], &[0.1, -0.2]);
    assert_eq!(answer["outputs"][0]["shape"], json!([2, 2]));
    assert!(alerts(&endpoint).is_empty());
    colours(&endpoint, &["green", "mauve"], &[0.3, 0.0]);
    let [alert] = &alerts(&endpoint)[..] else { panic!("{:?}", alerts(&endpoint)) };
    assert_eq!((alert.kind, alert.stream.as_deref()), (AlertKind::Outlier, Some("colour")));
    assert!(
        alert.message.contains("'colour' has 'mauve'; the reference holds 3 categories"),
        "{}",
        alert.message
    );
    let current = endpoint.served().handle.current().unwrap();
    let window = current.recorder().unwrap().take_window().unwrap();
    let seen = &window.profile.streams()[0];
    assert_eq!(seen.counts(), [0, 1, 1, 1, 1]);
    assert_eq!(seen.categories().unwrap().counts(), [("mauve", 1)]);
}

#[test]
fn texts_that_come_more_often_drift() {
    let endpoint = of_colours();
    let sizes = fixture::noise(2_400, 8);
    let names = ["red", "green", "blue"];
    for (batch, sizes) in sizes.chunks(60).enumerate() {
        let texts: Vec<&str> = (0..60).map(|i| names[if batch < 20 { i % 3 } else { (i % 7) / 3 }]).collect();
        colours(&endpoint, &texts, sizes);
        assert!(batch >= 20 || alerts(&endpoint).is_empty(), "{:?}", alerts(&endpoint));
    }
    let found = alerts(&endpoint);
    assert_eq!((found[0].kind, found[0].stream.as_deref()), (AlertKind::Drift, Some("colour")));
}

#[test]
fn late_labels_of_a_regression_raise_decay() {
    let values = fixture::noise(2 * 600, 31);
    let rows = values.chunks(2).map(|features| Sample { features, predicted: None, confidence: None });
    let reference = Reference::fit(&["a", "b"].map(str::to_owned), &[], rows).unwrap();
    let errors: Vec<f64> = fixture::noise(600, 32).iter().map(|noise| f64::from(*noise)).collect();
    let config =
        MonitorConfig { baseline_error: ErrorBaseline::of(&errors, 0.0), ..MonitorConfig::default() };
    let call = vec![Tensor::from_rows(1, 2, vec![0.5, 0.25]).unwrap()];
    let endpoint = serving(&fixture::regressor(), call, &reference, &config);
    let mut asked = Vec::new();
    for row in fixture::noise(2 * 900, 33).chunks(2) {
        let body = json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": row }] });
        let answer = post(&endpoint, INFER, &body);
        let said = answer["outputs"][0]["data"][0].as_f64().unwrap();
        asked.push((answer["parameters"]["prediction_id"].as_str().unwrap().to_owned(), said));
    }
    assert!(alerts(&endpoint).is_empty(), "{:?}", alerts(&endpoint));
    let noise = fixture::noise(900, 34);
    let tell = |range: std::ops::Range<usize>, times: f64| {
        let label = |i: usize| json!({ "id": asked[i].0, "label": (asked[i].1 + times * f64::from(noise[i])).to_string() });
        let body = json!({ "feedback": range.map(label).collect::<Vec<_>>() });
        let accepted = post(&endpoint, "/v1/feedback", &body)["accepted"].as_u64().unwrap();
        assert_eq!(accepted, 100);
    };
    (0..5).for_each(|hundred| tell(hundred * 100..(hundred + 1) * 100, 1.0));
    assert!(alerts(&endpoint).is_empty(), "{:?}", alerts(&endpoint));
    (5..9).for_each(|hundred| tell(hundred * 100..(hundred + 1) * 100, 3.0));
    let found = alerts(&endpoint);
    assert_eq!(found[0].kind, AlertKind::Decay, "{found:?}");
    assert!(found[0].message.contains("mean absolute error"), "{}", found[0].message);
}

#[test]
fn an_embedding_is_answered_to_those_who_name_it() {
    let mut proto = fixture::classifier();
    proto.set_metadata(METADATA_EMBEDDING, "active");
    if let Some(graph) = &mut proto.graph {
        graph.output.push(value("active", DataType::Fp32, Some(8)));
    }
    let rows = fixture::noise(4 * 300, 21);
    let samples = rows.chunks(4).map(|features| Sample { features, predicted: None, confidence: None });
    let reference = Reference::fit(&["a", "b", "c", "d"].map(str::to_owned), &[], samples).unwrap();
    let call = vec![Tensor::from_rows(1, 4, rows[..4].to_vec()).unwrap()];
    let endpoint = serving(&proto, call, &reference, &MonitorConfig::default());
    let names = |wanted: Value| {
        let mut body: Value = serde_json::from_str(&crate::fixtures::one_row()).unwrap();
        body["outputs"] = wanted;
        let answer = post(&endpoint, INFER, &body);
        answer["outputs"].as_array().unwrap().iter().map(|output| output["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(json!([])), ["label", "probabilities"]);
    assert_eq!(names(json!([{ "name": "active" }])), ["active"]);
    let (_, metadata) = endpoint.get("/v2/models/digits");
    assert!(
        metadata["outputs"].as_array().unwrap().iter().any(|output| output["name"] == "active"),
        "{metadata}"
    );
}
