//! The same answers from a smaller graph.
//!
//! In this order, until nothing changes: `Constant` nodes become initialisers, `Identity` and inference-time `Dropout`
//! are removed, nodes whose inputs are all constant are computed once by an engine (a few FP32 operators only: what an
//! engine computes in another type must not leak into the file), and what no output needs is dropped. Nodes end up in
//! topological order, and constants as plain bytes: a list of numbers, one message field each, takes an engine ten times as long
//! to read.
//!
//! Names of inputs and outputs never change, nor do their types. Graphs with subgraphs are handled: a value that a
//! subgraph reads counts as used and is renamed there too.
//!
//! Deliberately missing: fusing operators. Engines do that when they load, each its own way.

mod fold;

use std::collections::{BTreeSet, HashSet};

use edgeward_model::Engine;
use edgeward_model::onnx::graph::{order, reads};
use edgeward_model::onnx::{GraphError, GraphProto, ModelProto, NodeProto, TensorProto};
use serde::{Deserialize, Serialize};

/// Most rounds of all passes; each removes a node, so this only bounds hostile graphs.
const ROUNDS_MAX: usize = 64;

/// What was done to a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptimiseReport {
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
    /// Nodes that were computed once and became constants.
    pub nodes_folded: usize,
}

/// A smaller model with the same answers, and what was done. `engine` computes what is constant.
///
/// # Errors
/// The graph is not sound.
pub fn optimise(model: &ModelProto, engine: &dyn Engine) -> Result<(ModelProto, OptimiseReport), GraphError> {
    let mut model = model.clone();
    let opset = model.opset_import.clone();
    let graph = model.graph.as_mut().ok_or(GraphError::Missing)?;
    let mut report = OptimiseReport { nodes_before: graph.node.len(), ..OptimiseReport::default() };
    sort(graph)?;
    for _ in 0..ROUNDS_MAX {
        let before = graph.node.len();
        lift_constants(graph);
        remove_pass_through(graph);
        report.nodes_folded += fold::fold(graph, &opset, engine);
        remove_unused(graph);
        if graph.node.len() == before {
            break;
        }
    }
    graph.initializer.iter_mut().for_each(write_as_bytes);
    report.nodes_after = graph.node.len();
    Ok((model, report))
}

/// A constant whose numbers stand in a list gets them as bytes; one of another type stays as it is.
fn write_as_bytes(constant: &mut TensorProto) {
    if constant.raw_data.is_none()
        && let Ok(tensor) = constant.to_tensor()
    {
        let TensorProto { name, doc_string, metadata_props, .. } = std::mem::take(constant);
        *constant = TensorProto { doc_string, metadata_props, ..TensorProto::from_tensor(name, &tensor) };
    }
}

fn sort(graph: &mut GraphProto) -> Result<(), GraphError> {
    let order = order(graph)?;
    graph.node = order.into_iter().map(|index| graph.node[index].clone()).collect();
    Ok(())
}

/// `Constant` nodes with a tensor become initialisers.
fn lift_constants(graph: &mut GraphProto) {
    let mut constants = Vec::new();
    graph.node.retain(|node| match constant_of(node) {
        Some(constant) => {
            constants.push(constant);
            false
        }
        None => true,
    });
    graph.initializer.extend(constants);
}

fn constant_of(node: &NodeProto) -> Option<TensorProto> {
    if node.op_type != "Constant" || !node.domain.is_empty() {
        return None;
    }
    let tensor = node.attribute("value")?.t.clone()?;
    Some(TensorProto { name: node.output.first()?.clone(), ..tensor })
}

/// Removes nodes that hand on their first input.
fn remove_pass_through(graph: &mut GraphProto) {
    let mut index = 0;
    while index < graph.node.len() {
        if passes_through(graph, &graph.node[index]) && bypass(graph, index) {
            graph.node.remove(index);
        } else {
            index += 1;
        }
    }
}

