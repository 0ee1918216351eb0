//! Which nodes of a graph can compute in int8, and what is known of its values.
//!
//! A value counts as float when the nodes that make it certainly give FP32: shape arithmetic in `INT64` must not be
//! taken for a residual sum.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use edgeward_model::DataType;
use edgeward_model::onnx::graph::{reads, subgraphs};
use edgeward_model::onnx::{GraphProto, NodeProto, TensorProto};

/// Operators whose first output is FP32 when their first input is.
const FLOAT_KEEPING: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Conv",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Neg",
    "Pad",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// How a node computes in int8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Products with constant weights, whose output channels lie on this axis.
    Weighted {
        /// The axis.
        axis: usize,
    },
    /// The sum of two activations.
    Sum,
    /// Activations joined.
    Join,
    /// An average, which has a range of its own.
    Average,
    /// The input's numbers, moved or left out: its range too.
    Same,
}

/// A node that can compute in int8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Position in the graph.
    pub(super) node: usize,
    /// Name as reports say it.
    pub(super) name: String,
    /// How.
    pub(super) kind: Kind,
}

/// A graph with its values looked up by name. Nodes must stand in topological order.
pub(super) struct View<'a> {
    pub(super) graph: &'a GraphProto,
    constants: HashMap<&'a str, &'a TensorProto>,
    readers: HashMap<&'a str, Vec<usize>>,
    makers: HashMap<&'a str, usize>,
    outputs: HashSet<&'a str>,
    captured: BTreeSet<&'a str>,
    floats: HashSet<&'a str>,
}

impl<'a> View<'a> {
    pub(super) fn new(graph: &'a GraphProto) -> Self {
        let mut view = Self {
            graph,
            constants: graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
            readers: HashMap::new(),
            makers: HashMap::new(),
            outputs: graph.output.iter().map(|output| output.name.as_str()).collect(),
            captured: BTreeSet::new(),
            floats: HashSet::new(),
        };
        let is_float = |value: &&edgeward_model::onnx::ValueInfoProto| {
            value.declared().is_ok_and(|(datatype, _)| datatype == DataType::Fp32)
        };
        view.floats.extend(graph.input.iter().filter(is_float).map(|input| input.name.as_str()));
        for (index, node) in graph.node.iter().enumerate() {
            view.add(index, node);
        }
        view
    }

    fn add(&mut self, index: usize, node: &'a NodeProto) {
        for name in reads(node) {
            self.readers.entry(name).or_default().push(index);
        }
        if subgraphs(node).next().is_some() {
            self.captured.extend(reads(node));
        }
        self.makers.extend(node.output.iter().map(|output| (output.as_str(), index)));
        let standard = node.domain.is_empty() && FLOAT_KEEPING.contains(&node.op_type.as_str());
        if let (true, [first, ..], [output, ..]) = (standard, &node.input[..], &node.output[..]) {
            let constant =
                self.constants.get(first.as_str()).is_some_and(|tensor| tensor.data_type == FLOAT32);
            if constant || self.floats.contains(first.as_str()) {
                self.floats.insert(output);
            }
        }
    }

    /// The constant of this name, unless a caller may give it another value.
    pub(super) fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        let declared = self.graph.input.iter().any(|input| input.name == name);
        self.constants.get(name).copied().filter(|_| !declared)
    }

    pub(super) fn maker(&self, name: &str) -> Option<usize> {
        self.makers.get(name).copied()
    }

    pub(super) fn readers(&self, name: &str) -> &[usize] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the value is computed (not constant) and FP32.
    pub(super) fn is_activation(&self, name: &str) -> bool {
        self.floats.contains(name) && !self.constants.contains_key(name)
    }

    /// The one node that reads this value, if it is inside the graph only.
    pub(super) fn only_reader(&self, name: &str) -> Option<usize> {
        match self.readers(name) {
            [only] if !self.outputs.contains(name) && !self.captured.contains(name) => Some(*only),
            _ => None,
        }
    }

    /// The `Relu` or `Clip` whose effect the range of an int8 value has by itself, if it alone reads `name`.
    pub(super) fn clamp_after(&self, name: &str) -> Option<usize> {
        let index = self.only_reader(name)?;
        let node = &self.graph.node[index];
        let bound = |place: usize, default: f64| match node.input.get(place).filter(|name| !name.is_empty()) {
            Some(name) => self.constant(name)?.to_tensor().ok()?.number(0),
            None => Some(default),
        };
        let clamps = match node.op_type.as_str() {
            "Relu" => true,
            "Clip" => bound(1, f64::NEG_INFINITY)? <= 0.0 && bound(2, f64::INFINITY)? >= 0.0,
            _ => false,
        };
        (clamps && node.domain.is_empty() && node.input.first().is_some_and(|input| input == name))
            .then_some(index)
    }
}

