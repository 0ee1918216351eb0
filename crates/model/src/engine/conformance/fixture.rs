//! Small models with known answers, and the plain arithmetic that gives them.

use crate::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::signature::Dim;
use crate::tensor::{DataType, Tensor, TensorData};

/// Inputs of [`classifier`].
pub const FEATURES: usize = 4;
/// Classes of [`classifier`].
pub const CLASSES: usize = 3;
/// Width and height of the image [`convolution`] takes.
pub const SIDE: usize = 6;

const HIDDEN: usize = 8;
const KERNEL: usize = 3;

/// `count` numbers in [-1, 1) from a linear congruential generator started at `seed`.
#[must_use]
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn constant(name: &str, shape: &[usize], data: impl Into<TensorData>) -> TensorProto {
    let tensor = Tensor::new(shape, data).expect("a fixture's constants fill their shapes");
    TensorProto::from_tensor(name, &tensor)
}

fn value(name: &str, datatype: DataType, width: Option<usize>) -> ValueInfoProto {
    let dims: Vec<Dim> = [Dim::symbol("batch")].into_iter().chain(width.map(Dim::Fixed)).collect();
    ValueInfoProto::tensor(name, datatype, &dims)
}

fn weights() -> [Vec<f32>; 4] {
    [noise(FEATURES * HIDDEN, 11), noise(HIDDEN, 12), noise(HIDDEN * CLASSES, 13), noise(CLASSES, 14)]
}

/// Width of [`wide`].
pub const WIDTH: usize = 64;

/// `x FP32[batch, 64] -> y FP32[batch, 64]`: one `Gemm`, whose weights are most of the model.
#[must_use]
pub fn wide() -> ModelProto {
    ModelProto::new(GraphProto {
        node: vec![NodeProto::new("Gemm", "dense", &["x", "w", "b"], &["y"])],
        initializer: vec![
            constant("w", &[WIDTH, WIDTH], noise(WIDTH * WIDTH, 21)),
            constant("b", &[WIDTH], noise(WIDTH, 22)),
        ],
        input: vec![value("x", DataType::Fp32, Some(WIDTH))],
        output: vec![value("y", DataType::Fp32, Some(WIDTH))],
        ..GraphProto::new("wide")
    })
}

/// `x FP32[batch, 4] -> label INT64[batch], probabilities FP32[batch, 3]`: Gemm, Relu, Gemm, Softmax, ArgMax.
#[must_use]
pub fn classifier() -> ModelProto {
    let [w1, b1, w2, b2] = weights();
    ModelProto::new(GraphProto {
        node: vec![
            NodeProto::new("Gemm", "dense1", &["x", "w1", "b1"], &["hidden"]),
            NodeProto::new("Relu", "relu1", &["hidden"], &["active"]),
            NodeProto::new("Gemm", "dense2", &["active", "w2", "b2"], &["logits"]),
            NodeProto::new("Softmax", "softmax", &["logits"], &["probabilities"])
                .with(AttributeProto::int("axis", 1)),
            NodeProto::new("ArgMax", "argmax", &["logits"], &["label"])
                .with(AttributeProto::int("axis", 1))
                .with(AttributeProto::int("keepdims", 0)),
        ],
        initializer: vec![
            constant("w1", &[FEATURES, HIDDEN], w1),
            constant("b1", &[HIDDEN], b1),
            constant("w2", &[HIDDEN, CLASSES], w2),
            constant("b2", &[CLASSES], b2),
        ],
        input: vec![value("x", DataType::Fp32, Some(FEATURES))],
        output: vec![
            value("label", DataType::Int64, None),
            value("probabilities", DataType::Fp32, Some(CLASSES)),
        ],
        ..GraphProto::new("classifier")
    })
}

