//! The control plane of the simulation: the real planner over what devices reported, the real signatures.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_api::device::DesiredDocument;
use edgeward_core::desired::{Assignment, DESIRED_SCHEMA, Desired, Wave};
use edgeward_core::manifest::RELEASE_SCHEMA;
use edgeward_core::rollout::{self, Decision, DeviceObserved, Observed, OpenWave, RolloutPolicy};
use edgeward_core::slot::Refused;
use edgeward_core::{Bucket, DeviceId, Digest, Envelope, ModelName, Release, RolloutId, RunId, Timestamp};
use edgeward_trust::publish::{sign_desired, sign_release};
use edgeward_trust::root::Roles;
use edgeward_trust::{RoleKeys, Root, Signer, SigningKey};

const DOCUMENT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
const MANIFEST_SIZE_BYTES: u64 = 1000;

/// The control plane. All of it is durable: the real one keeps it in its ledger.
pub struct Control {
    releases_key: SigningKey,
    rollouts_key: SigningKey,
    model: ModelName,
    policy: RolloutPolicy,
    generation: u64,
    stable: Option<Digest>,
    rollout: Option<Open>,
    released: BTreeMap<Digest, Envelope>,
    heard: BTreeMap<DeviceId, Heard>,
    published: Option<DesiredDocument>,
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
    pub(super) fn new(policy: RolloutPolicy) -> Self {
        Self {
            releases_key: SigningKey::from_seed(&[1; 32]),
            rollouts_key: SigningKey::from_seed(&[2; 32]),
            model: ModelName::new("digits").expect("a plain name"),
            policy,
            generation: 0,
            stable: None,
            rollout: None,
            released: BTreeMap::new(),
            heard: BTreeMap::new(),
            published: None,
            finished: Vec::new(),
        }
    }

    /// The root that devices pin.
    pub(super) fn root(&self) -> Root {
        let (releases, rollouts) = (self.releases_key.public_key(), self.rollouts_key.public_key());
        let rollouts_role = RoleKeys::any_of([&rollouts]);
        let roles = Roles {
            releases: RoleKeys::any_of([&releases]),
            ledger: rollouts_role.clone(),
            rollouts: rollouts_role,
        };
        Root::new(1, [releases, rollouts], roles, None).expect("two keys, each in its role")
    }

    /// The model that is rolled out.
    pub(super) const fn model(&self) -> &ModelName {
        &self.model
    }

    /// The newest document, and its generation as the tag.
    pub(super) fn published(&self) -> Option<(u64, &DesiredDocument)> {
        self.published.as_ref().map(|document| (self.generation, document))
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

    /// Starts a rollout of `bundle`.
    pub(super) fn start(&mut self, bundle: Digest, now: Timestamp) {
        let run = RunId::new("run").expect("a plain name");
        let release = Release {
            schema: RELEASE_SCHEMA.to_owned(),
            model: self.model.clone(),
            bundle,
            manifest_size_bytes: MANIFEST_SIZE_BYTES,
            run,
            issued_at_ms: now,
        };
        let envelope = sign_release(&release, &[&self.releases_key]).expect("a release is always signable");
        self.released.insert(bundle, envelope);
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
        self.generation += 1;
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
        let desired = Desired {
            schema: DESIRED_SCHEMA.to_owned(),
            generation: self.generation,
            issued_at_ms: now,
            expires_at_ms: now + DOCUMENT_LIFE,
            models: BTreeMap::from([(self.model.clone(), assignment)]),
        };
        let desired =
            sign_desired(&desired, &[&self.rollouts_key]).expect("a desired state is always signable");
        self.published =
            Some(DesiredDocument { desired, releases: self.released.values().cloned().collect() });
    }
}
