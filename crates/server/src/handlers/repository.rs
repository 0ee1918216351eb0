//! The repository as plain files, and the signed releases for whoever adds one.
//!
//! What a device asks most often is `timestamp.json` with the tag of the one it has. Every other file has its version or
//! its hash in its name and never changes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeward_api::{Problem, routes};

use super::blobs::{Wanted, no_such_range};
use crate::app::{App, blocking};
use crate::failure::Failure;

/// A document of the repository; with `If-None-Match`, only if it is another one.
#[utoipa::path(get, path = routes::METADATA, params(("file" = String, Path, description = "Such as timestamp.json")),
    responses((status = 200, content_type = "application/json"), (status = 206, content_type = "application/json"),
        (status = 304, description = "Unchanged"), (status = 404, body = Problem), (status = 416, body = Problem)))]
pub(crate) async fn metadata(
    State(app): State<Arc<App>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    send(&app, format!("metadata/{file}"), &headers).await
}

/// The desired state of the fleet.
#[utoipa::path(get, path = routes::ROLLOUT_TARGET,
    params(("file" = String, Path, description = "Its hash and name, such as HASH.desired.json")),
    responses((status = 200, content_type = "application/json"), (status = 206, content_type = "application/json"),
        (status = 304, description = "Unchanged"), (status = 404, body = Problem), (status = 416, body = Problem)))]
pub(crate) async fn rollout_target(
    State(app): State<Arc<App>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    send(&app, format!("targets/rollouts/{file}"), &headers).await
}

/// The manifest of a released bundle.
#[utoipa::path(get, path = routes::RELEASE_TARGET,
    params(("model" = String, Path, description = "The model's name"),
        ("bundle" = String, Path, description = "64 hex digits"),
        ("file" = String, Path, description = "Its hash and name, HASH.manifest.json")),
    responses((status = 200, content_type = "application/json"), (status = 206, content_type = "application/json"),
        (status = 304, description = "Unchanged"), (status = 404, body = Problem), (status = 416, body = Problem)))]
pub(crate) async fn release_target(
    State(app): State<Arc<App>>,
    Path((model, bundle, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    send(&app, format!("targets/releases/{model}/{bundle}/{file}"), &headers).await
}

/// The signed releases, byte for byte.
#[utoipa::path(get, path = routes::RELEASES, responses((status = 200, content_type = "application/json")))]
pub(crate) async fn releases(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.repository.releases()).into_response()
}

async fn send(app: &App, path: String, headers: &HeaderMap) -> Result<Response, Failure> {
    let is_fixed = !path.ends_with("/timestamp.json");
    let file = match app.repository.latest(&path) {
        Some(file) => file,
        None => {
            let repository = Arc::clone(&app.repository);
            let read = blocking(move || repository.file(&path).map_err(Failure::from)).await?;
            read.ok_or_else(|| Failure::not_found("the repository has no such file"))?
        }
    };
    let cached = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == file.etag.as_bytes());
    let policy = if is_fixed { "private, max-age=31536000, immutable" } else { "no-cache" };
    let named = [(header::ETAG, file.etag), (header::CACHE_CONTROL, policy.to_owned())];
    if cached {
        return Ok((StatusCode::NOT_MODIFIED, named).into_response());
    }
    let fixed = [(header::CONTENT_TYPE, "application/json"), (header::ACCEPT_RANGES, "bytes")];
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(Wanted::parse);
    let Some(wanted) = wanted else { return Ok((named, fixed, file.bytes).into_response()) };
    let length = file.bytes.len() as u64;
    let (from, to) = wanted.within(length).ok_or_else(|| no_such_range(length))?;
    let range = [(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1))];
    // Both lie within the bytes.
    let part = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(file.bytes.len());
    Ok((StatusCode::PARTIAL_CONTENT, named, fixed, range, file.bytes.slice(part)).into_response())
}
