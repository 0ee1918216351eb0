//! What travels when a device has an older file: only what training changed.
//!
//! A delta leads from one file to another. Both are seen as tensors with other bytes between them; each tensor is cut into
//! blocks, and every block is written in the shortest of several ways: not at all where nothing changed, as the changes of
//! its numbers (seen as integers in the order of the numbers), or as the numbers themselves, each as compressed byte
//! planes or by a coder that learns. Without an older file the same form is the *full* one, so a delta is worth sending
//! exactly when it is shorter than that: [`delta`] makes none that is not.
//!
//! Contract: [`full`] and [`delta`] give the same bytes for the same files on every machine; [`apply`] gives the result to
//! the bit or an error, whatever it is given, in bounded memory, and believes no length. The page docs/formats/delta.md
//! describes the bytes.
//!
//! Deliberately missing: deltas between more than two files; tensors that changed their size (they are sent whole);
//! executables, for which `bsdiff` was made.

mod adaptive;
mod bounds;
mod container;
mod decode;
mod element;
mod encode;
mod pack;
mod planes;
mod range;
mod split;

use std::io;

use edgeward_core::Digest;

pub use container::Header;
pub use decode::{Seekable, apply};

/// Largest file that deltas are made for, in bytes.
pub const DELTA_FILE_BYTES_MAX: u64 = 2 << 30;

/// Numbers are coded in blocks of this many bytes.
const BLOCK_BYTES: usize = 256 << 10;
/// Bytes outside tensors are packed this many at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Most bytes of the source that such a chunk may refer to.
const KNOWN_BYTES_MAX: usize = 8 << 20;

/// Why a delta was not applied.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The delta could not be read, or ends too early.
    #[error("reading the delta")]
    Read(#[source] io::Error),
    /// The old file could not be read.
    #[error("reading the file that the delta is for")]
    Source(#[source] io::Error),
    /// The new file could not be written.
    #[error("writing the file that comes of the delta")]
    Write(#[source] io::Error),
    /// The bytes are no delta.
    #[error("the delta is malformed: {0}; fetch it again, or the whole file")]
    Malformed(&'static str),
    /// A length is over its limit.
    #[error("the delta is malformed: {what} of {value} bytes is over the limit of {max}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// What it says.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// It leads to another file.
    #[error("the delta leads to {found}, not to {expected}")]
    OtherResult {
        /// What was asked for.
        expected: Digest,
        /// What it leads to.
        found: Digest,
    },
    /// It needs an old file, and none was given.
    #[error("the delta needs the file {0}, which is not here; fetch the whole file")]
    NoSource(Digest),
    /// What came of it is not what it promised: it, or the old file, is damaged.
    #[error(
        "the delta gave {found} instead of {expected}; it or the old file is damaged, fetch the whole file"
    )]
    WrongResult {
        /// What was asked for.
        expected: Digest,
        /// What came of it.
        found: Digest,
    },
}

impl DeltaError {
    fn reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends too early"),
            _ => Self::Read(error),
        }
    }
}

/// `result` for a device that has nothing: the file, compressed.
#[must_use]
pub fn full(result: &[u8]) -> Vec<u8> {
    encode::make(None, result)
}

/// `result` for a device that has `source`; none unless it is shorter than `len_max`, the length of what can be sent
/// otherwise.
#[must_use]
pub fn delta(source: &[u8], result: &[u8], len_max: usize) -> Option<Vec<u8>> {
    Some(encode::make(Some(source), result)).filter(|delta| delta.len() < len_max)
}

/// How a block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// As in the source.
    Same,
    /// As it is.
    Stored,
    /// As byte planes.
    Planes,
    /// Its changes as byte planes.
    ChangePlanes,
    /// Its changes, by the coder that learns.
    ChangeAdaptive,
    /// Its numbers, by the coder that learns.
    ValueAdaptive,
}

impl Method {
    const ALL: [Self; 6] = [
        Self::Same,
        Self::Stored,
        Self::Planes,
        Self::ChangePlanes,
        Self::ChangeAdaptive,
        Self::ValueAdaptive,
    ];

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    fn code(self) -> u8 {
        Self::ALL.iter().position(|other| *other == self).unwrap_or_default() as u8
    }

    const fn needs_old(self) -> bool {
        matches!(self, Self::Same | Self::ChangePlanes | Self::ChangeAdaptive)
    }
}

#[cfg(test)]
mod tests;
