//! How far a new release may spread, decided from what devices report.
//!
//! [`plan`] is pure: the same observation gives the same plan, and asking again after a plan was carried out asks for
//! nothing more. A rollout widens wave by wave; each wave must be reached, baked and sound before the next opens.
//! What the plan opens becomes a newly signed document, so a dead control plane freezes a rollout where it stands.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::as_ms;
use crate::{Bucket, DeviceId, Digest, Timestamp};

/// Waves, patience and gates of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPolicy {
    /// How many devices each wave reaches, growing; the whole fleet is always the last.
    pub waves: Vec<WaveSize>,
    /// How long every device of a wave must run the bundle before the next wave opens.
    #[serde(with = "as_ms")]
    pub bake_ms: Duration,
    /// Devices that may refuse or drop the bundle before the rollout is taken back.
    pub failures_max: usize,
    /// A device not heard of for this long is not waited for.
    #[serde(with = "as_ms")]
    pub offline_ms: Duration,
    /// How long a device watches the bundle before it counts as good.
    #[serde(with = "as_ms")]
    pub probation_ms: Duration,
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            waves: vec![WaveSize::Devices(1), WaveSize::Percent(10), WaveSize::Percent(100)],
            bake_ms: Duration::from_secs(600),
            failures_max: 0,
            offline_ms: Duration::from_secs(300),
            probation_ms: Duration::from_secs(60),
        }
    }
}

/// How many devices a wave reaches in all; written `3` or `"10%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaveSize {
    /// This many devices.
    Devices(u32),
    /// This share of the fleet, rounded up.
    Percent(u8),
}

impl WaveSize {
    fn count(self, fleet: usize) -> usize {
        match self {
            Self::Devices(count) => (count as usize).min(fleet),
            Self::Percent(percent) => (fleet * usize::from(percent)).div_ceil(100).min(fleet),
        }
    }
}

impl Serialize for WaveSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Devices(count) => serializer.serialize_u32(*count),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for WaveSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Count(u32),
            Text(String),
        }
        const RULE: &str = "a wave is a number of devices from 1 up, or a percentage from \"1%\" to \"100%\"";
        let bad = || serde::de::Error::custom(RULE);
        match Raw::deserialize(deserializer).map_err(|_| bad())? {
            Raw::Count(count) if count > 0 => Ok(Self::Devices(count)),
            Raw::Count(_) => Err(bad()),
            Raw::Text(text) => text
                .strip_suffix('%')
                .and_then(|number| number.trim().parse().ok())
                .filter(|percent| (1..=100).contains(percent))
                .map(Self::Percent)
                .ok_or_else(bad),
        }
    }
}

/// What is known about one rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The bundle that is rolled out.
    pub bundle: Digest,
    /// The wave now open, and when it opened; none before the first.
    pub wave: Option<OpenWave>,
    /// Every enrolled device that runs the model.
    pub devices: Vec<DeviceObserved>,
}

/// The wave now open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWave {
    /// Its index in [`RolloutPolicy::waves`].
    pub index: usize,
    /// Its limit.
    pub limit: Bucket,
    /// When it opened.
    pub since_ms: Timestamp,
}

/// What is known about one device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceObserved {
    /// Which device.
    pub device: DeviceId,
    /// Its place in this rollout.
    pub bucket: Bucket,
    /// When it last reported.
    pub seen_at_ms: Timestamp,
    /// Since when it runs the rollout's bundle; none if it does not.
    pub running_since_ms: Option<Timestamp>,
    /// Why it refused or dropped the bundle, or why the bundle does badly there.
    pub failure: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Wait.
    Hold,
    /// Open this wave.
    Advance {
        /// Its index.
        index: usize,
        /// Its limit.
        limit: Bucket,
    },
    /// Every device that can be reached runs the bundle.
    Complete,
    /// Go back to what ran before.
    RollBack,
}

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub decision: Decision,
    /// Why, for people.
    pub reasons: Vec<String>,
}

impl Plan {
    fn new(decision: Decision, reason: impl Into<String>) -> Self {
        Self { decision, reasons: vec![reason.into()] }
    }
}

/// What to do about a rollout, at `now`.
#[must_use]
pub fn plan(policy: &RolloutPolicy, observed: &Observed, now: Timestamp) -> Plan {
    if let Some(reasons) = too_many_failures(policy, observed) {
        return Plan { decision: Decision::RollBack, reasons };
    }
    let Some(open) = observed.wave else { return advance(policy, observed, 0) };
    if let Some(reason) = not_ready(policy, observed, open, now) {
        return Plan::new(Decision::Hold, reason);
    }
    match open.limit == Bucket::ALL {
        true => Plan::new(Decision::Complete, "every device that can be reached runs it"),
        false => advance(policy, observed, open.index + 1),
    }
}

fn too_many_failures(policy: &RolloutPolicy, observed: &Observed) -> Option<Vec<String>> {
    let failures: Vec<String> = observed
        .devices
        .iter()
        .filter_map(|seen| seen.failure.as_ref().map(|why| format!("{}: {why}", seen.device)))
        .collect();
    (failures.len() > policy.failures_max).then_some(failures)
}

/// Why the open wave is not done yet, if it is not.
fn not_ready(policy: &RolloutPolicy, observed: &Observed, open: OpenWave, now: Timestamp) -> Option<String> {
    let awaited = |seen: &&DeviceObserved| {
        seen.bucket <= open.limit && seen.failure.is_none() && now.since(seen.seen_at_ms) < policy.offline_ms
    };
    let wave: Vec<&DeviceObserved> = observed.devices.iter().filter(awaited).collect();
    let running = wave.iter().filter(|seen| seen.running_since_ms.is_some()).count();
    if running < wave.len() {
        return Some(format!("wave {}: {running} of {} devices run it", open.index + 1, wave.len()));
    }
    let newest = wave.iter().filter_map(|seen| seen.running_since_ms).max().unwrap_or(open.since_ms);
    let left = policy.bake_ms.saturating_sub(now.since(newest.max(open.since_ms)));
    (!left.is_zero()).then(|| format!("wave {}: baking, {} ms left", open.index + 1, left.as_millis()))
}

