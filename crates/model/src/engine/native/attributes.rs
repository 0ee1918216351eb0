//! A node's attributes, with errors that name them.

use super::KernelError;
use crate::onnx::{AttributeProto, NodeProto};
use crate::tensor::{Tensor, TensorData};

pub(super) struct Attributes<'a>(pub(super) &'a NodeProto);

impl<'a> Attributes<'a> {
    fn get(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute(name)
    }

    pub(super) fn ints(&self, name: &str) -> &'a [i64] {
        self.get(name).map_or(&[], |attribute| &attribute.ints)
    }

    pub(super) fn floats(&self, name: &str) -> &'a [f32] {
        self.get(name).map_or(&[], |attribute| &attribute.floats)
    }

    pub(super) fn texts(&self, name: &str) -> &'a [Vec<u8>] {
        self.get(name).map_or(&[], |attribute| &attribute.strings)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.get(name)?.s.as_deref()
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.get(name)?.i
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.get(name)?.f
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, KernelError> {
        let Some(proto) = self.get(name).and_then(|attribute| attribute.t.as_ref()) else { return Ok(None) };
        let refuse = |cause| KernelError::invalid(format!("attribute {name}: {cause}"));
        proto.to_tensor().map(Some).map_err(refuse)
    }

    /// The numbers of the list `name` or of the tensor `name_as_tensor`; whether they are 64-bit floats.
    pub(super) fn numbers(&self, name: &str) -> Result<(Vec<f64>, bool), KernelError> {
        match self.tensor(&format!("{name}_as_tensor"))? {
            Some(tensor) => tensor_numbers(name, &tensor),
            None => Ok((self.floats(name).iter().map(|&value| f64::from(value)).collect(), false)),
        }
    }

    /// As [`Attributes::numbers`] for an attribute that is a tensor.
    pub(super) fn tensor_numbers(&self, name: &str) -> Result<(Vec<f64>, bool), KernelError> {
        let missing = || KernelError::invalid(format!("has no attribute {name}"));
        tensor_numbers(name, &self.tensor(name)?.ok_or_else(missing)?)
    }
}

fn tensor_numbers(name: &str, tensor: &Tensor) -> Result<(Vec<f64>, bool), KernelError> {
    match tensor.data() {
        TensorData::F32(values) => Ok((values.iter().map(|&value| f64::from(value)).collect(), false)),
        TensorData::F64(values) => Ok((values.clone(), true)),
        _ => Err(KernelError::unsupported(format!(
            "attribute {name} is {}; FP32 and FP64 are supported",
            tensor.datatype()
        ))),
    }
}
