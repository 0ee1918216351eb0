//! int8 activations too: faster on processors with int8 products, where the engine knows the pattern.
//!
//! Static quantisation: the ranges of all activations are fixed from sample calls. Activations are uint8, asymmetric,
//! one range per value; weights int8, symmetric, one scale per output channel; biases int32. What computes in int8:
//! `Conv`, `Gemm` and `MatMul` with constant weights, and between them sums, joins, pools and moves; `Relu` and `Clip`
//! fold into ranges. Everything else stays float, `Softmax` and the like always.
//!
//! Layers that hurt most are found by quantising each alone, and left float, most harmful first, until the caller's
//! judge is content. The number of models judged is bounded and nothing depends on time or chance.
//!
//! Deliberately missing: products of two activations (attention), recurrent layers, quantisation-aware training.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_model::onnx::ModelProto;
use edgeward_model::{Engine, Tensor};
use serde::{Deserialize, Serialize};

use super::calibrate::observe;
use super::layers::{Layer, View, find};
use super::prepare::prepare;
use super::range::{Calibration, Range, Seen};
use super::rewrite::rewrite;
use super::scheme::Scheme;
use super::{INT8_MAX, QuantiseError, QuantiseReport};

/// Most calls that are calibrated on; more are left out.
pub const CALLS_MAX: usize = 512;

/// Weights of 7 bits cannot overflow the 16-bit sums of processors without int8 dot products.
const INT7_MAX: f32 = 63.0;

/// How to quantise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Int8Options {
    /// How ranges are chosen; if empty, each way is tried in the order of [`Calibration::ALL`] until one is within the
    /// bounds.
    pub calibration: Option<Calibration>,
    /// Layers that stay float, by name (or name of the first output where they have none).
    pub exclude: BTreeSet<String>,
    /// Operators that stay float.
    pub exclude_operators: BTreeSet<String>,
    /// 7-bit weights, for x86 processors without VNNI, where 8-bit products may overflow.
    pub reduce_range: bool,
    /// Most models that may be judged while looking for layers to leave float. Zero leaves none.
    pub evaluations_max: usize,
}

impl Default for Int8Options {
    fn default() -> Self {
        Self {
            calibration: None,
            exclude: BTreeSet::new(),
            exclude_operators: BTreeSet::new(),
            reduce_range: false,
            evaluations_max: 128,
        }
    }
}

/// What a judge says of a quantised model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Whether it keeps the bounds.
    pub within: bool,
    /// How far it is from the original; only the order matters.
    pub distance: f64,
}

/// Says how good a quantised model is; an error ends the search.
pub type Judge<'a> = &'a mut dyn FnMut(&ModelProto) -> Result<Judgement, String>;

/// The model in static int8, calibrated on `calls` with `engine`, and what became of each layer. If no choice keeps
/// `judge`'s bounds, the nearest one found is given: the caller judges again.
///
/// # Errors
/// The operator set is too old, nothing can be quantised, or the engine does not run the model on `calls`.
pub fn static_int8(
    model: &ModelProto,
    engine: &dyn Engine,
    calls: &[Vec<Tensor>],
    options: &Int8Options,
    judge: Judge<'_>,
) -> Result<(ModelProto, QuantiseReport), QuantiseError> {
    let prepared = prepare(model)?;
    let graph = prepared.graph.as_ref().ok_or(edgeward_model::onnx::GraphError::Missing)?;
    let view = View::new(graph);
    let (layers, mut kept) = find(&view);
    let layers = excluded(&view, layers, options, &mut kept);
    if !layers.iter().any(Layer::is_weighted) {
        return Err(QuantiseError::nothing(&kept));
    }
    let values = Scheme::candidates(&view, &layers);
    let calls = &calls[..calls.len().min(CALLS_MAX)];
    let seen = observe(&prepared, &values, engine, calls)
        .map_err(|error| QuantiseError::Calibrate(error.to_string()))?;
    let weight_max = if options.reduce_range { INT7_MAX } else { INT8_MAX };
    let mut search =
        Search { prepared: &prepared, view: &view, seen: &seen, weight_max, judge, evaluations: 0 };
    let choice = search.run(&layers, options)?;
    kept.extend(choice.left);
    let scheme = Scheme::new(&view, &choice.layers);
    let quantised = scheme.layers.values().map(|layer| layer.name.clone()).collect();
    let report = QuantiseReport {
        quantised,
        kept,
        calibration: Some(choice.calibration),
        evaluations: search.evaluations,
    };
    Ok((choice.model, report))
}

impl Layer {
    fn is_weighted(&self) -> bool {
        matches!(self.kind, super::layers::Kind::Weighted { .. })
    }
}

fn excluded(
    view: &View<'_>,
    layers: Vec<Layer>,
    options: &Int8Options,
    kept: &mut BTreeMap<String, String>,
) -> Vec<Layer> {
    let mut left = Vec::with_capacity(layers.len());
    for layer in layers {
        let op_type = &view.graph.node[layer.node].op_type;
        if options.exclude.contains(&layer.name) {
            kept.insert(layer.name, "excluded by name".to_owned());
        } else if options.exclude_operators.contains(op_type) {
            kept.insert(layer.name, format!("excluded as {op_type}"));
        } else {
            left.push(layer);
        }
    }
    left
}

