//! Open to everyone: health, the API's description, and joining with a token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeward_api::device::{EnrolAnswer, EnrolRequest};
use edgeward_api::{Problem, routes};
use edgeward_core::name::NAME_LEN_MAX;
use edgeward_core::{DeviceId, Digest, Event};
use edgeward_store::{JoinOutcome, StoreError};
use serde::Serialize;

use crate::app::{App, Decision};
use crate::extract::Document;
use crate::failure::Failure;
use crate::secret::{self, Purpose};

/// Most devices that may ask for the same name.
const SAME_NAME_MAX: usize = 10_000;

/// The control plane is up.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// Always `ok`: a control plane that is not does not answer.
    status: &'static str,
    /// Its version.
    version: &'static str,
}

/// Whether the control plane is up.
#[utoipa::path(get, path = routes::HEALTH, responses((status = 200, body = Health)))]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Result<Json<Health>, Failure> {
    app.read(|view| view.head().map_err(Failure::from)).await?;
    Ok(Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

/// This document.
#[utoipa::path(get, path = routes::OPENAPI, responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], crate::routes::openapi_json()).into_response()
}

/// A device joins with a token.
#[utoipa::path(post, path = routes::ENROL, request_body = EnrolRequest,
    responses((status = 200, body = EnrolAnswer), (status = 401, body = Problem)))]
pub(crate) async fn enrol(
    State(app): State<Arc<App>>,
    Document(request): Document<EnrolRequest>,
) -> Result<Json<EnrolAnswer>, Failure> {
    let root = serde_json::to_value(&app.keys.root);
    let root = root.map_err(|error| Failure::internal("writing the root", &error))?;
    let credential = secret::generate(Purpose::Device);
    let credential = credential.map_err(|error| Failure::unavailable("making a credential", &error))?;
    let hash = secret::digest(&credential);
    let device = app.decide(move |decision| join(decision, &request, hash)).await?;
    tracing::info!(%device, "joined");
    Ok(Json(EnrolAnswer { device, credential, root }))
}

fn join(
    decision: &Decision<'_, '_>,
    request: &EnrolRequest,
    credential: Digest,
) -> Result<DeviceId, Failure> {
    let hint = "Ask the operator for a new join token.";
    match decision.consume_join_token(secret::digest(&request.join_token), decision.now())? {
        JoinOutcome::Accepted(Some(device)) => return join_again(decision, device, credential),
        JoinOutcome::Accepted(None) => {}
        JoinOutcome::Expired => return Err(Failure::unauthorized("the join token has expired").hint(hint)),
        JoinOutcome::UsedUp => return Err(Failure::unauthorized("the join token is used up").hint(hint)),
        JoinOutcome::Unknown => {
            return Err(Failure::unauthorized("the join token is not known here").hint(hint));
        }
    }
    let device = free_name(&request.name, |name| Ok(decision.device(name)?.is_some()))?;
    decision.put_credential(credential, &device, decision.now())?;
    decision.append(Event::DeviceEnrolled { device: device.clone() })?;
    Ok(device)
}

/// A device that is known joins again: nothing it was given before counts any more.
fn join_again(
    decision: &Decision<'_, '_>,
    device: DeviceId,
    credential: Digest,
) -> Result<DeviceId, Failure> {
    decision.revoke_credentials(&device)?;
    decision.put_credential(credential, &device, decision.now())?;
    decision.append(Event::DeviceEnrolled { device: device.clone() })?;
    Ok(device)
}

/// `wanted`, or the first of `wanted-2`, `wanted-3`, ... that is free.
fn free_name(
    wanted: &DeviceId,
    is_taken: impl Fn(&DeviceId) -> Result<bool, StoreError>,
) -> Result<DeviceId, Failure> {
    if !is_taken(wanted)? {
        return Ok(wanted.clone());
    }
    for number in 2..=SAME_NAME_MAX {
        let suffix = format!("-{number}");
        let stem: String = wanted.as_str().chars().take(NAME_LEN_MAX - suffix.len()).collect();
        let name = DeviceId::new(format!("{stem}{suffix}"));
        let name = name.map_err(|error| Failure::internal("naming a device", &error))?;
        if !is_taken(&name)? {
            return Ok(name);
        }
    }
    Err(Failure::conflict(format!("{SAME_NAME_MAX} devices are called {wanted}; choose another name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &str, taken: &[&str], expect: &str) {
        let wanted = DeviceId::new(wanted).unwrap();
        let found = free_name(&wanted, |name| Ok(taken.contains(&name.as_str()))).unwrap();
        assert_eq!(found.as_str(), expect);
    }

    #[test]
    fn a_taken_name_gets_the_next_free_number() {
        check("robot", &[], "robot");
        check("robot", &["robot", "robot-2"], "robot-3");
        let long = "a".repeat(NAME_LEN_MAX);
        check(&long, &[&long], &format!("{}-2", "a".repeat(NAME_LEN_MAX - 2)));
    }
}
