//! Public keys as TUF writes them, and checking what they signed.
//!
//! A key of a kind that is not known here is kept (it is part of what was signed) and never counts. Keys are told apart by
//! what they are, not by the id they stand under, so that one key under ten ids is still one key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeward_core::Digest;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::json::canonical;
use crate::key::PublicKey;

/// A public key as it stands in a document, unknown fields included.
#[derive(Clone, Debug)]
pub struct Key {
    raw: Value,
    verifier: Option<Verifier>,
}

#[derive(Clone, Debug)]
enum Verifier {
    Ed25519(PublicKey),
    Other { algorithm: &'static dyn VerificationAlgorithm, public: Vec<u8> },
}

/// The fields TUF names.
#[derive(Deserialize)]
struct Fields {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Deserialize)]
struct KeyValue {
    public: String,
}

impl Key {
    /// The key id: the SHA-256 of its canonical JSON, 64 hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        Digest::of(&canonical(&self.raw)).hex()
    }

    /// What the key is, whatever id it stands under; none if it is of a kind that is not known here.
    #[must_use]
    pub fn identity(&self) -> Option<Digest> {
        self.verifier.as_ref().map(|verifier| match verifier {
            Verifier::Ed25519(key) => Digest::of_parts([b"ed25519".as_slice(), &key.to_bytes()]),
            Verifier::Other { public, .. } => Digest::of_parts([b"other".as_slice(), public]),
        })
    }

    /// The key as one that this program's own documents are signed with; none if it is of another kind.
    #[must_use]
    pub const fn ed25519(&self) -> Option<&PublicKey> {
        match &self.verifier {
            Some(Verifier::Ed25519(key)) => Some(key),
            _ => None,
        }
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Some(Verifier::Ed25519(key)) => key.verifies(message, signature),
            Some(Verifier::Other { algorithm, public }) => {
                UnparsedPublicKey::new(*algorithm, public).verify(message, signature).is_ok()
            }
            None => false,
        }
    }
}

impl From<&PublicKey> for Key {
    fn from(key: &PublicKey) -> Self {
        let public = hex(&key.to_bytes());
        let raw = json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } });
        Self { raw, verifier: Some(Verifier::Ed25519(key.clone())) }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Key {}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Value::deserialize(deserializer)?;
        let fields = Fields::deserialize(&raw).map_err(serde::de::Error::custom)?;
        let verifier = verifier(&fields);
        Ok(Self { raw, verifier })
    }
}

fn verifier(fields: &Fields) -> Option<Verifier> {
    let public = fields.keyval.public.as_str();
    match (fields.keytype.as_str(), fields.scheme.as_str()) {
        ("ed25519", "ed25519") => PublicKey::from_bytes(&unhex(public)?).ok().map(Verifier::Ed25519),
        ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
            other(&signature::ECDSA_P256_SHA256_ASN1, public)
        }
        ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => {
            other(&signature::ECDSA_P384_SHA384_ASN1, public)
        }
        ("rsa", "rsassa-pss-sha256") => other(&signature::RSA_PSS_2048_8192_SHA256, public),
        ("rsa", "rsassa-pss-sha384") => other(&signature::RSA_PSS_2048_8192_SHA384, public),
        ("rsa", "rsassa-pss-sha512") => other(&signature::RSA_PSS_2048_8192_SHA512, public),
        ("rsa", "rsa-pkcs1v15-sha256") => other(&signature::RSA_PKCS1_2048_8192_SHA256, public),
        _ => None,
    }
}

fn other(algorithm: &'static dyn VerificationAlgorithm, pem: &str) -> Option<Verifier> {
    Some(Verifier::Other { algorithm, public: key_of_pem(pem)? })
}

/// The key inside a PEM `PUBLIC KEY` (RFC 5280, `SubjectPublicKeyInfo`): what its bit string holds.
fn key_of_pem(pem: &str) -> Option<Vec<u8>> {
    let inner = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?;
    let inner = inner.strip_suffix("-----END PUBLIC KEY-----")?;
    let text: String = inner.split_ascii_whitespace().collect();
    let der = STANDARD.decode(text).ok()?;
    let (body, rest) = element(&der, 0x30)?;
    let (_algorithm, after) = element(body, 0x30)?;
    let (bits, end) = element(after, 0x03)?;
    // The first byte of a bit string says how many bits at its end are unused.
    let key = bits.strip_prefix(&[0])?;
    (rest.is_empty() && end.is_empty()).then(|| key.to_vec())
}

/// One DER element with this tag: its content, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that hex digits stand for; none if they are no such digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::key;
    use crate::key::Signer as _;
    use proptest::prelude::*;

    fn read(value: Value) -> Key {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_ed25519_key_is_named_by_its_canonical_form() {
        let public = key(1).public_key();
        let text = hex(&public.to_bytes());
        let canonical =
            format!(r#"{{"keytype":"ed25519","keyval":{{"public":"{text}"}},"scheme":"ed25519"}}"#);
        assert_eq!(Key::from(&public).id(), Digest::of(canonical.as_bytes()).hex());
        let signature = key(1).sign(b"m").unwrap();
        assert!(Key::from(&public).verifies(b"m", &signature));
        assert!(!Key::from(&public).verifies(b"n", &signature));
    }

    #[test]
    fn a_key_is_the_same_under_any_id_and_with_any_extras() {
        let public = hex(&key(1).public_key().to_bytes());
        let plain = json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } });
        let mut more = plain.clone();
        more["x"] = json!(1);
        let (plain, more) = (read(plain), read(more));
        assert_ne!(plain.id(), more.id());
        assert_eq!(plain.identity(), more.identity());
        assert!(plain.identity().is_some());
    }

    #[test]
    fn an_unknown_kind_is_kept_and_never_counts() {
        for value in [
            json!({ "keytype": "sphincs", "scheme": "x", "keyval": { "public": "00" } }),
            json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": "00" } }),
            json!({ "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": { "public": "no PEM" } }),
            json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": "0g".repeat(32) } }),
        ] {
            let key = read(value.clone());
            assert_eq!((key.identity(), serde_json::to_value(&key).unwrap()), (None, value));
            assert!(!key.verifies(b"", b""));
        }
        assert!(serde_json::from_value::<Key>(json!({ "keytype": "ed25519" })).is_err());
    }

    proptest! {
        #[test]
        fn random_pem_and_der_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in ".{0,40}") {
            let _ = element(&bytes, 0x30);
            let pem = format!("-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----", STANDARD.encode(&bytes));
            let _ = (key_of_pem(&pem), key_of_pem(&text), unhex(&text));
        }

        #[test]
        fn hex_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
    }
}
