//! The dashboard: pages rendered here, with nothing from elsewhere and no build step.
//!
//! The overview is rendered from one [`snapshot::Snapshot`]; a small script fetches its parts again when the ledger grows.
//! Beside it stand the audit trail ([`ledger`]) and a page per recorded prediction ([`prediction`]).
//! Deliberately missing: anything that changes state, but that reading a record is an event.

mod assets;
mod figures;
mod ledger;
mod page;
mod performance;
mod plot;
mod prediction;
mod snapshot;
mod stages;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use edgeward_api::limits::PAGE_MAX;
use edgeward_core::Role;
use maud::Markup;
use serde::Deserialize;

use crate::access::{COOKIE, Need, check_same_site, guard, person};
use crate::app::App;
use crate::failure::Failure;
use crate::handlers::audit;
use crate::listing;
use assets::Asset;
use page::Part;
use snapshot::Snapshot;

/// Ledger entries read for the timeline and the plot's marks.
const ENTRIES_MAX: usize = 200;
/// Life of the cookie, in seconds.
const COOKIE_LIFE_S: u32 = 30 * 24 * 3600;

/// The dashboard's routes, with their guards.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let guarded = |need| middleware::from_fn_with_state((Arc::clone(app), need), guard);
    let pages = Router::new()
        .route("/", get(overview))
        .route("/audit", get(ledger::page))
        .route("/audit/{seq}", get(ledger::one))
        .route_layer(guarded(Need::Role(Role::Viewer)));
    // Inputs are shown there: whoever may ask the API for a record may look at its page.
    let records = Router::new()
        .route("/predictions", get(prediction::look_up))
        .route("/predictions/{prediction}", get(prediction::page))
        .route_layer(guarded(Need::Role(Role::Operator)));
    let pages = pages.merge(records).route_layer(middleware::from_fn_with_state(Arc::clone(app), door));
    let parts = Router::new()
        .route("/fragments/{part}", get(fragment))
        .route_layer(guarded(Need::Role(Role::Viewer)));
    let open = Router::new().route("/assets/{name}", get(asset)).route("/sign-in", post(sign_in));
    pages.merge(parts).merge(open)
}

#[derive(Debug, Deserialize)]
struct Token {
    token: Option<String>,
}

/// Turns a token in the address into a cookie, and a refusal into a page that asks for the token.
async fn door(
    State(app): State<Arc<App>>,
    Query(asked): Query<Token>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(token) = asked.token {
        return admit(&app, &token).await;
    }
    let response = next.run(request).await;
    match response.status() {
        StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, html(&page::sign_in(false))).into_response(),
        _ => response,
    }
}

async fn sign_in(
    State(app): State<Arc<App>>,
    method: Method,
    headers: HeaderMap,
    Form(form): Form<Token>,
) -> Response {
    match check_same_site(&method, &headers) {
        Ok(()) => admit(&app, form.token.unwrap_or_default().trim()).await,
        Err(failure) => failure.into_response(),
    }
}

async fn admit(app: &App, token: &str) -> Response {
    match person(app, token).await {
        Ok(Some(_)) => {}
        Ok(None) => return (StatusCode::UNAUTHORIZED, html(&page::sign_in(true))).into_response(),
        Err(failure) => return failure.into_response(),
    }
    let secure = if app.address.starts_with("https:") { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_LIFE_S}{secure}");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

fn html(markup: &Markup) -> Html<String> {
    Html(markup.0.clone())
}

async fn overview(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let seen = snapshot(&app).await?;
    Ok(html(&page::overview(&seen)).into_response())
}

async fn fragment(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Failure> {
    let part =
        Part::named(&name).ok_or_else(|| Failure::not_found(format!("the overview has no part '{name}'")))?;
    let seen = snapshot(&app).await?;
    Ok(html(&part.render(&seen)).into_response())
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let asset =
        Asset::named(&name).ok_or_else(|| Failure::not_found(format!("there is no asset '{name}'")))?;
    let tag = format!("\"{}\"", asset.tag());
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, asset.media_type)], asset.text).into_response(),
    };
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, forever);
    response.headers_mut().extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    Ok(response)
}

/// Reads everything at one moment.
async fn snapshot(app: &Arc<App>) -> Result<Snapshot, Failure> {
    let (now, address) = (app.now(), app.address.clone());
    let mut seen = app
        .read(move |view| {
            Ok::<_, Failure>(Snapshot {
                now,
                address,
                projects: view.projects()?,
                devices: listing::devices(view)?,
                models: listing::models(view)?,
                runs: listing::runs(view)?,
                rollouts: listing::rollouts(view)?,
                alerts: view.alerts(None, PAGE_MAX)?,
                entries: audit::newest(view, ENTRIES_MAX)?,
                drift: None,
            })
        })
        .await?;
    let newest = seen.models.iter().max_by_key(|model| model.versions.last().map(|v| v.registered_at_ms));
    if let Some(model) = newest.map(|model| model.name.clone()) {
        let drift = crate::drift::of_model(app, &model).await?;
        seen.drift = drift.map(|drift| (model, (*drift).clone()));
    }
    Ok(seen)
}
