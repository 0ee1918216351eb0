//! The way in to the endpoint: plain HTTP on loopback and at sockets that are files, TLS everywhere else.
//!
//! The certificate is the device's owner's: apps and gateways that ask a device know it by a name, which the certificate
//! that the device shows to the control plane does not bear. Its files are read again when they change, so a renewal needs
//! no restart.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use edgeward_api::connections::{Gate, Listener, Patience};
use edgeward_api::door::{self, CertificateFileError, Configure, Io, read_certificate};
use edgeward_sdk::chain;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;

use crate::address::Address;

/// Most connections to the endpoint at once; further ones wait for a place.
pub const CONNECTIONS_MAX: usize = 512;
/// What a caller who speaks plain HTTP is told.
const TLS_HINT: &str = "Use an address that begins with https://.";

/// How to speak at the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    /// Plain HTTP, on loopback only.
    #[default]
    Plain,
    /// Plain HTTP wherever it listens: something before it speaks TLS, or nobody else is on the network.
    PlainAnywhere,
    /// TLS.
    Tls {
        /// The certificate with its chain (PEM).
        certificate: PathBuf,
        /// Its key (PEM).
        key: PathBuf,
    },
}

/// Why there is no way in.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Others could listen in.
    #[error(
        "{0} is not loopback, and plain HTTP would let others read and change what is asked; give --tls-cert and \
         --tls-key, or --plain-http where nobody else is on the network or something before it speaks TLS"
    )]
    Open(SocketAddr),
    /// The certificate is of no use.
    #[error("the endpoint's certificate: {0}")]
    Certificate(#[from] CertificateFileError),
    /// TLS cannot be spoken.
    #[error("TLS at the endpoint")]
    Tls(#[from] rustls::Error),
}

impl Speech {
    /// Whether callers speak TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    /// Refuses plain HTTP where others could listen in, and a certificate that is none.
    ///
    /// # Errors
    /// Either of them.
    pub fn check(&self, listen: &Address) -> Result<(), DoorError> {
        match (self, listen) {
            (Self::Plain, Address::Tcp(address)) if !address.ip().is_loopback() => {
                Err(DoorError::Open(*address))
            }
            (Self::Plain | Self::PlainAnywhere, _) => Ok(()),
            (Self::Tls { certificate, key }, _) => Shown::read(certificate, key).map(|_| ()),
        }
    }

    /// The way in at `listener`. Nobody listens in on a socket that is a file.
    pub(crate) fn door(&self, listener: Listener) -> Door {
        let is_file = matches!(listener, Listener::Unix(_));
        let gate = Gate::new(listener, CONNECTIONS_MAX, Patience::default());
        Door(match self {
            Self::Tls { certificate, key } if !is_file => {
                door::Door::tls(gate, configure(certificate.clone(), key.clone()), TLS_HINT)
            }
            _ => door::Door::Plain(gate),
        })
    }
}

/// What is shown, and of when its files are.
struct Shown {
    config: Arc<ServerConfig>,
    changed: [Option<SystemTime>; 2],
}

impl Shown {
    fn read(certificate: &PathBuf, key: &PathBuf) -> Result<Self, DoorError> {
        let changed = [certificate, key].map(changed);
        let certified = read_certificate(certificate, key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // gRPC clients insist on the former.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), changed })
    }
}

fn changed(file: &PathBuf) -> Option<SystemTime> {
    fs::metadata(file).and_then(|found| found.modified()).ok()
}

/// The certificate as it is now; one that is being replaced is shown as it was.
fn configure(certificate: PathBuf, key: PathBuf) -> Configure {
    let shown: Mutex<Option<Shown>> = Mutex::default();
    Arc::new(move || {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now = [&certificate, &key].map(changed);
        if shown.as_ref().is_none_or(|shown| shown.changed != now) {
            match Shown::read(&certificate, &key) {
                Ok(read) => *shown = Some(read),
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
        }
        let config = shown.as_ref().map(|shown| Arc::clone(&shown.config));
        config.ok_or_else(|| "there is no certificate to show".to_owned())
    })
}

/// The way in, for `axum`.
pub(crate) struct Door(door::Door);

impl axum::serve::Listener for Door {
    type Io = Io;
    type Addr = ();

    async fn accept(&mut self) -> (Io, ()) {
        (self.0.accept().await.0, ())
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(speech: &Speech, listen: &str, expect: Option<&str>) {
        let refused = speech.check(&listen.parse().unwrap()).err().map(|error| error.to_string());
        match (&refused, expect) {
            (None, None) => {}
            (Some(said), Some(words)) => assert!(said.contains(words), "{said}"),
            _ => panic!("{speech:?} at {listen}: {refused:?}"),
        }
    }

    #[test]
    fn plain_http_is_for_loopback_unless_somebody_says_otherwise() {
        check(&Speech::Plain, "127.0.0.1:0", None);
        check(&Speech::Plain, "[::1]:0", None);
        check(&Speech::Plain, "0.0.0.0:0", Some("give --tls-cert and --tls-key"));
        check(&Speech::Plain, "192.168.1.5:8600", Some("192.168.1.5:8600 is not loopback"));
        check(&Speech::Plain, "unix:/run/edgeward.sock", None);
        check(&Speech::PlainAnywhere, "0.0.0.0:0", None);
    }

    #[test]
    fn a_certificate_that_is_none_is_refused_before_anything_listens() {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["device.pem", "device.key"].map(|name| folder.path().join(name));
        let speech = Speech::Tls { certificate: certificate.clone(), key };
        check(&speech, "0.0.0.0:0", Some("device.pem"));
        fs::write(&certificate, "words").unwrap();
        check(&speech, "0.0.0.0:0", Some("no certificate in PEM form"));
    }
}