fn passes_through(graph: &GraphProto, node: &NodeProto) -> bool {
    let single = node.output.iter().skip(1).all(|output| output.is_empty() || !is_used(graph, output));
    let plain = node.domain.is_empty() && single && !node.output.is_empty() && !node.input.is_empty();
    match node.op_type.as_str() {
        "Identity" => plain,
        // A third input, if there is one, may switch training mode on.
        "Dropout" => plain && node.input.get(2).is_none_or(String::is_empty),
        _ => false,
    }
}

fn is_output(graph: &GraphProto, name: &str) -> bool {
    graph.output.iter().any(|output| output.name == name)
}

fn is_used(graph: &GraphProto, name: &str) -> bool {
    is_output(graph, name) || graph.node.iter().any(|node| reads(node).contains(name))
}

/// Makes the readers of the node's output read its input instead. An output of the graph keeps its name: the node that
/// makes the input then makes the output. `false` if that cannot be done.
fn bypass(graph: &mut GraphProto, index: usize) -> bool {
    let (input, output) = (graph.node[index].input[0].clone(), graph.node[index].output[0].clone());
    if !is_output(graph, &output) {
        rename_reads(&mut graph.node, &output, &input);
        return true;
    }
    if is_output(graph, &input) {
        return false;
    }
    let Some(maker) = graph.node.iter().position(|node| node.output.contains(&input)) else { return false };
    for made in graph.node[maker].output.iter_mut().filter(|made| **made == input) {
        output.clone_into(made);
    }
    graph.node[index].input.clear();
    rename_reads(&mut graph.node, &input, &output);
    true
}

fn rename_reads(nodes: &mut [NodeProto], from: &str, to: &str) {
    for node in nodes {
        for input in node.input.iter_mut().filter(|input| *input == from) {
            to.clone_into(input);
        }
        for attribute in &mut node.attribute {
            for subgraph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                rename_reads(&mut subgraph.node, from, to);
                for output in subgraph.output.iter_mut().filter(|output| output.name == from) {
                    to.clone_into(&mut output.name);
                }
            }
        }
    }
}

/// Drops nodes, constants and declarations that no output needs.
fn remove_unused(graph: &mut GraphProto) {
    let mut needed: BTreeSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut kept = Vec::with_capacity(graph.node.len());
    // Nodes stand in topological order, so one pass from the end sees every reader before the maker.
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|output| needed.contains(output)) {
            needed.extend(reads(&node).into_iter().map(str::to_owned));
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    let before: HashSet<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    // A declaration of a dropped constant (IR version 3) would turn into an input nobody gives.
    graph.input.retain(|input| !before.contains(&input.name) || needed.contains(&input.name));
    let made: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    graph
        .value_info
        .retain(|value| made.contains(&value.name) && !graph.output.iter().any(|o| o.name == value.name));
}

#[cfg(test)]
mod tests {
    use edgeward_model::engine::conformance::fixture;
    use edgeward_model::onnx::{self, AttributeProto};
    use edgeward_model::{LoadOptions, RtenEngine, Tensor};

    use super::*;

    fn constant(name: &str, shape: &[usize], values: Vec<f32>) -> TensorProto {
        TensorProto::from_tensor(name, &Tensor::new(shape, values).unwrap())
    }

    /// The classifier with detours: everything here must go, and the answers stay.
    fn cluttered() -> ModelProto {
        let mut model = fixture::classifier();
        let graph = model.graph.as_mut().unwrap();
        let last = graph.node.iter_mut().find(|node| node.name == "softmax").unwrap();
        last.output[0] = "p".into();
        graph.node[1].input[0] = "dropped".into();
        graph.node[0].input[1] = "w1_again".into();
        graph.node.push(NodeProto::new("Identity", "out", &["p"], &["probabilities"]));
        graph.node.push(NodeProto::new("Dropout", "drop", &["hidden", "ratio"], &["dropped"]));
        graph.node.push(NodeProto::new("Transpose", "t1", &["w1"], &["w1_t"]));
        graph.node.push(NodeProto::new("Transpose", "t2", &["w1_t"], &["w1_again"]));
        graph.node.push(NodeProto::new("Relu", "dead", &["x"], &["nowhere"]));
        let ratio = AttributeProto::tensor("value", constant("", &[], vec![0.5]));
        graph.node.push(NodeProto::new("Constant", "ratio", &[], &["ratio"]).with(ratio));
        graph.initializer.push(constant("unused", &[1], vec![1.0]));
        model
    }

