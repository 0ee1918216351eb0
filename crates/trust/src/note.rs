//! Signed notes (C2SP signed-note): text that people can read, with signature lines under it.
//!
//! The text ends with a newline; an empty line follows, then one line per signature: an em dash, a space, the key's
//! name, a space, and base64 of a four-byte key hash and the signature. The signature covers the text including its
//! last newline. Lines of unknown keys are skipped, so that witnesses can add theirs.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeward_core::Digest;
use edgeward_core::envelope::SIGNATURES_MAX;

use crate::fleet::LedgerKeys;
use crate::key::{KeyId, PublicKey, Signer, SignerError};

/// Largest note accepted, in bytes.
pub const NOTE_BYTES_MAX: usize = 64 << 10;
/// Longest key name, in bytes.
pub const KEY_NAME_LEN_MAX: usize = 255;

const ED25519_ALGORITHM: u8 = 1;
const KEY_HASH_LEN: usize = 4;
const SIGNATURE_START: &str = "\u{2014} ";

/// Why a note is not believed or not made.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// Larger than [`NOTE_BYTES_MAX`], or with more than [`SIGNATURES_MAX`] signatures.
    #[error("the note is over the limit of {NOTE_BYTES_MAX} bytes or {SIGNATURES_MAX} signatures")]
    OverLimit,
    /// Not a note.
    #[error("this is not a signed note: {0}")]
    Malformed(&'static str),
    /// A key name may not hold spaces or '+', nor be empty or too long.
    #[error("'{0}' is not a key name; use 1 to {KEY_NAME_LEN_MAX} bytes without spaces or '+'")]
    KeyName(String),
    /// Too few valid signatures.
    #[error(
        "the note has {valid} of {threshold} signatures needed under the name '{name}'; it was changed, or signed by \
         someone else"
    )]
    TooFewSignatures {
        /// The name the keys sign under.
        name: String,
        /// How many different keys signed validly.
        valid: usize,
        /// How many must.
        threshold: u64,
    },
    /// A key cannot be reached.
    #[error(transparent)]
    Sign(#[from] SignerError),
}

/// The short hash that stands before a signature: the first four bytes of SHA-256 over name, newline, algorithm and key.
#[must_use]
pub fn key_hash(name: &str, key: &PublicKey) -> [u8; KEY_HASH_LEN] {
    let bytes = [name.as_bytes(), &[b'\n', ED25519_ALGORITHM], &key.to_bytes()].concat();
    let mut hash = [0; KEY_HASH_LEN];
    hash.copy_from_slice(&Digest::of(&bytes).as_bytes()[..KEY_HASH_LEN]);
    hash
}

/// Signs `text` with every signer, each under `name`.
///
/// # Errors
/// `text` cannot be the text of a note, `name` not a key name, or a key cannot be reached.
pub fn sign(text: &str, name: &str, signers: &[&dyn Signer]) -> Result<String, NoteError> {
    check_name(name)?;
    check_text(text)?;
    let mut note = format!("{text}\n");
    for signer in signers {
        let signature =
            [key_hash(name, &signer.public_key()).as_slice(), &signer.sign(text.as_bytes())?].concat();
        note.push_str(&format!("{SIGNATURE_START}{name} {}\n", STANDARD.encode(signature)));
    }
    Ok(note)
}

/// The text of `note`, if enough of `keys` signed it under `name`.
///
/// # Errors
/// It is not a note, a limit is exceeded, or valid signatures are too few.
pub fn verify<'a>(note: &'a str, name: &str, keys: &LedgerKeys) -> Result<&'a str, NoteError> {
    check_name(name)?;
    let (text, lines) = split(note)?;
    let mut valid = BTreeSet::new();
    for (count, line) in lines.split_terminator('\n').enumerate() {
        if count == SIGNATURES_MAX {
            return Err(NoteError::OverLimit);
        }
        let (signer, signature) = parse_line(line)?;
        if signer == name {
            valid.extend(signed_by(text, name, &signature, keys));
        }
    }
    let (valid, threshold) = (valid.len(), keys.threshold);
    match valid as u64 >= threshold.max(1) {
        true => Ok(text),
        false => Err(NoteError::TooFewSignatures { name: name.to_owned(), valid, threshold }),
    }
}

