//! A small residual network through static int8: where int8 begins and ends, and that the answers stay.

use edgeward_model::engine::conformance::fixture::noise;
use edgeward_model::onnx::{self, ValueInfoProto};
use edgeward_model::{Dim, Engine as _, EngineError, LoadOptions, RtenEngine};

use super::*;

const CHANNELS: usize = 8;
const SIDE: usize = 6;

fn constant(name: &str, shape: &[usize], values: Vec<f32>) -> TensorProto {
    TensorProto::from_tensor(name, &Tensor::new(shape, values).unwrap())
}

fn conv(name: &str, input: &str, output: &str) -> NodeProto {
    let (w, b) = (format!("{name}.w"), format!("{name}.b"));
    NodeProto::new("Conv", name, &[input, &w, &b], &[output])
        .with(AttributeProto::ints("kernel_shape", vec![3, 3]))
        .with(AttributeProto::ints("pads", vec![1; 4]))
}

/// Conv, BatchNormalization, Relu, MaxPool, Conv, residual Add, Clip, GlobalAveragePool, Flatten, MatMul, Add, Softmax.
fn network() -> ModelProto {
    let weight = |name: &str, inputs: usize, seed| {
        constant(name, &[CHANNELS, inputs, 3, 3], noise(CHANNELS * inputs * 9, seed))
    };
    let vector = |name: &str, seed| constant(name, &[CHANNELS], noise(CHANNELS, seed));
    let positive = |name: &str| constant(name, &[CHANNELS], vec![0.8; CHANNELS]);
    let pool = |name| AttributeProto::ints(name, vec![2, 2]);
    ModelProto::new(GraphProto {
        node: vec![
            conv("conv1", "x", "c1"),
            NodeProto::new(
                "BatchNormalization",
                "norm",
                &["c1", "gain", "shift", "mean", "variance"],
                &["n1"],
            ),
            NodeProto::new("Relu", "relu", &["n1"], &["r1"]),
            NodeProto::new("MaxPool", "pool", &["r1"], &["p1"])
                .with(pool("kernel_shape"))
                .with(pool("strides")),
            conv("conv2", "p1", "c2"),
            NodeProto::new("Add", "sum", &["c2", "p1"], &["s"]),
            NodeProto::new("Clip", "clip", &["s", "low", "high"], &["k"]),
            NodeProto::new("GlobalAveragePool", "average", &["k"], &["g"]),
            NodeProto::new("Flatten", "flatten", &["g"], &["f"]),
            NodeProto::new("MatMul", "head", &["f", "head.w"], &["h"]),
            NodeProto::new("Add", "bias", &["h", "head.b"], &["l"]),
            NodeProto::new("Softmax", "softmax", &["l"], &["y"]),
        ],
        initializer: vec![
            weight("conv1.w", 1, 1),
            vector("conv1.b", 2),
            positive("gain"),
            vector("shift", 3),
            vector("mean", 4),
            positive("variance"),
            weight("conv2.w", CHANNELS, 5),
            vector("conv2.b", 6),
            constant("low", &[], vec![0.0]),
            constant("high", &[], vec![6.0]),
            constant("head.w", &[CHANNELS, 4], noise(CHANNELS * 4, 7)),
            constant("head.b", &[4], noise(4, 8)),
        ],
        input: vec![ValueInfoProto::tensor(
            "x",
            DataType::Fp32,
            &[Dim::symbol("batch"), Dim::Fixed(1), Dim::Fixed(SIDE), Dim::Fixed(SIDE)],
        )],
        output: vec![ValueInfoProto::tensor("y", DataType::Fp32, &[Dim::symbol("batch"), Dim::Fixed(4)])],
        ..GraphProto::new("network")
    })
}

fn calls() -> Vec<Vec<Tensor>> {
    let call = |seed| vec![Tensor::new([2, 1, SIDE, SIDE], noise(2 * SIDE * SIDE, seed)).unwrap()];
    (20..28).map(call).collect()
}

fn outputs(model: &ModelProto) -> Result<Vec<f32>, EngineError> {
    let model = RtenEngine::new().load(&onnx::encode(model), &LoadOptions::with_threads(1))?;
    let run = |call: Vec<Tensor>| Ok(model.run(&call)?[0].as_f32().unwrap_or_default().to_vec());
    Ok(calls().into_iter().map(run).collect::<Result<Vec<_>, EngineError>>()?.concat())
}

fn furthest(model: &ModelProto) -> f64 {
    let (expected, found) = (outputs(&network()).unwrap(), outputs(model).unwrap());
    let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
    f64::from(apart.fold(0.0, f32::max))
}

/// Quantises; models further than `bound` from the floats are outside.
fn quantised(options: &Int8Options, bound: f64) -> (ModelProto, QuantiseReport) {
    let mut judge = |model: &ModelProto| {
        let distance = furthest(model);
        Ok(Judgement { within: distance <= bound, distance })
    };
    static_int8(&network(), &RtenEngine::new(), &calls(), options, &mut judge).unwrap()
}

