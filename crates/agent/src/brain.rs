//! What a device should do next, decided without I/O.
//!
//! [`Brain::handle`] takes one [`Input`] and the time and returns [`Output`]s in the order in which they must be carried
//! out. The real agent and a simulated fleet drive the same code. The contract:
//! - when [`Output::Persist`] is returned, [`Brain::snapshot`] must be durable before any later output is acted on, so
//!   that a crash between any two system calls leads to work done again and never to work skipped;
//! - nothing a network said counts before [`fleet::refresh`](edgeward_trust::fleet::refresh) believed it: a bundle is
//!   staged only with a release that the releases role signed, and nothing expired is acted on;
//! - one model's trouble never touches another model.
//!
//! Deliberately missing: clocks, files, the network, engines. A missing release is not held against the bundle: whoever
//! only chooses what runs must not be able to ban a bundle by naming it before it is released.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edgeward_api::device::RepositoryTrouble;
use edgeward_core::desired::Assignment;
use edgeward_core::shadow::Shadows;
use edgeward_core::slot::{self, Installed, Phase, SlotId, SlotPolicy, StageOutcome};
use edgeward_core::time::as_ms;
use edgeward_core::{DeviceId, Digest, ModelName, Release, Timestamp};
use edgeward_sdk::chain;
use edgeward_trust::fleet::{FleetError, Wishes};
use edgeward_trust::tuf::Trusted;
use serde::{Deserialize, Serialize};

/// Schema of [`Snapshot`].
pub const SNAPSHOT_SCHEMA: &str = "edgeward.brain/2";
/// Most models one device keeps; further ones are ignored and said so.
pub const MODELS_MAX: usize = 64;
/// Most bytes of trusted documents that a device keeps; a repository that is larger is refused.
pub const TRUSTED_BYTES_MAX: u64 = 8 << 20;
/// The time floor is written when it has risen by so much, or with something else: it only rises with the clock.
const FLOOR_STEP: Duration = Duration::from_secs(3600);
/// How many reasons are kept per model for people to read.
pub const REASONS_MAX: usize = 8;

/// A device's decisions over all its models.
#[derive(Clone, Debug)]
pub struct Brain {
    memory: Snapshot,
    policy: SlotPolicy,
    reasons: BTreeMap<ModelName, Vec<String>>,
    rejected: Option<RepositoryTrouble>,
    /// The time floor as it was last to be made durable.
    floor_kept: Timestamp,
}

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Always [`SNAPSHOT_SCHEMA`].
    pub schema: String,
    /// Whose decisions these are.
    pub device: DeviceId,
    /// What the device trusts of its repository.
    pub trusted: Trusted,
    /// Generation of the desired state it follows; none before the first.
    pub generation: Option<u64>,
    /// When what says so expires; none before the first.
    pub expires_at_ms: Option<Timestamp>,
    /// One entry per model.
    pub models: BTreeMap<ModelName, ModelMemory>,
}

/// What a device remembers about one model.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelMemory {
    /// The slot machine's state.
    pub slots: slot::State,
    /// The bundle the trusted desired state names.
    pub wanted: Option<Digest>,
    /// How long a new bundle is watched.
    #[serde(with = "as_ms")]
    pub probation_ms: Duration,
    /// Verified releases of the wanted bundle, of the one being staged, and of the shadows.
    pub releases: Vec<Release>,
    /// Since when the active bundle serves.
    pub active_since_ms: Option<Timestamp>,
    /// What runs beside the champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadows: Option<Shadows>,
}