    fn answers(model: &ModelProto) -> Vec<Tensor> {
        let engine = RtenEngine::new();
        let model = engine.load(&onnx::encode(model), &LoadOptions::with_threads(1)).unwrap();
        model.run(&[Tensor::from_rows(4, 4, fixture::noise(16, 5)).unwrap()]).unwrap()
    }

    #[test]
    fn detours_go_and_answers_stay() {
        let engine = RtenEngine::new();
        let (small, report) = optimise(&cluttered(), &engine).unwrap();
        assert_eq!(report, OptimiseReport { nodes_before: 11, nodes_after: 5, nodes_folded: 2 });
        let graph = small.graph.as_ref().unwrap();
        let operators: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(operators, ["Gemm", "Relu", "Gemm", "Softmax", "ArgMax"]);
        assert_eq!(graph.initializer.len(), 4);
        onnx::graph::check(&small).unwrap();
        assert_eq!(answers(&small), answers(&fixture::classifier()));
    }

    #[test]
    fn lists_of_numbers_become_bytes() {
        let mut model = fixture::classifier();
        let graph = model.graph.as_mut().unwrap();
        for constant in &mut graph.initializer {
            let listed = constant.to_tensor().unwrap().as_f32().unwrap().to_vec();
            (constant.raw_data, constant.float_data) = (None, listed);
        }
        let (written, _) = optimise(&model, &RtenEngine::new()).unwrap();
        let graph = written.graph.as_ref().unwrap();
        assert!(graph.initializer.iter().all(|one| one.raw_data.is_some() && one.float_data.is_empty()));
        assert_eq!(answers(&written), answers(&model));
    }

    #[test]
    fn the_result_is_a_fixed_point_with_fixed_bytes() {
        let engine = RtenEngine::new();
        let (once, _) = optimise(&cluttered(), &engine).unwrap();
        let (twice, report) = optimise(&once, &engine).unwrap();
        assert_eq!(report.nodes_folded, 0);
        assert_eq!(onnx::encode(&once), onnx::encode(&twice));
        assert_eq!(onnx::encode(&optimise(&cluttered(), &engine).unwrap().0), onnx::encode(&once));
    }

    #[test]
    fn an_identity_from_input_to_output_stays() {
        let mut model = fixture::add_one(edgeward_model::DataType::Fp64);
        model.graph.as_mut().unwrap().node = vec![NodeProto::new("Identity", "id", &["x"], &["y"])];
        let (small, report) = optimise(&model, &RtenEngine::new()).unwrap();
        assert_eq!(report.nodes_after, 1);
        assert!(small.graph.unwrap().initializer.is_empty());
    }

    #[test]
    fn values_that_subgraphs_read_are_kept_and_renamed() {
        let mut model = fixture::negation();
        let graph = model.graph.as_mut().unwrap();
        let branch = |name: &str| GraphProto {
            node: vec![NodeProto::new("Not", "inner", &["alias"], &[name])],
            output: vec![onnx::ValueInfoProto::tensor(name, edgeward_model::DataType::Bool, &[])],
            ..GraphProto::new("branch")
        };
        let choice = NodeProto::new("If", "choice", &["x"], &["y"])
            .with(AttributeProto::graph("then_branch", branch("a")))
            .with(AttributeProto::graph("else_branch", branch("b")));
        graph.node = vec![NodeProto::new("Identity", "id", &["x"], &["alias"]), choice];
        let (small, report) = optimise(&model, &RtenEngine::new()).unwrap();
        assert_eq!(report.nodes_after, 1);
        onnx::graph::check(&small).unwrap();
    }
}
