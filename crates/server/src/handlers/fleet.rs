//! The fleet, for operators: devices and alerts.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use edgeward_api::operator::{AcknowledgeRequest, Acknowledgement, AlertAcknowledged, Alerts, Devices};
use edgeward_api::{Problem, routes};
use edgeward_core::Event;

use super::check_text;
use crate::access::Caller;
use crate::app::App;
use crate::extract::Document;
use crate::failure::Failure;
use crate::listing;

/// The devices with their last reports.
#[utoipa::path(get, path = routes::DEVICES, responses((status = 200, body = Devices)))]
pub(crate) async fn devices(State(app): State<Arc<App>>) -> Result<Json<Devices>, Failure> {
    let devices = app.read(|view| listing::devices(view).map_err(Failure::from)).await?;
    Ok(Json(Devices { devices }))
}

/// The alerts, and who has seen them.
#[utoipa::path(get, path = routes::ALERTS, responses((status = 200, body = Alerts)))]
pub(crate) async fn alerts(State(app): State<Arc<App>>) -> Result<Json<Alerts>, Failure> {
    let alerts = app.read(|view| listing::alerts(view).map_err(Failure::from)).await?;
    Ok(Json(Alerts { alerts }))
}

/// Says that a person has seen an alert. The first one stands, and whatever the alert starts, it starts all the same.
#[utoipa::path(post, path = routes::ALERT_ACKNOWLEDGE, request_body = AcknowledgeRequest,
    responses((status = 200, body = AlertAcknowledged), (status = 404, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn acknowledge(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(request): Document<AcknowledgeRequest>,
) -> Result<Json<AlertAcknowledged>, Failure> {
    let AcknowledgeRequest { alert, note } = request;
    check_text("alert's id", &alert)?;
    let note = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    check_text("note", note.as_deref().unwrap_or_default())?;
    let by = caller.name();
    let acknowledged = app.decide(move |decision| {
        let row = decision.alert(&alert)?.ok_or_else(|| unknown_alert(&alert))?;
        if let Some(first) = row.acknowledged.map(listing::acknowledgement) {
            return Ok(AlertAcknowledged { alert, acknowledged: first, already: true });
        }
        let acknowledged = Acknowledgement { by: by.clone(), at_ms: decision.now(), note: note.clone() };
        decision.append(Event::AlertAcknowledged { alert: alert.clone(), by, note })?;
        Ok(AlertAcknowledged { alert, acknowledged, already: false })
    });
    acknowledged.await.map(Json)
}

/// 404.
pub(crate) fn unknown_alert(id: &str) -> Failure {
    Failure::not_found(format!("there is no alert {id}"))
        .hint("'edgeward alert ls' lists them with their ids, and so does the dashboard.")
}
