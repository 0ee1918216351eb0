//! Who may do what: the roles of people and programs, and the ledger's word on every change of who may.
//!
//! A role includes those below it. Devices have no role: what they may do is fixed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Digest, Timestamp, TokenId};

/// What the holder of an operator token may do; each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See models, devices, rollouts, alerts and the ledger.
    Viewer,
    /// Run projects, register models, start and take back rollouts, acknowledge alerts, let devices in and shut them out.
    Operator,
    /// Approve what waits for approval.
    Approver,
    /// Make and revoke operator tokens.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// The word used in files, on screens and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no role.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no role: use viewer, operator, approver or admin")]
pub struct ParseRoleError(String);

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| ParseRoleError(text.chars().take(32).collect()))
    }
}

/// A change of who may do what. No secret is ever part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum AccessChange {
    /// An operator token was made.
    TokenCreated {
        /// Its id.
        token: TokenId,
        /// Whose it is, for people.
        name: String,
        /// What it allows.
        role: Role,
        /// When it stops working; none for a token without an end.
        expires_at_ms: Option<Timestamp>,
        /// Who made it.
        by: String,
    },
    /// An operator token stopped working.
    TokenRevoked {
        /// Its id.
        token: TokenId,
        /// Who revoked it.
        by: String,
    },
    /// A join token was made.
    JoinTokenCreated {
        /// How many devices it lets in.
        uses: u32,
        /// The one device that it lets in again; none for any new device.
        device: Option<DeviceId>,
        /// When it stops working.
        expires_at_ms: Timestamp,
        /// Who made it.
        by: String,
    },
    /// A device was shut out.
    DeviceRevoked {
        /// The device.
        device: DeviceId,
        /// Why.
        cause: String,
        /// Who did it.
        by: String,
    },
    /// A device was given a certificate.
    CertificateIssued {
        /// The device.
        device: DeviceId,
        /// SHA-256 of the certificate.
        certificate: Digest,
        /// SHA-256 of the certificate of the authority that issued it.
        authority: Digest,
        /// When it ends.
        expires_at_ms: Timestamp,
    },
    /// A further certificate authority of the fleet was made; it issues from now on.
    AuthorityMade {
        /// SHA-256 of its certificate.
        authority: Digest,
        /// Who asked for it.
        by: String,
    },
    /// A certificate authority of the fleet counts no more.
    AuthorityRetired {
        /// SHA-256 of its certificate.
        authority: Digest,
        /// Who did it.
        by: String,
    },
}

/// One line for people.
impl fmt::Display for AccessChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenCreated { token, name, role, by, .. } => {
                write!(f, "{by} made {token}, a token of the role {role} for {name}")
            }
            Self::TokenRevoked { token, by } => write!(f, "{by} revoked {token}"),
            Self::JoinTokenCreated { device: Some(device), by, .. } => {
                write!(f, "{by} made a token with which {device} joins again")
            }
            Self::JoinTokenCreated { uses, by, .. } => write!(f, "{by} made a join token with {uses} uses"),
            Self::DeviceRevoked { device, cause, by } => write!(f, "{by} shut {device} out: {cause}"),
            Self::CertificateIssued { device, certificate, .. } => {
                write!(f, "{device} got the certificate {}", certificate.short())
            }
            Self::AuthorityMade { authority, by } => {
                write!(f, "{by} made the certificate authority {}", authority.short())
            }
            Self::AuthorityRetired { authority, by } => {
                write!(f, "{by} retired the certificate authority {}", authority.short())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_read_as_written() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert!("root".parse::<Role>().unwrap_err().to_string().contains("viewer, operator"));
    }

    #[test]
    fn a_change_stands_beside_the_events_type() {
        let (token, by) = (TokenId::new("t-1").unwrap(), "local".to_owned());
        let event = crate::Event::AccessChanged(AccessChange::TokenRevoked { token, by });
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!((&value["type"], &value["change"]), (&event.kind().into(), &"token_revoked".into()));
        assert_eq!(serde_json::from_value::<crate::Event>(value).unwrap(), event);
    }
}
