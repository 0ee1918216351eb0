//! The desired state: one signed document for the whole fleet, from which each device computes what it should run.
//!
//! The document is the same for every device, so it is a static file however large the fleet is. Widening a wave
//! means publishing a new document with a higher generation; a receiver refuses an older one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::as_ms;
use crate::{Bucket, DeviceId, Digest, ModelName, RolloutId, Timestamp};

/// Schema of [`Desired`].
pub const DESIRED_SCHEMA: &str = "edgeward.desired/1";
/// Payload type of the envelope around [`Desired`].
pub const DESIRED_PAYLOAD_TYPE: &str = "application/vnd.edgeward.desired+json";
/// Payload type of the envelope around [`crate::Release`].
pub const RELEASE_PAYLOAD_TYPE: &str = "application/vnd.edgeward.release+json";

/// What the fleet should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Always [`DESIRED_SCHEMA`].
    pub schema: String,
    /// Rises by one with every document.
    pub generation: u64,
    /// When it was signed.
    pub issued_at_ms: Timestamp,
    /// After this a device keeps what it runs and reports the document as expired.
    pub expires_at_ms: Timestamp,
    /// One assignment per model.
    pub models: BTreeMap<ModelName, Assignment>,
}

/// What the devices should run of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The bundle of every device that `next` does not reach; none before the first release.
    pub stable: Option<Digest>,
    /// The rollout under way.
    pub next: Option<Wave>,
    /// How long a new bundle is watched before it counts as good.
    #[serde(with = "as_ms")]
    pub probation_ms: Duration,
}

/// How far a rollout has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// The rollout.
    pub rollout: RolloutId,
    /// Its bundle.
    pub bundle: Digest,
    /// Devices whose bucket is at most this run the bundle; none before the first wave.
    pub limit: Option<Bucket>,
}

impl Assignment {
    /// What `device` should run.
    #[must_use]
    pub fn bundle_for(&self, device: &DeviceId) -> Option<Digest> {
        match &self.next {
            Some(wave) if wave.reaches(device) => Some(wave.bundle),
            _ => self.stable,
        }
    }
}

impl Wave {
    /// Whether `device` is in the wave.
    #[must_use]
    pub fn reaches(&self, device: &DeviceId) -> bool {
        self.limit.is_some_and(|limit| Bucket::of(&self.rollout, device) <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_reaches_the_devices_within_its_limit() {
        let device = DeviceId::new("robot-1").unwrap();
        let rollout = RolloutId::new("r1").unwrap();
        let (stable, next) = (Digest::of(b"old"), Digest::of(b"new"));
        let place = Bucket::of(&rollout, &device);
        let with_limit = |limit| Assignment {
            stable: Some(stable),
            next: Some(Wave { rollout: rollout.clone(), bundle: next, limit }),
            probation_ms: Duration::ZERO,
        };
        assert_eq!(with_limit(None).bundle_for(&device), Some(stable));
        assert_eq!(with_limit(Some(Bucket(place.0 - 1))).bundle_for(&device), Some(stable));
        assert_eq!(with_limit(Some(place)).bundle_for(&device), Some(next));
        assert_eq!(with_limit(Some(Bucket::ALL)).bundle_for(&device), Some(next));
    }
}
