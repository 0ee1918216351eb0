//! Checkpoints of the ledger (C2SP tlog-checkpoint): "at this size, the tree has this root", signed.
//!
//! The text is three lines: the log's origin, the size in decimal, the root hash in base64. It is signed as a
//! [`crate::note`] by the ledger's keys under the origin as the key name. A device that remembers the last checkpoint it
//! saw can ask for a consistency proof to the next one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeward_core::Digest;

use crate::fleet::LedgerKeys;
use crate::key::Signer;
use crate::note::{self, NoteError};
use crate::tree::TreeHead;

/// A tree head, and which log it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, such as `plant.example.org/ledger`: unique, without spaces.
    pub origin: String,
    /// Size and root of its tree.
    pub head: TreeHead,
}

/// Why a checkpoint is not believed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Its signatures do not suffice, or it is not a note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Signed, but not a checkpoint.
    #[error("this signed note is not a checkpoint: {0}; check the address it came from")]
    Malformed(&'static str),
    /// Of another log.
    #[error("the checkpoint is of log '{found}', not '{expected}'; check the address it came from")]
    Origin {
        /// The log asked for.
        expected: String,
        /// The log found.
        found: String,
    },
}

impl Checkpoint {
    /// The signed text.
    ///
    /// # Errors
    /// The origin cannot be a key's name, or a key cannot be reached.
    pub fn sign(&self, signers: &[&dyn Signer]) -> Result<String, NoteError> {
        note::sign(&self.text(), &self.origin, signers)
    }

    /// Reads a signed checkpoint of the log `origin`. Extension lines after the root are signed too, and ignored.
    ///
    /// # Errors
    /// It is not a checkpoint of that log signed by enough of `keys`.
    pub fn verify(text: &str, origin: &str, keys: &LedgerKeys) -> Result<Self, CheckpointError> {
        let text = note::verify(text, origin, keys)?;
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(CheckpointError::Malformed("it has fewer than three lines"));
        let (found, size, root) = (line()?, line()?, line()?);
        if found != origin {
            return Err(CheckpointError::Origin { expected: origin.to_owned(), found: found.to_owned() });
        }
        let head = TreeHead { size: parse_size(size)?, root: parse_root(root)? };
        Ok(Self { origin: origin.to_owned(), head })
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.head.size, STANDARD.encode(self.head.root.as_bytes()))
    }
}

fn parse_size(text: &str) -> Result<u64, CheckpointError> {
    let canonical = |size: &u64| size.to_string() == text;
    text.parse().ok().filter(canonical).ok_or(CheckpointError::Malformed("its size is not a plain number"))
}

fn parse_root(text: &str) -> Result<Digest, CheckpointError> {
    let bytes: Option<[u8; 32]> = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Digest::from_bytes).ok_or(CheckpointError::Malformed("its root is not 32 bytes in base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{key, ledger};
    use crate::tree::leaf_hash;
    use proptest::prelude::*;

    const ORIGIN: &str = "plant.example.org/ledger";

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), head: TreeHead { size: 42, root: leaf_hash(b"root") } }
    }

    fn check(text: &str) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::verify(text, ORIGIN, &ledger())
    }

    fn signed(text: &str) -> String {
        note::sign(text, ORIGIN, &[&key(4)]).unwrap()
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let text = checkpoint().sign(&[&key(4)]).unwrap();
        assert_eq!(check(&text).unwrap(), checkpoint());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], [ORIGIN, "42"]);
        assert_eq!(lines[3], "");
        assert!(lines[4].starts_with("\u{2014} plant.example.org/ledger "));
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn extension_lines_are_ignored() {
        let text = checkpoint().text() + "extension\n";
        assert_eq!(check(&signed(&text)).unwrap(), checkpoint());
    }

    #[test]
    fn other_signed_texts_are_refused() {
        let good = checkpoint().text();
        let malformed = |text: &str| matches!(check(&signed(text)), Err(CheckpointError::Malformed(_)));
        assert!(malformed("one line\n"));
        for size in ["042", "+42", "-1", "", "4 2", "18446744073709551616"] {
            assert!(malformed(&good.replace("\n42\n", &format!("\n{size}\n"))), "{size}");
        }
        assert!(malformed(&format!("{ORIGIN}\n42\nAAAA\n")));
        let other = good.replace("plant", "other");
        assert!(matches!(check(&signed(&other)), Err(CheckpointError::Origin { .. })));
    }

    #[test]
    fn a_checkpoint_signed_by_other_keys_is_refused() {
        let text = checkpoint().sign(&[&key(1), &key(2)]).unwrap();
        assert!(matches!(check(&text), Err(CheckpointError::Note(NoteError::TooFewSignatures { .. }))));
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "(?s).{0,120}") {
            prop_assert!(check(&text).is_err());
            let _ = note::sign(&text, ORIGIN, &[&key(4)]).map(|note| check(&note).map(|_| ()));
        }

        #[test]
        fn a_changed_character_is_refused(position in 0usize..300, letter in "[a-z0-9\n]") {
            let good = checkpoint().sign(&[&key(4)]).unwrap();
            let at = position % good.len();
            prop_assume!(good.is_char_boundary(at) && good.is_char_boundary(at + 1) && good[at..=at] != letter);
            let changed = format!("{}{letter}{}", &good[..at], &good[at + 1..]);
            prop_assert!(check(&changed).is_err());
        }
    }
}
