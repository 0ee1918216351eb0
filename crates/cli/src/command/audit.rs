//! `edgeward audit verify`: whether the ledger is what was written, entry by entry.
//!
//! Three things are checked in one pass: each entry continues the one before it, the head is that of the last entry, and
//! the hash tree over the entries has, at the size of every kept checkpoint, the root that the ledger role signed. The
//! database is opened for reading only, so a running control plane is not disturbed.

use std::fs;
use std::path::Path;

use edgeward_core::Digest;
use edgeward_core::ledger::{Chain, LedgerFault};
use edgeward_server::ledger_origin;
use edgeward_store::{Checkpoint, ENTRIES_PAGE_MAX, Fault, RawEntry, Store, StoreError, View};
use edgeward_trust::tree::{Frontier, leaf_hash};
use edgeward_trust::{Authority, Role, Root};
use serde::Serialize;

use crate::args::AuditCommand;
use crate::output::{Explain, Failure, Outcome, Output, with_causes};

/// A ledger without fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Entries from the first on.
    pub(crate) entries: u64,
    /// Signed checkpoints that agree with them.
    pub(crate) checkpoints: usize,
    /// Entries that the last checkpoint does not cover yet.
    pub(crate) unsigned: u64,
    /// The root of the tree over all entries.
    pub(crate) root: Digest,
}

impl Verified {
    /// In a sentence.
    pub(crate) fn words(&self) -> String {
        format!(
            "{} entries follow from one another and {} signed checkpoints agree with them ({} entries not covered yet)",
            self.entries, self.checkpoints, self.unsigned
        )
    }
}

/// What is wrong with a ledger.
#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the checkpoint over {size} entries is not believed")]
    Checkpoint {
        size: u64,
        #[source]
        source: edgeward_trust::checkpoint::CheckpointError,
    },
    #[error(
        "entry {last} or one before it was edited: the tree over {size} entries has not the root that was signed"
    )]
    Root { size: u64, last: u64 },
}

pub(crate) fn run(command: &AuditCommand, out: Output) -> Outcome {
    let AuditCommand::Verify { data } = command;
    let verified = verify(data)?;
    out.document(&verified, |verified| format!("verified: {}", verified.words()))
}

/// Checks the ledger in a control plane's folder.
pub(crate) fn verify(data: &Path) -> Result<Verified, Failure> {
    let doing = format!("verifying the ledger in {}", data.display());
    let database = data.join("edgeward.db");
    if !database.is_file() {
        return Err(Failure::new("not_found", format!("{doing}: there is no {}", database.display()))
            .hint("name the control plane's folder with --data or EDGEWARD_DATA"));
    }
    let root = fs::read(data.join("keys/root.json")).explain("root", &doing)?;
    let root = Root::parse(&root).explain("root", &doing)?;
    let store = Store::open_read_only(&database).explain("store", &doing)?;
    let audit = Audit { origin: ledger_origin(&root), authority: root.authority(Role::Ledger) };
    store.read(|view| audit.run(view)).map_err(|error| {
        Failure::new("ledger", format!("{doing}: {}", with_causes(&error)))
            .hint("compare with a backup, and with the checkpoints that devices remember")
    })
}

struct Audit {
    origin: String,
    authority: Authority,
}

impl Audit {
    fn run(&self, view: &View<'_>) -> Result<Verified, AuditError> {
        let checkpoints = view.checkpoints()?;
        for checkpoint in &checkpoints {
            self.check_signature(checkpoint)?;
        }
        let mut walk = Walk { checkpoints: &checkpoints, ..Walk::default() };
        loop {
            let page = view.entries(walk.chain.len(), ENTRIES_PAGE_MAX)?;
            if page.is_empty() {
                break;
            }
            page.iter().try_for_each(|entry| walk.accept(entry))?;
        }
        let head = view.head()?;
        walk.end(head.len, head.hash)
    }

    fn check_signature(&self, kept: &Checkpoint) -> Result<(), AuditError> {
        let believed = edgeward_trust::Checkpoint::verify(&kept.note, &self.origin, &self.authority)
            .map_err(|source| AuditError::Checkpoint { size: kept.size, source })?;
        match believed.head.size == kept.size && believed.head.root == kept.root {
            true => Ok(()),
            false => Err(AuditError::Root { size: kept.size, last: kept.size.saturating_sub(1) }),
        }
    }
}

/// The entries so far.
#[derive(Default)]
struct Walk<'a> {
    chain: Chain,
    tree: Frontier,
    /// By size, growing.
    checkpoints: &'a [Checkpoint],
    agreed: usize,
}

impl Walk<'_> {
    fn accept(&mut self, entry: &RawEntry) -> Result<(), AuditError> {
        let expected = self.chain.len();
        if entry.seq != expected {
            return Err(Fault::Entry(LedgerFault::OutOfOrder { expected, found: entry.seq }).into());
        }
        self.chain.accept(&entry.bytes).map_err(Fault::Entry)?;
        self.tree.push(leaf_hash(&entry.bytes));
        let size = self.tree.size();
        match self.checkpoints.get(self.agreed).filter(|checkpoint| checkpoint.size == size) {
            Some(checkpoint) if checkpoint.root != self.tree.head().root => {
                Err(AuditError::Root { size, last: size - 1 })
            }
            Some(_) => {
                self.agreed += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn end(self, expected: u64, hash: Digest) -> Result<Verified, AuditError> {
        let len = self.chain.len();
        let covered = self.checkpoints.last().map_or(0, |checkpoint| checkpoint.size);
        let expected = expected.max(covered);
        if len < expected {
            return Err(Fault::Truncated { len, expected }.into());
        }
        if len > expected || self.chain.head() != hash {
            return Err(Fault::LastEntry { seq: len.saturating_sub(1) }.into());
        }
        let head = self.tree.head();
        Ok(Verified { entries: len, checkpoints: self.agreed, unsigned: len - covered, root: head.root })
    }
}
