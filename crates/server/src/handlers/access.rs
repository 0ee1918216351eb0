//! Who may do what: operator tokens, join tokens, and devices that are shut out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use edgeward_api::access::{DeviceRevocation, DeviceRevoked, NewToken, Token, TokenRequest, Tokens};
use edgeward_api::operator::{JoinToken, JoinTokenRequest};
use edgeward_api::{JoinPin, Problem, routes};
use edgeward_core::{AccessChange, DeviceId, Event, TokenId};
use edgeward_store::TokenRow;

use super::{check_text, fresh_id};
use crate::access::Caller;
use crate::app::App;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::secret::{self, Purpose};

/// Most devices one join token may admit.
const USES_MAX: u32 = 1_000_000;
/// Longest life of a join token.
const JOIN_TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longest life of an operator token that has an end.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(3660 * 24 * 3600);
/// Longest name of an operator token.
const NAME_LEN_MAX: usize = 100;

/// Makes a join token.
#[utoipa::path(post, path = routes::JOIN_TOKENS, request_body = JoinTokenRequest,
    responses((status = 200, body = JoinToken), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn make_join_token(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(request): Document<JoinTokenRequest>,
) -> Result<Json<JoinToken>, Failure> {
    let ttl = Duration::from_millis(request.ttl_ms);
    if request.uses == 0 || request.uses > USES_MAX || ttl.is_zero() || ttl > JOIN_TTL_MAX {
        return Err(Failure::invalid(format!(
            "a join token has 1 to {USES_MAX} uses and lives for at most {} days",
            JOIN_TTL_MAX.as_secs() / 86_400
        )));
    }
    if request.device.is_some() && request.uses != 1 {
        return Err(Failure::invalid("a join token for one device has one use"));
    }
    let join_token = secret::generate(Purpose::Join);
    let join_token = join_token.map_err(|error| Failure::unavailable("making a join token", &error))?;
    let pin = app.certificates.pin().filter(|_| app.is_tls);
    let join_token = match pin {
        Some(authority) => JoinPin { authority, made_at: app.now() }.token(&join_token),
        None => join_token,
    };
    let (hash, expires_at_ms) = (secret::digest(&join_token), app.now() + ttl);
    app.decide(move |decision| {
        let JoinTokenRequest { uses, device, .. } = request;
        if let Some(device) = &device {
            decision.device(device)?.ok_or_else(|| unknown_device(device))?;
        }
        decision.put_join_token(hash, expires_at_ms, uses, device.as_ref())?;
        let by = caller.name();
        let change = AccessChange::JoinTokenCreated { uses, device, expires_at_ms, by };
        decision.append(Event::AccessChanged(change)).map_err(Failure::from)
    })
    .await?;
    Ok(Json(JoinToken { join_token, expires_at_ms }))
}

fn unknown_device(device: &DeviceId) -> Failure {
    Failure::not_found(format!("there is no device {device}"))
        .hint("`edgeward device ls` lists the devices; a new one joins with a token that names none.")
}

/// Shuts a device out, at once: its certificates and credentials are refused and its open streams end.
#[utoipa::path(post, path = routes::DEVICE_REVOKE, request_body = DeviceRevocation,
    params(("device" = String, Path, description = "The device's id")),
    responses((status = 200, body = DeviceRevoked), (status = 404, body = Problem)))]
pub(crate) async fn revoke_device(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<DeviceId>,
    Document(DeviceRevocation { cause }): Document<DeviceRevocation>,
) -> Result<Json<DeviceRevoked>, Failure> {
    check_text("cause", &cause)?;
    let shut_out = device.clone();
    let revoked_at_ms = app
        .decide(move |decision| {
            let known = decision.device(&device)?.ok_or_else(|| unknown_device(&device))?;
            decision.revoke_credentials(&device)?;
            if let Some(since) = known.revoked_at_ms {
                return Ok(since);
            }
            let change = AccessChange::DeviceRevoked { device, cause, by: caller.name() };
            decision.append(Event::AccessChanged(change))?;
            Ok::<_, Failure>(decision.now())
        })
        .await?;
    // Nobody listens if no stream is open.
    let _ = app.shut_out.send(shut_out.clone());
    Ok(Json(DeviceRevoked { device: shut_out, revoked_at_ms }))
}

