//! Models that an app beside the agent serves: handing an activation over, and hearing what came of it.
//!
//! Only what follows an activation is held against a bundle: an app that fails while nothing has changed is started again
//! and reported, and the bundle stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edgeward_core::slot::{Installed, Phase, StageOutcome};
use edgeward_core::{Digest, ModelName};
use edgeward_sdk::{HOLD_MAX, Hold, Loaded, Serving};
use std::sync::Arc;

use super::Control;
use crate::activation::pointer::point;
use crate::activation::worker::{Job, Order, Outcome, order};
use crate::activation::{Method, worker};
use crate::brain::Input;
use crate::control::Message;
use edgeward_sdk::chain;

/// How often to look for an app's answer, or for the end of a hold.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// Times an app may end by itself within a probation before the bundle is blamed.
const DEATHS_MAX: u32 = 3;

/// What apps beside the agent are asked and say.
#[derive(Default)]
pub(super) struct Outside {
    /// Activations that no app has answered yet.
    awaited: BTreeMap<ModelName, Awaited>,
    /// What apps serve.
    pub(super) serving: BTreeMap<ModelName, Digest>,
    /// Tested bundles whose activation an app holds back.
    held: BTreeMap<ModelName, Held>,
    /// Activations that could not be written down for apps.
    unpointed: BTreeMap<ModelName, Installed>,
    orders: Option<std::sync::mpsc::Sender<Order>>,
    deaths: u32,
}

struct Awaited {
    sequence: u64,
    bundle: Digest,
    /// Whether the app was told of something new: only then is a failure held against the bundle.
    changed: bool,
    /// When silence counts as a failure; none where no app was ever heard.
    deadline: Option<Instant>,
}

struct Held {
    bundle: Digest,
    /// Kept for a short wait; for hours it is loaded again.
    loaded: Option<Arc<Loaded>>,
    /// When an app that holds it back is no longer heeded; none while a maintenance window is waited for.
    until: Option<Instant>,
}

impl Outside {
    /// Models with a tested bundle that an app holds back.
    pub(super) fn held_models(&self) -> impl Iterator<Item = &ModelName> {
        self.held.keys()
    }

    /// Whether something is to be looked for soon.
    pub(super) fn is_waiting(&self) -> bool {
        self.held.values().any(|held| held.until.is_some())
            || self.awaited.values().any(|awaited| awaited.deadline.is_some())
    }
}

impl Control {
    /// Starts what carries out restarts and reboots, if the method needs it.
    pub(super) fn start_worker(&mut self) {
        let config = &self.parts.activation;
        if config.method == Method::Serve || (config.method == Method::Watch && config.app.command.is_none())
        {
            return;
        }
        let (orders, receiver) = std::sync::mpsc::channel();
        let sender = self.sender.clone();
        let tell = move |outcome| {
            // Nobody listens once the agent ends.
            let _ = sender.send(Message::App(outcome));
        };
        self.worker = Some(worker::spawn(config.clone(), self.parts.data_dir.clone(), receiver, tell));
        self.outside.orders = Some(orders);
    }

    /// Ends the app that the agent runs.
    pub(super) fn stop_worker(&mut self) {
        if let Some(orders) = self.outside.orders.take() {
            order(&orders, Order::Stop);
        }
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
    }

    /// Writes down what is active, for apps; what cannot be written is tried again.
    pub(super) fn point(&mut self, model: &ModelName, installed: Installed) {
        let folder = self.parts.slots.model_folder(model);
        match point(&folder, model, installed) {
            Ok(pointed) => {
                self.outside.unpointed.remove(model);
                if self.parts.activation.method != Method::Serve {
                    self.hand_over_to_app(model, pointed.active.sequence, installed.bundle, pointed.changed);
                }
            }
            Err(error) => {
                tracing::error!(%model, "apps are not told yet: {}", chain(&error));
                self.outside.unpointed.insert(model.clone(), installed);
            }
        }
    }

    fn hand_over_to_app(&mut self, model: &ModelName, sequence: u64, bundle: Digest, changed: bool) {
        let is_watch = self.parts.activation.method == Method::Watch;
        let folder = self.parts.slots.model_folder(model);
        let was_heard = Serving::read(&folder).is_some();
        let timeout = self.parts.activation.app.answer_timeout;
        let deadline = (is_watch && changed && was_heard).then(|| Instant::now() + timeout);
        self.outside.deaths = 0;
        self.outside.awaited.insert(model.clone(), Awaited { sequence, bundle, changed, deadline });
        if let Some(orders) = &self.outside.orders {
            order(orders, Order::Activate(Job { model: model.clone(), sequence, changed }));
        }
    }

