//! Blobs by digest: uploads are streamed and kept only if they are what their name says; downloads may start anywhere.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeward_api::limits::BLOB_BYTES_MAX;
use edgeward_api::{Problem, routes};
use edgeward_core::Digest;
use edgeward_store::BlobError;
use futures_util::StreamExt as _;

use crate::app::App;
use crate::extract::Hex;
use crate::failure::Failure;

/// Bytes read at once for a download that starts in the middle.
const RANGE_PART_BYTES: u64 = 1 << 20;

/// Keeps a blob.
#[utoipa::path(put, path = routes::BLOB, request_body(content_type = "application/octet-stream"),
    params(("digest" = String, Path, description = "SHA-256, 64 lower-case hex digits")),
    responses((status = 204), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Hex(digest): Hex,
    request: Request,
) -> Result<StatusCode, Failure> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > BLOB_BYTES_MAX) {
        return Err(too_large());
    }
    let known = app.blobs.len(digest).await.is_ok();
    let stream: BodyDataStream = request.into_body().into_data_stream();
    match known {
        true => drain(stream).await?,
        false => app.blobs.put_stream(digest, stream).await.map(|_| ())?,
    }
    Ok(StatusCode::NO_CONTENT)
}

fn too_large() -> Failure {
    Failure::too_large(format!("a blob is at most {BLOB_BYTES_MAX} bytes long"))
}

/// Reads what is sent although it is there already, so that the sender sees an answer and no broken connection.
async fn drain(mut stream: BodyDataStream) -> Result<(), Failure> {
    let mut received: u64 = 0;
    while let Some(Ok(part)) = stream.next().await {
        received += part.len() as u64;
        if received > BLOB_BYTES_MAX {
            return Err(too_large());
        }
    }
    Ok(())
}

/// A blob's bytes, or with `Range: bytes=N-` or `bytes=N-M` a part of them. The receiver checks the digest.
#[utoipa::path(get, path = routes::BLOB,
    params(("digest" = String, Path, description = "SHA-256, 64 lower-case hex digits")),
    responses((status = 200, content_type = "application/octet-stream"),
        (status = 206, content_type = "application/octet-stream"), (status = 404, body = Problem),
        (status = 416, body = Problem)))]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Hex(digest): Hex,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    if let Some(wanted) = wanted.and_then(Wanted::parse) {
        let length = app.blobs.len(digest).await?;
        return part(&app, digest, wanted, length);
    }
    let (length, stream) = app.blobs.stream(digest).await?;
    Ok((named(&digest, length), Body::from_stream(stream)).into_response())
}

fn named(digest: &Digest, length: u64) -> [(HeaderName, String); 5] {
    [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{}\"", digest.hex())),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable".to_owned()),
    ]
}

fn part(app: &Arc<App>, digest: Digest, wanted: Wanted, length: u64) -> Result<Response, Failure> {
    let Some((from, to)) = wanted.within(length) else { return Err(no_such_range(length)) };
    let blobs = app.blobs.clone();
    let parts = in_parts(from..to, move |range| {
        let blobs = blobs.clone();
        async move { blobs.get_range(digest, range).await }
    });
    let range = (header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1));
    let headers = named(&digest, to - from);
    Ok((StatusCode::PARTIAL_CONTENT, headers, [range], parts).into_response())
}

/// What `read` gives for each part of a range in turn, so that no more than one is in memory.
pub(super) fn in_parts<R>(range: Range<u64>, read: impl Fn(Range<u64>) -> R + Send + 'static) -> Body
where
    R: Future<Output = Result<Bytes, BlobError>> + Send + 'static,
{
    let parts = futures_util::stream::try_unfold(range.start, move |at| {
        let until = range.end.min(at + RANGE_PART_BYTES);
        let reading = (at < range.end).then(|| read(at..until));
        async move {
            match reading {
                None => Ok::<_, BlobError>(None),
                Some(reading) => Ok(Some((reading.await?, until))),
            }
        }
    });
    Body::from_stream(parts)
}

pub(super) fn no_such_range(length: u64) -> Failure {
    let error = format!("there are {length} bytes");
    Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", error)
}

/// One range of bytes: both ends are inclusive, as in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    first: u64,
    last: Option<u64>,
}

impl Wanted {
    /// Several ranges, suffixes and other units are answered with the whole blob, which the standard allows.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
        let first = first.parse().ok()?;
        last.is_none_or(|last| last >= first).then_some(Self { first, last })
    }

    /// The first byte and the one after the last.
    pub(super) fn within(self, length: u64) -> Option<(u64, u64)> {
        let end = self.last.map_or(length, |last| last.saturating_add(1).min(length));
        (self.first < end).then_some((self.first, end))
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing(_) => Self::not_found(error.to_string()),
            BlobError::WrongDigest { .. } => Self::invalid(error.to_string()),
            BlobError::TooLarge(_) => too_large(),
            BlobError::Range { .. } => {
                Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", error.to_string())
            }
            BlobError::Receive { .. } => Self::new(StatusCode::BAD_REQUEST, "interrupted", error.to_string()),
            BlobError::Damaged(_) => Self::internal("reading a blob", &error),
            BlobError::Open { .. } | BlobError::Store { .. } => {
                Self::unavailable("using the blob store", &error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let check = |text: &str, length, expect| {
            assert_eq!(Wanted::parse(text).and_then(|wanted| wanted.within(length)), expect, "{text}");
        };
        check("bytes=0-", 10, Some((0, 10)));
        check("bytes=4-6", 10, Some((4, 7)));
        check("bytes=4-99", 10, Some((4, 10)));
        check("bytes=10-", 10, None);
        check("bytes=0-18446744073709551615", 10, Some((0, 10)));
        for whole in ["bytes=-5", "bytes=1-2,4-5", "items=0-", "bytes=5-2", "bytes", ""] {
            assert_eq!(Wanted::parse(whole), None, "{whole}");
        }
    }
}