/// A snapshot that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Another schema.
    #[error(
        "the device's state has schema '{0}', this program reads '{SNAPSHOT_SCHEMA}'; if the state is older, remove \
         the data folder and enrol again with a new join token, otherwise update the program"
    )]
    Schema(String),
    /// It belongs to another device.
    #[error(
        "the device's state belongs to {found}, the identity is {expected}; restore both from the same copy"
    )]
    Device {
        /// Whose identity it is.
        expected: DeviceId,
        /// Whose state it is.
        found: DeviceId,
    },
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The agent started.
    Started,
    /// The repository was asked.
    Refreshed {
        /// What is trusted now; it may be newer although the rest was refused.
        trusted: Box<Trusted>,
        /// What it said.
        heard: Heard,
    },
    /// Staging of `bundle` ended.
    Staged {
        /// The model.
        model: ModelName,
        /// The bundle.
        bundle: Digest,
        /// How it ended.
        outcome: StageOutcome,
    },
    /// The active bundle of `model` cannot serve.
    Unhealthy {
        /// The model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// The files of the active bundle of `model` have changed on the disk since they were verified.
    Damaged {
        /// The model.
        model: ModelName,
        /// Where and how.
        reason: String,
    },
    /// Something is ready and waits.
    Waits {
        /// The model.
        model: ModelName,
        /// For what.
        reason: String,
    },
    /// There was no room for a bundle of `model`: the others give up what they can do without.
    MakeRoom {
        /// The model.
        model: ModelName,
    },
    /// Time passed: the server said nothing new, or could not be reached.
    Tick,
}

/// What a repository said.
#[derive(Clone, Debug)]
pub enum Heard {
    /// What the fleet should run.
    Wishes(Box<Wishes>),
    /// Nothing was published yet.
    Nothing,
    /// Something that is not believed.
    Refused(FleetError),
    /// The rest did not come; what came before counts.
    Interrupted,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make [`Brain::snapshot`] durable before going on.
    Persist,
    /// Do this for `model`.
    Effect {
        /// The model.
        model: ModelName,
        /// What to do.
        effect: Effect,
    },
    /// Why, for people.
    Reason {
        /// The model; none for the device as a whole.
        model: Option<ModelName>,
        /// One sentence.
        reason: String,
    },
    /// The repository is not believed.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// [`slot::Effect`] with what is needed to carry it out safely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Fetch the released bundle into `slot`, verify and test it, then report [`Input::Staged`].
    Stage {
        /// Into which slot.
        slot: SlotId,
        /// The verified release: names the bundle and bounds its manifest.
        release: Release,
    },
    /// Serve the bundle in this slot from the next request on.
    Activate(Installed),
    /// Stop serving the model.
    Deactivate,
}

impl Brain {
    /// A device that has just enrolled.
    #[must_use]
    pub fn new(device: DeviceId, trusted: Trusted, policy: SlotPolicy) -> Self {
        let memory = Snapshot {
            schema: SNAPSHOT_SCHEMA.to_owned(),
            device,
            trusted,
            generation: None,
            expires_at_ms: None,
            models: BTreeMap::new(),
        };
        Self::with(memory, policy)
    }

    const fn with(memory: Snapshot, policy: SlotPolicy) -> Self {
        let floor_kept = memory.trusted.floor();
        Self { memory, policy, reasons: BTreeMap::new(), rejected: None, floor_kept }
    }

    /// A device that starts again.
    ///
    /// # Errors
    /// The snapshot has another schema, or belongs to another device.
    pub fn restore(snapshot: Snapshot, device: &DeviceId, policy: SlotPolicy) -> Result<Self, RestoreError> {
        if snapshot.schema != SNAPSHOT_SCHEMA {
            return Err(RestoreError::Schema(snapshot.schema));
        }
        if snapshot.device != *device {
            return Err(RestoreError::Device { expected: device.clone(), found: snapshot.device });
        }
        Ok(Self::with(snapshot, policy))
    }

