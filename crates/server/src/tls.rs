//! TLS: the fleet's certificate authorities, the control plane's own certificate, and the certificates of devices.
//!
//! A listener on anything but loopback speaks TLS, always. The control plane's certificate is made anew at each start and
//! stands on the oldest of the fleet's authorities; the newest one issues what devices show. Usually that is one
//! authority; two of them exist while a new one is introduced (ADR 24). A certificate of a device counts because the
//! store knows its SHA-256, not because of who signed it, so the handshake takes any and [`crate::access`] judges.
//!
//! Deliberately missing: lists of revoked certificates (a look into the store does that), and ACME.

mod authority;
mod door;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeward_api::access::{self, CertificateAdvice};
use edgeward_api::door::{CertificateFileError, read_certificate};
use edgeward_core::envelope::Base64;
use edgeward_core::{DeviceId, Digest, Timestamp};
use edgeward_store::CertificateRow;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig as RustlsConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};

use crate::app::lock;
use crate::secret::NoRandomness;
use crate::setup::{self, Home, SetupError};
use authority::Authority;
pub(crate) use authority::DeviceKey;
pub(crate) use door::{Door, Peer, TLS_HINT};

/// How long the control plane's own certificate lasts; made anew at each start and after half of that.
const SERVER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long a device's certificate lasts unless told otherwise.
pub const DEVICE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Between two looks of a device at its certificate.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// Looks within the life of a certificate, at least.
const LOOKS: u32 = 20;
/// Most authorities at a time.
const AUTHORITIES_MAX: usize = 2;