fn operators(model: &ModelProto) -> Vec<&str> {
    let nodes = &model.graph.as_ref().unwrap().node;
    let quantise = ["QuantizeLinear", "DequantizeLinear"];
    nodes.iter().map(|node| node.op_type.as_str()).filter(|op| !quantise.contains(op)).collect()
}

#[test]
fn int8_runs_from_the_first_product_to_the_last() {
    let (model, report) = quantised(&Int8Options::default(), 0.05);
    onnx::graph::check(&model).unwrap();
    assert_eq!(
        operators(&model),
        ["Conv", "MaxPool", "Conv", "Add", "GlobalAveragePool", "Flatten", "Gemm", "Softmax"],
        "normalisation, clamps and the bias are inside other nodes"
    );
    assert_eq!(report.quantised, ["conv1", "pool", "conv2", "sum", "average", "flatten", "head"]);
    assert_eq!((report.calibration, report.evaluations), (Some(Calibration::MinMax), 1));
    let graph = model.graph.as_ref().unwrap();
    let count = |op: &str| graph.node.iter().filter(|node| node.op_type == op).count();
    assert_eq!(count("QuantizeLinear"), 7, "the input and all but the last result");
    let find = |name: &str| graph.node.iter().find(|node| node.name == name).unwrap();
    assert_eq!(find("head").output, ["l"], "the last product gives floats");
    let step =
        |value: &str| graph.constant(&format!("{value}.scale")).unwrap().to_tensor().unwrap().number(0);
    assert_eq!(step("r1"), step("p1"), "moved numbers keep their range");
    let zero = graph.constant("r1.zero").unwrap().to_tensor().unwrap().number(0);
    assert_eq!(zero, Some(0.0), "level 0 is the clamp");
    let apart = furthest(&model);
    assert!(apart > 0.0 && apart < 0.05, "{apart}");
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let encode = || onnx::encode(&quantised(&Int8Options::default(), 0.0).0);
    assert_eq!(encode(), encode());
}

#[test]
fn layers_are_left_out_by_name_and_operator() {
    let options = Int8Options {
        exclude: ["conv1".to_owned()].into(),
        exclude_operators: ["Gemm".to_owned()].into(),
        ..Int8Options::default()
    };
    let (model, report) = quantised(&options, 1.0);
    assert_eq!(report.kept["conv1"], "excluded by name");
    assert_eq!(report.kept["head"], "excluded as Gemm");
    assert!(
        operators(&model).contains(&"Relu"),
        "a clamp after a float layer stays: {:?}",
        operators(&model)
    );
    assert!(!report.quantised.contains(&"pool".to_owned()), "a pool of floats stays: {:?}", report.quantised);
    assert!(furthest(&model) < 0.05);
}

#[test]
fn harmful_layers_are_left_float_until_the_bound_holds() {
    let all = furthest(&quantised(&Int8Options { evaluations_max: 0, ..Int8Options::default() }, 0.0).0);
    let (model, report) = quantised(&Int8Options::default(), all * 0.6);
    assert!(furthest(&model) <= all * 0.6, "{report:?}");
    assert!(report.kept.values().any(|why| why.starts_with("sensitive: ")), "{report:?}");
    assert!(!report.quantised.is_empty() && report.evaluations <= 128, "{report:?}");
}

#[test]
fn an_impossible_bound_ends_the_search() {
    for evaluations_max in [0, 1, 8, 64] {
        let (_, report) = quantised(&Int8Options { evaluations_max, ..Int8Options::default() }, -1.0);
        assert!(report.evaluations <= evaluations_max.max(3), "{report:?}");
    }
}

#[test]
fn old_operator_sets_are_raised_where_nothing_changed() {
    let at = |opset: i64, last: Option<i64>| {
        let mut model = network();
        model.opset_import[0].version = opset;
        let softmax = model.graph.as_mut().unwrap().node.last_mut().unwrap();
        softmax.attribute.extend(last.map(|axis| AttributeProto::int("axis", axis)));
        let mut judge = |_: &ModelProto| Ok(Judgement { within: true, distance: 0.0 });
        static_int8(&model, &RtenEngine::new(), &calls(), &Int8Options::default(), &mut judge)
    };
    assert_eq!(at(11, Some(-1)).unwrap().0.opset_version(), 13);
    assert!(matches!(at(11, None), Err(QuantiseError::Opset(11))), "Softmax meant something else");
    assert!(matches!(at(10, Some(-1)), Err(QuantiseError::Opset(10))));
}

#[test]
fn halves_load_and_stay_near() {
    let (model, report) = weights_half(&network(), Half::Float16).unwrap();
    assert_eq!(report.quantised, ["conv2.w"]);
    let apart = furthest(&model);
    assert!(apart > 0.0 && apart < 1e-3, "{apart}");
}
