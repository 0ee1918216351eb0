//! Making and checking the signatures of an [`Envelope`] (DSSE v1).
//!
//! [`verify`] returns the payload's bytes and nothing else touches them, so code that acts on a payload has asked for
//! its type and its role first. A signature of an unknown key, and a wrong one of a known key, count for nothing and
//! do no harm; a key counts once however often it signs.

use std::collections::BTreeSet;

use edgeward_core::Envelope;
use edgeward_core::envelope::{Base64, EnvelopeSignature, SIGNATURES_MAX, pre_authentication_encoding};

use crate::key::{KeyId, Signer, SignerError};
use crate::root::{Authority, Role};

/// Largest payload signed or accepted, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Longest payload type accepted, in bytes.
pub const PAYLOAD_TYPE_LEN_MAX: usize = 256;

/// Why an envelope is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// Over a limit.
    #[error("the signed document has {what} of {found}, over the limit of {max}; it was refused unread")]
    OverLimit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The payload is something else.
    #[error("the signed document is '{found}' where '{expected}' belongs; check the address it came from")]
    PayloadType {
        /// What was asked for.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Too few valid signatures by the role's keys.
    #[error(
        "the document has {valid} of {threshold} signatures needed for role {role}; it was tampered with, or signed \
         with keys this device does not know: sign it again, or enrol the device again if the keys changed"
    )]
    TooFewSignatures {
        /// The role.
        role: Role,
        /// How many different keys signed validly.
        valid: usize,
        /// How many must.
        threshold: usize,
    },
}

/// Signs `payload` with every signer, in their order.
///
/// # Errors
/// A key cannot be reached.
pub fn sign(payload: Vec<u8>, payload_type: &str, signers: &[&dyn Signer]) -> Result<Envelope, SignerError> {
    let message = pre_authentication_encoding(payload_type, &payload);
    let signatures = signers
        .iter()
        .map(|signer| {
            let sig = Base64(signer.sign(&message)?.to_vec());
            Ok(EnvelopeSignature { keyid: signer.keyid().to_string(), sig })
        })
        .collect::<Result<_, _>>()?;
    Ok(Envelope { payload_type: payload_type.to_owned(), payload: Base64(payload), signatures })
}

/// The payload of `envelope`, if it is of `payload_type` and enough keys of `authority` signed it.
///
/// # Errors
/// A limit is exceeded, the type is another, or valid signatures are too few.
pub fn verify<'a>(
    envelope: &'a Envelope,
    payload_type: &str,
    authority: &Authority,
) -> Result<&'a [u8], VerifyError> {
    check_limits(envelope)?;
    if envelope.payload_type != payload_type {
        let (expected, found) = (payload_type.to_owned(), envelope.payload_type.clone());
        return Err(VerifyError::PayloadType { expected, found });
    }
    let payload = envelope.payload.0.as_slice();
    let valid = count_valid(envelope, &pre_authentication_encoding(payload_type, payload), authority);
    if valid < authority.threshold.max(1) {
        let Authority { role, threshold, .. } = *authority;
        return Err(VerifyError::TooFewSignatures { role, valid, threshold });
    }
    Ok(payload)
}

fn check_limits(envelope: &Envelope) -> Result<(), VerifyError> {
    let sizes = [
        ("a number of signatures", envelope.signatures.len(), SIGNATURES_MAX),
        ("a payload size", envelope.payload.0.len(), PAYLOAD_BYTES_MAX),
        ("a payload type length", envelope.payload_type.len(), PAYLOAD_TYPE_LEN_MAX),
    ];
    match sizes.into_iter().find(|(_, found, max)| found > max) {
        Some((what, found, max)) => Err(VerifyError::OverLimit { what, found, max }),
        None => Ok(()),
    }
}

