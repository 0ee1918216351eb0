//! The graph under construction: fresh names, element types as far as they are known, and texts by their indices.

use std::collections::{BTreeSet, HashMap, HashSet};

use edgeward_model::onnx::graph::reads;
use edgeward_model::onnx::proto::element_type;
use edgeward_model::onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, datatype_of, inputs,
};
use edgeward_model::{DataType, Tensor};

use super::DOMAIN;

/// A text value: the name of its indices and what they stand for.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) index: String,
    pub(super) table: Vec<Vec<u8>>,
    /// Whether there may be texts that are not in the table.
    pub(super) lossy: bool,
}

pub(super) struct Rewrite<'a> {
    graph: &'a GraphProto,
    opset: i64,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    names: HashSet<String>,
    read: HashSet<&'a str>,
    kinds: HashMap<String, DataType>,
    texts: HashMap<String, Text>,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(graph: &'a GraphProto, opset: i64) -> Self {
        let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
        let constants = graph.initializer.iter().map(|tensor| &tensor.name);
        let made = graph.node.iter().flat_map(|node| node.output.iter().chain([&node.name]));
        let names = values.map(|value| &value.name).chain(constants).chain(made).cloned().collect();
        let kind = |value: &ValueInfoProto| Some((value.name.clone(), value.declared().ok()?.0));
        let mut kinds: HashMap<String, DataType> =
            graph.value_info.iter().chain(&graph.input).filter_map(kind).collect();
        let constant = |tensor: &TensorProto| Some((tensor.name.clone(), datatype_of(tensor.data_type)?));
        kinds.extend(graph.initializer.iter().filter_map(constant));
        Self {
            graph,
            opset,
            nodes: Vec::new(),
            constants: Vec::new(),
            names,
            read: graph.node.iter().flat_map(reads).collect(),
            kinds,
            texts: HashMap::new(),
        }
    }

    pub(super) const fn opset(&self) -> i64 {
        self.opset
    }

    pub(super) fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    pub(super) fn keep(&mut self, node: NodeProto) {
        self.nodes.push(node);
    }

    /// Adds a constant; its name.
    pub(super) fn constant(&mut self, wanted: &str, tensor: &Tensor) -> String {
        let name = self.fresh(wanted);
        self.kinds.insert(name.clone(), tensor.datatype());
        self.constants.push(TensorProto::from_tensor(&name, tensor));
        name
    }

    /// Adds a plain node for `of`; the name of its output.
    pub(super) fn add(
        &mut self,
        of: &NodeProto,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = of.output.iter().find(|output| !output.is_empty()).map_or("value", String::as_str);
        let output = self.fresh(&format!("{output}.{}", op_type.to_lowercase()));
        let mut node = NodeProto::new(op_type, &format!("{}/{output}", of.name), inputs, &[&output]);
        node.attribute = attributes;
        self.nodes.push(node);
        output
    }

    /// Gives the value the name of an output; an omitted output is left out.
    pub(super) fn finish(&mut self, value: &str, output: Option<&String>, kind: DataType) {
        let Some(output) = output.filter(|output| !output.is_empty()) else { return };
        self.kinds.insert(output.clone(), kind);
        let name = format!("{output}/Identity");
        self.nodes.push(NodeProto::new("Identity", &name, &[value], &[output]));
    }

    /// The value as FP32.
    pub(super) fn float(&mut self, of: &NodeProto, value: &str) -> String {
        if self.kinds.get(value) == Some(&DataType::Fp32) {
            return value.to_owned();
        }
        let to = AttributeProto::int("to", i64::from(element_type::FLOAT));
        let cast = self.add(of, "Cast", &[value], vec![to]);
        self.set_kind(&cast, DataType::Fp32);
        cast
    }

    /// Replaces every key of `keys` found in `value` by the value beside it, others by `default`.
    pub(super) fn look_up(
        &mut self,
        value: &str,
        output: &str,
        keys: AttributeProto,
        values: [AttributeProto; 2],
    ) {
        let name = format!("{output}/LabelEncoder");
        let mut node = NodeProto::new("LabelEncoder", &name, &[value], &[output]).in_domain(DOMAIN);
        node = node.with(keys);
        node.attribute.extend(values);
        self.nodes.push(node);
    }

    pub(super) fn kind(&self, value: &str) -> Option<DataType> {
        self.kinds.get(value).copied()
    }

    pub(super) fn set_kind(&mut self, value: &str, kind: DataType) {
        self.kinds.insert(value.to_owned(), kind);
    }

    pub(super) fn text(&self, value: &str) -> Option<&Text> {
        self.texts.get(value)
    }

    pub(super) fn set_text(&mut self, value: &str, text: Text) {
        self.kinds.insert(text.index.clone(), DataType::Int64);
        self.texts.insert(value.to_owned(), text);
    }

    /// The constant of this name in the graph as it was.
    pub(super) fn given(&self, name: &str) -> Option<Tensor> {
        self.graph.constant(name)?.to_tensor().ok()
    }

    /// Whether any node of the graph as it was reads the value.
    pub(super) fn is_read(&self, value: &str) -> bool {
        self.read.contains(value)
    }

    pub(super) fn uses(&self, op_type: &str) -> bool {
        self.nodes.iter().any(|node| node.domain == DOMAIN && node.op_type == op_type)
    }

    pub(super) fn uses_domain(&self) -> bool {
        self.nodes.iter().any(|node| node.domain == DOMAIN)
    }

    /// Notes the types of a plain node's outputs where they are certain.
    pub(super) fn infer(&mut self, node: &NodeProto) {
        const SAME: &[&str] = &[
            "Identity",
            "Reshape",
            "Squeeze",
            "Unsqueeze",
            "Flatten",
            "Transpose",
            "Gather",
            "Slice",
            "Concat",
            "Add",
            "Sub",
            "Mul",
            "Div",
            "MatMul",
            "Gemm",
            "Relu",
            "Sigmoid",
            "Tanh",
            "Softmax",
        ];
        let kind = match node.op_type.as_str() {
            "Cast" => i32::try_from(node.int("to", 0)).ok().and_then(datatype_of),
            "ArgMax" | "ArgMin" | "Shape" => Some(DataType::Int64),
            same if SAME.contains(&same) => node.input.first().and_then(|input| self.kind(input)),
            _ => None,
        };
        if let (Some(kind), Some(output)) = (kind, node.output.first()) {
            self.set_kind(output, kind);
        }
    }

    /// Looks up the texts that come in. Their table has every text that a node asks for.
    pub(super) fn encode_inputs(&mut self) {
        let table: BTreeSet<&Vec<u8>> = self.graph.node.iter().flat_map(asked).collect();
        let table: Vec<Vec<u8>> = table.into_iter().cloned().collect();
        let names: Vec<String> = inputs(self.graph).map(|input| input.name.clone()).collect();
        let texts = names.into_iter().filter(|name| self.kind(name) == Some(DataType::Bytes));
        for name in texts.collect::<Vec<_>>() {
            if !self.read.contains(name.as_str()) {
                continue;
            }
            let index = self.fresh(&format!("{name}.index"));
            let keys =
                AttributeProto { strings: table.clone(), ..AttributeProto::texts("keys_strings", &[]) };
            self.look_up(&name, &index, keys, positions(table.len(), -1));
            self.set_text(&name, Text { index, table: table.clone(), lossy: true });
        }
    }

    /// Turns indices into the texts that go out.
    pub(super) fn decode_outputs(&mut self) -> Result<(), (String, String)> {
        let graph = self.graph;
        for output in &graph.output {
            let Some(text) = self.text(&output.name).cloned() else { continue };
            if text.lossy {
                return Err((output.name.clone(), "is a text of the input, which is not kept".to_owned()));
            }
            let keys = AttributeProto::ints("keys_int64s", (0..text.table.len() as i64).collect());
            let values =
                AttributeProto { strings: text.table, ..AttributeProto::texts("values_strings", &[]) };
            self.look_up(
                &text.index,
                &output.name,
                keys,
                [values, AttributeProto::text("default_string", "")],
            );
        }
        Ok(())
    }

    pub(super) fn into_graph(self) -> GraphProto {
        let mut graph = self.graph.clone();
        graph.node = self.nodes;
        graph.initializer.extend(self.constants);
        let read: HashSet<&str> = graph.node.iter().flat_map(reads).collect();
        let declared: HashSet<&str> =
            graph.input.iter().chain(&graph.output).map(|value| value.name.as_str()).collect();
        graph
            .initializer
            .retain(|tensor| read.contains(tensor.name.as_str()) || declared.contains(tensor.name.as_str()));
        let made: HashSet<&str> =
            graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        graph.value_info.retain(|value| made.contains(value.name.as_str()));
        graph
    }
}

/// The texts a node looks for.
fn asked(node: &NodeProto) -> Vec<&Vec<u8>> {
    if node.domain != DOMAIN {
        return Vec::new();
    }
    let lists = ["cats_strings", "keys_strings", "classes_strings"];
    let lists = lists.iter().filter_map(|name| node.attribute(name)).flat_map(|list| &list.strings);
    let tensor = node.attribute("keys_tensor").and_then(|attribute| attribute.t.as_ref());
    lists.chain(tensor.into_iter().flat_map(|tensor| &tensor.string_data)).collect()
}

/// The values 0, 1, ... of a table, and the default.
pub(super) fn positions(count: usize, default: i64) -> [AttributeProto; 2] {
    let values = AttributeProto::ints("values_int64s", (0..count as i64).collect());
    [values, AttributeProto::int("default_int64", default)]
}
