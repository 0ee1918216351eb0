//! One device of the simulation: a real brain, a disk that survives crashes, and what serves while it is up.

use edgeward_agent::brain::{Brain, Effect, Input, Output, Snapshot};
use edgeward_core::slot::{SlotId, SlotPolicy};
use edgeward_core::{DeviceId, Digest, Release, Timestamp};
use edgeward_trust::tuf::Trusted;

/// A device.
pub(super) struct Device {
    pub(super) id: DeviceId,
    /// Counts starts; what was planned for an earlier one no longer reaches it.
    pub(super) incarnation: u32,
    pub(super) up: Option<Up>,
    disk: Disk,
}

/// What lives only while the device is up.
pub(super) struct Up {
    pub(super) brain: Brain,
    /// The tag of the last files that were delivered.
    pub(super) tag: Option<u64>,
    pub(super) serving: Option<Digest>,
}

/// What survives a crash.
struct Disk {
    snapshot: Snapshot,
    slots: [Option<Digest>; 2],
}

/// What the device asks of the world.
pub(super) struct Staging {
    pub(super) slot: SlotId,
    pub(super) release: Release,
}

/// What came of one input.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) stagings: Vec<Staging>,
    pub(super) activated: Vec<Digest>,
    pub(super) violations: Vec<String>,
    pub(super) rejected: Option<String>,
    pub(super) crashed: bool,
}

impl Device {
    pub(super) fn new(id: DeviceId, pinned: Trusted) -> Self {
        let brain = Brain::new(id.clone(), pinned, SlotPolicy::default());
        let disk = Disk { snapshot: brain.snapshot().clone(), slots: [None; 2] };
        Self { id, incarnation: 0, up: None, disk }
    }

    /// Starts the agent from what is on disk.
    pub(super) fn start(&mut self, now: Timestamp, crashes: &mut dyn FnMut() -> bool) -> Outcome {
        let brain = Brain::restore(self.disk.snapshot.clone(), &self.id, SlotPolicy::default())
            .expect("a device restores its own snapshot");
        self.incarnation += 1;
        self.up = Some(Up { brain, tag: None, serving: None });
        self.feed(Input::Started, now, crashes)
    }

    /// Pulls the plug.
    pub(super) fn crash(&mut self) {
        self.up = None;
    }

    /// Gives the brain an input and carries out its outputs, any of which may be the last before a crash.
    pub(super) fn feed(
        &mut self,
        input: Input,
        now: Timestamp,
        crashes: &mut dyn FnMut() -> bool,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(up) = &mut self.up else { return outcome };
        let generation_before = up.brain.generation();
        for output in up.brain.handle(input, now) {
            if crashes() {
                outcome.crashed = true;
                self.up = None;
                return outcome;
            }
            match output {
                Output::Persist => self.disk.snapshot = up.brain.snapshot().clone(),
                Output::Effect { effect, .. } => carry_out(&effect, &mut self.disk, up, &mut outcome),
                Output::Rejected { reason } => outcome.rejected = Some(reason),
                Output::Reason { .. } => {}
            }
        }
        let generation = up.brain.generation();
        if generation < generation_before {
            outcome.violations.push(format!("generation fell from {generation_before:?} to {generation:?}"));
        }
        outcome
    }

    /// A staged bundle is complete on disk.
    pub(super) fn fill(&mut self, slot: SlotId, bundle: Digest) {
        self.disk.slots[slot as usize] = Some(bundle);
    }
}

fn carry_out(effect: &Effect, disk: &mut Disk, up: &mut Up, outcome: &mut Outcome) {
    match *effect {
        Effect::Stage { slot, release } => {
            let active = up.brain.models().find_map(|(_, memory)| memory.slots.active);
            if active.is_some_and(|active| active.slot == slot) {
                outcome.violations.push(format!("the active slot {slot:?} is staged into"));
            }
            disk.slots[slot as usize] = None;
            outcome.stagings.push(Staging { slot, release });
        }
        Effect::Activate(installed) => {
            if disk.slots[installed.slot as usize] != Some(installed.bundle) {
                outcome
                    .violations
                    .push(format!("{installed:?} was activated but is not what is in the slot"));
            }
            up.serving = Some(installed.bundle);
            outcome.activated.push(installed.bundle);
        }
        Effect::Deactivate => {
            up.serving = None;
            outcome.violations.push("a device with a good bundle stopped serving".to_owned());
        }
    }
}
