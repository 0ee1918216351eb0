//! The multi-layer perceptron: Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019)
//! on mini-batches, He initialisation, early stopping that keeps the best weights.
//!
//! Contract: features and values arrive standardised. Deliberately missing: convolutions, dropout, schedules.

use ndarray::{Array1, Array2, Axis};
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::TrainError;
use crate::network::{Dense, fit_of, hidden_features, softmax_rows};
use crate::params::MlpParams;
use crate::table::Targets;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Rows to learn from, and rows that say when to stop (may be none).
pub(crate) struct Samples<'a> {
    pub(crate) features: &'a Array2<f32>,
    pub(crate) targets: &'a Targets,
    pub(crate) validation_features: &'a Array2<f32>,
    pub(crate) validation_targets: &'a Targets,
    /// Classes, or 1.
    pub(crate) outputs: usize,
}

/// Layers with the best validation loss, and what it took.
pub(crate) struct Perceptron {
    pub(crate) hidden: Vec<Dense>,
    pub(crate) head: Dense,
    pub(crate) epochs: usize,
}

/// Losses after one epoch, on standardised targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EpochLoss {
    pub(crate) epoch: usize,
    pub(crate) train: f64,
    pub(crate) validation: Option<f64>,
}

struct Adam {
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    steps: i32,
    rate: f32,
    decay: f32,
}

/// Trains from random weights.
pub(crate) fn train(
    samples: &Samples<'_>,
    params: &MlpParams,
    on_epoch: &mut dyn FnMut(EpochLoss),
) -> Result<Perceptron, TrainError> {
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let mut layers = random_layers(samples.features.ncols(), &params.hidden, samples.outputs, &mut rng);
    let mut adam = Adam::new(&layers, params);
    let mut order: Vec<usize> = (0..samples.features.nrows()).collect();
    let (mut best, mut best_loss, mut best_epoch, mut epochs) = (layers.clone(), f64::INFINITY, 0, 0);
    while epochs < params.epochs && epochs < best_epoch + params.patience {
        epochs += 1;
        order.shuffle(&mut rng);
        let train = run_epoch(&mut layers, &mut adam, samples, &order, params.batch_rows);
        let validation = validation_loss(&layers, samples);
        let loss = validation.unwrap_or(train);
        if !(train.is_finite() && loss.is_finite()) {
            return Err(TrainError::Diverged { epoch: epochs });
        }
        on_epoch(EpochLoss { epoch: epochs, train, validation });
        if loss < best_loss {
            (best, best_loss, best_epoch) = (layers.clone(), loss, epochs);
        }
    }
    let head = best.pop().expect("random_layers ends with a head");
    Ok(Perceptron { hidden: best, head, epochs })
}

/// He-uniform weights, zero biases; the last layer is the head.
fn random_layers(width: usize, hidden: &[usize], outputs: usize, rng: &mut ChaCha8Rng) -> Vec<Dense> {
    let mut inputs = width;
    let units = hidden.iter().chain([&outputs]);
    units
        .map(|&units| {
            let limit = (6.0 / inputs as f32).sqrt();
            let weight = Array2::from_shape_simple_fn((inputs, units), || rng.random_range(-limit..limit));
            inputs = units;
            Dense { weight, bias: Array1::zeros(units) }
        })
        .collect()
}

/// One pass over `order`; the mean loss of its batches.
fn run_epoch(
    layers: &mut [Dense],
    adam: &mut Adam,
    samples: &Samples<'_>,
    order: &[usize],
    batch_rows: usize,
) -> f64 {
    let mut loss = 0.0;
    for batch in order.chunks(batch_rows) {
        let features = samples.features.select(Axis(0), batch);
        let (batch_loss, gradients) = gradients(layers, features, &samples.targets.select(batch));
        adam.step(layers, &gradients);
        loss += batch_loss * batch.len() as f64;
    }
    loss / order.len() as f64
}

fn validation_loss(layers: &[Dense], samples: &Samples<'_>) -> Option<f64> {
    let (head, hidden) = layers.split_last()?;
    let features = samples.validation_features;
    (features.nrows() > 0).then(|| {
        let out = head.apply(&hidden_features(hidden, features.to_owned()));
        fit_of(&out, samples.validation_targets).loss
    })
}

/// Mean loss of a batch and its gradient by each layer, by back-propagation.
fn gradients(layers: &[Dense], features: Array2<f32>, targets: &Targets) -> (f64, Vec<Dense>) {
    let mut inputs = vec![features];
    let (head, hidden) = layers.split_last().expect("random_layers ends with a head");
    for layer in hidden {
        let mut out = layer.apply(&inputs[inputs.len() - 1]);
        out.mapv_inplace(|value| value.max(0.0));
        inputs.push(out);
    }
    let (loss, mut delta) = loss_and_delta(head.apply(&inputs[inputs.len() - 1]), targets);
    let mut gradients = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate().rev() {
        let input = &inputs[index];
        gradients.push(Dense { weight: input.t().dot(&delta), bias: delta.sum_axis(Axis(0)) });
        if index > 0 {
            delta = delta.dot(&layer.weight.t());
            delta.zip_mut_with(input, |slope, &active| {
                if active <= 0.0 {
                    *slope = 0.0;
                }
            });
        }
    }
    gradients.reverse();
    (loss, gradients)
}

