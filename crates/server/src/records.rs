//! Records of predictions: taken in, made batches whose roots are in the ledger, and told with proof.
//!
//! What may have to be forgotten is encrypted as it arrives, under the key of the day on which it must be unreadable
//! ([`Vault`]). On that day the key is dropped; the records, their batches and the ledger stay as they are.
//!
//! Deliberately missing: a limit on how many records are kept; see `docs/guides/audit.md`.

mod batch;
mod prove;
mod vault;

pub(crate) use batch::{erase_due, make_batches};
pub(crate) use prove::{lineage, prediction};
pub(crate) use vault::{Vault, VaultError, day_of};
