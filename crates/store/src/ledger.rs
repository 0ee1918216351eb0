//! The ledger: appending, reading, auditing.
//!
//! An append writes the entry, moves the head and updates the projections, or does nothing. The audit reads every
//! entry in order and names the first fault. It finds whatever was changed by someone who does not also rewrite
//! everything after it; against that stand the signed checkpoints, whose roots the caller compares.

use crate::engine::{Row, SqlError};
use edgeward_core::ledger::{Chain, Entry, GENESIS, LedgerFault};
use edgeward_core::{Digest, Event, Timestamp};
use serde::{Deserialize, Serialize};

use crate::column::{Text, params};
use crate::database::{Store, View, Writer};
use crate::error::StoreError;

/// Most entries in one page.
pub const ENTRIES_PAGE_MAX: usize = 1000;

/// Where the ledger stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of entries, which is the next sequence number.
    pub len: u64,
    /// Hash of the last entry.
    pub hash: Digest,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place.
    pub seq: u64,
    /// Its canonical JSON: what is hashed, and what the tree's leaves are.
    pub bytes: Vec<u8>,
}

/// An entry with its seal; none where there is no seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEntry {
    /// The entry.
    pub entry: RawEntry,
    /// The ledger role's signature on it.
    pub seal: Option<Vec<u8>>,
}

/// A signed checkpoint as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// How many entries it covers.
    pub size: u64,
    /// The tree's root over them.
    pub root: Digest,
    /// The signed note.
    pub note: String,
    /// When it was made.
    pub at_ms: Timestamp,
}

/// The first fault an audit found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// In or between entries.
    #[error(transparent)]
    Entry(#[from] LedgerFault),
    /// Entries are missing at the end.
    #[error("entry {len} is missing: the ledger ends there, but {expected} entries were written")]
    Truncated {
        /// How many are there.
        len: u64,
        /// How many were written, by the head or a checkpoint.
        expected: u64,
    },
    /// The last entry is not the one that was written.
    #[error("entry {seq}, the last one, was added or edited behind the ledger's back")]
    LastEntry {
        /// Which entry.
        seq: u64,
    },
}

impl RawEntry {
    /// The entry, parsed but not audited.
    ///
    /// # Errors
    /// Its bytes do not parse.
    pub fn parse(&self) -> Result<Entry, Fault> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| LedgerFault::Damaged { seq: self.seq, reason: error.to_string() }.into())
    }

    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self { seq: row.get(0)?, bytes: row.get(1)? })
    }
}

impl Checkpoint {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            size: row.get(0)?,
            root: row.get::<Text<_>>(1)?.0,
            note: row.get(2)?,
            at_ms: Timestamp(row.get(3)?),
        })
    }
}

impl Store {
    /// Appends `events` in one transaction.
    ///
    /// # Errors
    /// An event contradicts the state, or the database fails; nothing is kept then.
    pub fn append(&self, events: &[Event], now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        self.write(|writer| events.iter().map(|event| writer.append(event.clone(), now)).collect())
    }

    /// Appends `events` if the ledger still has `expected_len` entries.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it has not; otherwise as [`Store::append`].
    pub fn append_if(
        &self,
        expected_len: u64,
        events: &[Event],
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        self.write(|writer| {
            let found = writer.head()?.len;
            if found != expected_len {
                return Err(StoreError::Conflict { expected: expected_len, found });
            }
            events.iter().map(|event| writer.append(event.clone(), now)).collect()
        })
    }

    /// Where the ledger stands.
    ///
    /// # Errors
    /// The database fails.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is not general over the view's lifetime"
    )]
    pub fn head(&self) -> Result<Head, StoreError> {
        self.read(|view| view.head())
    }

    /// Entries from `from_seq` on, at most [`ENTRIES_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn entries(&self, from_seq: u64, limit: usize) -> Result<Vec<RawEntry>, StoreError> {
        self.read(|view| view.entries(from_seq, limit))
    }

    /// Audits the whole ledger on one snapshot and names the first fault; none if there is none.
    ///
    /// # Errors
    /// The database fails.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is not general over the view's lifetime"
    )]
    pub fn verify(&self) -> Result<Option<Fault>, StoreError> {
        self.read(|view| view.verify())
    }
}

