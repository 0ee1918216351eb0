//! What clients of Triton ask besides the protocol: a model's configuration and statistics, and the models that are here.
//!
//! Answered as Triton does. Deliberately missing: loading and unloading, which the control plane decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeward_model::{DataType, TensorSpec};
use serde_json::{Value, json};

use super::metadata::{self, Named};
use super::{Endpoint, Refusal};
use crate::registry::Served;

pub(super) async fn config(Named { served, current }: Named) -> Result<Json<Value>, Refusal> {
    let loaded = current?;
    let signature = loaded.session().signature();
    let tensors = |specs: &[TensorSpec]| specs.iter().map(tensor).collect::<Vec<_>>();
    Ok(Json(json!({
        "name": served.name,
        "platform": metadata::platform(&loaded),
        "backend": "edgeward",
        "version_policy": { "latest": { "num_versions": 1 } },
        // The first dimension of every shape is the batch, written out.
        "max_batch_size": 0,
        "input": tensors(&signature.inputs),
        "output": tensors(&signature.outputs),
    })))
}

fn tensor(spec: &TensorSpec) -> Value {
    let name = match spec.datatype {
        DataType::Bytes => "STRING",
        other => other.as_str(),
    };
    json!({ "name": spec.name, "data_type": format!("TYPE_{name}"), "dims": metadata::shape(spec) })
}

pub(super) async fn stats(Named { served, .. }: Named) -> Json<Value> {
    Json(json!({ "model_stats": [statistics(&served)] }))
}

pub(super) async fn all_stats(State(endpoint): State<Arc<Endpoint>>) -> Json<Value> {
    let stats: Vec<Value> = endpoint.registry.all().iter().map(|served| statistics(served)).collect();
    Json(json!({ "model_stats": stats }))
}

/// What was counted about a model since the agent started, whichever version answered.
pub(super) struct Counted {
    pub(super) name: String,
    /// The version that serves now; empty for none.
    pub(super) version: String,
    pub(super) answered: u64,
    pub(super) answered_ns: u64,
    pub(super) failed: u64,
    /// When the last request was answered; 0 for never.
    pub(super) last_ms: u64,
}

impl Counted {
    pub(super) fn of(served: &Served) -> Self {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &served.counters;
        Self {
            name: served.name.to_string(),
            version: served.handle.current().map(|loaded| loaded.bundle().hex()).unwrap_or_default(),
            answered: count(&counters.requests),
            answered_ns: count(&counters.latency_us_sum).saturating_mul(1000),
            failed: count(&counters.requests_failed),
            last_ms: count(&counters.answered_at_ms),
        }
    }
}

fn statistics(served: &Served) -> Value {
    let Counted { name, version, answered, answered_ns, failed, last_ms } = Counted::of(served);
    json!({
        "name": name,
        "version": version,
        "last_inference": last_ms,
        "inference_count": answered,
        "execution_count": answered,
        "inference_stats": {
            "success": { "count": answered, "ns": answered_ns },
            "fail": { "count": failed, "ns": 0 },
            "queue": { "count": answered, "ns": 0 },
            "compute_input": { "count": answered, "ns": 0 },
            "compute_infer": { "count": answered, "ns": answered_ns },
            "compute_output": { "count": answered, "ns": 0 },
            "cache_hit": { "count": 0, "ns": 0 },
            "cache_miss": { "count": 0, "ns": 0 },
        },
        "batch_stats": [],
    })
}

/// A model's place in the repository's index.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) reason: &'static str,
}

/// Every model of the device, or only those that answer.
pub(super) fn places(endpoint: &Endpoint, only_ready: bool) -> Vec<Place> {
    let of = |served: &Arc<Served>| {
        let name = served.name.to_string();
        match served.handle.current() {
            Some(loaded) => Some(Place { name, version: loaded.bundle().hex(), state: "READY", reason: "" }),
            None if only_ready => None,
            None => {
                let reason = "no model to serve yet; see /v1/status";
                Some(Place { name, version: String::new(), state: "UNAVAILABLE", reason })
            }
        }
    };
    endpoint.registry.all().iter().filter_map(of).collect()
}

pub(super) async fn index(State(endpoint): State<Arc<Endpoint>>, body: String) -> Json<Value> {
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let of = |Place { name, version, state, reason }| json!({ "name": name, "version": version, "state": state, "reason": reason });
    Json(places(&endpoint, asked["ready"] == true).into_iter().map(of).collect())
}

pub(super) async fn load_or_unload() -> Refusal {
    not_here()
}

/// What is loaded is not for callers to say.
pub(super) fn not_here() -> Refusal {
    let error = "what is loaded is decided by the control plane; roll a version out there, or pin the device";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, error)
}
