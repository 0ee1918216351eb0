//! The root: the keys a device believes, and for what.
//!
//! A device receives its root when it enrols, over a channel it already trusts, and pins it. This is deliberately the
//! smallest honest scheme: one document, no rotation, no revocation. TUF's root role, which can replace itself,
//! arrives later behind the same interface, [`Root::authority`]: whoever verifies asks only for "the keys of this role
//! and how many of them must sign".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use edgeward_core::{Timestamp, canonical};
use serde::{Deserialize, Serialize};

use crate::key::{KeyId, PublicKey};

/// Schema of [`Root`].
pub const ROOT_SCHEMA: &str = "edgeward.root/1";
/// Most keys one root may name.
pub const ROOT_KEYS_MAX: usize = 64;
/// Largest root document accepted, in bytes.
pub const ROOT_BYTES_MAX: usize = 64 << 10;

/// The pinned root document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Always [`ROOT_SCHEMA`].
    pub schema: String,
    /// 1, 2, 3, ... per control plane.
    pub version: u64,
    /// Every key a role refers to, by its id.
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// Who may say what.
    pub roles: Roles,
    /// After this the device keeps what it runs and accepts nothing new; absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<Timestamp>,
}

/// The keys of each role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Signs that a bundle may run at all; its keys can stay offline.
    pub releases: RoleKeys,
    /// Signs the desired state, which only chooses among released bundles.
    pub rollouts: RoleKeys,
    /// Signs checkpoints of the ledger.
    pub ledger: RoleKeys,
}

/// The keys of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleKeys {
    /// Which keys count.
    pub keyids: BTreeSet<KeyId>,
    /// How many different ones must sign; at least 1.
    pub threshold: usize,
}

/// What a signature may vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// That a bundle may run.
    Releases,
    /// What the fleet should run.
    Rollouts,
    /// What the ledger holds.
    Ledger,
}

/// The keys that speak for a role, and how many of them must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The role, for error messages.
    pub role: Role,
    /// Its keys.
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// How many different keys must sign.
    pub threshold: usize,
}

/// Why a root is refused.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Larger than [`ROOT_BYTES_MAX`].
    #[error("the root is {0} bytes, over the limit of {ROOT_BYTES_MAX}; this is not a root document")]
    TooLarge(usize),
    /// Not the JSON of a root.
    #[error("parsing the root; fetch it again from the control plane's operator")]
    Parse(#[source] serde_json::Error),
    /// Another schema.
    #[error("the root's schema is '{0}', this program reads '{ROOT_SCHEMA}'; update the program")]
    Schema(String),
    /// More than [`ROOT_KEYS_MAX`] keys.
    #[error("the root names {0} keys, over the limit of {ROOT_KEYS_MAX}")]
    TooManyKeys(usize),
    /// A key stands under an id that is not its own.
    #[error("the root lists a key under {0}, which is not that key's id; fetch the root again")]
    KeyIdMismatch(KeyId),
    /// A role names a key that the root does not list.
    #[error("role {role} names key {keyid}, which the root does not list; fetch the root again")]
    MissingKey {
        /// The role.
        role: Role,
        /// The key.
        keyid: KeyId,
    },
    /// A threshold that means nothing, or that can never be reached.
    #[error(
        "role {role} asks for {threshold} of {keys} keys; the threshold must be from 1 to the number of keys"
    )]
    Threshold {
        /// The role.
        role: Role,
        /// What it asks for.
        threshold: usize,
        /// How many keys it has.
        keys: usize,
    },
}

impl RoleKeys {
    /// A role that any one of `keys` can speak for.
    #[must_use]
    pub fn any_of<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        Self { keyids: keys.into_iter().map(PublicKey::keyid).collect(), threshold: 1 }
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Releases, Self::Rollouts, Self::Ledger];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Releases => "releases",
            Self::Rollouts => "rollouts",
            Self::Ledger => "ledger",
        })
    }
}

impl Root {
    /// A root over `keys`; its consistency is checked.
    ///
    /// # Errors
    /// A role names a key that is not in `keys`, or its threshold cannot be met.
    pub fn new(
        version: u64,
        keys: impl IntoIterator<Item = PublicKey>,
        roles: Roles,
        expires_at_ms: Option<Timestamp>,
    ) -> Result<Self, RootError> {
        let keys = keys.into_iter().map(|key| (key.keyid(), key)).collect();
        let root = Self { schema: ROOT_SCHEMA.to_owned(), version, keys, roles, expires_at_ms };
        root.check()?;
        Ok(root)
    }

