//! What may be believed.
//!
//! A device is given a [`Root`] when it enrols; from then on it believes only what the root's roles signed. The
//! `releases` role says which bundles may run at all, the `rollouts` role only chooses among those ([`Believer`]), and
//! the `ledger` role signs checkpoints of the ledger's hash tree, so that history cannot be rewritten unseen
//! ([`tree`], [`checkpoint`]), and a [`seal`] on each entry. The control plane's side of the same documents is [`publish`].
//!
//! Everything here is a pure function of its arguments. Deliberately missing: async, clocks, the environment, the
//! network, files, and a source of randomness; seeds and `now` are handed in. Also missing, until TUF metadata takes
//! the place of the single root document: root rotation, revocation and delegations.

pub mod believer;
pub mod checkpoint;
pub mod envelope;
pub mod fleet;
pub mod key;
pub mod note;
pub mod publish;
pub mod root;
pub mod seal;
pub mod tree;
pub mod tuf;

#[cfg(test)]
mod fixtures;

pub use believer::{Accepted, Believer, TrustError};
pub use checkpoint::Checkpoint;
pub use key::{KeyId, PublicKey, Signer, SigningKey};
pub use root::{Authority, Role, RoleKeys, Root};
