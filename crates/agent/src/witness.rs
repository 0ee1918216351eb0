//! The device as a witness of the ledger: it keeps the latest checkpoint it saw, and believes only what continues it.
//!
//! A checkpoint counts if the ledger role signed it and a proof shows that its tree contains the one seen before. What
//! fails is told apart: a **rollback** offers fewer entries than were there, a **fork** another history. The checkpoint seen
//! before is kept then, for an auditor, and the fault is reported by name with every report until a checkpoint that
//! continues the kept one is offered again.

use std::path::PathBuf;

use edgeward_api::device::{CheckpointSince, LedgerSeen};
use edgeward_trust::checkpoint::CheckpointError;
use edgeward_trust::tree::{ProofError, TreeHead, verify_consistency};
use edgeward_trust::{Checkpoint, LedgerKeys};

use crate::durable::{Access, DurableError, read_if_present, replace};
use edgeward_sdk::chain;

/// The file in the agent's folder that holds the latest checkpoint.
pub const WITNESS_FILE: &str = "ledger.witness";

const NOTE_BYTES_MAX: u64 = 64 << 10;

/// Why a checkpoint is not believed.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFault {
    /// It is not a checkpoint that the ledger role signed.
    #[error("the checkpoint offered is not believed")]
    Note(#[from] CheckpointError),
    /// It covers less than one seen before.
    #[error(
        "rollback: this device saw a signed checkpoint over {seen} entries, and is offered one over {offered}; the ledger was \
         cut back or restored from a backup"
    )]
    Rollback {
        /// Entries that were there.
        seen: u64,
        /// Entries that are offered.
        offered: u64,
    },
    /// It does not continue one seen before.
    #[error(
        "fork: the signed checkpoint over {offered} entries does not continue the one over {seen} entries that this device \
         saw; the ledger's history was rewritten"
    )]
    Fork {
        /// Entries that were there.
        seen: u64,
        /// Entries that are offered.
        offered: u64,
        /// What the proof lacks.
        #[source]
        source: ProofError,
    },
    /// It cannot be kept.
    #[error(transparent)]
    Disk(#[from] DurableError),
}

/// What a device saw of the ledger.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    origin: String,
    keys: LedgerKeys,
    seen: Option<(TreeHead, String)>,
    fault: Option<String>,
}

impl Witness {
    /// The witness of the ledger that `keys` sign, with what it keeps in `path`. A file that cannot be read counts as none.
    #[must_use]
    pub fn open(path: PathBuf, keys: LedgerKeys) -> Self {
        let origin = keys.origin();
        let kept = read_if_present(&path, NOTE_BYTES_MAX).ok().flatten();
        let seen = kept.and_then(|bytes| {
            let note = String::from_utf8(bytes).ok()?;
            let checkpoint = Checkpoint::verify(&note, &origin, &keys).ok()?;
            Some((checkpoint.head, note))
        });
        Self { path, origin, keys, seen, fault: None }
    }