    /// Reads and checks a root document.
    ///
    /// # Errors
    /// Any rule in [`RootError`] is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        if bytes.len() > ROOT_BYTES_MAX {
            return Err(RootError::TooLarge(bytes.len()));
        }
        let root: Self = serde_json::from_slice(bytes).map_err(RootError::Parse)?;
        root.check()?;
        Ok(root)
    }

    /// The canonical bytes, which people compare by digest when they pin a root by hand.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
            .expect("a root is text and whole numbers, which always have a canonical form")
    }

    /// Checks a root that came from elsewhere than [`Root::parse`].
    ///
    /// # Errors
    /// Any rule in [`RootError`] is broken.
    pub fn check(&self) -> Result<(), RootError> {
        if self.schema != ROOT_SCHEMA {
            return Err(RootError::Schema(self.schema.clone()));
        }
        if self.keys.len() > ROOT_KEYS_MAX {
            return Err(RootError::TooManyKeys(self.keys.len()));
        }
        if let Some((keyid, _)) = self.keys.iter().find(|(keyid, key)| key.keyid() != **keyid) {
            return Err(RootError::KeyIdMismatch(*keyid));
        }
        Role::ALL.into_iter().try_for_each(|role| self.check_role(role))
    }

    fn check_role(&self, role: Role) -> Result<(), RootError> {
        let RoleKeys { keyids, threshold } = self.role(role);
        if let Some(keyid) = keyids.iter().find(|keyid| !self.keys.contains_key(keyid)) {
            return Err(RootError::MissingKey { role, keyid: *keyid });
        }
        if !(1..=keyids.len()).contains(threshold) {
            return Err(RootError::Threshold { role, threshold: *threshold, keys: keyids.len() });
        }
        Ok(())
    }

    /// The keys that speak for `role`.
    #[must_use]
    pub fn authority(&self, role: Role) -> Authority {
        let RoleKeys { keyids, threshold } = self.role(role);
        let mut keys = self.keys.clone();
        keys.retain(|keyid, _| keyids.contains(keyid));
        Authority { role, keys, threshold: *threshold }
    }

    const fn role(&self, role: Role) -> &RoleKeys {
        match role {
            Role::Releases => &self.roles.releases,
            Role::Rollouts => &self.roles.rollouts,
            Role::Ledger => &self.roles.ledger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{key, root};
    use crate::key::Signer as _;
    use proptest::prelude::*;

    fn refused(break_it: impl FnOnce(&mut Root)) -> RootError {
        let mut broken = root();
        break_it(&mut broken);
        Root::parse(&serde_json::to_vec(&broken).unwrap()).unwrap_err()
    }

    #[test]
    fn a_root_reads_back() {
        assert_eq!(Root::parse(&root().to_bytes()).unwrap(), root());
    }

    #[test]
    fn each_role_has_its_own_keys() {
        let authority = root().authority(Role::Rollouts);
        assert_eq!(authority.threshold, 2);
        assert!(authority.keys.contains_key(&key(2).keyid()));
        assert!(!authority.keys.contains_key(&key(1).keyid()));
    }

    #[test]
    fn broken_roots_are_refused() {
        let stranger = key(99).public_key();
        assert!(matches!(refused(|r| r.schema = "edgeward.root/2".into()), RootError::Schema(_)));
        assert!(matches!(refused(|r| r.roles.ledger.threshold = 0), RootError::Threshold { .. }));
        assert!(matches!(refused(|r| r.roles.rollouts.threshold = 9), RootError::Threshold { .. }));
        assert!(matches!(
            refused(|r| {
                r.roles.ledger.keyids.insert(stranger.keyid());
            }),
            RootError::MissingKey { role: Role::Ledger, .. }
        ));
        assert!(matches!(
            refused(|r| {
                r.keys.insert(key(1).keyid(), stranger.clone());
            }),
            RootError::KeyIdMismatch(_)
        ));
        assert!(matches!(
            refused(|r| r.keys.extend((100..200).map(|n| (key(n).keyid(), key(n).public_key())))),
            RootError::TooManyKeys(_)
        ));
        assert!(matches!(Root::parse(&vec![b' '; ROOT_BYTES_MAX + 1]), Err(RootError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Root::parse(&bytes).is_err());
        }

        #[test]
        fn a_flipped_byte_never_panics(position in 0usize..900, flip in 1u8..) {
            let mut bytes = root().to_bytes();
            let length = bytes.len();
            bytes[position % length] ^= flip;
            let _ = Root::parse(&bytes);
        }
    }
}
