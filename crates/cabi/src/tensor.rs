//! Tensors across the boundary: read from the caller's memory by copying, shown from the library's by pointer.

use std::ffi::{CString, c_char, c_void};

use edgeward_model::signature::Dim;
use edgeward_model::tensor::{DataType, RANK_MAX, element_count};
use edgeward_model::{NamedTensor, Tensor, TensorData, TensorSpec};
use edgeward_sdk::chain;

use crate::pointer::{array, text};
use crate::status::{EdgewardStatus, Failure, c_text};

/// The type of a tensor's elements, with the names of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum EdgewardDataType {
    /// 32-bit floats.
    Fp32 = 1,
    /// 64-bit floats.
    Fp64 = 2,
    /// 64-bit signed integers.
    Int64 = 3,
    /// 32-bit signed integers.
    Int32 = 4,
    /// Bytes.
    Uint8 = 5,
    /// Signed bytes.
    Int8 = 6,
    /// One byte each, 0 or 1.
    Bool = 7,
    /// Byte strings, each after its length as four bytes, the lowest first.
    Bytes = 8,
}

/// A size in a declared shape that may be anything.
pub const EDGEWARD_ANY_SIZE: i64 = -1;

/// A tensor: as an input the caller's, as an output the library's.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EdgewardTensor {
    /// Its name, UTF-8. An input without a name (null) is taken for the one in its place.
    pub name: *const c_char,
    /// Its elements' type: one of `EdgewardDataType`.
    pub datatype: u32,
    /// Number of dimensions.
    pub rank: usize,
    /// The size of each.
    pub shape: *const i64,
    /// The elements, row after row, in this machine's byte order.
    pub data: *const c_void,
    /// Their length in bytes.
    pub size_bytes: usize,
}

/// What an input or output looks like.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EdgewardTensorSpec {
    /// Its name, UTF-8.
    pub name: *const c_char,
    /// Its elements' type: one of `EdgewardDataType`.
    pub datatype: u32,
    /// Number of dimensions.
    pub rank: usize,
    /// The size of each; `EDGEWARD_ANY_SIZE` where any will do.
    pub shape: *const i64,
}

const fn number(datatype: DataType) -> u32 {
    let name = match datatype {
        DataType::Fp32 => EdgewardDataType::Fp32,
        DataType::Fp64 => EdgewardDataType::Fp64,
        DataType::Int64 => EdgewardDataType::Int64,
        DataType::Int32 => EdgewardDataType::Int32,
        DataType::Uint8 => EdgewardDataType::Uint8,
        DataType::Int8 => EdgewardDataType::Int8,
        DataType::Bool => EdgewardDataType::Bool,
        DataType::Bytes => EdgewardDataType::Bytes,
    };
    name as u32
}

/// A declared tensor in C's terms, with the memory that its spec points into.
pub(crate) struct Declared {
    name: CString,
    datatype: u32,
    shape: Vec<i64>,
}

impl Declared {
    pub(crate) fn new(spec: &TensorSpec) -> Self {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Symbolic(_) => EDGEWARD_ANY_SIZE,
        };
        Self {
            name: c_text(&spec.name),
            datatype: number(spec.datatype),
            shape: spec.shape.iter().map(size).collect(),
        }
    }

    /// Points into this.
    pub(crate) fn spec(&self) -> EdgewardTensorSpec {
        EdgewardTensorSpec {
            name: self.name.as_ptr(),
            datatype: self.datatype,
            rank: self.shape.len(),
            shape: self.shape.as_ptr(),
        }
    }
}

/// An output in C's terms, with the memory that its view points into.
pub(crate) struct Shown {
    name: CString,
    shape: Vec<i64>,
    tensor: Tensor,
    /// Byte strings with their lengths between them.
    framed: Vec<u8>,
}

impl Shown {
    pub(crate) fn new(output: NamedTensor) -> Self {
        let NamedTensor { name, tensor } = output;
        let framed = match tensor.data() {
            TensorData::Bytes(_) => tensor.to_le_bytes(),
            _ => Vec::new(),
        };
        let shape = tensor.shape().iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        Self { name: c_text(&name), shape, tensor, framed }
    }

    /// Points into this.
    pub(crate) fn view(&self) -> EdgewardTensor {
        let (data, size_bytes) = memory(self.tensor.data(), &self.framed);
        EdgewardTensor {
            name: self.name.as_ptr(),
            datatype: number(self.tensor.datatype()),
            rank: self.shape.len(),
            shape: self.shape.as_ptr(),
            data,
            size_bytes,
        }
    }
}

