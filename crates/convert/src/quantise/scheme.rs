//! Which layers are int8 together, and where values turn into int8 and back.
//!
//! A layer that multiplies by weights is worth it by itself. Sums, joins, pools and moves only follow: between two int8
//! layers they keep the values in int8, elsewhere they stay float. A clamp right after a layer is folded into the range
//! of its output.

use std::collections::{BTreeMap, HashMap, HashSet};

use edgeward_model::onnx::NodeProto;

use super::layers::{Kind, Layer, View};

/// A choice of layers and what follows from it.
pub(super) struct Scheme<'a> {
    /// The int8 layers by position of their node.
    pub(super) layers: BTreeMap<usize, &'a Layer>,
    /// Layers whose clamp is folded into their output's range, with the position of the clamp.
    pub(super) clamps: BTreeMap<usize, usize>,
    /// int8 values, with the value whose range each has.
    pub(super) values: BTreeMap<String, String>,
}

impl<'a> Scheme<'a> {
    pub(super) fn new(view: &View<'_>, chosen: &[&'a Layer]) -> Self {
        let mut scheme = Self { layers: BTreeMap::new(), clamps: BTreeMap::new(), values: BTreeMap::new() };
        scheme.choose(view, chosen);
        let sources = scheme.sources(view);
        scheme.values = sources;
        scheme
    }

    /// Every value whose range any choice among `layers` may ask for.
    pub(super) fn candidates(view: &View<'_>, layers: &[Layer]) -> Vec<String> {
        let mut names = Vec::new();
        for layer in layers {
            let node = &view.graph.node[layer.node];
            names.extend(activations(node, layer.kind).map(str::to_owned));
            if let Some(output) = node.output.first() {
                let clamp = view.clamp_after(output).and_then(|clamp| view.graph.node[clamp].output.first());
                names.extend(clamp.into_iter().chain([output]).cloned());
            }
        }
        names.sort();
        names.dedup();
        names
    }

    fn choose(&mut self, view: &View<'_>, chosen: &[&'a Layer]) {
        let mut int8: HashSet<&str> = HashSet::new();
        let weighted = |layer: &&&Layer| matches!(layer.kind, Kind::Weighted { .. });
        int8.extend(
            chosen.iter().filter(weighted).map(|layer| view.graph.node[layer.node].input[0].as_str()),
        );
        for &layer in chosen {
            let node = &view.graph.node[layer.node];
            let mut inputs = activations(node, layer.kind);
            let follows = match layer.kind {
                Kind::Weighted { .. } => true,
                Kind::Sum => inputs.any(|name| int8.contains(name)),
                Kind::Join => inputs.all(|name| int8.contains(name)),
                Kind::Average | Kind::Same => inputs.any(|name| int8.contains(name)),
            };
            let Some(output) = node.output.first().filter(|_| follows) else { continue };
            self.layers.insert(layer.node, layer);
            let foldable = matches!(layer.kind, Kind::Weighted { .. } | Kind::Sum);
            if let Some(clamp) = view.clamp_after(output).filter(|_| foldable) {
                self.clamps.insert(layer.node, clamp);
            }
            int8.insert(self.result(view, layer.node, output));
        }
        self.float_ends(view);
    }

    /// A matrix product that only float nodes read gives floats at once, so its clamp stays.
    fn float_ends(&mut self, view: &View<'_>) {
        let float: Vec<usize> =
            self.layers.keys().copied().filter(|&node| !self.gives_int8(view, node)).collect();
        for node in float {
            self.clamps.remove(&node);
        }
    }

    /// The value a layer makes, past the clamp that is folded into it.
    fn result<'v>(&self, view: &View<'v>, node: usize, output: &'v str) -> &'v str {
        let clamp = self.clamps.get(&node).and_then(|&clamp| view.graph.node[clamp].output.first());
        clamp.map_or(output, String::as_str)
    }

    /// Whether the layer at `node` gives its result in int8.
    pub(super) fn gives_int8(&self, view: &View<'_>, node: usize) -> bool {
        let (at, Some(output)) = (&view.graph.node[node], view.graph.node[node].output.first()) else {
            return false;
        };
        if !matches!(at.op_type.as_str(), "Gemm" | "MatMul") {
            return true;
        }
        let result = self.result(view, node, output);
        view.readers(result).iter().any(|reader| self.layers.contains_key(reader))
    }

    fn sources(&self, view: &View<'_>) -> BTreeMap<String, String> {
        let mut sources: HashMap<&str, &str> = HashMap::new();
        for (&node, layer) in &self.layers {
            let at = &view.graph.node[node];
            for input in activations(at, layer.kind) {
                sources.entry(input).or_insert(input);
            }
            if let Some(output) = at.output.first().filter(|_| self.gives_int8(view, node)) {
                let result = self.result(view, node, output);
                let same = (layer.kind == Kind::Same).then(|| sources.get(at.input[0].as_str()).copied());
                sources.insert(result, same.flatten().unwrap_or(result));
            }
        }
        sources.into_iter().map(|(value, source)| (value.to_owned(), source.to_owned())).collect()
    }
}

/// The inputs of a layer that are computed.
pub(super) fn activations(node: &NodeProto, kind: Kind) -> impl Iterator<Item = &str> {
    let count = match kind {
        Kind::Weighted { .. } | Kind::Average | Kind::Same => 1,
        Kind::Sum => 2,
        Kind::Join => usize::MAX,
    };
    node.input.iter().take(count).map(String::as_str)
}
