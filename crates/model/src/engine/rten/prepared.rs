//! A model in the form this engine loads fastest: a small graph, and beside it the weights, as they lie in memory.
//!
//! ONNX keeps weights inside the messages of the graph, where they must be found and copied, twice with the checks an
//! untrusted file needs. Here the checks were made when the form was written, and the weights are read in one go and
//! used where they are. The form is ONNX too (external data), so nothing depends on the engine's own file format.
//!
//! The same model always gives the same bytes. What may be believed about such files is the caller's business.

use std::path::Path;

use super::{NAME, error};
use crate::engine::{EngineError, EngineErrorKind, Prepared, read_bounded};
use crate::onnx::proto::{DATA_LOCATION_EXTERNAL, StringStringEntryProto};
use crate::onnx::{self, ModelProto, TensorProto};

/// The graph of a prepared form.
pub(super) const GRAPH: &str = "graph.onnx";

/// Its weights; the engine asks for a name that ends so.
pub(super) const WEIGHTS: &str = "weights.data";

/// Weights begin at multiples of this, so that they can be used where they are.
const ALIGNMENT: usize = 64;

/// Constants of fewer bytes stay in the graph.
const BYTES_MIN: usize = 256;

/// The prepared form of a checked model without native nodes.
pub(super) fn prepare(mut model: ModelProto) -> Vec<Prepared> {
    let mut weights = Vec::new();
    if let Some(graph) = &mut model.graph {
        graph.initializer.iter_mut().for_each(|constant| move_out(constant, &mut weights));
    }
    let graph = Prepared { name: GRAPH, bytes: onnx::encode(&model) };
    vec![graph, Prepared { name: WEIGHTS, bytes: weights }]
}

fn move_out(constant: &mut TensorProto, weights: &mut Vec<u8>) {
    let Some(bytes) = constant.raw_data.take_if(|bytes| bytes.len() >= BYTES_MIN) else { return };
    weights.resize(weights.len().next_multiple_of(ALIGNMENT), 0);
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
    constant.external_data = vec![
        entry("location", WEIGHTS.to_owned()),
        entry("offset", weights.len().to_string()),
        entry("length", bytes.len().to_string()),
    ];
    constant.data_location = DATA_LOCATION_EXTERNAL;
    weights.extend(bytes);
}

/// Graph and weights of the form in `folder`.
pub(super) fn read(folder: &Path) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
    Ok((read_bounded(NAME, &folder.join(GRAPH))?, read_bounded(NAME, &folder.join(WEIGHTS))?))
}

/// Refuses weights outside the file, and files other than it.
pub(super) fn check(model: &ModelProto, weights: &[u8]) -> Result<(), EngineError> {
    let constants = model.graph.iter().flat_map(|graph| &graph.initializer);
    for constant in constants.filter(|constant| constant.is_external()) {
        let value = |key: &str| {
            constant.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
        };
        let number = |key: &str| value(key).and_then(|text| text.parse::<usize>().ok());
        let end =
            number("offset").zip(number("length")).and_then(|(offset, length)| offset.checked_add(length));
        if value("location") != Some(WEIGHTS) || end.is_none_or(|end| end > weights.len()) {
            let why =
                format!("the weights of '{}' are not in {WEIGHTS}; prepare the model again", constant.name);
            return Err(error(EngineErrorKind::InvalidGraph, why));
        }
    }
    Ok(())
}
