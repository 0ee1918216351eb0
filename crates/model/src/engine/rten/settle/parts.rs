//! Nodes and constants in place of one node, and what is known of the values around it.

use std::collections::HashMap;

use super::ranks;
use crate::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto};
use crate::tensor::Tensor;

/// What is known of a graph's values.
pub(super) struct Known {
    pub(super) opset: i64,
    ranks: HashMap<String, usize>,
    constants: HashMap<String, TensorProto>,
}

/// Larger constants are known by their shape alone.
const ELEMENTS_KNOWN: i64 = 64;

impl Known {
    pub(super) fn of(graph: &GraphProto, opset: i64) -> Self {
        let constants = graph.initializer.iter().map(|tensor| (tensor.name.clone(), shell(tensor)));
        let lifted = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
            Some((node.output.first()?.clone(), shell(node.attribute("value")?.t.as_ref()?)))
        });
        Self { opset, ranks: ranks(graph), constants: constants.chain(lifted).collect() }
    }

    /// Number of dimensions of a value.
    pub(super) fn rank(&self, value: &str) -> Option<usize> {
        self.shape(value).map(<[i64]>::len).or_else(|| self.ranks.get(value).copied())
    }

    /// Dimensions of a constant.
    pub(super) fn shape(&self, value: &str) -> Option<&[i64]> {
        self.constants.get(value).map(|tensor| &tensor.dims[..])
    }

    /// A small constant.
    pub(super) fn constant(&self, value: &str) -> Option<Tensor> {
        self.constants.get(value)?.to_tensor().ok()
    }
}

fn shell(tensor: &TensorProto) -> TensorProto {
    let count = tensor.dims.iter().try_fold(1_i64, |count, &dim| count.checked_mul(dim));
    if count.is_some_and(|count| count <= ELEMENTS_KNOWN) {
        return tensor.clone();
    }
    TensorProto { dims: tensor.dims.clone(), data_type: tensor.data_type, ..TensorProto::default() }
}

/// What takes the place of `node`. Its first output keeps its name; values between are named after it.
pub(super) struct Parts<'a> {
    node: &'a NodeProto,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(node: &'a NodeProto) -> Self {
        Self { node, nodes: Vec::new(), constants: Vec::new() }
    }

    /// The node's input at `index`, empty if there is none.
    pub(super) fn input(&self, index: usize) -> &'a str {
        self.node.input.get(index).map_or("", String::as_str)
    }

    /// A name of this node's own.
    pub(super) fn name(&self, part: &str) -> String {
        format!("{}.settled.{part}", self.node.output[0])
    }

    pub(super) fn number(&mut self, part: &str, value: f32) -> String {
        self.constant(part, Tensor::new([], vec![value]))
    }

    pub(super) fn integers(&mut self, part: &str, values: &[i64]) -> String {
        self.constant(part, Tensor::new([values.len()], values.to_vec()))
    }

    fn constant<E: std::fmt::Debug>(&mut self, part: &str, tensor: Result<Tensor, E>) -> String {
        let name = self.name(part);
        if let Ok(tensor) = tensor {
            self.constants.push(TensorProto::from_tensor(&name, &tensor));
        }
        name
    }

    /// Adds a node on the way; returns its output.
    pub(super) fn make(
        &mut self,
        op: &str,
        part: &str,
        inputs: &[&str],
        with: Vec<AttributeProto>,
    ) -> String {
        let output = self.name(part);
        self.add(op, inputs, &[&output], with);
        output
    }

    /// Adds the node that makes the first output.
    pub(super) fn last(&mut self, op: &str, inputs: &[&str], with: Vec<AttributeProto>) {
        let output = self.node.output[0].clone();
        self.add(op, inputs, &[&output], with);
    }

    /// Adds a node with these outputs, by the name of the one it stands for.
    pub(super) fn add(&mut self, op: &str, inputs: &[&str], outputs: &[&str], with: Vec<AttributeProto>) {
        let node = NodeProto::new(op, &self.node.name, inputs, outputs);
        self.nodes.push(NodeProto { attribute: with, ..node });
    }

    /// Adds the node itself, changed.
    pub(super) fn keep(&mut self, node: NodeProto) {
        self.nodes.push(node);
    }

    pub(super) fn finish(self) -> (Vec<NodeProto>, Vec<TensorProto>) {
        (self.nodes, self.constants)
    }
}
