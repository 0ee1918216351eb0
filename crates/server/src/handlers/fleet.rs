//! The fleet, for operators: join tokens, devices, alerts.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{Alerts, Devices, JoinToken, JoinTokenRequest};
use edgeward_api::{Problem, routes};

use crate::app::App;
use crate::extract::Document;
use crate::failure::Failure;
use crate::listing;
use crate::secret::{self, Purpose};

/// Most devices one join token may admit.
const USES_MAX: u32 = 1_000_000;
/// Longest life of a join token.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Makes a join token.
#[utoipa::path(post, path = routes::JOIN_TOKENS, request_body = JoinTokenRequest,
    responses((status = 200, body = JoinToken), (status = 422, body = Problem)))]
pub(crate) async fn make_join_token(
    State(app): State<Arc<App>>,
    Document(request): Document<JoinTokenRequest>,
) -> Result<Json<JoinToken>, Failure> {
    let ttl = Duration::from_millis(request.ttl_ms);
    if request.uses == 0 || request.uses > USES_MAX || ttl.is_zero() || ttl > TTL_MAX {
        return Err(Failure::invalid(format!(
            "a join token has 1 to {USES_MAX} uses and lives for at most {} days",
            TTL_MAX.as_secs() / 86_400
        )));
    }
    let join_token = secret::generate(Purpose::Join);
    let join_token = join_token.map_err(|error| Failure::unavailable("making a join token", &error))?;
    let (hash, expires_at_ms) = (secret::digest(&join_token), app.now() + ttl);
    app.decide(move |decision| {
        decision.put_join_token(hash, expires_at_ms, request.uses).map_err(Failure::from)
    })
    .await?;
    Ok(Json(JoinToken { join_token, expires_at_ms }))
}

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
