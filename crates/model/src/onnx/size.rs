//! How much a graph asks for at once, as far as its constants tell.
//!
//! A hundred bytes of ONNX can ask for terabytes, and engines compute what is constant while they load. An allocation
//! that fails ends the process, so such a graph must not reach an engine.
//!
//! Deliberately missing: shapes that are computed, and the sum of all values; a device proves a bundle by its golden
//! test, and blames one that ends the process.

use std::collections::HashMap;

use super::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::{GraphError, graph};
use crate::signature::Dim;
use crate::tensor::{TensorData, element_count};

/// Refuses a graph that declares a value, or makes one of a constant shape, of more than
/// [`ELEMENTS_MAX`](crate::tensor::ELEMENTS_MAX) elements.
///
/// # Errors
/// [`GraphError::TooLarge`].
pub(super) fn check(graph: &GraphProto) -> Result<(), GraphError> {
    graph.input.iter().chain(&graph.output).try_for_each(check_declared)?;
    graph.initializer.iter().try_for_each(check_constant)?;
    let constants = constants(graph);
    graph.node.iter().try_for_each(|node| check_node(&constants, node))
}

/// The shape a constant claims, whatever bytes it has.
fn check_constant(constant: &TensorProto) -> Result<(), GraphError> {
    let shape: Vec<usize> = constant.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
    check_shape(&shape, || format!("constant '{}'", constant.name))
}

fn check_declared(value: &ValueInfoProto) -> Result<(), GraphError> {
    let Ok((_, Some(shape))) = value.declared() else { return Ok(()) };
    let known: Vec<usize> = shape.iter().filter_map(fixed).collect();
    check_shape(&known, || format!("'{}'", value.name))
}

const fn fixed(dim: &Dim) -> Option<usize> {
    match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Symbolic(_) => None,
    }
}

fn check_node(constants: &HashMap<&str, &TensorProto>, node: &NodeProto) -> Result<(), GraphError> {
    let shape_at = match node.op_type.as_str() {
        "ConstantOfShape" => Some(0),
        // Repeats bound the result from below.
        "Expand" | "Tile" => Some(1),
        _ => None,
    };
    let shape = shape_at.and_then(|at| node.input.get(at)).and_then(|name| constants.get(name.as_str()));
    if let Some(shape) = shape.and_then(|tensor| sizes(tensor)) {
        check_shape(&shape, || graph::describe(node))?;
    }
    graph::subgraphs(node).try_for_each(check)
}

/// The initializers, and what `Constant` nodes make.
fn constants(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    let made = graph.node.iter().filter(|node| node.op_type == "Constant");
    let made = made.filter_map(|node| {
        let output = node.output.first()?;
        Some((output.as_str(), node.attribute("value")?.t.as_ref()?))
    });
    graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).chain(made).collect()
}

/// A short list of sizes; what is no such list is left to the engine.
fn sizes(tensor: &TensorProto) -> Option<Vec<usize>> {
    let TensorData::I64(values) = tensor.to_tensor().ok()?.into_parts().1 else { return None };
    values.into_iter().map(|value| usize::try_from(value).ok()).collect()
}

fn check_shape(shape: &[usize], what: impl FnOnce() -> String) -> Result<(), GraphError> {
    element_count(shape).map(|_| ()).map_err(|source| GraphError::TooLarge { what: what(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{AttributeProto, ModelProto};
    use crate::tensor::{DataType, Tensor};

    const TERA: i64 = 1 << 20;

    fn making(op_type: &str, inputs: &[&str], sizes: &[i64]) -> GraphProto {
        let tensor = Tensor::new(vec![sizes.len()], sizes.to_vec()).unwrap();
        let mut graph = GraphProto::new("g");
        graph.initializer.push(TensorProto::from_tensor("s", &tensor));
        graph.input.push(ValueInfoProto::tensor("x", DataType::Fp32, &[Dim::Fixed(1)]));
        graph.node.push(NodeProto::new(op_type, "n", inputs, &["y"]));
        graph.output.push(ValueInfoProto::tensor("y", DataType::Fp32, &[Dim::symbol("a"), Dim::symbol("b")]));
        graph
    }

    fn refused(built: GraphProto) -> bool {
        matches!(graph::check(&ModelProto::new(built)), Err(GraphError::TooLarge { .. }))
    }

    #[test]
    fn terabytes_in_a_few_bytes_are_refused() {
        assert!(refused(making("ConstantOfShape", &["s"], &[TERA, TERA])));
        assert!(refused(making("Expand", &["x", "s"], &[TERA, TERA])));
        assert!(refused(making("Tile", &["x", "s"], &[i64::MAX])));
        assert!(!refused(making("ConstantOfShape", &["s"], &[1024, 1024])));
        assert!(!refused(making("Expand", &["x", "s"], &[-1, 4])));
    }

    #[test]
    fn a_constant_node_counts_like_an_initializer() {
        let mut graph = making("ConstantOfShape", &["made"], &[TERA, TERA]);
        let value = graph.initializer.remove(0);
        let made =
            NodeProto::new("Constant", "c", &[], &["made"]).with(AttributeProto::tensor("value", value));
        graph.node.insert(0, made);
        assert!(refused(graph));
    }

    #[test]
    fn a_declared_value_is_bounded_too() {
        let mut graph = making("Identity", &["x"], &[1]);
        graph.input[0] =
            ValueInfoProto::tensor("x", DataType::Fp32, &[Dim::Fixed(1 << 31), Dim::Fixed(1 << 31)]);
        assert!(refused(graph));
    }
}
