//! What is shorter than a blob for whoever has another one, or nothing.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeward_api::{Problem, routes};
use edgeward_core::Digest;

use super::blobs::{Wanted, in_parts, no_such_range};
use crate::app::App;
use crate::failure::Failure;

/// A delta's bytes, or with `Range: bytes=N-` or `bytes=N-M` a part of them. The receiver checks what comes of it.
#[utoipa::path(get, path = routes::DELTA,
    params(("result" = String, Path, description = "SHA-256 of the blob that comes of it"),
        ("source" = String, Path, description = "SHA-256 of the blob it is applied to, or 'full' for none")),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 206, content_type = "application/octet-stream"), (status = 404, body = Problem),
        (status = 416, body = Problem)))]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Path((result, source)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (result, source) = parse(&result, &source)?;
    let Some(length) = app.blobs.delta_len(result, source).await?.filter(|length| *length > 0) else {
        return Err(Failure::not_found("there is no such delta").hint("Fetch the blob itself."));
    };
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(Wanted::parse);
    let (status, from, to) = match wanted {
        None => (StatusCode::OK, 0, length),
        Some(wanted) => {
            let (from, to) = wanted.within(length).ok_or_else(|| no_such_range(length))?;
            (StatusCode::PARTIAL_CONTENT, from, to)
        }
    };
    let blobs = app.blobs.clone();
    let body = in_parts(from..to, move |range| {
        let blobs = blobs.clone();
        async move { blobs.delta_range(result, source, range).await }
    });
    let fixed = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, (to - from).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, "private, max-age=86400".to_owned()),
    ];
    let mut response = (status, fixed, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = format!("bytes {from}-{}/{length}", to - 1).parse()
    {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

fn parse(result: &str, source: &str) -> Result<(Digest, Option<Digest>), Failure> {
    let digest = |text: &str| {
        Digest::from_hex(text).map_err(|_| {
            Failure::invalid("the path names no digests; expected 64 lower-case hex digits each")
        })
    };
    let source = if source == routes::NO_SOURCE { None } else { Some(digest(source)?) };
    Ok((digest(result)?, source))
}
