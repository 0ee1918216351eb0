//! Head refit: a new last layer on the features an existing network already computes.
//!
//! Contract: takes the ONNX of an mlp classifier made by [`crate::fit()`], gives one in which only `head.weight`,
//! `head.bias`, `label.values`, the class dimension of `probabilities` and `edgeward.classes` differ; every other
//! byte stays, so a delta carries the head alone. New classes are welcome; a class the model knows and the table
//! does not have is refused, because the new head would forget it.
//!
//! Deliberately missing: regressions, and models that went through the converter (refit first, convert after).

use edgeward_core::Dataset;
use edgeward_model::TensorData;
use edgeward_model::onnx::{ModelProto, OnnxError, decode, encode};
use ndarray::{Array1, Array2};

use crate::TrainError;
use crate::export::{
    CLASSES_KEY, FEATURES_KEY, HEAD, INPUT_MEAN, INPUT_SCALE, PROBABILITIES, PRODUCER, dense_constants,
    hidden_name, json_list, label_constant, probabilities_of,
};
use crate::fit::{Progress, Trained, fit_head_twice};
use crate::network::{Dense, Network};
use crate::params::{HIDDEN_LAYERS_MAX, LogisticParams, Task};
use crate::standardise::Standardiser;
use crate::table::{MissingValues, Table};

/// A head could not be refitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefitError {
    /// The bytes are not an ONNX file.
    #[error("the model to refit cannot be read as ONNX; give the file that training wrote")]
    Decode(#[source] OnnxError),
    /// The file is not an mlp classifier of this trainer.
    #[error(
        "the model cannot be refitted: {why}; give the unconverted file of an mlp classifier, or train afresh"
    )]
    Structure {
        /// What is wrong with it.
        why: String,
    },
    /// The columns are not the model's.
    #[error(
        "column {column} is '{found}' but the model was trained on '{expected}'; order the columns alike"
    )]
    Feature {
        /// The first column that differs, from 0.
        column: usize,
        /// Its name in the table; empty when the table ends before it.
        found: String,
        /// Its name in the model; empty when the model has no such column.
        expected: String,
    },
    /// A class would be forgotten.
    #[error("no row has the class '{class}' that the model knows; keep about 20 rows of each old class")]
    Forgets {
        /// The class.
        class: String,
    },
    /// The head could not be fitted to the table.
    #[error("the new last layer could not be fitted")]
    Fit(#[from] TrainError),
}

