//! A blocking HTTP client of the control plane.
//!
//! One [`Client`] holds a base address and a credential. Its methods are in [`device`](self) and operator halves; both
//! go through the same few calls here, which bound every answer and turn every failure into a [`ClientError`] that
//! says whether trying again can help.

mod access;
mod device;
mod files;
mod operator;
mod poster;
mod tls;

use std::io::Read;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};
use ureq::{Agent, Body};

use crate::Problem;
use crate::limits::{
    ANSWER_TIMEOUT_S, BLOB_BYTES_MAX, BLOB_TIMEOUT_S, CONNECT_TIMEOUT_S, JSON_BYTES_MAX, RETRY_AFTER_S_MAX,
    STREAM_TIMEOUT_S,
};

pub use files::{FileAnswer, Files};
pub use poster::Poster;
pub use tls::{ClientCertificate, Roots, RootsError, Tls};

/// Longest wait for an ordinary answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(ANSWER_TIMEOUT_S);

/// Talks to one control plane.
#[derive(Clone)]
pub struct Client {
    line: Arc<RwLock<Line>>,
    base: String,
    credential: Option<String>,
}

/// How the control plane is reached; every clone of a client takes the same.
struct Line {
    agent: Agent,
    tls: Tls,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer: worth another try later.
    #[error("no answer from {address}")]
    Unreachable {
        /// The address asked.
        address: String,
        /// What the network said.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Somebody answered who is not believed, or does not believe this client.
    #[error("no safe connection to {address}: {reason}")]
    Untrusted {
        /// The address asked.
        address: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The server said no.
    #[error("{address} answered {status}: {}", problem.error)]
    Refused {
        /// The address asked.
        address: String,
        /// The HTTP status.
        status: u16,
        /// Seconds after which it is worth another try, if the server says.
        retry_after_s: Option<u16>,
        /// What it said.
        problem: Problem,
    },
    /// An answer that is no such document.
    #[error("{address} sent an answer this program does not understand: {reason}")]
    Malformed {
        /// The address asked.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same call may succeed later: there was no answer, or none that is believed, or the server is overloaded
    /// or broken.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Untrusted { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Malformed { .. } => false,
        }
    }
}

impl ClientError {
    /// How long the server asks to be left alone, [`RETRY_AFTER_S_MAX`] at most; none if it does not say.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Refused { retry_after_s, .. } = self else { return None };
        retry_after_s.map(|seconds| Duration::from_secs(u64::from(seconds).min(RETRY_AFTER_S_MAX)))
    }
}

impl Client {
    /// A client of the control plane at `base`, such as `http://127.0.0.1:7700`, with a bearer credential if one is
    /// needed. Under `https` it believes what this computer believes.
    #[must_use]
    pub fn new(base: &str, credential: Option<String>) -> Self {
        Self::with_tls(base, credential, Tls::default())
    }

    /// The same, with its own idea of whom to believe and what to show under `https`.
    #[must_use]
    pub fn with_tls(base: &str, credential: Option<String>, tls: Tls) -> Self {
        let line = Arc::new(RwLock::new(Line::within(ANSWER_TIMEOUT, tls)));
        Self { line, base: base.trim_end_matches('/').to_owned(), credential }
    }

    /// From now on this client, and every clone of it, believes and shows this. Calls under way go on as they began.
    pub fn set_tls(&self, tls: Tls) {
        *self.line.write().unwrap_or_else(PoisonError::into_inner) = Line::within(ANSWER_TIMEOUT, tls);
    }