/// The probabilities [`classifier`] gives one row.
#[must_use]
pub fn classify(row: &[f32]) -> Vec<f32> {
    let [w1, b1, w2, b2] = weights();
    let hidden: Vec<f32> = dense(row, &w1, &b1).into_iter().map(|value| value.max(0.0)).collect();
    let logits = dense(&hidden, &w2, &b2);
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn dense(row: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
    let width = bias.len();
    let dot =
        |unit: usize| row.iter().enumerate().map(|(index, x)| x * weights[index * width + unit]).sum::<f32>();
    (0..width).map(|unit| bias[unit] + dot(unit)).collect()
}

/// `x FP32[batch, 2] -> y FP32[batch, 1]`: `2 a - b + 0.5`.
#[must_use]
pub fn regressor() -> ModelProto {
    ModelProto::new(GraphProto {
        node: vec![NodeProto::new("Gemm", "linear", &["x", "w", "b"], &["y"])],
        initializer: vec![constant("w", &[2, 1], vec![2.0_f32, -1.0]), constant("b", &[1], vec![0.5_f32])],
        input: vec![value("x", DataType::Fp32, Some(2))],
        output: vec![value("y", DataType::Fp32, Some(1))],
        ..GraphProto::new("regressor")
    })
}

/// `x FP32[batch, 4] -> greatest INT64[batch], least INT64[batch, 1]`: ArgMax and ArgMin.
#[must_use]
pub fn extremes() -> ModelProto {
    let node = |op_type: &str, output: &str, keep: i64| {
        NodeProto::new(op_type, op_type, &["x"], &[output])
            .with(AttributeProto::int("axis", 1))
            .with(AttributeProto::int("keepdims", keep))
    };
    ModelProto::new(GraphProto {
        node: vec![node("ArgMax", "greatest", 0), node("ArgMin", "least", 1)],
        input: vec![value("x", DataType::Fp32, Some(4))],
        output: vec![value("greatest", DataType::Int64, None), value("least", DataType::Int64, Some(1))],
        ..GraphProto::new("extremes")
    })
}

/// `x[batch] -> y[batch]`: `x + 1` in `INT64` or `FP64`.
#[must_use]
pub fn add_one(datatype: DataType) -> ModelProto {
    let one: TensorData = if datatype == DataType::Fp64 { vec![1.0_f64].into() } else { vec![1_i64].into() };
    ModelProto::new(GraphProto {
        node: vec![NodeProto::new("Add", "add", &["x", "one"], &["y"])],
        initializer: vec![constant("one", &[1], one)],
        input: vec![value("x", datatype, None)],
        output: vec![value("y", datatype, None)],
        ..GraphProto::new("add_one")
    })
}

/// `x BOOL[batch] -> y BOOL[batch]`: not.
#[must_use]
pub fn negation() -> ModelProto {
    ModelProto::new(GraphProto {
        node: vec![NodeProto::new("Not", "not", &["x"], &["y"])],
        input: vec![value("x", DataType::Bool, None)],
        output: vec![value("y", DataType::Bool, None)],
        ..GraphProto::new("negation")
    })
}

/// `x FP32[1, 1, 6, 6] -> y FP32[1, 2, 4, 4]`: a 3 x 3 convolution into two channels.
#[must_use]
pub fn convolution() -> ModelProto {
    let inner = SIDE - KERNEL + 1;
    let fixed = |sizes: &[usize]| sizes.iter().copied().map(Dim::Fixed).collect::<Vec<_>>();
    ModelProto::new(GraphProto {
        node: vec![
            NodeProto::new("Conv", "conv", &["x", "w", "b"], &["y"])
                .with(AttributeProto::ints("kernel_shape", vec![KERNEL as i64; 2])),
        ],
        initializer: vec![
            constant("w", &[2, 1, KERNEL, KERNEL], noise(2 * KERNEL * KERNEL, 21)),
            constant("b", &[2], noise(2, 22)),
        ],
        input: vec![ValueInfoProto::tensor("x", DataType::Fp32, &fixed(&[1, 1, SIDE, SIDE]))],
        output: vec![ValueInfoProto::tensor("y", DataType::Fp32, &fixed(&[1, 2, inner, inner]))],
        ..GraphProto::new("convolution")
    })
}

/// What [`convolution`] makes of an image.
#[must_use]
pub fn convolve(image: &[f32]) -> Vec<f32> {
    let (weights, bias, inner) = (noise(2 * KERNEL * KERNEL, 21), noise(2, 22), SIDE - KERNEL + 1);
    let pixel = |channel: usize, row: usize, column: usize| {
        let taps = (0..KERNEL * KERNEL).map(|tap| (tap / KERNEL, tap % KERNEL));
        let weight = |(y, x)| weights[(channel * KERNEL + y) * KERNEL + x];
        bias[channel] + taps.map(|(y, x)| weight((y, x)) * image[(row + y) * SIDE + column + x]).sum::<f32>()
    };
    let all =
        (0..2 * inner * inner).map(|index| (index / (inner * inner), index / inner % inner, index % inner));
    all.map(|(channel, row, column)| pixel(channel, row, column)).collect()
}

/// `x FP32[batch, 2] -> y FP32[batch, 2]`: `x` times int8 weights `[[10, 100], [-20, 127]]` with one scale per column
/// (0.5 and 0.25), through `DequantizeLinear`.
#[must_use]
pub fn int8_matmul() -> ModelProto {
    ModelProto::new(GraphProto {
        node: vec![
            NodeProto::new("DequantizeLinear", "dequantise", &["w", "scale", "zero"], &["wf"])
                .with(AttributeProto::int("axis", 1)),
            NodeProto::new("MatMul", "matmul", &["x", "wf"], &["y"]),
        ],
        initializer: vec![
            constant("w", &[2, 2], vec![10_i8, 100, -20, 127]),
            constant("scale", &[2], vec![0.5_f32, 0.25]),
            constant("zero", &[2], vec![0_i8, 0]),
        ],
        input: vec![value("x", DataType::Fp32, Some(2))],
        output: vec![value("y", DataType::Fp32, Some(2))],
        ..GraphProto::new("int8_matmul")
    })
}

/// `x FP32[batch] -> y FP32[batch]`: `length` times Abs in a row.
#[must_use]
pub fn chain(length: usize) -> ModelProto {
    let name = |index: usize| match index {
        0 => "x".to_owned(),
        _ if index == length => "y".to_owned(),
        _ => format!("v{index}"),
    };
    let node =
        |index: usize| NodeProto::new("Abs", &format!("n{index}"), &[&name(index)], &[&name(index + 1)]);
    ModelProto::new(GraphProto {
        node: (0..length).map(node).collect(),
        input: vec![value("x", DataType::Fp32, None)],
        output: vec![value("y", DataType::Fp32, None)],
        ..GraphProto::new("chain")
    })
}