/// The text with its last newline, and the signature lines.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::OverLimit);
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line before the signatures"))?;
    let (text, lines) = (&note[..=end], &note[end + 2..]);
    check_text(text)?;
    match lines.ends_with('\n') {
        true => Ok((text, lines)),
        false => Err(NoteError::Malformed("no complete signature line")),
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return Err(NoteError::Malformed("control characters in the text"));
    }
    match text.ends_with('\n') {
        true => Ok(()),
        false => Err(NoteError::Malformed("the text does not end with a newline")),
    }
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let plain = !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
    match plain && !name.is_empty() && name.len() <= KEY_NAME_LEN_MAX {
        true => Ok(()),
        false => Err(NoteError::KeyName(name.chars().take(KEY_NAME_LEN_MAX).collect())),
    }
}

/// The key's name, and the key hash with the signature.
fn parse_line(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    const BAD: NoteError = NoteError::Malformed("a signature line of another shape");
    let (name, encoded) =
        line.strip_prefix(SIGNATURE_START).and_then(|rest| rest.split_once(' ')).ok_or(BAD)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| BAD)?;
    match bytes.len() > KEY_HASH_LEN && check_name(name).is_ok() {
        true => Ok((name, bytes)),
        false => Err(BAD),
    }
}

fn signed_by(text: &str, name: &str, signature: &[u8], keys: &LedgerKeys) -> Option<KeyId> {
    let (hash, signature) = signature.split_at_checked(KEY_HASH_LEN)?;
    let made = |key: &PublicKey| key_hash(name, key) == hash && key.verifies(text.as_bytes(), signature);
    keys.keys.iter().find(|key| made(key)).map(PublicKey::keyid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{key, ledger};

    const NAME: &str = "example.org/log";

    fn check(note: &str) -> Result<&str, NoteError> {
        verify(note, NAME, &ledger())
    }

    /// The example of the Go checksum database's note format.
    #[test]
    fn a_note_made_elsewhere_is_believed() {
        const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let encoded = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let public = PublicKey::from_bytes(&encoded[1..]).unwrap();
        assert_eq!(hex::encode(key_hash("PeterNeumann", &public)), "c74f20a3");
        let keys = LedgerKeys { keys: vec![public], threshold: 1 };
        assert!(verify(NOTE, "PeterNeumann", &keys).unwrap().ends_with("problem is.\n"));
        assert!(verify(&NOTE.replace("answer", "Answer"), "PeterNeumann", &keys).is_err());
    }

    #[test]
    fn a_note_reads_back_past_the_signatures_of_strangers() {
        let note = sign("a\n\nb\n", NAME, &[&key(9), &key(4)]).unwrap();
        assert_eq!(check(&note).unwrap(), "a\n\nb\n");
    }

    #[test]
    fn unsigned_wrongly_signed_and_renamed_notes_are_refused() {
        let few = |note: &str| matches!(check(note), Err(NoteError::TooFewSignatures { valid: 0, .. }));
        assert!(few(&sign("text\n", NAME, &[&key(9)]).unwrap()));
        assert!(few(&sign("text\n", "other.org/log", &[&key(4)]).unwrap()));
        let note = sign("text\n", NAME, &[&key(4)]).unwrap();
        assert!(few(&note.replace("text", "Text")));
        assert!(few(&note.replace("text", "text\nmore")));
    }

    #[test]
    fn a_repeated_signature_counts_once() {
        let two = LedgerKeys { keys: [2, 3].map(|n| key(n).public_key()).to_vec(), threshold: 2 };
        let twice = sign("text\n", NAME, &[&key(2), &key(2)]).unwrap();
        assert!(matches!(verify(&twice, NAME, &two), Err(NoteError::TooFewSignatures { valid: 1, .. })));
        let both = sign("text\n", NAME, &[&key(2), &key(3)]).unwrap();
        assert_eq!(verify(&both, NAME, &two).unwrap(), "text\n");
    }

    #[test]
    fn what_is_not_a_note_is_refused() {
        let good = sign("text\n", NAME, &[&key(4)]).unwrap();
        for bad in
            ["", "\n", "\n\n", "text\n", "text\n\n", "text\n\nx\n", "te\u{7}xt\n\nx\n", good.trim_end()]
        {
            assert!(matches!(check(bad), Err(NoteError::Malformed(_))), "{bad:?}");
        }
        assert!(matches!(check(&"x".repeat(NOTE_BYTES_MAX + 1)), Err(NoteError::OverLimit)));
        let many: Vec<_> = (0..=SIGNATURES_MAX).map(|_| key(9)).collect();
        let many: Vec<&dyn Signer> = many.iter().map(|key| key as &dyn Signer).collect();
        assert!(matches!(check(&sign("text\n", NAME, &many).unwrap()), Err(NoteError::OverLimit)));
        for name in ["", "a b", "a+b", "a\nb"] {
            assert!(matches!(sign("text\n", name, &[]), Err(NoteError::KeyName(_))), "{name}");
        }
    }
}
