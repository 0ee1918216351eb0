//! The first documents of a fleet: whose keys may say what, and how long what is signed is good for.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_core::Timestamp;
use serde_json::{Map, json};

use super::{LEDGER_FIELD, RELEASES, RELEASES_PATTERN, ROLLOUTS, ROLLOUTS_PATTERN};
use crate::key::PublicKey;
use crate::tuf::metadata::{DelegatedRole, Delegations};
use crate::tuf::repository::{Holders, empty_targets, first_root, role_keys, with_ids};
use crate::tuf::{Root, Targets};

/// How long each role's documents are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Root and top-level targets: signed by people.
    pub root: Duration,
    /// Releases: signed with an offline key by each pipeline run.
    pub releases: Duration,
    /// Rollouts and snapshot: signed by the control plane.
    pub rollouts: Duration,
    /// Timestamp: how long a device goes on acting on what it last heard.
    pub timestamp: Duration,
}

impl Default for Lives {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self { root: days(366), releases: days(366), rollouts: days(30), timestamp: days(7) }
    }
}

/// The public keys of a fleet's roles.
#[derive(Clone, Debug)]
pub struct FleetKeys {
    /// Sign root and top-level targets.
    pub root: Vec<PublicKey>,
    /// How many of them must.
    pub root_threshold: u64,
    /// Sign releases.
    pub releases: PublicKey,
    /// Signs rollouts.
    pub rollouts: PublicKey,
    /// Signs the snapshot.
    pub snapshot: PublicKey,
    /// Signs the timestamp.
    pub timestamp: PublicKey,
    /// Signs the ledger's checkpoints.
    pub ledger: PublicKey,
}

/// The first root of a fleet.
pub(super) fn root_of(keys: &FleetKeys, expires: Timestamp) -> Root {
    let offline = Holders { keys: &keys.root, threshold: keys.root_threshold };
    let snapshot = Holders { keys: std::slice::from_ref(&keys.snapshot), threshold: 1 };
    let timestamp = Holders { keys: std::slice::from_ref(&keys.timestamp), threshold: 1 };
    let roles =
        [("root", offline.clone()), ("targets", offline), ("snapshot", snapshot), ("timestamp", timestamp)];
    let mut root = first_root(expires, &roles);
    root.set_ledger(&Holders { keys: std::slice::from_ref(&keys.ledger), threshold: 1 });
    root
}

impl Root {
    /// Says which keys sign the ledger's checkpoints.
    pub fn set_ledger(&mut self, holders: &Holders<'_>) {
        self.extra.insert(LEDGER_FIELD.to_owned(), json!(role_keys(holders)));
        self.keys.extend(with_ids(holders.keys));
    }
}

/// The first top-level targets of a fleet.
pub(super) fn targets_of(keys: &FleetKeys, expires: Timestamp) -> Targets {
    let roles = [(RELEASES, &keys.releases, RELEASES_PATTERN), (ROLLOUTS, &keys.rollouts, ROLLOUTS_PATTERN)];
    let mut delegations = Delegations { keys: BTreeMap::new(), roles: Vec::new(), extra: Map::new() };
    for (name, key, pattern) in roles {
        let holders = Holders { keys: std::slice::from_ref(key), threshold: 1 };
        delegations.keys.extend(with_ids(holders.keys));
        let role = role_keys(&holders);
        delegations.roles.push(DelegatedRole {
            name: name.to_owned(),
            keyids: role.keyids,
            threshold: role.threshold,
            terminating: true,
            paths: Some(vec![pattern.to_owned()]),
            path_hash_prefixes: None,
            extra: Map::new(),
        });
    }
    Targets { delegations: Some(delegations), ..empty_targets(expires) }
}
