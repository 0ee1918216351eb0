//! The local endpoint: Open Inference Protocol v2 over HTTP and gRPC, late labels, metrics and status.
//!
//! A request passes, in order: the time limit, the cap on requests in flight, the body limit, the protocol's checks, the
//! model. Models run on blocking threads, so that a slow one never keeps the endpoint from answering health checks; one that is
//! known to be quick runs where the request was read ([`place`]).
//! Both transports decode into one [`ask::Ask`], which is answered, recorded and counted in one place. Every error is
//! `{"error": "..."}`, or the status of a gRPC call, with a text that says what to send instead. What a web page of another
//! origin sends is refused: otherwise any page open in a browser on the machine could feed labels to the next training.
//!
//! Deliberately missing: shared memory, and a credential: the endpoint is for the machine it runs on, so listen on a
//! loopback address or a Unix socket.

mod ask;
mod binary;
mod classes;
mod context;
mod encoding;
mod feedback;
mod grpc;
mod infer;
mod metadata;
mod metrics;
mod place;
mod remembered;
mod settings;
mod triton;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use edgeward_api::otlp::Tracer;
use edgeward_core::{DeviceId, Timestamp};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::place::Places;
use crate::records::Records;
use crate::registry::{Registry, Served};

/// Largest body of a request.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Most predictions and labels under way at once; more are told to come again.
pub const REQUESTS_CONCURRENT_MAX: usize = 64;
/// Most rows in one request.
pub const ROWS_PER_REQUEST_MAX: usize = 10_000;
/// Most labels in one request.
pub const LABELS_PER_REQUEST_MAX: usize = 1_000;
/// Longest label, and longest id of a request, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Longest time for one request, its body included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Most gRPC streams of requests open at once; more are told to come again.
pub const STREAMS_MAX: usize = 16;

/// What the endpoint answers from.
pub struct Endpoint {
    /// The models.
    pub registry: Arc<Registry>,
    /// Where answers and labels are kept.
    pub records: Arc<Records>,
    /// What the control loop says about the device.
    pub about: Arc<About>,
    permits: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    places: Places,
    clock: fn() -> Timestamp,
}

/// The device as a whole, for people.
pub struct About {
    /// Its id.
    pub device: DeviceId,
    /// The control plane; none for a bare endpoint.
    pub server: Option<String>,
    link: Mutex<Link>,
}

/// How the device stands to its control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Generation of the desired state it follows.
    pub generation: Option<u64>,
    /// Why the control plane cannot be followed; none while all is well.
    pub trouble: Option<String>,
    /// Entries of the ledger that the latest checkpoint covers which the device saw; 0 before the first.
    pub ledger_size: u64,
    /// Why the ledger is not believed; none while all is well.
    pub ledger_fault: Option<String>,
}

impl About {
    /// A device that has not met its control plane yet.
    #[must_use]
    pub fn new(device: DeviceId, server: Option<String>) -> Self {
        Self { device, server, link: Mutex::new(Link::default()) }
    }

    /// How the device stands to its control plane.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how the device stands to its control plane.
    pub fn set_link(&self, link: Link) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

impl Endpoint {
    /// An endpoint over these parts; `clock` tells the time that predictions are given.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        records: Arc<Records>,
        about: Arc<About>,
        clock: fn() -> Timestamp,
    ) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(REQUESTS_CONCURRENT_MAX));
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Arc::new(Self { registry, records, about, permits, streams, places: Places::default(), clock })
    }

    /// The routes; requests whose traces are recorded are told to `tracer`.
    pub fn router(self: Arc<Self>, tracer: Option<Tracer>) -> Router {
        Router::new()
            .route("/v2", get(metadata::server))
            .route("/v2/health/live", get(metadata::live))
            .route("/v2/health/ready", get(metadata::ready))
            .route("/v2/models/{model}", get(metadata::model))
            .route("/v2/models/{model}/versions/{version}", get(metadata::model))
            .route("/v2/models/{model}/ready", get(metadata::model_ready))
            .route("/v2/models/{model}/versions/{version}/ready", get(metadata::model_ready))
            .route("/v2/models/{model}/infer", post(infer::infer))
            .route("/v2/models/{model}/versions/{version}/infer", post(infer::infer))
            .route("/v2/models/stats", get(triton::all_stats))
            .route("/v2/models/{model}/config", get(triton::config))
            .route("/v2/models/{model}/versions/{version}/config", get(triton::config))
            .route("/v2/models/{model}/stats", get(triton::stats))
            .route("/v2/models/{model}/versions/{version}/stats", get(triton::stats))
            .route("/v2/repository/index", post(triton::index))
            .route("/v2/repository/models/{model}/load", post(triton::load_or_unload))
            .route("/v2/repository/models/{model}/unload", post(triton::load_or_unload))
            .merge(settings::routes())
            .route("/v1/feedback", post(feedback::take))
            .route("/v1/predictions/{prediction}", get(remembered::one))
            .route("/v1/status", get(metrics::status))
            .route("/metrics", get(metrics::prometheus))
            .fallback(unknown_route)
            .method_not_allowed_fallback(wrong_method)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .merge(grpc::routes())
            .layer(middleware::from_fn_with_state(tracer, enter))
            .with_state(self)
    }

    /// Runs `work`, a request of `bytes` to `served`, where such requests are computed, while the permit is held.
    async fn compute<T: Send + 'static>(
        self: Arc<Self>,
        (served, bytes): (Arc<Served>, usize),
        permit: Permit,
        work: impl FnOnce(&Self, Arc<Served>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (own, asked) = (Arc::clone(&self), Arc::clone(&served));
        self.places.compute((asked, bytes), permit, move || work(&own, served)).await
    }
}

