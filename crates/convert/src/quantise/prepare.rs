//! A graph made ready for int8: operator set 13, batch normalisation inside the convolution before it, and a bias that
//! is added to a product inside the product. Engines fuse these themselves only while the weights are floats.

use std::collections::HashSet;

use edgeward_model::onnx::graph::order;
use edgeward_model::onnx::{AttributeProto, GraphError, GraphProto, ModelProto, NodeProto, TensorProto};
use edgeward_model::{Dim, Tensor};

use super::layers::View;
use super::{Fresh, OPSET_MIN, QuantiseError};

/// Oldest operator set that can be raised to [`OPSET_MIN`].
const OPSET_RAISABLE: i64 = 11;

/// Operators that mean the same in operator sets 11 to 13.
const SAME_SINCE_11: &[&str] = &[
    "Add",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "Div",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Sub",
    "Tanh",
    "Transpose",
];

/// What BatchNormalization adds to the variance where it says nothing else.
const EPSILON: f32 = 1e-5;

pub(super) fn prepare(model: &ModelProto) -> Result<ModelProto, QuantiseError> {
    let mut model = model.clone();
    raise_opset(&mut model)?;
    let graph = model.graph.as_mut().ok_or(GraphError::Missing)?;
    let order = order(graph)?;
    graph.node = order.into_iter().map(|index| graph.node[index].clone()).collect();
    fold_normalisation(graph);
    merge_bias(graph);
    Ok(model)
}

fn raise_opset(model: &mut ModelProto) -> Result<(), QuantiseError> {
    let found = model.opset_version();
    if found >= OPSET_MIN {
        return Ok(());
    }
    // Softmax over the last axis meant the same before 13; over another it did not.
    let same = |node: &NodeProto| {
        let op_type = node.op_type.as_str();
        let last = op_type == "Softmax" && node.int("axis", 1) == -1;
        node.domain.is_empty() && (last || SAME_SINCE_11.contains(&op_type))
    };
    let all_same = model.graph.as_ref().is_some_and(|graph| graph.node.iter().all(same));
    if found < OPSET_RAISABLE || !all_same {
        return Err(QuantiseError::Opset(found));
    }
    for set in model.opset_import.iter_mut().filter(|set| set.domain.is_empty() || set.domain == "ai.onnx") {
        set.version = OPSET_MIN;
    }
    model.ir_version = model.ir_version.max(7);
    Ok(())
}

fn fold_normalisation(graph: &mut GraphProto) {
    let mut index = 0;
    while index < graph.node.len() {
        match folded(graph, index) {
            Some((convolution, node, constants)) => {
                graph.node[convolution] = node;
                graph.initializer.extend(constants);
                graph.node.remove(index);
            }
            None => index += 1,
        }
    }
    drop_unread(graph);
}

/// The convolution before the normalisation at `index`, changed to do both, with its new constants.
fn folded(graph: &GraphProto, index: usize) -> Option<(usize, NodeProto, [TensorProto; 2])> {
    let norm = &graph.node[index];
    if norm.op_type != "BatchNormalization" || !norm.domain.is_empty() || norm.output.len() != 1 {
        return None;
    }
    let view = View::new(graph);
    let convolution = view.maker(norm.input.first()?)?;
    let conv = &graph.node[convolution];
    if conv.op_type != "Conv" || view.only_reader(&norm.input[0]) != Some(index) {
        return None;
    }
    let floats = |name: &String| Some(view.constant(name)?.to_tensor().ok()?.as_f32()?.to_vec());
    let weight = view.constant(conv.input.get(1)?)?.to_tensor().ok()?;
    let [gain, shift, mean, variance] = [1, 2, 3, 4].map(|place| norm.input.get(place).and_then(floats));
    let (gain, shift, mean, variance) = (gain?, shift?, mean?, variance?);
    let bias = match conv.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => floats(name)?,
        None => vec![0.0; gain.len()],
    };
    let channels = *weight.shape().first()?;
    if [&gain, &shift, &mean, &variance, &bias].iter().any(|values| values.len() != channels) || channels == 0
    {
        return None;
    }
    let epsilon = norm.attribute("epsilon").and_then(|attribute| attribute.f).unwrap_or(EPSILON);
    let factors: Vec<f32> =
        gain.iter().zip(&variance).map(|(gain, variance)| gain / (variance + epsilon).sqrt()).collect();
    let inner = weight.len() / channels;
    let weights: Vec<f32> =
        weight.as_f32()?.iter().enumerate().map(|(at, value)| value * factors[at / inner]).collect();
    let biases: Vec<f32> = (0..channels).map(|at| (bias[at] - mean[at]) * factors[at] + shift[at]).collect();
    let mut fresh = Fresh::new(graph);
    let [w, b] = ["weight", "bias"].map(|suffix| fresh.name(&format!("{}.{suffix}", norm.output[0])));
    let mut node = conv.clone();
    node.input = vec![conv.input[0].clone(), w.clone(), b.clone()];
    node.output = norm.output.clone();
    let constant = |name: &str, shape: &[usize], values: Vec<f32>| {
        Some(TensorProto::from_tensor(name, &Tensor::new(shape, values).ok()?))
    };
    Some((convolution, node, [constant(&w, weight.shape(), weights)?, constant(&b, &[channels], biases)?]))
}

