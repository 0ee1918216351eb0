//! Splitting a graph between `rten` and the native kernels.
//!
//! Every node gets a stage: plain nodes even ones, native nodes odd ones, each the least that comes after the nodes it
//! reads from. The plain nodes of one stage become one model for `rten`. A graph without native nodes has one stage and
//! goes to `rten` as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::error;
use super::pools::Pools;
use super::segment::{Operators, Segment};
use crate::engine::native::{self, DOMAIN, Kernel, KernelError};
use crate::engine::{EngineError, EngineErrorKind, node_name};
use crate::onnx::graph::{order, reads};
use crate::onnx::{self, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::signature::TensorSpec;
use crate::tensor::{DataType, Tensor};

/// Part of a model: what it reads and makes, by the places of the values.
pub(super) struct Step {
    pub(super) work: Work,
    pub(super) inputs: Vec<(String, usize)>,
    pub(super) outputs: Vec<usize>,
}

/// What computes a step.
pub(super) enum Work {
    Plain(Box<Segment>),
    Native(Node),
}

/// A native node with the names errors give it.
pub(super) struct Node {
    kernel: Box<dyn Kernel>,
    name: String,
    operator: String,
    outputs: Vec<usize>,
}

impl Node {
    fn new(node: &NodeProto, input: Option<DataType>) -> Result<Self, EngineError> {
        let (name, operator) = (node_name(node).to_owned(), node.op_type.clone());
        let refuse = |cause: KernelError| {
            error(cause.kind, cause.message).at(Some(name.clone()), Some(operator.clone()))
        };
        let kernel = native::kernel(node, input).map_err(refuse)?;
        let outputs = (0..node.output.len()).filter(|&at| !node.output[at].is_empty()).collect();
        if node.output.len() > kernel.datatypes().len() {
            return Err(refuse(KernelError {
                kind: EngineErrorKind::InvalidGraph,
                message: format!("has {} outputs", node.output.len()),
            }));
        }
        Ok(Self { kernel, name, operator, outputs })
    }

    pub(super) fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let refuse = |cause: KernelError| {
            error(cause.kind, cause.message).at(Some(self.name.clone()), Some(self.operator.clone()))
        };
        let made = self.kernel.run(inputs).map_err(refuse)?;
        Ok(made
            .into_iter()
            .enumerate()
            .filter(|(at, _)| self.outputs.contains(at))
            .map(|made| made.1)
            .collect())
    }
}

/// A model split into steps. The first places of its values are the model's inputs.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) constants: Vec<(usize, Tensor)>,
    pub(super) places: usize,
    pub(super) outputs: Vec<usize>,
}

impl Plan {
    /// Plans a checked model with these inputs and outputs; `onnx` are its bytes.
    pub(super) fn new(
        model: &ModelProto,
        onnx: &[u8],
        specs: (&[TensorSpec], &[TensorSpec]),
        operators: &Operators,
        pools: Option<&Arc<Pools>>,
    ) -> Result<Self, EngineError> {
        let graph = model.graph.as_ref().ok_or_else(|| invalid_graph(&"the model has no graph"))?;
        if !graph.node.iter().any(native::is_native) {
            return Self::plain(onnx.to_vec(), None, specs, operators, pools);
        }
        let mut planner = Planner::new(model, graph, specs.0, operators, pools);
        for (stage, nodes) in stages(graph)? {
            planner.add_stage(stage, &nodes)?;
        }
        planner.finish(specs.1)
    }

    /// A plan that leaves all to `rten`; `data` is a file that constants stand in, with its name.
    pub(super) fn plain(
        onnx: Vec<u8>,
        data: Option<(&str, Vec<u8>)>,
        (inputs, outputs): (&[TensorSpec], &[TensorSpec]),
        operators: &Operators,
        pools: Option<&Arc<Pools>>,
    ) -> Result<Self, EngineError> {
        if let Some(spec) = inputs.iter().chain(outputs).find(|spec| spec.datatype == DataType::Bytes) {
            return Err(text_refusal(&spec.name));
        }
        let ins: Vec<&str> = inputs.iter().map(|spec| spec.name.as_str()).collect();
        let outs: Vec<&str> = outputs.iter().map(|spec| spec.name.as_str()).collect();
        let segment = Segment::load(onnx, data, &ins, &outs, Arc::clone(operators), pools.cloned())?;
        let places = ins.len() + outs.len();
        let outputs: Vec<usize> = (ins.len()..places).collect();
        let inputs = ins.into_iter().map(str::to_owned).zip(0..).collect();
        let step = Step { work: Work::Plain(Box::new(segment)), inputs, outputs: outputs.clone() };
        Ok(Self { steps: vec![step], constants: Vec::new(), places, outputs })
    }
}