/// ONNX's number of FP32.
const FLOAT32: i32 = edgeward_model::onnx::element_type_of(DataType::Fp32);

/// Every node that can compute in int8, and why others with weights cannot.
pub(super) fn find(view: &View<'_>) -> (Vec<Layer>, BTreeMap<String, String>) {
    let (mut layers, mut kept) = (Vec::new(), BTreeMap::new());
    for (index, node) in view.graph.node.iter().enumerate().filter(|(_, node)| node.domain.is_empty()) {
        match kind(view, node) {
            Ok(Some(kind)) => layers.push(Layer { node: index, name: name_of(node), kind }),
            Ok(None) => {}
            Err(why) => drop(kept.insert(name_of(node), why)),
        }
    }
    (layers, kept)
}

/// The node's name; its first output stands for a missing one.
pub(super) fn name_of(node: &NodeProto) -> String {
    if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() }
}

fn kind(view: &View<'_>, node: &NodeProto) -> Result<Option<Kind>, String> {
    let activation = |place: usize| node.input.get(place).is_some_and(|name| view.is_activation(name));
    let plain = |kind| Ok(activation(0).then_some(kind).filter(|_| single_output(node)));
    match node.op_type.as_str() {
        "Conv" | "Gemm" | "MatMul" => weighted(view, node).map(Some),
        "Add" => Ok((activation(0) && activation(1)).then_some(Kind::Sum)),
        "Concat" => Ok((0..node.input.len()).all(activation).then_some(Kind::Join)),
        "AveragePool" | "GlobalAveragePool" => plain(Kind::Average),
        "MaxPool" | "Flatten" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" => plain(Kind::Same),
        _ => Ok(None),
    }
}

fn single_output(node: &NodeProto) -> bool {
    node.output.iter().skip(1).all(String::is_empty)
}

fn weighted(view: &View<'_>, node: &NodeProto) -> Result<Kind, String> {
    let name = |place: usize| node.input.get(place).filter(|name| !name.is_empty());
    if !name(0).is_some_and(|name| view.is_activation(name)) {
        return Err("its input is not a computed FP32 value".to_owned());
    }
    let weight = name(1).and_then(|name| view.constant(name)).ok_or("its weights are not constant")?;
    if weight.data_type != FLOAT32 {
        return Err("its weights are not FP32".to_owned());
    }
    if name(2).is_some_and(|name| view.constant(name).is_none_or(|bias| bias.data_type != FLOAT32)) {
        return Err("its bias is not a constant of FP32".to_owned());
    }
    let axis = match (node.op_type.as_str(), weight.dims.len()) {
        ("Conv", 3..) => 0,
        ("MatMul", 2) => 1,
        ("Gemm", 2) => gemm_axis(node)?,
        (_, rank) => return Err(format!("its weights have {rank} dimensions")),
    };
    let channels = weight.dims[axis];
    let bias = name(2).and_then(|name| view.constant(name));
    let fits = |bias: &TensorProto| matches!(bias.dims[..], [n] | [1, n] if n == channels);
    if channels <= 0 || bias.is_some_and(|bias| !fits(bias)) {
        return Err("its bias has not one value per output channel".to_owned());
    }
    Ok(Kind::Weighted { axis })
}

fn gemm_axis(node: &NodeProto) -> Result<usize, String> {
    let one = |name: &str| {
        let factor = node.attribute(name).and_then(|attribute| attribute.f);
        factor.is_none_or(|factor| factor.to_bits() == 1.0_f32.to_bits())
    };
    if !one("alpha") || !one("beta") || node.int("transA", 0) != 0 {
        return Err("it scales or transposes its input".to_owned());
    }
    Ok(usize::from(node.int("transB", 0) == 0))
}
