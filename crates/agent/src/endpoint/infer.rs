//! `POST /v2/models/{model}[/versions/{version}]/infer`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeward_core::ModelName;
use edgeward_model::NamedTensor;
use edgeward_sdk::{InferError, Loaded, Prediction};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Endpoint, Permit, ROWS_PER_REQUEST_MAX, Refusal, TEXT_BYTES_MAX, blocking};
use crate::registry::Served;
use edgeward_sdk::chain;

/// Header of the binary tensor extension.
const BINARY_HEADER: &str = "inference-header-content-length";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InferRequest {
    id: Option<String>,
    #[serde(default, rename = "parameters")]
    _parameters: Map<String, Value>,
    inputs: Vec<NamedTensor>,
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestedOutput {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Serialize)]
struct InferAnswer<'a> {
    model_name: &'a ModelName,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    parameters: Map<String, Value>,
    outputs: Vec<NamedTensor>,
}

pub(super) async fn newest(
    State(endpoint): State<Arc<Endpoint>>,
    Path(model): Path<String>,
    permit: Permit,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    infer(endpoint, model, None, permit, &headers, body?).await
}

pub(super) async fn version(
    State(endpoint): State<Arc<Endpoint>>,
    Path((model, version)): Path<(String, String)>,
    permit: Permit,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    infer(endpoint, model, Some(version), permit, &headers, body?).await
}

async fn infer(
    endpoint: Arc<Endpoint>,
    model: String,
    version: Option<String>,
    permit: Permit,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    if headers.contains_key(BINARY_HEADER) {
        return Err(Refusal::bad_request("binary tensors are not supported yet; send the inputs as JSON"));
    }
    let answer = move || answer(&endpoint, &model, version.as_deref(), &body);
    let json = blocking(permit, answer).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

fn answer(endpoint: &Endpoint, model: &str, version: Option<&str>, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let served = super::metadata::find(endpoint, model)?;
    let request = parse(body)?;
    let began = Instant::now();
    let loaded = served.handle.current();
    served.counters.pinned(began.elapsed());
    let loaded = loaded.ok_or_else(|| not_serving(&served))?;
    super::metadata::check_version(&loaded, version)?;
    check_outputs(&loaded, &request.outputs)?;
    let InferRequest { id, inputs, outputs, .. } = request;
    let shadows = &endpoint.registry.shadows;
    let ticket = shadows.ticket(&served.name, loaded.bundle(), body.len());
    let copy = ticket.map(|ticket| (ticket, inputs.clone()));
    let prediction = loaded.infer(inputs).map_err(|error| refuse(&served, &error))?;
    if let Err(error) = endpoint.records.answered(&served.name, &prediction, (endpoint.clock)()) {
        tracing::warn!(model = %served.name, "the prediction cannot be labelled later: {}", chain(&error));
    }
    let copied = copy.map(|(ticket, inputs)| ticket.of(inputs, &prediction));
    let written = write(&served, &loaded, prediction, id, &outputs);
    if written.is_ok() {
        served.counters.answered(began.elapsed());
        copied.into_iter().for_each(|copied| shadows.mirror(copied));
    }
    written
}

fn parse(body: &[u8]) -> Result<InferRequest, Refusal> {
    let request: InferRequest = serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body is not an inference request: {error}; send {{\"inputs\": [...]}}"
        ))
    })?;
    if request.id.as_ref().is_some_and(|id| id.len() > TEXT_BYTES_MAX) {
        return Err(Refusal::bad_request(format!("the request's id is over {TEXT_BYTES_MAX} bytes")));
    }
    if request.inputs.is_empty() {
        return Err(Refusal::bad_request("the request has no inputs; send at least one tensor"));
    }
    let rows = request.inputs.iter().map(|input| input.tensor.rows()).max().unwrap_or(0);
    if rows > ROWS_PER_REQUEST_MAX {
        let error = format!("{rows} rows in one request, over {ROWS_PER_REQUEST_MAX}; send several requests");
        return Err(Refusal::bad_request(error));
    }
    Ok(request)
}

fn check_outputs(loaded: &Loaded, wanted: &[RequestedOutput]) -> Result<(), Refusal> {
    let specs = &loaded.session().signature().outputs;
    for output in wanted {
        if !specs.iter().any(|spec| spec.name == output.name) {
            let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            let error = format!("the model has no output '{}'; it has {}", output.name, names.join(", "));
            return Err(Refusal::bad_request(error));
        }
        if output.parameters.get("binary_data") == Some(&Value::Bool(true)) {
            return Err(Refusal::bad_request("binary outputs are not supported yet; ask for JSON"));
        }
    }
    Ok(())
}

fn not_serving(served: &Served) -> Refusal {
    served.counters.failed();
    let error = format!("{} has no model to serve yet; see /v1/status", served.name);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
}

fn refuse(served: &Served, error: &InferError) -> Refusal {
    if error.is_input() {
        return Refusal::bad_request(chain(error));
    }
    served.counters.failed();
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the model failed: {}", chain(error)))
}

/// An embedding is for the monitor, and large: only who names it gets it.
fn write(
    served: &Served,
    loaded: &Loaded,
    prediction: Prediction,
    id: Option<String>,
    wanted: &[RequestedOutput],
) -> Result<Vec<u8>, Refusal> {
    let parameters = parameters(&prediction);
    let embedding = loaded.session().signature().roles.embedding.as_deref();
    let asked = |output: &NamedTensor| match wanted {
        [] => embedding != Some(output.name.as_str()),
        wanted => wanted.iter().any(|want| want.name == output.name),
    };
    let answer = InferAnswer {
        model_name: &served.name,
        model_version: prediction.bundle.hex(),
        id,
        parameters,
        outputs: prediction.outputs.into_iter().filter(asked).collect(),
    };
    serde_json::to_vec(&answer).map_err(|error| {
        served.counters.failed();
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the answer: {error}"))
    })
}

/// The prediction's id; for a single row also what it means.
fn parameters(prediction: &Prediction) -> Map<String, Value> {
    let mut parameters = Map::from_iter([("prediction_id".to_owned(), prediction.id.to_string().into())]);
    if let [row] = prediction.rows.as_slice() {
        parameters.extend(row.label.clone().map(|label| ("predicted".to_owned(), label.into())));
        parameters.extend(row.confidence.map(|confidence| ("confidence".to_owned(), confidence.into())));
    }
    parameters
}
