//! Keys and documents that the tests of this crate share. Key 1 signs releases, keys 2 and 3 together sign rollouts,
//! key 4 signs the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_core::desired::{Assignment, DESIRED_SCHEMA, Desired};
use edgeward_core::manifest::{RELEASE_SCHEMA, Release};
use edgeward_core::{Digest, ModelName, RunId, Timestamp};

use crate::key::{Signer as _, SigningKey};
use crate::root::{RoleKeys, Roles, Root};

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(crate) fn root() -> Root {
    let publics: Vec<_> = (1..=4).map(|n| key(n).public_key()).collect();
    let roles = Roles {
        releases: RoleKeys::any_of(&publics[..1]),
        rollouts: RoleKeys { threshold: 2, ..RoleKeys::any_of(&publics[1..3]) },
        ledger: RoleKeys::any_of(&publics[3..]),
    };
    Root::new(1, publics, roles, None).unwrap()
}

pub(crate) fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

pub(crate) fn desired(generation: u64) -> Desired {
    let assignment = Assignment {
        stable: Some(Digest::of(b"bundle")),
        probation_ms: Duration::from_secs(60),
        ..Assignment::default()
    };
    Desired {
        schema: DESIRED_SCHEMA.to_owned(),
        generation,
        issued_at_ms: Timestamp(1_000),
        expires_at_ms: Timestamp(10_000),
        models: BTreeMap::from([(model(), assignment)]),
    }
}

pub(crate) fn release() -> Release {
    Release {
        schema: RELEASE_SCHEMA.to_owned(),
        model: model(),
        bundle: Digest::of(b"bundle"),
        manifest_size_bytes: 512,
        run: RunId::new("run-1").unwrap(),
        issued_at_ms: Timestamp(900),
    }
}
