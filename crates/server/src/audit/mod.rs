//! Whether the ledger is what was written, entry by entry, and what of it can be shown to others.
//!
//! An audit needs no running control plane and writes nothing. It names the first entry that is not what was written:
//!
//! - each entry is canonical, in its place, sealed by the ledger role, and continues the one before it;
//! - the head is that of the last entry;
//! - at the size of every kept checkpoint the tree has the root that was signed;
//! - the same holds for every checkpoint that somebody else saw: the file beside the keys, devices that report what they
//!   saw, and notes that an auditor brings;
//! - the records of predictions in each batch have the root that an entry has.
//!
//! A ledger without checkpoints is refused unless it is empty as the file beside the keys says.

mod batches;
mod export;
mod fault;
mod folder;
mod reading;
mod show;
mod walk;

pub use export::{EXPORT_SCHEMA, ExportError, Exported, VERIFIER};
pub use fault::AuditFault;
pub use folder::{OpenError, Opened, WITNESS_FILE};
pub(crate) use folder::{own_witness, verify};
pub use reading::ReadingError;
pub(crate) use show::prove;
pub use show::{Inclusion, Seen, Summary};
pub use walk::{Ledger, Verified, Witness, audit};

use edgeward_trust::LedgerKeys;

/// Whose ledger it is to be.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The log's name.
    pub origin: String,
    /// The keys that sign for it.
    pub keys: LedgerKeys,
}

impl Identity {
    /// The ledger that `keys` sign for.
    #[must_use]
    pub fn of(keys: LedgerKeys) -> Self {
        Self { origin: keys.origin(), keys }
    }

    /// Whether `note` is a signed checkpoint of this ledger.
    #[must_use]
    pub fn signed(&self, note: &str) -> bool {
        edgeward_trust::Checkpoint::verify(note, &self.origin, &self.keys).is_ok()
    }
}
