//! Guessing the signature of a bare ONNX file from its graph.
//!
//! Rules, first match wins; `N` is the first dimension:
//! 1. An integer or text output of one element per row beside a float output of C >= 2 per row (scikit-learn's form):
//!    classification; they are `label` and `probabilities`.
//! 2. One float output of C >= 2 per row: classification. Made by `Softmax`, it is `probabilities`, else `logits`.
//! 3. One float output of one number per row made by `Sigmoid`: classification with two classes, `probabilities`.
//! 4. One float output of one number per row: regression, `value`.
//! 5. Anything else: [`Task::Other`].
//!
//! An output that the metadata entry [`METADATA_EMBEDDING`] names, floats of `[N, width]`, is the `embedding`; the rules
//! see the others.
//!
//! Classes are named by the metadata entry [`METADATA_CLASSES`], features by [`METADATA_FEATURE_NAMES`] (JSON arrays of
//! strings). Without it classes are named by the labels of the node that makes the label (`ai.onnx.ml` classifiers and
//! label tables), else `"0"`, `"1"`, ... An entry of the wrong length is ignored: it is a guess either way, and a bundle's
//! `signature.json` says it for certain.

use crate::onnx::{AttributeProto, GraphProto, ModelProto, OnnxError, inputs};
use crate::session::SessionError;
use crate::signature::{Dim, NAMES_MAX, Roles, Signature, Task, TensorSpec};
use crate::tensor::{DataType, Tensor, TensorData};

/// ONNX metadata key for a JSON array of class names.
pub const METADATA_CLASSES: &str = "edgeward.classes";

/// ONNX metadata key for a JSON array with the names of the first input's columns.
pub const METADATA_FEATURE_NAMES: &str = "edgeward.feature_names";

/// ONNX metadata key for the name of an output that is a hidden layer's.
pub const METADATA_EMBEDDING: &str = "edgeward.embedding";

/// The best guess of what a model's tensors mean, by the rules of this module's documentation.
///
/// # Errors
/// The model has no graph, or inputs or outputs that are not tensors of a supported type.
pub fn derive_signature(model: &ModelProto) -> Result<Signature, SessionError> {
    derive_with(model, model.metadata(METADATA_EMBEDDING))
}

/// As [`derive_signature`], with the output of this name as the `embedding` whatever the metadata says; a name of no
/// suitable output names none.
///
/// # Errors
/// As [`derive_signature`].
pub fn derive_with(model: &ModelProto, embedding: Option<&str>) -> Result<Signature, SessionError> {
    let graph = model.graph.as_ref().ok_or(OnnxError::NoGraph)?;
    let inputs = inputs(graph).map(crate::onnx::ValueInfoProto::spec).collect::<Result<Vec<_>, _>>()?;
    let outputs =
        graph.output.iter().map(crate::onnx::ValueInfoProto::spec).collect::<Result<Vec<_>, _>>()?;
    let embedding = outputs.iter().find(|output| embedding == Some(&output.name) && is_embedding(output));
    let embedding = embedding.map(|output| output.name.clone());
    let others: Vec<TensorSpec> =
        outputs.iter().filter(|output| embedding.as_ref() != Some(&output.name)).cloned().collect();
    let (task, roles) = guess(model, graph, &others);
    let roles = Roles { embedding, ..roles };
    let features = inputs.first().and_then(|input| input.shape.last().cloned());
    let named = names(model, METADATA_FEATURE_NAMES);
    let feature_names = named.filter(|names| features == Some(Dim::Fixed(names.len()))).unwrap_or_default();
    let signature = Signature { feature_names, roles, ..Signature::new(task, inputs, outputs) };
    signature.validate()?;
    Ok(signature)
}