/// Mean loss and its gradient by the head's outputs.
fn loss_and_delta(mut outputs: Array2<f32>, targets: &Targets) -> (f64, Array2<f32>) {
    let loss = fit_of(&outputs, targets).loss;
    let rows = outputs.nrows() as f32;
    match targets {
        Targets::Classes(classes) => {
            softmax_rows(&mut outputs);
            for (mut row, &class) in outputs.rows_mut().into_iter().zip(classes) {
                row[class] -= 1.0;
            }
            outputs /= rows;
        }
        Targets::Values(values) => {
            for (out, value) in outputs.iter_mut().zip(values) {
                *out = 2.0 * (*out - *value as f32) / rows;
            }
        }
    }
    (loss, outputs)
}

impl Adam {
    fn new(layers: &[Dense], params: &MlpParams) -> Self {
        let zeros: Vec<Vec<f32>> = layers
            .iter()
            .flat_map(|layer| [vec![0.0; layer.weight.len()], vec![0.0; layer.bias.len()]])
            .collect();
        Self {
            first: zeros.clone(),
            second: zeros,
            steps: 0,
            rate: params.learning_rate as f32,
            decay: params.weight_decay as f32,
        }
    }

    fn step(&mut self, layers: &mut [Dense], gradients: &[Dense]) {
        self.steps = self.steps.saturating_add(1);
        for (index, (layer, gradient)) in layers.iter_mut().zip(gradients).enumerate() {
            let weights = layer.weight.as_slice_mut().expect("weights are made in row order");
            let slopes: Vec<f32> = gradient.weight.iter().copied().collect();
            self.step_slice(2 * index, weights, &slopes, self.decay);
            let biases = layer.bias.as_slice_mut().expect("one dimension");
            let slopes = gradient.bias.as_slice().expect("one dimension");
            self.step_slice(2 * index + 1, biases, slopes, 0.0);
        }
    }

    fn step_slice(&mut self, moments: usize, values: &mut [f32], slopes: &[f32], decay: f32) {
        let rate = self.rate * (1.0 - BETA_2.powi(self.steps)).sqrt() / (1.0 - BETA_1.powi(self.steps));
        let keep = 1.0 - self.rate * decay;
        let moments = self.first[moments].iter_mut().zip(&mut self.second[moments]);
        for ((value, slope), (first, second)) in values.iter_mut().zip(slopes).zip(moments) {
            *first = BETA_1 * *first + (1.0 - BETA_1) * slope;
            *second = BETA_2 * *second + (1.0 - BETA_2) * slope * slope;
            *value = keep * *value - rate * *first / (second.sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_gradients(targets: &Targets, outputs: usize) {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let features = Array2::from_shape_simple_fn((6, 3), || rng.random_range(-1.0..1.0_f32));
        let layers = random_layers(3, &[5, 4], outputs, &mut rng);
        let loss = |layers: &[Dense]| gradients(layers, features.clone(), targets).0;
        let slopes = gradients(&layers, features.clone(), targets).1;
        for (index, layer) in layers.iter().enumerate() {
            for at in 0..layer.weight.len() {
                let moved = |by: f32| {
                    let mut layers = layers.clone();
                    layers[index].weight.as_slice_mut().unwrap()[at] += by;
                    loss(&layers)
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let expected = f64::from(*slopes[index].weight.iter().nth(at).unwrap());
                assert!((slope - expected).abs() < 2e-3, "layer {index} at {at}: {slope} {expected}");
            }
        }
    }

    #[test]
    fn back_propagation_gives_the_slope_of_the_cross_entropy() {
        check_gradients(&Targets::Classes(vec![0, 1, 2, 0, 1, 2]), 3);
    }

    #[test]
    fn back_propagation_gives_the_slope_of_the_squared_error() {
        check_gradients(&Targets::Values(vec![0.5, -1.0, 2.0, 0.0, 1.0, -0.3]), 1);
    }

    #[test]
    fn learns_what_no_line_can() {
        let features = Array2::from_shape_fn((200, 2), |(row, column)| {
            let bit = (row >> column) & 1;
            bit as f32 * 2.0 - 1.0 + (row as f32 * 0.37).sin() * 0.2
        });
        let targets = Targets::Classes((0..200).map(|row| (row ^ (row >> 1)) & 1).collect());
        let none = Targets::Classes(Vec::new());
        let samples = Samples {
            features: &features,
            targets: &targets,
            validation_features: &Array2::zeros((0, 2)),
            validation_targets: &none,
            outputs: 2,
        };
        let params = MlpParams { hidden: vec![8], epochs: 100, ..MlpParams::default() };
        let mut losses = Vec::new();
        let fitted = train(&samples, &params, &mut |loss| losses.push(loss.train)).unwrap();
        let out = fitted.head.apply(&hidden_features(&fitted.hidden, features.clone()));
        assert_eq!(fit_of(&out, &targets).accuracy, Some(1.0));
        assert!(losses.len() == fitted.epochs && losses.last().unwrap() < &0.1);
    }

    #[test]
    fn a_loss_that_is_no_number_stops_training() {
        let features = Array2::ones((4, 1));
        let targets = Targets::Values(vec![1.0, f64::NAN, 0.0, 1.0]);
        let samples = Samples {
            features: &features,
            targets: &targets,
            validation_features: &features,
            validation_targets: &targets,
            outputs: 1,
        };
        let result = train(&samples, &MlpParams::default(), &mut |_| ());
        assert!(matches!(result, Err(TrainError::Diverged { epoch: 1 })));
    }
}
