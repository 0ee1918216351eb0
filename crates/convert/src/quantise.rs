//! int8 weights: 3 to 4 times smaller files, no calibration data needed.
//!
//! The weights of `Gemm`, `MatMul` and `Conv` are stored as int8 with one FP32 scale per output channel and turned back
//! into floats by `DequantizeLinear` (opset >= 13). Symmetric: `q = round(w / s)` with `s = max |w| / 127` over the
//! channel, so the error of a weight is at most `s / 2`. Activations stay float, so engines that compute int8 slowly
//! (or wrongly) have nothing to compute; the gain is size and download, not speed.
//!
//! Deliberately missing: int8 activations. They need calibration data and an engine that gains from them.

use std::collections::{BTreeMap, HashSet};

use edgeward_model::onnx::graph::{reads, subgraphs};
use edgeward_model::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use edgeward_model::{DataType, Tensor};
use serde::{Deserialize, Serialize};

/// First operator set whose `DequantizeLinear` has one scale per channel.
pub const OPSET_MIN: i64 = 13;

/// Smallest weight worth it, in elements: below, the scales and the node weigh as much as what is saved.
pub const ELEMENTS_MIN: usize = 128;

/// Greatest int8 magnitude used; -128 has no positive counterpart.
const INT8_MAX: f32 = 127.0;

/// What became of the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantiseReport {
    /// Names of the weights that are int8 now.
    pub quantised: Vec<String>,
    /// Weights that stay float, by name, with the reason.
    pub kept: BTreeMap<String, String>,
}

/// Why nothing was quantised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantiseError {
    /// The operator set is too old.
    #[error("int8 weights need opset {OPSET_MIN}, the model has {0}; export it with a newer one")]
    Opset(i64),
    /// No weight qualifies.
    #[error("the model has no weight to quantise: {0}")]
    Nothing(String),
}

/// The model with int8 weights.
///
/// # Errors
/// The operator set is too old, or no weight qualifies.
pub fn weights_int8(model: &ModelProto) -> Result<(ModelProto, QuantiseReport), QuantiseError> {
    if model.opset_version() < OPSET_MIN {
        return Err(QuantiseError::Opset(model.opset_version()));
    }
    let mut model = model.clone();
    let mut report = QuantiseReport::default();
    if let Some(graph) = &mut model.graph {
        for (name, axis) in candidates(graph, &mut report) {
            match quantise(graph, &name, axis) {
                Ok(()) => report.quantised.push(name),
                Err(why) => drop(report.kept.insert(name, why)),
            }
        }
    }
    if report.quantised.is_empty() {
        let kept: Vec<String> = report.kept.iter().map(|(name, why)| format!("'{name}': {why}")).collect();
        let why = if kept.is_empty() {
            "no Gemm, MatMul or Conv has constant weights".to_owned()
        } else {
            kept.join("; ")
        };
        return Err(QuantiseError::Nothing(why));
    }
    Ok((model, report))
}

/// Constant weights with the axis of their output channels, in the order of the initialisers.
fn candidates(graph: &GraphProto, report: &mut QuantiseReport) -> Vec<(String, usize)> {
    let mut axes: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for node in &graph.node {
        if let Some((weight, axis)) = weight_of(graph, node) {
            let known = axes.entry(weight).or_insert(Some(axis));
            *known = known.filter(|&known| known == axis);
        }
    }
    let mut found = Vec::new();
    for tensor in &graph.initializer {
        match axes.get(tensor.name.as_str()) {
            Some(Some(axis)) => found.push((tensor.name.clone(), *axis)),
            Some(None) => {
                report.kept.insert(tensor.name.clone(), "used with channels on different axes".to_owned());
            }
            None => {}
        }
    }
    found
}

fn weight_of<'a>(graph: &GraphProto, node: &'a NodeProto) -> Option<(&'a str, usize)> {
    if !node.domain.is_empty() {
        return None;
    }
    let weight = node.input.get(1)?;
    let rank = graph.constant(weight)?.dims.len();
    let axis = match node.op_type.as_str() {
        "Conv" if rank >= 3 => 0,
        "MatMul" if rank >= 2 => rank - 1,
        "Gemm" if rank == 2 => usize::from(node.int("transB", 0) == 0),
        _ => return None,
    };
    Some((weight, axis))
}

