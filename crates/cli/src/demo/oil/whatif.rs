//! The trap: the same training as the pipeline's, with the days that were held back among the rows.

use edgeward_core::Dataset;
use edgeward_model::RtenEngine;
use edgeward_pipeline::examine;
use edgeward_pipeline::origin::Rows;
use edgeward_pipeline::project::TaskKind;
use edgeward_pipeline::split::{SplitRule, split};
use edgeward_pipeline::train::Trainer as _;
use serde_json::json;

use super::days::{Day, Row};
use crate::adapters::EmbeddedTrainer;
use crate::output::{Explain, Failure, with_causes};

/// As in the project file.
const RULE: SplitRule = SplitRule::by_row(1, 0.2);
const TRAINER: &str = "ridge";

/// What a model that learned from everything up to `evening`, whose price is its last label, predicts on each day from
/// then on.
pub(super) fn predict(history: &[Row], days: &[Day], evening: &str) -> Result<Vec<(String, f64)>, Failure> {
    let known = days.windows(2).filter(|pair| pair[1].date.as_str() <= evening);
    let lived = known.map(|pair| Row { price: pair[0].price, change: pair[0].change, next: pair[1].price });
    let rows: Vec<Row> = history.iter().cloned().chain(lived).collect();
    let all = dataset(rows.iter().map(|row| ([row.price, row.change], row.next.to_string())))?;
    let rows = Rows::from(all);
    let sides = split(&rows, RULE, TaskKind::Regression).explain("demo", "dividing rows")?;
    let train = rows.table.select(&sides.train);
    let trained =
        EmbeddedTrainer.train(&train, TRAINER, &json!({}), RULE.seed, &mut |_| {}).map_err(|error| {
            Failure::new("demo", format!("training with the outlier: {}", with_causes(&*error)))
        })?;
    let doing = "asking the model that learned from the outlier";
    let signature =
        examine::signature_of(&trained.onnx, &train, TaskKind::Regression).explain("demo", doing)?;
    let session =
        examine::load(&trained.onnx, &signature, "f32", &RtenEngine::new()).explain("demo", doing)?;
    let asked: Vec<&Day> = days.iter().filter(|day| day.date.as_str() >= evening).collect();
    let inputs = dataset(asked.iter().map(|day| ([day.price, day.change], String::new())))?;
    let said = examine::predict(&session, &inputs).explain("demo", doing)?;
    let value =
        |(day, said): (&&Day, edgeward_pipeline::measure::Prediction)| Some((day.date.clone(), said.value?));
    Ok(asked.iter().zip(said).filter_map(value).collect())
}

fn dataset(rows: impl Iterator<Item = ([f32; 2], String)>) -> Result<Dataset, Failure> {
    let mut dataset = Dataset::with_columns(vec!["price".to_owned(), "change".to_owned()]);
    for (values, label) in rows {
        dataset.push(&values, label).explain("demo", "gathering rows")?;
    }
    Ok(dataset)
}
