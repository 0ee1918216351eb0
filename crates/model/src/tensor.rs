//! Tensors: what goes into a model and what comes out.
//!
//! A [`Tensor`] is a dense row-major array whose length always equals the product of its shape; the constructor is the
//! only way in. Datatype names are those of the Open Inference Protocol. [`NamedTensor`] is its JSON form, and the
//! `raw` functions its binary form (little-endian, row-major). [`pack`] writes several as one run of bytes.
//!
//! Deliberately missing: views, strides, arithmetic. Engines do the computing.

mod named;
mod packed;
mod raw;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use named::NamedTensor;
pub use packed::{PackedError, pack, unpack};
pub use raw::RawError;

/// Most dimensions a tensor may have.
pub const RANK_MAX: usize = 16;

/// Most elements a tensor may have (1 GiB of FP32).
pub const ELEMENTS_MAX: usize = 1 << 28;

/// The type of a tensor's elements, named as in the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DataType {
    /// 32-bit IEEE 754.
    Fp32,
    /// 64-bit IEEE 754.
    Fp64,
    /// 64-bit signed.
    Int64,
    /// 32-bit signed.
    Int32,
    /// 8-bit unsigned.
    Uint8,
    /// 8-bit signed.
    Int8,
    /// True or false.
    Bool,
    /// Byte strings of any length.
    Bytes,
}

impl DataType {
    /// Every datatype.
    pub const ALL: [Self; 8] =
        [Self::Fp32, Self::Fp64, Self::Int64, Self::Int32, Self::Uint8, Self::Int8, Self::Bool, Self::Bytes];

    /// The protocol's name, such as `FP32`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Int64 => "INT64",
            Self::Int32 => "INT32",
            Self::Uint8 => "UINT8",
            Self::Int8 => "INT8",
            Self::Bool => "BOOL",
            Self::Bytes => "BYTES",
        }
    }

    /// Bytes per element, `None` for [`DataType::Bytes`].
    #[must_use]
    pub const fn size_bytes(self) -> Option<usize> {
        match self {
            Self::Fp64 | Self::Int64 => Some(8),
            Self::Fp32 | Self::Int32 => Some(4),
            Self::Uint8 | Self::Int8 | Self::Bool => Some(1),
            Self::Bytes => None,
        }
    }

    /// Whether the elements are floating-point numbers.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Fp32 | Self::Fp64)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// `FP32`
    F32(Vec<f32>),
    /// `FP64`
    F64(Vec<f64>),
    /// `INT64`
    I64(Vec<i64>),
    /// `INT32`
    I32(Vec<i32>),
    /// `UINT8`
    U8(Vec<u8>),
    /// `INT8`
    I8(Vec<i8>),
    /// `BOOL`
    Bool(Vec<bool>),
    /// `BYTES`: one byte string per element.
    Bytes(Vec<Vec<u8>>),
}

impl TensorData {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    #[must_use]
    pub const fn datatype(&self) -> DataType {
        match self {
            Self::F32(_) => DataType::Fp32,
            Self::F64(_) => DataType::Fp64,
            Self::I64(_) => DataType::Int64,
            Self::I32(_) => DataType::Int32,
            Self::U8(_) => DataType::Uint8,
            Self::I8(_) => DataType::Int8,
            Self::Bool(_) => DataType::Bool,
            Self::Bytes(_) => DataType::Bytes,
        }
    }
}

macro_rules! from_vec {
    ($($element:ty => $variant:ident),*) => {$(
        impl From<Vec<$element>> for TensorData {
            fn from(values: Vec<$element>) -> Self {
                Self::$variant(values)
            }
        }
    )*};
}

from_vec!(f32 => F32, f64 => F64, i64 => I64, i32 => I32, u8 => U8, i8 => I8, bool => Bool, Vec<u8> => Bytes);

/// A shape that a tensor cannot have, or that does not fit its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The product of the shape differs from the number of values.
    #[error("shape {shape:?} needs {expected} values but {found} were given")]
    Length {
        /// The shape asked for.
        shape: Vec<usize>,
        /// Product of the shape.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// The product of the shape is more than [`ELEMENTS_MAX`] or does not fit a machine word.
    #[error("shape {shape:?} has too many elements; at most {ELEMENTS_MAX} are accepted")]
    TooLarge {
        /// The shape asked for.
        shape: Vec<usize>,
    },
    /// More than [`RANK_MAX`] dimensions.
    #[error("{rank} dimensions are too many; at most {RANK_MAX} are accepted")]
    Rank {
        /// Number of dimensions.
        rank: usize,
    },
}

