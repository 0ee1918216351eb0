//! Builders: what a writer of ONNX needs, in the form every reader takes.

use super::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue,
    ValueInfoProto, attribute_type,
};
use super::read::element_type_of;
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{DataType, Tensor, TensorData};

/// IR version of models built here: the one that came with opset 15 to 18, which every current reader takes.
pub const IR_VERSION: i64 = 8;

/// Operator set of models built here.
pub const OPSET_VERSION: i64 = 17;

impl ModelProto {
    /// A model of `graph` at [`OPSET_VERSION`].
    #[must_use]
    pub fn new(graph: GraphProto) -> Self {
        Self {
            ir_version: IR_VERSION,
            producer_name: "edgeward".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET_VERSION }],
            ..Self::default()
        }
    }

    /// Version of the `ai.onnx` operator set; 0 if the model imports none.
    #[must_use]
    pub fn opset_version(&self) -> i64 {
        let standard = |set: &&OperatorSetIdProto| set.domain.is_empty() || set.domain == "ai.onnx";
        self.opset_import.iter().find(standard).map_or(0, |set| set.version)
    }

    /// The metadata text under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// Sets the metadata text under `key`; entries stay sorted by key.
    pub fn set_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let entry = StringStringEntryProto { key: key.into(), value: value.into() };
        self.metadata_props.retain(|old| old.key != entry.key);
        self.metadata_props.push(entry);
        self.metadata_props.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

impl GraphProto {
    /// An empty graph of this name (readers refuse a graph without one).
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The constant of this name.
    #[must_use]
    pub fn constant(&self, name: &str) -> Option<&TensorProto> {
        self.initializer.iter().find(|tensor| tensor.name == name)
    }
}

impl NodeProto {
    /// The operator `op_type` of the standard set, applied to `inputs`.
    #[must_use]
    pub fn new(op_type: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            input: owned(inputs),
            output: owned(outputs),
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            ..Self::default()
        }
    }

    /// The same node with one more attribute.
    #[must_use]
    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }

    /// The same node with an operator of another domain, such as `ai.onnx.ml`.
    #[must_use]
    pub fn in_domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// The attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }

    /// The integer attribute of this name, or `default`.
    #[must_use]
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }
}

impl AttributeProto {
    fn typed(name: &str, r#type: i32) -> Self {
        Self { name: name.to_owned(), r#type, ..Self::default() }
    }

    /// A number.
    #[must_use]
    pub fn float(name: &str, value: f32) -> Self {
        Self { f: Some(value), ..Self::typed(name, attribute_type::FLOAT) }
    }

    /// An integer.
    #[must_use]
    pub fn int(name: &str, value: i64) -> Self {
        Self { i: Some(value), ..Self::typed(name, attribute_type::INT) }
    }

    /// A text.
    #[must_use]
    pub fn text(name: &str, value: &str) -> Self {
        Self { s: Some(value.as_bytes().to_vec()), ..Self::typed(name, attribute_type::STRING) }
    }

    /// A constant tensor.
    #[must_use]
    pub fn tensor(name: &str, value: TensorProto) -> Self {
        Self { t: Some(value), ..Self::typed(name, attribute_type::TENSOR) }
    }

    /// A subgraph.
    #[must_use]
    pub fn graph(name: &str, value: GraphProto) -> Self {
        Self { g: Some(value), ..Self::typed(name, attribute_type::GRAPH) }
    }

    /// A list of numbers.
    #[must_use]
    pub fn floats(name: &str, values: Vec<f32>) -> Self {
        Self { floats: values, ..Self::typed(name, attribute_type::FLOATS) }
    }

    /// A list of integers.
    #[must_use]
    pub fn ints(name: &str, values: Vec<i64>) -> Self {
        Self { ints: values, ..Self::typed(name, attribute_type::INTS) }
    }

    /// A list of texts.
    #[must_use]
    pub fn texts(name: &str, values: &[&str]) -> Self {
        let strings = values.iter().map(|text| text.as_bytes().to_vec()).collect();
        Self { strings, ..Self::typed(name, attribute_type::STRINGS) }
    }
}

impl TensorProto {
    /// A constant of this name: numbers as `raw_data`, byte strings as `string_data`.
    #[must_use]
    pub fn from_tensor(name: impl Into<String>, tensor: &Tensor) -> Self {
        // A tensor's dimensions number at most 2^28 elements, so each fits.
        let dims = tensor.shape().iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
        let shell = Self {
            dims,
            data_type: element_type_of(tensor.datatype()),
            name: name.into(),
            ..Self::default()
        };
        match tensor.data() {
            TensorData::Bytes(strings) => Self { string_data: strings.clone(), ..shell },
            _ => Self { raw_data: Some(tensor.to_le_bytes()), ..shell },
        }
    }
}

impl ValueInfoProto {
    /// A tensor value of this name, type and shape.
    #[must_use]
    pub fn tensor(name: impl Into<String>, datatype: DataType, shape: &[Dim]) -> Self {
        let shape = TensorShapeProto { dim: shape.iter().map(dimension).collect() };
        let tensor = TensorTypeProto { elem_type: element_type_of(datatype), shape: Some(shape) };
        let r#type = TypeProto { value: Some(TypeValue::Tensor(tensor)), denotation: String::new() };
        Self { name: name.into(), r#type: Some(r#type), ..Self::default() }
    }
}

impl From<&TensorSpec> for ValueInfoProto {
    fn from(spec: &TensorSpec) -> Self {
        Self::tensor(&spec.name, spec.datatype, &spec.shape)
    }
}

fn dimension(dim: &Dim) -> DimensionProto {
    let value = match dim {
        Dim::Fixed(size) => DimensionValue::Value(i64::try_from(*size).unwrap_or(i64::MAX)),
        Dim::Symbolic(name) => DimensionValue::Param(name.clone()),
    };
    DimensionProto { value: Some(value), denotation: String::new() }
}
