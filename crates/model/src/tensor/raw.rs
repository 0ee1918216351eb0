//! The binary form of tensor elements: little-endian, row-major, no padding.
//!
//! Byte strings are each preceded by their length as 4 little-endian bytes, as in the Open Inference Protocol's binary
//! tensor data extension. Booleans are one byte, zero or not.

use super::{DataType, ShapeError, Tensor, TensorData, element_count};

/// Bytes that are not the elements of the tensor they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// The shape breaks a limit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Too few or too many bytes.
    #[error("a {datatype} tensor of shape {shape:?} has {expected} bytes but {found} were given")]
    Size {
        /// Type of the elements.
        datatype: DataType,
        /// Shape asked for.
        shape: Vec<usize>,
        /// Bytes it needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The length prefixes of byte strings do not add up.
    #[error(
        "BYTES element {index} of {count} runs past the end of the data, or data is left over after the last"
    )]
    Framing {
        /// Element at which reading stopped.
        index: usize,
        /// Elements the shape needs.
        count: usize,
    },
}

macro_rules! numbers {
    ($bytes:expr, $element:ty) => {
        $bytes
            .chunks_exact(size_of::<$element>())
            .filter_map(|chunk| chunk.try_into().ok())
            .map(<$element>::from_le_bytes)
            .collect::<Vec<$element>>()
    };
}

macro_rules! le_bytes {
    ($values:expr) => {
        $values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
}

impl Tensor {
    /// A tensor from the binary form of its elements.
    ///
    /// # Errors
    /// The bytes are not exactly the elements of such a tensor, or the shape breaks a limit.
    pub fn from_le_bytes(datatype: DataType, shape: &[usize], bytes: &[u8]) -> Result<Self, RawError> {
        let count = element_count(shape)?;
        if let Some(size) = datatype.size_bytes()
            && count.checked_mul(size) != Some(bytes.len())
        {
            let expected = count.saturating_mul(size);
            return Err(RawError::Size { datatype, shape: shape.to_vec(), expected, found: bytes.len() });
        }
        let data = match datatype {
            DataType::Fp32 => numbers!(bytes, f32).into(),
            DataType::Fp64 => numbers!(bytes, f64).into(),
            DataType::Int64 => numbers!(bytes, i64).into(),
            DataType::Int32 => numbers!(bytes, i32).into(),
            DataType::Uint8 => bytes.to_vec().into(),
            DataType::Int8 => numbers!(bytes, i8).into(),
            DataType::Bool => TensorData::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
            DataType::Bytes => TensorData::Bytes(read_byte_strings(bytes, count)?),
        };
        Ok(Self::new(shape, data)?)
    }

    /// The binary form of the elements.
    #[must_use]
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self.data() {
            TensorData::F32(values) => le_bytes!(values),
            TensorData::F64(values) => le_bytes!(values),
            TensorData::I64(values) => le_bytes!(values),
            TensorData::I32(values) => le_bytes!(values),
            TensorData::U8(values) => values.clone(),
            TensorData::I8(values) => le_bytes!(values),
            TensorData::Bool(values) => values.iter().map(|&value| u8::from(value)).collect(),
            TensorData::Bytes(values) => write_byte_strings(values),
        }
    }
}

fn read_byte_strings(mut bytes: &[u8], count: usize) -> Result<Vec<Vec<u8>>, RawError> {
    let mut strings = Vec::new();
    for index in 0..count {
        let torn = RawError::Framing { index, count };
        let (prefix, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| torn.clone())?;
        let len = u32::from_le_bytes(*prefix) as usize;
        let (string, rest) = rest.split_at_checked(len).ok_or(torn)?;
        strings.push(string.to_vec());
        bytes = rest;
    }
    if bytes.is_empty() { Ok(strings) } else { Err(RawError::Framing { index: count, count }) }
}

fn write_byte_strings(strings: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in strings {
        let len = u32::try_from(string.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&string[..len as usize]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(tensor: &Tensor) {
        let bytes = tensor.to_le_bytes();
        assert_eq!(Tensor::from_le_bytes(tensor.datatype(), tensor.shape(), &bytes).as_ref(), Ok(tensor));
    }

    #[test]
    fn every_datatype_round_trips() {
        round_trip(&Tensor::new([2], vec![1.5_f32, -0.0]).unwrap());
        round_trip(&Tensor::new([1, 2], vec![1.5_f64, f64::INFINITY]).unwrap());
        round_trip(&Tensor::new([2], vec![i64::MIN, 7]).unwrap());
        round_trip(&Tensor::new([2], vec![i32::MIN, 7]).unwrap());
        round_trip(&Tensor::new([2], vec![0_u8, 255]).unwrap());
        round_trip(&Tensor::new([2], vec![-128_i8, 127]).unwrap());
        round_trip(&Tensor::new([2], vec![true, false]).unwrap());
        round_trip(&Tensor::new([2], vec![b"ab".to_vec(), Vec::new()]).unwrap());
    }

    #[test]
    fn wrong_sizes_say_what_was_expected() {
        let error = Tensor::from_le_bytes(DataType::Fp32, &[2, 2], &[0; 15]).unwrap_err();
        assert_eq!(error.to_string(), "a FP32 tensor of shape [2, 2] has 16 bytes but 15 were given");
    }

    #[test]
    fn hostile_string_lengths_are_refused() {
        for bytes in [&[255, 255, 255, 255, 1][..], &[1, 0, 0], &[0, 0, 0, 0, 9], &[]] {
            assert!(matches!(
                Tensor::from_le_bytes(DataType::Bytes, &[1], bytes),
                Err(RawError::Framing { .. })
            ));
        }
    }
}
