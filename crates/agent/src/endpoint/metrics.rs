//! `GET /metrics`, as Prometheus reads it, and `GET /v1/status`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeward_api::metrics;
use serde_json::{Value, json};

use super::{Endpoint, Refusal, elsewhere};
use crate::figures::families;
use crate::registry::Served;
use crate::spool::Lane;

pub(super) async fn status(State(endpoint): State<Arc<Endpoint>>) -> Result<Json<Value>, Refusal> {
    elsewhere(move || Json(document(&endpoint))).await
}

fn document(endpoint: &Endpoint) -> Value {
    let link = endpoint.about.link();
    let gap = |served: &Arc<Served>| (served.name.to_string(), json!(served.counters.swap_gap_ms_max()));
    let gaps: serde_json::Map<String, Value> = endpoint.registry.all().iter().map(gap).collect();
    let received = |served: &Arc<Served>| {
        (served.name.to_string(), json!(served.counters.received_bytes.load(Ordering::Relaxed)))
    };
    let received: serde_json::Map<String, Value> = endpoint.registry.all().iter().map(received).collect();
    let choice = |served: &Arc<Served>| {
        let rows = served.handle.current().map(|loaded| loaded.choice().to_vec()).unwrap_or_default();
        (served.name.to_string(), json!(rows))
    };
    let choices: serde_json::Map<String, Value> = endpoint.registry.all().iter().map(choice).collect();
    let spool = endpoint.records.spool();
    let lane = |lane: Lane| json!({ "waiting": spool.waiting(lane), "dropped": spool.dropped(lane) });
    json!({
        "device": endpoint.about.device,
        "version": env!("CARGO_PKG_VERSION"),
        "server": endpoint.about.server,
        "generation": link.generation,
        "trouble": link.trouble,
        "ledger": { "size": link.ledger_size, "fault": link.ledger_fault },
        "models": endpoint.registry.reports(),
        "variants": choices,
        "swap_gap_ms_max": gaps,
        "received_bytes": received,
        "spool": {
            "alerts": lane(Lane::Alerts),
            "samples": lane(Lane::Samples),
            "profiles": lane(Lane::Profiles),
            "records": lane(Lane::Records),
        },
        "journal_predictions": endpoint.records.journalled(),
    })
}

pub(super) async fn prometheus(State(endpoint): State<Arc<Endpoint>>) -> Result<Response, Refusal> {
    let families = elsewhere(move || families(&endpoint.registry, &endpoint.records)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::TEXT_TYPE)], metrics::text(&families)).into_response())
}
