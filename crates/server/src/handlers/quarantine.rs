//! Samples that a device finds impossible: what is held back from training, and a person's decision about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{Decided, HeldSample, Quarantine, QuarantineDecision};
use edgeward_api::{Problem, routes};
use edgeward_core::event::SampleRef;
use edgeward_core::{Event, ModelName};
use edgeward_store::SampleRow;

use super::check_text;
use crate::app::App;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::listing;

/// The samples that are held back until a person decides, the longest held first.
#[utoipa::path(get, path = routes::MODEL_QUARANTINE,
    params(("model" = String, Path, description = "The model's name")),
    responses((status = 200, body = Quarantine)))]
pub(crate) async fn held(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
) -> Result<Json<Quarantine>, Failure> {
    let rows = app.read(move |view| view.held_samples(&model, PAGE_MAX).map_err(Failure::from)).await?;
    let held = |row: SampleRow| HeldSample { device: row.device.clone(), sample: listing::sample(row) };
    Ok(Json(Quarantine { held: rows.into_iter().map(held).collect() }))
}

/// Releases or discards some of them, or all. One decision is about at most one page.
#[utoipa::path(post, path = routes::MODEL_QUARANTINE, request_body = QuarantineDecision,
    params(("model" = String, Path, description = "The model's name")),
    responses((status = 200, body = Decided), (status = 404, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
    Document(asked): Document<QuarantineDecision>,
) -> Result<Json<Decided>, Failure> {
    check_text("cause", &asked.cause)?;
    let decided = app.decide(move |decision| {
        let rows = decision.held_samples(&model, PAGE_MAX)?;
        let samples = chosen(&rows, &asked);
        if samples.is_empty() {
            return Err(none_held(&model, &asked));
        }
        let decided = Decided { samples: samples.len() };
        let (verdict, cause) = (asked.verdict, asked.cause);
        decision.append(Event::SamplesJudged { model, samples, verdict, cause })?;
        Ok::<_, Failure>(decided)
    });
    let decided = decided.await?;
    app.wake.notify_one();
    Ok(Json(decided))
}

fn chosen(rows: &[SampleRow], asked: &QuarantineDecision) -> Vec<SampleRef> {
    let meant =
        |row: &&SampleRow| asked.predictions.is_empty() || asked.predictions.contains(&row.sample.prediction);
    let reference = |row: &SampleRow| SampleRef {
        device: row.device.clone(),
        prediction: row.sample.prediction,
        row: row.sample.row,
    };
    rows.iter().filter(meant).map(reference).collect()
}

fn none_held(model: &ModelName, asked: &QuarantineDecision) -> Failure {
    let text = match asked.predictions.as_slice() {
        [] => format!("no sample of {model} is held back"),
        _ => format!("none of these samples of {model} is held back"),
    };
    Failure::not_found(text).hint("'edgeward sample ls' lists those that are.")
}
