//! The graph with int8 in it: `QuantizeLinear` and `DequantizeLinear` where a [`Scheme`] says, around operators that
//! stay as they are. Engines that know the pattern compute in int8; all others get the same numbers in floats.

use std::collections::{BTreeMap, HashMap};

use edgeward_model::Tensor;
use edgeward_model::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

use super::layers::{Kind, Layer, View};
use super::prepare::{axis, drop_unread};
use super::range::Range;
use super::scheme::{Scheme, activations};
use super::{Fresh, channels_int8, initializer};

/// Greatest magnitude of an int32 bias; room is left for the sums it is added to.
const BIAS_MAX: f32 = (1 << 30) as f32;

/// The model with the layers of `scheme` in int8, over `ranges`. Weights take values up to `weight_max`.
pub(super) fn rewrite(
    model: &ModelProto,
    view: &View<'_>,
    scheme: &Scheme<'_>,
    ranges: &BTreeMap<String, Range>,
    weight_max: f32,
) -> Result<ModelProto, String> {
    let mut writer = Writer {
        view,
        scheme,
        ranges,
        weight_max,
        fresh: Fresh::new(view.graph),
        nodes: Vec::new(),
        constants: Vec::new(),
        floats: HashMap::new(),
        weights: HashMap::new(),
    };
    writer.write()?;
    let mut graph = GraphProto { node: writer.nodes, ..view.graph.clone() };
    graph.initializer.extend(writer.constants);
    drop_unread(&mut graph);
    Ok(ModelProto { graph: Some(graph), ..model.clone() })
}

struct Writer<'a> {
    view: &'a View<'a>,
    scheme: &'a Scheme<'a>,
    ranges: &'a BTreeMap<String, Range>,
    weight_max: f32,
    fresh: Fresh,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// Values made by float nodes, with the name of what int8 makes of them.
    floats: HashMap<String, String>,
    /// Dequantised weights and their scales, by the weight's name and its steps.
    weights: HashMap<(String, Vec<u32>), String>,
}

