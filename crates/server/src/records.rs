//! Records of predictions: taken in, made batches whose roots are in the ledger, and told with proof.
//!
//! What may have to be forgotten is encrypted as it arrives, under the keys of the day on which it must be unreadable and of
//! whom it is about ([`Vault`]). When a key is dropped, the records, their batches and the ledger stay as they are. A record
//! whose own time is over, or whose subject was erased, leaves the digest of its leaf, and its batch the same root ([`forget`]).
//!
//! Deliberately missing: overwriting what the database's file still holds of what was forgotten; see `docs/guides/audit.md`.

mod batch;
mod forget;
mod prove;
mod vault;

pub(crate) use batch::{leaf_hash, make_batches};
pub(crate) use forget::{erase_due, erase_subject, expire_due};
pub(crate) use prove::{lineage, prediction};
pub(crate) use vault::{Place, Vault, VaultError, day_of};