impl View<'_> {
    /// Entries before `before`, or the last ones, of one type or of all, the newest first; at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn entries_before(
        &self,
        before: Option<u64>,
        kind: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError> {
        const SQL: &str = "SELECT seq, bytes FROM ledger WHERE (?1 IS NULL OR seq < ?1)
             AND (?2 IS NULL OR instr(bytes, ?2) > 0) ORDER BY seq DESC LIMIT ?3";
        // Quotes inside a text are escaped: only the type itself reads so.
        let words = kind.map(|kind| format!("\"type\":\"{kind}\"").into_bytes());
        self.rows(
            "reading the ledger backwards",
            SQL,
            params![before, words, limit.min(ENTRIES_PAGE_MAX)],
            RawEntry::read,
        )
    }
}

impl View<'_> {
    /// The last entries that hold `word`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn newest_about(&self, word: &str, limit: usize) -> Result<Vec<RawEntry>, StoreError> {
        self.rows(
            "searching the ledger backwards",
            "SELECT seq, bytes FROM ledger WHERE instr(bytes, ?1) > 0 ORDER BY seq DESC LIMIT ?2",
            params![word.as_bytes(), limit.min(ENTRIES_PAGE_MAX)],
            RawEntry::read,
        )
    }

    /// Where the ledger stands.
    ///
    /// # Errors
    /// The database fails.
    pub fn head(&self) -> Result<Head, StoreError> {
        let head =
            self.row("reading the ledger's head", "SELECT len, hash FROM ledger_head", &[], |row| {
                Ok(Head { len: row.get(0)?, hash: row.get::<Text<_>>(1)?.0 })
            })?;
        Ok(head.unwrap_or(Head { len: 0, hash: GENESIS }))
    }

    /// Entries from `from_seq` on, at most [`ENTRIES_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn entries(&self, from_seq: u64, limit: usize) -> Result<Vec<RawEntry>, StoreError> {
        self.rows(
            "reading the ledger",
            "SELECT seq, bytes FROM ledger WHERE seq >= ?1 ORDER BY seq LIMIT ?2",
            params![from_seq, limit.min(ENTRIES_PAGE_MAX)],
            RawEntry::read,
        )
    }

    /// Entries from `from_seq` on with their seals, at most [`ENTRIES_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn sealed_entries(&self, from_seq: u64, limit: usize) -> Result<Vec<SealedEntry>, StoreError> {
        self.rows(
            "reading the ledger with its seals",
            "SELECT ledger.seq, bytes, seal FROM ledger LEFT JOIN seals ON seals.seq = ledger.seq
             WHERE ledger.seq >= ?1 ORDER BY ledger.seq LIMIT ?2",
            params![from_seq, limit.min(ENTRIES_PAGE_MAX)],
            |row| Ok(SealedEntry { entry: RawEntry::read(row)?, seal: row.get(2)? }),
        )
    }

    /// The latest checkpoint.
    ///
    /// # Errors
    /// The database fails.
    pub fn latest_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        const SQL: &str = "SELECT size, root, note, at_ms FROM checkpoints ORDER BY size DESC LIMIT 1";
        self.row("reading the latest checkpoint", SQL, &[], Checkpoint::read)
    }

    /// Every kept checkpoint, by size.
    ///
    /// # Errors
    /// The database fails.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        const SQL: &str = "SELECT size, root, note, at_ms FROM checkpoints ORDER BY size";
        self.rows("reading the checkpoints", SQL, &[], Checkpoint::read)
    }

    /// Audits the whole ledger and names the first fault; none if there is none.
    ///
    /// # Errors
    /// The database fails.
    pub fn verify(&self) -> Result<Option<Fault>, StoreError> {
        let mut chain = Chain::default();
        match self.replay(&mut chain, |_| Ok(())) {
            Err(StoreError::Damaged(fault)) => return Ok(Some(fault)),
            other => other?,
        }
        let (len, head) = (chain.len(), self.head()?);
        let covered = self.latest_checkpoint()?.map_or(0, |checkpoint| checkpoint.size);
        let expected = head.len.max(covered);
        Ok(match (len < expected, chain.head() == head.hash && len == head.len) {
            (true, _) => Some(Fault::Truncated { len, expected }),
            (false, true) => None,
            (false, false) => Some(Fault::LastEntry { seq: len.saturating_sub(1) }),
        })
    }

    /// Hands every entry, checked against the one before, to `each`.
    pub(crate) fn replay(
        &self,
        chain: &mut Chain,
        mut each: impl FnMut(&Entry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "SELECT seq, bytes FROM ledger WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut last = i64::MIN;
        loop {
            let page = self.rows("reading the ledger", SQL, params![last, ENTRIES_PAGE_MAX], |row| {
                Ok((row.get::<i64>(0)?, RawEntry::read(row)?))
            })?;
            let Some((seq, _)) = page.last() else { return Ok(()) };
            last = *seq;
            for (_, raw) in &page {
                each(&accept(chain, raw)?)?;
            }
        }
    }
}

