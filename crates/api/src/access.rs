//! Documents about who may do what: operator tokens, devices' certificates, and devices that are shut out.

use edgeward_core::envelope::Base64;
use edgeward_core::{DeviceId, Digest, Role, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

/// Asks for an operator token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// Whose it is, for people.
    pub name: String,
    /// What it allows: `viewer`, `operator`, `approver` or `admin`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub role: Role,
    /// How long it is valid; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// A new operator token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// The secret; it is shown once.
    pub secret: String,
    /// What is known of it.
    #[serde(flatten)]
    pub token: Token,
}

/// An operator token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TokenId,
    /// Whose it is, for people.
    pub name: String,
    /// What it allows.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub role: Role,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub created_at_ms: Timestamp,
    /// When it stops working; none for never.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub expires_at_ms: Option<Timestamp>,
    /// When it was revoked; none if it was not.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub revoked_at_ms: Option<Timestamp>,
}

/// The operator tokens, the oldest first. The one in `operator.token` of the data folder is not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tokens {
    /// The tokens.
    pub tokens: Vec<Token>,
}

/// Shuts a device out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceRevocation {
    /// Why.
    pub cause: String,
}

/// A device that is shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceRevoked {
    /// The device.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub device: DeviceId,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub revoked_at_ms: Timestamp,
}

/// A device asks for a certificate for a key that it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateRequest {
    /// The key's public half: a point of P-256, uncompressed (65 bytes), in base64.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub public_key: Base64,
}

/// A device's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceCertificate {
    /// X.509, DER in base64.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub certificate: Base64,
    /// When it was issued, by the control plane's clock: a time that is surely past.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub issued_at_ms: Timestamp,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub expires_at_ms: Timestamp,
    /// The authorities on which the control plane's own certificate may stand, DER in base64. None if it has one that
    /// any computer believes.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub authorities: Vec<Base64>,
}

/// What a device should do about its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateAdvice {
    /// Ask for another one now.
    pub renew: bool,
    /// After how long to ask again.
    pub look_again_ms: u64,
    /// SHA-256 of each certificate in [`DeviceCertificate::authorities`]: a device that knows others asks for a new one.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub authorities: Vec<Digest>,
}

/// A certificate authority of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Authority {
    /// SHA-256 of its certificate.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub fingerprint: Digest,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub made_at_ms: Timestamp,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub expires_at_ms: Timestamp,
    /// The control plane's own certificate stands on it.
    pub serves: bool,
    /// It issues the certificates of devices.
    pub issues: bool,
    /// How many devices have their newest valid certificate from it.
    pub devices: u64,
    /// Its certificate, in PEM form.
    pub pem: String,
}

/// The certificate authorities, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Authorities {
    /// One, or two while a new one is being introduced.
    pub authorities: Vec<Authority>,
}

/// Lets the newest authority serve alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuthoritySwitch {
    /// Also if devices do not know the new one yet: they have to join again.
    #[serde(default)]
    pub force: bool,
}
