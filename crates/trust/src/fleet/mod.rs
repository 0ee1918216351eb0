//! A fleet's repository: what Edgeward says with TUF's words.
//!
//! The top-level targets role, offline, delegates twice. `releases` (its key stays offline too) vouches for one target per
//! release, the bundle's manifest, at `releases/<model>/<bundle>/manifest.json`; a bundle is named by the SHA-256 of its
//! manifest, so the signed hash is the bundle's name. `rollouts` (online) vouches for `rollouts/desired.json`, the
//! desired state of the fleet. Both delegations are terminating and their paths do not overlap, so whoever holds the
//! online keys can only choose among what was released: [`refresh`] looks up every bundle the desired state names.
//! [`Shelf`] is the other side.
//!
//! The root also says which keys sign the ledger's checkpoints, in a field of its own: TUF has no such role.

mod compose;
mod load;
mod publish;
mod refresh;
#[cfg(feature = "rehearsal")]
pub mod rehearsal;
mod releases;
mod rotate;

use edgeward_core::{Digest, ModelName, canonical};
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;
use crate::tuf::Root;
use crate::tuf::metadata::RoleKeys;

pub use compose::{FleetKeys, Lives};
pub use load::LoadError;
pub use publish::{File, OnlineSigners, PublishError, Shelf, target_file};
pub use refresh::{FleetError, Refreshed, Wishes, refresh};
pub use releases::{Draft, add_release, renew_releases};
pub use rotate::{Change, Drafts};

/// The role that says which bundles may run.
pub const RELEASES: &str = "releases";
/// The role that chooses among them.
pub const ROLLOUTS: &str = "rollouts";
/// The target that holds the desired state.
pub const DESIRED_PATH: &str = "rollouts/desired.json";
/// What `releases` may vouch for.
pub const RELEASES_PATTERN: &str = "releases/*/*/manifest.json";
/// What `rollouts` may vouch for.
pub const ROLLOUTS_PATTERN: &str = "rollouts/*";
/// The root's field that names the ledger's keys.
pub const LEDGER_FIELD: &str = "x-edgeward-ledger";

/// The target that stands for a release.
#[must_use]
pub fn release_path(model: &ModelName, bundle: &Digest) -> String {
    format!("releases/{model}/{}/manifest.json", bundle.hex())
}

/// The model and the bundle that a target stands for; none if it is no release's.
#[must_use]
pub fn release_of(path: &str) -> Option<(ModelName, Digest)> {
    let (model, bundle) = path.strip_prefix("releases/")?.strip_suffix("/manifest.json")?.split_once('/')?;
    Some((ModelName::new(model).ok()?, Digest::from_hex(bundle).ok()?))
}

/// Who signs the ledger's entries and checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerKeys {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many different ones must sign a checkpoint.
    pub threshold: u64,
}

impl LedgerKeys {
    /// What `root` says; none if it says nothing that is understood here.
    #[must_use]
    pub fn of(root: &Root) -> Option<Self> {
        let role = RoleKeys::deserialize(root.extra.get(LEDGER_FIELD)?).ok()?;
        let keys = role.keyids.iter().filter_map(|id| root.keys.get(id)?.ed25519().cloned()).collect();
        Some(Self { keys, threshold: role.threshold })
    }

    /// The keys as they stand in an export: canonical JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self).expect("keys and a number always have a canonical JSON form")
    }

    /// The name of the ledger in its checkpoints and seals: it follows from the keys.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("edgeward-ledger/{}", Digest::of(&self.to_bytes()).short())
    }
}
