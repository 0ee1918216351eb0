//! The embedded trainer as the pipeline asks for it: an algorithm's name, parameters and a seed.

use edgeward_core::Dataset;
use edgeward_pipeline::train::{ToolError, TrainedModel, Trainer};
use edgeward_train::{Progress, TrainParams};
use serde_json::{Map, Value};

/// Between two lines of progress, in epochs.
const EPOCHS_PER_LINE: usize = 25;

/// `edgeward_train` behind [`Trainer`].
pub(crate) struct EmbeddedTrainer;

impl Trainer for EmbeddedTrainer {
    fn version(&self) -> String {
        concat!("edgeward-train ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn train(
        &self,
        dataset: &Dataset,
        algorithm: &str,
        params: &Value,
        seed: u64,
        progress: &mut dyn FnMut(&str),
    ) -> Result<TrainedModel, ToolError> {
        let params = params_of(algorithm, params, seed)?;
        let trained = edgeward_train::fit(dataset, &params, &mut |at| {
            if at.epoch % EPOCHS_PER_LINE == 0 || at.epoch == at.epochs_max {
                progress(&words(&at));
            }
        })?;
        Ok(TrainedModel { onnx: trained.onnx, metrics: serde_json::to_value(trained.metrics)? })
    }
}

/// `[train.params]` with the algorithm and, unless it is among them, the project's seed.
fn params_of(algorithm: &str, params: &Value, seed: u64) -> Result<TrainParams, serde_json::Error> {
    let mut fields: Map<String, Value> = params.as_object().cloned().unwrap_or_default();
    fields.insert("algorithm".to_owned(), algorithm.into());
    if !fields.contains_key("seed") {
        fields.insert("seed".to_owned(), seed.into());
    }
    serde_json::from_value(Value::Object(fields))
}

fn words(at: &Progress) -> String {
    let validation = at.validation_loss.map_or_else(String::new, |loss| format!(", held out {loss:.4}"));
    format!("epoch {} of at most {}: loss {:.4}{validation}", at.epoch, at.epochs_max, at.train_loss)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_projects_seed_is_used_unless_params_name_one() {
        let seed = |params: Value| match params_of("mlp", &params, 7).unwrap() {
            TrainParams::Mlp(mlp) => mlp.seed,
            other => panic!("{other:?}"),
        };
        assert_eq!(seed(json!({})), 7);
        assert_eq!(seed(json!({"seed": 3})), 3);
    }

    #[test]
    fn unknown_algorithms_and_parameters_are_named() {
        let error = |algorithm, params| params_of(algorithm, &params, 0).unwrap_err().to_string();
        assert!(error("svm", json!({})).contains("svm"));
        assert!(error("mlp", json!({"epochz": 3})).contains("epochz"));
    }

    #[test]
    fn what_it_trains_is_a_model_with_metrics() {
        let mut rows = Dataset::with_columns(vec!["x".into()]);
        for n in 0..40_u8 {
            rows.push(&[f32::from(n)], if n < 20 { "low" } else { "high" }).unwrap();
        }
        let mut lines = Vec::new();
        let trained = EmbeddedTrainer
            .train(&rows, "logistic", &json!({}), 1, &mut |line| lines.push(line.to_owned()))
            .unwrap();
        assert!(trained.metrics["train_accuracy"].as_f64().unwrap() > 0.9);
        edgeward_model::onnx::decode(&trained.onnx).unwrap();
        assert_eq!(lines.len(), 1);
    }
}
