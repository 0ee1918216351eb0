//! TLS for the client: what it believes of a server, and what it shows of itself.
//!
//! TLS 1.3 only. A server is believed if its certificate stands on what [`Roots`] says and bears the name that was asked
//! for. The time at which certificates are judged is the clock's, but never before [`Tls::floor`]: a device whose clock
//! was never set can join, and one whose clock was set back does not believe certificates that have ended since.
//!
//! Deliberately missing: lists of revoked server certificates; a fleet's own authority issues short-lived ones.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use edgeward_core::{Digest, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// Largest file of certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// On what a server's certificate must stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// What this computer believes.
    #[default]
    System,
    /// The one authority whose certificate has this SHA-256; the server presents it.
    Pinned(Digest),
    /// One of these certificates (DER).
    Certificates(Vec<Vec<u8>>),
}

/// Why there are no roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It holds no certificate.
    #[error("{path} holds no certificate in PEM form: {reason}")]
    Parse {
        /// Which.
        path: String,
        /// In what way.
        reason: String,
    },
    /// A fingerprint that is none.
    #[error("'{0}' is no fingerprint; one is sha256: and 64 hex digits")]
    Fingerprint(String),
}

impl Roots {
    /// What `text` says: `sha256:<hex>` pins an authority, anything else names a file with certificates in PEM form.
    ///
    /// # Errors
    /// No such file, or nothing of use in it.
    pub fn parse(text: &str) -> Result<Self, RootsError> {
        match text.strip_prefix("sha256:") {
            Some(hex) => {
                let digest = Digest::from_hex(&hex.to_ascii_lowercase());
                digest.map(Self::Pinned).map_err(|_| RootsError::Fingerprint(text.to_owned()))
            }
            None => Self::read(Path::new(text)),
        }
    }

    fn read(path: &Path) -> Result<Self, RootsError> {
        let name = path.display().to_string();
        let read = || {
            let mut bytes = Vec::new();
            std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| RootsError::Read { path: name.clone(), source })?;
        let found: Result<Vec<Vec<u8>>, _> = CertificateDer::pem_slice_iter(&bytes)
            .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
            .collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(Self::Certificates(found)),
            Ok(_) => Err(RootsError::Parse { path: name, reason: "there is none".to_owned() }),
            Err(error) => Err(RootsError::Parse { path: name, reason: error.to_string() }),
        }
    }
}

/// What a client shows of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate (DER).
    pub certificate: Vec<u8>,
    /// Its key (PKCS #8): a secret.
    pub key: Vec<u8>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", Digest::of(&self.certificate))
    }
}

/// How a client speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// On what a server's certificate must stand.
    pub roots: Roots,
    /// A time that is surely past.
    pub floor: Option<Timestamp>,
    /// What it shows of itself; nothing by default.
    pub certificate: Option<ClientCertificate>,
}

impl Tls {
    /// Believes in `roots` and shows nothing.
    #[must_use]
    pub fn with_roots(roots: Roots) -> Self {
        Self { roots, ..Self::default() }
    }

    /// The same for another client than ours.
    ///
    /// # Errors
    /// Nobody is believed, or what is to be shown cannot be, in words.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(self, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        match &self.certificate {
            None => Ok(builder.with_no_client_auth()),
            Some(ClientCertificate { certificate, key }) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
                builder
                    .with_client_auth_cert(vec![CertificateDer::from(certificate.clone())], key)
                    .map_err(|error| format!("this device's own certificate: {error}"))
            }
        }
    }
}

