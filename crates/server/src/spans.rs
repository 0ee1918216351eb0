//! Requests as spans, where their callers record a trace and for some that name none.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use edgeward_api::otlp::{HttpRequest, Place, Span, Tracer, now_ns};

static TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Answers a request as a step of its trace, which `traceresponse` then says.
pub(crate) async fn follow(State(tracer): State<Option<Tracer>>, request: Request, next: Next) -> Response {
    let Some((place, tracer)) = tracer.and_then(|tracer| recorded(tracer, &request)) else {
        return next.run(request).await;
    };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, path, began) = (request.method().clone(), request.uri().path().to_owned(), now_ns());
    let mut answer = next.run(request).await;
    let said = HeaderValue::try_from(place.response()).ok();
    answer.headers_mut().extend(said.map(|said| (TRACERESPONSE.clone(), said)));
    let asked = HttpRequest {
        method: method.as_str(),
        route: route.as_ref().map(MatchedPath::as_str),
        path: &path,
        status: answer.status().as_u16(),
    };
    tracer.tell(Span::http(place, asked, (began, now_ns())));
    answer
}

/// The place of a request whose trace is recorded.
fn recorded(tracer: Tracer, request: &Request) -> Option<(Place, Tracer)> {
    let place = Place::of(request.headers()).or_else(|| tracer.first())?;
    place.is_sampled.then_some((place, tracer))
}
