//! Named tensors as one run of bytes: what is hashed and kept of a request.
//!
//! One after the other, little-endian: length of the name (u16) and the name, the datatype's code (u8, its place in
//! [`DataType::ALL`]), number of dimensions (u8), each dimension (u32), length of the elements in bytes (u64), and the
//! elements as in [`Tensor::to_le_bytes`]. Written for speed: it is done for every request.

use super::{DataType, NamedTensor, RANK_MAX, RawError, Tensor};

/// Bytes that are no packed tensors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// They end within a tensor, or say what no tensor is.
    #[error("the bytes are no packed tensors: tensor {index} is damaged or cut off")]
    Damaged {
        /// Which tensor.
        index: usize,
    },
    /// The elements are not those of the shape.
    #[error(transparent)]
    Elements(#[from] RawError),
}

/// The bytes of `tensors`; a name is cut off after 65,535 bytes.
#[must_use]
pub fn pack(tensors: &[NamedTensor]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tensors.iter().map(|one| 64 + 4 * one.tensor.len()).sum());
    for NamedTensor { name, tensor } in tensors {
        let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
        bytes.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(name);
        let code = DataType::ALL.iter().position(|known| *known == tensor.datatype()).unwrap_or_default();
        bytes.extend_from_slice(&[code as u8, tensor.shape().len() as u8]);
        for dimension in tensor.shape() {
            bytes.extend_from_slice(&u32::try_from(*dimension).unwrap_or(u32::MAX).to_le_bytes());
        }
        let elements = tensor.to_le_bytes();
        bytes.extend_from_slice(&(elements.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&elements);
    }
    bytes
}

/// The tensors that [`pack`] was given.
///
/// # Errors
/// The bytes are no packed tensors.
pub fn unpack(mut bytes: &[u8]) -> Result<Vec<NamedTensor>, PackedError> {
    let mut tensors = Vec::new();
    while !bytes.is_empty() {
        let damaged = PackedError::Damaged { index: tensors.len() };
        let Some((head, elements, rest)) = split(bytes) else { return Err(damaged) };
        tensors.push(Tensor::from_le_bytes(head.datatype, &head.shape, elements)?.named(head.name));
        bytes = rest;
    }
    Ok(tensors)
}

struct Head {
    name: String,
    datatype: DataType,
    shape: Vec<usize>,
}

/// The first tensor's head and elements, and what comes after it.
fn split(bytes: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let ([code, rank], mut rest) = rest.split_first_chunk::<2>()?;
    let datatype = *DataType::ALL.get(usize::from(*code))?;
    if usize::from(*rank) > RANK_MAX {
        return None;
    }
    let mut shape = Vec::new();
    for _ in 0..*rank {
        let (dimension, after) = rest.split_first_chunk::<4>()?;
        shape.push(u32::from_le_bytes(*dimension) as usize);
        rest = after;
    }
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let (elements, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    Some((Head { name: String::from_utf8_lossy(name).into_owned(), datatype, shape }, elements, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<NamedTensor> {
        vec![
            Tensor::new([2, 2], vec![1.0_f32, f32::NAN, 3.0, -0.0]).unwrap().named("x"),
            Tensor::new([2], vec![7_i64, -7]).unwrap().named(""),
            Tensor::new([1, 2], vec![b"red".to_vec(), Vec::new()]).unwrap().named("colour"),
        ]
    }

    #[test]
    fn every_tensor_comes_back() {
        let packed = pack(&some());
        let back = unpack(&packed).unwrap();
        assert_eq!(back[1..], some()[1..]);
        assert_eq!(pack(&back), packed, "also what is not equal to itself");
        assert!(unpack(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_cut_or_a_flipped_byte_is_never_a_panic() {
        let packed = pack(&some());
        let whole: Vec<usize> = (1..=3).map(|count| pack(&some()[..count]).len()).collect();
        for cut in 1..packed.len() {
            assert_eq!(unpack(&packed[..cut]).is_ok(), whole.contains(&cut), "cut at {cut}");
        }
        for at in 0..packed.len() {
            let mut flipped = packed.clone();
            flipped[at] ^= 0x81;
            let _ = unpack(&flipped);
        }
    }
}