fn guess(model: &ModelProto, graph: &GraphProto, outputs: &[TensorSpec]) -> (Task, Roles) {
    let floats: Vec<&TensorSpec> = outputs.iter().filter(|output| output.datatype.is_float()).collect();
    let label = outputs.iter().find(|output| is_label(output));
    let other = (Task::Other, Roles::default());
    let [scores] = floats[..] else { return other };
    let name = || Some(scores.name.clone());
    let made_by = maker(graph, &scores.name);
    match (width(scores), label) {
        (Some(width), Some(label)) if width >= 2 && outputs.len() == 2 => {
            let roles = Roles { label: Some(label.name.clone()), probabilities: name(), ..Roles::default() };
            (labelled(model, graph, &label.name, width), roles)
        }
        _ if outputs.len() != 1 => other,
        (Some(width), _) if width >= 2 && made_by == Some("Softmax") => {
            (classification(model, width), Roles { probabilities: name(), ..Roles::default() })
        }
        (Some(width), _) if width >= 2 => {
            (classification(model, width), Roles { logits: name(), ..Roles::default() })
        }
        (Some(1), _) if made_by == Some("Sigmoid") => {
            (classification(model, 2), Roles { probabilities: name(), ..Roles::default() })
        }
        (Some(1), _) => (Task::Regression, Roles { value: name(), ..Roles::default() }),
        _ => other,
    }
}

fn is_embedding(output: &TensorSpec) -> bool {
    output.datatype.is_float() && output.shape.len() == 2
}

fn is_label(output: &TensorSpec) -> bool {
    matches!(output.datatype, DataType::Int64 | DataType::Int32 | DataType::Bytes) && width(output) == Some(1)
}

/// Numbers per row, where the shape `[N]` or `[N, C]` says it.
fn width(output: &TensorSpec) -> Option<usize> {
    match &output.shape[..] {
        [_] => Some(1),
        [_, Dim::Fixed(width)] if (1..=NAMES_MAX).contains(width) => Some(*width),
        _ => None,
    }
}

fn maker<'a>(graph: &'a GraphProto, output: &str) -> Option<&'a str> {
    let node = graph.node.iter().find(|node| node.output.iter().any(|name| name == output))?;
    Some(&node.op_type)
}

/// Nodes that are looked through in search of the one with the labels.
const PASSED_MAX: usize = 8;

/// The classification whose classes the metadata names, else the nodes that make the output `label`.
fn labelled(model: &ModelProto, graph: &GraphProto, label: &str, classes: usize) -> Task {
    if names(model, METADATA_CLASSES).is_some() {
        return classification(model, classes);
    }
    match labels(graph, label).filter(|labels| labels.len() == classes) {
        Some(classes) => Task::Classification { classes },
        None => classification(model, classes),
    }
}

fn labels(graph: &GraphProto, output: &str) -> Option<Vec<String>> {
    let mut value = output;
    for _ in 0..PASSED_MAX {
        let node = graph.node.iter().find(|node| node.output.iter().any(|name| name == value))?;
        let found = ["classlabels_strings", "values_strings", "classlabels_int64s", "classlabels_ints"]
            .iter()
            .find_map(|name| node.attribute(name).map(texts).filter(|texts| !texts.is_empty()));
        if found.is_some() {
            return found;
        }
        value = node.input.first()?;
        if matches!(node.op_type.as_str(), "ArrayFeatureExtractor" | "Gather") {
            let table = graph.constant(value)?.to_tensor().ok()?;
            return Some((0..table.len()).filter_map(|at| element(&table, at)).collect());
        }
    }
    None
}

fn texts(attribute: &AttributeProto) -> Vec<String> {
    let strings = attribute.strings.iter().map(|text| String::from_utf8_lossy(text).into_owned());
    strings.chain(attribute.ints.iter().map(ToString::to_string)).collect()
}

fn element(tensor: &Tensor, at: usize) -> Option<String> {
    match tensor.data() {
        TensorData::Bytes(texts) => texts.get(at).map(|text| String::from_utf8_lossy(text).into_owned()),
        _ => tensor.number(at).map(|number| number.to_string()),
    }
}

fn classification(model: &ModelProto, classes: usize) -> Task {
    let named = names(model, METADATA_CLASSES).filter(|names| names.len() == classes);
    Task::Classification {
        classes: named.unwrap_or_else(|| (0..classes).map(|class| class.to_string()).collect()),
    }
}

fn names(model: &ModelProto, key: &str) -> Option<Vec<String>> {
    serde_json::from_str(model.metadata(key)?).ok()
}
