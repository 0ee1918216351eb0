//! The extensions of Triton that set something: shared memory, tracing, logging. A device tells how it is set, and refuses
//! to be set, saying where that is done instead.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Endpoint, Refusal};

/// Everything but inference is answered at these.
pub(super) fn routes() -> Router<Arc<Endpoint>> {
    let mut router = Router::new()
        .route("/v2/trace/setting", get(tracing_as_json).post(set_tracing))
        .route("/v2/models/{model}/trace/setting", get(tracing_as_json).post(set_tracing))
        .route("/v2/logging", get(logging_as_json).post(set_logging));
    for kind in ["systemsharedmemory", "cudasharedmemory"] {
        router = router
            .route(&format!("/v2/{kind}/status"), get(no_regions))
            .route(&format!("/v2/{kind}/unregister"), post(nothing_to_do))
            .route(&format!("/v2/{kind}/region/{{region}}/status"), get(no_such_region))
            .route(&format!("/v2/{kind}/region/{{region}}/unregister"), post(nothing_to_do))
            .route(&format!("/v2/{kind}/region/{{region}}/register"), post(register));
    }
    router
}

/// How requests are traced, as names and values.
pub(super) const TRACING: [(&str, &[&str]); 5] = [
    ("trace_level", &["OFF"]),
    ("trace_rate", &["0"]),
    ("trace_count", &["0"]),
    ("log_frequency", &["0"]),
    ("trace_mode", &["triton"]),
];

/// What is logged.
pub(super) struct Logging {
    pub(super) errors: bool,
    pub(super) warnings: bool,
    pub(super) info: bool,
    pub(super) verbose_level: u32,
}

impl Logging {
    pub(super) fn now() -> Self {
        let verbose = |on: bool| u32::from(on);
        Self {
            errors: tracing::enabled!(tracing::Level::ERROR),
            warnings: tracing::enabled!(tracing::Level::WARN),
            info: tracing::enabled!(tracing::Level::INFO),
            verbose_level: verbose(tracing::enabled!(tracing::Level::DEBUG))
                + verbose(tracing::enabled!(tracing::Level::TRACE)),
        }
    }
}

pub(super) fn tracing_not_here() -> Refusal {
    refuse(
        "what is traced is set where the agent starts, with --otlp; requests whose traceparent asks for it always are",
    )
}

pub(super) fn logging_not_here() -> Refusal {
    refuse("what is logged is set where the agent starts: edgeward --log LEVEL agent")
}

pub(super) fn shared_memory_not_here() -> Refusal {
    refuse("shared memory is not supported; send and take the tensors' elements")
}

fn refuse(error: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_IMPLEMENTED, error)
}

async fn tracing_as_json() -> Json<Value> {
    let value = |(name, values): (&str, &[&str])| match (name, values) {
        ("trace_level", levels) => (name.to_owned(), json!(levels)),
        (_, values) => (name.to_owned(), json!(values.join(","))),
    };
    Json(Value::Object(TRACING.into_iter().map(value).collect()))
}

async fn set_tracing() -> Refusal {
    tracing_not_here()
}

async fn logging_as_json() -> Json<Value> {
    let Logging { errors, warnings, info, verbose_level } = Logging::now();
    Json(json!({
        "log_file": "",
        "log_info": info,
        "log_warnings": warnings,
        "log_errors": errors,
        "log_verbose_level": verbose_level,
        "log_format": "default",
    }))
}

async fn set_logging() -> Refusal {
    logging_not_here()
}

async fn no_regions() -> Json<Value> {
    Json(json!([]))
}

async fn no_such_region() -> Refusal {
    Refusal::not_found("there is no such region: shared memory is not supported")
}

/// No region is registered, so all that is asked for are gone.
async fn nothing_to_do() -> Json<Value> {
    Json(json!({}))
}

async fn register() -> Refusal {
    shared_memory_not_here()
}