/// Makes an operator token.
#[utoipa::path(post, path = routes::TOKENS, request_body = TokenRequest,
    responses((status = 200, body = NewToken), (status = 422, body = Problem)))]
pub(crate) async fn make_token(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(request): Document<TokenRequest>,
) -> Result<Json<NewToken>, Failure> {
    let ttl = request.ttl_ms.map(Duration::from_millis);
    check_token(&request.name, ttl)?;
    let no_randomness = |error| Failure::unavailable("making an operator token", &error);
    let secret = secret::generate(Purpose::Operator).map_err(no_randomness)?;
    let now = app.now();
    let id = TokenId::new(fresh_id("token", now).map_err(no_randomness)?);
    let token = TokenRow {
        id: id.map_err(|error| Failure::internal("naming a token", &error))?,
        name: request.name,
        role: request.role,
        created_at_ms: now,
        expires_at_ms: ttl.map(|ttl| now + ttl),
        revoked_at_ms: None,
    };
    let (hash, kept) = (secret::digest(&secret), token.clone());
    app.decide(move |decision| {
        decision.put_operator_token(hash, &kept)?;
        let TokenRow { id: token, name, role, expires_at_ms, .. } = kept;
        let change = AccessChange::TokenCreated { token, name, role, expires_at_ms, by: caller.name() };
        decision.append(Event::AccessChanged(change)).map_err(Failure::from)
    })
    .await?;
    Ok(Json(NewToken { secret, token: shown(token) }))
}

fn check_token(name: &str, ttl: Option<Duration>) -> Result<(), Failure> {
    if name.trim().is_empty() || name.len() > NAME_LEN_MAX || name.chars().any(char::is_control) {
        return Err(Failure::invalid(format!("a token's name has 1 to {NAME_LEN_MAX} bytes, on one line")));
    }
    match ttl.is_none_or(|ttl| !ttl.is_zero() && ttl <= TOKEN_TTL_MAX) {
        true => Ok(()),
        false => Err(Failure::invalid(format!(
            "a token lives for at most {} days, or for ever",
            TOKEN_TTL_MAX.as_secs() / 86_400
        ))),
    }
}

/// The operator tokens.
#[utoipa::path(get, path = routes::TOKENS, responses((status = 200, body = Tokens)))]
pub(crate) async fn tokens(State(app): State<Arc<App>>) -> Result<Json<Tokens>, Failure> {
    let rows = app.read(|view| view.operator_tokens().map_err(Failure::from)).await?;
    Ok(Json(Tokens { tokens: rows.into_iter().map(shown).collect() }))
}

/// Revokes an operator token, at once. One that was revoked before stays as it is.
#[utoipa::path(post, path = routes::TOKEN_REVOKE,
    params(("token" = String, Path, description = "The token's id")),
    responses((status = 200, body = Token), (status = 404, body = Problem)))]
pub(crate) async fn revoke_token(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(token): Named<TokenId>,
) -> Result<Json<Token>, Failure> {
    let row = app.decide(move |decision| {
        if decision.revoke_operator_token(&token, decision.now())? {
            let change = AccessChange::TokenRevoked { token: token.clone(), by: caller.name() };
            decision.append(Event::AccessChanged(change))?;
        }
        let row = decision.operator_tokens()?.into_iter().find(|row| row.id == token);
        row.ok_or_else(|| {
            Failure::not_found(format!("there is no token {token}"))
                .hint("`edgeward token ls` lists the tokens; the one in operator.token is replaced by deleting the file and starting the control plane again.")
        })
    });
    Ok(Json(shown(row.await?)))
}

fn shown(row: TokenRow) -> Token {
    let TokenRow { id, name, role, created_at_ms, expires_at_ms, revoked_at_ms } = row;
    Token { id, name, role, created_at_ms, expires_at_ms, revoked_at_ms }
}