fn memory(data: &TensorData, framed: &[u8]) -> (*const c_void, usize) {
    match data {
        TensorData::F32(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
        TensorData::F64(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
        TensorData::I64(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
        TensorData::I32(values) => (values.as_ptr().cast(), size_of_val(values.as_slice())),
        TensorData::U8(values) => (values.as_ptr().cast(), values.len()),
        TensorData::I8(values) => (values.as_ptr().cast(), values.len()),
        TensorData::Bool(values) => (values.as_ptr().cast(), values.len()),
        TensorData::Bytes(_) => (framed.as_ptr().cast(), framed.len()),
    }
}

/// A copy of the caller's inputs. Those without a name get the name in `specs` at their place.
///
/// # Safety
/// As [`EdgewardTensor`] says: every pointer is null or leads to as much as is said of it.
pub(crate) unsafe fn inputs(
    inputs: &[EdgewardTensor],
    specs: &[TensorSpec],
) -> Result<Vec<NamedTensor>, Failure> {
    let mut named = Vec::with_capacity(inputs.len());
    for (at, input) in inputs.iter().enumerate() {
        let name = match input.name.is_null() {
            true => specs.get(at).map(|spec| spec.name.clone()).ok_or_else(|| too_many(specs.len()))?,
            // SAFETY: not null, and the caller's promise is this function's own.
            false => unsafe { text(input.name, "an input's name") }?.to_owned(),
        };
        // SAFETY: the caller's promise is this function's own.
        let tensor = unsafe { tensor(input, &name) }?;
        named.push(NamedTensor { name, tensor });
    }
    Ok(named)
}

fn too_many(takes: usize) -> Failure {
    Failure::new(EdgewardStatus::InvalidInput, format!("the model takes {takes} inputs, more were given"))
}

/// # Safety
/// As [`inputs`].
unsafe fn tensor(input: &EdgewardTensor, name: &str) -> Result<Tensor, Failure> {
    if input.rank > RANK_MAX {
        let words = format!("the input '{name}' has {} dimensions; at most {RANK_MAX} are taken", input.rank);
        return Err(Failure::argument(words));
    }
    // SAFETY: the caller's promise is this function's own.
    let shape = unsafe { array(input.shape, input.rank, "an input's shape") }?;
    let shape: Result<Vec<usize>, _> = shape.iter().map(|size| usize::try_from(*size)).collect();
    let shape = shape.map_err(|_| Failure::argument(format!("the input '{name}' has a negative size")))?;
    let wrong = |error: &dyn std::error::Error| {
        Failure::new(EdgewardStatus::InvalidInput, format!("the input '{name}': {}", chain(error)))
    };
    // Before the data is looked at: a shape that is too large is refused, however long the data is said to be.
    element_count(&shape).map_err(|error| wrong(&error))?;
    // SAFETY: the caller's promise is this function's own; bytes have no alignment.
    let bytes = unsafe { array(input.data.cast::<u8>(), input.size_bytes, "an input's data") }?;
    let datatype = datatype(input.datatype)
        .ok_or_else(|| Failure::argument(format!("the input '{name}' has no datatype {}", input.datatype)))?;
    Tensor::from_le_bytes(datatype, &shape, &little_endian(datatype, bytes)).map_err(|error| wrong(&error))
}

fn datatype(wanted: u32) -> Option<DataType> {
    DataType::ALL.into_iter().find(|datatype| number(*datatype) == wanted)
}

/// The elements in the order that [`Tensor::from_le_bytes`] reads, which is this machine's nearly everywhere.
fn little_endian(datatype: DataType, bytes: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    match datatype.size_bytes() {
        Some(size) if cfg!(target_endian = "big") && size > 1 => {
            bytes.chunks(size).flat_map(|element| element.iter().rev().copied()).collect::<Vec<u8>>().into()
        }
        _ => bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[i64], data: &[f32]) -> EdgewardTensor {
        EdgewardTensor {
            name: c"x".as_ptr(),
            datatype: EdgewardDataType::Fp32 as u32,
            rank: shape.len(),
            shape: shape.as_ptr(),
            data: data.as_ptr().cast(),
            size_bytes: size_of_val(data),
        }
    }

    fn refused(input: EdgewardTensor) -> (EdgewardStatus, String) {
        // SAFETY: the tests' views point to arrays that live longer.
        let outcome = unsafe { inputs(&[input], &[]) };
        outcome.map_err(|failure| (failure.status, failure.words)).unwrap_err()
    }

    #[test]
    fn tensors_go_out_and_come_in_the_same() {
        let texts = Tensor::new([2], vec![b"ab".to_vec(), Vec::new()]).unwrap();
        let numbers = Tensor::new([1, 2], vec![1.5_f64, -0.0]).unwrap();
        let truths = Tensor::new([2], vec![true, false]).unwrap();
        for tensor in [texts, numbers, truths, Tensor::new([0], Vec::<i64>::new()).unwrap()] {
            let shown = Shown::new(tensor.clone().named("x"));
            // SAFETY: the view points into `shown`, which is still there.
            let read = unsafe { inputs(&[shown.view()], &[]) };
            assert_eq!(read.map_err(|failure| failure.words), Ok(vec![tensor.named("x")]));
        }
    }

    #[test]
    fn what_no_tensor_can_be_is_refused() {
        let data = [1.0_f32; 4];
        let words = |input| refused(input).1;
        assert!(words(view(&[-1, 4], &data)).contains("negative"));
        assert!(words(view(&[1; 17], &data)).contains("17 dimensions"));
        assert!(words(view(&[i64::MAX, i64::MAX], &data)).contains("too many elements"));
        assert!(words(view(&[1, 5], &data)).contains("20 bytes but 16"));
        assert!(words(EdgewardTensor { datatype: 99, ..view(&[1, 4], &data) }).contains("no datatype 99"));
        assert!(words(EdgewardTensor { data: std::ptr::null(), ..view(&[1, 4], &data) }).contains("null"));
        let unnamed = EdgewardTensor { name: std::ptr::null(), ..view(&[1, 4], &data) };
        assert_eq!(refused(unnamed).0, EdgewardStatus::InvalidInput);
    }
}