/// Judges servers.
#[derive(Debug)]
struct Verifier {
    /// None where the authority is only pinned: the server brings it.
    known: Option<Arc<WebPkiServerVerifier>>,
    pinned: Option<Digest>,
    floor: Duration,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let (known, pinned) = match &tls.roots {
            Roots::System => (Some(standing_on(system_roots(), provider)?), None),
            Roots::Certificates(roots) => {
                let roots = roots.iter().cloned().map(CertificateDer::from);
                (Some(standing_on(roots, provider)?), None)
            }
            Roots::Pinned(digest) => (None, Some(*digest)),
        };
        let floor = tls.floor.map_or(0, |floor| u64::try_from(floor.0).unwrap_or(0));
        Ok(Self { known, pinned, floor: Duration::from_millis(floor), provider: Arc::clone(provider) })
    }

    /// The verifier that knows the pinned authority, if the server presents it.
    fn presented(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let is_pinned = |certificate: &&CertificateDer<'_>| Some(Digest::of(certificate)) == self.pinned;
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let pinned = chain.iter().find(is_pinned).ok_or(unknown)?.clone().into_owned();
        standing_on([pinned], &self.provider).map_err(rustls::Error::General)
    }
}

fn system_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    found.certs
}

fn standing_on(
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider)).build().map_err(
        |error| format!("{error}: this computer has no certificates of authorities, and none were given"),
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).max(self.floor));
        let verifier = match &self.known {
            Some(known) => Arc::clone(known),
            None => self.presented(intermediates)?,
        };
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Wraps connections to `https` addresses; others pass.
pub(super) struct TlsConnector {
    tls: Tls,
    /// Made at the first use: reading what the computer believes takes a while.
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl TlsConnector {
    pub(super) const fn new(tls: Tls) -> Self {
        Self { tls, config: OnceLock::new() }
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let config = self.config.get_or_init(|| self.tls.config().map(Arc::new));
        config.clone().map_err(|reason| broken(rustls::Error::General(reason)))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").field("tls", &self.tls).finish_non_exhaustive()
    }
}

fn broken(error: rustls::Error) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::InvalidData, error))
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let no_name = |_| broken(rustls::Error::General(format!("'{host}' is no name of a server")));
        let name = ServerName::try_from(host.to_owned()).map_err(no_name)?;
        let mut connection = ClientConnection::new(self.config()?, name).map_err(broken)?;
        let mut socket = TransportAdapter::new(
            Box::new(transport) as Box<dyn Transport>,
            Arc::clone(&details.current_time),
        );
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let stream = StreamOwned { conn: connection, sock: socket };
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

/// A connection under TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").field("inner", &self.stream.sock.inner()).finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// What TLS found wrong, if that is why a call failed.
pub(super) fn fault(error: &Error) -> Option<rustls::Error> {
    let Error::Io(error) = error else { return None };
    error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}

/// What a fault of TLS means, and what to do next.
pub(super) fn explain(fault: &rustls::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    let advice = match fault {
        InvalidCertificate(CertificateError::UnknownIssuer) => {
            "it does not stand on an authority that is believed here; give the fleet's with --ca FILE or --ca sha256:..., or join with a token of this control plane"
        }
        InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "it is for another name; start the control plane with --public-name NAME",
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "it has ended, or this computer's clock is ahead"
        }
        InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "it does not count yet: is this computer's clock behind?"
        }
        InvalidCertificate(_) => "it is no certificate of a server",
        InvalidMessage(_) => "what answers there does not speak TLS; does it listen on plain HTTP?",
        AlertReceived(_) => "the control plane broke the handshake off",
        _ => return fault.to_string(),
    };
    format!("{fault}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_a_fingerprint_or_a_file() {
        let digest = Digest::of(b"certificate");
        assert_eq!(Roots::parse(&digest.to_string()).unwrap(), Roots::Pinned(digest));
        assert!(matches!(Roots::parse("sha256:1"), Err(RootsError::Fingerprint(_))));
        assert!(matches!(Roots::parse("no/such/file.pem"), Err(RootsError::Read { .. })));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(matches!(Roots::parse(path), Err(RootsError::Parse { .. })));
    }

    #[test]
    fn a_key_is_not_printed() {
        let certificate = ClientCertificate { certificate: vec![1], key: b"secret".to_vec() };
        assert!(!format!("{certificate:?}").contains("115, 101"));
    }
}
