//! Bearer secrets: made here, kept only as digests.
//!
//! A secret is 256 random bits, so its digest can be stored and compared without salt; comparing digests of what was
//! presented tells a clock nothing about the secret.

use edgeward_core::Digest;

/// Random bytes in a secret.
const SECRET_BYTES: usize = 32;
/// Longest text looked at as a secret.
pub(crate) const SECRET_LEN_MAX: usize = 256;

/// What a secret is for; its text begins with a word for it, so that people and scanners recognise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The operator's token.
    Operator,
    /// A device's credential.
    Device,
    /// A join token.
    Join,
}

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("asking the operating system for randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

/// A new secret.
pub(crate) fn generate(purpose: Purpose) -> Result<String, NoRandomness> {
    let prefix = match purpose {
        Purpose::Operator => "ewo",
        Purpose::Device => "ewd",
        Purpose::Join => "ewj",
    };
    Ok(format!("{prefix}_{}", hex::encode(random::<SECRET_BYTES>()?)))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

/// Whether two digests are the same, in a time that does not tell where they differ.
pub(crate) fn is_same(one: &Digest, other: &Digest) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    std::hint::black_box(pairs.fold(0, |differing, (a, b)| differing | (a ^ b))) == 0
}

/// What is kept of a secret.
pub(crate) fn digest(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}