fn quantise(graph: &mut GraphProto, name: &str, axis: usize) -> Result<(), String> {
    let tensor = float_weight(graph, name)?;
    let (quantised, scales) = channels_int8(&tensor, axis)?;
    let zeros = Tensor::new([scales.len()], vec![0_i8; scales.len()]);
    let scales = Tensor::new([scales.len()], scales);
    let names = fresh_names(graph, name);
    let constants = [Ok(quantised), scales, zeros];
    let mut encoded = Vec::with_capacity(constants.len());
    for (name, constant) in names.iter().zip(constants) {
        encoded.push(TensorProto::from_tensor(name, &constant.map_err(|error| error.to_string())?));
    }
    let [int8, scale, zero, float] = names.each_ref().map(String::as_str);
    let axis = AttributeProto::int("axis", axis as i64);
    let node = NodeProto::new("DequantizeLinear", float, &[int8, scale, zero], &[float]).with(axis);
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|input| *input == name) {
        float.clone_into(input);
    }
    graph.node.insert(0, node);
    graph.initializer.retain(|tensor| tensor.name != name);
    graph.input.retain(|input| input.name != name);
    graph.initializer.extend(encoded);
    Ok(())
}

/// The weight's values, if it may be replaced.
fn float_weight(graph: &GraphProto, name: &str) -> Result<Tensor, String> {
    let constant = graph.constant(name).ok_or("not a constant")?;
    let tensor = constant.to_tensor().map_err(|error| error.to_string())?;
    if tensor.datatype() != DataType::Fp32 {
        return Err(format!("is {}, not FP32", tensor.datatype()));
    }
    if tensor.len() < ELEMENTS_MIN {
        return Err(format!("has {} elements, fewer than {ELEMENTS_MIN}", tensor.len()));
    }
    if graph.output.iter().any(|output| output.name == name) {
        return Err("is an output of the model".to_owned());
    }
    let other_use = |node: &NodeProto| {
        let places = node.input.iter().enumerate().filter(|(_, input)| *input == name);
        let elsewhere = places.clone().any(|(place, _)| place != 1) || weight_of(graph, node).is_none();
        let captured = subgraphs(node).next().is_some() && reads(node).contains(name);
        (places.count() > 0 && elsewhere) || captured
    };
    match graph.node.iter().find(|node| other_use(node)) {
        Some(node) => Err(format!("is also read by {}", edgeward_model::onnx::graph::describe(node))),
        None => Ok(tensor),
    }
}

/// The int8 values and one scale per index of `axis`.
fn channels_int8(tensor: &Tensor, axis: usize) -> Result<(Tensor, Vec<f32>), String> {
    let values = tensor.as_f32().ok_or("is not FP32")?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err("holds a value that is not finite".to_owned());
    }
    let shape = tensor.shape();
    let channels = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let channel_of = |index: usize| index / inner % channels;
    let mut greatest = vec![0.0_f32; channels];
    for (index, value) in values.iter().enumerate() {
        let channel = &mut greatest[channel_of(index)];
        *channel = channel.max(value.abs());
    }
    // A channel of zeros, or of numbers too small to divide, has scale 1 and becomes zeros.
    let scale =
        |greatest: f32| if greatest / INT8_MAX >= f32::MIN_POSITIVE { greatest / INT8_MAX } else { 1.0 };
    let scales: Vec<f32> = greatest.into_iter().map(scale).collect();
    let int8 = |(index, value): (usize, &f32)| {
        (value / scales[channel_of(index)]).round().clamp(-INT8_MAX, INT8_MAX) as i8
    };
    let quantised: Vec<i8> = values.iter().enumerate().map(int8).collect();
    let quantised = Tensor::new(shape, quantised).map_err(|error| error.to_string())?;
    Ok((quantised, scales))
}

/// Four unused names: int8 values, scales, zero points, and the floats made of them.
fn fresh_names(graph: &GraphProto, name: &str) -> [String; 4] {
    let used: HashSet<&str> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.as_str())
        .chain(graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output)).map(String::as_str))
        .chain(graph.input.iter().map(|input| input.name.as_str()))
        .collect();
    ["int8", "scale", "zero", "float"].map(|suffix| {
        let mut fresh = format!("{name}.{suffix}");
        while used.contains(fresh.as_str()) {
            fresh.push('_');
        }
        fresh
    })
}

#[cfg(test)]
mod tests {
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
            let (quantised, scales) = channels_int8(&tensor, axis).unwrap();
            let inner: usize = tensor.shape()[axis + 1..].iter().product();
            for (index, value) in values.iter().enumerate() {
                let scale = scales[index / inner % tensor.shape()[axis]];
                let back = quantised.number(index).unwrap() as f32 * scale;
                prop_assert!((back - value).abs() <= scale * 0.501, "{value} became {back}");
            }
        }
    }
}
