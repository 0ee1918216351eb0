//! Tree ensembles on the embedded engine: ONNX Runtime's answers, refusals that name the node, and hostile files.

use std::path::Path;

use base64::Engine as _;
use edgeward_model::onnx::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use edgeward_model::{
    DataType, Dim, Engine, EngineError, EngineErrorKind, Golden, LoadOptions, RtenEngine, Session, Task,
    Tensor, TensorData,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(path).expect("the fixture is in the repository")
}

fn load(bytes: &[u8]) -> Result<std::sync::Arc<dyn edgeward_model::Runnable>, EngineError> {
    RtenEngine::new().load(bytes, &LoadOptions::with_threads(1))
}

#[test]
fn every_kind_of_ensemble_answers_as_onnx_runtime_does() {
    let path = std::env::var("EDGEWARD_TEST_ENSEMBLES").map(std::fs::read);
    let bytes = path.map_or_else(|_| fixture("ensembles.json"), |read| read.expect("the file is there"));
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    assert!(entries.len() > 20);
    let mut failures = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let model =
            base64::engine::general_purpose::STANDARD.decode(entry["model"].as_str().unwrap()).unwrap();
        let golden = Golden::parse(entry["golden"].to_string().as_bytes()).unwrap();
        if let Err(error) = golden.check(&*load(&model).unwrap()) {
            let node = onnx::decode(&model).unwrap().graph.unwrap().node[0].clone();
            let text = |attribute: &AttributeProto| {
                format!(
                    "{}={:?}{:?}",
                    attribute.name,
                    attribute.s.as_deref().map(String::from_utf8_lossy),
                    attribute.floats
                )
            };
            let keep = |a: &&AttributeProto| !a.name.starts_with("nodes_") && a.ints.len() < 5;
            let attributes: Vec<String> = node.attribute.iter().filter(keep).map(text).collect();
            failures.push(format!("{index} {}: {error}\n  {}", node.op_type, attributes.join(" ")));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), entries.len(), failures.join("\n"));
}

