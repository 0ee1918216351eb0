//! Scalers, normalisers and the like as arithmetic.

use edgeward_model::onnx::proto::element_type;
use edgeward_model::onnx::{AttributeProto, NodeProto};
use edgeward_model::{DataType, Tensor};

use super::rewrite::Rewrite;
use super::{Done, list};

/// First set in which `ReduceMax` and `ReduceL1`/`ReduceL2` take their axes as an input.
const REDUCE_AXES_INPUT_SET: i64 = 18;

fn floats(node: &NodeProto, name: &str) -> Vec<f32> {
    node.attribute(name).map(|attribute| attribute.floats.clone()).unwrap_or_default()
}

/// `(x - offset) * scale`.
pub(super) fn scaler(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let mut value = rewrite.float(node, &node.input[0]);
    for (op_type, name) in [("Sub", "offset"), ("Mul", "scale")] {
        let numbers = floats(node, name);
        if !numbers.is_empty() {
            let constant = rewrite.constant(&format!("{}.{name}", node.output[0]), &list(numbers));
            value = rewrite.add(node, op_type, &[&value, &constant], Vec::new());
        }
    }
    rewrite.finish(&value, node.output.first(), DataType::Fp32);
    Ok(())
}

/// Each row over its norm; a row whose norm is 0 stays. The maximum is that of the values, not of their magnitudes.
pub(super) fn normalizer(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let norm = node.attribute("norm").and_then(|attribute| attribute.s.as_deref()).unwrap_or(b"MAX");
    let reduce = match norm {
        b"MAX" => "ReduceMax",
        b"L1" => "ReduceL1",
        b"L2" => "ReduceL2",
        other => return Err(format!("has the unknown norm '{}'", String::from_utf8_lossy(other))),
    };
    let value = rewrite.float(node, &node.input[0]);
    let mut attributes = vec![AttributeProto::int("keepdims", 1)];
    let norm = if rewrite.opset() >= REDUCE_AXES_INPUT_SET {
        let axes = rewrite.constant("axes", &list(vec![-1_i64]));
        rewrite.add(node, reduce, &[&value, &axes], attributes)
    } else {
        attributes.push(AttributeProto::ints("axes", vec![-1]));
        rewrite.add(node, reduce, &[&value], attributes)
    };
    let zero = rewrite.constant("zero", &list(vec![0.0_f32]));
    let one = rewrite.constant("one", &list(vec![1.0_f32]));
    let none = rewrite.add(node, "Equal", &[&norm, &zero], Vec::new());
    let divisor = rewrite.add(node, "Where", &[&none, &one, &norm], Vec::new());
    let value = rewrite.add(node, "Div", &[&value, &divisor], Vec::new());
    rewrite.finish(&value, node.output.first(), DataType::Fp32);
    Ok(())
}

/// The values to replace (NaN or a number) by others, one per column or one for all.
pub(super) fn imputer(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let imputed = floats(node, "imputed_value_floats");
    let numbers = node.attribute("imputed_value_int64s").map(|list| list.ints.clone()).unwrap_or_default();
    let (value, imputed, replaced, kind) = if imputed.is_empty() {
        let replaced = list(vec![node.int("replaced_value_int64", 0)]);
        (node.input[0].clone(), list(numbers), replaced, DataType::Int64)
    } else {
        let replaced = node.attribute("replaced_value_float").and_then(|attribute| attribute.f);
        let replaced = list(vec![replaced.unwrap_or(0.0)]);
        (rewrite.float(node, &node.input[0]), list(imputed), replaced, DataType::Fp32)
    };
    let missing = if replaced.as_f32().is_some_and(|replaced| replaced[0].is_nan()) {
        rewrite.add(node, "IsNaN", &[&value], Vec::new())
    } else {
        let replaced = rewrite.constant("replaced", &replaced);
        rewrite.add(node, "Equal", &[&value, &replaced], Vec::new())
    };
    let imputed = rewrite.constant(&format!("{}.imputed", node.output[0]), &imputed);
    let value = rewrite.add(node, "Where", &[&missing, &imputed, &value], Vec::new());
    rewrite.finish(&value, node.output.first(), kind);
    Ok(())
}

/// 1 above the threshold, else 0.
pub(super) fn binarizer(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let threshold = node.attribute("threshold").and_then(|attribute| attribute.f).unwrap_or(0.0);
    let value = rewrite.float(node, &node.input[0]);
    let threshold = rewrite.constant("threshold", &list(vec![threshold]));
    let above = rewrite.add(node, "Greater", &[&value, &threshold], Vec::new());
    let value = rewrite.float(node, &above);
    rewrite.finish(&value, node.output.first(), DataType::Fp32);
    Ok(())
}

/// The inputs beside one another.
pub(super) fn feature_vectorizer(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let parts: Vec<String> = node.input.iter().map(|input| rewrite.float(node, input)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let value = rewrite.add(node, "Concat", &parts, vec![AttributeProto::int("axis", 1)]);
    rewrite.finish(&value, node.output.first(), DataType::Fp32);
    Ok(())
}

/// The value as INT64; what is behind the point is cut.
pub(super) fn integer(rewrite: &mut Rewrite<'_>, node: &NodeProto, value: &str) -> String {
    if rewrite.kind(value) == Some(DataType::Int64) {
        return value.to_owned();
    }
    let to = AttributeProto::int("to", i64::from(element_type::INT64));
    let cast = rewrite.add(node, "Cast", &[value], vec![to]);
    rewrite.set_kind(&cast, DataType::Int64);
    cast
}

/// The value in another shape.
pub(super) fn reshape(rewrite: &mut Rewrite<'_>, node: &NodeProto, value: &str, shape: &[i64]) -> String {
    let tensor: Tensor = list(shape.to_vec());
    let shape = rewrite.constant("shape", &tensor);
    let shaped = rewrite.add(node, "Reshape", &[value, &shape], Vec::new());
    if let Some(kind) = rewrite.kind(value) {
        rewrite.set_kind(&shaped, kind);
    }
    shaped
}
