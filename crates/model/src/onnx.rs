//! ONNX files: reading, writing, building and checking, without any engine.
//!
//! The [`proto`] messages are plain data; the builders on them (`NodeProto::new`, `AttributeProto::int`,
//! `TensorProto::from_tensor`, ...) write what every reader takes: constants as `raw_data`, integer attributes unpacked.
//! The same message always encodes to the same bytes.
//!
//! Deliberately missing: operator schemas, shape inference and external data (constants must be inside the file).

mod build;
pub mod graph;
pub mod proto;
mod read;
mod size;
mod weigh;

use std::collections::HashSet;

use prost::Message as _;

pub use build::{IR_VERSION, OPSET_VERSION};
pub use graph::GraphError;
pub use proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto,
    ValueInfoProto,
};
pub use read::{ConstantError, ValueInfoError, datatype_of, element_type_of};
pub use weigh::{DECODED_BYTES_FREE, DECODED_BYTES_PER_BYTE};

/// Largest model file read, in bytes.
pub const MODEL_BYTES_MAX: usize = 1 << 30;

/// Bytes that are not an ONNX model.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// Larger than [`MODEL_BYTES_MAX`].
    #[error("the model is {0} bytes, over the limit of {MODEL_BYTES_MAX}")]
    TooLarge(usize),
    /// Small in the file and large in memory: over [`DECODED_BYTES_FREE`] and more than [`DECODED_BYTES_PER_BYTE`] bytes
    /// per byte beyond it.
    #[error(
        "the model's {bytes} bytes would take {needed} in memory: over {DECODED_BYTES_FREE} and more than \
         {DECODED_BYTES_PER_BYTE} bytes per byte beyond that; no model that was exported does so"
    )]
    Memory {
        /// Length of the file.
        bytes: usize,
        /// Memory its messages would take.
        needed: u64,
    },
    /// Not the protobuf message of a model, or nested too deeply.
    #[error("the bytes are not an ONNX model: they are torn, or of another format")]
    Decode(#[source] prost::DecodeError),
    /// A message that decodes but has no graph; random bytes often do.
    #[error("the ONNX model has no graph; is this an ONNX file?")]
    NoGraph,
}

/// Reads a model from untrusted bytes. The graph is present but not checked; see [`graph::check`].
///
/// # Errors
/// Too large in the file or in memory, not a protobuf message (messages nested deeper than 100 are refused), or without a
/// graph.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    if bytes.len() > MODEL_BYTES_MAX {
        return Err(OnnxError::TooLarge(bytes.len()));
    }
    let needed = weigh::weigh(bytes);
    if needed > weigh::allowance(bytes.len()) {
        return Err(OnnxError::Memory { bytes: bytes.len(), needed });
    }
    let model = ModelProto::decode(bytes).map_err(OnnxError::Decode)?;
    if model.graph.is_none() {
        return Err(OnnxError::NoGraph);
    }
    Ok(model)
}

/// Reads a tensor in a file of its own, as ONNX's test data sets hold them.
///
/// # Errors
/// Too large, or not the message of a tensor.
pub fn decode_tensor(bytes: &[u8]) -> Result<TensorProto, OnnxError> {
    if bytes.len() > MODEL_BYTES_MAX {
        return Err(OnnxError::TooLarge(bytes.len()));
    }
    TensorProto::decode(bytes).map_err(OnnxError::Decode)
}

/// The bytes of `model`: fields in the order of their numbers, always the same for the same model.
#[must_use]
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// The inputs a caller gives: those declared, less those that only give an initialiser's type (IR version 3 and older).
pub fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.input.iter().filter(move |input| !constants.contains(input.name.as_str()))
}
