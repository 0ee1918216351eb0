//! What a handler takes from a request, each with a [`Failure`] that says what is wrong.
//!
//! Bodies are bounded before they are parsed: the router sets the limit, [`Document`] reports it.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use edgeward_api::limits::JSON_BYTES_MAX;
use edgeward_core::Digest;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// How long a whole JSON body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body.
pub(crate) struct Document<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            return Err(Failure::media_type("the body must be JSON")
                .hint("Send it with the header Content-Type: application/json."));
        }
        let read = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state));
        let bytes = read.await.map_err(|_| too_slow())?.map_err(|rejection| {
            match rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                true => Failure::too_large(format!("the body is over the limit of {JSON_BYTES_MAX} bytes")),
                false => Failure::new(StatusCode::BAD_REQUEST, "bad_request", "the body could not be read"),
            }
        })?;
        parse(&bytes).map(Self)
    }
}

fn too_slow() -> Failure {
    let error = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
    Failure::new(StatusCode::REQUEST_TIMEOUT, "too_slow", error)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => Failure::invalid(format!("the body is not this route's document: {error}"))
            .hint("The documents are described in /openapi.json."),
        false => Failure::new(StatusCode::BAD_REQUEST, "malformed", format!("the body is no JSON: {error}")),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = essence.and_then(|text| text.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// The one name in the path.
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr<Err: Display>> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = path_text(parts, state).await?;
        text.parse().map(Self).map_err(|error: T::Err| Failure::invalid(error.to_string()))
    }
}

/// The one digest in the path: 64 hex digits.
pub(crate) struct Hex(pub(crate) Digest);

impl<S: Send + Sync> FromRequestParts<S> for Hex {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = path_text(parts, state).await?;
        Digest::from_hex(&text)
            .map(Self)
            .map_err(|_| Failure::invalid("the path names no digest; expected 64 lower-case hex digits"))
    }
}

async fn path_text<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Failure> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|rejection| Failure::invalid(rejection.body_text()))
}

/// The query string.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|rejection| Failure::invalid(rejection.body_text()))
    }
}
