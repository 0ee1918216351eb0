//! A network as a standard ONNX file (opset 17, IR 8): what the crate's module documentation promises.
//!
//! | graph | |
//! |---|---|
//! | standardise | `Sub(input.mean)`, `Mul(input.scale)` |
//! | hidden layer *i* | `Gemm(hidden<i>.weight, hidden<i>.bias)`, `Relu` |
//! | head | `Gemm(head.weight, head.bias)` |
//! | classification | `Softmax`, `ArgMax`, `Gather(label.values)` |
//! | `embedding`, if asked for | the last hidden layer's `Relu` |
//!
//! The names of the constants are what [`crate::refit()`] finds them by. Deliberately missing: quantisation and
//! graph optimisation, which are the converter's.

use edgeward_model::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, encode,
};
use edgeward_model::{DataType, Dim, Tensor, TensorData};

use crate::network::{Dense, Network};
use crate::params::Task;
use crate::standardise::Standardiser;

pub(crate) const PRODUCER: &str = "edgeward-train";
pub(crate) const CLASSES_KEY: &str = "edgeward.classes";
pub(crate) const FEATURES_KEY: &str = "edgeward.features";
pub(crate) const TASK_KEY: &str = "edgeward.task";
/// Names the output that is a hidden layer's; and what it is called here.
const EMBEDDING_KEY: &str = "edgeward.embedding";
const EMBEDDING: &str = "embedding";
pub(crate) const INPUT_MEAN: &str = "input.mean";
pub(crate) const INPUT_SCALE: &str = "input.scale";
pub(crate) const HEAD: &str = "head";
pub(crate) const LABEL_VALUES: &str = "label.values";
pub(crate) const PROBABILITIES: &str = "probabilities";

/// What the numbers of a network stand for.
pub(crate) struct Described<'a> {
    pub(crate) feature_names: &'a [String],
    /// Empty for a regression.
    pub(crate) classes: &'a [String],
    pub(crate) task: Task,
    /// Whether the last hidden layer is an output, too.
    pub(crate) embedding: bool,
}

/// The file's bytes.
pub(crate) fn export(network: &Network, described: &Described<'_>) -> Vec<u8> {
    let mut model = ModelProto::new(graph(network, described));
    describe(&mut model, described);
    if described.embedding {
        model.set_metadata(EMBEDDING_KEY, EMBEDDING.to_owned());
    }
    encode(&model)
}

/// Writes who made the model and what its numbers stand for.
pub(crate) fn describe(model: &mut ModelProto, described: &Described<'_>) {
    PRODUCER.clone_into(&mut model.producer_name);
    model.set_metadata(FEATURES_KEY, json_list(described.feature_names));
    if described.task == Task::Classification {
        model.set_metadata(CLASSES_KEY, json_list(described.classes));
    }
    model.set_metadata(TASK_KEY, described.task.as_str());
}

/// A JSON list of texts.
pub(crate) fn json_list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// The name of hidden layer `index`, from 0.
pub(crate) fn hidden_name(index: usize) -> String {
    format!("hidden{index}")
}

/// What `label` says for each class: the integer itself where every class is one, else the class's index.
fn label_values(classes: &[String]) -> Vec<i64> {
    let number = |class: &String| class.parse::<i64>().ok().filter(|number| number.to_string() == *class);
    let numbers: Option<Vec<i64>> = classes.iter().map(number).collect();
    numbers.unwrap_or_else(|| (0..classes.len() as i64).collect())
}

/// The constants of a dense layer.
pub(crate) fn dense_constants(name: &str, layer: &Dense) -> [TensorProto; 2] {
    let (inputs, outputs) = layer.weight.dim();
    [
        constant(&format!("{name}.weight"), &[inputs, outputs], floats(&layer.weight)),
        constant(&format!("{name}.bias"), &[outputs], floats(&layer.bias)),
    ]
}

/// The constant behind `label`.
pub(crate) fn label_constant(classes: &[String]) -> TensorProto {
    constant(LABEL_VALUES, &[classes.len()], label_values(classes))
}

/// The declaration of `probabilities`.
pub(crate) fn probabilities_of(classes: usize) -> ValueInfoProto {
    ValueInfoProto::tensor(PROBABILITIES, DataType::Fp32, &[batch(), Dim::Fixed(classes)])
}

