//! The key that a device makes for itself: ECDSA over P-256. It never leaves the device.

use std::fmt;

use edgeward_core::Digest;
use edgeward_core::envelope::Base64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};

use super::IdentityError;

/// A key with its public half.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceKey {
    pkcs8: Base64,
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey")
    }
}

impl DeviceKey {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        let document = document.map_err(|_| IdentityError::NoRandomness)?;
        Ok(Self { pkcs8: Base64(document.as_ref().to_vec()) })
    }

    /// PKCS #8: a secret.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8.0
    }

    /// The public half: an uncompressed point.
    ///
    /// # Errors
    /// The key is damaged.
    pub fn public(&self) -> Result<Vec<u8>, IdentityError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, self.pkcs8(), &random);
        let pair = pair.map_err(|error| IdentityError::Key(error.to_string()))?;
        Ok(pair.public_key().as_ref().to_vec())
    }
}

/// A join that has begun: asked again after a crash or a lost answer, it is still the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joining {
    /// SHA-256 of the join token.
    pub token: Digest,
    /// The key that goes with it.
    pub key: DeviceKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_public_half_and_is_not_printed() {
        let key = DeviceKey::generate().unwrap();
        let public = key.public().unwrap();
        assert_eq!((public.len(), public[0]), (65, 4));
        assert_ne!(public, DeviceKey::generate().unwrap().public().unwrap());
        assert_eq!(format!("{key:?}"), "DeviceKey");
        let kept = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<DeviceKey>(&kept).unwrap(), key);
        assert!(DeviceKey { pkcs8: Base64(vec![1, 2, 3]) }.public().is_err());
    }
}
