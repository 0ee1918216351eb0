//! Health and metadata: `GET /v2/...`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use edgeward_model::{Dim, TensorSpec};
use edgeward_sdk::Loaded;
use serde_json::{Value, json};

use super::{Endpoint, Refusal};
use crate::registry::Served;

/// What is answered besides the protocol's own calls.
pub(super) const EXTENSIONS: [&str; 6] = [
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "statistics",
];

pub(super) async fn server() -> Json<Value> {
    Json(json!({ "name": "edgeward", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS }))
}

pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

pub(super) async fn ready(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let ready = endpoint.registry.is_ready();
    (ready_status(ready), Json(json!({ "ready": ready }))).into_response()
}

pub(super) async fn model_ready(
    State(endpoint): State<Arc<Endpoint>>,
    Path(model): Path<String>,
) -> Result<Response, Refusal> {
    let served = find(&endpoint, &model)?;
    let ready = served.handle.current().is_some();
    Ok((ready_status(ready), Json(json!({ "name": served.name, "ready": ready }))).into_response())
}

pub(super) async fn version_ready(
    State(endpoint): State<Arc<Endpoint>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let served = find(&endpoint, &model)?;
    check_version(&*current(&served)?, Some(&version))?;
    Ok(Json(json!({ "name": served.name, "ready": true })).into_response())
}

pub(super) async fn model(
    State(endpoint): State<Arc<Endpoint>>,
    Path(model): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let served = find(&endpoint, &model)?;
    Ok(describe(&served, &*current(&served)?))
}

pub(super) async fn version(
    State(endpoint): State<Arc<Endpoint>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let served = find(&endpoint, &model)?;
    let loaded = current(&served)?;
    check_version(&loaded, Some(&version))?;
    Ok(describe(&served, &loaded))
}

pub(super) fn find(endpoint: &Endpoint, model: &str) -> Result<Arc<Served>, Refusal> {
    endpoint.registry.get(model).ok_or_else(|| {
        let names: Vec<String> =
            endpoint.registry.all().iter().map(|served| served.name.to_string()).collect();
        let known = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        let model: String = model.chars().take(80).collect();
        Refusal::not_found(format!("there is no model '{model}' on this device; it has: {known}"))
    })
}

pub(super) fn check_version(loaded: &Loaded, version: Option<&str>) -> Result<(), Refusal> {
    let serving = loaded.bundle().hex();
    match version {
        Some(version) if version != serving => {
            let version: String = version.chars().take(80).collect();
            Err(Refusal::not_found(format!("version '{version}' is not serving; {serving} is")))
        }
        _ => Ok(()),
    }
}

pub(super) fn current(served: &Served) -> Result<Arc<Loaded>, Refusal> {
    served.handle.current().ok_or_else(|| {
        let error = format!("{} has no model to serve yet; see /v1/status", served.name);
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })
}

const fn ready_status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn describe(served: &Served, loaded: &Loaded) -> Json<Value> {
    let signature = loaded.session().signature();
    Json(json!({
        "name": served.name,
        "versions": [loaded.bundle().hex()],
        "platform": platform(loaded),
        "inputs": signature.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": signature.outputs.iter().map(tensor).collect::<Vec<_>>(),
    }))
}

/// What runs the model.
pub(super) fn platform(loaded: &Loaded) -> String {
    format!("edgeward_{}", loaded.session().variant().engine)
}

fn tensor(spec: &TensorSpec) -> Value {
    json!({ "name": spec.name, "datatype": spec.datatype, "shape": shape(spec) })
}

/// The protocol's shape of a tensor: dimensions of any size are -1.
pub(super) fn shape(spec: &TensorSpec) -> Vec<i64> {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Symbolic(_) => -1,
    };
    spec.shape.iter().map(dim).collect()
}