/// An answer that is not a success.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// What ran panicked, and has said why in the log.
    fn stopped() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request's thread stopped")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error }));
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            return (self.status, [(header::RETRY_AFTER, "1")], body).into_response();
        }
        (self.status, body).into_response()
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let error = format!("the body is over {BODY_BYTES_MAX} bytes; send fewer rows per request");
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, error);
        }
        Self::bad_request(format!("reading the body: {}", rejection.body_text()))
    }
}

/// The right to have one request under way.
struct Permit(OwnedSemaphorePermit);

impl Permit {
    /// One of those that are free.
    fn take(endpoint: &Endpoint) -> Result<Self, Refusal> {
        Arc::clone(&endpoint.permits).try_acquire_owned().map(Self).map_err(|_| {
            let error =
                format!("{REQUESTS_CONCURRENT_MAX} requests are under way already; try again shortly");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, error)
        })
    }

    /// The next that is free.
    async fn wait(endpoint: &Endpoint) -> Result<Self, Refusal> {
        let permit = Arc::clone(&endpoint.permits).acquire_owned().await;
        permit.map(Self).map_err(|_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the endpoint is closing"))
    }
}

impl FromRequestParts<Arc<Endpoint>> for Permit {
    type Rejection = Refusal;

    async fn from_request_parts(_parts: &mut Parts, endpoint: &Arc<Endpoint>) -> Result<Self, Refusal> {
        Self::take(endpoint)
    }
}

/// What is asked of every request. It is one layer, since each has every request copy the routes below it.
async fn enter(State(tracer): State<Option<Tracer>>, request: Request, next: Next) -> Response {
    if is_from_foreign_page(request.headers()) {
        let error = "a web page of another origin may not call this; call it from a program";
        return Refusal::new(StatusCode::FORBIDDEN, error).into_response();
    }
    let late = || {
        let error = format!("the request took more than {} s", REQUEST_TIMEOUT.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, error).into_response()
    };
    // A call may be a stream without end; each of its requests has a time limit of its own.
    let is_call = grpc::is_route(request.uri().path());
    let answering = context::follow(tracer.as_ref(), request, next);
    match is_call {
        true => answering.await,
        false => tokio::time::timeout(REQUEST_TIMEOUT, answering).await.unwrap_or_else(|_| late()),
    }
}

/// Browsers say with every POST, and programs never, which page sends it. A page of the endpoint's own origin would have
/// an address for a host: a name may have been made to point at this machine (DNS rebinding).
fn is_from_foreign_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(origin) = text(header::ORIGIN) else { return false };
    let host = text(header::HOST).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let is_address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let is_own = origin.strip_prefix("http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    !(is_own && (is_address || name.eq_ignore_ascii_case("localhost")))
}

async fn unknown_route(request: Request) -> Response {
    if grpc::is_call(request.headers()) {
        return grpc::unknown(request.uri().path());
    }
    let error = format!("there is no {}; see /v2 and /v1/status", request.uri().path());
    Refusal::not_found(error).into_response()
}

async fn wrong_method(request: Request) -> Refusal {
    let error = format!("{} does not take {}", request.uri().path(), request.method());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error)
}

/// Runs `work` on a blocking thread while the permit is held.
async fn blocking<T: Send + 'static>(
    permit: Permit,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    // What is logged on the way belongs to the request that is logged about here.
    let span = tracing::Span::current();
    let held = move || {
        let result = span.in_scope(work);
        drop(permit.0);
        result
    };
    elsewhere(held).await?
}

/// Runs `work` on a thread that may be held up.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::stopped())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod watching_tests;
