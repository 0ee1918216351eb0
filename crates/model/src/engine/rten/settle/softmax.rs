//! Softmax as it was before opset 13: over all dimensions from `axis` on, 1 if it is not given.

use super::parts::{Known, Parts};
use crate::onnx::{AttributeProto, NodeProto};

/// First operator set in which softmax runs over one dimension.
const ONE_DIMENSION: i64 = 13;

pub(super) fn exchange(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    let axis = node.int("axis", 1);
    if known.opset >= ONE_DIMENSION || known.opset == 0 || axis == -1 {
        return None;
    }
    let value = parts.input(0);
    let rank = known.rank(value).or_else(|| known.rank(&node.output[0]));
    if rank.and_then(|rank| i64::try_from(rank).ok()) == Some(axis + 1) {
        // Over the last dimension both mean the same, but the default is another.
        if node.attribute("axis").is_some() {
            return None;
        }
        parts.keep(node.clone().with(AttributeProto::int("axis", axis)));
        return Some(());
    }
    let shape = parts.make("Shape", "shape", &[value], vec![]);
    let rows = parts.make("Flatten", "rows", &[value], vec![AttributeProto::int("axis", axis)]);
    let made = parts.make(&node.op_type, "made", &[&rows], vec![AttributeProto::int("axis", 1)]);
    parts.last("Reshape", &[&made, &shape], vec![]);
    Some(())
}
