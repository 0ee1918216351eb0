//! The first of equal scores wins.
//!
//! `rten`'s `ArgMax` and `ArgMin` give the last of several equal elements where ONNX asks for the first, so a tied vote
//! would be another class here than anywhere else. Its `TopK` has the order right: `ArgMax(x)` becomes the indices of
//! `TopK(x, 1)`. With `select_last_index` the last is what is asked for; the attribute, which `rten` refuses, is dropped.

use super::parts::Parts;
use crate::onnx::{AttributeProto, NodeProto};

pub(super) fn exchange(node: &NodeProto, parts: &mut Parts<'_>) -> Option<()> {
    if node.input.len() != 1 || node.output.len() != 1 {
        return None;
    }
    if node.int("select_last_index", 0) != 0 {
        let mut plain = node.clone();
        plain.attribute.retain(|attribute| attribute.name != "select_last_index");
        parts.keep(plain);
        return Some(());
    }
    let (axis, keep, output) = (node.int("axis", 0), node.int("keepdims", 1) != 0, &node.output[0]);
    let count = parts.integers("count", &[1]);
    let values = parts.name("values");
    let indices = if keep { output.clone() } else { parts.name("indices") };
    let with = vec![
        AttributeProto::int("axis", axis),
        AttributeProto::int("largest", i64::from(node.op_type == "ArgMax")),
        AttributeProto::int("sorted", 1),
    ];
    parts.add("TopK", &[parts.input(0), &count], &[&values, &indices], with);
    if !keep {
        let axes = parts.integers("axes", &[axis]);
        parts.last("Squeeze", &[&indices, &axes], vec![]);
    }
    Some(())
}
