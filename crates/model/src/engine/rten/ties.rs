//! The first of equal scores wins.
//!
//! `rten`'s `ArgMax` and `ArgMin` give the last of several equal elements where ONNX asks for the first, so a tied vote
//! would be another class here than anywhere else. Its `TopK` has the order right; before loading, `ArgMax(x)` becomes
//! the indices of `TopK(x, 1)`. With `select_last_index` the last is what is asked for, and the node stays.

use crate::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::tensor::Tensor;

/// Replaces every such node, in subgraphs too; whether there was any.
pub(super) fn settle(model: &mut ModelProto) -> bool {
    model.graph.as_mut().is_some_and(settle_graph)
}

fn settle_graph(graph: &mut GraphProto) -> bool {
    let mut changed = false;
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        let attributes = node.attribute.iter_mut();
        let subgraphs = attributes.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs));
        changed |= subgraphs.fold(false, |changed, subgraph| settle_graph(subgraph) | changed);
        if decides(&node) {
            changed = true;
            replace(&node, &mut nodes, &mut graph.initializer);
        } else {
            nodes.push(node);
        }
    }
    graph.node = nodes;
    changed
}

fn decides(node: &NodeProto) -> bool {
    let plain = node.domain.is_empty() && node.input.len() == 1 && node.output.len() == 1;
    plain && matches!(node.op_type.as_str(), "ArgMax" | "ArgMin") && node.int("select_last_index", 0) == 0
}

fn replace(node: &NodeProto, nodes: &mut Vec<NodeProto>, constants: &mut Vec<TensorProto>) {
    let (axis, keep, output) = (node.int("axis", 0), node.int("keepdims", 1) != 0, node.output[0].clone());
    let name = |part: &str| format!("{output}.first.{part}");
    let mut constant = |part: &str, value: i64| {
        let tensor = Tensor::new([1], vec![value]).expect("one value fills one place");
        constants.push(TensorProto::from_tensor(name(part), &tensor));
        name(part)
    };
    let count = constant("count", 1);
    let indices = if keep { output.clone() } else { name("indices") };
    let top = NodeProto::new("TopK", &node.name, &[&node.input[0], &count], &[&name("values"), &indices])
        .with(AttributeProto::int("axis", axis))
        .with(AttributeProto::int("largest", i64::from(node.op_type == "ArgMax")))
        .with(AttributeProto::int("sorted", 1));
    nodes.push(top);
    if !keep {
        let axes = constant("axes", axis);
        nodes.push(NodeProto::new("Squeeze", &name("squeeze"), &[&indices, &axes], &[&output]));
    }
}