    /// How this client speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Tls {
        self.line.read().unwrap_or_else(PoisonError::into_inner).tls.clone()
    }

    /// Plain files below `path` of the control plane, such as `/v1/repository`, reached as this client reaches it.
    #[must_use]
    pub fn files(&self, path: &str) -> Files {
        Files::by(Arc::clone(&self.line), self.address(path), self.credential.clone())
    }

    fn agent(&self) -> Agent {
        self.line.read().unwrap_or_else(PoisonError::into_inner).agent.clone()
    }

    /// The address this client talks to.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn bearer(&self) -> Option<String> {
        self.credential.as_ref().map(|credential| format!("Bearer {credential}"))
    }

    fn get(&self, path: &str, etag: Option<&str>) -> Result<Response<Body>, ClientError> {
        let address = self.address(path);
        let mut request = self.agent().get(&address);
        if let Some(bearer) = self.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        checked(&address, request.call())
    }

    fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        read_json(&self.address(path), self.get(path, None)?)
    }

    fn post(&self, path: &str, document: &impl Serialize) -> Result<Response<Body>, ClientError> {
        let address = self.address(path);
        let mut request = self.agent().post(&address);
        if let Some(bearer) = self.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        checked(&address, request.send_json(document))
    }

    fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, ClientError> {
        read_json(&self.address(path), self.post(path, document)?)
    }

    /// Sends bytes with a content length; `body` may be a file.
    fn put_bytes(&self, path: &str, body: impl ureq::AsSendBody) -> Result<(), ClientError> {
        let address = self.address(path);
        let mut request = self
            .agent()
            .put(&address)
            .config()
            .timeout_global(Some(Duration::from_secs(BLOB_TIMEOUT_S)))
            .build();
        if let Some(bearer) = self.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        checked(&address, request.send(body)).map(|_| ())
    }

    /// An answer without an end, read as it comes, for [`STREAM_TIMEOUT_S`] at most.
    fn stream(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        let address = self.address(path);
        let mut request = self
            .agent()
            .get(&address)
            .config()
            .timeout_global(Some(Duration::from_secs(STREAM_TIMEOUT_S)))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build();
        if let Some(bearer) = self.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let response = checked(&address, request.call())?;
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// A bounded reader over bytes from `offset` on; the flag says whether the server honoured the offset.
    fn get_bytes(&self, path: &str, offset: u64) -> Result<(bool, impl Read + use<>), ClientError> {
        open_at(&self.agent(), &self.address(path), self.credential.as_deref(), offset)
    }
}

/// Whether a host, as an address has it, is this very machine: nobody listens in on the way there.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback)
}

fn open_at(
    agent: &Agent,
    address: &str,
    credential: Option<&str>,
    offset: u64,
) -> Result<(bool, impl Read + use<>), ClientError> {
    let timeout = Duration::from_secs(BLOB_TIMEOUT_S);
    let mut request = agent.get(address).config().timeout_global(Some(timeout)).build();
    if let Some(credential) = credential {
        request = request.header(header::AUTHORIZATION, format!("Bearer {credential}"));
    }
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let response = checked(address, request.call())?;
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    Ok((partial, response.into_body().into_with_config().limit(BLOB_BYTES_MAX).reader()))
}

impl Line {
    /// Each answer takes `timeout` at most.
    fn within(timeout: Duration, tls: Tls) -> Self {
        Self { agent: agent(timeout, tls.clone()), tls }
    }
}

/// An agent that speaks TLS by our own rules and has `timeout` for a whole call.
fn agent(timeout: Duration, tls: Tls) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Who is asked is where it was said to be; an answer that points elsewhere is no answer.
        .max_redirects(0)
        .timeout_connect(Some(Duration::from_secs(CONNECT_TIMEOUT_S)))
        .timeout_global(Some(timeout))
        .user_agent(concat!("edgeward/", env!("CARGO_PKG_VERSION")))
        .proxy(None)
        .build();
    let connector = ().chain(TcpConnector::default()).chain(tls::TlsConnector::new(tls));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// A call without an answer.
fn failed(address: String, source: ureq::Error) -> ClientError {
    match tls::fault(&source) {
        Some(fault) => ClientError::Untrusted { address, reason: tls::explain(&fault) },
        None => ClientError::Unreachable { address, source: Box::new(source) },
    }
}

fn checked(
    address: &str,
    result: Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, ClientError> {
    let response = result.map_err(|source| failed(address.to_owned(), source))?;
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    Err(ClientError::Refused {
        address: address.to_owned(),
        status: status.as_u16(),
        retry_after_s: retry_after_s(&response),
        problem: read_problem(status, response),
    })
}

fn retry_after_s(response: &Response<Body>) -> Option<u16> {
    response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Whether the server says that there is no such file; buckets say it with 403.
const fn is_absent(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 403 | 404, .. })
}

fn read_problem(status: StatusCode, response: Response<Body>) -> Problem {
    let text =
        response.into_body().into_with_config().limit(JSON_BYTES_MAX).read_to_string().unwrap_or_default();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| Problem::new("http", status.canonical_reason().unwrap_or("refused")))
}

fn read_json<T: DeserializeOwned>(address: &str, response: Response<Body>) -> Result<T, ClientError> {
    response
        .into_body()
        .into_with_config()
        .limit(JSON_BYTES_MAX)
        .read_json()
        .map_err(|error| ClientError::Malformed { address: address.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names_and_addresses() {
        for here in ["localhost", "LocalHost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"] {
            assert!(is_this_machine(here), "{here}");
        }
        for elsewhere in
            ["", "plant.example", "localhost.example", "127.0.0.1.example", "10.0.0.1", "0.0.0.0", "[::]"]
        {
            assert!(!is_this_machine(elsewhere), "{elsewhere}");
        }
    }
}
