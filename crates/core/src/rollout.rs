//! How far a new release may spread, decided from what devices report.
//!
//! [`plan`] is pure: the same observation gives the same plan, and asking again after a plan was carried out asks for
//! nothing more. A rollout widens wave by wave; each wave must be reached, baked and sound before the next opens, and
//! while it is under way the devices it reached are held against the others by gates ([`Gates`]). What the plan opens
//! becomes a newly signed document, so a dead control plane freezes a rollout where it stands.

mod gate;
mod policy;
mod wave;
mod window;

#[cfg(test)]
mod tests;

use crate::{Bucket, DeviceId, Digest, Timestamp};

pub use gate::{GateKind, GateObserved, Tally, Verdict};
pub use policy::{Approval, Gates, OnFail, RolloutPolicy};
pub use wave::{ParseWaveError, WaveSize};
pub use window::{ParseWindowError, Window};

/// What is known about one rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The bundle that is rolled out.
    pub bundle: Digest,
    /// The wave now open, and when it opened; none before the first.
    pub wave: Option<OpenWave>,
    /// Every enrolled device that the rollout is for.
    pub devices: Vec<DeviceObserved>,
    /// What the gates rest on; nothing where there is no incumbent.
    pub gates: Vec<GateObserved>,
    /// Nothing opens before this time.
    pub start_at_ms: Option<Timestamp>,
    /// So many waves were agreed to by a person.
    pub waves_approved: usize,
    /// A person, or a failure, stopped it for now.
    pub paused: bool,
}

impl Observed {
    /// A rollout that nobody has stopped, scheduled or agreed to.
    #[must_use]
    pub const fn new(bundle: Digest, wave: Option<OpenWave>, devices: Vec<DeviceObserved>) -> Self {
        Self { bundle, wave, devices, gates: Vec::new(), start_at_ms: None, waves_approved: 0, paused: false }
    }
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
    /// What kind of device it is, so that people see whether failures are of one kind.
    pub hardware: Option<String>,
    /// Why it refused or dropped the bundle, or that it starts over and over with it.
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
    /// Open nothing further until a person decides.
    Pause,
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
    if observed.paused {
        return Plan::new(Decision::Hold, "paused");
    }
    if let Some(reasons) = failed(policy, observed) {
        let decision = match policy.on_fail {
            OnFail::RollBack => Decision::RollBack,
            OnFail::Pause => Decision::Pause,
        };
        return Plan { decision, reasons };
    }
    let Some(open) = observed.wave else {
        return match too_early(observed, now) {
            Some(reason) => Plan::new(Decision::Hold, reason),
            None => advance(policy, observed, 0, now),
        };
    };
    if let Some(reason) = not_ready(policy, observed, open, now) {
        return Plan::new(Decision::Hold, reason);
    }
    if open.limit == Bucket::ALL {
        return Plan::new(Decision::Complete, "every device that can be reached runs it");
    }
    match not_shown(policy, observed, open) {
        Some(reason) => Plan::new(Decision::Hold, reason),
        None => advance(policy, observed, open.index + 1, now),
    }
}

/// Why it fails, if it does.
fn failed(policy: &RolloutPolicy, observed: &Observed) -> Option<Vec<String>> {
    if let Some(failures) = too_many_failures(policy, observed) {
        return Some(failures);
    }
    let fails = |seen: &&GateObserved| policy.gates.judge(seen) == Verdict::Fail;
    let reasons: Vec<String> =
        observed.gates.iter().filter(fails).map(|seen| policy.gates.explain(seen)).collect();
    (!reasons.is_empty()).then_some(reasons)
}

/// Most failures that are named one by one.
const FAILURES_NAMED_MAX: usize = 20;

fn too_many_failures(policy: &RolloutPolicy, observed: &Observed) -> Option<Vec<String>> {
    let failures = || observed.devices.iter().filter_map(|seen| seen.failure.as_ref().map(|why| (seen, why)));
    let count = failures().count();
    if count <= policy.failures_max {
        return None;
    }
    let line = |(seen, why): (&DeviceObserved, &String)| match &seen.hardware {
        Some(hardware) => format!("{} ({hardware}): {why}", seen.device),
        None => format!("{}: {why}", seen.device),
    };
    let mut reasons: Vec<String> = failures().take(FAILURES_NAMED_MAX).map(line).collect();
    if count > FAILURES_NAMED_MAX {
        reasons.push(format!("and {} more", count - FAILURES_NAMED_MAX));
    }
    Some(reasons)
}

