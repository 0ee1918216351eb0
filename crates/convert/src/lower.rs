//! Operators of `ai.onnx.ml` rewritten as plain ones, so that every engine can run a scikit-learn model.
//!
//! | operator | becomes |
//! |---|---|
//! | `Scaler`, `Normalizer`, `Imputer`, `Binarizer`, `FeatureVectorizer` | arithmetic |
//! | `LinearClassifier`, `LinearRegressor` | `Gemm`, the transform, a table of labels |
//! | `ArrayFeatureExtractor`, `OneHotEncoder` | `Gather` |
//! | `ZipMap` | nothing: the output is the matrix of scores |
//! | `TreeEnsemble...`, `LabelEncoder` | themselves: engines have them |
//!
//! Texts: no plain operator of the embedded engine takes them, so every text is an index into a table on its way through
//! the graph. A text input is looked up first (a text that no node of the graph knows is -1), a text output last, both by
//! `LabelEncoder`. Results are ONNX Runtime's, quirks included.
//!
//! Deliberately missing: support vector machines, maps and dictionaries as inputs, the `PROBIT` and `SOFTMAX_ZERO`
//! transforms of linear models, and operators inside subgraphs. Each is refused by the name of its node.

mod encode;
mod linear;
mod numeric;
mod rewrite;
mod unzip;

use edgeward_model::onnx::graph::{describe, order, reads};
use edgeward_model::onnx::{GraphError, ModelProto, NodeProto, OperatorSetIdProto};
use edgeward_model::{DataType, Tensor};

use self::rewrite::{Rewrite, Text};
pub use self::unzip::unzip;

/// The domain of the operators.
const DOMAIN: &str = "ai.onnx.ml";

/// First set of the domain with today's `LabelEncoder`.
const LABEL_ENCODER_SET: i64 = 2;

/// A model that cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// The graph is not sound.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An operator, or one of its attributes, that has no plain form here.
    #[error("{node} {reason}")]
    Unsupported {
        /// The node, with its operator.
        node: String,
        /// What it is about it.
        reason: String,
    },
}

/// The same model with plain operators in place of those this module knows. A model without any is returned as it is.
///
/// # Errors
/// A node has no plain form.
pub fn lower(model: &ModelProto) -> Result<ModelProto, LowerError> {
    let graph = model.graph.as_ref().ok_or(GraphError::Missing)?;
    if !graph.node.iter().any(|node| node.domain == DOMAIN) {
        return Ok(model.clone());
    }
    let mut rewrite = Rewrite::new(graph, model.opset_version());
    rewrite.encode_inputs();
    for index in order(graph)? {
        let node = &graph.node[index];
        let refuse = |reason| LowerError::Unsupported { node: describe(node), reason };
        lower_node(&mut rewrite, node).map_err(refuse)?;
    }
    rewrite.decode_outputs().map_err(|(name, reason)| LowerError::Unsupported {
        node: format!("the graph's output '{name}'"),
        reason,
    })?;
    let mut lowered = model.clone();
    lowered.opset_import = opsets(model, &rewrite);
    lowered.graph = Some(rewrite.into_graph());
    Ok(lowered)
}

fn opsets(model: &ModelProto, rewrite: &Rewrite<'_>) -> Vec<OperatorSetIdProto> {
    let mut sets: Vec<OperatorSetIdProto> = Vec::new();
    for set in &model.opset_import {
        if !sets.iter().any(|known| known.domain == set.domain) {
            sets.push(set.clone());
        }
    }
    let encoders = rewrite.uses("LabelEncoder");
    for set in sets.iter_mut().filter(|set| set.domain == DOMAIN && encoders) {
        set.version = set.version.max(LABEL_ENCODER_SET);
    }
    sets.retain(|set| set.domain != DOMAIN || rewrite.uses_domain());
    sets
}

type Done = Result<(), String>;

