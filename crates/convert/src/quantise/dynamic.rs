//! Dynamic int8: weights in int8, activations turned into uint8 call by call. No calibration data; for models that are
//! mostly matrix products (transformers, perceptrons).
//!
//! `MatMul` and `Gemm` with constant weights become `DynamicQuantizeLinear`, `MatMulInteger` and a product with both
//! scales, the form that ONNX Runtime fuses into one operator. Convolutions stay float: dynamic ones are slower than
//! floats.

use std::collections::{HashMap, HashSet};

use edgeward_model::onnx::{
    AttributeProto, GraphError, GraphProto, ModelProto, NodeProto, TensorProto, element_type_of,
};
use edgeward_model::{DataType, Tensor};

use super::activations::{INT7_MAX, Int8Options, Judge, excluded};
use super::layers::{Kind, Layer, View, find};
use super::prepare::{drop_unread, prepare};
use super::search::Search;
use super::{ELEMENTS_MIN, Fresh, INT8_MAX, QuantiseError, QuantiseReport, channels_int8, initializer};

/// The model with its matrix products in dynamic int8, and what became of each. If no choice of layers keeps `judge`'s
/// bounds, the nearest one found is given: the caller judges again.
///
/// # Errors
/// The operator set is too old, or no product has constant weights.
pub fn dynamic_int8(
    model: &ModelProto,
    options: &Int8Options,
    judge: Judge<'_>,
) -> Result<(ModelProto, QuantiseReport), QuantiseError> {
    let prepared = prepare(model)?;
    let graph = prepared.graph.as_ref().ok_or(GraphError::Missing)?;
    let view = View::new(graph);
    let (layers, mut kept) = find(&view);
    let products = layers.into_iter().filter(|layer| is_product(&view, layer)).collect();
    let products = excluded(&view, products, options, &mut kept);
    if products.is_empty() {
        return Err(QuantiseError::nothing(&kept));
    }
    let weight_max = if options.reduce_range { INT7_MAX } else { INT8_MAX };
    let build = |layers: &[&Layer], _: Option<_>| rewrite(&prepared, &view, layers, weight_max);
    let mut search = Search::new(&build, judge);
    let choice = search.run(&products, &[None], options)?;
    kept.extend(choice.left);
    let quantised = choice.layers.iter().map(|layer| layer.name.clone()).collect();
    let report = QuantiseReport { quantised, kept, calibration: None, evaluations: search.evaluations() };
    Ok((choice.model, report))
}

/// Share of a model's multiplications with constant weights that lie in `MatMul` and `Gemm`, by the size of the
/// weights: near 1 for transformers, near 0 for convolutional networks.
#[must_use]
pub fn product_share(model: &ModelProto) -> f64 {
    let Some(graph) = &model.graph else { return 0.0 };
    let weight = |node: &NodeProto| {
        let constant = node.input.get(1).and_then(|name| graph.constant(name));
        constant.map_or(0.0, |constant| constant.dims.iter().map(|&dim| dim.max(0) as f64).product())
    };
    let (mut products, mut all) = (0.0, 0.0);
    for node in graph.node.iter().filter(|node| node.domain.is_empty()) {
        match node.op_type.as_str() {
            "MatMul" | "Gemm" => (products, all) = (products + weight(node), all + weight(node)),
            "Conv" | "ConvTranspose" => all += weight(node),
            _ => {}
        }
    }
    if all > 0.0 { products / all } else { 0.0 }
}

fn is_product(view: &View<'_>, layer: &Layer) -> bool {
    let node = &view.graph.node[layer.node];
    let elements = node
        .input
        .get(1)
        .and_then(|name| view.constant(name))
        .map_or(0, |weight| weight.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).product());
    matches!(node.op_type.as_str(), "MatMul" | "Gemm") && elements >= ELEMENTS_MIN
}

fn rewrite(
    model: &ModelProto,
    view: &View<'_>,
    layers: &[&Layer],
    weight_max: f32,
) -> Result<ModelProto, String> {
    let chosen: HashMap<usize, &Layer> = layers.iter().map(|layer| (layer.node, *layer)).collect();
    let mut writer = Writer {
        view,
        weight_max,
        fresh: Fresh::new(view.graph),
        nodes: Vec::new(),
        constants: Vec::new(),
        inputs: HashMap::new(),
        written: HashSet::new(),
    };
    for (index, node) in view.graph.node.iter().enumerate() {
        match chosen.get(&index) {
            Some(layer) => writer.product(layer, node)?,
            None => writer.nodes.push(node.clone()),
        }
    }
    let mut graph = GraphProto { node: writer.nodes, ..view.graph.clone() };
    graph.initializer.extend(writer.constants);
    drop_unread(&mut graph);
    Ok(ModelProto { graph: Some(graph), ..model.clone() })
}

/// An activation in uint8: its values, scale and zero point, by name.
#[derive(Clone)]
struct Quantised {
    values: String,
    scale: String,
    zero: String,
}