fn invalid_graph(why: &dyn std::fmt::Display) -> EngineError {
    error(EngineErrorKind::InvalidGraph, why.to_string())
}

fn text_refusal(name: &str) -> EngineError {
    error(EngineErrorKind::UnsupportedType, format!("'{name}' is BYTES, which the engine cannot pass"))
}

/// The nodes of each stage in topological order.
fn stages(graph: &GraphProto) -> Result<BTreeMap<usize, Vec<&NodeProto>>, EngineError> {
    let order = order(graph).map_err(|cause| invalid_graph(&cause))?;
    let mut made_at: HashMap<&str, usize> = HashMap::new();
    let mut stages: BTreeMap<usize, Vec<&NodeProto>> = BTreeMap::new();
    for node in order.into_iter().map(|index| &graph.node[index]) {
        let by_kernel = |value: &String| made_at.get(value.as_str()).is_some_and(|made| made % 2 == 1);
        let handed_on = native::hands_on(node) && node.input.iter().all(by_kernel);
        let native = usize::from(native::is_native(node) || handed_on);
        // A plain node may stand in the stage of the plain nodes it reads from; any other pair needs two stages.
        let after = |&made: &usize| match (made % 2, native) {
            (0, 0) => made,
            (1, 1) => made + 2,
            _ => made + 1,
        };
        let earliest = reads(node).into_iter().filter_map(|value| made_at.get(value)).map(after).max();
        let stage = earliest.unwrap_or(native);
        made_at.extend(node.output.iter().map(|output| (output.as_str(), stage)));
        stages.entry(stage).or_default().push(node);
    }
    Ok(stages)
}

struct Planner<'a> {
    model: &'a ModelProto,
    graph: &'a GraphProto,
    operators: &'a Operators,
    pools: Option<&'a Arc<Pools>>,
    initializers: HashMap<&'a str, &'a TensorProto>,
    places: HashMap<&'a str, usize>,
    datatypes: HashMap<&'a str, DataType>,
    steps: Vec<Step>,
    constants: Vec<(usize, Tensor)>,
}

impl<'a> Planner<'a> {
    fn new(
        model: &'a ModelProto,
        graph: &'a GraphProto,
        inputs: &'a [TensorSpec],
        operators: &'a Operators,
        pools: Option<&'a Arc<Pools>>,
    ) -> Self {
        Self {
            model,
            graph,
            operators,
            pools,
            initializers: graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
            places: inputs.iter().zip(0..).map(|(spec, place)| (spec.name.as_str(), place)).collect(),
            datatypes: inputs.iter().map(|spec| (spec.name.as_str(), spec.datatype)).collect(),
            steps: Vec::new(),
            constants: Vec::new(),
        }
    }

