//! What runs: tensors, signatures, ONNX files, engines, bundles and sessions.
//!
//! - [`tensor`]: what goes in and comes out.
//! - [`signature`]: what those tensors are called and mean.
//! - [`onnx`]: model files as data; builders for writers.
//! - [`engine`]: what loads a model file and runs it.
//! - [`choose`](mod@choose): of several forms of a model, the fastest that is right here.
//! - [`golden`]: does it still give the answers it gave where it was made?
//! - [`bundle`]: a model and all that belongs to it, on disk.
//! - [`delta`](mod@delta): what of a file must travel to a device that has an older one.
//! - [`explain`]: why it answered so: attributions, maps, importance, counterfactuals.
//! - [`session`]: a loaded model with its signature, ready to answer.
//!
//! Deliberately missing: async, clocks, the environment, the network. Files are reached only by path arguments.

pub mod batch;
pub mod bundle;
pub mod choose;
pub mod delta;
pub mod engine;
pub mod explain;
pub mod golden;
pub mod onnx;
pub mod session;
pub mod signature;
pub mod tensor;

pub use bundle::{Bundle, BundleError, BundleWriter};
pub use choose::{Candidate, Choice, ChoiceRow, TimingBudget, choose};
pub use engine::{
    Engine, EngineError, EngineErrorKind, Engines, LoadOptions, OnnxRuntimeConfig, RtenEngine, Runnable,
};
pub use golden::{Golden, GoldenError, GoldenReport, Tolerance};
pub use session::{Outputs, Session, SessionError};
pub use signature::{Dim, Interpretation, Roles, SCORES_MAX, Signature, Task, TensorSpec};
pub use tensor::{DataType, NamedTensor, Tensor, TensorData};