/// `MatMul` of a matrix followed by the sum with one constant per column becomes `Gemm`.
fn merge_bias(graph: &mut GraphProto) {
    let mut index = 0;
    while index < graph.node.len() {
        match merged(graph, index) {
            Some((product, node)) => {
                graph.node[product] = node;
                graph.node.remove(index);
            }
            None => index += 1,
        }
    }
}

fn merged(graph: &GraphProto, index: usize) -> Option<(usize, NodeProto)> {
    let sum = &graph.node[index];
    if sum.op_type != "Add" || !sum.domain.is_empty() {
        return None;
    }
    let view = View::new(graph);
    let (product, bias) = [(0, 1), (1, 0)]
        .into_iter()
        .find_map(|(product, bias)| Some((sum.input.get(product)?, view.constant(sum.input.get(bias)?)?)))?;
    let at = view.maker(product)?;
    let node = &graph.node[at];
    let weight = view.constant(node.input.get(1)?)?;
    let fits = matches!((&weight.dims[..], &bias.dims[..]), ([_, n], [m] | [1, m]) if n == m);
    let plain =
        node.op_type == "MatMul" && node.domain.is_empty() && view.only_reader(product) == Some(index);
    if !plain || !fits || !matrices(graph).contains(node.input[0].as_str()) {
        return None;
    }
    let inputs = [node.input[0].as_str(), &node.input[1], &bias.name];
    Some((at, NodeProto::new("Gemm", &node.name, &inputs, &[sum.output.first()?])))
}

/// Values known to have two dimensions.
fn matrices(graph: &GraphProto) -> HashSet<&str> {
    let flat = |input: &&edgeward_model::onnx::ValueInfoProto| {
        input
            .declared()
            .is_ok_and(|(_, shape): (_, Option<Vec<Dim>>)| shape.is_some_and(|dims| dims.len() == 2))
    };
    let mut known: HashSet<&str> = graph.input.iter().filter(flat).map(|input| input.name.as_str()).collect();
    for node in &graph.node {
        let first = node.input.first().is_some_and(|input| known.contains(input.as_str()));
        let is_matrix = match node.op_type.as_str() {
            "Flatten" | "Gemm" => true,
            "Reshape" => {
                node.input.get(1).and_then(|name| graph.constant(name)).is_some_and(|to| to.dims == [2])
            }
            "Relu" | "Clip" | "Sigmoid" | "Tanh" | "LeakyRelu" | "Elu" | "Softmax" | "BatchNormalization" => {
                first
            }
            "MatMul" => {
                first
                    && node
                        .input
                        .get(1)
                        .and_then(|name| graph.constant(name))
                        .is_some_and(|w| w.dims.len() == 2)
            }
            "Add" | "Sub" | "Mul" | "Div" => {
                let narrow =
                    |name: &String| graph.constant(name).is_some_and(|tensor| tensor.dims.len() <= 2);
                first && node.input.get(1).is_some_and(|name| narrow(name) || known.contains(name.as_str()))
            }
            _ => false,
        };
        if let (true, Some(output)) = (is_matrix, node.output.first()) {
            known.insert(output);
        }
    }
    known
}

/// Drops constants that nothing reads and descriptions of values that nothing makes.
pub(super) fn drop_unread(graph: &mut GraphProto) {
    let mut used: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for node in &graph.node {
        used.extend(edgeward_model::onnx::graph::reads(node).into_iter().map(str::to_owned));
    }
    let unread: HashSet<String> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.clone())
        .filter(|name| !used.contains(name))
        .collect();
    graph.initializer.retain(|tensor| !unread.contains(&tensor.name));
    graph.input.retain(|input| !unread.contains(&input.name));
    let made: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    graph.value_info.retain(|value| made.contains(&value.name));
}

/// An attribute with the axis of a `DequantizeLinear`.
pub(super) fn axis(axis: usize) -> AttributeProto {
    AttributeProto::int("axis", axis as i64)
}
