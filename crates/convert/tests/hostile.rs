//! Graphs that no exporter writes, found by fuzzing: each is refused by name or passed on, and none panics.

use edgeward_convert::{LowerError, lower, optimise, quantise};
use edgeward_model::onnx::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use edgeward_model::{DataType, Dim, RtenEngine};

const ML: &str = "ai.onnx.ml";

/// A model of one node that reads `inputs` and makes `outputs`.
fn model(node: NodeProto) -> ModelProto {
    let mut graph = GraphProto::new("g");
    graph.input.push(ValueInfoProto::tensor("x", DataType::Fp32, &[Dim::symbol("n"), Dim::Fixed(2)]));
    graph.output.push(ValueInfoProto::tensor("x", DataType::Fp32, &[Dim::symbol("n"), Dim::Fixed(2)]));
    graph.node.push(node);
    let mut model = ModelProto::new(graph);
    model.opset_import.push(OperatorSetIdProto { domain: ML.to_owned(), version: 2 });
    model
}

#[test]
fn an_operator_without_input_or_output_is_refused_by_name() {
    for operator in [
        "Scaler",
        "Normalizer",
        "Imputer",
        "Binarizer",
        "FeatureVectorizer",
        "LinearClassifier",
        "LinearRegressor",
        "ArrayFeatureExtractor",
        "OneHotEncoder",
        "LabelEncoder",
        "TreeEnsembleClassifier",
        "TreeEnsembleRegressor",
        "TreeEnsemble",
    ] {
        for (inputs, outputs) in [(&[][..], &["y"][..]), (&["x"], &[]), (&[""], &["y"]), (&["x"], &[""])] {
            let node = NodeProto::new(operator, "odd", inputs, outputs).in_domain(ML);
            let refused = lower(&model(node));
            let Err(LowerError::Unsupported { node, reason }) = refused else {
                panic!("{operator}: {refused:?}")
            };
            assert!(node.contains("odd") || node.contains(operator), "{node}");
            assert!(reason.contains("it needs both"), "{reason}");
        }
    }
}

#[test]
fn plain_operators_without_inputs_pass_through_every_step() {
    for operator in ["Identity", "Dropout", "BatchNormalization", "Conv", "MatMul", "Cast", "Concat"] {
        for outputs in [&["y"][..], &[]] {
            let odd = model(NodeProto::new(operator, "odd", &[], outputs));
            let plain = lower(&odd).unwrap();
            let (smaller, _) = optimise(&plain, &RtenEngine::new()).unwrap();
            let _ =
                (quantise::weights_int8(&smaller), quantise::weights_half(&smaller, quantise::Half::Float16));
        }
    }
}
