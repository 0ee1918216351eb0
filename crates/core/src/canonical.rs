//! Canonical JSON (RFC 8785): one value, one byte sequence. Whatever is hashed or signed goes through here.

use serde::Serialize;

use crate::Digest;

/// A value that has no canonical JSON form (a map with keys that are not text, a number that is not finite).
#[derive(Debug, thiserror::Error)]
#[error("writing canonical JSON")]
pub struct CanonicalError(#[source] serde_json::Error);

/// The canonical bytes of `value`.
///
/// # Errors
/// The value cannot be expressed as JSON.
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(CanonicalError)
}

/// The digest of the canonical bytes of `value`.
///
/// # Errors
/// As [`to_bytes`].
pub fn digest<T: Serialize>(value: &T) -> Result<Digest, CanonicalError> {
    to_bytes(value).map(|bytes| Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_spaces_dropped() {
        let value: serde_json::Value = serde_json::from_str(r#"{ "b": 1, "a": [1.0, "é"] }"#).unwrap();
        assert_eq!(to_bytes(&value).unwrap(), r#"{"a":[1,"é"],"b":1}"#.as_bytes());
    }
}
