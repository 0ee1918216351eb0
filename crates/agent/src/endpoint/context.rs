//! Which request of which trace this is: `traceparent` (W3C Trace Context) and `X-Request-Id`.
//!
//! A valid `traceparent` gives the request's part in the caller's trace: what is logged while the request is answered bears
//! the trace's id and a new id for this step, which the answer says in `traceresponse`; the record of the prediction keeps the
//! trace's id. With a collector, the request and each answer of a model become spans where the caller records the trace, and
//! some requests without a caller's trace begin one. `X-Request-Id` comes back as it came.
//!
//! Deliberately missing: `tracestate`, which is for those who add to it.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use edgeward_api::otlp::{HttpRequest, Place, Span, Tracer, now_ns};
use edgeward_sdk::{InferError, Loaded, Prediction, chain};
use tracing::Instrument as _;

use super::{TEXT_BYTES_MAX, grpc};
use crate::registry::Served;

static TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's place in a trace.
#[derive(Clone)]
pub(super) struct Trace {
    place: Place,
    /// Who is told of its steps; none if the trace is not recorded.
    tracer: Option<Tracer>,
}

impl Trace {
    /// The part in the trace that a caller names, or in one that begins here; none if there is neither.
    fn of(headers: &HeaderMap, tracer: Option<&Tracer>) -> Option<Self> {
        let place = Place::of(headers).or_else(|| tracer?.first())?;
        let tracer = tracer.filter(|_| place.is_sampled).cloned();
        Some(Self { place, tracer })
    }

    /// The trace: 32 hex digits.
    pub(super) fn id(&self) -> &str {
        &self.place.trace
    }

    /// Has a model answer as a step of its own.
    pub(super) fn infer(
        &self,
        (served, loaded): (&Served, &Loaded),
        infer: impl FnOnce() -> Result<Prediction, InferError>,
    ) -> Result<Prediction, InferError> {
        let Some(tracer) = &self.tracer else { return infer() };
        let began = now_ns();
        let result = infer();
        let span = Span::internal(self.place.inner(), format!("infer {}", served.name), (began, now_ns()))
            .with("edgeward.model", served.name.as_str())
            .with("edgeward.bundle", &loaded.bundle().hex())
            .with("edgeward.form", &loaded.session().variant().label());
        tracer.tell(match &result {
            Ok(prediction) => span
                .with("edgeward.prediction", &prediction.id.to_string())
                .counted("edgeward.rows", i64::try_from(prediction.rows.len()).unwrap_or(i64::MAX)),
            Err(error) => span.failed(chain(error)),
        });
        result
    }
}

/// What the caller calls the request, if that is short enough to be said again.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(&REQUEST_ID).filter(|id| id.len() <= TEXT_BYTES_MAX).cloned()
}

/// Answers a request as a step of its trace.
pub(super) async fn follow(tracer: Option<&Tracer>, mut request: Request, next: Next) -> Response {
    let (trace, id) = (Trace::of(request.headers(), tracer), request_id(request.headers()));
    if trace.is_none() && id.is_none() {
        return next.run(request).await;
    }
    let text = |value: &Option<HeaderValue>| {
        value.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (trace_id, step) = trace.as_ref().map_or(("", ""), |trace| (trace.id(), &trace.place.step));
    let span = tracing::info_span!("request", path = %request.uri().path(), trace_id, span_id = step, request_id = %text(&id));
    let step = trace.as_ref().and_then(|trace| Step::begin(trace, &request));
    if let Some(trace) = trace.clone() {
        request.extensions_mut().insert(trace);
    }
    let answering = async {
        let answer = next.run(request).await;
        tracing::debug!(status = answer.status().as_u16(), "answered");
        answer
    };
    let mut answer = answering.instrument(span).await;
    step.into_iter().for_each(|step| step.end(&answer));
    let said = trace.and_then(|trace| HeaderValue::try_from(trace.place.response()).ok());
    answer.headers_mut().extend(said.map(|said| (TRACERESPONSE.clone(), said)));
    answer.headers_mut().extend(id.map(|id| (REQUEST_ID.clone(), id)));
    answer
}

/// A request under way whose trace is recorded.
struct Step {
    place: Place,
    tracer: Tracer,
    method: String,
    route: Option<String>,
    path: String,
    began_ns: u64,
}

impl Step {
    fn begin(trace: &Trace, request: &Request) -> Option<Self> {
        let route = request.extensions().get::<MatchedPath>();
        Some(Self {
            place: trace.place.clone(),
            tracer: trace.tracer.clone()?,
            method: request.method().to_string(),
            route: route.map(|route| route.as_str().to_owned()),
            path: request.uri().path().to_owned(),
            began_ns: now_ns(),
        })
    }

    /// An answer that goes on, as a stream does, has ended when it begins.
    fn end(self, answer: &Response) {
        let Self { place, tracer, method, route, path, began_ns } = self;
        let (status, when) = (answer.status().as_u16(), (began_ns, now_ns()));
        let request = HttpRequest { method: &method, route: route.as_deref(), path: &path, status };
        tracer.tell(match grpc::is_route(&path) {
            true => Span::grpc(place, &path, grpc::status_of(answer), when),
            false => Span::http(place, request, when),
        });
    }
}