struct Writer<'a> {
    view: &'a View<'a>,
    weight_max: f32,
    fresh: Fresh,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    inputs: HashMap<String, Quantised>,
    written: HashSet<String>,
}

impl Writer<'_> {
    fn product(&mut self, layer: &Layer, node: &NodeProto) -> Result<(), String> {
        let input = self.input(&node.input[0]);
        let (weight, scale) = self.weight(layer, node)?;
        let output = node.output.first().ok_or("has no output")?.clone();
        let [sums, floats, scales] =
            ["int32", "float", "scales"].map(|suffix| self.fresh.name(&format!("{output}.{suffix}")));
        self.push("MatMulInteger", &[&input.values, &weight, &input.zero], &sums);
        let to = AttributeProto::int("to", i64::from(element_type_of(DataType::Fp32)));
        self.nodes.push(NodeProto::new("Cast", &floats, &[&sums], &[&floats]).with(to));
        self.push("Mul", &[&input.scale, &scale], &scales);
        match node.input.get(2).filter(|bias| !bias.is_empty()) {
            Some(bias) => {
                let scaled = self.fresh.name(&format!("{output}.scaled"));
                self.push("Mul", &[&floats, &scales], &scaled);
                self.push("Add", &[&scaled, bias], &output);
            }
            None => self.push("Mul", &[&floats, &scales], &output),
        }
        Ok(())
    }

    fn push(&mut self, op_type: &str, inputs: &[&str], output: &str) {
        self.nodes.push(NodeProto::new(op_type, &format!("{output}.{op_type}"), inputs, &[output]));
    }

    /// The activation in uint8; several products of one activation share it.
    fn input(&mut self, name: &str) -> Quantised {
        if let Some(known) = self.inputs.get(name) {
            return known.clone();
        }
        let [values, scale, zero] =
            ["uint8", "scale", "zero"].map(|suffix| self.fresh.name(&format!("{name}.{suffix}")));
        let outputs = [values.as_str(), &scale, &zero];
        let label = format!("{values}.quantise");
        self.nodes.push(NodeProto::new("DynamicQuantizeLinear", &label, &[name], &outputs));
        let quantised = Quantised { values, scale, zero };
        self.inputs.insert(name.to_owned(), quantised.clone());
        quantised
    }

    /// Names of the weight, rows by columns, and of its scales, one per column.
    fn weight(&mut self, layer: &Layer, node: &NodeProto) -> Result<(String, String), String> {
        let Kind::Weighted { axis } = layer.kind else { return Err("has no weights".to_owned()) };
        let name = &node.input[1];
        let constant = self.view.constant(name).ok_or("a constant is missing")?;
        let tensor = constant.to_tensor().map_err(|error| error.to_string())?;
        let (int8, scale) = (format!("{name}.int8.{axis}"), format!("{name}.scales.{axis}"));
        if self.written.insert(int8.clone()) {
            let upright = if axis == 0 { transposed(&tensor)? } else { tensor };
            let (values, scales) = channels_int8(&upright, 1, self.weight_max, &|_| 0.0)?;
            self.constants.push(TensorProto::from_tensor(&int8, &values));
            self.constants.push(initializer(&scale, [scales.len()], scales)?);
        }
        Ok((int8, scale))
    }
}

