//! Zero, truth and powers.

use super::parts::{Known, Parts};
use crate::onnx::{NodeProto, proto::element_type};
use crate::tensor::DataType;

pub(super) fn exchange(node: &NodeProto, known: &Known, parts: &mut Parts<'_>) -> Option<()> {
    let value = parts.input(0);
    match node.op_type.as_str() {
        "Sign" => {
            let zero = is_zero(value, parts);
            let other = parts.make("Not", "other", &[&zero], vec![]);
            let factor = parts.make("CastLike", "factor", &[&other, value], vec![]);
            let sign = parts.make("Sign", "sign", &[value], vec![]);
            parts.last("Mul", &[&sign, &factor], vec![]);
        }
        "Cast" if node.int("to", 0) == i64::from(element_type::BOOL) => {
            let zero = is_zero(value, parts);
            parts.last("Not", &[&zero], vec![]);
        }
        "Pow" => {
            let exponent = known.constant(parts.input(1))?;
            if !matches!(exponent.datatype(), DataType::Int64 | DataType::Int32) {
                return None;
            }
            let exponent = parts.make("CastLike", "exponent", &[parts.input(1), value], vec![]);
            parts.last("Pow", &[value, &exponent], vec![]);
        }
        _ => return None,
    }
    Some(())
}

/// Whether each element is zero, whatever its type: its difference to itself is a zero of that type, and of what has no
/// such difference none is zero.
fn is_zero(value: &str, parts: &mut Parts<'_>) -> String {
    let zero = parts.make("Sub", "zero", &[value, value], vec![]);
    parts.make("Equal", "is_zero", &[value, &zero], vec![])
}
