//! The control plane of the simulation: the real planner over what devices reported, the real signatures.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_core::desired::{Assignment, Wave};
use edgeward_core::rollout::{self, Decision, DeviceObserved, Observed, OpenWave, RolloutPolicy};
use edgeward_core::slot::Refused;
use edgeward_core::{Bucket, DeviceId, Digest, ModelName, RolloutId, Timestamp};
use edgeward_trust::fleet::Lives;
use edgeward_trust::fleet::rehearsal::{Files, Rehearsal};
use edgeward_trust::tuf::Trusted;

/// Longer than any simulation: nothing is signed again.
const LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// The control plane. All of it is durable: the real one keeps it in its ledger.
pub struct Control {
    repository: Rehearsal,
    model: ModelName,
    policy: RolloutPolicy,
    stable: Option<Digest>,
    rollout: Option<Open>,
    heard: BTreeMap<DeviceId, Heard>,
    /// How each rollout ended, in order.
    pub finished: Vec<Finished>,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its bundle.
    pub bundle: Digest,
    /// `Complete` or `RollBack`.
    pub decision: Decision,
    /// Why.
    pub reasons: Vec<String>,
    /// How many devices each wave reached, in order.
    pub waves: Vec<usize>,
}

struct Open {
    id: RolloutId,
    bundle: Digest,
    wave: Option<OpenWave>,
    waves: Vec<usize>,
}

/// What a device last said.
pub(super) struct Heard {
    pub(super) at: Timestamp,
    pub(super) active: Option<Digest>,
    pub(super) active_since: Option<Timestamp>,
    pub(super) refused: Vec<Refused>,
}

impl Control {
    pub(super) fn new(policy: RolloutPolicy, now: Timestamp) -> Self {
        let lives = Lives { root: LIFE, releases: LIFE, rollouts: LIFE, timestamp: LIFE };
        Self {
            repository: Rehearsal::new(lives, now).expect("every key is at hand"),
            model: ModelName::new("digits").expect("a plain name"),
            policy,
            stable: None,
            rollout: None,
            heard: BTreeMap::new(),
            finished: Vec::new(),
        }
    }

    /// What a device trusts that has just enrolled.
    pub(super) fn pinned(&self) -> Trusted {
        self.repository.pinned().expect("the root is good")
    }

    /// The model that is rolled out.
    pub(super) const fn model(&self) -> &ModelName {
        &self.model
    }

    /// The files of the repository now, and the generation of what they say as the tag; none before the first.
    pub(super) fn published(&self) -> Option<(u64, &Files)> {
        match self.repository.generation() {
            0 => None,
            generation => Some((generation, self.repository.files())),
        }
    }

    /// Whether a rollout is under way.
    #[must_use]
    pub const fn is_rolling_out(&self) -> bool {
        self.rollout.is_some()
    }

    /// The rollout under way and its widest published wave.
    pub(super) fn wave(&self) -> Option<(&RolloutId, Digest, Option<Bucket>)> {
        let open = self.rollout.as_ref()?;
        Some((&open.id, open.bundle, open.wave.map(|wave| wave.limit)))
    }

    pub(super) fn enrol(&mut self, device: DeviceId, at: Timestamp) {
        let heard = Heard { at, active: None, active_since: None, refused: Vec::new() };
        self.heard.insert(device, heard);
    }

    pub(super) fn hear(&mut self, device: &DeviceId, report: Heard) {
        match self.heard.get_mut(device) {
            Some(known) if known.at <= report.at => *known = report,
            _ => {}
        }
    }

    /// Starts a rollout of the bundle with this manifest.
    pub(super) fn start(&mut self, manifest: &[u8], now: Timestamp) {
        let bundle = self.repository.release(&self.model, manifest, now).expect("a manifest is small");
        let id = RolloutId::new(format!("rollout-{}", self.finished.len() + 1)).expect("a plain name");
        self.rollout = Some(Open { id, bundle, wave: None, waves: Vec::new() });
        self.reconcile(now);
    }

    /// Asks the planner and carries out what it says.
    pub(super) fn reconcile(&mut self, now: Timestamp) {
        let Some(open) = &self.rollout else { return };
        let observed = self.observe(open);
        let plan = rollout::plan(&self.policy, &observed, now);
        match plan.decision {
            Decision::Hold | Decision::Pause => {}
            Decision::Advance { index, limit } => {
                let reached = observed.devices.iter().filter(|seen| seen.bucket <= limit).count();
                self.widen(OpenWave { index, limit, since_ms: now }, reached, now);
            }
            Decision::Complete | Decision::RollBack => self.finish(plan.decision, plan.reasons, now),
        }
    }

    fn observe(&self, open: &Open) -> Observed {
        let device = |(device, heard): (&DeviceId, &Heard)| {
            let refusal = heard.refused.iter().find(|refused| refused.bundle == open.bundle);
            DeviceObserved {
                device: device.clone(),
                bucket: Bucket::of(&open.id, device),
                seen_at_ms: heard.at,
                running_since_ms: heard.active_since.filter(|_| heard.active == Some(open.bundle)),
                hardware: None,
                failure: refusal.map(|refused| refused.reason.clone()),
            }
        };
        Observed::new(open.bundle, open.wave, self.heard.iter().map(device).collect())
    }

    fn widen(&mut self, wave: OpenWave, reached: usize, now: Timestamp) {
        if let Some(open) = &mut self.rollout {
            open.wave = Some(wave);
            open.waves.push(reached);
        }
        self.publish(now);
    }

    fn finish(&mut self, decision: Decision, reasons: Vec<String>, now: Timestamp) {
        let Some(open) = self.rollout.take() else { return };
        if decision == Decision::Complete {
            self.stable = Some(open.bundle);
        }
        self.finished.push(Finished { bundle: open.bundle, decision, reasons, waves: open.waves });
        self.publish(now);
    }

    fn publish(&mut self, now: Timestamp) {
        let next = self.rollout.as_ref().map(|open| Wave {
            rollout: open.id.clone(),
            bundle: open.bundle,
            limit: open.wave.map(|wave| wave.limit),
            members: None,
        });
        let assignment = Assignment {
            stable: self.stable,
            next,
            probation_ms: self.policy.probation_ms,
            ..Assignment::default()
        };
        let models = BTreeMap::from([(self.model.clone(), assignment)]);
        self.repository.publish(models, now).expect("what is rolled out was released");
    }
}
