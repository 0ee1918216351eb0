//! Normalisations that `rten` lacks, by the formulas of the ONNX operator reference.

use super::parts::{Known, Parts};
use crate::onnx::{AttributeProto, NodeProto};

/// First operator set whose `GroupNormalization` has a scale per channel, not per group.
const PER_CHANNEL: i64 = 21;

pub(super) fn exchange(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    match node.op_type.as_str() {
        "LRN" => across_channels(node, parts),
        "GroupNormalization" => by_group(node, known, parts),
        _ => None,
    }
}

/// `x / (bias + alpha * mean)^beta`, the mean of squares over `size` channels around each, channels outside counting as
/// zero. A channel is moved into a dimension that an average pool slides along.
fn across_channels(node: &NodeProto, parts: &mut Parts<'_>) -> Option<()> {
    let given =
        |name: &str, default: f32| node.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default);
    let size = Some(node.int("size", 0)).filter(|&size| size > 0)?;
    let (before, after) = ((size - 1) / 2, size / 2);
    let x = parts.input(0);
    let shape = parts.make("Shape", "shape", &[x], vec![]);
    let squares = parts.make("Mul", "squares", &[x, x], vec![]);
    let (plane, channel) = (parts.integers("plane", &[0, 0, -1]), parts.integers("channel", &[1]));
    let rows = parts.make("Reshape", "rows", &[&squares, &plane], vec![]);
    let image = parts.make("Unsqueeze", "image", &[&rows, &channel], vec![]);
    let with = vec![
        AttributeProto::ints("kernel_shape", vec![size, 1]),
        AttributeProto::ints("strides", vec![1, 1]),
        AttributeProto::ints("pads", vec![before, 0, after, 0]),
        AttributeProto::int("count_include_pad", 1),
    ];
    let means = parts.make("AveragePool", "means", &[&image], with);
    let means = parts.make("Reshape", "means_in_place", &[&means, &shape], vec![]);
    let (alpha, bias) =
        (parts.number("alpha", given("alpha", 1e-4)), parts.number("bias", given("bias", 1.0)));
    let scaled = parts.make("Mul", "scaled", &[&means, &alpha], vec![]);
    let shifted = parts.make("Add", "shifted", &[&scaled, &bias], vec![]);
    let beta = parts.number("beta", given("beta", 0.75));
    let divisor = parts.make("Pow", "divisor", &[&shifted, &beta], vec![]);
    parts.last("Div", &[x, &divisor], vec![]);
    Some(())
}

/// Each group of channels normalised as one instance, then scaled.
fn by_group(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    let groups = Some(node.int("num_groups", 0)).filter(|&groups| groups > 0)?;
    let epsilon = node.attribute("epsilon").and_then(|attribute| attribute.f).unwrap_or(1e-5);
    let with = vec![AttributeProto::float("epsilon", epsilon)];
    let x = parts.input(0);
    let shape = parts.make("Shape", "shape", &[x], vec![]);
    let grouped = parts.integers("grouped", &[0, groups, -1]);
    let rows = parts.make("Reshape", "rows", &[x, &grouped], vec![]);
    if known.opset < PER_CHANNEL {
        let normal =
            parts.make("InstanceNormalization", "normal", &[&rows, parts.input(1), parts.input(2)], with);
        parts.last("Reshape", &[&normal, &shape], vec![]);
        return Some(());
    }
    let count = parts.integers("groups", &[groups]);
    let filled = |parts: &mut Parts<'_>, part: &str, value: f32| {
        let value = parts.number(&format!("{part}.value"), value);
        parts.make("Expand", part, &[&value, &count], vec![])
    };
    let (ones, zeros) = (filled(parts, "ones", 1.0), filled(parts, "zeros", 0.0));
    let normal = parts.make("InstanceNormalization", "normal", &[&rows, &ones, &zeros], with);
    let normal = parts.make("Reshape", "normal_in_place", &[&normal, &shape], vec![]);
    let (plane, column) = (parts.integers("plane", &[0, 0, -1]), parts.integers("column", &[1]));
    let flat = parts.make("Reshape", "flat", &[&normal, &plane], vec![]);
    let scale = parts.make("Unsqueeze", "scale", &[parts.input(1), &column], vec![]);
    let bias = parts.make("Unsqueeze", "bias", &[parts.input(2), &column], vec![]);
    let scaled = parts.make("Mul", "scaled", &[&flat, &scale], vec![]);
    let shifted = parts.make("Add", "shifted", &[&scaled, &bias], vec![]);
    parts.last("Reshape", &[&shifted, &shape], vec![]);
    Some(())
}
