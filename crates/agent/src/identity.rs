//! Who this device is: enrolled once, kept from then on.
//!
//! `identity.json` holds the credential and the pinned root, readable by its owner only. It is written last, after the
//! device's state, so that an identity without a state is known to be damage.

use std::fmt;
use std::path::Path;

use edgeward_api::device::{EnrolAnswer, EnrolRequest};
use edgeward_api::{Client, ClientError};
use edgeward_core::DeviceId;
use edgeward_trust::Root;
use edgeward_trust::root::RootError;
use serde::{Deserialize, Serialize};

use crate::durable::{Access, DurableError, read_if_present, replace};

/// Schema of [`Identity`].
pub const IDENTITY_SCHEMA: &str = "edgeward.identity/1";

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
    /// Its bearer credential.
    pub credential: String,
    /// The root of trust it pinned.
    pub root: serde_json::Value,
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
    /// The root is not one.
    #[error("the root of trust is refused")]
    Root(#[from] RootError),
    /// The device is not enrolled and has no token.
    #[error(
        "this device is not enrolled and no join token was given; make one on the control plane and pass it as --join-token"
    )]
    NoToken,
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
        serde_json::from_slice(&bytes).map(Some).map_err(wrap)
    }

    /// Joins the fleet of the control plane at `server`.
    ///
    /// # Errors
    /// No answer, a refusal, or a root that is not one.
    pub fn enrol(server: &str, name: &DeviceId, join_token: &str) -> Result<Self, IdentityError> {
        let request = EnrolRequest { join_token: join_token.trim().to_owned(), name: name.clone() };
        let answer = Client::new(server, None).enrol(&request).map_err(|error| match error {
            ClientError::Refused { status: 404 | 405, .. } | ClientError::Malformed { .. } => {
                IdentityError::NoControlPlane { server: server.to_owned() }
            }
            ClientError::Refused { status, problem, .. } if status < 500 && status != 429 => {
                IdentityError::Refused { server: server.to_owned(), reason: problem.error }
            }
            error => IdentityError::Unreachable { server: server.to_owned(), source: Box::new(error) },
        })?;
        let EnrolAnswer { device, credential, root } = answer;
        let identity =
            Self { schema: IDENTITY_SCHEMA.to_owned(), server: server.to_owned(), device, credential, root };
        identity.root()?;
        Ok(identity)
    }

    /// The pinned root.
    ///
    /// # Errors
    /// It breaks its rules.
    pub fn root(&self) -> Result<Root, IdentityError> {
        Ok(Root::parse(self.root.to_string().as_bytes())?)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            schema: IDENTITY_SCHEMA.to_owned(),
            server: "http://127.0.0.1:1".to_owned(),
            device: DeviceId::new("robot-1").unwrap(),
            credential: "secret".to_owned(),
            root: serde_json::json!({}),
        }
    }

    #[test]
    fn it_is_kept_and_its_secret_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        assert_eq!(Identity::load(&path).unwrap(), None);
        identity().save(&path).unwrap();
        assert_eq!(Identity::load(&path).unwrap(), Some(identity()));
        assert!(!format!("{:?}", identity()).contains("secret"));
        assert!(matches!(identity().root(), Err(IdentityError::Root(_))));
    }

    #[test]
    fn damage_and_silence_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Identity::load(&path), Err(IdentityError::Parse { .. })));
        let name = DeviceId::new("robot-1").unwrap();
        let error = Identity::enrol("http://127.0.0.1:1", &name, "token").unwrap_err();
        assert!(matches!(error, IdentityError::Unreachable { .. }));
    }
}
