//! Activations that `rten` lacks, by the formulas of the ONNX operator reference.

use super::parts::Parts;
use crate::onnx::{AttributeProto, NodeProto};

pub(super) fn exchange(node: &NodeProto, parts: &mut Parts<'_>) -> Option<()> {
    let given =
        |name: &str, default: f32| node.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default);
    let x = parts.input(0);
    match node.op_type.as_str() {
        // gamma * elu(x, alpha)
        "Selu" => {
            let gamma = parts.number("gamma", given("gamma", 1.050_701));
            let elu = parts.make(
                "Elu",
                "elu",
                &[x],
                vec![AttributeProto::float("alpha", given("alpha", 1.673_263_2))],
            );
            parts.last("Mul", &[&elu, &gamma], vec![]);
        }
        // alpha * elu(x / alpha, 1)
        "Celu" => {
            let alpha = parts.number("alpha", given("alpha", 1.0));
            let scaled = parts.make("Div", "scaled", &[x, &alpha], vec![]);
            let elu = parts.make("Elu", "elu", &[&scaled], vec![AttributeProto::float("alpha", 1.0)]);
            parts.last("Mul", &[&elu, &alpha], vec![]);
        }
        // x * tanh(softplus(x))
        "Mish" => {
            let soft = parts.make("Softplus", "softplus", &[x], vec![]);
            let tanh = parts.make("Tanh", "tanh", &[&soft], vec![]);
            parts.last("Mul", &[x, &tanh], vec![]);
        }
        "ThresholdedRelu" => {
            let (alpha, zero) = (parts.number("alpha", given("alpha", 1.0)), parts.number("zero", 0.0));
            let over = parts.make("Greater", "over", &[x, &alpha], vec![]);
            parts.last("Where", &[&over, x, &zero], vec![]);
        }
        "Shrink" => shrink(x, given("lambd", 0.5), given("bias", 0.0), parts),
        _ => return None,
    }
    Some(())
}

/// x + bias below -lambda, x - bias above lambda, 0 between.
fn shrink(x: &str, lambda: f32, bias: f32, parts: &mut Parts<'_>) {
    let (high, low) = (parts.number("high", lambda), parts.number("low", -lambda));
    let (bias, zero) = (parts.number("bias", bias), parts.number("zero", 0.0));
    let over = parts.make("Greater", "over", &[x, &high], vec![]);
    let under = parts.make("Less", "under", &[x, &low], vec![]);
    let less = parts.make("Sub", "less", &[x, &bias], vec![]);
    let more = parts.make("Add", "more", &[x, &bias], vec![]);
    let below = parts.make("Where", "below", &[&under, &more, &zero], vec![]);
    parts.last("Where", &[&over, &less, &below], vec![]);
}