fn count_valid(envelope: &Envelope, message: &[u8], authority: &Authority) -> usize {
    let valid = |signature: &EnvelopeSignature| -> Option<KeyId> {
        let keyid = signature.keyid.parse().ok()?;
        authority.keys.get(&keyid)?.verifies(message, &signature.sig.0).then_some(keyid)
    };
    envelope.signatures.iter().filter_map(valid).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{key, root};
    use proptest::prelude::*;

    const KIND: &str = "application/vnd.edgeward.test";

    fn signed_by(keys: &[u8]) -> Envelope {
        let keys: Vec<_> = keys.iter().map(|n| key(*n)).collect();
        let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
        sign(b"payload".to_vec(), KIND, &signers).unwrap()
    }

    fn check(envelope: &Envelope) -> Result<&[u8], VerifyError> {
        verify(envelope, KIND, &root().authority(Role::Rollouts))
    }

    fn too_few(valid: usize) -> VerifyError {
        VerifyError::TooFewSignatures { role: Role::Rollouts, valid, threshold: 2 }
    }

    #[test]
    fn enough_keys_of_the_role_are_believed() {
        assert_eq!(check(&signed_by(&[2, 3])).unwrap(), b"payload");
    }

    #[test]
    fn unknown_keys_do_no_harm() {
        let mut envelope = signed_by(&[9, 2, 3, 1]);
        envelope.signatures.push(EnvelopeSignature { keyid: "??".into(), sig: Base64(vec![1]) });
        assert_eq!(check(&envelope).unwrap(), b"payload");
    }

    #[test]
    fn a_key_counts_once() {
        assert_eq!(check(&signed_by(&[2, 2, 2])), Err(too_few(1)));
    }

    #[test]
    fn keys_of_another_role_do_not_count() {
        assert_eq!(check(&signed_by(&[1, 4])), Err(too_few(0)));
    }

    #[test]
    fn a_signature_under_anothers_name_does_not_count() {
        let mut envelope = signed_by(&[2, 9]);
        envelope.signatures[1].keyid = key(3).keyid().to_string();
        assert_eq!(check(&envelope), Err(too_few(1)));
    }

    #[test]
    fn an_unsigned_document_is_refused() {
        assert_eq!(check(&signed_by(&[])), Err(too_few(0)));
    }

    #[test]
    fn a_signature_is_for_one_payload_type() {
        let mut envelope = signed_by(&[2, 3]);
        let other = "application/vnd.edgeward.other";
        assert!(matches!(
            verify(&envelope, other, &root().authority(Role::Rollouts)),
            Err(VerifyError::PayloadType { .. })
        ));
        envelope.payload_type = other.to_owned();
        assert_eq!(verify(&envelope, other, &root().authority(Role::Rollouts)), Err(too_few(0)));
    }

    #[test]
    fn limits_hold() {
        let at_limit = |n: usize| {
            let mut envelope = signed_by(&[2, 3]);
            envelope.signatures.resize(n, envelope.signatures[0].clone());
            envelope
        };
        assert!(check(&at_limit(SIGNATURES_MAX)).is_ok());
        assert!(matches!(check(&at_limit(SIGNATURES_MAX + 1)), Err(VerifyError::OverLimit { .. })));
        let mut large = signed_by(&[2, 3]);
        large.payload.0 = vec![0; PAYLOAD_BYTES_MAX + 1];
        assert!(matches!(check(&large), Err(VerifyError::OverLimit { .. })));
        let mut long = signed_by(&[2, 3]);
        long.payload_type = "x".repeat(PAYLOAD_TYPE_LEN_MAX + 1);
        assert!(matches!(check(&long), Err(VerifyError::OverLimit { .. })));
    }

    proptest! {
        #[test]
        fn a_changed_payload_is_refused(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assume!(payload != b"payload");
            let mut envelope = signed_by(&[2, 3]);
            envelope.payload.0 = payload;
            prop_assert_eq!(check(&envelope), Err(too_few(0)));
        }

        #[test]
        fn random_bytes_never_panic(
            keyid in ".{0,80}", sig in proptest::collection::vec(any::<u8>(), 0..80), kind in ".{0,20}",
        ) {
            let signature = EnvelopeSignature { keyid, sig: Base64(sig) };
            let envelope = Envelope { payload_type: kind.clone(), payload: Base64(vec![]), signatures: vec![signature] };
            prop_assert!(verify(&envelope, &kind, &root().authority(Role::Rollouts)).is_err());
        }
    }
}