#[test]
fn scikit_learn_trees_answer_as_onnx_runtime_does() {
    for name in [
        "gradient_boosting",
        "gradient_boosting_binary",
        "gradient_boosting_regressor",
        "random_forest",
        "random_forest_names",
        "random_forest_binary",
        "random_forest_regressor",
        "hist_gradient_boosting",
        "hist_gradient_boosting_binary",
        "hist_gradient_boosting_regressor",
        "decision_tree",
        "decision_tree_regressor",
        "isolation_forest",
    ] {
        let golden = Golden::parse(&fixture(&format!("sk_{name}.golden.json"))).unwrap();
        let model =
            load(&fixture(&format!("sk_{name}.onnx"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        golden.check(&*model).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn class_names_come_out_as_labels() {
    let bytes = fixture("sk_random_forest_names.onnx");
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
    let Task::Classification { classes } = &session.signature().task else { panic!("a classifier") };
    assert_eq!(classes, &["setosa", "versicolor", "virginica"]);
    let input = Tensor::from_rows(2, 4, vec![5.0, 3.4, 1.5, 0.2, 6.5, 3.0, 5.8, 2.2]).unwrap();
    let outputs = session.infer(vec![input.named("X")]).unwrap();
    let names: Vec<_> = outputs.rows.iter().map(|row| row.label.clone().unwrap()).collect();
    assert_eq!(names, ["setosa", "virginica"]);
    let expected = TensorData::Bytes(vec![b"setosa".to_vec(), b"virginica".to_vec()]);
    assert_eq!(outputs.get("label").unwrap().data(), &expected);
}

/// One tree: node 0 tests feature 0 against 1.5, nodes 1 and 2 are its leaves.
fn stump() -> NodeProto {
    NodeProto::new("TreeEnsembleRegressor", "trees", &["x"], &["y"])
        .in_domain("ai.onnx.ml")
        .with(AttributeProto::ints("nodes_treeids", vec![0; 3]))
        .with(AttributeProto::ints("nodes_nodeids", vec![0, 1, 2]))
        .with(AttributeProto::ints("nodes_featureids", vec![0; 3]))
        .with(AttributeProto::floats("nodes_values", vec![1.5, 0.0, 0.0]))
        .with(AttributeProto::texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]))
        .with(AttributeProto::ints("nodes_truenodeids", vec![1, 0, 0]))
        .with(AttributeProto::ints("nodes_falsenodeids", vec![2, 0, 0]))
        .with(AttributeProto::ints("target_treeids", vec![0; 2]))
        .with(AttributeProto::ints("target_nodeids", vec![1, 2]))
        .with(AttributeProto::ints("target_ids", vec![0; 2]))
        .with(AttributeProto::floats("target_weights", vec![10.0, 20.0]))
        .with(AttributeProto::int("n_targets", 1))
}

fn model_of(nodes: Vec<NodeProto>, datatype: DataType) -> ModelProto {
    let mut model = ModelProto::new(GraphProto {
        node: nodes,
        input: vec![ValueInfoProto::tensor("x", datatype, &[Dim::symbol("n"), Dim::Fixed(1)])],
        output: vec![ValueInfoProto::tensor("y", DataType::Fp32, &[Dim::symbol("n"), Dim::Fixed(1)])],
        ..GraphProto::new("stump")
    });
    model.opset_import.push(OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 3 });
    model
}

fn refused(node: NodeProto, kind: EngineErrorKind, expected: &str) {
    let error = load(&onnx::encode(&model_of(vec![node], DataType::Fp32))).err().expect("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!((error.node(), error.operator()), (Some("trees"), Some("TreeEnsembleRegressor")));
}

fn changed(attribute: AttributeProto) -> NodeProto {
    let mut node = stump();
    node.attribute.retain(|old| old.name != attribute.name);
    node.with(attribute)
}

#[test]
fn broken_trees_are_refused_by_name() {
    use EngineErrorKind::{InvalidGraph, UnsupportedOperator};
    let ints = |name: &str, values: &[i64]| changed(AttributeProto::ints(name, values.to_vec()));
    refused(ints("nodes_truenodeids", &[0, 0, 0]), InvalidGraph, "is its own descendant");
    refused(ints("nodes_truenodeids", &[9, 0, 0]), InvalidGraph, "names node 9 of tree 0");
    refused(ints("nodes_falsenodeids", &[-1, 0, 0]), InvalidGraph, "names node -1 of tree 0");
    refused(ints("nodes_nodeids", &[0, 1, 1]), InvalidGraph, "has node 1 of tree 0 twice");
    refused(ints("nodes_nodeids", &[0, 1]), InvalidGraph, "2 entries in nodes_nodeids for 3 nodes");
    refused(ints("nodes_treeids", &[]), InvalidGraph, "entries in nodes_nodeids");
    refused(ints("nodes_featureids", &[-4, 0, 0]), InvalidGraph, "tests feature -4");
    refused(ints("target_ids", &[0, 1]), InvalidGraph, "a weight for output 1 of 1");
    refused(ints("target_nodeids", &[1, 7]), InvalidGraph, "names node 7 of tree 0");
    refused(changed(AttributeProto::int("n_targets", i64::MAX)), InvalidGraph, "outputs; 1 to 65536");
    let modes = AttributeProto::texts("nodes_modes", &["BRANCH_ODD", "LEAF", "LEAF"]);
    refused(changed(modes), UnsupportedOperator, "the unknown mode 'BRANCH_ODD'");
    refused(changed(AttributeProto::text("post_transform", "ODD")), UnsupportedOperator, "'ODD'");
}

#[test]
fn inputs_of_every_type_are_walked() {
    let check = |datatype: DataType, data: TensorData| {
        let model = load(&onnx::encode(&model_of(vec![stump()], datatype))).unwrap();
        let outputs = model.run(&[Tensor::new([3, 1], data).unwrap()]).unwrap();
        assert_eq!(outputs[0].as_f32().unwrap(), [10.0, 20.0, 20.0], "{datatype}");
    };
    check(DataType::Fp32, vec![1.0_f32, 2.0, f32::NAN].into());
    check(DataType::Fp64, vec![1.5_f64, 1.5 + 1e-12, 2.0].into());
    check(DataType::Int64, vec![1_i64, 2, i64::MAX].into());
    check(DataType::Int32, vec![-1_i32, 2, 3].into());
}

#[test]
fn trees_stand_between_plain_nodes() {
    let mut tree = stump();
    (tree.input, tree.output) = (vec!["doubled".into()], vec!["votes".into()]);
    let nodes = vec![
        NodeProto::new("Add", "last", &["votes", "x"], &["y"]),
        NodeProto::new("Add", "first", &["x", "x"], &["doubled"]),
        tree,
    ];
    let model = load(&onnx::encode(&model_of(nodes, DataType::Fp32))).unwrap();
    let outputs = model.run(&[Tensor::from_rows(2, 1, vec![0.5, 1.0]).unwrap()]).unwrap();
    assert_eq!(outputs[0].as_f32().unwrap(), [10.5, 21.0]);
    let none = model.run(&[Tensor::from_rows(0, 1, vec![]).unwrap()]);
    assert!(none.is_ok_and(|outputs| outputs[0].is_empty()));
}

#[test]
fn ensembles_of_set_five_are_walked() {
    let constant = |name: &str, data: TensorData| {
        let tensor = Tensor::new([data.len()], data).unwrap();
        AttributeProto::tensor(name, TensorProto::from_tensor("", &tensor))
    };
    let node = NodeProto::new("TreeEnsemble", "trees", &["x"], &["y"])
        .in_domain("ai.onnx.ml")
        .with(AttributeProto::ints("nodes_featureids", vec![0, 0]))
        .with(constant("nodes_splits", vec![1.5_f32, 3.0].into()))
        .with(constant("nodes_modes", vec![0_u8, 1].into()))
        .with(AttributeProto::ints("nodes_truenodeids", vec![0, 1]))
        .with(AttributeProto::ints("nodes_trueleafs", vec![1, 1]))
        .with(AttributeProto::ints("nodes_falsenodeids", vec![1, 2]))
        .with(AttributeProto::ints("nodes_falseleafs", vec![0, 1]))
        .with(AttributeProto::ints("leaf_targetids", vec![0; 3]))
        .with(constant("leaf_weights", vec![10.0_f32, 20.0, 30.0].into()))
        .with(AttributeProto::ints("tree_roots", vec![0]))
        .with(AttributeProto::int("n_targets", 1));
    let mut model = model_of(vec![node], DataType::Fp32);
    model.opset_import[1].version = 5;
    let outputs = load(&onnx::encode(&model)).unwrap();
    let outputs = outputs.run(&[Tensor::from_rows(3, 1, vec![1.0, 2.0, 3.0]).unwrap()]).unwrap();
    assert_eq!(outputs[0].as_f32().unwrap(), [10.0, 20.0, 30.0]);
}

#[test]
fn rows_that_are_too_short_are_an_error() {
    let mut model =
        model_of(vec![changed(AttributeProto::ints("nodes_featureids", vec![3, 0, 0]))], DataType::Fp32);
    model.graph.as_mut().unwrap().name = "short".into();
    let loaded = load(&onnx::encode(&model)).unwrap();
    let error = loaded.run(&[Tensor::from_rows(1, 1, vec![1.0]).unwrap()]).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::OperatorFailed);
    assert!(error.to_string().contains("node 'trees' (TreeEnsembleRegressor): tests feature 3"), "{error}");
}

fn run_if_it_loads(bytes: &[u8]) {
    let Ok(model) = load(bytes) else { return };
    let values = vec![0.5, f32::NAN, -3.0, 7.0, 1e30, -0.0, f32::INFINITY, 2.0];
    let _ = Tensor::from_rows(2, 4, values).map(|input| model.run(&[input]));
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn mutated_files_never_panic_or_loop(
        names in any::<bool>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = fixture(if names { "sk_random_forest_names.onnx" } else { "sk_hist_gradient_boosting.onnx" });
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        run_if_it_loads(&bytes);
    }

    #[test]
    fn mutated_attributes_never_panic_or_loop(
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop_oneof![-3_i64..40, any::<i64>()], any::<bool>()),
            1..5,
        ),
    ) {
        let mut model = onnx::decode(&fixture("sk_random_forest_names.onnx")).unwrap();
        let node = &mut model.graph.as_mut().unwrap().node[0];
        for (which, at, value, cut) in changes {
            let which = which.index(node.attribute.len());
            let attribute = &mut node.attribute[which];
            if cut && !attribute.ints.is_empty() {
                let length = at.index(attribute.ints.len());
                attribute.ints.truncate(length);
            } else if !attribute.ints.is_empty() {
                let at = at.index(attribute.ints.len());
                attribute.ints[at] = value;
            } else if !attribute.strings.is_empty() {
                let at = at.index(attribute.strings.len());
                attribute.strings[at] = if cut { b"LEAF".to_vec() } else { b"BRANCH_GT".to_vec() };
            } else if !attribute.floats.is_empty() {
                let at = at.index(attribute.floats.len());
                attribute.floats[at] = value as f32;
            }
        }
        run_if_it_loads(&onnx::encode(&model));
    }
}