/// Number of elements of a tensor with this shape; the empty shape is a scalar (1).
///
/// # Errors
/// More than [`RANK_MAX`] dimensions or more than [`ELEMENTS_MAX`] elements.
pub fn element_count(shape: &[usize]) -> Result<usize, ShapeError> {
    if shape.len() > RANK_MAX {
        return Err(ShapeError::Rank { rank: shape.len() });
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1_usize, |count, &dim| count.checked_mul(dim))
        .filter(|&count| count <= ELEMENTS_MAX)
        .ok_or_else(|| ShapeError::TooLarge { shape: shape.to_vec() })
}

/// A dense row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of this shape. Takes any of the element vectors, such as `vec![1.0_f32]`.
    ///
    /// # Errors
    /// The number of values is not the product of the shape, or the shape breaks a limit.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<TensorData>) -> Result<Self, ShapeError> {
        let (shape, data) = (shape.into(), data.into());
        let expected = element_count(&shape)?;
        if expected != data.len() {
            return Err(ShapeError::Length { shape, expected, found: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// `rows x width` FP32 values from one row after the other.
    ///
    /// # Errors
    /// The number of values is not `rows x width`, or the shape breaks a limit.
    pub fn from_rows(rows: usize, width: usize, values: Vec<f32>) -> Result<Self, ShapeError> {
        Self::new([rows, width], values)
    }

    /// The size of each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    #[must_use]
    pub const fn data(&self) -> &TensorData {
        &self.data
    }

    /// The type of the elements.
    #[must_use]
    pub const fn datatype(&self) -> DataType {
        self.data.datatype()
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Size of the first dimension; 1 for a scalar.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Elements per row: the product of all dimensions after the first.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.shape.iter().skip(1).fold(1, |len, &size| len.saturating_mul(size))
    }

    /// The shape and the elements.
    #[must_use]
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }

    /// The elements if they are `FP32`.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements if they are `INT64`.
    #[must_use]
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            TensorData::I64(values) => Some(values),
            _ => None,
        }
    }

    /// Element `index` as a number; `None` for byte strings and past the end. Booleans are 0 and 1; 64-bit integers
    /// beyond 2^53 are rounded.
    #[must_use]
    pub fn number(&self, index: usize) -> Option<f64> {
        match &self.data {
            TensorData::F32(values) => values.get(index).map(|&value| f64::from(value)),
            TensorData::F64(values) => values.get(index).copied(),
            TensorData::I64(values) => values.get(index).map(|&value| value as f64),
            TensorData::I32(values) => values.get(index).map(|&value| f64::from(value)),
            TensorData::U8(values) => values.get(index).map(|&value| f64::from(value)),
            TensorData::I8(values) => values.get(index).map(|&value| f64::from(value)),
            TensorData::Bool(values) => values.get(index).map(|&value| f64::from(u8::from(value))),
            TensorData::Bytes(_) => None,
        }
    }

    /// This tensor under a name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> NamedTensor {
        NamedTensor { name: name.into(), tensor: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_must_equal_the_product_of_the_shape() {
        assert!(Tensor::new([2, 3], vec![0.0_f32; 6]).is_ok());
        assert!(Tensor::new([], vec![1_i64]).is_ok());
        assert!(Tensor::new([0, usize::MAX], Vec::<f32>::new()).is_ok());
        let error = Tensor::new([2, 3], vec![0.0_f32; 5]).unwrap_err();
        assert_eq!(error.to_string(), "shape [2, 3] needs 6 values but 5 were given");
    }

    #[test]
    fn limits_hold_and_overflow_is_an_error() {
        assert!(matches!(Tensor::new([usize::MAX, 2], vec![0_u8; 2]), Err(ShapeError::TooLarge { .. })));
        assert!(matches!(element_count(&[ELEMENTS_MAX, 2]), Err(ShapeError::TooLarge { .. })));
        assert_eq!(element_count(&[ELEMENTS_MAX]), Ok(ELEMENTS_MAX));
        assert_eq!(element_count(&[1; RANK_MAX]), Ok(1));
        assert!(matches!(element_count(&[1; RANK_MAX + 1]), Err(ShapeError::Rank { .. })));
    }

    #[test]
    fn datatype_names_are_the_protocols() {
        for datatype in DataType::ALL {
            assert_eq!(serde_json::to_value(datatype).unwrap(), datatype.as_str());
        }
    }

    #[test]
    fn rows_and_row_length() {
        let tensor = Tensor::new([2, 3, 4], vec![0_u8; 24]).unwrap();
        assert_eq!((tensor.rows(), tensor.row_len()), (2, 12));
        let none = Tensor::new([0, 3], Vec::<u8>::new()).unwrap();
        assert_eq!((none.rows(), none.row_len()), (0, 3));
    }
}
