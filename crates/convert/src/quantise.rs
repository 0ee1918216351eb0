//! Fewer bits: int8 weights (here), int8 activations too ([`static_int8`], [`dynamic_int8`]), 16-bit weights
//! ([`weights_half`]).
//!
//! int8 weights give 3 to 4 times smaller files and need no calibration data. The weights of `Gemm`, `MatMul` and `Conv` are stored as int8 with one FP32 scale per output channel and turned back
//! into floats by `DequantizeLinear` (opset >= 13). Symmetric: `q = round(w / s)` with `s = max |w| / 127` over the
//! channel, so the error of a weight is at most `s / 2`. Activations stay float, so engines that compute int8 slowly
//! (or wrongly) have nothing to compute; the gain is size and download, not speed.

mod activations;
mod calibrate;
mod dynamic;
mod half;
mod layers;
mod prepare;
mod range;
mod rewrite;
mod scheme;
mod search;

use std::collections::{BTreeMap, HashSet};

pub use activations::{CALLS_MAX, Int8Options, Judge, Judgement, static_int8};
pub(crate) use calibrate::expose;
pub use dynamic::{dynamic_int8, product_share};
pub use half::{Half, weights_half};
pub use range::Calibration;

use edgeward_model::onnx::graph::{reads, subgraphs};
use edgeward_model::onnx::{AttributeProto, GraphError, GraphProto, ModelProto, NodeProto, TensorProto};
use edgeward_model::{DataType, Tensor, TensorData};
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
    /// How the ranges of activations were chosen, where those are int8; then the names above are those of layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Models that were judged to find the layers that stay float.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evaluations: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Why nothing was quantised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantiseError {
    /// The operator set is too old.
    #[error("int8 needs opset {OPSET_MIN}, the model has {0}; export it with a newer one")]
    Opset(i64),
    /// The graph is not sound.
    #[error("the model's graph cannot run: {0}")]
    Graph(#[from] GraphError),
    /// The engine does not run the model with its activations exposed.
    #[error("calibrating: {0}")]
    Calibrate(String),
    /// A constant cannot be quantised.
    #[error("quantising: {0}")]
    Rewrite(String),
    /// The quantised model cannot be judged.
    #[error("judging the quantised model: {0}")]
    Judge(String),
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
        return Err(QuantiseError::nothing(&report.kept));
    }
    Ok((model, report))
}

impl QuantiseError {
    fn nothing(kept: &BTreeMap<String, String>) -> Self {
        let kept: Vec<String> = kept.iter().map(|(name, why)| format!("'{name}': {why}")).collect();
        let none = "no Gemm, MatMul or Conv has constant weights".to_owned();
        Self::Nothing(if kept.is_empty() { none } else { kept.join("; ") })
    }
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
    let (quantised, scales) = channels_int8(&tensor, axis, INT8_MAX, &|_| 0.0)?;
    let zeros = Tensor::new([scales.len()], vec![0_i8; scales.len()]);
    let scales = Tensor::new([scales.len()], scales);
    let mut fresh = Fresh::new(graph);
    let names = ["int8", "scale", "zero", "float"].map(|suffix| fresh.name(&format!("{name}.{suffix}")));
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

/// The values up to `quantised_max` and one scale per index of `axis`, each at least `least(index)`.
fn channels_int8(
    tensor: &Tensor,
    axis: usize,
    quantised_max: f32,
    least: &dyn Fn(usize) -> f32,
) -> Result<(Tensor, Vec<f32>), String> {
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
    let scale = |(channel, greatest): (usize, f32)| {
        let scale = (greatest / quantised_max).max(least(channel));
        if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
    };
    let scales: Vec<f32> = greatest.into_iter().enumerate().map(scale).collect();
    let int8 = |(index, value): (usize, &f32)| {
        (value / scales[channel_of(index)]).round().clamp(-quantised_max, quantised_max) as i8
    };
    let quantised: Vec<i8> = values.iter().enumerate().map(int8).collect();
    let quantised = Tensor::new(shape, quantised).map_err(|error| error.to_string())?;
    Ok((quantised, scales))
}

/// An initialiser of this name.
fn initializer(
    name: &str,
    shape: impl Into<Vec<usize>>,
    data: impl Into<TensorData>,
) -> Result<TensorProto, String> {
    let tensor = Tensor::new(shape, data).map_err(|error| error.to_string())?;
    Ok(TensorProto::from_tensor(name, &tensor))
}

/// Names that a graph does not use yet.
struct Fresh {
    used: HashSet<String>,
}

impl Fresh {
    fn new(graph: &GraphProto) -> Self {
        let constants = graph.initializer.iter().map(|tensor| &tensor.name);
        let values = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
        let inputs = graph.input.iter().map(|input| &input.name);
        Self { used: constants.chain(values).chain(inputs).cloned().collect() }
    }

    /// `wanted`, or the nearest unused name; it is used from then on.
    fn name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.used.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod weights_tests;
