//! How a handler says no: an HTTP status and a [`Problem`].
//!
//! Every refusal of the control plane, down to an unknown path and a body that is no JSON, leaves through [`Failure`],
//! so that a caller can rely on one shape. The cause of a failure of our own is logged here and not shown.

use std::error::Error;
use std::fmt::Write as _;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeward_api::Problem;
use edgeward_api::limits::BUSY_RETRY_S;

/// A refusal.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    problem: Problem,
    retry_after_s: Option<u64>,
    /// The connection is of no use any more.
    close: bool,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, kind: &str, error: impl Into<String>) -> Self {
        Self { status, problem: Problem::new(kind, error), retry_after_s: None, close: false }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem = self.problem.hint(hint);
        self
    }

    #[cfg(test)]
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, for a log.
    pub(crate) fn error(&self) -> &str {
        &self.problem.error
    }

    /// What is told where nobody speaks HTTP.
    pub(crate) fn into_problem(self) -> Problem {
        self.problem
    }

    /// The same, for another caller who waited for the same thing.
    pub(crate) fn again(&self) -> Self {
        Self {
            status: self.status,
            problem: self.problem.clone(),
            retry_after_s: self.retry_after_s,
            close: self.close,
        }
    }

    /// 404.
    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", error)
    }

    /// 401.
    pub(crate) fn unauthorized(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", error)
    }

    /// 401, and the end of the connection: what it shows will never be accepted.
    pub(crate) fn bad_certificate(error: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::UNAUTHORIZED, "bad_certificate", error);
        failure.close = true;
        failure
    }

    /// 403.
    pub(crate) fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", error)
    }

    /// 409.
    pub(crate) fn conflict(error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", error)
    }

    /// 413.
    pub(crate) fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    }

    /// 415.
    pub(crate) fn media_type(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", error)
    }

    /// 422.
    pub(crate) fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error)
    }

    /// 503: worth another try.
    pub(crate) fn unavailable(doing: &str, cause: &dyn Error) -> Self {
        tracing::error!(doing, cause = %chain(cause), "unavailable");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("{doing}: {cause}"))
            .hint("Try again; if it stays, read the control plane's log.")
    }

    /// 503: more is asked of it than it can do now; worth another try a little later.
    pub(crate) fn busy(error: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error);
        failure.retry_after_s = Some(BUSY_RETRY_S);
        failure.hint(format!("Try again in {BUSY_RETRY_S} seconds."))
    }

    /// 500: our fault, and trying again will not help.
    pub(crate) fn internal(doing: &str, cause: &dyn Error) -> Self {
        tracing::error!(doing, cause = %chain(cause), "failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("{doing} failed"))
            .hint("Read the control plane's log for the cause.")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (retry_after_s, close) = (self.retry_after_s, self.close);
        // Kept beside the document, for whoever shows it otherwise.
        let kept = self.problem.clone();
        let mut response = (self.status, Json(self.problem)).into_response();
        response.extensions_mut().insert(kept);
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
