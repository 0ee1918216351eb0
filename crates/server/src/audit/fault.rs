//! What an audit finds, and which entry is the first bad one.

use edgeward_core::ledger::LedgerFault;
use edgeward_store::{Fault, StoreError};
use edgeward_trust::checkpoint::CheckpointError;

/// The first fault of a ledger.
#[derive(Debug, thiserror::Error)]
pub enum AuditFault {
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// In or between entries, or at the end.
    #[error(transparent)]
    Entry(#[from] Fault),
    /// An entry that the control plane did not sign.
    #[error("entry {seq} was edited, added or moved: its seal is not that of this entry in this place")]
    Seal {
        /// Which entry.
        seq: u64,
    },
    /// An entry without a signature.
    #[error("entry {seq} has no seal: it was added behind the ledger's back, or its seal was deleted")]
    Unsealed {
        /// Which entry.
        seq: u64,
    },
    /// A checkpoint that the ledger role did not sign.
    #[error("the checkpoint over {size} entries, kept by {by}, is not believed")]
    Checkpoint {
        /// How many entries it says it covers.
        size: u64,
        /// Who keeps it.
        by: String,
        /// Why not.
        #[source]
        source: CheckpointError,
    },
    /// A checkpoint whose note says something else than what stands beside it.
    #[error("the checkpoint over {size} entries was edited: its signed note is of another size or root")]
    CheckpointEdited {
        /// How many entries it says it covers.
        size: u64,
    },
    /// The history was cut back and written on, or replaced.
    #[error(
        "entry {first} or one after it, before entry {size}, is another than it was: {by} saw a signed checkpoint over \
         {size} entries whose root is not that of this ledger; the history was forked"
    )]
    Forked {
        /// The first entry that no agreeing checkpoint covers.
        first: u64,
        /// Entries that the checkpoint covers.
        size: u64,
        /// Who saw it.
        by: String,
    },
    /// Entries are missing at the end.
    #[error(
        "entry {len} is missing: the ledger ends there, but {by} saw a signed checkpoint over {size} entries"
    )]
    RolledBack {
        /// Entries that are there.
        len: u64,
        /// Entries that were there.
        size: u64,
        /// Who saw them.
        by: String,
    },
    /// Checkpoints were deleted.
    #[error(
        "checkpoints were deleted: {by} saw one over {size} entries, and the latest that is kept covers {kept}; entry \
         {kept} is the first that none covers"
    )]
    CheckpointsDeleted {
        /// Entries that the latest kept one covers; 0 if none is kept.
        kept: u64,
        /// Entries that a checkpoint covered.
        size: u64,
        /// Who saw it.
        by: String,
    },
    /// Records of predictions are not those whose root is in the ledger.
    #[error(
        "the records of batch {batch} are not those that were kept: entry {entry} has the root of others; one of them was \
         edited, dropped or added"
    )]
    Records {
        /// Which batch.
        batch: u64,
        /// The entry with its root.
        entry: u64,
    },
    /// The file beside the keys is gone.
    #[error(
        "the file {0} beside the keys is missing: it holds the latest checkpoint, and without it nobody here knows how \
         long the ledger was"
    )]
    WitnessMissing(String),
}

impl AuditFault {
    /// The first entry that is not what was written, by its place; none if the fault is in no entry.
    #[must_use]
    pub const fn first_bad(&self) -> Option<u64> {
        match self {
            Self::Entry(Fault::Entry(fault)) => Some(match fault {
                LedgerFault::Damaged { seq, .. } | LedgerFault::BrokenChain { seq } => *seq,
                LedgerFault::OutOfOrder { expected, .. } => *expected,
            }),
            Self::Entry(Fault::Truncated { len, .. }) | Self::RolledBack { len, .. } => Some(*len),
            Self::Entry(Fault::LastEntry { seq }) | Self::Seal { seq } | Self::Unsealed { seq } => Some(*seq),
            Self::Forked { first, .. } => Some(*first),
            Self::CheckpointsDeleted { kept, .. } => Some(*kept),
            Self::Store(_)
            | Self::Checkpoint { .. }
            | Self::CheckpointEdited { .. }
            | Self::Records { .. }
            | Self::WitnessMissing(_) => None,
        }
    }
}
