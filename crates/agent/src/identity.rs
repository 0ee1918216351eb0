//! Who this device is: enrolled once, kept from then on.
//!
//! `identity.json` holds what the device shows (a certificate with its key, or on loopback a bearer credential) and the
//! pinned root, readable by its owner only. It is written last, after the device's state, so that an identity without a
//! state is known to be damage. `joining.json` holds the key of a join that has begun, so that a join whose answer was
//! lost is asked for again and uses no second use of its token.

mod key;

use std::fmt;
use std::path::Path;

use edgeward_api::access::DeviceCertificate;
use edgeward_api::client::{ClientCertificate, Roots, Tls};
use edgeward_api::device::{EnrolAnswer, EnrolRequest};
use edgeward_api::{Client, ClientError, JoinPin};
use edgeward_core::envelope::Base64;
use edgeward_core::{DeviceId, Digest, Timestamp};
use edgeward_trust::tuf::{Refusal, Trusted};
use serde::{Deserialize, Serialize};

use crate::durable::{Access, DurableError, read_if_present, replace};
pub use key::{DeviceKey, Joining};

/// Schema of [`Identity`].
pub const IDENTITY_SCHEMA: &str = "edgeward.identity/2";

const IDENTITY_BYTES_MAX: u64 = 1 << 20;

/// A device's identity. It holds a secret, which its debug form leaves out.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Always [`IDENTITY_SCHEMA`].
    pub schema: String,
    /// The control plane it enrolled with.
    pub server: String,
    /// Its id.
    pub device: DeviceId,
    /// Its bearer credential, if it joined without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// What it shows and believes under TLS, if it joined so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsIdentity>,
    /// SHA-256 of the token it joined with: another one lets it join again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_with: Option<Digest>,
    /// The root of the repository that it pinned, as it was signed.
    pub root: serde_json::Value,
}

/// What a device shows and believes under TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentity {
    /// Its certificate, DER.
    pub certificate: Base64,
    /// The certificate's key.
    pub key: DeviceKey,
    /// Authorities on which the control plane's certificate may stand, DER; none if any that the computer believes will
    /// do.
    pub authorities: Vec<Base64>,
    /// A time that is surely past: when the certificate was issued, by the control plane's clock.
    pub floor_ms: Timestamp,
}

/// How to join.
#[derive(Clone, Debug)]
pub struct Join {
    /// The control plane.
    pub server: String,
    /// The name the device would like, or the id it has.
    pub name: DeviceId,
    /// The join token.
    pub token: String,
    /// Whom to believe if the token does not say.
    pub roots: Option<Roots>,
    /// The device has that id already.
    pub again: bool,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("device", &self.device).field("server", &self.server).finish()
    }
}

/// An identity that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DurableError),
    /// The file is damaged.
    #[error("reading {path}: it is damaged; remove the data folder and enrol again with a new join token")]
    Parse {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It was made by another build.
    #[error(
        "{path} has schema '{found}', this program reads '{IDENTITY_SCHEMA}'; if it is older, remove the data folder and \
         enrol again with a new join token, otherwise update the program"
    )]
    Schema {
        /// The file.
        path: String,
        /// What it is.
        found: String,
    },
    /// The root is not one.
    #[error("the root of trust is refused")]
    Root(#[from] Refusal),
    /// The device is not enrolled and has no token.
    #[error(
        "this device is not enrolled and no join token was given; make one on the control plane and pass it as --join-token"
    )]
    NoToken,
    /// No key can be made.
    #[error("the operating system gave no randomness for a key; try again")]
    NoRandomness,
    /// The kept key is damaged.
    #[error("the device's key is damaged ({0}); join again with a new join token")]
    Key(String),
    /// The control plane gave neither a certificate nor a credential.
    #[error(
        "the control plane at {server} let this device in but gave it nothing to show; update the older of the two"
    )]
    Nothing {
        /// The control plane.
        server: String,
    },
    /// Whoever answers is not believed.
    #[error(transparent)]
    Untrusted(Box<ClientError>),
    /// The control plane said no.
    #[error(
        "the control plane at {server} refused to enrol this device: {reason}; ask for a fresh join token"
    )]
    Refused {
        /// The control plane.
        server: String,
        /// What it said.
        reason: String,
    },
    /// Something else answers there.
    #[error("what answers at {server} is no control plane; check --server")]
    NoControlPlane {
        /// The address.
        server: String,
    },
    /// No answer; worth another try.
    #[error("the control plane at {server} does not answer; is it running?")]
    Unreachable {
        /// The control plane.
        server: String,
        /// Why.
        #[source]
        source: Box<ClientError>,
    },
}