    /// What must survive a crash.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.memory
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        &self.memory.device
    }

    /// Generation of the desired state the device follows.
    #[must_use]
    pub const fn generation(&self) -> Option<u64> {
        self.memory.generation
    }

    /// What the device trusts of its repository.
    #[must_use]
    pub const fn trusted(&self) -> &Trusted {
        &self.memory.trusted
    }

    /// Why the device does not act on its repository now; none if it does.
    #[must_use]
    pub fn trouble(&self, now: Timestamp) -> Option<RepositoryTrouble> {
        let frozen = || {
            let at = self.memory.expires_at_ms.filter(|at| self.no_earlier(now) >= *at)?;
            let reason = format!(
                "what the repository says expired at {at}: nothing newer is published, or somebody holds it back; \
                 check that the control plane signs, and this device's clock"
            );
            Some(RepositoryTrouble { name: "expired".to_owned(), reason })
        };
        self.rejected.clone().or_else(frozen)
    }

    /// The clock, or the time there is proof of.
    fn no_earlier(&self, now: Timestamp) -> Timestamp {
        now.max(self.memory.trusted.floor())
    }

    /// Whether the clock stands before a time the device has proof of.
    #[must_use]
    pub fn clock_unsure(&self, now: Timestamp) -> bool {
        now < self.memory.trusted.floor()
    }

    /// Every model with what is remembered about it.
    pub fn models(&self) -> impl Iterator<Item = (&ModelName, &ModelMemory)> {
        self.memory.models.iter()
    }

    /// How long until time alone changes something; none if nothing waits.
    #[must_use]
    pub fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let due = self.models().filter_map(|(_, memory)| memory.slots.due_ms()).min();
        due.map(|due| due.since(now))
    }

    /// The bundle that serves `model`.
    #[must_use]
    pub fn active(&self, model: &ModelName) -> Option<Digest> {
        self.memory.models.get(model)?.slots.active.map(|active| active.bundle)
    }

    /// The last few reasons about `model`, the newest last.
    #[must_use]
    pub fn reasons(&self, model: &ModelName) -> &[String] {
        self.reasons.get(model).map_or(&[], Vec::as_slice)
    }

    /// Takes one input and says what to do.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Output> {
        let mut decided = Decided::default();
        match input {
            Input::Started => self.step_all(&slot::Input::Started, now, &mut decided),
            Input::Refreshed { trusted, heard } => self.on_refreshed(*trusted, heard, now, &mut decided),
            Input::Staged { model, bundle, outcome } => {
                self.step(&model, slot::Input::Staged { bundle, outcome }, now, &mut decided);
                self.apply_wish(&model, now, &mut decided);
            }
            Input::Unhealthy { model, reason } => {
                self.step(&model, slot::Input::Unhealthy { reason }, now, &mut decided);
            }
            Input::Damaged { model, reason } => {
                self.step(&model, slot::Input::Damaged { reason }, now, &mut decided);
                self.apply_wish(&model, now, &mut decided);
            }
            Input::Waits { model, reason } => self.say(&model, reason, &mut decided),
            Input::MakeRoom { model } => {
                let others: Vec<ModelName> =
                    self.memory.models.keys().filter(|other| **other != model).cloned().collect();
                for other in &others {
                    self.step(other, slot::Input::MakeRoom, now, &mut decided);
                }
            }
            Input::Tick => {
                self.step_all(&slot::Input::Tick, now, &mut decided);
                self.apply_wishes(now, &mut decided);
            }
        }
        if decided.changed {
            self.floor_kept = self.memory.trusted.floor();
        }
        decided.into_outputs()
    }

    fn on_refreshed(&mut self, trusted: Trusted, heard: Heard, now: Timestamp, decided: &mut Decided) {
        let size = trusted.size_bytes();
        if size > TRUSTED_BYTES_MAX {
            let text =
                format!("its documents have {size} bytes, and a device keeps {TRUSTED_BYTES_MAX} at most");
            return self.reject("too_large", &text, decided);
        }
        self.trust(trusted, decided);
        match heard {
            Heard::Wishes(wishes) => {
                self.rejected = None;
                self.take_up(&wishes, decided);
                self.apply_wishes(now, decided);
            }
            Heard::Nothing => self.rejected = None,
            Heard::Refused(error) => self.reject(error.name(), &chain(&error), decided),
            Heard::Interrupted => {}
        }
    }

    fn trust(&mut self, trusted: Trusted, decided: &mut Decided) {
        let before = std::mem::replace(&mut self.memory.trusted, trusted);
        let after = &self.memory.trusted;
        let rose = after.floor().since(self.floor_kept) >= FLOOR_STEP;
        decided.changed |= rose || before.documents() != after.documents();
    }

    fn reject(&mut self, name: &str, why: &str, decided: &mut Decided) {
        let reason = format!("the repository is not believed ({name}): {why}");
        let trouble = RepositoryTrouble { name: name.to_owned(), reason: reason.clone() };
        if self.rejected.as_ref() != Some(&trouble) {
            self.rejected = Some(trouble);
            decided.reasons.push((None, reason.clone()));
        }
        decided.rejected = Some(reason);
    }

    /// Remembers what the repository wants of this device.
    fn take_up(&mut self, wishes: &Wishes, decided: &mut Decided) {
        let Wishes { desired, expires_at_ms, .. } = wishes;
        decided.changed |= self.memory.expires_at_ms.replace(*expires_at_ms) != Some(*expires_at_ms);
        decided.changed |= self.memory.generation.replace(desired.generation) != Some(desired.generation);
        for (model, memory) in &mut self.memory.models {
            if !desired.models.contains_key(model) {
                let is_new = memory.wanted.take().is_some() | memory.shadows.take().is_some();
                decided.changed |= is_new;
            }
        }
        for (model, assignment) in &desired.models {
            if !self.memory.models.contains_key(model) && self.memory.models.len() >= MODELS_MAX {
                decided
                    .reasons
                    .push((None, format!("{model} is ignored: a device keeps at most {MODELS_MAX} models")));
                continue;
            }
            self.take_up_model(model, assignment, wishes, decided);
        }
    }

    fn take_up_model(
        &mut self,
        model: &ModelName,
        assignment: &Assignment,
        wishes: &Wishes,
        decided: &mut Decided,
    ) {
        let wanted = assignment.bundle_for(&self.memory.device);
        let before = self.memory.models.get(model).cloned();
        let known = |bundle: Digest| before.as_ref().and_then(|memory| memory.release_of(bundle).copied());
        let shadows = assignment.shadows.clone().filter(Shadows::is_sound);
        let named = wanted.into_iter().chain(shadows.iter().flat_map(|shadows| shadows.bundles.clone()));
        let named: BTreeSet<Digest> = named.collect();
        let release = |bundle: &Digest| {
            let fresh = wishes.releases.get(&(model.clone(), *bundle)).copied();
            fresh.or_else(|| known(*bundle))
        };
        let memory = self.memory.models.entry(model.clone()).or_default();
        memory.wanted = wanted;
        memory.probation_ms = assignment.probation_ms;
        let staging = staging_bundle(&memory.slots);
        memory.releases.retain(|kept| Some(kept.bundle) == staging && !named.contains(&kept.bundle));
        memory.releases.extend(named.iter().filter_map(release));
        memory.shadows = shadows;
        decided.changed |= before.as_ref() != Some(memory);
    }

    fn apply_wishes(&mut self, now: Timestamp, decided: &mut Decided) {
        let models: Vec<ModelName> = self.memory.models.keys().cloned().collect();
        for model in &models {
            self.apply_wish(model, now, decided);
        }
    }

    /// Offers the wanted bundle to the slot machine; offering it again changes nothing.
    fn apply_wish(&mut self, model: &ModelName, now: Timestamp, decided: &mut Decided) {
        let Some(memory) = self.memory.models.get(model) else { return };
        let Some(bundle) = memory.wanted else { return };
        if self.memory.expires_at_ms.is_some_and(|at| self.no_earlier(now) >= at) {
            let reason = "what the repository says has expired: keeping what runs".to_owned();
            return self.say(model, reason, decided);
        }
        if !memory.holds(bundle)
            && memory.release_of(bundle).is_none()
            && memory.slots.refusal(bundle).is_none()
        {
            let reason = format!("{bundle:?} is wanted but was not released: not staged");
            return self.say(model, reason, decided);
        }
        self.step(model, slot::Input::Desired(Some(bundle)), now, decided);
    }

    fn step_all(&mut self, input: &slot::Input, now: Timestamp, decided: &mut Decided) {
        let models: Vec<ModelName> = self.memory.models.keys().cloned().collect();
        for model in &models {
            self.step(model, input.clone(), now, decided);
        }
    }

    fn step(&mut self, model: &ModelName, input: slot::Input, now: Timestamp, decided: &mut Decided) {
        let Some(memory) = self.memory.models.get_mut(model) else { return };
        let policy = SlotPolicy { probation_ms: memory.probation_ms, ..self.policy.clone() };
        let step = slot::step(&policy, memory.slots.clone(), input, now);
        let active_before = memory.slots.active;
        decided.changed |= memory.slots != step.state;
        memory.slots = step.state;
        if memory.slots.active != active_before {
            memory.active_since_ms = memory.slots.active.map(|_| now);
        }
        let mut retry = None;
        for effect in step.effects {
            match memory.with_release(&effect) {
                Ok(effect) => decided.effects.push((model.clone(), effect)),
                Err(bundle) => retry = Some(bundle),
            }
        }
        for reason in step.reasons {
            self.say(model, reason, decided);
        }
        if let Some(bundle) = retry {
            let outcome = StageOutcome::Unreachable("its release is not known any more".to_owned());
            self.step(model, slot::Input::Staged { bundle, outcome }, now, decided);
        }
    }

    /// Keeps and passes on a reason, unless it is the one that was given last.
    fn say(&mut self, model: &ModelName, reason: String, decided: &mut Decided) {
        let kept = self.reasons.entry(model.clone()).or_default();
        if kept.last() == Some(&reason) {
            return;
        }
        kept.push(reason.clone());
        let excess = kept.len().saturating_sub(REASONS_MAX);
        kept.drain(..excess);
        decided.reasons.push((Some(model.clone()), reason));
    }
}

