//! `inference.GRPCInferenceService`: the Open Inference Protocol v2 over gRPC, with Triton's extensions, and
//! `grpc.health.v1.Health/Check` for those who probe.
//!
//! Calls come over HTTP/2 at the same addresses as HTTP requests. They are routed here by path, decoded by `tonic`, and
//! answered by what answers HTTP: [`super::ask`]. A message is under the limit of a body, packed or not; an answer is packed
//! as its request was. A refusal becomes a status of the nearest code.
//!
//! Deliberately missing: server reflection, and a stream's answers out of order: they come in the order of its requests.

mod describe;
mod infer;
mod messages;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use self::messages::{HealthResponse, Nothing, ReadyResponse, RegionRequest, ServerLiveResponse};
use super::{BODY_BYTES_MAX, Endpoint, REQUEST_TIMEOUT, Refusal, settings, triton};

/// How callers know that they may try again soon, in milliseconds.
const RETRY_HEADER: &str = "grpc-retry-pushback-ms";
const RETRY_MS: &str = "1000";
/// What `HealthCheckResponse` says of what answers, and of what does not.
const SERVES: i32 = 1;
const SERVES_NOT: i32 = 2;

/// The calls of the protocol begin so.
const SERVICE: &str = "/inference.GRPCInferenceService/";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The calls.
pub(super) fn routes() -> Router<Arc<Endpoint>> {
    Router::new().route(&format!("{SERVICE}{{call}}"), post(call)).route(HEALTH, post(health))
}

/// Whether a path is one of these routes.
pub(super) fn is_route(path: &str) -> bool {
    path.starts_with(SERVICE) || path == HEALTH
}

/// Whether a request is a gRPC call.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// The status of an answer, as far as its head says it: one that goes well says so only at its end.
pub(super) fn status_of(answer: &Response) -> i64 {
    let said = answer.headers().get(Status::GRPC_STATUS).and_then(|code| code.to_str().ok()?.parse().ok());
    said.unwrap_or(0)
}

/// The answer to a call that there is not.
pub(super) fn unknown(path: &str) -> Response {
    let path: String = path.chars().take(120).collect();
    Status::unimplemented(format!("there is no {path}; see inference.GRPCInferenceService"))
        .into_http::<Body>()
}

async fn call(State(endpoint): State<Arc<Endpoint>>, Path(call): Path<String>, request: Request) -> Response {
    match call.as_str() {
        "ServerLive" => now(request, |_: Nothing| Ok(ServerLiveResponse { live: true })).await,
        "ServerReady" => {
            now(request, |_: Nothing| Ok(ReadyResponse { ready: endpoint.registry.is_ready() })).await
        }
        "ModelReady" => now(request, |asked| Ok(describe::model_ready(&endpoint, &asked))).await,
        "ServerMetadata" => now(request, |_: Nothing| Ok(describe::server())).await,
        "ModelMetadata" => now(request, |asked| describe::model(&endpoint, &asked)).await,
        "ModelInfer" => infer::one(endpoint, request).await,
        "ModelStreamInfer" => infer::stream(endpoint, request).await,
        "ModelConfig" => now(request, |asked| describe::config(&endpoint, &asked)).await,
        "ModelStatistics" => now(request, |asked| describe::statistics(&endpoint, &asked)).await,
        "RepositoryIndex" => now(request, |asked| Ok(describe::index(&endpoint, &asked))).await,
        "RepositoryModelLoad" | "RepositoryModelUnload" => refused(&triton::not_here()),
        "SystemSharedMemoryStatus" | "CudaSharedMemoryStatus" => {
            now(request, |asked| no_regions(&asked)).await
        }
        // No region is registered, so all that is asked for are gone.
        "SystemSharedMemoryUnregister" | "CudaSharedMemoryUnregister" => {
            now(request, |_: Nothing| Ok(Nothing {})).await
        }
        "SystemSharedMemoryRegister" | "CudaSharedMemoryRegister" => {
            refused(&settings::shared_memory_not_here())
        }
        "TraceSetting" => now(request, |asked| describe::tracing(&asked)).await,
        "LogSettings" => now(request, |asked| describe::logging(&asked)).await,
        _ => unknown(request.uri().path()),
    }
}

async fn health(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let status = if endpoint.registry.is_ready() { SERVES } else { SERVES_NOT };
    now(request, |_: Nothing| Ok(HealthResponse { status })).await
}

fn no_regions(asked: &RegionRequest) -> Result<Nothing, Refusal> {
    match asked.name.is_empty() {
        true => Ok(Nothing {}),
        false => Err(Refusal::not_found("there is no such region: shared memory is not supported")),
    }
}

/// A call that is answered at once.
async fn now<A, B>(request: Request, answer: impl FnOnce(A) -> Result<B, Refusal> + Send) -> Response
where
    A: Message + Default + 'static,
    B: Message + 'static,
{
    unary(request, move |asked| {
        let answer = answer(asked);
        async { answer }
    })
    .await
}

/// One message and its answer, within [`REQUEST_TIMEOUT`].
async fn unary<A, B, F>(request: Request, answer: impl FnOnce(A) -> F + Send) -> Response
where
    A: Message + Default + 'static,
    B: Message + 'static,
    F: Future<Output = Result<B, Refusal>> + Send + 'static,
{
    let mut grpc: Grpc<ProstCodec<B, A>> = service(request.headers());
    let answering = grpc.unary(Once(Some(answer)), request);
    match tokio::time::timeout(REQUEST_TIMEOUT, answering).await {
        Ok(response) => response.map(Body::new),
        Err(_) => {
            let error = format!("the request took more than {} s", REQUEST_TIMEOUT.as_secs());
            refused(&Refusal::new(StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

/// What decodes and encodes. Every client says that it reads packed answers; those that send packed requests mean it.
fn service<A, B>(headers: &HeaderMap) -> Grpc<ProstCodec<B, A>>
where
    A: Message + Default + 'static,
    B: Message + 'static,
{
    let grpc = Grpc::new(ProstCodec::default())
        .max_decoding_message_size(BODY_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    match headers.get("grpc-encoding").map(header::HeaderValue::as_bytes) {
        Some(b"gzip") => grpc.send_compressed(CompressionEncoding::Gzip),
        Some(b"deflate") => grpc.send_compressed(CompressionEncoding::Deflate),
        _ => grpc,
    }
}

/// A service that is called once.
struct Once<F>(Option<F>);

impl<A, B, F, R> UnaryService<A> for Once<F>
where
    F: FnOnce(A) -> R,
    R: Future<Output = Result<B, Refusal>> + Send + 'static,
    B: 'static,
{
    type Response = B;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<B>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<A>) -> Self::Future {
        let answering = self.0.take().map(|answer| answer(request.into_inner()));
        Box::pin(async {
            let Some(answering) = answering else { return Err(Status::internal("a call came twice")) };
            answering.await.map(tonic::Response::new).map_err(|refusal| status(&refusal))
        })
    }
}

/// The response to a call that is not even read.
fn refused(refusal: &Refusal) -> Response {
    status(refusal).into_http::<Body>()
}

/// A refusal as a gRPC status.
fn status(refusal: &Refusal) -> Status {
    let code = match refusal.status {
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::InvalidArgument,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, refusal.error.clone());
    if matches!(refusal.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        status.metadata_mut().insert(RETRY_HEADER, tonic::metadata::MetadataValue::from_static(RETRY_MS));
    }
    status
}

#[cfg(test)]
mod tests;
