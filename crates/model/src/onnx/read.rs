//! From ONNX constants and declarations to tensors and specs.

use super::proto::{
    DATA_LOCATION_EXTERNAL, DimensionProto, DimensionValue, TensorProto, TypeValue, ValueInfoProto,
    element_type,
};
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{DataType, RawError, ShapeError, Tensor, TensorData};

/// A constant that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstantError {
    /// An element type this project does not read.
    #[error(
        "constant '{name}' has element type {element_type}, which is not supported; supported: {}",
        supported()
    )]
    ElementType {
        /// Name of the constant.
        name: String,
        /// ONNX number of the type.
        element_type: i32,
    },
    /// The values stand in another file.
    #[error("constant '{name}' is stored in another file; save the model with its weights inside")]
    External {
        /// Name of the constant.
        name: String,
    },
    /// A negative dimension, or one that does not fit a machine word.
    #[error("constant '{name}' has the impossible dimension {dim}")]
    Dimension {
        /// Name of the constant.
        name: String,
        /// The dimension.
        dim: i64,
    },
    /// The values do not fill the shape.
    #[error("constant '{name}': {source}")]
    Shape {
        /// Name of the constant.
        name: String,
        /// What is wrong.
        source: ShapeError,
    },
    /// The raw bytes do not fill the shape.
    #[error("constant '{name}': {source}")]
    Raw {
        /// Name of the constant.
        name: String,
        /// What is wrong.
        source: RawError,
    },
    /// A typed value outside its element type.
    #[error("constant '{name}' holds {value}, which does not fit {datatype}")]
    Range {
        /// Name of the constant.
        name: String,
        /// The value.
        value: i32,
        /// The type.
        datatype: DataType,
    },
}

fn supported() -> String {
    DataType::ALL.map(DataType::as_str).join(", ")
}

/// The datatype of an ONNX element type, if this project reads it.
#[must_use]
pub const fn datatype_of(element_type: i32) -> Option<DataType> {
    match element_type {
        element_type::FLOAT => Some(DataType::Fp32),
        element_type::DOUBLE => Some(DataType::Fp64),
        element_type::INT64 => Some(DataType::Int64),
        element_type::INT32 => Some(DataType::Int32),
        element_type::UINT8 => Some(DataType::Uint8),
        element_type::INT8 => Some(DataType::Int8),
        element_type::BOOL => Some(DataType::Bool),
        element_type::STRING => Some(DataType::Bytes),
        _ => None,
    }
}

/// The ONNX element type of a datatype.
#[must_use]
pub const fn element_type_of(datatype: DataType) -> i32 {
    match datatype {
        DataType::Fp32 => element_type::FLOAT,
        DataType::Fp64 => element_type::DOUBLE,
        DataType::Int64 => element_type::INT64,
        DataType::Int32 => element_type::INT32,
        DataType::Uint8 => element_type::UINT8,
        DataType::Int8 => element_type::INT8,
        DataType::Bool => element_type::BOOL,
        DataType::Bytes => element_type::STRING,
    }
}

impl TensorProto {
    /// Whether the values stand in another file.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.data_location == DATA_LOCATION_EXTERNAL || !self.external_data.is_empty()
    }

    /// The constant's values, from `raw_data` or the typed list.
    ///
    /// # Errors
    /// External, of an unsupported type, or the values do not fill the shape.
    pub fn to_tensor(&self) -> Result<Tensor, ConstantError> {
        let name = || self.name.clone();
        if self.is_external() {
            return Err(ConstantError::External { name: name() });
        }
        let unsupported = ConstantError::ElementType { name: name(), element_type: self.data_type };
        let datatype = datatype_of(self.data_type).ok_or(unsupported)?;
        let shape = self.shape()?;
        match &self.raw_data {
            Some(raw) if datatype != DataType::Bytes => Tensor::from_le_bytes(datatype, &shape, raw)
                .map_err(|source| ConstantError::Raw { name: name(), source }),
            _ => Tensor::new(shape, self.typed_data(datatype)?)
                .map_err(|source| ConstantError::Shape { name: name(), source }),
        }
    }

    /// The constant's dimensions.
    ///
    /// # Errors
    /// A dimension is negative or does not fit a machine word.
    pub fn shape(&self) -> Result<Vec<usize>, ConstantError> {
        let size = |&dim| {
            usize::try_from(dim).map_err(|_| ConstantError::Dimension { name: self.name.clone(), dim })
        };
        self.dims.iter().map(size).collect()
    }

    fn typed_data(&self, datatype: DataType) -> Result<TensorData, ConstantError> {
        Ok(match datatype {
            DataType::Fp32 => self.float_data.clone().into(),
            DataType::Fp64 => self.double_data.clone().into(),
            DataType::Int64 => self.int64_data.clone().into(),
            DataType::Int32 => self.int32_data.clone().into(),
            DataType::Uint8 => self.narrow::<u8>(datatype)?.into(),
            DataType::Int8 => self.narrow::<i8>(datatype)?.into(),
            DataType::Bool => TensorData::Bool(self.int32_data.iter().map(|&value| value != 0).collect()),
            DataType::Bytes => TensorData::Bytes(self.string_data.clone()),
        })
    }

    fn narrow<T: TryFrom<i32>>(&self, datatype: DataType) -> Result<Vec<T>, ConstantError> {
        let range = |value| ConstantError::Range { name: self.name.clone(), value, datatype };
        self.int32_data.iter().map(|&value| T::try_from(value).map_err(|_| range(value))).collect()
    }
}

