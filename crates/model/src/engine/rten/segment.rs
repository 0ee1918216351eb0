//! A model of plain operators in the engine's own form.

use std::collections::HashMap;
use std::sync::Arc;

use rten::{LoadError, LoadErrorKind, Model, ModelOptions, NodeId, RunError, RunErrorKind, RunOptions};

use super::pools::Pools;
use super::values::{from_value, to_value};
use super::{contain, error};
use crate::engine::{EngineError, EngineErrorKind};
use crate::tensor::Tensor;

/// The operator of each node by the name errors give it.
pub(super) type Operators = Arc<HashMap<String, String>>;

pub(super) struct Segment {
    model: Model,
    input_ids: Vec<NodeId>,
    outputs: Vec<(String, NodeId)>,
    pools: Option<Arc<Pools>>,
    operators: Operators,
}

impl Segment {
    /// Loads ONNX bytes whose inputs and outputs have these names; `data` is a file that constants stand in.
    pub(super) fn load(
        onnx: Vec<u8>,
        data: Option<(&str, Vec<u8>)>,
        inputs: &[&str],
        outputs: &[&str],
        operators: Operators,
        pools: Option<Arc<Pools>>,
    ) -> Result<Self, EngineError> {
        let mut options = ModelOptions::with_all_ops();
        if let Some((name, bytes)) = data {
            options.external_data(name, bytes);
        }
        let load = || options.load(onnx);
        let model = contain("loading", load)?.map_err(|cause| load_error(&operators, &cause))?;
        let id = |name: &str| model.node_id(name).map_err(|cause| run_error(&operators, &cause));
        let input_ids = inputs.iter().map(|name| id(name)).collect::<Result<_, _>>()?;
        let output = |name: &&str| Ok(((*name).to_owned(), id(name)?));
        let outputs = outputs.iter().map(output).collect::<Result<_, EngineError>>()?;
        Ok(Self { model, input_ids, outputs, pools, operators })
    }

    /// Runs it on tensors in the order of the inputs; outputs have the types the engine computes in.
    pub(super) fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        let invalid =
            |name: &str, why: String| error(EngineErrorKind::InvalidInput, format!("input '{name}' {why}"));
        let values = inputs.iter().map(|(name, tensor)| to_value(tensor).map_err(|why| invalid(name, why)));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let pairs = self.input_ids.iter().copied().zip(values).collect();
        let ids: Vec<NodeId> = self.outputs.iter().map(|output| output.1).collect();
        let pool = self.pools.as_ref().map(|pools| pools.of_caller());
        let options = RunOptions::default().with_thread_pool(pool);
        let run = || self.model.run(pairs, &ids, Some(options));
        let values = contain("running", run)?.map_err(|cause| run_error(&self.operators, &cause))?;
        self.outputs.iter().zip(values).map(|((name, _), value)| from_value(name, value)).collect()
    }
}

fn load_error(operators: &Operators, cause: &LoadError) -> EngineError {
    let kind = match cause.kind() {
        LoadErrorKind::OperatorInvalid => EngineErrorKind::UnsupportedOperator,
        LoadErrorKind::ParseError | LoadErrorKind::UnknownFileType => EngineErrorKind::NotOnnx,
        _ => EngineErrorKind::InvalidGraph,
    };
    let node = cause.node().map(str::to_owned);
    let operator = node.as_ref().and_then(|node| operators.get(node).cloned());
    let message = std::error::Error::source(cause).map_or_else(|| cause.to_string(), ToString::to_string);
    error(kind, message).at(node, operator)
}

fn run_error(operators: &Operators, cause: &RunError) -> EngineError {
    let kind = match cause.kind() {
        RunErrorKind::InvalidInput => EngineErrorKind::InvalidInput,
        RunErrorKind::OperatorError => EngineErrorKind::OperatorFailed,
        _ => EngineErrorKind::InvalidGraph,
    };
    let node = cause.node_path().last().copied().flatten().map(str::to_owned);
    let operator = node.as_ref().and_then(|node| operators.get(node).cloned());
    error(kind, cause.to_string()).at(node, operator)
}