impl Identity {
    /// The identity kept in `path`; none if the device never enrolled.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let Some(bytes) = read_if_present(path, IDENTITY_BYTES_MAX)? else { return Ok(None) };
        let wrap = |source| IdentityError::Parse { path: path.display().to_string(), source };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrap)?;
        match value.get("schema").and_then(serde_json::Value::as_str) {
            Some(found) if found != IDENTITY_SCHEMA => {
                Err(IdentityError::Schema { path: path.display().to_string(), found: found.to_owned() })
            }
            _ => Ok(Some(serde_json::from_value(value).map_err(wrap)?)),
        }
    }

    /// Joins a fleet. Under TLS with the key of `joining`, which stands on the disk already.
    ///
    /// # Errors
    /// No answer, a refusal, or a root that is not one.
    pub fn enrol(join: &Join, joining: &Joining) -> Result<Self, IdentityError> {
        let server = join.server.clone();
        let is_tls = server.starts_with("https://");
        let request = EnrolRequest {
            join_token: join.token.clone(),
            name: join.name.clone(),
            public_key: is_tls.then(|| joining.key.public()).transpose()?.map(Base64),
            again: join.again,
        };
        let client = Client::with_tls(&server, None, join.tls());
        let answer = client.enrol(&request).map_err(|error| refusal(&server, error))?;
        let EnrolAnswer { device, credential, certificate, root } = answer;
        if credential.is_none() && certificate.is_none() {
            return Err(IdentityError::Nothing { server });
        }
        let schema = IDENTITY_SCHEMA.to_owned();
        let joined_with = Some(joining.token);
        let mut identity = Self { schema, server, device, credential, tls: None, joined_with, root };
        if let Some(certificate) = certificate {
            identity.take(certificate, joining.key.clone());
        }
        identity.pinned()?;
        Ok(identity)
    }

    /// Shows another certificate from now on, and no bearer credential any more.
    pub fn take(&mut self, issued: DeviceCertificate, key: DeviceKey) {
        let DeviceCertificate { certificate, issued_at_ms, authorities, .. } = issued;
        self.credential = None;
        self.tls = Some(TlsIdentity { certificate, key, authorities, floor_ms: issued_at_ms });
    }

    /// How the device speaks TLS; `roots` counts where the identity does not say whom to believe.
    #[must_use]
    pub fn client_tls(&self, roots: Option<&Roots>) -> Tls {
        let otherwise = roots.cloned().unwrap_or_default();
        let Some(tls) = &self.tls else { return Tls::with_roots(otherwise) };
        let known: Vec<Vec<u8>> = tls.authorities.iter().map(|der| der.0.clone()).collect();
        Tls {
            roots: if known.is_empty() { otherwise } else { Roots::Certificates(known) },
            floor: Some(tls.floor_ms),
            certificate: Some(ClientCertificate {
                certificate: tls.certificate.0.clone(),
                key: tls.key.pkcs8().to_vec(),
            }),
        }
    }

    /// What a device trusts that was given this root and has heard nothing yet.
    ///
    /// # Errors
    /// It is no root, or not signed by its own keys.
    pub fn pinned(&self) -> Result<Trusted, IdentityError> {
        Ok(Trusted::pin(self.root.to_string().as_bytes(), Timestamp(0))?)
    }

    /// Keeps the identity in `path`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| IdentityError::Parse { path: path.display().to_string(), source })?;
        Ok(replace(path, &bytes, Access::OwnerOnly)?)
    }
}

impl Join {
    /// SHA-256 of the token.
    #[must_use]
    pub fn token_digest(&self) -> Digest {
        Digest::of(self.token.as_bytes())
    }

    /// Whom to believe at first contact: whom the token says.
    fn tls(&self) -> Tls {
        let pin = JoinPin::of(&self.token);
        let roots = pin.map(|pin| Roots::Pinned(pin.authority)).or_else(|| self.roots.clone());
        Tls { roots: roots.unwrap_or_default(), floor: pin.map(|pin| pin.made_at), certificate: None }
    }
}

impl Joining {
    /// The join with this token that has begun, or a new one, kept in `path` either way.
    ///
    /// # Errors
    /// No key can be made or kept.
    pub fn begin(path: &Path, token: Digest) -> Result<Self, IdentityError> {
        let known = read_if_present(path, IDENTITY_BYTES_MAX)?;
        let known = known.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        if let Some(known) = known.filter(|known| known.token == token && known.key.public().is_ok()) {
            return Ok(known);
        }
        let begun = Self { token, key: DeviceKey::generate()? };
        let bytes = serde_json::to_vec(&begun)
            .map_err(|source| IdentityError::Parse { path: path.display().to_string(), source })?;
        replace(path, &bytes, Access::OwnerOnly)?;
        Ok(begun)
    }
}

