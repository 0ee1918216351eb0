//! Where a device stands in the order of one rollout.
//!
//! `Bucket` is the first 64 bits of SHA-256 over the length-prefixed rollout id and device id, so the first devices of
//! one rollout are not the first devices of the next. A wave is "every bucket up to and including a limit", which
//! device and server compute alike. It orders honest devices only: a device that lies about its place fools itself.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DeviceId, Digest, RolloutId};

/// A place in a rollout's order; serialised as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u64);

impl Bucket {
    /// The limit that every device is within.
    pub const ALL: Self = Self(u64::MAX);

    /// The place of `device` in `rollout`.
    #[must_use]
    pub fn of(rollout: &RolloutId, device: &DeviceId) -> Self {
        let digest = Digest::of_parts([rollout.as_str().as_bytes(), device.as_str().as_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        Self(u64::from_be_bytes(first))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Bucket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Bucket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 16 {
            return Err(serde::de::Error::custom("a bucket is 16 hex digits"));
        }
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