/// The best model found so far.
struct Choice<'a> {
    model: ModelProto,
    layers: Vec<&'a Layer>,
    left: BTreeMap<String, String>,
    calibration: Calibration,
    judgement: Judgement,
}

struct Search<'a> {
    prepared: &'a ModelProto,
    view: &'a View<'a>,
    seen: &'a BTreeMap<String, Seen>,
    weight_max: f32,
    judge: Judge<'a>,
    evaluations: usize,
}

impl Search<'_> {
    fn run<'l>(&mut self, layers: &'l [Layer], options: &Int8Options) -> Result<Choice<'l>, QuantiseError> {
        let all: Vec<&Layer> = layers.iter().collect();
        let calibrations = options.calibration.as_ref().map_or(&Calibration::ALL[..], std::slice::from_ref);
        let mut best: Option<Choice<'l>> = None;
        for &calibration in calibrations {
            let choice = self.judge(&all, BTreeMap::new(), calibration)?;
            if choice.judgement.within {
                return Ok(choice);
            }
            if best.as_ref().is_none_or(|best| choice.judgement.distance < best.judgement.distance) {
                best = Some(choice);
            }
        }
        let best = best.ok_or_else(|| QuantiseError::Rewrite("no calibration was asked for".to_owned()))?;
        self.leave_out(best, layers, options)
    }

    fn judge<'l>(
        &mut self,
        layers: &[&'l Layer],
        left: BTreeMap<String, String>,
        calibration: Calibration,
    ) -> Result<Choice<'l>, QuantiseError> {
        let ranges: BTreeMap<String, Range> =
            self.seen.iter().map(|(name, seen)| (name.clone(), seen.range(calibration))).collect();
        let scheme = Scheme::new(self.view, layers);
        let model = rewrite(self.prepared, self.view, &scheme, &ranges, self.weight_max)
            .map_err(QuantiseError::Rewrite)?;
        self.evaluations += 1;
        let judgement = (self.judge)(&model).map_err(QuantiseError::Judge)?;
        Ok(Choice { model, layers: layers.to_vec(), left, calibration, judgement })
    }

    /// Leaves out the most harmful layers: first 1, 2, 4, ... of them, then by halves between the last too few and the
    /// first enough.
    fn leave_out<'l>(
        &mut self,
        best: Choice<'l>,
        layers: &'l [Layer],
        options: &Int8Options,
    ) -> Result<Choice<'l>, QuantiseError> {
        let weighted = layers.iter().filter(|layer| layer.is_weighted()).count();
        // Below, finding the count takes at most twice this many models.
        let steps = weighted.ilog2() as usize + 1;
        let budget = options.evaluations_max.saturating_sub(self.evaluations + 2 * steps);
        if budget == 0 {
            return Ok(best);
        }
        let harm = self.harm(layers, best.calibration, budget)?;
        let (mut few, mut count, mut best) = (0, 1, best);
        while !best.judgement.within && count < harm.len() {
            let choice = self.without(layers, &harm[..count], best.calibration)?;
            (few, count) = if choice.judgement.within { (few, count) } else { (count, count * 2) };
            if choice.judgement.within || choice.judgement.distance < best.judgement.distance {
                best = choice;
            }
        }
        let mut enough = count;
        while best.judgement.within && enough - few > 1 {
            let middle = usize::midpoint(few, enough);
            let choice = self.without(layers, &harm[..middle], best.calibration)?;
            if choice.judgement.within {
                (enough, best) = (middle, choice);
            } else {
                few = middle;
            }
        }
        Ok(best)
    }

    fn without<'l>(
        &mut self,
        layers: &'l [Layer],
        out: &[(f64, &Layer)],
        calibration: Calibration,
    ) -> Result<Choice<'l>, QuantiseError> {
        let reason = |&(harm, layer): &(f64, &Layer)| {
            (layer.name.clone(), format!("sensitive: alone in int8 it moves the outputs by {harm:.1e}"))
        };
        let is_out = |layer: &&Layer| out.iter().any(|(_, gone)| gone.node == layer.node);
        let left: Vec<&Layer> = layers.iter().filter(|layer| !is_out(layer)).collect();
        self.judge(&left, out.iter().map(reason).collect(), calibration)
    }

    /// How far each layer with weights moves the outputs alone, most harmful first. With fewer than one evaluation per
    /// layer, neighbours are judged together.
    fn harm<'l>(
        &mut self,
        layers: &'l [Layer],
        calibration: Calibration,
        budget: usize,
    ) -> Result<Vec<(f64, &'l Layer)>, QuantiseError> {
        let weighted: Vec<&Layer> = layers.iter().filter(|layer| layer.is_weighted()).collect();
        let mut harm = Vec::with_capacity(weighted.len());
        for group in weighted.chunks(weighted.len().div_ceil(budget)) {
            let distance = self.judge(group, BTreeMap::new(), calibration)?.judgement.distance;
            harm.extend(group.iter().map(|&layer| (distance, layer)));
        }
        harm.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.node.cmp(&b.1.node)));
        Ok(harm)
    }
}