    /// Hears apps, ends holds, and writes down what could not be written before.
    pub(super) fn look_outside(&mut self) {
        for (model, installed) in std::mem::take(&mut self.outside.unpointed) {
            self.point(&model, installed);
        }
        self.end_holds();
        if self.parts.activation.method != Method::Watch {
            return;
        }
        let models: Vec<ModelName> = self.outside.awaited.keys().cloned().collect();
        for model in models {
            let said = Serving::read(&self.parts.slots.model_folder(&model));
            let awaited = &self.outside.awaited[&model];
            let said = said.filter(|said| said.sequence == awaited.sequence && said.bundle == awaited.bundle);
            let is_late = awaited.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            match said {
                Some(said) => self.answered(&model, said.error.map_or(Ok(()), Err)),
                None if is_late => self.answered(&model, Err("the app does not answer any more".to_owned())),
                None => {}
            }
        }
    }

    /// An app serves what was activated, or says why not.
    fn answered(&mut self, model: &ModelName, result: Result<(), String>) {
        let Some(awaited) = self.outside.awaited.remove(model) else { return };
        self.report_due = true;
        match result {
            Ok(()) => {
                tracing::info!(%model, bundle = ?awaited.bundle, "the app serves it");
                self.outside.serving.insert(model.clone(), awaited.bundle);
            }
            Err(reason) if awaited.changed => {
                self.outside.serving.remove(model);
                self.feed(Input::Unhealthy { model: model.clone(), reason: format!("the app: {reason}") });
            }
            Err(reason) => tracing::error!(%model, "the app does not serve: {reason}"),
        }
    }

    /// What came of a restart or reboot, or an app that ended by itself.
    pub(super) fn on_app(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Activated { activations, result } => {
                for (model, sequence) in activations {
                    let is_newest =
                        self.outside.awaited.get(&model).is_some_and(|awaited| awaited.sequence == sequence);
                    if is_newest {
                        self.answered(&model, result.clone());
                    }
                }
            }
            Outcome::Died(why) => self.on_app_died(&why),
        }
    }

    fn on_app_died(&mut self, why: &str) {
        tracing::error!("{why}; starting it again");
        self.outside.deaths += 1;
        if self.outside.deaths < DEATHS_MAX {
            return;
        }
        self.outside.deaths = 0;
        let on_trial = |(model, memory): (&ModelName, &crate::brain::ModelMemory)| {
            matches!(memory.slots.phase, Phase::Probation { .. }).then(|| model.clone())
        };
        let models: Vec<ModelName> = self.parts.brain.models().filter_map(on_trial).collect();
        for model in models {
            let reason =
                format!("the app ended {DEATHS_MAX} times within its probation; the last time: {why}");
            self.feed(Input::Unhealthy { model, reason });
        }
    }

    /// Whether an app asks to be left alone, or no maintenance window is open; the bundle is then kept until it may serve.
    pub(super) fn is_held_back(&mut self, model: &ModelName, bundle: Digest, loaded: &Arc<Loaded>) -> bool {
        let folder = self.parts.slots.model_folder(model);
        let now = (self.parts.clock)();
        let waits_for_window =
            self.parts.brain.active(model).is_some() && !self.parts.courtesy.may_activate(now);
        if !waits_for_window && Hold::remaining(&folder, now).is_none() {
            return false;
        }
        let held = match waits_for_window {
            true => Held { bundle, loaded: None, until: None },
            false => {
                let until = Some(Instant::now() + HOLD_MAX);
                Held { bundle, loaded: Some(Arc::clone(loaded)), until }
            }
        };
        let reason = match waits_for_window {
            true => format!("{bundle:?} waits for a maintenance window: {}", self.parts.courtesy.windows()),
            false => format!("{bundle:?} waits: the app asks for a pause"),
        };
        self.outside.held.insert(model.clone(), held);
        self.report_due = true;
        self.feed(Input::Waits { model: model.clone(), reason });
        true
    }

    fn end_holds(&mut self) {
        let now = (self.parts.clock)();
        if !self.parts.courtesy.may_activate(now) {
            return;
        }
        let slots = self.parts.slots.clone();
        let is_over = |(model, held): (&ModelName, &mut Held)| {
            let is_free = Hold::remaining(&slots.model_folder(model), now).is_none();
            let until = *held.until.get_or_insert_with(|| Instant::now() + HOLD_MAX);
            (is_free || Instant::now() >= until).then(|| model.clone())
        };
        let over: Vec<ModelName> = self.outside.held.iter_mut().filter_map(is_over).collect();
        for model in over {
            if let Some(held) = self.outside.held.remove(&model) {
                if let Some(loaded) = held.loaded {
                    self.ready.insert(model.clone(), loaded);
                }
                let (bundle, outcome) = (held.bundle, StageOutcome::Ready);
                self.feed(Input::Staged { model, bundle, outcome });
            }
        }
    }
}