impl Writer<'_> {
    fn write(&mut self) -> Result<(), String> {
        let graph = self.view.graph;
        for input in &graph.input {
            self.enter(&input.name)?;
        }
        for (index, node) in graph.node.iter().enumerate() {
            if self.scheme.clamps.values().any(|&clamp| clamp == index) {
                continue;
            }
            match self.scheme.layers.get(&index) {
                Some(layer) => self.layer(layer, node)?,
                None => {
                    self.nodes.push(node.clone());
                    node.output.iter().try_for_each(|output| self.enter(output))?;
                }
            }
        }
        Ok(())
    }

    /// A float value that int8 layers read: they read what is left of it in int8, others read it as it is.
    fn enter(&mut self, value: &str) -> Result<(), String> {
        if self.scheme.values.contains_key(value) {
            let name = self.fresh.name(&format!("{value}.dequantised"));
            self.pass(value, value, &name)?;
            self.floats.insert(value.to_owned(), name);
        }
        Ok(())
    }

    fn layer(&mut self, layer: &Layer, node: &NodeProto) -> Result<(), String> {
        let mut node = node.clone();
        let count = activations(&node, layer.kind).count();
        for input in &mut node.input[..count] {
            if let Some(float) = self.floats.get(input) {
                float.clone_into(input);
            }
        }
        if let Kind::Weighted { axis } = layer.kind {
            self.weigh(layer, axis, &mut node)?;
        }
        if !self.scheme.gives_int8(self.view, layer.node) {
            self.nodes.push(node);
            return Ok(());
        }
        let clamp = self.scheme.clamps.get(&layer.node);
        let result = clamp
            .map_or_else(|| node.output[0].clone(), |&clamp| self.view.graph.node[clamp].output[0].clone());
        let float = self.fresh.name(&format!("{result}.float"));
        node.output[0].clone_from(&float);
        self.nodes.push(node);
        self.pass(&result, &float, &result)
    }

    /// `from` turned into int8 over the range of `value` and back, as `to`.
    fn pass(&mut self, value: &str, from: &str, to: &str) -> Result<(), String> {
        let source = self.scheme.values.get(value).map_or(value, String::as_str);
        let range = self.ranges.get(source).ok_or_else(|| format!("nothing was seen of '{source}'"))?;
        let (scale, zero) = range.scale_and_zero();
        let [scale_name, zero_name, int8] =
            ["scale", "zero", "int8"].map(|suffix| self.fresh.name(&format!("{value}.{suffix}")));
        self.constants.push(initializer(&scale_name, [], vec![scale])?);
        self.constants.push(initializer(&zero_name, [], vec![zero])?);
        let (down, up) = (format!("{int8}.quantise"), format!("{int8}.dequantise"));
        self.nodes.push(NodeProto::new("QuantizeLinear", &down, &[from, &scale_name, &zero_name], &[&int8]));
        self.nodes.push(NodeProto::new("DequantizeLinear", &up, &[&int8, &scale_name, &zero_name], &[to]));
        Ok(())
    }

    /// Weights as int8 and bias as int32, turned back by `DequantizeLinear`.
    fn weigh(&mut self, layer: &Layer, axis: usize, node: &mut NodeProto) -> Result<(), String> {
        let original = &self.view.graph.node[layer.node];
        let source = self.scheme.values.get(&original.input[0]).unwrap_or(&original.input[0]);
        let range = self.ranges.get(source).ok_or_else(|| format!("nothing was seen of '{source}'"))?;
        let step = range.scale_and_zero().0;
        let constant = |name: &String| {
            self.view
                .constant(name)
                .ok_or("a constant is missing")?
                .to_tensor()
                .map_err(|error| error.to_string())
        };
        let weight = constant(&original.input[1])?;
        let bias = original.input.get(2).filter(|name| !name.is_empty()).map(constant).transpose()?;
        let bias = bias.as_ref().and_then(Tensor::as_f32);
        let least = |channel: usize| bias.map_or(0.0, |bias| bias[channel].abs() / (step * BIAS_MAX));
        let (int8, scales) = channels_int8(&weight, axis, self.weight_max, &least)?;
        if let Some(bias) = bias {
            node.input[2] = self.bias(&original.input[2], bias, step, &scales)?;
        }
        node.input[1] = self.weight(&original.input[1], axis, &int8, scales)?;
        Ok(())
    }

    fn weight(&mut self, name: &str, on: usize, int8: &Tensor, scales: Vec<f32>) -> Result<String, String> {
        let key = (name.to_owned(), scales.iter().map(|scale| scale.to_bits()).collect());
        if let Some(known) = self.weights.get(&key) {
            return Ok(known.clone());
        }
        let [values, scale, zero, float] = ["int8", "scale", "zero", "dequantised"]
            .map(|suffix| self.fresh.name(&format!("{name}.{suffix}")));
        let channels = scales.len();
        self.constants.push(TensorProto::from_tensor(&values, int8));
        self.constants.push(initializer(&scale, [channels], scales)?);
        self.constants.push(initializer(&zero, [channels], vec![0_i8; channels])?);
        let node = NodeProto::new("DequantizeLinear", &float, &[&values, &scale, &zero], &[&float]);
        self.nodes.push(node.with(axis(on)));
        self.weights.insert(key, float.clone());
        Ok(float)
    }

    fn bias(&mut self, name: &str, bias: &[f32], step: f32, scales: &[f32]) -> Result<String, String> {
        let scales: Vec<f32> = scales.iter().map(|scale| scale * step).collect();
        let int32 = |(value, scale): (&f32, &f32)| (value / scale).round().clamp(-BIAS_MAX, BIAS_MAX) as i32;
        let values: Vec<i32> = bias.iter().zip(&scales).map(int32).collect();
        let [int32, scale, float] =
            ["int32", "scale", "dequantised"].map(|suffix| self.fresh.name(&format!("{name}.{suffix}")));
        self.constants.push(initializer(&int32, [values.len()], values)?);
        self.constants.push(initializer(&scale, [scales.len()], scales)?);
        let node = NodeProto::new("DequantizeLinear", &float, &[&int32, &scale], &[&float]);
        self.nodes.push(node.with(axis(0)));
        Ok(float)
    }
}
