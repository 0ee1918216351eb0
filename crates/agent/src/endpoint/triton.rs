//! What clients of Triton ask besides the protocol: a model's configuration and statistics, and the models that are here.
//!
//! Answered as Triton does. Deliberately missing: loading and unloading, which the control plane decides, and shared memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use edgeward_model::{DataType, TensorSpec};
use serde_json::{Value, json};

use super::{Endpoint, Refusal, metadata};
use crate::registry::Served;

pub(super) async fn config(
    State(endpoint): State<Arc<Endpoint>>,
    Path(model): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let served = metadata::find(&endpoint, &model)?;
    let loaded = metadata::current(&served)?;
    let signature = loaded.session().signature();
    let tensors = |specs: &[TensorSpec]| specs.iter().map(tensor).collect::<Vec<_>>();
    Ok(Json(json!({
        "name": served.name,
        "platform": format!("edgeward_{}", loaded.session().variant().engine),
        "backend": "edgeward",
        "version_policy": { "latest": { "num_versions": 1 } },
        // The first dimension of every shape is the batch, written out.
        "max_batch_size": 0,
        "input": tensors(&signature.inputs),
        "output": tensors(&signature.outputs),
    })))
}

pub(super) async fn version_config(
    state: State<Arc<Endpoint>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let served = metadata::find(&state, &model)?;
    metadata::check_version(&*metadata::current(&served)?, Some(&version))?;
    config(state, Path(model)).await
}

fn tensor(spec: &TensorSpec) -> Value {
    let name = match spec.datatype {
        DataType::Bytes => "STRING",
        other => other.as_str(),
    };
    json!({ "name": spec.name, "data_type": format!("TYPE_{name}"), "dims": metadata::shape(spec) })
}

pub(super) async fn stats(
    State(endpoint): State<Arc<Endpoint>>,
    Path(model): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let served = metadata::find(&endpoint, &model)?;
    Ok(Json(json!({ "model_stats": [statistics(&served)] })))
}

pub(super) async fn version_stats(
    state: State<Arc<Endpoint>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let served = metadata::find(&state, &model)?;
    metadata::check_version(&*metadata::current(&served)?, Some(&version))?;
    stats(state, Path(model)).await
}

pub(super) async fn all_stats(State(endpoint): State<Arc<Endpoint>>) -> Json<Value> {
    let stats: Vec<Value> = endpoint.registry.all().iter().map(|served| statistics(served)).collect();
    Json(json!({ "model_stats": stats }))
}

/// Since the agent started, whichever version answered.
fn statistics(served: &Served) -> Value {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &served.counters;
    let (answered, failed) = (count(&counters.requests), count(&counters.requests_failed));
    let answered_ns = count(&counters.latency_us_sum).saturating_mul(1000);
    let version = served.handle.current().map(|loaded| loaded.bundle().hex()).unwrap_or_default();
    json!({
        "name": served.name,
        "version": version,
        "inference_count": answered,
        "execution_count": answered,
        "inference_stats": {
            "success": { "count": answered, "ns": answered_ns },
            "fail": { "count": failed, "ns": 0 },
            "queue": { "count": answered, "ns": 0 },
            "compute_input": { "count": answered, "ns": 0 },
            "compute_infer": { "count": answered, "ns": answered_ns },
            "compute_output": { "count": answered, "ns": 0 },
        },
        "batch_stats": [],
    })
}

pub(super) async fn index(State(endpoint): State<Arc<Endpoint>>, body: String) -> Json<Value> {
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let only_ready = asked["ready"] == true;
    let of = |served: &Arc<Served>| match served.handle.current() {
        Some(loaded) => Some(
            json!({ "name": served.name, "version": loaded.bundle().hex(), "state": "READY", "reason": "" }),
        ),
        None if only_ready => None,
        None => {
            let reason = "no model to serve yet; see /v1/status";
            Some(json!({ "name": served.name, "version": "", "state": "UNAVAILABLE", "reason": reason }))
        }
    };
    Json(Value::Array(endpoint.registry.all().iter().filter_map(of).collect()))
}

pub(super) async fn load_or_unload() -> Refusal {
    let error = "what is loaded is decided by the control plane; roll a version out there, or pin the device";
    Refusal::new(StatusCode::BAD_REQUEST, error)
}
