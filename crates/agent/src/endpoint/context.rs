//! Which request of which trace this is: `traceparent` (W3C Trace Context) and `X-Request-Id`.
//!
//! A valid `traceparent` gives the request's part in the caller's trace: what is logged while the request is answered bears
//! the trace's id and a new id for this step, which the answer says in `traceresponse`; the record of the prediction keeps the
//! trace's id. One that is not valid is as none, as the standard wants. `X-Request-Id` comes back as it came.
//!
//! Deliberately missing: exporting spans, and `tracestate`, which is for those who do.

use std::fmt::Write as _;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

use super::TEXT_BYTES_MAX;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// The trace: 32 hex digits.
    pub(super) id: String,
    /// This step of it: 16 hex digits.
    step: String,
    flags: String,
}

impl Trace {
    /// The part in the trace that a caller's `traceparent` names; none if it names none.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        // Two of them cannot both be right.
        let mut all = headers.get_all(&TRACEPARENT).iter();
        let (said, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
        let parts: Vec<&str> = said.trim().split('-').collect();
        let [version, id, parent, flags, rest @ ..] = parts.as_slice() else { return None };
        let is_known = is_hex(version, 2) && *version != "ff" && (*version != "00" || rest.is_empty());
        let is_named = |text: &str, len: usize| is_hex(text, len) && text.bytes().any(|byte| byte != b'0');
        if !(is_known && is_named(id, 32) && is_named(parent, 16) && is_hex(flags, 2)) {
            return None;
        }
        Some(Self { id: (*id).to_owned(), step: new_step(), flags: (*flags).to_owned() })
    }

    fn response(&self) -> String {
        // Only the flag for being sampled is for others to take over.
        let sampled = u8::from_str_radix(&self.flags, 16).unwrap_or(0) & 1;
        format!("00-{}-{}-{sampled:02x}", self.id, self.step)
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Random, and never all zeros: a bit of every UUID is set in this half.
fn new_step() -> String {
    Uuid::now_v7().as_bytes()[8..].iter().fold(String::with_capacity(16), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the caller calls the request, if that is short enough to be said again.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(&REQUEST_ID).filter(|id| id.len() <= TEXT_BYTES_MAX).cloned()
}

/// Answers a request as a step of its trace.
pub(super) async fn follow(mut request: Request, next: Next) -> Response {
    let (trace, id) = (Trace::of(request.headers()), request_id(request.headers()));
    if trace.is_none() && id.is_none() {
        return next.run(request).await;
    }
    let text = |value: &Option<HeaderValue>| {
        value.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (trace_id, step) = trace.as_ref().map_or(("", ""), |trace| (&trace.id, &trace.step));
    let span = tracing::info_span!("request", path = %request.uri().path(), trace_id, span_id = step, request_id = %text(&id));
    if let Some(trace) = trace.clone() {
        request.extensions_mut().insert(trace);
    }
    let answering = async {
        let answer = next.run(request).await;
        tracing::debug!(status = answer.status().as_u16(), "answered");
        answer
    };
    let mut answer = answering.instrument(span).await;
    let said = trace.and_then(|trace| HeaderValue::try_from(trace.response()).ok());
    answer.headers_mut().extend(said.map(|said| (TRACERESPONSE.clone(), said)));
    answer.headers_mut().extend(id.map(|id| (REQUEST_ID.clone(), id)));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn check(said: &str, expect: bool) {
        let headers = HeaderMap::from_iter([(TRACEPARENT.clone(), said.parse().unwrap())]);
        let found = Trace::of(&headers);
        assert_eq!(found.is_some(), expect, "{said}");
        if let Some(trace) = found {
            assert_eq!(trace.id, TRACE);
            assert!(trace.step != PARENT && is_hex(&trace.step, 16), "{}", trace.step);
        }
    }

    #[test]
    fn only_a_valid_traceparent_counts() {
        check(&format!("00-{TRACE}-{PARENT}-01"), true);
        check(&format!(" 00-{TRACE}-{PARENT}-00 "), true);
        check(&format!("01-{TRACE}-{PARENT}-01-what-comes-later"), true);
        check(&format!("00-{TRACE}-{PARENT}-01-x"), false);
        check(&format!("ff-{TRACE}-{PARENT}-01"), false);
        check(&format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), false);
        check(&format!("00-{}-{PARENT}-01", "0".repeat(32)), false);
        check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), false);
        check(&format!("00-{TRACE}-{PARENT}"), false);
        check(&format!("00-{TRACE}x-{PARENT}-01"), false);
        check("", false);
        let two = format!("00-{TRACE}-{PARENT}-01");
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT.clone(), two.parse().unwrap());
        headers.append(TRACEPARENT.clone(), two.parse().unwrap());
        assert_eq!(Trace::of(&headers), None);
    }

    #[test]
    fn the_answer_names_the_trace_and_this_step() {
        let trace = Trace { id: TRACE.to_owned(), step: PARENT.to_owned(), flags: "ff".to_owned() };
        assert_eq!(trace.response(), format!("00-{TRACE}-{PARENT}-01"));
    }
}