/// How to speak TLS.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// On loopback too.
    pub always: bool,
    /// Names and addresses under which devices and people reach the control plane, beside the machine's own.
    pub names: Vec<String>,
    /// A certificate that any computer believes, with its chain, and its key: two PEM files.
    pub public: Option<(PathBuf, PathBuf)>,
    /// How long a device's certificate lasts.
    pub device_life: Duration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { always: false, names: Vec::new(), public: None, device_life: DEVICE_LIFE }
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The data folder refuses.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The authorities are damaged.
    #[error("reading the certificate authorities in {}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// The operator's certificate is of no use.
    #[error("using the certificate in {}: {reason}", path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// A name that no certificate can have, for one.
    #[error("making a certificate")]
    Make(#[from] rcgen::Error),
    /// The key does not fit, for one.
    #[error("preparing TLS")]
    Prepare(#[from] rustls::Error),
    /// No key can be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// An authority is being introduced already, or none is.
    #[error("{0}")]
    Order(&'static str),
}

/// A certificate that was just issued.
pub(crate) struct Issued {
    pub(crate) certificate: Vec<u8>,
    pub(crate) fingerprint: Digest,
    pub(crate) row: CertificateRow,
}

/// The authorities and what they issue.
pub(crate) struct Certificates {
    path: PathBuf,
    pem: PathBuf,
    /// The first serves, the last issues.
    authorities: Mutex<Vec<Authority>>,
    serving: Mutex<Option<Serving>>,
    names: Vec<String>,
    public: Option<Arc<CertifiedKey>>,
    device_life: Duration,
}

struct Serving {
    config: Arc<RustlsConfig>,
    until: Timestamp,
}

impl Certificates {
    /// Opens the authorities of `home`, making one if there is none.
    pub(crate) fn open(home: &Home, config: &TlsConfig, now: Timestamp) -> Result<Self, TlsError> {
        let path = home.authorities();
        let known = authority::load(&path)?;
        let authorities = match known.is_empty() {
            true => vec![Authority::make(now)?],
            false => known,
        };
        authority::save(&path, &authorities)?;
        let public = config.public.as_ref().map(|(chain, key)| read_public(chain, key)).transpose()?;
        let certificates = Self {
            path,
            pem: home.ca_pem(),
            authorities: Mutex::new(authorities),
            serving: Mutex::default(),
            names: names(&config.names),
            public: public.map(Arc::new),
            device_life: config.device_life,
        };
        certificates.write_pem()?;
        Ok(certificates)
    }

    /// What operators and browsers may believe, for them to copy.
    fn write_pem(&self) -> Result<(), TlsError> {
        let text: String = lock(&self.authorities).iter().map(Authority::pem).collect();
        Ok(setup::write_public(&self.pem, text.as_bytes())?)
    }

    /// The file with the authorities' certificates.
    pub(crate) fn pem_file(&self) -> &Path {
        &self.pem
    }

    /// The names in the control plane's certificate.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The authority on which the control plane's certificate stands; none if any computer believes it.
    pub(crate) fn pin(&self) -> Option<Digest> {
        match self.public {
            Some(_) => None,
            None => lock(&self.authorities).first().map(Authority::fingerprint),
        }
    }

    /// Certificates of the authorities that devices are to believe.
    pub(crate) fn for_devices(&self) -> Vec<Base64> {
        match self.public {
            Some(_) => Vec::new(),
            None => {
                lock(&self.authorities).iter().map(|authority| Base64(authority.der().to_vec())).collect()
            }
        }
    }

    /// A certificate for a device's key; it counts once the store has it.
    pub(crate) fn issue(
        &self,
        device: &DeviceId,
        key: &DeviceKey,
        now: Timestamp,
    ) -> Result<Issued, TlsError> {
        let authorities = lock(&self.authorities);
        let issuing = authorities.last().ok_or(TlsError::Order("there is no authority"))?;
        let expires_at_ms = now + self.device_life;
        let certificate = issuing.issue_device(device, key, now, expires_at_ms)?;
        let fingerprint = Digest::of(&certificate);
        let row = CertificateRow {
            device: device.clone(),
            authority: issuing.fingerprint(),
            issued_at_ms: now,
            expires_at_ms,
            revoked: false,
        };
        Ok(Issued { certificate, fingerprint, row })
    }

    /// What a device with this certificate should do; one without any should get one.
    pub(crate) fn advice(&self, row: Option<&CertificateRow>, now: Timestamp) -> CertificateAdvice {
        let issuing = lock(&self.authorities).last().map(Authority::fingerprint);
        let renew = row.is_none_or(|row| {
            let life = row.expires_at_ms.since(row.issued_at_ms);
            now >= row.issued_at_ms + life * 2 / 3 || Some(row.authority) != issuing
        });
        let look = (self.device_life / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
        CertificateAdvice {
            renew,
            look_again_ms: u64::try_from(look.as_millis()).unwrap_or(u64::MAX),
            authorities: self.for_devices().iter().map(|der| Digest::of(&der.0)).collect(),
        }
    }

    /// Makes a further authority, which issues from now on.
    pub(crate) fn rotate(&self, now: Timestamp) -> Result<Digest, TlsError> {
        let mut authorities = lock(&self.authorities);
        if authorities.len() >= AUTHORITIES_MAX {
            return Err(TlsError::Order("a new authority is being introduced already"));
        }
        let new = Authority::make(now)?;
        let fingerprint = new.fingerprint();
        authorities.push(new);
        if let Err(error) = authority::save(&self.path, &authorities) {
            authorities.pop();
            return Err(error);
        }
        drop(authorities);
        self.write_pem()?;
        Ok(fingerprint)
    }

    /// The authority that issues although another one serves.
    pub(crate) fn introduced(&self) -> Option<Digest> {
        lock(&self.authorities).get(1).map(Authority::fingerprint)
    }

    /// Lets the newest authority serve alone; returns the one that is retired.
    pub(crate) fn switch(&self) -> Result<Digest, TlsError> {
        let mut authorities = lock(&self.authorities);
        if authorities.len() < AUTHORITIES_MAX {
            return Err(TlsError::Order("no new authority is being introduced"));
        }
        let old = authorities.remove(0);
        if let Err(error) = authority::save(&self.path, &authorities) {
            authorities.insert(0, old);
            return Err(error);
        }
        drop(authorities);
        *lock(&self.serving) = None;
        self.write_pem()?;
        Ok(old.fingerprint())
    }

    /// The authorities, for people; `newest` has the issuer of each device's newest certificate.
    pub(crate) fn list(&self, newest: &[(DeviceId, Digest)]) -> access::Authorities {
        let mut devices: BTreeMap<Digest, u64> = BTreeMap::new();
        newest.iter().for_each(|(_, authority)| *devices.entry(*authority).or_default() += 1);
        let authorities = lock(&self.authorities);
        let last = authorities.len().saturating_sub(1);
        let shown = authorities.iter().enumerate().map(|(n, authority)| access::Authority {
            fingerprint: authority.fingerprint(),
            made_at_ms: authority.made_at(),
            expires_at_ms: authority.expires_at(),
            serves: n == 0,
            issues: n == last,
            devices: devices.get(&authority.fingerprint()).copied().unwrap_or(0),
            pem: authority.pem(),
        });
        access::Authorities { authorities: shown.collect() }
    }

    /// How to answer a handshake now.
    pub(crate) fn config(&self, now: Timestamp) -> Result<Arc<RustlsConfig>, TlsError> {
        let mut serving = lock(&self.serving);
        if let Some(serving) = serving.as_ref().filter(|serving| now < serving.until) {
            return Ok(Arc::clone(&serving.config));
        }
        let own = {
            let authorities = lock(&self.authorities);
            let first = authorities.first().ok_or(TlsError::Order("there is no authority"))?;
            Arc::new(first.issue_server(&self.names, now + SERVER_LIFE)?)
        };
        let config = Arc::new(rustls_config(Shown { own, public: self.public.clone() })?);
        *serving = Some(Serving { config: Arc::clone(&config), until: now + SERVER_LIFE / 2 });
        Ok(config)
    }
}

/// The machine's names, and those that were given.
fn names(given: &[String]) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), host];
    let mut names: Vec<String> = Vec::new();
    for name in own.into_iter().chain(given.iter().cloned()) {
        let can_be_one = rustls::pki_types::ServerName::try_from(name.as_str()).is_ok();
        if can_be_one && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn read_public(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    read_certificate(chain, key)
        .map_err(|CertificateFileError { path, reason }| TlsError::Public { path, reason })
}

fn rustls_config(shown: Shown) -> Result<RustlsConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut config = RustlsConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyDevice(provider)))
        .with_cert_resolver(Arc::new(shown));
    // Devices that come back need no new exchange of certificates, and the server remembers nothing of them.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// What the control plane shows of itself.
#[derive(Debug)]
struct Shown {
    own: Arc<CertifiedKey>,
    public: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Shown {
    /// The operator's certificate under any name but this machine's own; who asks by address gets the fleet's.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_public = hello.server_name().is_some_and(|name| name != "localhost");
        match &self.public {
            Some(public) if is_public => Some(Arc::clone(public)),
            _ => Some(Arc::clone(&self.own)),
        }
    }
}

/// Takes any certificate whose key the caller holds: whether it counts is for the store to say.
#[derive(Debug)]
struct AnyDevice(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyDevice {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("names", &self.names).finish_non_exhaustive()
    }
}
