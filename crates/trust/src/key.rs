//! Keys: Ed25519 (RFC 8032), named by the hash of their public half.
//!
//! [`Signer`] is what signing code asks for, so that a hardware token or a key service can stand in for the
//! [`SigningKey`] kept in a file. A seed is never printed, is written only by [`SigningKey::to_json`], and its memory
//! is wiped when dropped. Deliberately missing: other key types and making seeds (the caller has the randomness).

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use edgeward_core::envelope::Base64;
use edgeward_core::{Digest, canonical};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// Schema of the key file.
pub const KEY_SCHEMA: &str = "edgeward.key/1";
/// Largest key file accepted, in bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// Length of a seed, in bytes.
pub const SEED_LEN: usize = 32;
/// Length of a signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// The name of a key: the SHA-256 of its public key's canonical JSON, 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// Ed25519 (RFC 8032).
    Ed25519,
}

/// The public half of a key: a valid point that is not of small order. JSON: `{"keytype", "public"}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PublicKeyFile", into = "PublicKeyFile")]
pub struct PublicKey {
    point: VerifyingKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyFile {
    keytype: KeyType,
    public: Base64,
}

/// Makes signatures.
pub trait Signer: Sync {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// Signs `message`.
    ///
    /// # Errors
    /// The key cannot be reached; a key in memory never fails.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError>;

    /// The key's name.
    fn keyid(&self) -> KeyId {
        self.public_key().keyid()
    }
}

/// A key that cannot sign now.
#[derive(Debug, thiserror::Error)]
#[error("signing with key {keyid}")]
pub struct SignerError {
    /// Which key.
    pub keyid: KeyId,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// A signing key in memory.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
}

/// Why a key is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Larger than [`KEY_BYTES_MAX`].
    #[error("the key file is {0} bytes, over the limit of {KEY_BYTES_MAX}; this is not a key file")]
    TooLarge(usize),
    /// Not the JSON of a key. The parser's words are left out: they could quote the seed.
    #[error("the key file is not the JSON of a key (line {line}); restore it from a backup")]
    Parse {
        /// Where the parser stopped.
        line: usize,
    },
    /// Another schema.
    #[error("the key file's schema is not '{KEY_SCHEMA}'; update the program or make a new key")]
    Schema,
    /// The seed is not 32 bytes in base64.
    #[error("the key's seed is not {SEED_LEN} bytes in base64; restore the file from a backup")]
    Seed,
    /// The public key is not a usable Ed25519 point.
    #[error("the public key is not a valid Ed25519 key; ask its owner to export it again")]
    Public,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    schema: String,
    keytype: KeyType,
    seed: String,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl SigningKey {
    /// The key that follows from 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(seed) }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// The bytes are not a key file of this schema.
    pub fn from_json(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLarge(bytes.len()));
        }
        let file: KeyFile =
            serde_json::from_slice(bytes).map_err(|error| KeyError::Parse { line: error.line() })?;
        if file.schema != KEY_SCHEMA {
            return Err(KeyError::Schema);
        }
        let decoded = Zeroizing::new(STANDARD.decode(&file.seed).map_err(|_| KeyError::Seed)?);
        let seed: &[u8; SEED_LEN] = decoded.as_slice().try_into().map_err(|_| KeyError::Seed)?;
        Ok(Self::from_seed(seed))
    }

    /// The key file. It holds the seed: write it readable by its owner only.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let seed = Zeroizing::new(STANDARD.encode(self.key.as_bytes()));
        let text = format!(r#"{{"keytype":"ed25519","schema":"{KEY_SCHEMA}","seed":"{}"}}"#, seed.as_str());
        Zeroizing::new(text.into_bytes())
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> PublicKey {
        PublicKey { point: self.key.verifying_key() }
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        Ok(self.key.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.keyid())
    }
}