fn too_early(observed: &Observed, now: Timestamp) -> Option<String> {
    let start = observed.start_at_ms.filter(|start| *start > now)?;
    Some(format!("scheduled: starts in {} s", start.since(now).as_secs()))
}

/// What is not known yet and must be before another wave opens.
fn not_shown(policy: &RolloutPolicy, observed: &Observed, open: OpenWave) -> Option<String> {
    let gates = &policy.gates;
    let seen = observed.gates.iter().find(|seen| seen.gate == GateKind::Accuracy)?;
    let wave = open.index + 1;
    if seen.newcomer.n < gates.labels_min {
        let (n, min) = (seen.newcomer.n, gates.labels_min);
        return Some(format!("wave {wave}: not enough data yet: {n} of {min} labels for the new bundle"));
    }
    let waits = gates.proof && gates.judge(seen) != Verdict::Pass;
    waits.then(|| format!("wave {wave}: {}", gates.explain(seen)))
}

/// Why wave `index` may not open now, if it may not.
fn hindered(policy: &RolloutPolicy, observed: &Observed, index: usize, now: Timestamp) -> Option<String> {
    let wave = index + 1;
    if policy.approval.is_needed_for(index) && observed.waves_approved <= index {
        return Some(format!("wave {wave}: waits for approval"));
    }
    let window = policy.window.filter(|window| !window.is_open(now))?;
    Some(format!("wave {wave}: waits for the window {window} (UTC)"))
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
    (!left.is_zero()).then(|| format!("wave {}: baking, {} left", open.index + 1, rounded_up(left)))
}

/// `48 s`, `9 min 48 s`.
fn rounded_up(left: std::time::Duration) -> String {
    let seconds = left.as_millis().div_ceil(1000);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// Opens wave `index`, or a later one if that would reach nobody new.
fn advance(policy: &RolloutPolicy, observed: &Observed, index: usize, now: Timestamp) -> Plan {
    let (index, count) = wave_from(policy, observed, index);
    if let Some(reason) = hindered(policy, observed, index, now) {
        return Plan::new(Decision::Hold, reason);
    }
    let all = observed.devices.len();
    match count.filter(|count| *count < all) {
        Some(count) => Plan::new(
            Decision::Advance { index, limit: nth_bucket(observed, count) },
            format!("wave {} opens for {count} of {all} devices", index + 1),
        ),
        None => Plan::new(
            Decision::Advance { index, limit: Bucket::ALL },
            format!("the last wave opens for all {all} devices"),
        ),
    }
}

/// The wave of `index`, or the first later one that reaches somebody new, and how many devices it reaches; none stands
/// for all of them.
fn wave_from(policy: &RolloutPolicy, observed: &Observed, index: usize) -> (usize, Option<usize>) {
    let is_reached =
        |open: OpenWave| observed.devices.iter().filter(|seen| seen.bucket <= open.limit).count();
    let reached = observed.wave.map_or(0, is_reached);
    let sizes = policy.waves.iter().map(|size| size.count(observed.devices.len())).enumerate().skip(index);
    match sizes.clone().find(|(_, count)| *count > reached) {
        Some((index, count)) => (index, Some(count)),
        None => (policy.waves.len().max(index), None),
    }
}

/// The limit within which `count` devices stand, of which there are at least as many.
fn nth_bucket(observed: &Observed, count: usize) -> Bucket {
    let mut buckets: Vec<Bucket> = observed.devices.iter().map(|seen| seen.bucket).collect();
    buckets.sort_unstable();
    buckets.get(count.saturating_sub(1)).copied().unwrap_or(Bucket::ALL)
}

/// Index of the wave that opens next; none if every device is reached.
#[must_use]
pub fn next_wave(policy: &RolloutPolicy, observed: &Observed) -> Option<usize> {
    match observed.wave {
        Some(open) if open.limit == Bucket::ALL => None,
        open => Some(wave_from(policy, observed, open.map_or(0, |open| open.index + 1)).0),
    }
}
