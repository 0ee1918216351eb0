//! Encoders and extractors as tables and `Gather`.

use edgeward_model::onnx::{AttributeProto, NodeProto};
use edgeward_model::{DataType, Tensor, TensorData};

use super::Done;
use super::numeric::{integer, reshape};
use super::rewrite::{Rewrite, Text, positions};

/// Columns of a matrix by their indices; of a constant list, its elements as one row.
pub(super) fn array_feature_extractor(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let [data, wanted] = &node.input[..] else { return Err("takes two inputs".to_owned()) };
    let (data, output) = (data.clone(), node.output[0].clone());
    match rewrite.given(&data) {
        Some(constant) if matches!(constant.shape(), [_] | [1, _]) => {
            let index = reshape(rewrite, node, wanted, &[1, -1]);
            match constant.data() {
                TensorData::Bytes(texts) => {
                    let table = texts.clone();
                    rewrite.set_text(&output, Text { index, table, lossy: false });
                }
                _ => {
                    let kind = constant.datatype();
                    let flat = Tensor::new([constant.len()], constant.data().clone());
                    let flat =
                        rewrite.constant(&format!("{data}.flat"), &flat.map_err(|error| error.to_string())?);
                    let axis = vec![AttributeProto::int("axis", 0)];
                    let value = rewrite.add(node, "Gather", &[&flat, &index], axis);
                    rewrite.finish(&value, Some(&output), kind);
                }
            }
            Ok(())
        }
        Some(constant) => Err(format!("takes a constant of shape {:?}", constant.shape())),
        None => {
            let index = reshape(rewrite, node, wanted, &[-1]);
            let text = rewrite.text(&data).cloned();
            let source = text.as_ref().map_or(&data, |text| &text.index);
            let value = rewrite.add(node, "Gather", &[source, &index], vec![AttributeProto::int("axis", 1)]);
            match (text, rewrite.kind(&data)) {
                (Some(text), _) => rewrite.set_text(&output, Text { index: value, ..text }),
                (None, Some(kind)) => rewrite.finish(&value, Some(&output), kind),
                (None, None) => rewrite.keep(NodeProto::new("Identity", &output, &[&value], &[&output])),
            }
            Ok(())
        }
    }
}

/// A row of a unit matrix per element. A category that is not known has a row of zeros or, if the node says that it
/// is an error, an index past the last row, which engines refuse.
pub(super) fn one_hot_encoder(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let numbers = node.attribute("cats_int64s").map(|list| list.ints.clone()).unwrap_or_default();
    let texts = node.attribute("cats_strings").map(|list| list.strings.clone()).unwrap_or_default();
    let zeros = node.int("zeros", 1) == 1;
    let (value, keys) = if let Some(text) = rewrite.text(&node.input[0]).cloned() {
        (text.index.clone(), indices_in(&text, &texts))
    } else if texts.is_empty() {
        (integer(rewrite, node, &node.input[0]), numbers)
    } else {
        return Err("looks for texts in numbers".to_owned());
    };
    let count = keys.len();
    let index = rewrite.fresh(&format!("{}.index", node.output[0]));
    rewrite.look_up(
        &value,
        &index,
        AttributeProto::ints("keys_int64s", keys),
        positions(count, count as i64),
    );
    let rows = count + usize::from(zeros);
    let mut unit = vec![0.0_f32; rows * count];
    unit.iter_mut().step_by(count + 1).take(count).for_each(|one| *one = 1.0);
    let unit = Tensor::from_rows(rows, count, unit).map_err(|error| error.to_string())?;
    let unit = rewrite.constant(&format!("{}.unit", node.output[0]), &unit);
    let value = rewrite.add(node, "Gather", &[&unit, &index], vec![AttributeProto::int("axis", 0)]);
    rewrite.finish(&value, node.output.first(), DataType::Fp32);
    Ok(())
}

/// Where texts stand in a table. One that does not stand there cannot occur; it gets an index that does not either.
fn indices_in(text: &Text, wanted: &[Vec<u8>]) -> Vec<i64> {
    let find = |wanted: &Vec<u8>| text.table.iter().position(|known| known == wanted);
    wanted.iter().map(|wanted| find(wanted).map_or(i64::MIN, |at| at as i64)).collect()
}

