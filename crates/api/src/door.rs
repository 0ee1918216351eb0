//! The way in: plain HTTP on loopback, TLS everywhere else.
//!
//! A handshake runs in a task of its own and has [`HANDSHAKE_MAX`] to end, so callers that are slow, silent or send
//! garbage hold a place of the [`Gate`] for that long and nobody else up. Who speaks plain HTTP to the TLS port is told
//! so in plain HTTP.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgeward_core::Digest;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::Problem;
use crate::connections::{Connection, Gate};

/// Longest handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Connections that have shaken hands and wait to be served.
const WAITING_MAX: usize = 64;
/// First byte of a TLS record that begins a handshake.
const HANDSHAKE: u8 = 22;
/// Most bytes of a plain request that are looked at before it is told about TLS.
const PLAIN_BYTES: usize = 4096;

/// A connection: plain, or under TLS.
pub type Io = Either<Connection, Box<TlsStream<Connection>>>;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The connection is under TLS.
    pub tls: bool,
    /// SHA-256 of the certificate whose key the other end holds.
    pub certificate: Option<Digest>,
}

/// How each connection is to be spoken to under TLS; an error is told and the connection ended.
pub type Configure = Arc<dyn Fn() -> Result<Arc<ServerConfig>, String> + Send + Sync>;

/// A certificate or key that cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct CertificateFileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// The certificate with its chain in one file and its key in another, both PEM.
///
/// # Errors
/// A file cannot be read, or they do not belong together.
pub fn read_certificate(chain: &Path, key: &Path) -> Result<CertifiedKey, CertificateFileError> {
    let fail = |path: &Path, reason: String| CertificateFileError { path: path.to_owned(), reason };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect);
    let certificates = certificates.map_err(|error| fail(chain, error.to_string()))?;
    if certificates.is_empty() {
        return Err(fail(chain, "it holds no certificate in PEM form".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| fail(key, error.to_string()))?;
    let signing = ring::sign::any_supported_type(&secret).map_err(|error| fail(key, error.to_string()))?;
    let certified = CertifiedKey::new(certificates, signing);
    certified.keys_match().map_err(|_| fail(key, "it is not the certificate's key".to_owned()))?;
    Ok(certified)
}

/// The way in.
pub enum Door {
    /// Plain HTTP.
    Plain(Gate),
    /// TLS.
    Tls(TlsDoor),
}

/// Connections that have shaken hands.
pub struct TlsDoor {
    arrivals: mpsc::Receiver<(Io, Peer)>,
    accepting: JoinHandle<()>,
}

impl Drop for TlsDoor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Door {
    /// A door at which everyone speaks TLS; who does not is told `hint`.
    ///
    /// # Panics
    /// Outside a runtime of tokio.
    #[must_use]
    pub fn tls(gate: Gate, configure: Configure, hint: &'static str) -> Self {
        let (sender, arrivals) = mpsc::channel(WAITING_MAX);
        let accepting = tokio::spawn(accept(gate, configure, hint, sender));
        Self::Tls(TlsDoor { arrivals, accepting })
    }

    /// The next connection that is ready to be served.
    pub async fn accept(&mut self) -> (Io, Peer) {
        match self {
            Self::Plain(gate) => (Either::Left(gate.accept().await.0), Peer::default()),
            Self::Tls(door) => match door.arrivals.recv().await {
                Some(arrival) => arrival,
                // The task that accepts ends only with this door.
                None => std::future::pending().await,
            },
        }
    }
}

async fn accept(mut gate: Gate, configure: Configure, hint: &'static str, sender: mpsc::Sender<(Io, Peer)>) {
    loop {
        let (connection, address) = gate.accept().await;
        let acceptor = match configure() {
            Ok(config) => TlsAcceptor::from(config),
            Err(error) => {
                tell(address, &error);
                continue;
            }
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            match timeout(HANDSHAKE_MAX, shake_hands(connection, &acceptor, hint)).await {
                // A receiver that is gone says that the server is ending.
                Ok(Ok(arrival)) => drop(sender.send(arrival).await),
                Ok(Err(error)) => tell(address, &error.to_string()),
                Err(_) => tell(address, "the handshake took too long"),
            }
        });
    }
}

fn tell(address: Option<SocketAddr>, why: &str) {
    tracing::debug!(?address, "no TLS connection: {why}");
}

async fn shake_hands(
    mut connection: Connection,
    acceptor: &TlsAcceptor,
    hint: &str,
) -> io::Result<(Io, Peer)> {
    if connection.first_byte().await? != HANDSHAKE {
        return answer_plainly(&mut connection, hint).await;
    }
    let stream = acceptor.accept(connection).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = Peer { tls: true, certificate: certificate.map(|certificate| Digest::of(certificate)) };
    Ok((Either::Right(Box::new(stream)), peer))
}

/// Tells a caller that speaks plain HTTP, or nothing known, that this is TLS.
async fn answer_plainly(connection: &mut Connection, hint: &str) -> io::Result<(Io, Peer)> {
    let problem = Problem::new("tls_required", "this port speaks TLS").hint(hint);
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // What was sent is read first: a connection that is closed over unread bytes loses the answer.
    let _ = connection.read(&mut [0; PLAIN_BYTES]).await?;
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS"))
}