fn accept(chain: &mut Chain, raw: &RawEntry) -> Result<Entry, Fault> {
    let (expected, found) = (chain.len(), raw.seq);
    if found != expected {
        return Err(LedgerFault::OutOfOrder { expected, found }.into());
    }
    Ok(chain.accept(&raw.bytes)?)
}

impl Writer<'_> {
    /// Puts `event` at the end of the ledger and updates the projections.
    ///
    /// # Errors
    /// The event contradicts the state, or the database fails; the transaction must then be dropped.
    pub fn append(&self, event: Event, now: Timestamp) -> Result<Entry, StoreError> {
        let head = self.head()?;
        let mut chain = Chain::resume(head.len, head.hash);
        let (entry, bytes) = chain.append(event, now)?;
        let sql = "INSERT INTO ledger (seq, bytes) VALUES (?1, ?2)";
        self.execute("appending to the ledger", sql, params![entry.seq, bytes])?;
        self.seal(entry.seq, &bytes)?;
        self.execute(
            "moving the ledger's head",
            "INSERT INTO ledger_head (id, len, hash) VALUES (0, ?1, ?2)
             ON CONFLICT (id) DO UPDATE SET len = excluded.len, hash = excluded.hash",
            params![chain.len(), Text(chain.head())],
        )?;
        self.project(&entry)?;
        Ok(entry)
    }

    fn seal(&self, seq: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(sealer) = self.sealer else { return Ok(()) };
        let seal = sealer(seq, bytes).map_err(|source| StoreError::Seal { seq, source })?;
        let sql = "INSERT INTO seals (seq, seal) VALUES (?1, ?2) ON CONFLICT (seq) DO UPDATE SET seal = excluded.seal";
        self.execute("sealing an entry", sql, params![seq, seal])?;
        Ok(())
    }

    /// Seals every entry that has no seal: those that a program wrote which knew of none.
    ///
    /// # Errors
    /// The database fails, or an entry cannot be signed.
    pub fn seal_the_unsealed(&self) -> Result<u64, StoreError> {
        let (mut from, mut sealed) = (0, 0);
        loop {
            let page = self.sealed_entries(from, ENTRIES_PAGE_MAX)?;
            let Some(last) = page.last() else { return Ok(sealed) };
            from = last.entry.seq + 1;
            for SealedEntry { entry, .. } in page.iter().filter(|sealed| sealed.seal.is_none()) {
                self.seal(entry.seq, &entry.bytes)?;
                sealed += 1;
            }
        }
    }

    /// Keeps a checkpoint; one of the same size is replaced.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let Checkpoint { size, root, note, at_ms } = checkpoint;
        self.execute(
            "keeping a checkpoint",
            "INSERT INTO checkpoints (size, root, note, at_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (size)
             DO UPDATE SET root = excluded.root, note = excluded.note, at_ms = excluded.at_ms",
            params![size, Text(root), note, at_ms.0],
        )?;
        Ok(())
    }
}
