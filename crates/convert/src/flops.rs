//! How much arithmetic one call of a model is: two operations for each multiply-add of its convolutions, matrix
//! products and recurrent layers, the count that hardware figures are given in.
//!
//! Shapes are those of a real run, so nothing is guessed about dimensions that depend on data. Element-wise operators,
//! tables and trees are not counted: they are a small share wherever any of the counted operators occurs.

use std::collections::BTreeMap;

use edgeward_model::onnx::graph::subgraphs;
use edgeward_model::onnx::{self, GraphProto, ModelProto, NodeProto};
use edgeward_model::{Engine, EngineError, LoadOptions, Tensor};
use serde::Serialize;

use crate::quantise::expose;

/// Operations of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flops {
    /// Operations of all operators counted.
    pub total: u64,
    /// The same by operator.
    pub by_operator: BTreeMap<String, u64>,
    /// Operators that would count but whose sizes are not known, such as those inside branches, with how many.
    pub uncounted: BTreeMap<String, usize>,
}

/// Counts the operations of `call`, the inputs of `model` in order, by running it on `engine`.
///
/// # Errors
/// The engine does not run the model with the operands of its products among the outputs.
pub fn flops(model: &ModelProto, engine: &dyn Engine, call: &[Tensor]) -> Result<Flops, EngineError> {
    let mut flops = Flops::default();
    let Some(graph) = &model.graph else { return Ok(flops) };
    let counted: Vec<&NodeProto> = graph.node.iter().filter(|node| counts(node)).collect();
    let shapes = shapes(model, graph, &counted, engine, call)?;
    for node in counted {
        match operations(node, &shapes) {
            Some(count) => {
                flops.total = flops.total.saturating_add(count);
                *flops.by_operator.entry(node.op_type.clone()).or_default() += count;
            }
            None => *flops.uncounted.entry(node.op_type.clone()).or_default() += 1,
        }
    }
    graph.node.iter().flat_map(subgraphs).for_each(|inner| count_inside(inner, &mut flops));
    Ok(flops)
}

fn counts(node: &NodeProto) -> bool {
    let known = ["Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"];
    node.domain.is_empty() && known.contains(&node.op_type.as_str())
}

fn count_inside(graph: &GraphProto, flops: &mut Flops) {
    for node in &graph.node {
        if counts(node) {
            *flops.uncounted.entry(node.op_type.clone()).or_default() += 1;
        }
        subgraphs(node).for_each(|inner| count_inside(inner, flops));
    }
}

type Shapes = BTreeMap<String, Vec<usize>>;

/// Shapes of the operands and results of `nodes`.
fn shapes(
    model: &ModelProto,
    graph: &GraphProto,
    nodes: &[&NodeProto],
    engine: &dyn Engine,
    call: &[Tensor],
) -> Result<Shapes, EngineError> {
    let mut shapes: Shapes = graph
        .initializer
        .iter()
        .filter_map(|constant| Some((constant.name.clone(), constant.shape().ok()?)))
        .collect();
    let operands = nodes.iter().flat_map(|node| node.input.iter().take(2).chain(node.output.first()));
    let mut values: Vec<String> =
        operands.filter(|name| !name.is_empty() && !shapes.contains_key(*name)).cloned().collect();
    values.sort();
    values.dedup();
    let runnable = engine.load(&onnx::encode(&expose(model, &values)), &LoadOptions::with_threads(1))?;
    let outputs = runnable.run(call)?;
    let named = runnable.inputs().iter().zip(call).chain(runnable.outputs().iter().zip(&outputs));
    shapes.extend(named.map(|(spec, tensor)| (spec.name.clone(), tensor.shape().to_vec())));
    Ok(shapes)
}

fn operations(node: &NodeProto, shapes: &Shapes) -> Option<u64> {
    let shape = |name: Option<&String>| shapes.get(name?).map(Vec::as_slice);
    let (first, second) = (shape(node.input.first())?, shape(node.input.get(1))?);
    let product = |dims: &[usize]| dims.iter().map(|&dim| dim as u64).product::<u64>();
    let multiply_adds = match node.op_type.as_str() {
        // Each output is a sum over one filter; each input of the transposed one is spread over one.
        "Conv" => product(shape(node.output.first())?) * product(second.get(1..)?),
        "ConvTranspose" => product(first) * product(second.get(1..)?),
        "Gemm" if node.int("transA", 0) != 0 => product(shape(node.output.first())?) * *first.first()? as u64,
        "Gemm" | "MatMul" => product(shape(node.output.first())?) * *first.last()? as u64,
        // X is [steps, batch, size] and W [directions, gates x hidden, size]: per step a product with W, one with R.
        _ => {
            let (&[steps, batch, size], &[directions, rows, _]) = (first, second) else { return None };
            let hidden = u64::try_from(node.int("hidden_size", 0)).ok()?;
            (steps * batch * directions * rows) as u64 * (size as u64 + hidden)
        }
    };
    multiply_adds.checked_mul(2)
}

#[cfg(test)]
mod tests {
    use edgeward_model::onnx::{AttributeProto, TensorProto, ValueInfoProto};
    use edgeward_model::{DataType, Dim, RtenEngine};

    use super::*;

    fn constant(name: &str, shape: &[usize]) -> TensorProto {
        let count = shape.iter().product();
        TensorProto::from_tensor(name, &Tensor::new(shape, vec![0.5_f32; count]).unwrap())
    }

    #[test]
    fn products_and_convolutions_are_counted_by_their_shapes() {
        let value = |name, shape: &[Dim]| ValueInfoProto::tensor(name, DataType::Fp32, shape);
        let dims = [1, 3, 8, 8].map(Dim::Fixed);
        let model = ModelProto::new(GraphProto {
            node: vec![
                NodeProto::new("Conv", "conv", &["x", "w"], &["c"])
                    .with(AttributeProto::ints("kernel_shape", vec![3, 3])),
                NodeProto::new("Flatten", "flat", &["c"], &["f"]),
                NodeProto::new("MatMul", "head", &["f", "v"], &["y"]),
            ],
            initializer: vec![constant("w", &[4, 3, 3, 3]), constant("v", &[144, 10])],
            input: vec![value("x", &dims)],
            output: vec![value("y", &[Dim::Fixed(1), Dim::Fixed(10)])],
            ..GraphProto::new("network")
        });
        let call = [Tensor::new([1, 3, 8, 8], vec![1.0_f32; 192]).unwrap()];
        let flops = flops(&model, &RtenEngine::new(), &call).unwrap();
        // 4 channels of 6 x 6, 27 multiply-adds each; then 144 x 10.
        assert_eq!(flops.by_operator["Conv"], 2 * 4 * 36 * 27);
        assert_eq!(flops.by_operator["MatMul"], 2 * 1440);
        assert_eq!(flops.total, 2 * (4 * 36 * 27 + 1440));
        assert!(flops.uncounted.is_empty());
    }
}
