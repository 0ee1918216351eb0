//! Documents about who may do what: operator tokens and devices that are shut out.

use edgeward_core::{DeviceId, Role, Timestamp, TokenId};
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
