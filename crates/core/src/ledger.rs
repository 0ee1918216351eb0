//! The shape of the ledger: entries chained by hash.
//!
//! An entry's bytes are canonical JSON of its sequence number, time, event and the previous entry's hash; its hash is
//! the digest of those bytes. The Merkle tree and its signed checkpoints stand on these bytes, in `trust`; keeping
//! entries is `store`'s.

use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::{Digest, Event, Timestamp};

/// The hash before the first entry.
pub const GENESIS: Digest = Digest::from_bytes([0; 32]);

/// One entry: an event in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// 0, 1, 2, ... without gaps.
    pub seq: u64,
    /// When the control plane wrote it.
    pub at_ms: Timestamp,
    /// The hash of the entry before, or [`GENESIS`].
    pub prev: Digest,
    /// What was decided.
    pub event: Event,
}

/// The first fault of a ledger.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LedgerFault {
    /// The bytes of an entry do not parse.
    #[error("entry {seq} is damaged: {reason}")]
    Damaged {
        /// Which entry, by position.
        seq: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry is missing, repeated or moved.
    #[error("entry {found} stands where entry {expected} belongs: one was dropped, added or moved")]
    OutOfOrder {
        /// The number that belongs there.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// An entry does not continue the one before it.
    #[error("entry {seq} does not follow from the entry before it: one of the two was edited")]
    BrokenChain {
        /// The later of the two.
        seq: u64,
    },
}

impl Entry {
    /// The bytes that are kept and hashed.
    ///
    /// # Errors
    /// The event cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_bytes(self)
    }
}

/// Checks a ledger entry by entry, in order, in constant memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    next_seq: u64,
    head: Digest,
}

impl Default for Chain {
    fn default() -> Self {
        Self { next_seq: 0, head: GENESIS }
    }
}

impl Chain {
    /// A chain that continues after `next_seq` entries, the last of which hashes to `head`.
    #[must_use]
    pub const fn resume(next_seq: u64, head: Digest) -> Self {
        Self { next_seq, head }
    }

    /// The number of entries seen, which is the next sequence number.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.next_seq
    }

    /// Whether no entry was seen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.next_seq == 0
    }

    /// The hash of the last entry.
    #[must_use]
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// Puts `event` in the next place, and returns the entry with its bytes.
    ///
    /// # Errors
    /// The event cannot be written as JSON.
    pub fn append(&mut self, event: Event, at_ms: Timestamp) -> Result<(Entry, Vec<u8>), CanonicalError> {
        let entry = Entry { seq: self.next_seq, at_ms, prev: self.head, event };
        let bytes = entry.to_bytes()?;
        self.next_seq += 1;
        self.head = Digest::of(&bytes);
        Ok((entry, bytes))
    }

    /// Checks that `bytes` are the next entry.
    ///
    /// # Errors
    /// The first fault found.
    pub fn accept(&mut self, bytes: &[u8]) -> Result<Entry, LedgerFault> {
        let damaged = |reason: String| LedgerFault::Damaged { seq: self.next_seq, reason };
        let entry: Entry = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let canonical = entry.to_bytes().map_err(|error| damaged(error.to_string()))?;
        if canonical != bytes {
            return Err(damaged("its bytes are not in canonical form".to_owned()));
        }
        if entry.seq != self.next_seq {
            return Err(LedgerFault::OutOfOrder { expected: self.next_seq, found: entry.seq });
        }
        if entry.prev != self.head {
            return Err(LedgerFault::BrokenChain { seq: entry.seq });
        }
        self.next_seq += 1;
        self.head = Digest::of(bytes);
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceId;

    fn three_entries() -> Vec<Vec<u8>> {
        let mut chain = Chain::default();
        (0..3)
            .map(|i| {
                let device = DeviceId::new(format!("d{i}")).unwrap();
                chain.append(Event::DeviceEnrolled { device }, Timestamp(i)).unwrap().1
            })
            .collect()
    }

    fn check(entries: &[Vec<u8>]) -> Result<u64, LedgerFault> {
        let mut chain = Chain::default();
        for bytes in entries {
            chain.accept(bytes)?;
        }
        Ok(chain.len())
    }

    #[test]
    fn an_untouched_ledger_is_accepted() {
        assert_eq!(check(&three_entries()), Ok(3));
    }

    #[test]
    fn a_dropped_entry_is_named() {
        let mut entries = three_entries();
        entries.remove(1);
        assert_eq!(check(&entries), Err(LedgerFault::OutOfOrder { expected: 1, found: 2 }));
    }

    #[test]
    fn an_edited_entry_breaks_the_chain_after_it() {
        let mut entries = three_entries();
        let edited = String::from_utf8(entries[1].clone()).unwrap().replace("\"d1\"", "\"dx\"");
        entries[1] = edited.into_bytes();
        assert_eq!(check(&entries), Err(LedgerFault::BrokenChain { seq: 2 }));
    }

    #[test]
    fn every_flipped_bit_before_the_last_entry_is_noticed() {
        let entries = three_entries();
        for position in 0..entries[1].len() {
            let mut flipped = entries.clone();
            flipped[1][position] ^= 1;
            assert!(check(&flipped).is_err(), "byte {position}");
        }
    }
}