/// A declared input or output that is no tensor this project can pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueInfoError {
    /// No type, or a sequence, map, optional or sparse tensor.
    #[error(
        "'{name}' is not declared as a tensor; export the model with tensor inputs and outputs (for scikit-learn: zipmap=False)"
    )]
    NotTensor {
        /// Name of the value.
        name: String,
    },
    /// An element type this project does not read.
    #[error("'{name}' has element type {element_type}, which is not supported; supported: {}", supported())]
    ElementType {
        /// Name of the value.
        name: String,
        /// ONNX number of the type.
        element_type: i32,
    },
}

impl ValueInfoProto {
    /// The declared name, datatype and shape; `None` for the shape when even the rank is not declared.
    ///
    /// # Errors
    /// The value is not a tensor of a supported type.
    pub fn declared(&self) -> Result<(DataType, Option<Vec<Dim>>), ValueInfoError> {
        let value = self.r#type.as_ref().and_then(|r#type| r#type.value.as_ref());
        let Some(TypeValue::Tensor(tensor)) = value else {
            return Err(ValueInfoError::NotTensor { name: self.name.clone() });
        };
        let element_type = tensor.elem_type;
        let unsupported = || ValueInfoError::ElementType { name: self.name.clone(), element_type };
        let datatype = datatype_of(element_type).ok_or_else(unsupported)?;
        Ok((datatype, tensor.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect())))
    }

    /// The declared form as a spec. An undeclared rank reads as a scalar's, an unnamed dimension as `?`.
    ///
    /// # Errors
    /// As [`ValueInfoProto::declared`].
    pub fn spec(&self) -> Result<TensorSpec, ValueInfoError> {
        let (datatype, shape) = self.declared()?;
        Ok(TensorSpec::new(&self.name, datatype, shape.unwrap_or_default()))
    }
}

fn dim(dimension: &DimensionProto) -> Dim {
    match &dimension.value {
        Some(DimensionValue::Value(size)) => {
            usize::try_from(*size).map_or_else(|_| Dim::symbol("?"), Dim::Fixed)
        }
        Some(DimensionValue::Param(name)) if !name.is_empty() => Dim::symbol(name),
        _ => Dim::symbol("?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_round_trip() {
        let tensors = [
            Tensor::new([2, 1], vec![1.5_f32, f32::MIN]).unwrap(),
            Tensor::new([1], vec![2.5_f64]).unwrap(),
            Tensor::new([], vec![i64::MAX]).unwrap(),
            Tensor::new([0], Vec::<i32>::new()).unwrap(),
            Tensor::new([2], vec![1_u8, 255]).unwrap(),
            Tensor::new([2], vec![-1_i8, 127]).unwrap(),
            Tensor::new([2], vec![true, false]).unwrap(),
            Tensor::new([2], vec![b"a".to_vec(), Vec::new()]).unwrap(),
        ];
        for tensor in tensors {
            assert_eq!(TensorProto::from_tensor("c", &tensor).to_tensor(), Ok(tensor));
        }
    }

    #[test]
    fn typed_lists_are_read() {
        let ints =
            TensorProto { dims: vec![2], data_type: 3, int32_data: vec![-1, 5], ..TensorProto::default() };
        assert_eq!(ints.to_tensor().unwrap(), Tensor::new([2], vec![-1_i8, 5]).unwrap());
        let wide = TensorProto { int32_data: vec![-1, 500], ..ints };
        assert!(matches!(wide.to_tensor(), Err(ConstantError::Range { value: 500, .. })));
    }

    #[test]
    fn hostile_constants_are_errors() {
        let base = TensorProto { name: "w".into(), dims: vec![2], data_type: 1, ..TensorProto::default() };
        let check = |proto: TensorProto, expected: &str| {
            let error = proto.to_tensor().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(TensorProto { dims: vec![-1], ..base.clone() }, "impossible dimension -1");
        check(TensorProto { dims: vec![i64::MAX, i64::MAX], ..base.clone() }, "too many elements");
        check(TensorProto { raw_data: Some(vec![0; 7]), ..base.clone() }, "has 8 bytes but 7");
        check(TensorProto { data_type: 10, ..base.clone() }, "element type 10");
        check(TensorProto { data_location: 1, ..base.clone() }, "stored in another file");
        check(base, "needs 2 values but 0");
    }
}
