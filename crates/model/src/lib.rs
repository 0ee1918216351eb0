//! What runs: tensors, signatures, ONNX files, engines, bundles and sessions.
//!
//! - [`tensor`]: what goes in and comes out.
//! - [`signature`]: what those tensors are called and mean.
//! - [`onnx`]: model files as data; builders for writers.
//!
//! Deliberately missing: async, clocks, the environment, the network. Files are reached only by path arguments.

pub mod onnx;
pub mod signature;
pub mod tensor;

pub use signature::{Dim, Interpretation, Roles, Signature, Task, TensorSpec};
pub use tensor::{DataType, NamedTensor, Tensor, TensorData};
