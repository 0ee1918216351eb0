//! Carrying out what the brain decided about one model: stage beside, publish, withdraw.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};

use edgeward_core::slot::{Installed, SlotId, StageOutcome};
use edgeward_core::{Digest, ModelName, Release};
use edgeward_sdk::Loaded;

use super::{Control, Counting, Message, Parts};
use crate::activation::Method;
use crate::bandwidth::Paced;
use crate::brain::Input;
use crate::fetch::{FetchError, Sources, Staging, open_verified};
use crate::pick::Picker;
use crate::slots::Slots;
use edgeward_sdk::chain;

/// What is to be staged.
pub(super) struct Errand {
    /// Where its folder is.
    pub(super) slots: Slots,
    /// The model.
    pub(super) model: ModelName,
    /// Into which slot.
    pub(super) slot: SlotId,
    /// Which bundle.
    pub(super) release: Release,
    /// The same bundle, where it runs as a shadow: its folder, and what is loaded.
    pub(super) held: Option<(PathBuf, Arc<Loaded>)>,
}

/// Stages on a thread of its own; its last act is to send what `say` makes of the result.
pub(super) fn spawn_staging(
    parts: &Parts,
    sender: &Sender<Message>,
    cancelled: &Arc<AtomicBool>,
    errand: Errand,
    say: fn(ModelName, Digest, Result<Arc<Loaded>, StageOutcome>) -> Message,
) -> JoinHandle<()> {
    let sources = Sources { mirror: parts.mirror.clone(), client: parts.client.clone() };
    let Errand { slots, model, slot, release, held } = errand;
    let (platform, bandwidth) = (Arc::clone(&parts.platform), parts.bandwidth.clone());
    let courtesy = Arc::clone(&parts.courtesy);
    let served = parts.registry.get_or_add(&model);
    let (sender, cancelled) = (sender.clone(), Arc::clone(cancelled));
    thread::spawn(move || {
        edgeward_sdk::step_back(edgeward_sdk::LOADING);
        let paced = Paced { source: &sources, bandwidth: bandwidth.as_deref() };
        let staging = Staging {
            source: &paced,
            slots: &slots,
            platform: &platform,
            courtesy: &courtesy,
            cancelled: &cancelled,
            received: &served.counters.received_bytes,
            beside: held.as_ref().map(|(folder, _)| folder.as_path()),
        };
        let work = || match &held {
            Some((_, loaded)) => staging.stage_loaded(&model, slot, &release, Arc::clone(loaded)),
            None => staging.stage(&model, slot, &release),
        };
        let staged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let result = match staged {
            Ok(result) => result.map_err(|error| error.outcome()),
            Err(_) => Err(StageOutcome::Refused("the engine panicked while testing it".to_owned())),
        };
        // Nobody listens once the agent ends.
        let _ = sender.send(say(model, release.bundle, result));
    })
}

impl Control {
    /// Serves the bundle in a slot from the next request on; one that does not load is reported to the brain.
    pub(super) fn activate(&mut self, model: &ModelName, installed: Installed) {
        match self.take_loaded(model, installed) {
            Ok(loaded) => {
                if self.parts.activation.method == Method::Serve {
                    self.publish(model, loaded);
                } else {
                    // It loads; the app does so by itself, and one copy in memory is enough.
                    drop(loaded);
                    edgeward_sdk::give_back_memory();
                }
                self.point(model, installed);
            }
            Err(error) => {
                let reason = format!("{:?} does not load: {}", installed.bundle, chain(&error));
                let model = model.clone();
                let input = match error {
                    FetchError::Damaged { .. } => Input::Damaged { model, reason },
                    _ => Input::Unhealthy { model, reason },
                };
                let outputs = self.parts.brain.handle(input, (self.parts.clock)());
                self.queue.extend(outputs);
            }
        }
    }

    /// The bundle as it was tested while staging, or loaded anew from verified bytes.
    fn take_loaded(&mut self, model: &ModelName, installed: Installed) -> Result<Arc<Loaded>, FetchError> {
        let staged = self.ready.remove(model).filter(|loaded| loaded.bundle() == installed.bundle);
        if let Some(loaded) = staged {
            return Ok(loaded);
        }
        let folder = self.parts.slots.folder(model, installed.slot);
        let platform = &*self.parts.platform;
        let bundle = open_verified(&folder, installed.bundle, platform)?;
        let derived = self.parts.slots.derived(model, installed.slot);
        Ok(Arc::new(Picker { platform, folder: Some(&derived) }.pick_again(&bundle)?))
    }

    fn publish(&mut self, model: &ModelName, loaded: Arc<Loaded>) {
        let bundle = loaded.bundle();
        self.restore_monitor(model, &loaded);
        let served = self.parts.registry.get_or_add(model);
        let before = served.publish(loaded).filter(|before| before.bundle() != bundle);
        tracing::info!(%model, ?bundle, "serving");
        self.retire(model, before.as_deref());
        drop(before);
        self.forget_old_monitors(model);
        // What staging tried and the model before held; requests still under way hold theirs a little longer.
        edgeward_sdk::give_back_memory();
    }

    pub(super) fn deactivate(&mut self, model: &ModelName) {
        let before = self.parts.registry.get_or_add(model).handle.withdraw().before;
        tracing::error!(%model, "nothing good to serve");
        self.retire(model, before.as_deref());
    }

    /// Keeps the recorder of a model that serves no longer until its last window is taken.
    fn retire(&mut self, model: &ModelName, before: Option<&Loaded>) {
        let Some(counting) = before.and_then(|before| Counting::of(model, before)) else { return };
        let service = Some(self.take_service(model));
        self.retired.push(Counting { service, ..counting });
    }

    fn restore_monitor(&self, model: &ModelName, loaded: &Loaded) {
        let Some(recorder) = loaded.recorder() else { return };
        let Some(state) = self.parts.slots.monitor_state(model, loaded.bundle()) else { return };
        if let Err(error) = recorder.restore(&state) {
            tracing::warn!(%model, "the monitor starts anew: {}", chain(&error));
        }
    }

    fn forget_old_monitors(&self, model: &ModelName) {
        let slots = self.parts.brain.snapshot().models.get(model).map(|memory| &memory.slots);
        let kept: Vec<Digest> = slots
            .iter()
            .flat_map(|slots| [slots.active, slots.previous])
            .flatten()
            .map(|installed| installed.bundle)
            .collect();
        self.parts.slots.forget_monitors(model, &kept);
    }
}
