//! Seals: the ledger role's signature on one entry in its place.
//!
//! A checkpoint says that a history is the one that was signed, or that it is not; the seals say which entry is the first
//! that was not. A seal covers the log's origin, the entry's place and its bytes, which name the entry before it.

use edgeward_core::Digest;

use crate::fleet::LedgerKeys;
use crate::key::{SIGNATURE_LEN, Signer, SignerError};

/// Signs the entry at `seq`.
///
/// # Errors
/// The key cannot be reached.
pub fn sign(
    origin: &str,
    seq: u64,
    entry: &[u8],
    signer: &dyn Signer,
) -> Result<[u8; SIGNATURE_LEN], SignerError> {
    signer.sign(message(origin, seq, entry).as_bytes())
}

/// Whether `seal` is of one of the role's keys over this entry in this place.
#[must_use]
pub fn verifies(origin: &str, seq: u64, entry: &[u8], seal: &[u8], keys: &LedgerKeys) -> bool {
    let message = message(origin, seq, entry);
    keys.keys.iter().any(|key| key.verifies(message.as_bytes(), seal))
}

/// What is signed: four lines.
fn message(origin: &str, seq: u64, entry: &[u8]) -> String {
    format!("edgeward.seal/1\n{origin}\n{seq}\n{}\n", Digest::of(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{key, ledger};

    #[test]
    fn a_seal_holds_for_one_entry_in_one_place_of_one_log() {
        let keys = ledger();
        let seal = sign("log", 3, b"entry", &key(4)).unwrap();
        assert!(verifies("log", 3, b"entry", &seal, &keys));
        assert!(!verifies("log", 4, b"entry", &seal, &keys));
        assert!(!verifies("other", 3, b"entry", &seal, &keys));
        assert!(!verifies("log", 3, b"Entry", &seal, &keys));
        assert!(!verifies("log", 3, b"entry", &seal[..63], &keys));
        let others = LedgerKeys { keys: vec![key(1).public_key()], threshold: 1 };
        assert!(!verifies("log", 3, b"entry", &seal, &others));
    }
}