fn lower_node(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    if node.domain != DOMAIN {
        return plain(rewrite, node);
    }
    let given = |names: &[String]| names.first().is_some_and(|name| !name.is_empty());
    if !given(&node.input) || !given(&node.output) {
        return Err("has no input or no output; it needs both".to_owned());
    }
    match node.op_type.as_str() {
        "Scaler" => numeric::scaler(rewrite, node),
        "Normalizer" => numeric::normalizer(rewrite, node),
        "Imputer" => numeric::imputer(rewrite, node),
        "Binarizer" => numeric::binarizer(rewrite, node),
        "FeatureVectorizer" => numeric::feature_vectorizer(rewrite, node),
        "LinearClassifier" => linear::classifier(rewrite, node),
        "LinearRegressor" => linear::regressor(rewrite, node),
        "ArrayFeatureExtractor" => encode::array_feature_extractor(rewrite, node),
        "OneHotEncoder" => encode::one_hot_encoder(rewrite, node),
        "LabelEncoder" => encode::label_encoder(rewrite, node),
        "TreeEnsembleClassifier" => tree_classifier(rewrite, node),
        "TreeEnsembleRegressor" | "TreeEnsemble" => {
            rewrite.set_kind(&node.output[0], DataType::Fp32);
            rewrite.keep(node.clone());
            Ok(())
        }
        other => {
            Err(format!("has no plain form: {other} is not supported; leave it out of the exported model"))
        }
    }
}

/// Operators that move elements without looking at them; the first input has the elements.
const MOVERS: &[&str] = &[
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Transpose",
    "Gather",
    "Slice",
    "Split",
    "Expand",
];

fn plain(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let texts: Vec<&str> = reads(node).into_iter().filter(|name| rewrite.text(name).is_some()).collect();
    if texts.is_empty() {
        rewrite.infer(node);
        rewrite.keep(node.clone());
        return Ok(());
    }
    let first = node.input.first().map_or("", String::as_str);
    let mover = MOVERS.contains(&node.op_type.as_str()) && texts == [first];
    let moved: Vec<Text> = node.input.iter().filter_map(|name| rewrite.text(name).cloned()).collect();
    let joined = node.op_type == "Concat"
        && moved.len() == node.input.len()
        && moved.iter().all(|text| text.table == moved[0].table);
    let same = node.op_type == "Cast"
        && node.int("to", 0) == i64::from(edgeward_model::onnx::proto::element_type::STRING);
    // A subgraph that reads a text does not move it.
    if moved.is_empty() || !(mover || joined || same) {
        return Err(format!(
            "reads the text '{}', which only moving and looking up is supported for",
            texts[0]
        ));
    }
    let mut on_indices = node.clone();
    if same {
        (on_indices.op_type, on_indices.attribute) = ("Identity".to_owned(), Vec::new());
    }
    for input in &mut on_indices.input {
        if let Some(text) = rewrite.text(input) {
            *input = text.index.clone();
        }
    }
    for output in on_indices.output.iter_mut().filter(|output| !output.is_empty()) {
        let index = rewrite.fresh(&format!("{output}.index"));
        rewrite.set_text(output, Text { index: index.clone(), ..moved[0].clone() });
        *output = index;
    }
    rewrite.keep(on_indices);
    Ok(())
}

/// Trees with text labels say the class's index where other nodes move the label.
fn tree_classifier(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let (label, mut node) = (node.output[0].clone(), node.clone());
    if let Some(scores) = node.output.get(1) {
        rewrite.set_kind(scores, DataType::Fp32);
    }
    let texts =
        node.attribute("classlabels_strings").map(|labels| labels.strings.clone()).unwrap_or_default();
    if texts.is_empty() {
        rewrite.set_kind(&label, DataType::Int64);
    } else if rewrite.is_read(&label) {
        let index = rewrite.fresh(&format!("{label}.index"));
        node.attribute.retain(|attribute| !attribute.name.starts_with("classlabels_"));
        let indices = (0..texts.len() as i64).collect();
        node = node.with(edgeward_model::onnx::AttributeProto::ints("classlabels_int64s", indices));
        node.output[0].clone_from(&index);
        rewrite.set_kind(&index, DataType::Int64);
        rewrite.set_text(&label, Text { index, table: texts, lossy: false });
    }
    rewrite.keep(node);
    Ok(())
}

/// A list of numbers as a constant.
fn list<T>(values: Vec<T>) -> Tensor
where
    Vec<T>: Into<edgeward_model::TensorData>,
{
    let shape = [values.len()];
    Tensor::new(shape, values).expect("a list has the length of its values")
}
