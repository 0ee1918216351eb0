//! Says to `rten` what ONNX means.
//!
//! `rten` reads some operators otherwise than ONNX defines them, without an error: another class, another probability.
//! Before a model is loaded each such node is exchanged for nodes that `rten` computes as ONNX asks, and where there are
//! none the model is refused by the node's name. Some operators that `rten` lacks are taken apart on the way, since
//! nodes are exchanged anyway. The model's own bytes stay what they are; other engines see none of this.
//!
//! Found by comparing `rten` 0.27 with ONNX Runtime 1.32 node by node (`tests/operators.rs`):
//! - `Softmax` and `LogSoftmax` before opset 13 run over all dimensions from `axis` (1) on: [`softmax`].
//! - `ArgMax` and `ArgMin` give the first of equal elements: [`ties`].
//! - `Sign(0)` is 0, 0.5 as `BOOL` is true, and `Pow` takes integer exponents: [`numbers`].
//! - `strides`, `dilations` and `pads` may be left out, `Slice` may leave out its axes, a padded `ConvInteger` pads with its zero
//!   point, and the first `Resize` is today's `Upsample`: [`windows`].
//! - `Celu`, `GroupNormalization`, `LRN`, `Mish`, `Selu`, `Shrink`, `ThresholdedRelu`: [`activations`], [`normalise`].
//! - Refused: `Resize` by cubic interpolation (computed linearly), recurrent layers with a length per row (ignored), `GRU`
//!   in its older form, `ConvTranspose` with `SAME_LOWER`, and `NonMaxSuppression` (measures overlap by the hull).

mod activations;
mod normalise;
mod numbers;
mod parts;
mod softmax;
mod ties;
mod windows;

use std::collections::HashMap;

use self::parts::{Known, Parts};
use super::error;
use crate::engine::{EngineError, EngineErrorKind, node_name};
use crate::onnx::{GraphProto, ModelProto, NodeProto};

/// Exchanges every such node, in subgraphs too; whether there was any.
pub(super) fn settle(model: &mut ModelProto) -> Result<bool, EngineError> {
    let opset = model.opset_version();
    model.graph.as_mut().map_or(Ok(false), |graph| settle_graph(graph, opset))
}

fn settle_graph(graph: &mut GraphProto, opset: i64) -> Result<bool, EngineError> {
    let known = Known::of(graph, opset);
    let mut changed = false;
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        let attributes = node.attribute.iter_mut();
        for subgraph in attributes.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs)) {
            changed |= settle_graph(subgraph, opset)?;
        }
        if let Some(why) = refusal(&node) {
            let (name, operator) = (node_name(&node).to_owned(), node.op_type.clone());
            let refused = error(EngineErrorKind::UnsupportedOperator, why);
            return Err(refused.at(Some(name), Some(operator)));
        }
        let mut parts = Parts::new(&node);
        if exchange(&node, &known, &mut parts).is_some() {
            changed = true;
            let (made, constants) = parts.finish();
            nodes.extend(made);
            graph.initializer.extend(constants);
        } else {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    Ok(changed)
}

/// What `rten` would compute wrongly.
fn refusal(node: &NodeProto) -> Option<&'static str> {
    if !node.domain.is_empty() {
        return None;
    }
    let text = |name: &str| node.attribute(name).and_then(|attribute| attribute.s.as_deref());
    match node.op_type.as_str() {
        "Resize" | "Upsample" if matches!(text("mode"), Some(b"cubic")) => {
            Some("the engine has no cubic interpolation")
        }
        "ConvTranspose" if matches!(text("auto_pad"), Some(b"SAME_LOWER")) => {
            Some("the engine pads another side than SAME_LOWER says; export it with its paddings")
        }
        "LSTM" | "GRU" if node.input.get(4).is_some_and(|lengths| !lengths.is_empty()) => {
            Some("the engine takes no length per row")
        }
        "GRU" if node.int("linear_before_reset", 0) == 0 => {
            Some("the engine has only linear_before_reset = 1")
        }
        "NonMaxSuppression" => {
            Some("the engine measures overlap otherwise; leave it out and select afterwards")
        }
        _ => None,
    }
}

/// Puts into `parts` what computes the node as ONNX asks; none if `rten` does so itself.
fn exchange(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    if !node.domain.is_empty() || node.output.first().is_none_or(String::is_empty) {
        return None;
    }
    match node.op_type.as_str() {
        "Softmax" | "LogSoftmax" => softmax::exchange(node, known, parts),
        "ArgMax" | "ArgMin" => ties::exchange(node, parts),
        "Sign" | "Cast" | "Pow" => numbers::exchange(node, known, parts),
        "Conv" | "ConvTranspose" | "ConvInteger" | "MaxPool" | "AveragePool" | "Slice" | "Resize" => {
            windows::exchange(node, known, parts)
        }
        "Celu" | "Mish" | "Selu" | "Shrink" | "ThresholdedRelu" => activations::exchange(node, parts),
        "LRN" | "GroupNormalization" => normalise::exchange(node, known, parts),
        _ => None,
    }
}

/// Ranks that the graph declares, and those of values that operators always make of one rank.
fn ranks(graph: &GraphProto) -> HashMap<String, usize> {
    let declared = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let declared = declared.filter_map(|value| Some((value.name.clone(), value.declared().ok()?.1?.len())));
    let flat = graph.node.iter().filter(|node| matches!(node.op_type.as_str(), "Gemm" | "Flatten"));
    flat.flat_map(|node| node.output.iter().map(|output| (output.clone(), 2))).chain(declared).collect()
}
