//! The fleet, for operators: devices and alerts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{Alerts, Devices};
use edgeward_api::routes;

use crate::app::App;
use crate::failure::Failure;
use crate::listing;

/// The devices with their last reports.
#[utoipa::path(get, path = routes::DEVICES, responses((status = 200, body = Devices)))]
pub(crate) async fn devices(State(app): State<Arc<App>>) -> Result<Json<Devices>, Failure> {
    let devices = app.read(|view| listing::devices(view).map_err(Failure::from)).await?;
    Ok(Json(Devices { devices }))
}

/// The alerts.
#[utoipa::path(get, path = routes::ALERTS, responses((status = 200, body = Alerts)))]
pub(crate) async fn alerts(State(app): State<Arc<App>>) -> Result<Json<Alerts>, Failure> {
    let alerts = app.read(|view| view.alerts(None, PAGE_MAX).map_err(Failure::from)).await?;
    Ok(Json(Alerts { alerts }))
}
