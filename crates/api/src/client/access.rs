//! The client's calls about who may do what.

use edgeward_core::{DeviceId, TokenId};

use super::{Client, ClientError};
use crate::access::{
    Authorities, AuthoritySwitch, CertificateAdvice, CertificateRequest, DeviceCertificate, DeviceRevocation,
    DeviceRevoked, NewToken, Token, TokenRequest, Tokens,
};
use crate::routes;

/// Every method fails with no answer, a refusal, or an answer that cannot be read: see [`ClientError`].
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Client {
    /// Makes an operator token.
    pub fn make_token(&self, request: &TokenRequest) -> Result<NewToken, ClientError> {
        self.post_json(routes::TOKENS, request)
    }

    /// The operator tokens.
    pub fn tokens(&self) -> Result<Tokens, ClientError> {
        self.get_json(routes::TOKENS)
    }

    /// Revokes an operator token.
    pub fn revoke_token(&self, token: &TokenId) -> Result<Token, ClientError> {
        self.post_json(&routes::token_revoke(token), &serde_json::json!({}))
    }

    /// Shuts a device out.
    pub fn revoke_device(
        &self,
        device: &DeviceId,
        revocation: &DeviceRevocation,
    ) -> Result<DeviceRevoked, ClientError> {
        self.post_json(&routes::device_revoke(device), revocation)
    }

    /// Whether the device that calls should ask for another certificate.
    pub fn certificate_advice(&self) -> Result<CertificateAdvice, ClientError> {
        self.get_json(routes::CERTIFICATE)
    }

    /// Asks for another certificate of the device that calls.
    pub fn renew_certificate(&self, request: &CertificateRequest) -> Result<DeviceCertificate, ClientError> {
        self.post_json(routes::CERTIFICATE, request)
    }

    /// The certificate authorities of the fleet.
    pub fn authorities(&self) -> Result<Authorities, ClientError> {
        self.get_json(routes::AUTHORITIES)
    }

    /// Makes a further certificate authority, which issues from now on.
    pub fn rotate_authority(&self) -> Result<Authorities, ClientError> {
        self.post_json(routes::AUTHORITY_ROTATE, &serde_json::json!({}))
    }

    /// Lets the newest authority serve alone.
    pub fn switch_authority(&self, switch: &AuthoritySwitch) -> Result<Authorities, ClientError> {
        self.post_json(routes::AUTHORITY_SWITCH, switch)
    }
}