impl ModelMemory {
    /// Whether a verified copy of `bundle` is in one of the slots.
    fn holds(&self, bundle: Digest) -> bool {
        [self.slots.active, self.slots.previous].into_iter().flatten().any(|kept| kept.bundle == bundle)
    }

    /// The verified release of `bundle`, if it is one of those that are remembered.
    #[must_use]
    pub fn release_of(&self, bundle: Digest) -> Option<&Release> {
        self.releases.iter().find(|release| release.bundle == bundle)
    }

    fn with_release(&self, effect: &slot::Effect) -> Result<Effect, Digest> {
        match *effect {
            slot::Effect::Stage { slot, bundle } => {
                self.release_of(bundle).copied().map(|release| Effect::Stage { slot, release }).ok_or(bundle)
            }
            slot::Effect::Activate(installed) => Ok(Effect::Activate(installed)),
            slot::Effect::Deactivate => Ok(Effect::Deactivate),
        }
    }
}

/// What one input led to, before it is put in order.
#[derive(Default)]
struct Decided {
    changed: bool,
    effects: Vec<(ModelName, Effect)>,
    reasons: Vec<(Option<ModelName>, String)>,
    rejected: Option<String>,
}

impl Decided {
    fn into_outputs(self) -> Vec<Output> {
        let persist = self.changed.then_some(Output::Persist);
        let reasons = self.reasons.into_iter().map(|(model, reason)| Output::Reason { model, reason });
        let effects = self.effects.into_iter().map(|(model, effect)| Output::Effect { model, effect });
        let rejected = self.rejected.map(|reason| Output::Rejected { reason });
        persist.into_iter().chain(reasons).chain(effects).chain(rejected).collect()
    }
}

fn staging_bundle(state: &slot::State) -> Option<Digest> {
    match &state.phase {
        Phase::Staging { bundle, .. } => Some(*bundle),
        Phase::Idle | Phase::Probation { .. } => None,
    }
}

#[cfg(test)]
mod tests;
