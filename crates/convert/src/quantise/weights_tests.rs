//! int8 weights alone.

use edgeward_model::engine::conformance::fixture::noise;
use edgeward_model::onnx::{self, ValueInfoProto};
use edgeward_model::{Dim, Engine as _, LoadOptions, RtenEngine};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const WIDTH: usize = 64;

fn constant(name: &str, shape: &[usize], seed: u64) -> TensorProto {
    TensorProto::from_tensor(name, &Tensor::new(shape, noise(shape.iter().product(), seed)).unwrap())
}

/// Gemm (either way round), then MatMul, 64 wide each.
fn network(transposed: bool) -> ModelProto {
    let value =
        |name| ValueInfoProto::tensor(name, DataType::Fp32, &[Dim::symbol("batch"), Dim::Fixed(WIDTH)]);
    let gemm = NodeProto::new("Gemm", "gemm", &["x", "w1", "b1"], &["h"]);
    ModelProto::new(GraphProto {
        node: vec![
            gemm.with(AttributeProto::int("transB", i64::from(transposed))),
            NodeProto::new("MatMul", "matmul", &["h", "w2"], &["y"]),
        ],
        initializer: vec![
            constant("w1", &[WIDTH, WIDTH], 1),
            constant("b1", &[WIDTH], 2),
            constant("w2", &[WIDTH, WIDTH], 3),
        ],
        input: vec![value("x")],
        output: vec![value("y")],
        ..GraphProto::new("network")
    })
}

fn run(model: &ModelProto) -> Vec<f32> {
    let model = RtenEngine::new().load(&onnx::encode(model), &LoadOptions::with_threads(1)).unwrap();
    let input = Tensor::from_rows(3, WIDTH, noise(3 * WIDTH, 4)).unwrap();
    model.run(&[input]).unwrap()[0].as_f32().unwrap().to_vec()
}

#[test]
fn files_shrink_and_answers_stay_near() {
    for transposed in [false, true] {
        let model = network(transposed);
        let (small, report) = weights_int8(&model).unwrap();
        assert_eq!(report.quantised, ["w1", "w2"]);
        onnx::graph::check(&small).unwrap();
        let ratio = onnx::encode(&model).len() as f64 / onnx::encode(&small).len() as f64;
        assert!(ratio > 3.0, "{ratio}");
        let (expected, found) = (run(&model), run(&small));
        let scale = expected.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
        let worst = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < 0.02 * scale, "{worst} of {scale}");
    }
}

#[test]
fn what_stays_float_says_why() {
    let mut shared = network(false);
    let graph = shared.graph.as_mut().unwrap();
    graph.node[0].input[2] = "w2".into();
    graph.initializer[0] = constant("w1", &[1, WIDTH], 1);
    let error = weights_int8(&shared).unwrap_err().to_string();
    assert!(error.contains("'w1': has 64 elements, fewer than 128"), "{error}");
    assert!(error.contains("'w2': is also read by node 'gemm' (Gemm)"), "{error}");
    let mut old = network(false);
    old.opset_import[0].version = 12;
    assert_eq!(weights_int8(&old), Err(QuantiseError::Opset(12)));
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_error_of_a_weight_is_at_most_half_a_step(
        values in proptest::collection::vec(-1e6_f32..1e6, 24),
        axis in 0_usize..3,
    ) {
        let tensor = Tensor::new([2, 3, 4], values.clone()).unwrap();
        let (quantised, scales) = channels_int8(&tensor, axis, INT8_MAX, &|_| 0.0).unwrap();
        let inner: usize = tensor.shape()[axis + 1..].iter().product();
        for (index, value) in values.iter().enumerate() {
            let scale = scales[index / inner % tensor.shape()[axis]];
            let back = quantised.number(index).unwrap() as f32 * scale;
            prop_assert!((back - value).abs() <= scale * 0.501, "{value} became {back}");
        }
    }
}
