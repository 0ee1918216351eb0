//! Is a graph one that can run at all: every value made once, before it is used, without a cycle?
//!
//! ONNX demands that nodes stand in topological order; [`check`] does not, since exporters slip and engines cope.
//! [`order`] gives an order that works.
//!
//! Deliberately missing: whether operators exist and their types agree. Engines say that when they load the model.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};
use crate::tensor::ShapeError;

/// Most nodes a model may have, subgraphs included.
pub const NODES_MAX: usize = 200_000;

/// Deepest nesting of subgraphs (`If` in `Loop` in ...).
pub const SUBGRAPH_DEPTH_MAX: usize = 16;

/// A graph that cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The model has no graph.
    #[error("the model has no graph")]
    Missing,
    /// More than [`NODES_MAX`] nodes.
    #[error("the graph has more than {NODES_MAX} nodes")]
    TooManyNodes,
    /// A value of more elements than any device holds.
    #[error("{what} is too large to be held")]
    TooLarge {
        /// The value, or the node that makes it.
        what: String,
        /// In what way.
        #[source]
        source: ShapeError,
    },
    /// Subgraphs nested deeper than [`SUBGRAPH_DEPTH_MAX`].
    #[error("{node} nests subgraphs deeper than {SUBGRAPH_DEPTH_MAX}")]
    TooDeep {
        /// The node, with its operator.
        node: String,
    },
    /// A node reads a value that nothing makes.
    #[error("{node} reads '{value}', which no input, constant or node provides")]
    Undefined {
        /// The node, with its operator.
        node: String,
        /// Name of the value.
        value: String,
    },
    /// An output of the graph that nothing makes.
    #[error("the graph's output '{value}' is made by no node")]
    UndefinedOutput {
        /// Name of the output.
        value: String,
    },
    /// Two things make one value.
    #[error("{node} makes '{value}', which something else makes already")]
    Redefined {
        /// The node, with its operator.
        node: String,
        /// Name of the value.
        value: String,
    },
    /// A node waits, through others, for its own output.
    #[error("{node} is part of a cycle: it waits for a value that is computed from its own output")]
    Cycle {
        /// The first such node, with its operator.
        node: String,
    },
}

/// A node as errors name it: its operator and its name, or its first output where it has none.
#[must_use]
pub fn describe(node: &NodeProto) -> String {
    let (op_type, named) = (&node.op_type, !node.name.is_empty());
    let name = if named { Some(&node.name) } else { node.output.first() };
    match name {
        Some(name) if named => format!("node '{name}' ({op_type})"),
        Some(output) => format!("the {op_type} node that makes '{output}'"),
        None => format!("a {op_type} node"),
    }
}

/// Checks the whole model, subgraphs included.
///
/// # Errors
/// The first broken rule of [`GraphError`].
pub fn check(model: &ModelProto) -> Result<(), GraphError> {
    let graph = model.graph.as_ref().ok_or(GraphError::Missing)?;
    if count(graph, 0)? > NODES_MAX {
        return Err(GraphError::TooManyNodes);
    }
    super::size::check(graph)?;
    check_scope(graph, None)
}

/// Indices of the graph's nodes such that each comes after those whose values it reads; of several such orders, the
/// one nearest to the given.
///
/// # Errors
/// An undefined or redefined value, or a cycle.
pub fn order(graph: &GraphProto) -> Result<Vec<usize>, GraphError> {
    order_in(graph, None)
}

/// Most nodes that wait for one another in a row, subgraphs not counted. Engines that walk a graph by recursion need
/// stack in proportion. A graph that cannot be ordered has depth 0.
#[must_use]
pub fn depth(graph: &GraphProto) -> usize {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for index in order(graph).unwrap_or_default() {
        let node = &graph.node[index];
        let below = reads(node).into_iter().filter_map(|value| depths.get(value)).max().copied().unwrap_or(0);
        depths.extend(node.output.iter().map(|output| (output.as_str(), below + 1)));
    }
    depths.into_values().max().unwrap_or(0)
}

/// The subgraphs of a node.
pub fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute: &AttributeProto| attribute.g.iter().chain(&attribute.graphs))
}

/// Names of every value the node reads, those its subgraphs take from around them included.
#[must_use]
pub fn reads(node: &NodeProto) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> =
        node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for graph in subgraphs(node) {
        names.extend(captures(graph));
    }
    names
}

fn captures(graph: &GraphProto) -> BTreeSet<&str> {
    let made: HashSet<&str> = sources(graph).chain(outputs(graph)).collect();
    let used = graph.node.iter().flat_map(reads);
    used.chain(graph.output.iter().map(|value| value.name.as_str()))
        .filter(|name| !made.contains(name))
        .collect()
}

fn sources(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let inputs = graph.input.iter().map(|value| value.name.as_str());
    let constants = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    inputs.chain(constants).chain(sparse.map(|values| values.name.as_str()))
}

fn outputs(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let names = graph.node.iter().flat_map(|node| &node.output);
    names.map(String::as_str).filter(|name| !name.is_empty())
}

fn count(graph: &GraphProto, depth: usize) -> Result<usize, GraphError> {
    let mut nodes = graph.node.len();
    for node in &graph.node {
        for subgraph in subgraphs(node) {
            if depth == SUBGRAPH_DEPTH_MAX {
                return Err(GraphError::TooDeep { node: describe(node) });
            }
            nodes = nodes.saturating_add(count(subgraph, depth + 1)?);
        }
    }
    Ok(nodes)
}

/// What a subgraph sees from outside, without a copy for each of what may be a hundred thousand subgraphs.
struct Scope<'a> {
    names: HashSet<&'a str>,
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn contains(&self, name: &str) -> bool {
        self.names.contains(name) || self.outer.is_some_and(|outer| outer.contains(name))
    }
}

