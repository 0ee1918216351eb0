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
    let constant = |at: usize| constants.get(node.input.get(at)?.as_str()).copied();
    let asked = match node.op_type.as_str() {
        "ConstantOfShape" => constant(0).and_then(sizes),
        // Repeats, sizes and depths bound the result from below.
        "Expand" | "Tile" | "OneHot" => constant(1).and_then(sizes),
        "Resize" => constant(3).and_then(sizes),
        "Pad" => constant(1).and_then(integers).map(|pads| added(&pads)),
        "Range" => range([constant(0), constant(1), constant(2)]).map(|count| vec![count]),
        _ => None,
    };
    let by_attributes = ATTRIBUTES.iter().filter_map(|name| Some(positive(&node.attribute(name)?.ints)));
    let by_padding = node.attribute("pads").map(|pads| added(&pads.ints));
    for shape in asked.into_iter().chain(by_attributes).chain(by_padding) {
        check_shape(&shape, || graph::describe(node))?;
    }
    graph::subgraphs(node).try_for_each(check)
}

/// Lists of sizes by which operators make values, step through them or lay out work.
const ATTRIBUTES: [&str; 6] =
    ["shape", "output_shape", "output_padding", "kernel_shape", "strides", "dilations"];

/// What stands in a list of sizes; what is no size counts as one.
fn positive(values: &[i64]) -> Vec<usize> {
    values.iter().map(|&value| usize::try_from(value).unwrap_or(1).max(1)).collect()
}

/// What padding alone makes of each dimension: `values` holds all beginnings, then all ends.
fn added(values: &[i64]) -> Vec<usize> {
    let (begins, ends) = values.split_at(values.len() / 2);
    let sums: Vec<i64> = begins.iter().zip(ends).map(|(begin, end)| begin.saturating_add(*end)).collect();
    positive(&sums)
}

/// How many values a `Range` of these constants has: start, limit and step.
fn range(constants: [Option<&TensorProto>; 3]) -> Option<usize> {
    let number = |tensor: Option<&TensorProto>| match tensor?.to_tensor().ok()?.into_parts().1 {
        TensorData::I64(values) => values.first().map(|&value| value as f64),
        TensorData::I32(values) => values.first().map(|&value| f64::from(value)),
        TensorData::F32(values) => values.first().map(|&value| f64::from(value)),
        TensorData::F64(values) => values.first().copied(),
        _ => None,
    };
    let [start, limit, step] = constants.map(number);
    // A step of nothing makes the count infinite, which the conversion below keeps within a machine word.
    let count = (limit? - start?) / step?;
    Some(if count.is_nan() { 0 } else { count.max(0.0) as usize })
}

fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    match tensor.to_tensor().ok()?.into_parts().1 {
        TensorData::I64(values) => Some(values),
        _ => None,
    }
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
    fn padding_strides_and_ranges_count_too() {
        let with = |operator: &str, attribute: &str, values: &[i64]| {
            let mut graph = making(operator, &["x"], &[1]);
            graph.node[0].attribute.push(AttributeProto::ints(attribute, values.to_vec()));
            graph
        };
        for operator in ["MaxPool", "AveragePool", "Conv", "Pad"] {
            assert!(refused(with(operator, "pads", &[TERA, TERA, TERA, TERA])), "{operator}");
            assert!(refused(with(operator, "pads", &[0, i64::MAX, 0, i64::MAX])), "{operator}");
            assert!(!refused(with(operator, "pads", &[1, 1, -1, 1])), "{operator}");
        }
        assert!(refused(with("ConvTranspose", "strides", &[TERA, TERA])));
        assert!(refused(with("RandomNormal", "shape", &[TERA, TERA])));
        assert!(!refused(with("Conv", "kernel_shape", &[3, 3])));
        assert!(refused(making("Pad", &["x", "s"], &[0, 0, TERA, TERA])));
        assert!(refused(making("OneHot", &["x", "s", "x"], &[i64::MAX])));
        assert!(refused(making("Resize", &["x", "", "", "s"], &[TERA, TERA])));
        assert!(!refused(making("Resize", &["x", "", "", "s"], &[2, 64])));
        let mut graph = making("Range", &["a", "s", "b"], &[1 << 40]);
        for (name, value) in [("a", 0_i64), ("b", 1)] {
            graph
                .initializer
                .push(TensorProto::from_tensor(name, &Tensor::new(vec![], vec![value]).unwrap()));
        }
        assert!(refused(graph.clone()));
        graph.initializer[0] = TensorProto::from_tensor("s", &Tensor::new(vec![], vec![100_i64]).unwrap());
        assert!(!refused(graph));
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
