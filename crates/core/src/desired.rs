//! The desired state: one document for the whole fleet, from which each device computes what it should run.
//!
//! The document is the same for every device, so it is a static file however large the fleet is. Widening a wave
//! means publishing a new document with a higher generation. Nothing in it says how long it is good for or who made it:
//! the repository it is a target of does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::shadow::Shadows;
use crate::time::as_ms;
use crate::{Bucket, DeviceId, Digest, GroupName, ModelName, RolloutId};

/// Schema of [`Desired`].
pub const DESIRED_SCHEMA: &str = "edgeward.desired/3";

/// What the fleet should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Always [`DESIRED_SCHEMA`].
    pub schema: String,
    /// Rises by one with every document.
    pub generation: u64,
    /// One assignment per model.
    pub models: BTreeMap<ModelName, Assignment>,
}

/// What the devices should run of one model.
///
/// What holds for a device is the first of these that names it: its pin, the rollout under way, its group, `stable`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The bundle of every device that `next` does not reach; none before the first release.
    pub stable: Option<Digest>,
    /// The rollout under way.
    pub next: Option<Wave>,
    /// How long a new bundle is watched before it counts as good.
    #[serde(with = "as_ms")]
    pub probation_ms: Duration,
    /// What the members of some groups run instead of `stable`; of several that name a device, the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupAssignment>,
    /// What some devices run, whatever is rolled out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<DeviceId, Digest>,
    /// What devices run beside the champion, on copies of its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadows: Option<Shadows>,
}

/// What the members of a group run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupAssignment {
    /// The group.
    pub group: GroupName,
    /// Its bundle.
    pub bundle: Digest,
    /// Who is in it.
    pub members: Members,
}

/// Devices, each as the first 64 bits of the SHA-256 of its length-prefixed name: a list that a device finds itself in, and
/// that is as short as a list of a million can be. Serialised as base64 of the sorted big-endian numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<u64>);

impl Members {
    /// The list of these devices.
    #[must_use]
    pub fn of<'a>(devices: impl IntoIterator<Item = &'a DeviceId>) -> Self {
        let mut tags: Vec<u64> = devices.into_iter().map(tag).collect();
        tags.sort_unstable();
        tags.dedup();
        Self(tags)
    }

    /// Whether `device` is in it.
    #[must_use]
    pub fn contains(&self, device: &DeviceId) -> bool {
        self.0.binary_search(&tag(device)).is_ok()
    }

    /// How many they are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is nobody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn tag(device: &DeviceId) -> u64 {
    let digest = Digest::of_parts([b"member".as_slice(), device.as_str().as_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|tag| tag.to_be_bytes()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        let (tags, rest) = bytes.as_chunks::<8>();
        let tags: Vec<u64> = tags.iter().map(|tag| u64::from_be_bytes(*tag)).collect();
        match rest.is_empty() && tags.is_sorted_by(|a, b| a < b) {
            true => Ok(Self(tags)),
            false => Err(serde::de::Error::custom("members are 8 bytes each, in rising order")),
        }
    }
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
    /// The devices that it reaches in a group; none for a rollout to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Members>,
}

impl Desired {
    /// Every bundle that some device may be told to run, beside another or in its place, with its model.
    #[must_use]
    pub fn bundles(&self) -> BTreeSet<(ModelName, Digest)> {
        let of = |(model, assignment): (&ModelName, &Assignment)| {
            assignment.bundles().map(|bundle| (model.clone(), bundle)).collect::<Vec<_>>()
        };
        self.models.iter().flat_map(of).collect()
    }
}

impl Assignment {
    /// What `device` should run.
    #[must_use]
    pub fn bundle_for(&self, device: &DeviceId) -> Option<Digest> {
        if let Some(pinned) = self.pins.get(device) {
            return Some(*pinned);
        }
        if let Some(wave) = self.next.as_ref().filter(|wave| wave.reaches(device)) {
            return Some(wave.bundle);
        }
        let group = self.groups.iter().find(|group| group.members.contains(device));
        group.map(|group| group.bundle).or(self.stable)
    }

    /// Every bundle that some device may be told to run, beside another or in its place.
    pub fn bundles(&self) -> impl Iterator<Item = Digest> + '_ {
        let next = self.next.as_ref().map(|next| next.bundle);
        let groups = self.groups.iter().map(|group| group.bundle);
        let shadows = self.shadows.iter().flat_map(|shadows| shadows.bundles.iter().copied());
        self.stable.into_iter().chain(next).chain(groups).chain(self.pins.values().copied()).chain(shadows)
    }
}

impl Wave {
    /// Whether `device` is in the wave.
    #[must_use]
    pub fn reaches(&self, device: &DeviceId) -> bool {
        let is_within = self.limit.is_some_and(|limit| Bucket::of(&self.rollout, device) <= limit);
        is_within && self.members.as_ref().is_none_or(|members| members.contains(device))
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
            next: Some(Wave { rollout: rollout.clone(), bundle: next, limit, members: None }),
            ..Assignment::default()
        };
        assert_eq!(with_limit(None).bundle_for(&device), Some(stable));
        assert_eq!(with_limit(Some(Bucket(place.0 - 1))).bundle_for(&device), Some(stable));
        assert_eq!(with_limit(Some(place)).bundle_for(&device), Some(next));
        assert_eq!(with_limit(Some(Bucket::ALL)).bundle_for(&device), Some(next));
    }

    #[test]
    fn a_pin_goes_before_a_rollout_and_a_rollout_before_a_group() {
        let device = |name: &str| DeviceId::new(name).unwrap();
        let [stable, next, of_group, pinned] =
            [b"stable", b"next__", b"group_", b"pinned"].map(|text| Digest::of(text));
        let wave = Wave {
            rollout: RolloutId::new("r1").unwrap(),
            bundle: next,
            limit: Some(Bucket::ALL),
            members: Some(Members::of([&device("a"), &device("b")])),
        };
        let group = GroupAssignment {
            group: GroupName::new("lab").unwrap(),
            bundle: of_group,
            members: Members::of([&device("a"), &device("c")]),
        };
        let assignment = Assignment {
            stable: Some(stable),
            next: Some(wave),
            groups: vec![group],
            pins: BTreeMap::from([(device("b"), pinned)]),
            ..Assignment::default()
        };
        let runs = |name: &str| assignment.bundle_for(&device(name));
        assert_eq!([runs("a"), runs("b"), runs("c"), runs("d")], [next, pinned, of_group, stable].map(Some));
        assert_eq!(assignment.bundles().collect::<Vec<_>>(), [stable, next, of_group, pinned]);
        let text = serde_json::to_string(&assignment).unwrap();
        assert_eq!(serde_json::from_str::<Assignment>(&text).unwrap(), assignment);
    }

    #[test]
    fn members_are_sorted_and_whole() {
        let members = Members::of(&[DeviceId::new("a").unwrap(), DeviceId::new("a").unwrap()]);
        assert_eq!((members.len(), members.is_empty()), (1, false));
        let read = |bytes: &[u8]| {
            serde_json::from_str::<Members>(&format!("\"{}\"", STANDARD.encode(bytes))).is_ok()
        };
        assert!(read(&[]) && read(&[0; 8]));
        assert!(!read(&[0; 16]) && !read(&[0; 7]));
    }
}