fn refusal(server: &str, error: ClientError) -> IdentityError {
    let server = server.to_owned();
    match error {
        ClientError::Refused { status: 404 | 405, .. } | ClientError::Malformed { .. } => {
            IdentityError::NoControlPlane { server }
        }
        ClientError::Refused { status, problem, .. } if status < 500 && status != 429 => {
            IdentityError::Refused { server, reason: problem.error }
        }
        error @ ClientError::Untrusted { .. } => IdentityError::Untrusted(Box::new(error)),
        error => IdentityError::Unreachable { server, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            schema: IDENTITY_SCHEMA.to_owned(),
            server: "http://127.0.0.1:1".to_owned(),
            device: DeviceId::new("robot-1").unwrap(),
            credential: Some("secret".to_owned()),
            tls: None,
            joined_with: None,
            root: serde_json::json!({}),
        }
    }

    fn join(token: &str) -> Join {
        let name = DeviceId::new("robot-1").unwrap();
        let (server, token) = ("http://127.0.0.1:1".to_owned(), token.to_owned());
        Join { server, name, token, roots: None, again: false }
    }

    fn joining(folder: &Path) -> Joining {
        Joining::begin(&folder.join("joining.json"), Digest::of(b"token")).unwrap()
    }

    #[test]
    fn a_join_that_was_begun_keeps_its_key_and_another_token_gets_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = joining(folder.path());
        assert_eq!(joining(folder.path()), first);
        let other = Joining::begin(&folder.path().join("joining.json"), Digest::of(b"other")).unwrap();
        assert_ne!(other.key, first.key);
        assert_ne!(joining(folder.path()).key, first.key);
        std::fs::write(folder.path().join("joining.json"), "{").unwrap();
        assert_ne!(joining(folder.path()).key, first.key);
    }

    #[test]
    fn the_token_says_whom_to_believe_and_else_the_flag() {
        let (digest, flag) = (Digest::of(b"authority"), Roots::Pinned(Digest::of(b"flag")));
        let pin = JoinPin { authority: digest, made_at: Timestamp(5000) };
        let with_flag = |token: &str| Join { roots: Some(flag.clone()), ..join(token) }.tls();
        let pinned = with_flag(&pin.token("ewj_00"));
        assert_eq!((pinned.roots, pinned.floor), (Roots::Pinned(digest), Some(Timestamp(5000))));
        assert_eq!(with_flag("ewj_00").roots, flag);
        assert_eq!(join("ewj_00").tls().roots, Roots::System);
    }

    #[test]
    fn a_certificate_takes_the_place_of_a_credential() {
        let mut identity = identity();
        let issued = |authorities| DeviceCertificate {
            certificate: Base64(vec![1]),
            issued_at_ms: Timestamp(7),
            expires_at_ms: Timestamp(9),
            authorities,
        };
        identity.take(issued(vec![Base64(vec![2])]), DeviceKey::generate().unwrap());
        assert_eq!(identity.credential, None);
        let tls = identity.client_tls(Some(&Roots::System));
        assert_eq!((tls.roots, tls.floor), (Roots::Certificates(vec![vec![2]]), Some(Timestamp(7))));
        assert_eq!(tls.certificate.unwrap().certificate, [1]);
        identity.take(issued(Vec::new()), DeviceKey::generate().unwrap());
        assert_eq!(identity.client_tls(None).roots, Roots::System);
    }

    #[test]
    fn it_is_kept_and_its_secret_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        assert_eq!(Identity::load(&path).unwrap(), None);
        identity().save(&path).unwrap();
        assert_eq!(Identity::load(&path).unwrap(), Some(identity()));
        assert!(!format!("{:?}", identity()).contains("secret"));
        assert!(matches!(identity().pinned(), Err(IdentityError::Root(_))));
    }

    #[test]
    fn damage_and_silence_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Identity::load(&path), Err(IdentityError::Parse { .. })));
        std::fs::write(&path, r#"{"schema":"edgeward.identity/1","root":{}}"#).unwrap();
        let error = Identity::load(&path).unwrap_err().to_string();
        assert!(error.contains("identity/1") && error.contains("enrol again"), "{error}");
        let error = Identity::enrol(&join("token"), &joining(folder.path())).unwrap_err();
        assert!(matches!(error, IdentityError::Unreachable { .. }));
    }
}