fn transposed(tensor: &Tensor) -> Result<Tensor, String> {
    let (&[rows, columns], Some(values)) = (tensor.shape(), tensor.as_f32()) else {
        return Err("is not a matrix of FP32".to_owned());
    };
    let turned: Vec<f32> = (0..rows * columns).map(|at| values[(at % rows) * columns + at / rows]).collect();
    Tensor::new([columns, rows], turned).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use edgeward_model::engine::conformance::fixture::noise;
    use edgeward_model::onnx::{self, ValueInfoProto};
    use edgeward_model::{Dim, Engine as _, LoadOptions, RtenEngine};

    use super::super::activations::Judgement;
    use super::*;

    const WIDTH: usize = 32;

    fn constant(name: &str, shape: &[usize], seed: u64) -> TensorProto {
        TensorProto::from_tensor(name, &Tensor::new(shape, noise(shape.iter().product(), seed)).unwrap())
    }

    /// `Gemm` with turned weights and a bias, `Relu`, then two `MatMul` of one activation, summed.
    fn network() -> ModelProto {
        let value =
            |name| ValueInfoProto::tensor(name, DataType::Fp32, &[Dim::symbol("batch"), Dim::Fixed(WIDTH)]);
        let turned = AttributeProto::int("transB", 1);
        ModelProto::new(GraphProto {
            node: vec![
                NodeProto::new("Gemm", "gemm", &["x", "w1", "b1"], &["h"]).with(turned),
                NodeProto::new("Relu", "relu", &["h"], &["r"]),
                NodeProto::new("MatMul", "left", &["r", "w2"], &["l"]),
                NodeProto::new("MatMul", "right", &["r", "w3"], &["m"]),
                NodeProto::new("Add", "sum", &["l", "m"], &["y"]),
            ],
            initializer: vec![
                constant("w1", &[WIDTH, WIDTH], 1),
                constant("b1", &[WIDTH], 2),
                constant("w2", &[WIDTH, WIDTH], 3),
                constant("w3", &[WIDTH, WIDTH], 4),
            ],
            input: vec![value("x")],
            output: vec![value("y")],
            ..GraphProto::new("network")
        })
    }

    fn answer(model: &ModelProto, input: Tensor) -> Tensor {
        let model = RtenEngine::new().load(&onnx::encode(model), &LoadOptions::with_threads(1)).unwrap();
        model.run(&[input]).unwrap().remove(0)
    }

    fn run(model: &ModelProto) -> Vec<f32> {
        let input = Tensor::from_rows(3, WIDTH, noise(3 * WIDTH, 5)).unwrap();
        answer(model, input).as_f32().unwrap().to_vec()
    }

    fn content(_: &ModelProto) -> Result<Judgement, String> {
        Ok(Judgement { within: true, distance: 0.0 })
    }

    /// How far answers of the quantised network are from the float ones, as a share of the largest.
    fn deviation(quantised: &ModelProto) -> f32 {
        let (expected, found) = (run(&network()), run(quantised));
        let scale = expected.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
        expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
    }

    /// Whether this processor sums two of the largest 8-bit products without an overflow: x86 without VNNI does not.
    fn sums_of_eight_bits_are_exact() -> bool {
        let value = |name, data_type, width| {
            ValueInfoProto::tensor(name, data_type, &[Dim::Fixed(1), Dim::Fixed(width)])
        };
        let weight = Tensor::new([WIDTH, 1], vec![127_i8; WIDTH]).unwrap();
        let model = ModelProto::new(GraphProto {
            node: vec![NodeProto::new("MatMulInteger", "sum", &["x", "w"], &["y"])],
            initializer: vec![TensorProto::from_tensor("w", &weight)],
            input: vec![value("x", DataType::Uint8, WIDTH)],
            output: vec![value("y", DataType::Int32, 1)],
            ..GraphProto::new("sums")
        });
        let input = Tensor::new([1, WIDTH], vec![255_u8; WIDTH]).unwrap();
        answer(&model, input).number(0) == Some((255 * 127 * WIDTH) as f64)
    }

    #[test]
    fn answers_stay_near_and_one_activation_is_quantised_once() {
        let (model, report) = dynamic_int8(&network(), &Int8Options::default(), &mut content).unwrap();
        assert_eq!(report.quantised, ["gemm", "left", "right"]);
        onnx::graph::check(&model).unwrap();
        let count = |op_type| {
            model.graph.as_ref().unwrap().node.iter().filter(|node| node.op_type == op_type).count()
        };
        assert_eq!((count("DynamicQuantizeLinear"), count("MatMulInteger"), count("Gemm")), (2, 3, 0));
        if sums_of_eight_bits_are_exact() {
            let share = deviation(&model);
            assert!(share > 0.0 && share < 0.03, "{share}");
        }
    }

    #[test]
    fn seven_bits_are_near_on_every_processor() {
        let options = Int8Options { reduce_range: true, ..Int8Options::default() };
        let (model, _) = dynamic_int8(&network(), &options, &mut content).unwrap();
        let share = deviation(&model);
        assert!(share > 0.0 && share < 0.05, "{share}");
    }

    #[test]
    fn a_harmful_layer_stays_float() {
        let mut harmful = |model: &ModelProto| {
            let has = |name: &str| model.graph.as_ref().unwrap().node.iter().all(|node| node.name != name);
            Ok(Judgement { within: !has("left"), distance: f64::from(u8::from(has("left"))) })
        };
        let (model, report) = dynamic_int8(&network(), &Int8Options::default(), &mut harmful).unwrap();
        assert_eq!(report.quantised, ["gemm", "right"]);
        assert!(report.kept["left"].starts_with("sensitive"), "{:?}", report.kept);
        assert!(model.graph.unwrap().node.iter().any(|node| node.name == "left"));
    }

    #[test]
    fn layers_are_excluded_by_name_and_operator() {
        let exclude = ["left".to_owned()].into();
        let exclude_operators = ["Gemm".to_owned()].into();
        let options = Int8Options { exclude, exclude_operators, ..Int8Options::default() };
        let (_, report) = dynamic_int8(&network(), &options, &mut content).unwrap();
        assert_eq!(report.quantised, ["right"]);
    }

    #[test]
    fn the_share_of_products_tells_transformers_from_convolutions() {
        assert!(product_share(&network()) > 0.99);
        assert!(product_share(&ModelProto::new(GraphProto::new("empty"))) < 0.01);
    }
}
