//! Which layers may be int8: as many as keep the bounds, found by trying.
//!
//! All are tried first. If that strays too far, each is tried alone, and the most harmful are left float: first 1, 2,
//! 4, ... of them, then by halves between the last too few and the first enough. The number of models judged is bounded
//! and nothing depends on time or chance.

use std::collections::BTreeMap;

use edgeward_model::onnx::ModelProto;

use super::QuantiseError;
use super::activations::{Int8Options, Judge, Judgement};
use super::layers::Layer;
use super::range::Calibration;

/// Makes the model with these layers in int8.
pub(super) type Build<'a> = &'a dyn Fn(&[&Layer], Option<Calibration>) -> Result<ModelProto, String>;

/// The best model found so far.
pub(super) struct Choice<'a> {
    pub(super) model: ModelProto,
    pub(super) layers: Vec<&'a Layer>,
    /// Layers left float, with how harmful each is.
    pub(super) left: BTreeMap<String, String>,
    pub(super) calibration: Option<Calibration>,
    judgement: Judgement,
}

pub(super) struct Search<'a> {
    build: Build<'a>,
    judge: Judge<'a>,
    evaluations: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(build: Build<'a>, judge: Judge<'a>) -> Self {
        Self { build, judge, evaluations: 0 }
    }

    /// Models judged so far.
    pub(super) const fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// Tries `calibrations` in turn, then leaves layers out.
    pub(super) fn run<'l>(
        &mut self,
        layers: &'l [Layer],
        calibrations: &[Option<Calibration>],
        options: &Int8Options,
    ) -> Result<Choice<'l>, QuantiseError> {
        let all: Vec<&Layer> = layers.iter().collect();
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
        calibration: Option<Calibration>,
    ) -> Result<Choice<'l>, QuantiseError> {
        let model = (self.build)(layers, calibration).map_err(QuantiseError::Rewrite)?;
        self.evaluations += 1;
        let judgement = (self.judge)(&model).map_err(QuantiseError::Judge)?;
        Ok(Choice { model, layers: layers.to_vec(), left, calibration, judgement })
    }

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
        calibration: Option<Calibration>,
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
        calibration: Option<Calibration>,
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