impl PublicKey {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// The bytes are no point of the curve, or one of small order, for which forging is easy.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::Public)?;
        let point = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Public)?;
        if point.is_weak() {
            return Err(KeyError::Public);
        }
        Ok(Self { point })
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.point.to_bytes()
    }

    /// The key's name.
    #[must_use]
    pub fn keyid(&self) -> KeyId {
        KeyId(canonical::digest(self).expect("two strings always have a canonical JSON form"))
    }

    /// Whether `signature` is this key's over `message`; strict, so that nobody can make a second valid signature.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.point.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", STANDARD.encode(self.to_bytes()))
    }
}

impl TryFrom<PublicKeyFile> for PublicKey {
    type Error = KeyError;

    fn try_from(file: PublicKeyFile) -> Result<Self, KeyError> {
        let KeyType::Ed25519 = file.keytype;
        Self::from_bytes(&file.public.0)
    }
}

impl From<PublicKey> for PublicKeyFile {
    fn from(key: PublicKey) -> Self {
        Self { keytype: KeyType::Ed25519, public: Base64(key.to_bytes().to_vec()) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

impl FromStr for KeyId {
    type Err = edgeward_core::digest::ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Digest::from_hex(text).map(Self)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::key;
    use proptest::prelude::*;

    /// RFC 8032, section 7.1, tests 1 and 2: seed, public key, message, signature.
    const RFC_8032: [[&str; 4]; 2] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
    ];

    #[test]
    fn known_vectors_are_met() {
        for vector in RFC_8032 {
            let [seed, public, message, signature] = vector.map(|text| hex::decode(text).unwrap());
            let key = SigningKey::from_seed(seed.as_slice().try_into().unwrap());
            assert_eq!(key.public_key().to_bytes().as_slice(), public);
            assert_eq!(key.sign(&message).unwrap().as_slice(), signature);
            assert!(PublicKey::from_bytes(&public).unwrap().verifies(&message, &signature));
        }
    }

    #[test]
    fn the_key_id_is_the_hash_of_the_public_keys_json() {
        let public = key(1).public_key();
        let json = format!(r#"{{"keytype":"ed25519","public":"{}"}}"#, STANDARD.encode(public.to_bytes()));
        assert_eq!(public.keyid().to_string(), Digest::of(json.as_bytes()).hex());
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), public);
    }

    #[test]
    fn a_key_file_reads_back() {
        let again = SigningKey::from_json(&key(1).to_json()).unwrap();
        assert_eq!(again.keyid(), key(1).keyid());
    }

    #[test]
    fn the_seed_is_never_printed() {
        let json = String::from_utf8(key(7).to_json().to_vec()).unwrap();
        let seed = STANDARD.encode([7; SEED_LEN]);
        assert!(json.contains(&seed));
        assert!(!format!("{:?}", key(7)).contains(&seed));
        let broken = json.replace(KEY_SCHEMA, "edgeward.key/2");
        let error = SigningKey::from_json(broken.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&seed));
    }

    #[test]
    fn other_files_are_refused() {
        let good = String::from_utf8(key(1).to_json().to_vec()).unwrap();
        let refused = |text: String| SigningKey::from_json(text.as_bytes()).unwrap_err();
        assert!(matches!(refused(" ".repeat(KEY_BYTES_MAX + 1)), KeyError::TooLarge(_)));
        assert!(matches!(refused(good.replace("ed25519", "rsa")), KeyError::Parse { .. }));
        assert!(matches!(refused(good.replace("key/1", "key/9")), KeyError::Schema));
        assert!(matches!(refused(good.replace("AQEB", "AQ==")), KeyError::Seed));
    }

    #[test]
    fn a_point_of_small_order_is_no_key() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(matches!(PublicKey::from_bytes(&identity), Err(KeyError::Public)));
        assert!(matches!(PublicKey::from_bytes(&[1; 31]), Err(KeyError::Public)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SigningKey::from_json(&bytes);
            let _ = PublicKey::from_bytes(&bytes);
            prop_assert!(!key(1).public_key().verifies(b"message", &bytes));
        }

        #[test]
        fn a_flipped_bit_breaks_a_signature(byte in 0usize..SIGNATURE_LEN, bit in 0u8..8) {
            let mut signature = key(1).sign(b"message").unwrap();
            signature[byte] ^= 1 << bit;
            prop_assert!(!key(1).public_key().verifies(b"message", &signature));
        }
    }
}
