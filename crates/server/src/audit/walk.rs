//! One pass over a ledger, from wherever it is read.

use edgeward_core::Digest;
use edgeward_core::ledger::{Chain, LedgerFault};
use edgeward_store::{Checkpoint, ENTRIES_PAGE_MAX, Fault, Head, SealedEntry, StoreError, View};
use edgeward_trust::seal;
use edgeward_trust::tree::{Frontier, TreeHead, leaf_hash};
use serde::Serialize;

use super::{AuditFault, Identity};

/// What an audit reads.
pub trait Ledger {
    /// Entries from `from` on, in order; empty after the last.
    ///
    /// # Errors
    /// They cannot be read.
    fn entries(&self, from: u64) -> Result<Vec<SealedEntry>, StoreError>;
    /// What the last append left behind.
    ///
    /// # Errors
    /// It cannot be read.
    fn head(&self) -> Result<Head, StoreError>;
    /// Every kept checkpoint, by size.
    ///
    /// # Errors
    /// They cannot be read.
    fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError>;
}

impl Ledger for View<'_> {
    fn entries(&self, from: u64) -> Result<Vec<SealedEntry>, StoreError> {
        self.sealed_entries(from, ENTRIES_PAGE_MAX)
    }

    fn head(&self) -> Result<Head, StoreError> {
        View::head(self)
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        View::checkpoints(self)
    }
}

/// A checkpoint that somebody saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Who: a device, a file.
    pub by: String,
    /// The signed note.
    pub note: String,
}

/// A ledger without fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries from the first on.
    pub entries: u64,
    /// Signed checkpoints that agree with them.
    pub checkpoints: usize,
    /// Checkpoints seen by others that agree with them.
    pub witnesses: usize,
    /// Entries that the last checkpoint does not cover yet; each has its seal.
    pub unsigned: u64,
    /// The root of the tree over all entries.
    pub root: Digest,
    /// Records of predictions that are those whose roots the entries have.
    pub records: u64,
}

/// Checks a ledger against its signatures and against what others saw of it.
///
/// # Errors
/// The first fault.
pub fn audit(
    ledger: &impl Ledger,
    identity: &Identity,
    witnesses: &[Witness],
) -> Result<Verified, AuditFault> {
    let kept = ledger.checkpoints()?;
    let mut marks = kept.iter().map(|kept| of_checkpoint(kept, identity)).collect::<Result<Vec<_>, _>>()?;
    let covered = marks.last().map_or(0, |mark| mark.head.size);
    for witness in witnesses {
        marks.push(of_witness(witness, identity)?);
    }
    marks.sort_by_key(|mark| mark.head.size);
    let mut walk =
        Walk { identity, chain: Chain::default(), tree: Frontier::default(), marks: &marks, agreed: 0 };
    walk.meet()?;
    loop {
        let page = ledger.entries(walk.chain.len())?;
        if page.is_empty() {
            break;
        }
        page.iter().try_for_each(|entry| walk.accept(entry))?;
    }
    let root = walk.end(&ledger.head()?)?;
    let (len, longest) = (walk.chain.len(), marks.last());
    if let Some(Mark { head, by }) = longest.filter(|mark| mark.head.size > covered) {
        return Err(AuditFault::CheckpointsDeleted { kept: covered, size: head.size, by: by.clone() });
    }
    Ok(Verified {
        entries: len,
        checkpoints: kept.len(),
        witnesses: witnesses.len(),
        unsigned: len - covered,
        root,
        records: 0,
    })
}

/// Who keeps the checkpoints in the ledger's own database.
const DATABASE: &str = "the database";

/// A head that the tree must have had.
struct Mark {
    head: TreeHead,
    by: String,
}

fn of_checkpoint(kept: &Checkpoint, identity: &Identity) -> Result<Mark, AuditFault> {
    let Checkpoint { size, root, note, .. } = kept;
    let by = DATABASE.to_owned();
    let signed = edgeward_trust::Checkpoint::verify(note, &identity.origin, &identity.keys)
        .map_err(|source| AuditFault::Checkpoint { size: *size, by: by.clone(), source })?;
    match signed.head == (TreeHead { size: *size, root: *root }) {
        true => Ok(Mark { head: signed.head, by }),
        false => Err(AuditFault::CheckpointEdited { size: *size }),
    }
}

fn of_witness(witness: &Witness, identity: &Identity) -> Result<Mark, AuditFault> {
    let by = witness.by.clone();
    let size = || witness.note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
    match edgeward_trust::Checkpoint::verify(&witness.note, &identity.origin, &identity.keys) {
        Ok(signed) => Ok(Mark { head: signed.head, by }),
        Err(source) => Err(AuditFault::Checkpoint { size: size(), by, source }),
    }
}

/// The entries so far.
struct Walk<'a> {
    identity: &'a Identity,
    chain: Chain,
    tree: Frontier,
    /// By size, growing.
    marks: &'a [Mark],
    agreed: usize,
}

impl Walk<'_> {
    fn accept(&mut self, sealed: &SealedEntry) -> Result<(), AuditFault> {
        let (entry, expected) = (&sealed.entry, self.chain.len());
        if entry.seq != expected {
            return Err(Fault::Entry(LedgerFault::OutOfOrder { expected, found: entry.seq }).into());
        }
        let Identity { origin, keys } = self.identity;
        match &sealed.seal {
            None => return Err(AuditFault::Unsealed { seq: expected }),
            Some(seal) if !seal::verifies(origin, expected, &entry.bytes, seal, keys) => {
                return Err(AuditFault::Seal { seq: expected });
            }
            Some(_) => {}
        }
        self.chain.accept(&entry.bytes).map_err(Fault::Entry)?;
        self.tree.push(leaf_hash(&entry.bytes));
        self.meet()
    }

    /// Compares the tree with every mark at its size.
    fn meet(&mut self) -> Result<(), AuditFault> {
        let head = self.tree.head();
        while let Some(mark) = self.marks.get(self.agreed).filter(|mark| mark.head.size == head.size) {
            if mark.head != head {
                // Whoever could fork a sealed history could sign its checkpoints, too: what others saw counts.
                let counts = |agreed: &&Mark| agreed.head.size < head.size && agreed.by != DATABASE;
                let before = self.marks[..self.agreed].iter().rev().find(counts);
                let first = before.map_or(0, |agreed| agreed.head.size);
                return Err(AuditFault::Forked { first, size: head.size, by: mark.by.clone() });
            }
            self.agreed += 1;
        }
        Ok(())
    }

    /// The root, if nothing is missing or left over.
    fn end(&self, head: &Head) -> Result<Digest, AuditFault> {
        let len = self.chain.len();
        if let Some(Mark { head, by }) = self.marks.last().filter(|mark| mark.head.size > len) {
            return Err(AuditFault::RolledBack { len, size: head.size, by: by.clone() });
        }
        if len < head.len {
            return Err(Fault::Truncated { len, expected: head.len }.into());
        }
        if len > head.len || self.chain.head() != head.hash {
            return Err(Fault::LastEntry { seq: len.saturating_sub(1) }.into());
        }
        Ok(self.tree.head().root)
    }
}
