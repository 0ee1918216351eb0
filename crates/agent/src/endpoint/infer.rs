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
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::binary::{self, Output};
use super::{Endpoint, Permit, ROWS_PER_REQUEST_MAX, Refusal, TEXT_BYTES_MAX, blocking};
use crate::registry::Served;
use edgeward_sdk::chain;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InferRequest<I> {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    inputs: Vec<I>,
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

/// Which outputs are wanted, and how.
struct Wanted {
    /// None named: all.
    outputs: Vec<RequestedOutput>,
    /// Whether they follow the JSON where an output says nothing else.
    is_binary: bool,
}

/// An answer's body, and the length of its JSON if something follows it.
struct Body {
    bytes: Vec<u8>,
    json_len: Option<usize>,
}

#[derive(Serialize)]
struct InferAnswer<'a> {
    model_name: &'a ModelName,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    parameters: Map<String, Value>,
    outputs: Vec<Output>,
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
    let headers = headers.clone();
    let answer = move || answer(&endpoint, (&model, version.as_deref()), &headers, &body);
    let Body { bytes, json_len } = blocking(permit, answer).await?;
    Ok(match json_len {
        None => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Some(len) => {
            let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
            ([kind, (binary::HEADER.clone(), len.to_string())], bytes).into_response()
        }
    })
}

fn answer(
    endpoint: &Endpoint,
    (model, version): (&str, Option<&str>),
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Body, Refusal> {
    let served = super::metadata::find(endpoint, model)?;
    let request = parse(headers, body)?;
    let began = Instant::now();
    let loaded = served.handle.current();
    served.counters.pinned(began.elapsed());
    let loaded = loaded.ok_or_else(|| not_serving(&served))?;
    super::metadata::check_version(&loaded, version)?;
    check_outputs(&loaded, &request.outputs)?;
    let InferRequest { id, inputs, outputs, parameters } = request;
    let wanted =
        Wanted { outputs, is_binary: parameters.get("binary_data_output") == Some(&Value::Bool(true)) };
    let shadows = &endpoint.registry.shadows;
    let ticket = shadows.ticket(&served.name, loaded.bundle(), body.len());
    let copy = ticket.map(|ticket| (ticket, inputs.clone()));
    let prediction = loaded.infer(inputs).map_err(|error| refuse(&served, &error))?;
    if let Err(error) = endpoint.records.answered(&served.name, &prediction, (endpoint.clock)()) {
        tracing::warn!(model = %served.name, "the prediction cannot be labelled later: {}", chain(&error));
    }
    let copied = copy.map(|(ticket, inputs)| ticket.of(inputs, &prediction));
    let written = write(&served, &loaded, prediction, id, &wanted);
    if written.is_ok() {
        served.counters.answered(began.elapsed());
        copied.into_iter().for_each(|copied| shadows.mirror(copied));
    }
    written
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<InferRequest<NamedTensor>, Refusal> {
    let request = match binary::split(headers, body)? {
        None => parse_json(body)?,
        Some((json, rest)) => {
            let InferRequest { id, parameters, inputs, outputs } = parse_json::<binary::Input>(json)?;
            InferRequest { id, parameters, inputs: binary::read(inputs, rest)?, outputs }
        }
    };
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

fn parse_json<I: DeserializeOwned>(body: &[u8]) -> Result<InferRequest<I>, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body is not an inference request: {error}; send {{\"inputs\": [...]}}"
        ))
    })
}

fn check_outputs(loaded: &Loaded, wanted: &[RequestedOutput]) -> Result<(), Refusal> {
    let specs = &loaded.session().signature().outputs;
    for output in wanted {
        if !specs.iter().any(|spec| spec.name == output.name) {
            let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            let error = format!("the model has no output '{}'; it has {}", output.name, names.join(", "));
            return Err(Refusal::bad_request(error));
        }
        for unknown in ["classification", "shared_memory_region"] {
            if output.parameters.contains_key(unknown) {
                let error =
                    format!("output '{}': {unknown} is not supported; ask for the tensor", output.name);
                return Err(Refusal::bad_request(error));
            }
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
    wanted: &Wanted,
) -> Result<Body, Refusal> {
    let parameters = parameters(&prediction);
    let embedding = loaded.session().signature().roles.embedding.as_deref();
    let (mut outputs, mut rest) = (Vec::new(), Vec::new());
    for output in prediction.outputs {
        let asked = wanted.outputs.iter().find(|asked| asked.name == output.name);
        let is_wanted = match wanted.outputs.is_empty() {
            true => embedding != Some(output.name.as_str()),
            false => asked.is_some(),
        };
        let says = asked.and_then(|asked| asked.parameters.get("binary_data")?.as_bool());
        if is_wanted {
            outputs.push(binary::write(output, says.unwrap_or(wanted.is_binary), &mut rest));
        }
    }
    let is_binary = outputs.iter().any(|output| matches!(output, Output::Binary { .. }));
    let answer = InferAnswer {
        model_name: &served.name,
        model_version: prediction.bundle.hex(),
        id,
        parameters,
        outputs,
    };
    let mut bytes = serde_json::to_vec(&answer).map_err(|error| {
        served.counters.failed();
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the answer: {error}"))
    })?;
    let json_len = is_binary.then_some(bytes.len());
    bytes.append(&mut rest);
    Ok(Body { bytes, json_len })
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
