//! The dashboard: pages rendered here, with nothing from elsewhere and no build step.
//!
//! Each page is a module: it reads what it shows at one moment, and renders it as a pure function. A small script fetches the
//! live parts of the page again when the ledger grows. What changes something is in [`action`]: a page that asks, a form that
//! belongs to the session, and then the API's own handler. Charts are in [`plot`], what pages share in [`layout`], signing in
//! in [`session`].
//!
//! Deliberately missing: tokens, certificates and erasing subjects, whose secrets and whose weight belong on the command line.

mod action;
mod alerts;
mod assets;
mod charts;
mod device;
mod drifting;
mod failed;
mod figures;
mod fleet;
mod layout;
mod ledger;
mod model;
mod overview;
mod performance;
mod picture;
mod plot;
mod prediction;
mod rollout;
mod run;
mod session;
mod shadow;
mod snapshot;
mod stages;
#[cfg(test)]
mod tests;
mod version;
pub(crate) mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use edgeward_core::Role;
use serde::Deserialize;

use crate::access::{Need, guard};
use crate::app::App;
use crate::failure::Failure;
use assets::Asset;

pub(crate) use failed::told as told_to;
pub(crate) use fleet::FleetCache;
pub(crate) use session::FormKey;

/// What was done just before a page is shown.
#[derive(Clone, Debug, Default, Deserialize)]
struct Done {
    #[serde(default)]
    done: Option<String>,
}

/// A name from a path or a field.
fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.trim().parse().map_err(|error: T::Err| Failure::invalid(error.to_string()))
}

/// The dashboard's routes, with their guards.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let guarded = |role| middleware::from_fn_with_state((Arc::clone(app), Need::Role(role)), guard);
    // Inputs are shown there: whoever may ask the API for a record may look at its page.
    let records = Router::new()
        .route("/predictions", get(prediction::look_up))
        .route("/predictions/{prediction}", get(prediction::page))
        .route_layer(guarded(Role::Operator));
    let actions = action::routes().map(|(role, routes)| routes.route_layer(guarded(role)));
    let pages = pages().route_layer(guarded(Role::Viewer)).merge(records);
    let pages = actions.into_iter().fold(pages, Router::merge);
    let pages = pages.route_layer(middleware::from_fn_with_state(Arc::clone(app), session::door));
    let open = Router::new().route("/assets/{name}", get(asset)).route("/sign-in", post(session::sign_in));
    pages.merge(open)
}

fn pages() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/fleet", get(fleet::page))
        .route("/devices/{device}", get(device::page))
        .route("/groups/{group}", get(action::group_page))
        .route("/models", get(model::list))
        .route("/models/{model}", get(model::page))
        .route("/models/{model}/drift", get(drifting::page))
        .route("/models/{model}/{version}", get(version::page))
        .route("/rollouts", get(rollout::list))
        .route("/rollouts/{rollout}", get(rollout::page))
        .route("/runs", get(run::list))
        .route("/runs/{run}", get(run::page))
        .route("/shadows", get(shadow::page))
        .route("/alerts", get(alerts::page))
        .route("/audit", get(ledger::page))
        .route("/audit/{seq}", get(ledger::one))
        .route("/sign-out", post(session::sign_out))
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
