//! `LabelEncoder`: each element replaced by what a table says (`ai.onnx.ml` 1, 2 and 4).
//!
//! Deliberately missing: 64-bit float keys, and set 1 where the input's type is not declared.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::{Kernel, KernelError};
use crate::onnx::NodeProto;
use crate::tensor::{DataType, Tensor, TensorData};

/// What the table is asked for. Floats by their bits, NaN equal to NaN and 0 to -0.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Number(i64),
    Text(Vec<u8>),
    Float(u32),
}

fn float_key(value: f32) -> Key {
    let value = if value.is_nan() { f32::NAN } else { value + 0.0 };
    Key::Float(value.to_bits())
}

pub(super) struct LabelEncoder {
    table: HashMap<Key, usize>,
    /// One value per key, then the default.
    values: TensorData,
}

impl LabelEncoder {
    pub(super) fn new(node: &NodeProto, input: Option<DataType>) -> Result<Self, KernelError> {
        let attributes = Attributes(node);
        let classes = attributes.texts("classes_strings");
        let (keys, values) = if classes.is_empty() {
            (keys(&attributes)?, values(&attributes)?)
        } else {
            first_set(&attributes, classes, input)?
        };
        if keys.len() + 1 != values.len() {
            let why = format!("has {} keys for {} values", keys.len(), values.len() - 1);
            return Err(KernelError::invalid(why));
        }
        // Of equal keys the first counts.
        let mut table = HashMap::with_capacity(keys.len());
        for (at, key) in keys.into_iter().enumerate() {
            table.entry(key).or_insert(at);
        }
        Ok(Self { table, values })
    }
}

fn keys(attributes: &Attributes<'_>) -> Result<Vec<Key>, KernelError> {
    if let Some(tensor) = attributes.tensor("keys_tensor")? {
        return keys_of(&tensor).ok_or_else(|| unsupported("keys_tensor", &tensor));
    }
    let texts = attributes.texts("keys_strings").iter().cloned().map(Key::Text);
    let numbers = attributes.ints("keys_int64s").iter().copied().map(Key::Number);
    let floats = attributes.floats("keys_floats").iter().copied().map(float_key);
    Ok(texts.chain(numbers).chain(floats).collect())
}

fn unsupported(what: &str, tensor: &Tensor) -> KernelError {
    KernelError::unsupported(format!("has a {what} of {}, which is not supported", tensor.datatype()))
}

fn keys_of(tensor: &Tensor) -> Option<Vec<Key>> {
    Some(match tensor.data() {
        TensorData::Bytes(texts) => texts.iter().cloned().map(Key::Text).collect(),
        TensorData::F32(floats) => floats.iter().copied().map(float_key).collect(),
        TensorData::F64(_) => return None,
        TensorData::I64(numbers) => numbers.iter().copied().map(Key::Number).collect(),
        _ => (0..tensor.len())
            .map_while(|at| tensor.number(at))
            .map(|number| Key::Number(number as i64))
            .collect(),
    })
}

/// The values with the default after them.
fn values(attributes: &Attributes<'_>) -> Result<TensorData, KernelError> {
    let default = attributes.tensor("default_tensor")?;
    if let Some(tensor) = attributes.tensor("values_tensor")? {
        return with_default(&tensor, default.as_ref());
    }
    let (texts, floats) = (attributes.texts("values_strings"), attributes.floats("values_floats"));
    if !texts.is_empty() {
        let default = attributes.text("default_string").unwrap_or(b"_Unused");
        return Ok(texts.iter().cloned().chain([default.to_vec()]).collect::<Vec<_>>().into());
    }
    if !floats.is_empty() {
        let default = attributes.float("default_float").unwrap_or(-0.0);
        return Ok(floats.iter().copied().chain([default]).collect::<Vec<_>>().into());
    }
    let default = attributes.int("default_int64").unwrap_or(-1);
    Ok(attributes.ints("values_int64s").iter().copied().chain([default]).collect::<Vec<_>>().into())
}

fn with_default(values: &Tensor, default: Option<&Tensor>) -> Result<TensorData, KernelError> {
    let number = |or: f64| default.and_then(|default| default.number(0)).unwrap_or(or);
    Ok(match values.data() {
        TensorData::Bytes(texts) => {
            let default = match default.map(Tensor::data) {
                Some(TensorData::Bytes(texts)) => texts.first().cloned(),
                _ => None,
            };
            let default = default.unwrap_or_else(|| b"_Unused".to_vec());
            texts.iter().cloned().chain([default]).collect::<Vec<_>>().into()
        }
        TensorData::I64(numbers) => {
            let default = match default.map(Tensor::data) {
                Some(TensorData::I64(numbers)) => numbers.first().copied(),
                _ => None,
            };
            numbers.iter().copied().chain([default.unwrap_or(-1)]).collect::<Vec<_>>().into()
        }
        TensorData::F32(floats) => {
            floats.iter().copied().chain([number(-0.0) as f32]).collect::<Vec<_>>().into()
        }
        TensorData::F64(floats) => floats.iter().copied().chain([number(-0.0)]).collect::<Vec<_>>().into(),
        _ => return Err(unsupported("values_tensor", values)),
    })
}

/// Set 1: the classes by their indices, or the indices by their classes, by the input's type.
fn first_set(
    attributes: &Attributes<'_>,
    classes: &[Vec<u8>],
    input: Option<DataType>,
) -> Result<(Vec<Key>, TensorData), KernelError> {
    let count = classes.len() as i64;
    match input {
        Some(DataType::Bytes) => {
            let default = attributes.int("default_int64").unwrap_or(-1);
            let keys = classes.iter().cloned().map(Key::Text).collect();
            Ok((keys, (0..count).chain([default]).collect::<Vec<_>>().into()))
        }
        Some(DataType::Int64 | DataType::Int32) => {
            let default = attributes.text("default_string").unwrap_or(b"_Unused").to_vec();
            let keys = (0..count).map(Key::Number).collect();
            Ok((keys, classes.iter().cloned().chain([default]).collect::<Vec<_>>().into()))
        }
        _ => Err(KernelError::unsupported("has classes_strings but an input whose type is not declared")),
    }
}

impl Kernel for LabelEncoder {
    fn datatypes(&self) -> Vec<DataType> {
        vec![self.values.datatype()]
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
        let input = inputs.first().ok_or_else(|| KernelError::failed("got no input"))?;
        let keys = keys_of(input).ok_or_else(|| KernelError::failed("got FP64, which it cannot look up"))?;
        let default = self.values.len() - 1;
        let places: Vec<usize> =
            keys.iter().map(|key| self.table.get(key).copied().unwrap_or(default)).collect();
        macro_rules! pick {
            ($values:expr) => {
                places.into_iter().map(|at| $values[at].clone()).collect::<Vec<_>>().into()
            };
        }
        let data: TensorData = match &self.values {
            TensorData::Bytes(values) => pick!(values),
            TensorData::I64(values) => pick!(values),
            TensorData::F32(values) => pick!(values),
            TensorData::F64(values) => pick!(values),
            _ => return Err(KernelError::failed("has values of an unknown type")),
        };
        let tensor = Tensor::new(input.shape(), data);
        Ok(vec![tensor.map_err(|cause| KernelError::failed(cause.to_string()))?])
    }
}
