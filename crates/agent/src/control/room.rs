//! What happens when there is no room: the state is written in any case, what serves goes on, and what nobody needs goes.

use std::collections::BTreeMap;

use edgeward_core::ModelName;
use edgeward_core::slot::{Phase, SlotId};
use edgeward_sdk::chain;

use super::Control;
use crate::brain::{Effect, ModelMemory, Output};
use crate::durable::DurableError;
use crate::records::to_json;
use crate::slots::Kept;

impl Control {
    /// Writes the snapshot; on a full disk into the room that was kept for it.
    pub(super) fn persist(&mut self) -> Result<(), DurableError> {
        let bytes = to_json(self.parts.brain.snapshot());
        match self.parts.store.write(&bytes) {
            Err(error) if error.is_full() => {
                tracing::warn!("{}; the room that is kept for it is taken", chain(&error));
                self.collect_due = true;
                self.parts.reserve.release(self.parts.slots.disk())?;
                self.parts.store.write(&bytes)
            }
            written => written,
        }
    }

    /// Serves after a start, even if the start itself cannot be written down: what it decided follows from what was written
    /// before, and the next start decides the same.
    pub(super) fn serve_in_any_case(&mut self) {
        for output in std::mem::take(&mut self.queue) {
            match output {
                Output::Effect { model, effect: Effect::Activate(installed) } => {
                    tracing::warn!(%model, "it serves, though its start is not written down");
                    self.activate(&model, installed);
                }
                output => self.queue.push_back(output),
            }
        }
    }

    /// Removes what no model needs, once in a while.
    pub(super) fn collect_if_due(&mut self) {
        // While the state cannot be written, what it says is needed is not what the brain thinks.
        if !self.collect_due || !self.queue.is_empty() {
            return;
        }
        self.collect_due = false;
        let kept: BTreeMap<ModelName, Kept> =
            self.parts.brain.models().map(|(model, memory)| (model.clone(), kept(memory))).collect();
        let busy: Vec<&ModelName> = self.jobs.keys().chain(self.outside.held_models()).collect();
        match self.parts.slots.collect(&kept, &busy) {
            Ok(0) => {}
            Ok(slots) => tracing::info!("{slots} slots that nobody needs were emptied"),
            Err(error) => tracing::warn!("what nobody needs is not removed: {}", chain(&error)),
        }
    }
}

/// What is active, the way back, and what is being staged.
fn kept(memory: &ModelMemory) -> Kept {
    let installed = [memory.slots.active, memory.slots.previous].into_iter().flatten();
    let staging = match memory.slots.phase {
        Phase::Staging { slot, .. } => Some(slot),
        Phase::Idle | Phase::Probation { .. } => None,
    };
    let slots: Vec<SlotId> = installed.clone().map(|installed| installed.slot).chain(staging).collect();
    Kept { slots, monitors: installed.map(|installed| installed.bundle).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_core::Digest;
    use edgeward_core::slot::Installed;

    #[test]
    fn what_serves_the_way_back_and_what_is_staged_is_kept() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut memory = ModelMemory::default();
        assert_eq!(kept(&memory), Kept::default());
        memory.slots.active = Some(Installed { slot: SlotId::A, bundle: one });
        assert_eq!(kept(&memory), Kept { slots: vec![SlotId::A], monitors: vec![one] });
        memory.slots.phase =
            Phase::Staging { slot: SlotId::B, bundle: two, failures: 0, damaged: 0, retry_at_ms: None };
        assert_eq!(kept(&memory).slots, [SlotId::A, SlotId::B]);
        memory.slots.phase = Phase::Idle;
        memory.slots.previous = Some(Installed { slot: SlotId::B, bundle: two });
        assert_eq!(kept(&memory), Kept { slots: vec![SlotId::A, SlotId::B], monitors: vec![one, two] });
    }
}
