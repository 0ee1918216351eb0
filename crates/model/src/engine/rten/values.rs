//! Tensors into the engine's values and back.

use rten::{Value, ValueOrView, ValueView};
use rten_tensor::{AsView as _, Layout as _};

use super::error;
use crate::engine::{EngineError, EngineErrorKind};
use crate::signature::TensorSpec;
use crate::tensor::{DataType, Tensor, TensorData};

/// The engine's form of a tensor; says what is wrong with it.
pub(super) fn to_value(tensor: &Tensor) -> Result<ValueOrView<'_>, String> {
    let shape = tensor.shape();
    macro_rules! view {
        ($values:expr) => {
            ValueView::from_shape(shape, $values.as_slice())
                .map(ValueOrView::View)
                .map_err(|cause| cause.to_string())
        };
    }
    macro_rules! owned {
        ($values:expr) => {
            Value::from_shape(shape, $values).map(ValueOrView::Value).map_err(|cause| cause.to_string())
        };
    }
    match tensor.data() {
        TensorData::F32(values) => view!(values),
        TensorData::I32(values) => view!(values),
        TensorData::U8(values) => view!(values),
        TensorData::I8(values) => view!(values),
        TensorData::F64(values) => owned!(values.iter().map(|&value| value as f32).collect::<Vec<_>>()),
        TensorData::Bool(values) => owned!(values.iter().map(|&value| i32::from(value)).collect::<Vec<_>>()),
        TensorData::I64(values) => owned!(narrow(values)?),
        TensorData::Bytes(_) => Err("is BYTES, which the engine cannot pass".to_owned()),
    }
}

fn narrow(values: &[i64]) -> Result<Vec<i32>, String> {
    let narrow = |&value| {
        i32::try_from(value).map_err(|_| format!("holds {value}; the engine computes INT64 in 32 bits"))
    };
    values.iter().map(narrow).collect()
}

/// The engine's value as it computed it: `INT64` and `BOOL` are `INT32` here, `FP64` is `FP32`.
pub(super) fn from_value(name: &str, value: Value) -> Result<Tensor, EngineError> {
    let (shape, data) = match value {
        Value::FloatTensor(tensor) => (tensor.shape().to_vec(), TensorData::F32(tensor.to_vec())),
        Value::Int32Tensor(tensor) => (tensor.shape().to_vec(), TensorData::I32(tensor.to_vec())),
        Value::Int8Tensor(tensor) => (tensor.shape().to_vec(), TensorData::I8(tensor.to_vec())),
        Value::UInt8Tensor(tensor) => (tensor.shape().to_vec(), TensorData::U8(tensor.to_vec())),
        _ => return Err(output_error(name, "is not a tensor")),
    };
    Tensor::new(shape, data).map_err(|cause| output_error(name, &cause.to_string()))
}

/// The tensor in the declared datatype.
pub(super) fn declared(spec: &TensorSpec, tensor: Tensor) -> Result<Tensor, EngineError> {
    let (shape, data) = tensor.into_parts();
    let data = match (spec.datatype, data) {
        (DataType::Fp64, TensorData::F32(values)) => {
            TensorData::F64(values.into_iter().map(f64::from).collect())
        }
        (DataType::Int64, TensorData::I32(values)) => {
            TensorData::I64(values.into_iter().map(i64::from).collect())
        }
        (DataType::Bool, TensorData::I32(values)) => {
            TensorData::Bool(values.into_iter().map(|value| value != 0).collect())
        }
        (declared, data) if declared == data.datatype() => data,
        (declared, data) => {
            let why = format!("is declared {declared} but computed as {}", data.datatype());
            return Err(output_error(&spec.name, &why));
        }
    };
    Tensor::new(shape, data).map_err(|cause| output_error(&spec.name, &cause.to_string()))
}

fn output_error(name: &str, why: &str) -> EngineError {
    error(EngineErrorKind::OperatorFailed, format!("output '{name}' {why}"))
}