    fn add_stage(&mut self, stage: usize, nodes: &[&'a NodeProto]) -> Result<(), EngineError> {
        if stage.is_multiple_of(2) {
            return self.add_plain(nodes);
        }
        nodes.iter().try_for_each(|node| self.add_native(node))
    }

    /// The place of a value; a constant becomes a value when it is first asked for.
    fn place(&mut self, value: &'a str) -> Result<usize, EngineError> {
        if let Some(&place) = self.places.get(value) {
            return Ok(place);
        }
        let place = self.places.len();
        if let Some(constant) = self.initializers.get(value) {
            let tensor = constant.to_tensor().map_err(|cause| invalid_graph(&cause))?;
            self.datatypes.insert(value, tensor.datatype());
            self.constants.push((place, tensor));
        }
        self.places.insert(value, place);
        Ok(place)
    }

    fn add_native(&mut self, node: &'a NodeProto) -> Result<(), EngineError> {
        let inputs = node
            .input
            .iter()
            .filter(|input| !input.is_empty())
            .map(|input| Ok((input.clone(), self.place(input)?)));
        let inputs = inputs.collect::<Result<Vec<_>, EngineError>>()?;
        let input = node.input.first().and_then(|input| self.datatypes.get(input.as_str()).copied());
        let native = Node::new(node, input)?;
        let made = node.output.iter().zip(native.kernel.datatypes()).filter(|(output, _)| !output.is_empty());
        let mut outputs = Vec::new();
        for (output, datatype) in made {
            outputs.push(self.place(output)?);
            self.datatypes.insert(output, datatype);
        }
        self.steps.push(Step { work: Work::Native(native), inputs, outputs });
        Ok(())
    }

    fn add_plain(&mut self, nodes: &[&'a NodeProto]) -> Result<(), EngineError> {
        let inside: HashSet<&str> = nodes.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        let read: BTreeSet<&'a str> = nodes.iter().flat_map(|node| reads(node)).collect();
        let (constants, inputs): (Vec<&str>, Vec<&str>) = read
            .into_iter()
            .filter(|value| !inside.contains(value))
            .partition(|value| self.initializers.contains_key(value));
        if let Some(text) = inputs.iter().find(|input| self.datatypes.get(*input) == Some(&DataType::Bytes)) {
            return Err(text_refusal(text));
        }
        let outside = self.read_outside(nodes);
        let made = nodes.iter().flat_map(|node| &node.output).map(String::as_str);
        let outputs: Vec<&'a str> = made.filter(|value| outside.contains(value)).collect();
        if outputs.is_empty() {
            return Ok(());
        }
        let onnx = onnx::encode(&self.part(nodes, &constants, &inputs, &outputs));
        let (operators, pools) = (Arc::clone(self.operators), self.pools.cloned());
        let segment = Segment::load(onnx, None, &inputs, &outputs, operators, pools)?;
        let inputs = inputs.into_iter().map(|input| Ok((input.to_owned(), self.place(input)?)));
        let inputs = inputs.collect::<Result<Vec<_>, EngineError>>()?;
        let outputs = outputs.into_iter().map(|output| self.place(output)).collect::<Result<_, _>>()?;
        self.steps.push(Step { work: Work::Plain(Box::new(segment)), inputs, outputs });
        Ok(())
    }

    /// What nodes other than these read, and the model's outputs.
    fn read_outside(&self, nodes: &[&NodeProto]) -> HashSet<&'a str> {
        let inside: HashSet<*const NodeProto> = nodes.iter().map(|&node| std::ptr::from_ref(node)).collect();
        let others = self.graph.node.iter().filter(|&node| !inside.contains(&std::ptr::from_ref(node)));
        let outputs = self.graph.output.iter().map(|output| output.name.as_str());
        others.flat_map(reads).chain(outputs).collect()
    }

    /// A model of these nodes alone. Types of inputs made by other steps are left out: the engine asks the values.
    fn part(
        &self,
        nodes: &[&NodeProto],
        constants: &[&str],
        inputs: &[&str],
        outputs: &[&str],
    ) -> ModelProto {
        let value = |name: &&str| {
            let declared = self.graph.input.iter().find(|input| input.name == **name).cloned();
            declared.unwrap_or_else(|| ValueInfoProto { name: (*name).to_owned(), ..Default::default() })
        };
        let graph = GraphProto {
            node: nodes.iter().map(|&node| node.clone()).collect(),
            initializer: constants.iter().map(|name| self.initializers[*name].clone()).collect(),
            input: inputs.iter().map(value).collect(),
            output: outputs.iter().map(value).collect(),
            ..GraphProto::new("part")
        };
        let opset_import =
            self.model.opset_import.iter().filter(|set| set.domain != DOMAIN).cloned().collect();
        ModelProto { opset_import, ..ModelProto::new(graph) }
    }

    fn finish(mut self, outputs: &'a [TensorSpec]) -> Result<Plan, EngineError> {
        for spec in outputs {
            let made = self.datatypes.get(spec.name.as_str()).copied();
            if spec.datatype == DataType::Bytes && made != Some(DataType::Bytes) {
                return Err(text_refusal(&spec.name));
            }
        }
        let outputs = outputs.iter().map(|spec| self.place(&spec.name)).collect::<Result<_, _>>()?;
        Ok(Plan { steps: self.steps, constants: self.constants, places: self.places.len(), outputs })
    }
}
