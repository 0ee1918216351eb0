//! `GET /v1/predictions/{id}`: what the device itself remembers of a prediction, for as long as its journal has it. Nothing
//! proves it; the control plane's record does that.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use edgeward_core::PredictionId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Endpoint, Permit, Refusal, blocking};
use crate::journal::Entry;

pub(super) async fn one(
    State(endpoint): State<Arc<Endpoint>>,
    Path(id): Path<String>,
    permit: Permit,
) -> Result<Response, Refusal> {
    let id: Uuid = id.parse().map_err(|error| {
        Refusal::bad_request(format!(
            "'{id}' is no prediction's id: {error}; it stands in the answer as prediction_id"
        ))
    })?;
    blocking(permit, move || find(&endpoint, PredictionId(id))).await
}

fn find(endpoint: &Endpoint, id: PredictionId) -> Result<Response, Refusal> {
    let entry = endpoint.records.remembered(id);
    let entry = entry.ok_or_else(|| {
        Refusal::not_found(format!("this device does not remember the prediction {id}, or not any more"))
    })?;
    Ok(Json(document(endpoint, &entry)).into_response())
}

/// Numbers that JSON cannot hold are null.
fn document(endpoint: &Endpoint, entry: &Entry) -> Value {
    let part =
        |of: &[f32], row: usize, len: usize| of.get(row * len..(row + 1) * len).unwrap_or_default().to_vec();
    let row = |(row, predicted): (usize, &Option<String>)| {
        let (values, scores) =
            (part(&entry.values, row, entry.width), part(&entry.scores, row, entry.scored));
        json!({ "predicted": predicted, "scores": scores, "values": values })
    };
    let rows: Vec<Value> = entry.predicted.iter().enumerate().map(row).collect();
    json!({
        "device": endpoint.about.device,
        "prediction": entry.id,
        "model": entry.model,
        "bundle": entry.bundle,
        "at_ms": entry.at_ms,
        "rows": rows,
    })
}
