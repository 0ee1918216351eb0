//! `POST /v1/feedback`: the truth about predictions, whenever it becomes known.
//!
//! One label `{"id": ..., "row": 0, "label": ..., "tags": {...}}` or many `{"feedback": [...]}`. A success means that every
//! accepted label is on the disk. Sending a label again is harmless. Tags tell performance apart by segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use edgeward_core::PredictionId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Endpoint, LABELS_PER_REQUEST_MAX, Permit, Refusal, TEXT_BYTES_MAX, blocking, encoding};
use crate::records::{Label, LabelsTaken};
use edgeward_sdk::chain;

/// Most tags of one label.
pub(super) const TAGS_MAX: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    feedback: Vec<One>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    id: PredictionId,
    #[serde(default)]
    row: u32,
    label: Value,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

pub(super) async fn take(
    State(endpoint): State<Arc<Endpoint>>,
    permit: Permit,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body?;
    blocking(permit, move || take_labels(&endpoint, &encoding::plain(&headers, &body)?)).await
}

fn take_labels(endpoint: &Endpoint, body: &[u8]) -> Result<Response, Refusal> {
    let labels = parse(body)?;
    let taken = endpoint.records.take_labels(&labels, &endpoint.registry, (endpoint.clock)());
    let taken = taken.map_err(|error| {
        let error = format!("the label was not kept, send it again: {}", chain(&error));
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })?;
    endpoint.registry.shadows.label(&labels);
    Ok(answer(&labels, &taken))
}

fn answer(labels: &[Label], taken: &LabelsTaken) -> Response {
    if taken.unknown.len() < labels.len() || labels.is_empty() {
        return Json(taken).into_response();
    }
    let error = format!("none of the labels has a prediction on this device: {}", taken.unknown[0].error);
    (StatusCode::NOT_FOUND, Json(json!({ "error": error, "unknown": taken.unknown }))).into_response()
}

fn parse(body: &[u8]) -> Result<Vec<Label>, Refusal> {
    let shape = |error: serde_json::Error| {
        let expected = r#"send {"id": "<prediction_id>", "row": 0, "label": "..."} or {"feedback": [...]}"#;
        Refusal::bad_request(format!("the body is not feedback: {error}; {expected}"))
    };
    let document: Value = serde_json::from_slice(body).map_err(shape)?;
    let items = match document.get("feedback") {
        Some(_) => serde_json::from_value::<Many>(document).map_err(shape)?.feedback,
        None => vec![serde_json::from_value::<One>(document).map_err(shape)?],
    };
    if items.len() > LABELS_PER_REQUEST_MAX {
        let error =
            format!("{} labels in one request, over {LABELS_PER_REQUEST_MAX}; send several", items.len());
        return Err(Refusal::bad_request(error));
    }
    items.into_iter().map(label).collect()
}

fn label(One { id, row, label, tags }: One) -> Result<Label, Refusal> {
    let text = match label {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        other => {
            let error =
                format!("the label of {id} is {other}; send the class name, or the value as a number");
            return Err(Refusal::bad_request(error.chars().take(TEXT_BYTES_MAX).collect::<String>()));
        }
    };
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(Refusal::bad_request(format!("the label of {id} must have 1 to {TEXT_BYTES_MAX} bytes")));
    }
    if tags.len() > TAGS_MAX {
        return Err(Refusal::bad_request(format!(
            "the label of {id} has {} tags, over {TAGS_MAX}",
            tags.len()
        )));
    }
    Ok(Label { id, row, label: text, tags: tags.into_iter().collect() })
}