fn constant(name: &str, shape: &[usize], values: impl Into<TensorData>) -> TensorProto {
    let tensor = Tensor::new(shape, values).expect("the shape is that of the values");
    TensorProto::from_tensor(name, &tensor)
}

/// In row order, whatever the memory order.
fn floats<'a>(values: impl IntoIterator<Item = &'a f32>) -> Vec<f32> {
    values.into_iter().copied().collect()
}

/// The dimension of rows.
pub(crate) fn batch() -> Dim {
    Dim::symbol("batch")
}

fn graph(network: &Network, described: &Described<'_>) -> GraphProto {
    let mut graph = GraphProto::new("edgeward");
    let mut features = add_input(&mut graph, &network.standardiser);
    for (index, layer) in network.hidden.iter().enumerate() {
        let name = hidden_name(index);
        let is_embedding = described.embedding && index + 1 == network.hidden.len();
        let active = if is_embedding { EMBEDDING.to_owned() } else { format!("{name}.features") };
        let sum = format!("{name}.sum");
        graph.initializer.extend(dense_constants(&name, layer));
        graph.node.push(gemm(&features, &name, &sum));
        graph.node.push(node("Relu", &[&sum], &active));
        features = active;
    }
    graph.initializer.extend(dense_constants(HEAD, &network.head));
    match described.task {
        Task::Classification => add_classes(&mut graph, &features, described.classes),
        Task::Regression => {
            graph.node.push(gemm(&features, HEAD, "value"));
            graph.output.push(ValueInfoProto::tensor("value", DataType::Fp32, &[batch(), Dim::Fixed(1)]));
        }
    }
    if let Some(last) = network.hidden.last().filter(|_| described.embedding) {
        let shape = [batch(), Dim::Fixed(last.bias.len())];
        graph.output.push(ValueInfoProto::tensor(EMBEDDING, DataType::Fp32, &shape));
    }
    graph
}

/// Declares the input and standardises it; the name of the result.
fn add_input(graph: &mut GraphProto, standardiser: &Standardiser) -> String {
    let width = standardiser.mean.len();
    graph.input.push(ValueInfoProto::tensor("input", DataType::Fp32, &[batch(), Dim::Fixed(width)]));
    graph.initializer.push(constant(INPUT_MEAN, &[width], floats(&standardiser.mean)));
    graph.initializer.push(constant(INPUT_SCALE, &[width], floats(&standardiser.scale)));
    graph.node.push(node("Sub", &["input", INPUT_MEAN], "input.centred"));
    graph.node.push(node("Mul", &["input.centred", INPUT_SCALE], "input.standardised"));
    "input.standardised".to_owned()
}

fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto::new(op_type, &format!("{output}/{op_type}"), inputs, &[output])
}

fn gemm(features: &str, layer: &str, output: &str) -> NodeProto {
    node("Gemm", &[features, &format!("{layer}.weight"), &format!("{layer}.bias")], output)
}

fn add_classes(graph: &mut GraphProto, features: &str, classes: &[String]) {
    let axis = |axis| AttributeProto::int("axis", axis);
    graph.node.push(gemm(features, HEAD, "head.logits"));
    graph.node.push(node("Softmax", &["head.logits"], PROBABILITIES).with(axis(1)));
    add_label(graph, classes);
}

/// Derives `label` from `probabilities`, and declares both outputs.
pub(crate) fn add_label(graph: &mut GraphProto, classes: &[String]) {
    let axis = |axis| AttributeProto::int("axis", axis);
    graph.node.extend([
        node("ArgMax", &[PROBABILITIES], "label.index")
            .with(axis(1))
            .with(AttributeProto::int("keepdims", 0)),
        node("Gather", &[LABEL_VALUES, "label.index"], "label").with(axis(0)),
    ]);
    graph.initializer.push(label_constant(classes));
    graph.output.push(ValueInfoProto::tensor("label", DataType::Int64, &[batch()]));
    graph.output.push(probabilities_of(classes.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(classes: &[&str], expect: &[i64]) {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        assert_eq!(label_values(&classes), expect);
    }

    #[test]
    fn labels_are_the_integers_or_else_indices() {
        check(&["-1", "0", "7"], &[-1, 0, 7]);
        check(&["0", "1.5"], &[0, 1]);
        check(&["7", "cat"], &[0, 1]);
        check(&["07", "7"], &[0, 1]);
    }
}
