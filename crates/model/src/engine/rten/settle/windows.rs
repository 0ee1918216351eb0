//! Convolutions, pools, slices and resizing: attributes that may be left out, and old forms.

use super::parts::{Known, Parts};
use crate::onnx::{AttributeProto, NodeProto, proto::element_type};

pub(super) fn exchange(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    match node.op_type.as_str() {
        "Slice" => slice(node, parts),
        "Resize" => first_resize(node, known, parts),
        "ConvInteger" if is_padded(node) => padded_integers(node, known, parts),
        _ => window(node, known, parts),
    }
}

/// Writes out strides, dilations and paddings.
fn window(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    let missing = missing(node, || spatial(node, known));
    if missing.is_empty() {
        return None;
    }
    let mut node = node.clone();
    node.attribute.extend(missing);
    parts.keep(node);
    Some(())
}

/// The attributes that were left out, as ONNX understands that.
fn missing(node: &NodeProto, spatial: impl FnOnce() -> Option<usize>) -> Vec<AttributeProto> {
    let is_pool = node.op_type.ends_with("Pool");
    let wanted = if is_pool { &["strides"][..] } else { &["strides", "dilations", "pads"] };
    let by_itself = auto_pad(node).starts_with(b"SAME");
    let absent = |name: &&str| node.attribute(name).is_none() && !(*name == "pads" && by_itself);
    let absent: Vec<&str> = wanted.iter().copied().filter(absent).collect();
    if absent.is_empty() {
        return Vec::new();
    }
    let Some(spatial) = spatial() else { return Vec::new() };
    let filled = |name: &str| match name {
        "pads" => AttributeProto::ints(name, vec![0; 2 * spatial]),
        _ => AttributeProto::ints(name, vec![1; spatial]),
    };
    absent.into_iter().map(filled).collect()
}

fn auto_pad(node: &NodeProto) -> &[u8] {
    node.attribute("auto_pad").and_then(|attribute| attribute.s.as_deref()).unwrap_or_default()
}

/// The number of dimensions that a window slides along.
fn spatial(node: &NodeProto, known: &Known) -> Option<usize> {
    let count = |name: &str| Some(node.attribute(name)?.ints.len()).filter(|&count| count > 0);
    let listed = ["kernel_shape", "strides", "dilations"].into_iter().find_map(count);
    let weights = || known.rank(node.input.get(1)?)?.checked_sub(2);
    listed.or_else(|| count("pads").map(|count| count / 2)).or_else(weights)
}

fn is_padded(node: &NodeProto) -> bool {
    let pads = node.attribute("pads").is_some_and(|attribute| attribute.ints.iter().any(|&pad| pad != 0));
    pads || auto_pad(node).starts_with(b"SAME")
}

/// A padded convolution of integers in floats: `rten` pads with 0 where ONNX pads with the zero point.
fn padded_integers(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    let spatial = spatial(node, known)?;
    let (value, weights) = (parts.input(0), parts.input(1));
    let (value_zero, weights_zero) = (parts.input(2), parts.input(3));
    let float = || vec![AttributeProto::int("to", i64::from(element_type::FLOAT))];
    let mut value = parts.make("Cast", "value", &[value], float());
    if !value_zero.is_empty() {
        let zero = parts.make("Cast", "value_zero", &[value_zero], float());
        value = parts.make("Sub", "value_shifted", &[&value, &zero], vec![]);
    }
    let mut weights = parts.make("Cast", "weights", &[weights], float());
    if !weights_zero.is_empty() {
        let zero = parts.make("Cast", "weights_zero", &[weights_zero], float());
        let mut shape = vec![1; spatial + 2];
        shape[0] = -1;
        let shape = parts.integers("per_channel", &shape);
        let zero = parts.make("Reshape", "weights_zeros", &[&zero, &shape], vec![]);
        weights = parts.make("Sub", "weights_shifted", &[&weights, &zero], vec![]);
    }
    let mut with = node.attribute.clone();
    with.extend(missing(node, || Some(spatial)));
    let sums = parts.make("Conv", "sums", &[&value, &weights], with);
    let whole = parts.make("Round", "whole", &[&sums], vec![]);
    parts.last("Cast", &[&whole], vec![AttributeProto::int("to", i64::from(element_type::INT32))]);
    Some(())
}

/// `Slice` of opset 9 and older without its axes: they are the first ones.
fn slice(node: &NodeProto, parts: &mut Parts<'_>) -> Option<()> {
    let starts = node.attribute("starts")?;
    if node.attribute("axes").is_some() {
        return None;
    }
    let axes = (0..).take(starts.ints.len()).collect();
    parts.keep(node.clone().with(AttributeProto::ints("axes", axes)));
    Some(())
}

/// The `Resize` of opset 10 enlarges as `Upsample` does, which `rten` has.
fn first_resize(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    let scales = known.constant(parts.input(1)).filter(|_| known.opset == 10)?;
    let grows = scales.as_f32()?.iter().all(|&scale| scale >= 1.0);
    grows.then(|| parts.keep(NodeProto { op_type: "Upsample".to_owned(), ..node.clone() }))
}