/// Fits a new last layer of the network in `onnx` to `dataset`, by logistic regression on its hidden features.
///
/// # Errors
/// The model is not one of this trainer's mlp classifiers, the columns differ, a known class has no row, or the
/// table cannot be learned from: see [`RefitError`].
pub fn refit(
    onnx: &[u8],
    dataset: &Dataset,
    params: &LogisticParams,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained, RefitError> {
    params.check()?;
    let mut model = decode(onnx).map_err(RefitError::Decode)?;
    let old = read_network(&model)?;
    if old.hidden.is_empty() {
        return Err(structure("it has no hidden layer"));
    }
    check_features(&text_list(&model, FEATURES_KEY)?, &dataset.feature_names)?;
    let table = Table::new(dataset, Task::Classification, MissingValues::Refused)?;
    let known = text_list(&model, CLASSES_KEY)?;
    if let Some(class) = known.into_iter().find(|class| !table.classes.contains(class)) {
        return Err(RefitError::Forgets { class });
    }
    let fitted = fit_head_twice(dataset, &table, params, &|head| Network { head, ..old.clone() });
    let fitted = fitted.report(progress);
    replace_head(&mut model, &fitted.network.head, &table.classes);
    Ok(Trained {
        onnx: encode(&model),
        classes: table.classes,
        metrics: fitted.metrics,
        task: Task::Classification,
    })
}

fn structure(why: impl Into<String>) -> RefitError {
    RefitError::Structure { why: why.into() }
}

/// The network in a file of [`crate::export::export`].
pub(crate) fn read_network(model: &ModelProto) -> Result<Network, RefitError> {
    if model.producer_name != PRODUCER {
        return Err(structure(format!("it was written by '{}'", model.producer_name)));
    }
    let mean = read_vector(model, INPUT_MEAN)?;
    let scale = read_vector(model, INPUT_SCALE)?;
    let has = |name: &str| model.graph.as_ref().is_some_and(|graph| graph.constant(name).is_some());
    let layers = (0..HIDDEN_LAYERS_MAX).map(hidden_name);
    let layers = layers.take_while(|name| has(&format!("{name}.weight")));
    let hidden = layers.map(|name| read_dense(model, &name)).collect::<Result<Vec<Dense>, _>>()?;
    let network =
        Network { standardiser: Standardiser { mean, scale }, hidden, head: read_dense(model, HEAD)? };
    check_chain(&network)?;
    Ok(network)
}

/// Every layer takes what the one before it gives.
fn check_chain(network: &Network) -> Result<(), RefitError> {
    let mut width = network.standardiser.mean.len();
    if network.standardiser.scale.len() != width {
        return Err(structure("the mean and the scale of the input differ in length"));
    }
    for layer in network.hidden.iter().chain([&network.head]) {
        if layer.weight.nrows() != width || layer.bias.len() != layer.weight.ncols() {
            return Err(structure("the shapes of its layers do not chain"));
        }
        width = layer.weight.ncols();
    }
    Ok(())
}

fn read_dense(model: &ModelProto, layer: &str) -> Result<Dense, RefitError> {
    let name = format!("{layer}.weight");
    let (shape, values) = read_floats(model, &name)?;
    let &[inputs, outputs] = shape.as_slice() else {
        return Err(structure(format!("'{name}' is not a matrix")));
    };
    let weight = Array2::from_shape_vec((inputs, outputs), values)
        .map_err(|_| structure(format!("'{name}' does not fill its shape")))?;
    Ok(Dense { weight, bias: read_vector(model, &format!("{layer}.bias"))? })
}

fn read_vector(model: &ModelProto, name: &str) -> Result<Array1<f32>, RefitError> {
    read_floats(model, name).map(|(_, values)| values.into())
}

fn read_floats(model: &ModelProto, name: &str) -> Result<(Vec<usize>, Vec<f32>), RefitError> {
    let constant = model.graph.as_ref().and_then(|graph| graph.constant(name));
    let constant = constant.ok_or_else(|| structure(format!("it has no constant '{name}'")))?;
    let tensor = constant.to_tensor().map_err(|error| structure(error.to_string()))?;
    match tensor.data() {
        TensorData::F32(values) => Ok((tensor.shape().to_vec(), values.clone())),
        _ => Err(structure(format!("'{name}' is not FP32"))),
    }
}

fn text_list(model: &ModelProto, key: &str) -> Result<Vec<String>, RefitError> {
    let text = model.metadata(key).ok_or_else(|| structure(format!("it has no '{key}'")))?;
    serde_json::from_str(text).map_err(|_| structure(format!("its '{key}' is not a list of texts")))
}

fn check_features(expected: &[String], found: &[String]) -> Result<(), RefitError> {
    let columns = expected.len().max(found.len());
    let Some(column) = (0..columns).find(|&column| expected.get(column) != found.get(column)) else {
        return Ok(());
    };
    let name = |names: &[String]| names.get(column).cloned().unwrap_or_default();
    Err(RefitError::Feature { column, found: name(found), expected: name(expected) })
}

fn replace_head(model: &mut ModelProto, head: &Dense, classes: &[String]) {
    let [weight, bias] = dense_constants(HEAD, head);
    if let Some(graph) = model.graph.as_mut() {
        for tensor in [weight, bias, label_constant(classes)] {
            let slot = graph.initializer.iter_mut().find(|old| old.name == tensor.name);
            slot.into_iter().for_each(|old| old.clone_from(&tensor));
        }
        let slot = graph.output.iter_mut().find(|output| output.name == PROBABILITIES);
        slot.into_iter().for_each(|old| *old = probabilities_of(classes.len()));
    }
    model.set_metadata(CLASSES_KEY, json_list(classes));
}
