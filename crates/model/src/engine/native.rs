//! Operators of `ai.onnx.ml` that are computed here, because no graph of plain operators does it well: trees are walked
//! node by node, and texts (class names, categories) are looked up.
//!
//! A [`Kernel`] is made from one node, checked whole when the model is loaded, and immutable after. The reference is
//! what ONNX Runtime answers, quirks included; each quirk stands where it is computed.
//!
//! Deliberately missing: the domain's operators that plain ones can express (scalers, linear models, encoders). Converting
//! a model replaces those.

mod attributes;
mod forest;
mod labels;
mod scores;
mod trees;

pub(crate) use forest::{Branch, Mode};
pub(crate) use trees::{Ensemble, read as read_ensemble};

use crate::onnx::NodeProto;
use crate::tensor::{DataType, Tensor};

use super::EngineErrorKind;

/// The domain of the operators.
pub(super) const DOMAIN: &str = "ai.onnx.ml";

/// Why a node is refused, or does not run.
#[derive(Debug)]
pub(crate) struct KernelError {
    pub(super) kind: EngineErrorKind,
    pub(crate) message: String,
}

impl KernelError {
    fn new(kind: EngineErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(EngineErrorKind::InvalidGraph, message)
    }

    fn unsupported(message: impl Into<String>) -> Self {
        Self::new(EngineErrorKind::UnsupportedOperator, message)
    }

    fn failed(message: impl Into<String>) -> Self {
        Self::new(EngineErrorKind::OperatorFailed, message)
    }
}

/// One node, ready to run.
pub(super) trait Kernel: Send + Sync {
    /// The types of the outputs, in the order of the node's.
    fn datatypes(&self) -> Vec<DataType>;

    /// Computes every output. Integers may come in any width.
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError>;
}

/// Whether the node is computed here, whatever it reads.
pub(super) fn is_native(node: &NodeProto) -> bool {
    let known = ["TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble", "LabelEncoder"];
    node.domain == DOMAIN && known.contains(&node.op_type.as_str())
}

/// Whether the node only hands on its input: exporters end graphs with such nodes, which are not worth an engine's run.
pub(super) fn hands_on(node: &NodeProto) -> bool {
    node.domain.is_empty() && node.op_type == "Identity"
}

/// `Identity` of a value that a kernel made.
struct HandOn(DataType);

impl Kernel for HandOn {
    fn datatypes(&self) -> Vec<DataType> {
        vec![self.0]
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
        Ok(inputs.iter().map(|&input| input.clone()).collect())
    }
}

/// The kernel of a node that [`is_native`] or [`hands_on`] what one made; `input` is the type of its input, where that is known.
pub(super) fn kernel(node: &NodeProto, input: Option<DataType>) -> Result<Box<dyn Kernel>, KernelError> {
    if node.input.len() != 1 || node.input[0].is_empty() {
        return Err(KernelError::invalid(format!("takes one input but has {}", node.input.len())));
    }
    match node.op_type.as_str() {
        "Identity" => {
            let unknown = || KernelError::invalid("hands on a value of unknown type");
            Ok(Box::new(HandOn(input.ok_or_else(unknown)?)))
        }
        "LabelEncoder" => Ok(Box::new(labels::LabelEncoder::new(node, input)?)),
        _ => trees::kernel(node, input),
    }
}