/// Opens wave `index`, or a later one if that would reach nobody new.
fn advance(policy: &RolloutPolicy, observed: &Observed, index: usize) -> Plan {
    let mut buckets: Vec<Bucket> = observed.devices.iter().map(|seen| seen.bucket).collect();
    buckets.sort_unstable();
    let reached = observed.wave.map_or(0, |open| buckets.partition_point(|bucket| *bucket <= open.limit));
    let larger = policy
        .waves
        .iter()
        .enumerate()
        .skip(index)
        .map(|(index, size)| (index, size.count(buckets.len())))
        .find(|(_, count)| *count > reached);
    match larger {
        Some((index, count)) if count < buckets.len() => Plan::new(
            Decision::Advance { index, limit: buckets[count - 1] },
            format!("wave {} opens for {count} of {} devices", index + 1, buckets.len()),
        ),
        _ => Plan::new(
            Decision::Advance {
                index: larger.map_or(policy.waves.len(), |(index, _)| index),
                limit: Bucket::ALL,
            },
            format!("the last wave opens for all {} devices", buckets.len()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RolloutId;

    const NEW: &[u8] = b"new";

    fn device(n: usize) -> DeviceObserved {
        let device = DeviceId::new(format!("d{n}")).unwrap();
        let bucket = Bucket::of(&RolloutId::new("r").unwrap(), &device);
        DeviceObserved { device, bucket, seen_at_ms: Timestamp(0), running_since_ms: None, failure: None }
    }

    fn observed(fleet: usize) -> Observed {
        Observed { bundle: Digest::of(NEW), wave: None, devices: (0..fleet).map(device).collect() }
    }

    fn policy() -> RolloutPolicy {
        RolloutPolicy {
            waves: vec![WaveSize::Devices(1), WaveSize::Percent(50)],
            bake_ms: Duration::from_millis(10),
            ..RolloutPolicy::default()
        }
    }

    /// Opens what the plan says and lets every reached device run it.
    fn carry_out(observed: &mut Observed, decision: &Decision, now: Timestamp) -> usize {
        let Decision::Advance { index, limit } = *decision else { panic!("{decision:?}") };
        observed.wave = Some(OpenWave { index, limit, since_ms: now });
        for seen in observed.devices.iter_mut().filter(|seen| seen.bucket <= limit) {
            seen.running_since_ms.get_or_insert(now);
        }
        observed.devices.iter().filter(|seen| seen.bucket <= limit).count()
    }

    #[test]
    fn waves_grow_to_the_whole_fleet() {
        let mut fleet = observed(10);
        let mut reached = Vec::new();
        for round in 0..3 {
            let now = Timestamp(round * 100);
            let plan = plan(&policy(), &fleet, now);
            reached.push(carry_out(&mut fleet, &plan.decision, now));
        }
        assert_eq!(reached, [1, 5, 10]);
        assert_eq!(plan(&policy(), &fleet, Timestamp(300)).decision, Decision::Complete);
    }

    #[test]
    fn a_wave_waits_for_its_devices_and_its_bake_time() {
        let mut fleet = observed(10);
        let limit = Bucket::ALL;
        fleet.wave = Some(OpenWave { index: 2, limit, since_ms: Timestamp(0) });
        assert_eq!(plan(&policy(), &fleet, Timestamp(50)).reasons, ["wave 3: 0 of 10 devices run it"]);
        carry_out(&mut fleet, &Decision::Advance { index: 2, limit }, Timestamp(50));
        assert_eq!(plan(&policy(), &fleet, Timestamp(59)).decision, Decision::Hold);
        assert_eq!(plan(&policy(), &fleet, Timestamp(60)).decision, Decision::Complete);
    }

    #[test]
    fn a_device_that_is_away_is_not_waited_for() {
        let mut fleet = observed(2);
        carry_out(&mut fleet, &Decision::Advance { index: 1, limit: Bucket::ALL }, Timestamp(0));
        fleet.devices[0].running_since_ms = None;
        let later = Timestamp(0) + policy().offline_ms;
        fleet.devices[1].seen_at_ms = later;
        assert_eq!(plan(&policy(), &fleet, later).decision, Decision::Complete);
    }

    #[test]
    fn one_failure_takes_it_back() {
        let mut fleet = observed(10);
        fleet.devices[3].failure = Some("golden test: answers differ".into());
        let plan = plan(&policy(), &fleet, Timestamp(0));
        assert_eq!(plan.decision, Decision::RollBack);
        assert_eq!(plan.reasons, ["d3: golden test: answers differ"]);
    }

    #[test]
    fn an_empty_fleet_is_done_at_once() {
        let mut fleet = observed(0);
        let first = plan(&policy(), &fleet, Timestamp(0));
        carry_out(&mut fleet, &first.decision, Timestamp(0));
        assert_eq!(plan(&policy(), &fleet, Timestamp(10)).decision, Decision::Complete);
    }

    #[test]
    fn wave_sizes_read_as_people_write_them() {
        let read = |text: &str| serde_json::from_str::<WaveSize>(text).ok();
        assert_eq!(read("3"), Some(WaveSize::Devices(3)));
        assert_eq!(read("\"10%\""), Some(WaveSize::Percent(10)));
        for bad in ["0", "\"0%\"", "\"101%\"", "\"ten\"", "-1", "null"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
