//! Open to everyone: health, the API's description, and joining with a token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeward_api::access::DeviceCertificate;
use edgeward_api::device::{EnrolAnswer, EnrolRequest};
use edgeward_api::{Problem, routes};
use edgeward_core::name::NAME_LEN_MAX;
use edgeward_core::{DeviceId, Digest, Event};
use edgeward_store::{JoinOutcome, StoreError};
use serde::Serialize;

use super::certificates::{issue, parse_key};
use crate::app::{App, Decision};
use crate::extract::Document;
use crate::failure::Failure;
use crate::secret::{self, Purpose};
use crate::tls::{Certificates, DeviceKey, Peer};

/// Most devices that may ask for the same name.
const SAME_NAME_MAX: usize = 10_000;

/// The control plane is up.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// Always `ok`: a control plane that is not does not answer.
    status: &'static str,
    /// Its version.
    version: &'static str,
    /// Whether it is the one that leads among those that share a database; one that is alone always does.
    leads: bool,
}

/// Whether the control plane is up.
#[utoipa::path(get, path = routes::HEALTH, responses((status = 200, body = Health)))]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Result<Json<Health>, Failure> {
    app.read(|view| view.head().map_err(Failure::from)).await?;
    Ok(Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), leads: app.leads() }))
}

/// This document.
#[utoipa::path(get, path = routes::OPENAPI, responses((status = 200, description = "OpenAPI 3.1")))]
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], crate::routes::openapi_json()).into_response()
}

/// What a device is given when it joins.
enum Given {
    /// A bearer credential, of which this is the digest: the connection is on loopback, without TLS.
    Bearer(Digest),
    /// A certificate for its key.
    Certificate(Arc<Certificates>, DeviceKey),
}

/// A device joins with a token. Under TLS it brings a key and gets a certificate, else a bearer credential.
#[utoipa::path(post, path = routes::ENROL, request_body = EnrolRequest,
    responses((status = 200, body = EnrolAnswer), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn enrol(
    State(app): State<Arc<App>>,
    peer: Peer,
    Document(request): Document<EnrolRequest>,
) -> Result<Json<EnrolAnswer>, Failure> {
    let root = serde_json::from_slice(&app.repository.root());
    let root = root.map_err(|error| Failure::internal("writing the root", &error))?;
    let (credential, given) = match (peer.tls, &request.public_key) {
        (true, Some(key)) => (None, Given::Certificate(Arc::clone(&app.certificates), parse_key(key)?)),
        (true, None) => {
            return Err(Failure::invalid("under TLS a device joins with a key of its own")
                .hint("Send its public half as public_key."));
        }
        (false, _) => {
            let credential = secret::generate(Purpose::Device);
            let credential =
                credential.map_err(|error| Failure::unavailable("making a credential", &error))?;
            let hash = secret::digest(&credential);
            (Some(credential), Given::Bearer(hash))
        }
    };
    let (device, certificate) = app.decide(move |decision| join(decision, &request, &given)).await?;
    tracing::info!(%device, "joined");
    Ok(Json(EnrolAnswer { device, credential, certificate, root }))
}

fn join(
    decision: &Decision<'_, '_>,
    request: &EnrolRequest,
    given: &Given,
) -> Result<(DeviceId, Option<DeviceCertificate>), Failure> {
    let token = secret::digest(&request.join_token);
    if let Given::Certificate(_, key) = given
        && decision.is_join_token_alive(token, decision.now())?
        && let Some(device) = decision.join_use(token, key.digest())?
        && decision.device(&device)?.is_some_and(|known| known.revoked_at_ms.is_none())
    {
        // The device did not hear the answer, and asks again with the same key.
        decision.revoke_credentials(&device)?;
        return give(decision, device, given);
    }
    let device = admit(decision, request, token)?;
    if let Given::Certificate(_, key) = given {
        decision.put_join_use(token, key.digest(), &device)?;
    }
    decision.append(Event::DeviceEnrolled { device: device.clone() })?;
    give(decision, device, given)
}

/// Takes one use of the token; the id that the device has from now on.
fn admit(decision: &Decision<'_, '_>, request: &EnrolRequest, token: Digest) -> Result<DeviceId, Failure> {
    let refused = |why: &str| Failure::unauthorized(why).hint("Ask the operator for a new join token.");
    let known = match decision.consume_join_token(token, decision.now())? {
        JoinOutcome::Accepted(known) => known,
        JoinOutcome::Expired => return Err(refused("the join token has expired")),
        JoinOutcome::UsedUp => return Err(refused("the join token is used up")),
        JoinOutcome::Unknown => return Err(refused("the join token is not known here")),
    };
    match known {
        // A device that is known joins again: nothing it was given before counts any more.
        Some(device) if !request.again || device == request.name => {
            decision.revoke_credentials(&device)?;
            Ok(device)
        }
        None if !request.again => free_name(&request.name, |name| Ok(decision.device(name)?.is_some())),
        // The use is given back with the transaction.
        other => {
            let whom = other.map_or_else(|| "new devices".to_owned(), |device| device.to_string());
            let name = &request.name;
            Err(Failure::unauthorized(format!("the join token lets in {whom}, and this is {name}"))
                .hint(format!("Make a token for it: edgeward device token --for {name}")))
        }
    }
}

/// Gives a device what it shows from now on.
fn give(
    decision: &Decision<'_, '_>,
    device: DeviceId,
    given: &Given,
) -> Result<(DeviceId, Option<DeviceCertificate>), Failure> {
    match given {
        Given::Bearer(hash) => {
            decision.put_credential(*hash, &device, decision.now())?;
            Ok((device, None))
        }
        Given::Certificate(certificates, key) => {
            let (_, certificate) = issue(decision, certificates, &device, key)?;
            Ok((device, Some(certificate)))
        }
    }
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