fn check_scope(graph: &GraphProto, outer: Option<&Scope<'_>>) -> Result<(), GraphError> {
    distinct_inputs(graph)?;
    order_in(graph, outer)?;
    let scope = Scope { names: sources(graph).chain(outputs(graph)).collect(), outer };
    if let Some(output) = graph.output.iter().find(|output| !scope.contains(output.name.as_str())) {
        return Err(GraphError::UndefinedOutput { value: output.name.clone() });
    }
    graph.node.iter().flat_map(subgraphs).try_for_each(|subgraph| check_scope(subgraph, Some(&scope)))
}

/// Engines find inputs by name, so two of one name are one too few.
fn distinct_inputs(graph: &GraphProto) -> Result<(), GraphError> {
    let mut seen = HashSet::new();
    match graph.input.iter().find(|input| !seen.insert(input.name.as_str())) {
        Some(input) => {
            let node = "an input of the graph".to_owned();
            Err(GraphError::Redefined { node, value: input.name.clone() })
        }
        None => Ok(()),
    }
}

fn order_in(graph: &GraphProto, outer: Option<&Scope<'_>>) -> Result<Vec<usize>, GraphError> {
    let given = Scope { names: sources(graph).collect(), outer };
    let makers = makers(graph)?;
    let mut waits = Vec::with_capacity(graph.node.len());
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (index, node) in graph.node.iter().enumerate() {
        let mut waiting = 0_usize;
        for value in reads(node) {
            if let Some(&maker) = makers.get(value) {
                readers[maker].push(index);
                waiting += 1;
            } else if !given.contains(value) {
                return Err(GraphError::Undefined { node: describe(node), value: value.to_owned() });
            }
        }
        waits.push(waiting);
    }
    release(graph, waits, &readers)
}

fn makers(graph: &GraphProto) -> Result<HashMap<&str, usize>, GraphError> {
    let given: HashSet<&str> = sources(graph).collect();
    let mut makers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for value in node.output.iter().map(String::as_str).filter(|name| !name.is_empty()) {
            if given.contains(value) || makers.insert(value, index).is_some() {
                return Err(GraphError::Redefined { node: describe(node), value: value.to_owned() });
            }
        }
    }
    Ok(makers)
}

/// Kahn's algorithm, smallest index first.
fn release(
    graph: &GraphProto,
    mut waits: Vec<usize>,
    readers: &[Vec<usize>],
) -> Result<Vec<usize>, GraphError> {
    let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|&index| waits[index] == 0).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for &reader in &readers[index] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    match waits.iter().position(|&waiting| waiting > 0) {
        Some(index) => Err(GraphError::Cycle { node: describe(&graph.node[index]) }),
        None => Ok(order),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::ValueInfoProto;
    use crate::tensor::DataType;

    fn graph(nodes: &[(&str, &[&str], &[&str])]) -> GraphProto {
        let node = |(index, &(op_type, inputs, outputs)): (usize, &(&str, &[&str], &[&str]))| {
            NodeProto::new(op_type, &format!("n{index}"), inputs, outputs)
        };
        GraphProto {
            node: nodes.iter().enumerate().map(node).collect(),
            input: vec![ValueInfoProto::tensor("x", DataType::Fp32, &[])],
            output: vec![ValueInfoProto::tensor("y", DataType::Fp32, &[])],
            ..GraphProto::new("g")
        }
    }

    fn refused(graph: GraphProto, expected: &str) {
        let error = check(&ModelProto::new(graph)).unwrap_err().to_string();
        assert_eq!(error, expected);
    }

    #[test]
    fn nodes_are_ordered_by_need() {
        let unsorted = graph(&[("Relu", &["a"], &["y"]), ("Abs", &["x"], &["a"])]);
        assert_eq!(order(&unsorted), Ok(vec![1, 0]));
        check(&ModelProto::new(unsorted)).unwrap();
    }

    #[test]
    fn broken_graphs_name_node_and_operator() {
        refused(
            graph(&[("Relu", &["z"], &["y"])]),
            "node 'n0' (Relu) reads 'z', which no input, constant or node provides",
        );
        refused(
            graph(&[("Add", &["x", "b"], &["a"]), ("Relu", &["a"], &["b"]), ("Abs", &["x"], &["y"])]),
            "node 'n0' (Add) is part of a cycle: it waits for a value that is computed from its own output",
        );
        refused(
            graph(&[("Relu", &["x"], &["y"]), ("Abs", &["x"], &["y"])]),
            "node 'n1' (Abs) makes 'y', which something else makes already",
        );
        refused(graph(&[("Relu", &["x"], &["a"])]), "the graph's output 'y' is made by no node");
    }

    #[test]
    fn subgraphs_see_the_values_around_them() {
        let mut body = graph(&[("Abs", &["later"], &["y"])]);
        body.input.clear();
        let mut outer = graph(&[("If", &["x"], &["y"]), ("Relu", &["x"], &["later"])]);
        outer.node[0].attribute.push(AttributeProto::graph("then_branch", body));
        assert_eq!(order(&outer), Ok(vec![1, 0]));
        check(&ModelProto::new(outer.clone())).unwrap();
        outer.node.pop();
        refused(outer, "node 'n0' (If) reads 'later', which no input, constant or node provides");
    }

    #[test]
    fn nesting_is_limited() {
        let mut nested = graph(&[("Abs", &["x"], &["y"])]);
        for _ in 0..=SUBGRAPH_DEPTH_MAX {
            let mut around = graph(&[("If", &["x"], &["y"])]);
            around.node[0].attribute.push(AttributeProto::graph("then_branch", nested));
            nested = around;
        }
        assert!(matches!(check(&ModelProto::new(nested)), Err(GraphError::TooDeep { .. })));
    }
}
