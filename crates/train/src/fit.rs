//! From a table and parameters to a trained model: check, split, learn, calibrate, measure, export.

use edgeward_core::Dataset;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::export::{Described, export};
use crate::gbdt::boost::{Boosted, boost};
use crate::gbdt::{self, Forest};
use crate::linear::{ridge_regression, softmax_regression};
use crate::mlp::{Samples, train};
use crate::network::{Dense, Network, fit_of};
use crate::params::{GbdtParams, LogisticParams, MlpParams, RidgeParams, Task, TrainParams};
use crate::split::{Split, split};
use crate::standardise::{Standardiser, mean_and_sd};
use crate::table::{MissingValues, Table, Targets};
use crate::temperature::fit_temperature;

/// Where training stands, after an epoch or at the end of a model without epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs done, from 1.
    pub epoch: usize,
    /// Epochs at most; early stopping may end sooner.
    pub epochs_max: usize,
    /// Loss on the rows learned from, as in [`Metrics::train_loss`].
    pub train_loss: f64,
    /// Loss on the rows held out, when there are any.
    pub validation_loss: Option<f64>,
}

/// How well the model fits. Losses are mean negative log likelihood in nats per row (classification) or mean
/// squared error in squared units of the label (regression).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Loss on the rows the model learned from.
    pub train_loss: f64,
    /// Loss on the rows held out inside training; for an mlp they also chose the epoch. For models that are
    /// fitted again on all rows afterwards, the loss of the fit without them.
    pub validation_loss: Option<f64>,
    /// Share of right classes on the rows learned from.
    pub train_accuracy: Option<f64>,
    /// Share of right classes on the rows held out.
    pub validation_accuracy: Option<f64>,
    /// Epochs, rounds, or iterations of the solver; 1 for a closed form.
    pub epochs: usize,
    /// What the logits were divided by; 1 when scaling was not shown to help.
    pub temperature: f64,
    /// Rows the final model learned from.
    pub train_rows: usize,
    /// Rows held out to measure.
    pub validation_rows: usize,
}

/// A trained model.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The model as a standard ONNX file.
    pub onnx: Vec<u8>,
    /// The classes in the order of `probabilities`; empty for a regression.
    pub classes: Vec<String>,
    /// How well it fits.
    pub metrics: Metrics,
    /// What it predicts.
    pub task: Task,
}

/// Logits or values of raw features.
type Forward<'a> = dyn Fn(&Array2<f32>) -> Array2<f32> + 'a;

/// A network with how it came about.
pub(crate) struct Fitted {
    pub(crate) network: Network,
    pub(crate) metrics: Metrics,
}