/// Stays itself, but for its texts.
pub(super) fn label_encoder(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let mut node = modern(rewrite, node)?;
    if let Some(text) = rewrite.text(&input).cloned() {
        let keys = take(&mut node, "keys_strings").map(|list| list.strings).unwrap_or_default();
        node = node.with(AttributeProto::ints("keys_int64s", indices_in(&text, &keys)));
        node.input[0] = text.index;
    }
    if let Some(values) = take(&mut node, "values_strings").filter(|values| !values.strings.is_empty()) {
        let default = take(&mut node, "default_string").and_then(|default| default.s);
        let mut table = values.strings;
        let count = table.len();
        table.push(default.unwrap_or_else(|| b"_Unused".to_vec()));
        node.attribute.extend(positions(count, count as i64));
        let index = rewrite.fresh(&format!("{output}.index"));
        node.output[0].clone_from(&index);
        rewrite.set_text(&output, Text { index, table, lossy: false });
    } else {
        let float = node.attribute("values_floats").is_some_and(|values| !values.floats.is_empty());
        rewrite.set_kind(&output, if float { DataType::Fp32 } else { DataType::Int64 });
    }
    rewrite.keep(node);
    Ok(())
}

fn take(node: &mut NodeProto, name: &str) -> Option<AttributeProto> {
    let at = node.attribute.iter().position(|attribute| attribute.name == name)?;
    Some(node.attribute.remove(at))
}

/// The node as sets 2 and 3 write it: keys and values in lists.
fn modern(rewrite: &Rewrite<'_>, node: &NodeProto) -> Result<NodeProto, String> {
    let mut node = node.clone();
    for side in ["keys", "values"] {
        let Some(tensor) = take(&mut node, &format!("{side}_tensor")).and_then(|attribute| attribute.t)
        else {
            continue;
        };
        let tensor = tensor.to_tensor().map_err(|error| error.to_string())?;
        node = node.with(as_list(side, &tensor)?);
    }
    if let Some(tensor) = take(&mut node, "default_tensor").and_then(|attribute| attribute.t) {
        let tensor = tensor.to_tensor().map_err(|error| error.to_string())?;
        node.attribute.extend(as_default(&tensor));
    }
    if let Some(classes) = take(&mut node, "classes_strings") {
        let texts = |name: &str| AttributeProto {
            strings: classes.strings.clone(),
            ..AttributeProto::texts(name, &[])
        };
        let count = classes.strings.len();
        let text = rewrite.text(&node.input[0]).is_some();
        let default = node.int("default_int64", -1);
        node.attribute.retain(|attribute| attribute.name != "default_int64");
        if text {
            node = node.with(texts("keys_strings"));
            node.attribute.extend(positions(count, default));
        } else {
            node = node.with(AttributeProto::ints("keys_int64s", (0..count as i64).collect()));
            node = node.with(texts("values_strings"));
        }
    }
    Ok(node)
}

fn as_list(side: &str, tensor: &Tensor) -> Result<AttributeProto, String> {
    Ok(match tensor.data() {
        TensorData::Bytes(texts) => AttributeProto {
            strings: texts.clone(),
            ..AttributeProto::texts(&format!("{side}_strings"), &[])
        },
        TensorData::I64(numbers) => AttributeProto::ints(&format!("{side}_int64s"), numbers.clone()),
        TensorData::F32(floats) => AttributeProto::floats(&format!("{side}_floats"), floats.clone()),
        _ => return Err(format!("has {side} of {}, which is not supported", tensor.datatype())),
    })
}

fn as_default(tensor: &Tensor) -> Option<AttributeProto> {
    match tensor.data() {
        TensorData::Bytes(texts) => {
            let text = String::from_utf8_lossy(texts.first()?);
            Some(AttributeProto::text("default_string", &text))
        }
        TensorData::I64(numbers) => Some(AttributeProto::int("default_int64", *numbers.first()?)),
        TensorData::F32(floats) => Some(AttributeProto::float("default_float", *floats.first()?)),
        _ => None,
    }
}
