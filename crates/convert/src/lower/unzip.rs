//! `ZipMap` removed: a list of maps from class to score is a matrix with a column per class.

use edgeward_model::onnx::proto::{TypeProto, TypeValue};
use edgeward_model::onnx::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use edgeward_model::{DataType, Dim};

use super::DOMAIN;

/// The same model with matrices of scores as outputs where it had lists of maps.
#[must_use]
pub fn unzip(model: &ModelProto) -> ModelProto {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        unzip_graph(graph);
    }
    model
}

fn unzip_graph(graph: &mut GraphProto) {
    let rows = graph.input.first().and_then(rows_of).unwrap_or_else(|| Dim::symbol("?"));
    for node in &mut graph.node {
        let zip = node.domain == DOMAIN && node.op_type == "ZipMap";
        if !zip || node.input.len() != 1 || node.output.len() != 1 {
            continue;
        }
        let classes: usize = node.attribute.iter().map(|list| list.ints.len() + list.strings.len()).sum();
        let output = node.output[0].clone();
        *node = NodeProto::new("Identity", &node.name, &[&node.input[0]], &[&output]);
        let shape = [rows.clone(), Dim::Fixed(classes)];
        for declared in graph.output.iter_mut().chain(&mut graph.value_info) {
            if declared.name == output && !is_tensor(declared.r#type.as_ref()) {
                *declared = ValueInfoProto::tensor(&output, DataType::Fp32, &shape);
            }
        }
    }
}

fn rows_of(input: &ValueInfoProto) -> Option<Dim> {
    input.spec().ok()?.shape.into_iter().next()
}

fn is_tensor(r#type: Option<&TypeProto>) -> bool {
    matches!(r#type.and_then(|r#type| r#type.value.as_ref()), Some(TypeValue::Tensor(_)))
}
