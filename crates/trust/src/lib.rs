//! What may be believed.
//!
//! A device is given the root of a repository when it enrols; from then on it believes only what follows from it by the
//! rules of The Update Framework ([`tuf`]). Over them lies a fleet's repository ([`fleet`]): the `releases` role says which
//! bundles may run at all, the `rollouts` role only chooses among those. The root also names the keys that sign
//! checkpoints of the ledger's hash tree, so that history cannot be rewritten unseen ([`tree`], [`checkpoint`]), and a
//! [`seal`] on each entry.
//!
//! Everything here is a pure function of its arguments. Deliberately missing: async, clocks, the environment, the
//! network, files, and a source of randomness; seeds and `now` are handed in.

pub mod checkpoint;
pub mod fleet;
pub mod key;
pub mod note;
pub mod seal;
pub mod tree;
pub mod tuf;

#[cfg(test)]
mod fixtures;

pub use checkpoint::Checkpoint;
pub use fleet::LedgerKeys;
pub use key::{KeyId, PublicKey, Signer, SigningKey};
