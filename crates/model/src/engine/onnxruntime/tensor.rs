//! Tensors in and out: numbers are lent to the library, not copied; byte strings must be UTF-8.

use ort::session::SessionInputValue;
use ort::value::{DynValue, Shape, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType};

use super::{NAME, error};
use crate::engine::outline::admit;
use crate::engine::{EngineError, EngineErrorKind};
use crate::signature::TensorSpec;
use crate::tensor::{Tensor, TensorData};

/// `tensor` as the library takes it.
pub(super) fn to_value<'a>(
    spec: &TensorSpec,
    tensor: &'a Tensor,
) -> Result<SessionInputValue<'a>, EngineError> {
    admit(NAME, spec, tensor)?;
    let invalid = |why: String| error(EngineErrorKind::InvalidInput, format!("input '{}' {why}", spec.name));
    let shape = tensor.shape();
    macro_rules! view {
        ($values:expr) => {
            TensorRef::from_array_view((shape, $values.as_slice()))
                .map(SessionInputValue::from)
                .map_err(|cause| invalid(cause.to_string()))
        };
    }
    match tensor.data() {
        TensorData::F32(values) => view!(values),
        TensorData::F64(values) => view!(values),
        TensorData::I64(values) => view!(values),
        TensorData::I32(values) => view!(values),
        TensorData::U8(values) => view!(values),
        TensorData::I8(values) => view!(values),
        TensorData::Bool(values) => view!(values),
        TensorData::Bytes(values) => {
            let texts: Result<Vec<String>, _> = values.iter().cloned().map(String::from_utf8).collect();
            let texts = texts.map_err(|_| invalid("holds a byte string that is not UTF-8".to_owned()))?;
            OrtTensor::from_string_array((shape, texts.as_slice()))
                .map(SessionInputValue::from)
                .map_err(|cause| invalid(cause.to_string()))
        }
    }
}

/// A copy of what the library made, which must have the declared datatype.
pub(super) fn from_value(spec: &TensorSpec, value: &DynValue) -> Result<Tensor, EngineError> {
    let failed =
        |why: String| error(EngineErrorKind::OperatorFailed, format!("output '{}' {why}", spec.name));
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(failed("is not a tensor".to_owned()));
    };
    macro_rules! copy {
        ($type:ty) => {
            value
                .try_extract_tensor::<$type>()
                .map(|(shape, values)| (shape, TensorData::from(values.to_vec())))
        };
    }
    let copied = match ty {
        TensorElementType::Float32 => copy!(f32),
        TensorElementType::Float64 => copy!(f64),
        TensorElementType::Int64 => copy!(i64),
        TensorElementType::Int32 => copy!(i32),
        TensorElementType::Uint8 => copy!(u8),
        TensorElementType::Int8 => copy!(i8),
        TensorElementType::Bool => copy!(bool),
        TensorElementType::String => value.try_extract_strings().map(|(shape, texts)| {
            (shape, TensorData::Bytes(texts.into_iter().map(String::into_bytes).collect()))
        }),
        other => return Err(failed(format!("is of type {other}, which is not supported"))),
    };
    let (shape, data) = copied.map_err(|cause| failed(cause.to_string()))?;
    if data.datatype() != spec.datatype {
        return Err(failed(format!("is declared {} but computed as {}", spec.datatype, data.datatype())));
    }
    Tensor::new(sizes(shape), data).map_err(|cause| failed(cause.to_string()))
}

fn sizes(shape: &Shape) -> Vec<usize> {
    shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect()
}