    /// Entries that the latest checkpoint covers; 0 before the first.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.seen.as_ref().map_or(0, |(head, _)| head.size)
    }

    /// What is reported of it; none before the first checkpoint.
    #[must_use]
    pub fn report(&self) -> Option<LedgerSeen> {
        let note = self.seen.as_ref().map(|(_, note)| note.clone());
        let seen = LedgerSeen { note, fault: self.fault.clone() };
        (seen != LedgerSeen::default()).then_some(seen)
    }

    /// Why the ledger is not believed; none while all is well.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Takes a checkpoint that continues the one seen before.
    ///
    /// # Errors
    /// It does not, or cannot be kept; what was seen before stays.
    pub fn take(&mut self, offered: &CheckpointSince) -> Result<(), WitnessFault> {
        let taken = self.judge(offered).and_then(|head| self.keep(head, &offered.note));
        match &taken {
            Ok(()) => self.fault = None,
            Err(WitnessFault::Disk(_)) => {}
            Err(fault) => self.fault = Some(chain(fault)),
        }
        taken
    }

    fn judge(&self, offered: &CheckpointSince) -> Result<TreeHead, WitnessFault> {
        let head = Checkpoint::verify(&offered.note, &self.origin, &self.keys)?.head;
        let Some((seen, _)) = &self.seen else { return Ok(head) };
        if head.size < seen.size {
            return Err(WitnessFault::Rollback { seen: seen.size, offered: head.size });
        }
        let proof = offered.consistency.as_deref().unwrap_or_default();
        verify_consistency(seen, &head, proof).map(|()| head).map_err(|source| WitnessFault::Fork {
            seen: seen.size,
            offered: head.size,
            source,
        })
    }

    fn keep(&mut self, head: TreeHead, note: &str) -> Result<(), WitnessFault> {
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != head) {
            replace(&self.path, note.as_bytes(), Access::Default)?;
            self.seen = Some((head, note.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_trust::tree::{StoredTree, leaf_hash};
    use edgeward_trust::{Signer as _, SigningKey};

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn keys() -> LedgerKeys {
        LedgerKeys { keys: vec![key().public_key()], threshold: 1 }
    }

    /// A ledger whose entries from `fork` on are others.
    fn ledger(size: u64, fork: u64) -> StoredTree {
        let mut tree = StoredTree::default();
        (0..size).for_each(|n| tree.push(leaf_hash(format!("{n} {}", n >= fork).as_bytes())));
        tree
    }

    fn offer(tree: &StoredTree, since: u64) -> CheckpointSince {
        let head = tree.head_at(tree.size()).unwrap();
        let checkpoint = Checkpoint { origin: keys().origin(), head };
        let note = checkpoint.sign(&[&key()]).unwrap();
        CheckpointSince { note, consistency: tree.prove_consistency(since, tree.size()) }
    }

    #[test]
    fn a_ledger_that_grows_is_believed_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WITNESS_FILE);
        let mut witness = Witness::open(path.clone(), keys());
        assert_eq!(witness.report(), None);
        witness.take(&offer(&ledger(5, 9), 0)).unwrap();
        let mut witness = Witness::open(path, keys());
        assert_eq!(witness.size(), 5);
        witness.take(&offer(&ledger(9, 9), 5)).unwrap();
        witness.take(&offer(&ledger(9, 9), 9)).unwrap();
        assert_eq!((witness.size(), witness.fault()), (9, None));
    }

    #[test]
    fn forks_and_rollbacks_are_named_and_the_past_is_kept() {
        for seen in 1..20 {
            let folder = tempfile::tempdir().unwrap();
            let mut witness = Witness::open(folder.path().join(WITNESS_FILE), keys());
            witness.take(&offer(&ledger(seen, 99), 0)).unwrap();
            for fork in 0..seen {
                let forked = witness.take(&offer(&ledger(20, fork), seen)).unwrap_err();
                assert!(matches!(forked, WitnessFault::Fork { .. }), "{seen} {fork}: {forked}");
            }
            let cut = witness.take(&offer(&ledger(seen - 1, 99), 0)).unwrap_err();
            assert!(matches!(cut, WitnessFault::Rollback { .. }), "{cut}");
            assert!(witness.report().unwrap().fault.unwrap().starts_with("rollback: "));
            assert_eq!(witness.size(), seen);
            witness.take(&offer(&ledger(20, 99), seen)).unwrap();
            assert_eq!((witness.size(), witness.fault()), (20, None));
        }
    }

    #[test]
    fn what_the_ledger_role_did_not_sign_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = Witness::open(folder.path().join(WITNESS_FILE), keys());
        let mut forged = offer(&ledger(3, 9), 0);
        forged.note = forged.note.replace("\n3\n", "\n4\n");
        assert!(matches!(witness.take(&forged), Err(WitnessFault::Note(_))));
        assert_eq!(witness.size(), 0);
        assert!(witness.report().unwrap().fault.is_some());
    }
}
