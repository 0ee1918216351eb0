//! What values do a model's activations take? Asked of an engine by making them outputs.

use std::collections::BTreeMap;

use edgeward_model::onnx::proto::TypeValue;
use edgeward_model::onnx::{self, ModelProto, ValueInfoProto};
use edgeward_model::{DataType, Engine, EngineError, LoadOptions, Tensor};

use super::range::Seen;

/// Runs `calls` twice, once for the bounds and once to count, and tells what was seen of each of `values`. Graph
/// inputs are seen as given.
pub(super) fn observe(
    model: &ModelProto,
    values: &[String],
    engine: &dyn Engine,
    calls: &[Vec<Tensor>],
) -> Result<BTreeMap<String, Seen>, EngineError> {
    let exposed = expose(model, values);
    let runnable = engine.load(&onnx::encode(&exposed), &LoadOptions::with_threads(1))?;
    let mut seen: BTreeMap<String, Seen> =
        values.iter().map(|value| (value.clone(), Seen::default())).collect();
    for counting in [false, true] {
        for call in calls {
            let outputs = runnable.run(call)?;
            let made = runnable.outputs().iter().zip(&outputs);
            for (spec, tensor) in runnable.inputs().iter().zip(call).chain(made) {
                if let (Some(seen), Some(values)) = (seen.get_mut(&spec.name), tensor.as_f32()) {
                    if counting { seen.count(values) } else { seen.widen(values) }
                }
            }
        }
    }
    Ok(seen)
}

/// The model with `values` among its outputs, of unknown shape.
pub(crate) fn expose(model: &ModelProto, values: &[String]) -> ModelProto {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        for value in values {
            let known = graph.output.iter().chain(&graph.input).any(|known| known.name == *value);
            if !known {
                graph.output.push(shapeless(value));
            }
        }
    }
    model
}

fn shapeless(name: &str) -> ValueInfoProto {
    let mut value = ValueInfoProto::tensor(name, DataType::Fp32, &[]);
    if let Some(TypeValue::Tensor(tensor)) = value.r#type.as_mut().and_then(|r#type| r#type.value.as_mut()) {
        tensor.shape = None;
    }
    value
}
