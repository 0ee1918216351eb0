//! Computing once what is constant.

use std::collections::HashMap;

use edgeward_model::onnx::{
    self, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use edgeward_model::{DataType, Dim, Engine, LoadOptions, Tensor};

/// Operators that are folded: deterministic, and FP32 out when their first input is FP32.
const FOLDABLE: &[&str] = &[
    "Add",
    "Concat",
    "Div",
    "Flatten",
    "Mul",
    "Neg",
    "Reshape",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];

/// Largest constant that folding may create, in elements: a small one broadcast to a big one would grow the file.
const FOLDED_ELEMENTS_MAX: usize = 1 << 24;

/// Replaces every node that can be computed now by its result; returns how many. A node the engine cannot compute stays.
pub(super) fn fold(graph: &mut GraphProto, opset: &[OperatorSetIdProto], engine: &dyn Engine) -> usize {
    let before = graph.node.len();
    let declared: Vec<String> = graph.input.iter().map(|input| input.name.clone()).collect();
    let mut constants: HashMap<String, TensorProto> = HashMap::new();
    for tensor in graph.initializer.iter().filter(|tensor| !declared.contains(&tensor.name)) {
        constants.insert(tensor.name.clone(), tensor.clone());
    }
    let outputs: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for node in std::mem::take(&mut graph.node) {
        let folded = if node.output.iter().any(|output| outputs.contains(output)) {
            None
        } else {
            compute(&node, &constants, opset, engine)
        };
        match folded {
            Some(tensor) => {
                constants.insert(tensor.name.clone(), tensor.clone());
                graph.initializer.push(tensor);
            }
            None => graph.node.push(node),
        }
    }
    before - graph.node.len()
}

fn compute(
    node: &NodeProto,
    constants: &HashMap<String, TensorProto>,
    opset: &[OperatorSetIdProto],
    engine: &dyn Engine,
) -> Option<TensorProto> {
    if !FOLDABLE.contains(&node.op_type.as_str()) || !node.domain.is_empty() || node.output.len() != 1 {
        return None;
    }
    let inputs: Vec<&TensorProto> =
        node.input.iter().map(|name| constants.get(name)).collect::<Option<_>>()?;
    let first = inputs.first()?.to_tensor().ok()?;
    if first.datatype() != DataType::Fp32 {
        return None;
    }
    let result = run(node, &first, &inputs, opset, engine)?;
    let grows = result.len() > FOLDED_ELEMENTS_MAX;
    (!grows).then(|| TensorProto::from_tensor(&node.output[0], &result))
}

/// Runs a graph of this node alone. The first input is given as the graph's input so that the engine has work to do.
fn run(
    node: &NodeProto,
    first: &Tensor,
    inputs: &[&TensorProto],
    opset: &[OperatorSetIdProto],
    engine: &dyn Engine,
) -> Option<Tensor> {
    let name = &node.input[0];
    let dims: Vec<Dim> = first.shape().iter().copied().map(Dim::Fixed).collect();
    let mut constants: Vec<TensorProto> =
        inputs.iter().filter(|tensor| tensor.name != *name).map(|&tensor| tensor.clone()).collect();
    constants.sort_by(|a, b| a.name.cmp(&b.name));
    constants.dedup_by(|a, b| a.name == b.name);
    let mut output = ValueInfoProto::tensor(&node.output[0], DataType::Fp32, &[]);
    forget_shape(&mut output);
    let graph = GraphProto {
        node: vec![node.clone()],
        initializer: constants,
        input: vec![ValueInfoProto::tensor(name, DataType::Fp32, &dims)],
        output: vec![output],
        ..GraphProto::new("fold")
    };
    let model = ModelProto { opset_import: opset.to_vec(), ..ModelProto::new(graph) };
    let runnable = engine.load(&onnx::encode(&model), &LoadOptions::with_threads(1)).ok()?;
    runnable.run(std::slice::from_ref(first)).ok()?.pop()
}

fn forget_shape(value: &mut ValueInfoProto) {
    if let Some(onnx::proto::TypeValue::Tensor(tensor)) =
        value.r#type.as_mut().and_then(|r#type| r#type.value.as_mut())
    {
        tensor.shape = None;
    }
}
