//! Figures for whoever scrapes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeward_api::{metrics, routes};

use crate::app::App;
use crate::failure::Failure;
use crate::figures::families;

/// The control plane's metrics, as Prometheus reads them.
#[utoipa::path(get, path = routes::METRICS,
    responses((status = 200, content_type = "text/plain", description = "Prometheus text format 0.0.4")))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let text = metrics::text(&families(&app).await?);
    Ok(([(header::CONTENT_TYPE, metrics::TEXT_TYPE)], text).into_response())
}