/// Trains a model on `dataset`; `progress` is called after every epoch.
///
/// # Errors
/// Parameters out of range, data that cannot be learned from, or training that diverged: see [`TrainError`].
pub fn fit(
    dataset: &Dataset,
    params: &TrainParams,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained, TrainError> {
    params.check()?;
    let task = params.task();
    let missing = match params {
        TrainParams::Gbdt(_) => MissingValues::Accepted,
        _ => MissingValues::Refused,
    };
    let table = Table::new(dataset, task, missing)?;
    let embedding = matches!(params, TrainParams::Mlp(mlp) if mlp.embedding);
    let described =
        Described { feature_names: &dataset.feature_names, classes: &table.classes, task, embedding };
    let (onnx, metrics) = match params {
        TrainParams::Gbdt(gbdt) => {
            let (forest, metrics) = fit_gbdt(dataset, &table, gbdt, progress)?;
            (gbdt::export::export(&forest, dataset.width(), &described), metrics)
        }
        TrainParams::Mlp(mlp) => fit_mlp(dataset, &table, mlp, progress)?.finish(&described),
        TrainParams::Logistic(logistic) => {
            fit_logistic(dataset, &table, logistic).report(progress).finish(&described)
        }
        TrainParams::Ridge(ridge) => fit_ridge(dataset, &table, ridge)?.report(progress).finish(&described),
    };
    Ok(Trained { onnx, classes: table.classes, metrics, task })
}

impl Fitted {
    /// Reports a model without epochs.
    pub(crate) fn report(self, progress: &mut dyn FnMut(Progress)) -> Self {
        progress(Progress {
            epoch: self.metrics.epochs,
            epochs_max: self.metrics.epochs,
            train_loss: self.metrics.train_loss,
            validation_loss: self.metrics.validation_loss,
        });
        self
    }

    fn finish(self, described: &Described<'_>) -> (Vec<u8>, Metrics) {
        (export(&self.network, described), self.metrics)
    }
}

fn fit_mlp(
    dataset: &Dataset,
    table: &Table,
    params: &MlpParams,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainError> {
    let Split { train: train_rows, validation } =
        split(dataset, &table.targets, params.validation_share, params.seed);
    let (learn, held_out) = (table.select(&train_rows), table.select(&validation));
    let standardiser = Standardiser::fit(&learn.features);
    let unit = LabelUnit::of(&learn.targets);
    let features = standardiser.apply(&learn.features);
    let validation_features = standardiser.apply(&held_out.features);
    let samples = Samples {
        features: &features,
        targets: &unit.standardise(&learn.targets),
        validation_features: &validation_features,
        validation_targets: &unit.standardise(&held_out.targets),
        outputs: table.classes.len().max(1),
    };
    let perceptron = train(&samples, params, &mut |loss| {
        let in_label_units = |loss: f64| loss * unit.sd * unit.sd;
        progress(Progress {
            epoch: loss.epoch,
            epochs_max: params.epochs,
            train_loss: in_label_units(loss.train),
            validation_loss: loss.validation.map(in_label_units),
        });
    })?;
    let head = unit.restore(perceptron.head);
    let mut network = Network { standardiser, hidden: perceptron.hidden, head };
    let temperature = calibrate(&mut network, &held_out);
    let metrics = measure(
        (&|raw| network.forward(raw), &learn),
        (&|raw| network.forward(raw), &held_out),
        perceptron.epochs,
        temperature,
    );
    Ok(Fitted { network, metrics })
}

fn fit_logistic(dataset: &Dataset, table: &Table, params: &LogisticParams) -> Fitted {
    let standardiser = Standardiser::fit(&table.features);
    fit_head_twice(dataset, table, params, &|head| Network {
        standardiser: standardiser.clone(),
        hidden: Vec::new(),
        head,
    })
}

/// Fits a softmax head without the held-out rows, to measure and to calibrate, then on all rows.
///
/// `with_head` builds the whole network; the head sees its [`Network::hidden_features`].
pub(crate) fn fit_head_twice(
    dataset: &Dataset,
    table: &Table,
    params: &LogisticParams,
    with_head: &dyn Fn(Dense) -> Network,
) -> Fitted {
    let sides = split(dataset, &table.targets, params.validation_share, params.seed);
    let (learn, held_out) = (table.select(&sides.train), table.select(&sides.validation));
    let (mut judged, _) = fit_head(&learn, params, with_head);
    let temperature = calibrate(&mut judged, &held_out);
    let (mut network, iterations) = fit_head(table, params, with_head);
    network.head.scale(1.0 / temperature);
    let metrics = measure(
        (&|raw| network.forward(raw), table),
        (&|raw| judged.forward(raw), &held_out),
        iterations,
        temperature,
    );
    Fitted { network, metrics }
}

/// A softmax head on standardised hidden features, with that standardisation folded into it.
fn fit_head(
    table: &Table,
    params: &LogisticParams,
    with_head: &dyn Fn(Dense) -> Network,
) -> (Network, usize) {
    let empty = Dense { weight: Array2::zeros((0, 0)), bias: Array1::zeros(0) };
    let features = with_head(empty).hidden_features(&table.features);
    let standardiser = Standardiser::fit(&features);
    let standardised = standardiser.apply(&features);
    let classes = table.targets.classes();
    let fitted =
        softmax_regression(&standardised, classes, table.classes.len(), params.l2, params.iterations);
    (with_head(standardiser.fold_into(&fitted.head)), fitted.iterations)
}

fn fit_gbdt(
    dataset: &Dataset,
    table: &Table,
    params: &GbdtParams,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Forest, Metrics), TrainError> {
    let sides = split(dataset, &table.targets, params.validation_share, params.seed);
    let (learn, held_out) = (table.select(&sides.train), table.select(&sides.validation));
    let Boosted { mut forest, rounds } =
        boost(&learn, &held_out, params, &mut |epoch, train_loss, validation_loss| {
            progress(Progress { epoch, epochs_max: params.rounds, train_loss, validation_loss });
        })?;
    let logits = forest.forward(&held_out.features);
    let temperature = fit_temperature(&logits, held_out.targets.classes()).unwrap_or(1.0);
    for tree in &mut forest.trees {
        tree.map_leaves(|leaf| (f64::from(leaf) / temperature) as f32);
    }
    let forward = |raw: &Array2<f32>| forest.forward(raw);
    let metrics = measure((&forward, &learn), (&forward, &held_out), rounds, temperature);
    Ok((forest, metrics))
}

fn fit_ridge(dataset: &Dataset, table: &Table, params: &RidgeParams) -> Result<Fitted, TrainError> {
    let sides = split(dataset, &table.targets, params.validation_share, params.seed);
    let (learn, held_out) = (table.select(&sides.train), table.select(&sides.validation));
    let judged = fit_line(&learn, params.l2)?;
    let network = fit_line(table, params.l2)?;
    let metrics =
        measure((&|raw| network.forward(raw), table), (&|raw| judged.forward(raw), &held_out), 1, 1.0);
    Ok(Fitted { network, metrics })
}

fn fit_line(table: &Table, l2: f64) -> Result<Network, TrainError> {
    let standardiser = Standardiser::fit(&table.features);
    let unit = LabelUnit::of(&table.targets);
    let values = unit.standardise(&table.targets);
    let features = standardiser.apply(&table.features);
    let head = ridge_regression(&features, values.values(), l2)?;
    Ok(Network { standardiser, hidden: Vec::new(), head: unit.restore(head) })
}

/// Divides the head by the temperature the held-out rows ask for; 1 when they ask for none.
fn calibrate(network: &mut Network, held_out: &Table) -> f64 {
    let logits = network.forward(&held_out.features);
    let temperature = fit_temperature(&logits, held_out.targets.classes()).unwrap_or(1.0);
    network.head.scale(1.0 / temperature);
    temperature
}

/// `forward` functions of the final model and of the one that did not see `held_out`.
fn measure(
    (learned, learn): (&Forward<'_>, &Table),
    (judged, held_out): (&Forward<'_>, &Table),
    epochs: usize,
    temperature: f64,
) -> Metrics {
    let fit_to = |forward: &Forward<'_>, table: &Table| fit_of(&forward(&table.features), &table.targets);
    let train = fit_to(learned, learn);
    let validation = (held_out.len() > 0).then(|| fit_to(judged, held_out));
    Metrics {
        train_loss: train.loss,
        validation_loss: validation.map(|fit| fit.loss),
        train_accuracy: train.accuracy,
        validation_accuracy: validation.and_then(|fit| fit.accuracy),
        epochs,
        temperature,
        train_rows: learn.len(),
        validation_rows: held_out.len(),
    }
}

/// The unit of the labels: values are learned as `(value - mean) / sd`.
struct LabelUnit {
    mean: f64,
    sd: f64,
}

impl LabelUnit {
    fn of(targets: &Targets) -> Self {
        let (mean, sd) = mean_and_sd(targets.values().iter().copied());
        Self { mean, sd: if sd > 0.0 { sd } else { 1.0 } }
    }

    /// Classes stay as they are.
    fn standardise(&self, targets: &Targets) -> Targets {
        match targets {
            Targets::Classes(classes) => Targets::Classes(classes.clone()),
            Targets::Values(values) => {
                Targets::Values(values.iter().map(|value| (value - self.mean) / self.sd).collect())
            }
        }
    }

    /// A head that gives labels in their own unit.
    fn restore(&self, mut head: Dense) -> Dense {
        head.scale(self.sd);
        head.bias.mapv_inplace(|bias| (f64::from(bias) + self.mean) as f32);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rows: usize) -> Dataset {
        let mut dataset = Dataset::with_columns(vec!["x".into(), "constant".into()]);
        for row in 0..rows {
            let x = row as f32 * 0.5 - 7.0;
            dataset.push(&[x, 3.0], (f64::from(x) * 1000.0 + 50_000.0).to_string()).unwrap();
        }
        dataset
    }

    fn check_line(params: &TrainParams, root_error_max: f64) {
        let trained = fit(&line(200), params, &mut |_| ()).unwrap();
        let metrics = trained.metrics;
        assert!(metrics.validation_loss.unwrap().sqrt() < root_error_max, "{metrics:?}");
        assert_eq!((trained.task, metrics.train_accuracy), (Task::Regression, None));
        assert!(trained.classes.is_empty());
    }

    #[test]
    fn ridge_learns_a_line_in_the_labels_own_unit() {
        check_line(&TrainParams::Ridge(RidgeParams { l2: 1e-6, ..RidgeParams::default() }), 1.0);
    }

    #[test]
    fn an_mlp_learns_a_line_in_the_labels_own_unit() {
        let params = MlpParams { task: Task::Regression, ..MlpParams::default() };
        check_line(&TrainParams::Mlp(params), 2000.0);
    }

    #[test]
    fn progress_counts_epochs_and_reports_what_it_saw() {
        let params = MlpParams { task: Task::Regression, epochs: 3, ..MlpParams::default() };
        let mut seen = Vec::new();
        fit(&line(40), &TrainParams::Mlp(params), &mut |progress| seen.push(progress)).unwrap();
        assert_eq!(seen.iter().map(|progress| progress.epoch).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(seen.iter().all(|progress| progress.epochs_max == 3 && progress.validation_loss.is_some()));
        assert!(seen[0].train_loss > 1e6, "in squared units of the label");
    }

    #[test]
    fn two_rows_are_enough_and_leave_nothing_to_validate_on() {
        let mut dataset = Dataset::with_columns(vec!["x".into()]);
        dataset.push(&[0.0], "no").unwrap();
        dataset.push(&[1.0], "yes").unwrap();
        for params in
            [TrainParams::Mlp(MlpParams::default()), TrainParams::Logistic(LogisticParams::default())]
        {
            let trained = fit(&dataset, &params, &mut |_| ()).unwrap();
            assert_eq!(trained.metrics.train_accuracy, Some(1.0));
            assert_eq!((trained.metrics.validation_rows, trained.metrics.validation_loss), (0, None));
        }
    }
}
