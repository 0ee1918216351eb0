//! How this API says no: the code and the words that MLflow's client reads, and the HTTP status that goes with them.

use std::error::Error;
use std::fmt;

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use edgeward_api::Problem;
use edgeward_store::{BlobError, StoreError};
use serde_json::json;

use crate::app::Stopped;
use crate::failure::{Failure, chain};
use crate::secret::NoRandomness;

/// The codes that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidParameterValue,
    InvalidState,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    EndpointNotFound,
    NotImplemented,
    BadRequest,
    Unauthenticated,
    PermissionDenied,
    TemporarilyUnavailable,
    InternalError,
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::InvalidState => "INVALID_STATE",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::EndpointNotFound => "ENDPOINT_NOT_FOUND",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::BadRequest => "BAD_REQUEST",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// The client repeats what is answered with 500 or 503, so a state that will not change by itself is a 400.
    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameterValue
            | Self::InvalidState
            | Self::ResourceAlreadyExists
            | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::ResourceDoesNotExist | Self::EndpointNotFound => StatusCode::NOT_FOUND,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code that stands for a status which the rest of the server answered with.
    const fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::EndpointNotFound,
            501 => Self::NotImplemented,
            503 => Self::TemporarilyUnavailable,
            500..=599 => Self::InternalError,
            _ => Self::BadRequest,
        }
    }
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: Code,
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, status: code.status(), message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }

    pub(crate) fn absent(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceDoesNotExist, message)
    }

    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceAlreadyExists, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::new(Code::BadRequest, message) }
    }

    /// Worth another try.
    pub(crate) fn unavailable(doing: &str, cause: &dyn Error) -> Self {
        tracing::error!(doing, cause = %chain(cause), "unavailable");
        Self::new(Code::TemporarilyUnavailable, format!("{doing}: {cause}"))
    }

    /// Our fault.
    pub(crate) fn internal(doing: &str, cause: &dyn Error) -> Self {
        tracing::error!(doing, cause = %chain(cause), "failed");
        Self::new(Code::InternalError, format!("{doing} failed; the control plane's log says why"))
    }

    #[cfg(test)]
    pub(crate) fn said(&self) -> (Code, &str) {
        (self.code, &self.message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error_code": self.code.as_str(), "message": self.message });
        (self.status, Json(body)).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Sql { .. } => Self::unavailable("using the database", &error),
            _ => Self::internal("using the database", &error),
        }
    }
}

impl From<Stopped> for Refusal {
    fn from(error: Stopped) -> Self {
        Self::unavailable("answering", &error)
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        Self::unavailable("making an id", &error)
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::TooLarge(_) => Self::too_large(error.to_string()),
            BlobError::Receive { .. } => Self::new(Code::BadRequest, chain(&error)),
            BlobError::Missing(_) | BlobError::Damaged(_) => Self::internal("reading an artifact", &error),
            _ => Self::unavailable("using the blob store", &error),
        }
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::internal("reading what is kept", &error)
    }
}

/// Puts what other parts of the server refuse, such as a caller without a token, into words that the client reads.
pub(crate) async fn translate(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let status = response.status();
    let mut message = problem.error;
    for hint in problem.hints {
        message.push(' ');
        message.push_str(&hint);
    }
    let mut translated = Refusal { code: Code::of(status), status, message }.into_response();
    for (name, value) in response.headers() {
        if !translated.headers().contains_key(name) {
            translated.headers_mut().insert(name.clone(), value.clone());
        }
    }
    translated
}

/// A path below which MLflow's client may look for more than there is.
pub(crate) async fn unknown_endpoint(uri: axum::http::Uri) -> Refusal {
    let path = uri.path();
    Refusal::new(
        Code::EndpointNotFound,
        format!("{path} is no part of the MLflow API that this server speaks"),
    )
}

/// A [`Failure`] of a request that nothing here could be made of.
impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::new(Code::BadRequest, failure.into_problem().error)
    }
}
