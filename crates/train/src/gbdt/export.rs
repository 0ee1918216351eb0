//! A forest as `ai.onnx.ml` operators (set 3): `TreeEnsembleClassifier` or `TreeEnsembleRegressor`.
//!
//! Runtimes differ on binary ensembles with a single weight per leaf, on `base_values`, and on the label of two
//! classes that are not 0 and 1. So a binary leaf gives a weight to each of the two classes, base scores are in the
//! first trees' leaves, the transform is `SOFTMAX`, and `label` comes from `probabilities` by plain operators.
//! Missing values follow `nodes_missing_value_tracks_true`.

use edgeward_model::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto, encode,
};
use edgeward_model::{DataType, Dim};

use super::{Forest, Node, Objective};
use crate::export::{Described, PROBABILITIES, add_label, batch, describe};

const DOMAIN: &str = "ai.onnx.ml";
const DOMAIN_VERSION: i64 = 3;

/// The node lists of a tree ensemble, all of one length.
#[derive(Default)]
struct Columns {
    tree_ids: Vec<i64>,
    node_ids: Vec<i64>,
    features: Vec<i64>,
    thresholds: Vec<f32>,
    modes: Vec<&'static str>,
    below: Vec<i64>,
    above: Vec<i64>,
    missing_below: Vec<i64>,
    weights: Weights,
}

/// The leaf lists of a tree ensemble, all of one length.
#[derive(Default)]
struct Weights {
    tree_ids: Vec<i64>,
    node_ids: Vec<i64>,
    outputs: Vec<i64>,
    values: Vec<f32>,
}

/// The file's bytes; `width` features.
pub(crate) fn export(forest: &Forest, width: usize, described: &Described<'_>) -> Vec<u8> {
    let mut graph = GraphProto::new("edgeward");
    graph.input.push(ValueInfoProto::tensor("input", DataType::Fp32, &[batch(), Dim::Fixed(width)]));
    let columns = Columns::of(forest);
    if forest.objective == Objective::Regression {
        graph.node.push(regressor(columns));
        graph.output.push(ValueInfoProto::tensor("value", DataType::Fp32, &[batch(), Dim::Fixed(1)]));
    } else {
        graph.node.push(classifier(columns, described.classes.len()));
        add_label(&mut graph, described.classes);
    }
    let mut model = ModelProto::new(graph);
    model.opset_import.push(OperatorSetIdProto { domain: DOMAIN.to_owned(), version: DOMAIN_VERSION });
    describe(&mut model, described);
    encode(&model)
}

fn classifier(mut columns: Columns, classes: usize) -> NodeProto {
    let weights = std::mem::take(&mut columns.weights);
    let node = NodeProto::new("TreeEnsembleClassifier", "trees", &["input"], &["trees.label", PROBABILITIES]);
    columns
        .add_to(node.in_domain(DOMAIN))
        .with(AttributeProto::ints("class_treeids", weights.tree_ids))
        .with(AttributeProto::ints("class_nodeids", weights.node_ids))
        .with(AttributeProto::ints("class_ids", weights.outputs))
        .with(AttributeProto::floats("class_weights", weights.values))
        .with(AttributeProto::ints("classlabels_int64s", (0..classes as i64).collect()))
        .with(AttributeProto::text("post_transform", "SOFTMAX"))
}

fn regressor(mut columns: Columns) -> NodeProto {
    let weights = std::mem::take(&mut columns.weights);
    let node = NodeProto::new("TreeEnsembleRegressor", "trees", &["input"], &["value"]);
    columns
        .add_to(node.in_domain(DOMAIN))
        .with(AttributeProto::ints("target_treeids", weights.tree_ids))
        .with(AttributeProto::ints("target_nodeids", weights.node_ids))
        .with(AttributeProto::ints("target_ids", weights.outputs))
        .with(AttributeProto::floats("target_weights", weights.values))
        .with(AttributeProto::int("n_targets", 1))
        .with(AttributeProto::text("aggregate_function", "SUM"))
        .with(AttributeProto::text("post_transform", "NONE"))
}

impl Columns {
    fn of(forest: &Forest) -> Self {
        let mut columns = Self::default();
        let per_round = forest.objective.trees_per_round();
        for (tree_id, tree) in forest.trees.iter().enumerate() {
            let targets = forest.objective.targets(tree_id % per_round);
            for (node_id, node) in tree.nodes.iter().enumerate() {
                columns.push(tree_id as i64, node_id as i64, node, &targets);
            }
        }
        columns
    }

    fn push(&mut self, tree_id: i64, node_id: i64, node: &Node, targets: &[(usize, f32)]) {
        let (mode, feature, threshold, missing_below, below, above) = match *node {
            Node::Branch { feature, threshold, missing_below, below, above } => {
                ("BRANCH_LEQ", feature, threshold, missing_below, below, above)
            }
            Node::Leaf(value) => {
                for &(output, times) in targets {
                    self.weights.push(tree_id, node_id, output as i64, times * value);
                }
                ("LEAF", 0, 0.0, false, 0, 0)
            }
        };
        self.tree_ids.push(tree_id);
        self.node_ids.push(node_id);
        self.modes.push(mode);
        self.features.push(feature as i64);
        self.thresholds.push(threshold);
        self.missing_below.push(i64::from(missing_below));
        self.below.push(below as i64);
        self.above.push(above as i64);
    }

    fn add_to(self, node: NodeProto) -> NodeProto {
        node.with(AttributeProto::ints("nodes_treeids", self.tree_ids))
            .with(AttributeProto::ints("nodes_nodeids", self.node_ids))
            .with(AttributeProto::ints("nodes_featureids", self.features))
            .with(AttributeProto::floats("nodes_values", self.thresholds))
            .with(AttributeProto::texts("nodes_modes", &self.modes))
            .with(AttributeProto::ints("nodes_truenodeids", self.below))
            .with(AttributeProto::ints("nodes_falsenodeids", self.above))
            .with(AttributeProto::ints("nodes_missing_value_tracks_true", self.missing_below))
    }
}

impl Weights {
    fn push(&mut self, tree_id: i64, node_id: i64, output: i64, value: f32) {
        self.tree_ids.push(tree_id);
        self.node_ids.push(node_id);
        self.outputs.push(output);
        self.values.push(value);
    }
}
