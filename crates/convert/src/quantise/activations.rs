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
use super::range::{Calibration, Range};
use super::rewrite::rewrite;
use super::scheme::Scheme;
use super::search::Search;
use super::{INT8_MAX, QuantiseError, QuantiseReport};

/// Most calls that are calibrated on; more are left out.
pub const CALLS_MAX: usize = 512;

/// Weights of 7 bits cannot overflow the 16-bit sums of processors without int8 dot products.
pub(super) const INT7_MAX: f32 = 63.0;

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
    let build = |layers: &[&Layer], calibration: Option<Calibration>| {
        let calibration = calibration.unwrap_or(Calibration::MinMax);
        let ranges: BTreeMap<String, Range> =
            seen.iter().map(|(name, seen)| (name.clone(), seen.range(calibration))).collect();
        rewrite(&prepared, &view, &Scheme::new(&view, layers), &ranges, weight_max)
    };
    let calibrations: Vec<Option<Calibration>> = options
        .calibration
        .map_or(Calibration::ALL.to_vec(), |one| vec![one])
        .into_iter()
        .map(Some)
        .collect();
    let mut search = Search::new(&build, judge);
    let choice = search.run(&layers, &calibrations, options)?;
    kept.extend(choice.left);
    let scheme = Scheme::new(&view, &choice.layers);
    let quantised = scheme.layers.values().map(|layer| layer.name.clone()).collect();
    let report = QuantiseReport {
        quantised,
        kept,
        calibration: choice.calibration,
        evaluations: search.evaluations(),
    };
    Ok((choice.model, report))
}

impl Layer {
    pub(super) fn is_weighted(&self) -> bool {
        matches!(self.kind, super::layers::Kind::Weighted { .. })
    }
}

pub(super) fn excluded(
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
