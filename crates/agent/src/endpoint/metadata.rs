//! Health and metadata: `GET /v2/...`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use edgeward_model::{Dim, TensorSpec};
use edgeward_sdk::Loaded;
use serde::Deserialize;
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

/// What a path names: a model, and perhaps the version that is to serve.
#[derive(Deserialize)]
pub(super) struct OfModel {
    pub(super) model: String,
    pub(super) version: Option<String>,
}

/// The model that the path names, and what serves of it now: the version that the path names, if it names one.
pub(super) struct Named {
    pub(super) served: Arc<Served>,
    pub(super) current: Result<Arc<Loaded>, Refusal>,
}

impl FromRequestParts<Arc<Endpoint>> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, endpoint: &Arc<Endpoint>) -> Result<Self, Response> {
        let path = Path::<OfModel>::from_request_parts(parts, endpoint).await;
        let Path(of) = path.map_err(IntoResponse::into_response)?;
        let served = find(endpoint, &of.model).map_err(Refusal::into_response)?;
        match serving(&served, of.version.as_deref()) {
            Err(refusal) if of.version.is_some() => Err(refusal.into_response()),
            current => Ok(Self { served, current }),
        }
    }
}

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

pub(super) async fn model_ready(Named { served, current }: Named) -> Response {
    let ready = current.is_ok();
    (ready_status(ready), Json(json!({ "name": served.name, "ready": ready }))).into_response()
}

pub(super) async fn model(Named { served, current }: Named) -> Result<Json<Value>, Refusal> {
    Ok(describe(&served, &*current?))
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
    let Some(version) = version else { return Ok(()) };
    let serving = loaded.bundle().hex();
    if version == serving {
        return Ok(());
    }
    let version: String = version.chars().take(80).collect();
    Err(Refusal::not_found(format!("version '{version}' is not serving; {serving} is")))
}

pub(super) fn current(served: &Served) -> Result<Arc<Loaded>, Refusal> {
    served.handle.current().ok_or_else(|| {
        let error = format!("{} has no model to serve yet; see /v1/status", served.name);
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })
}

/// What serves now, if that is the version asked for; any will do if none is.
pub(super) fn serving(served: &Served, version: Option<&str>) -> Result<Arc<Loaded>, Refusal> {
    let loaded = current(served)?;
    check_version(&loaded, version)?;
    Ok(loaded)
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
