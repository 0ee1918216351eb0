//! The control loop: one thread that asks what to do, does it, and tells what came of it.
//!
//! It alone drives the [`Brain`]. What the brain puts out goes into a queue that is worked off in order; a snapshot that
//! cannot be written stops the queue until it can, so nothing is acted on that a crash would forget. Staging runs on its
//! own thread, one per model, and comes back as a message. When the control plane is away, serving goes on, and the loop
//! asks ever more rarely.
//!
//! A nudge makes the next poll due at once; a poll is the only way news arrives.

mod activate;
mod handed;
mod outside;
mod pace;
mod room;
mod shadows;
mod upload;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeward_api::client::Files;
use edgeward_api::device::{REPORT_SCHEMA, Report, RepositoryTrouble, Service};
use edgeward_api::{Client, ClientError};
use edgeward_core::slot::{Phase, SlotId, StageOutcome};
use edgeward_core::{Digest, ModelName, Release, Timestamp};
use edgeward_sdk::{Loaded, Recorder};
use uuid::Uuid;

use crate::activation::{ActivationConfig, worker};
use crate::bandwidth::Bandwidth;
use crate::brain::{Brain, Effect, Heard, Input, Output};
use crate::config::Clock;
use crate::courtesy::Courtesy;
use crate::durable::TwoCopies;
use crate::endpoint::{About, Link};
use crate::nudge::Nudges;
use crate::platform::Platform;
use crate::records::Records;
use crate::registry::{Registry, View};
use crate::repository::{PollError, Polled, Repository};
use crate::reserve::Reserve;
use crate::shadow::stage::Stagehand;
use crate::slots::Slots;
use crate::witness::Witness;
use edgeward_sdk::chain;

use outside::Outside;
use pace::Pace;

/// Time between two looks at the ledger's checkpoint.
const WITNESS: Duration = Duration::from_secs(30);
/// Longest time between two looks at deadlines, such as the end of a probation.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Shortest time between two of them.
const TICK_MIN: Duration = Duration::from_millis(5);

/// What the control loop is made of.
pub struct Parts {
    /// The decisions.
    pub brain: Brain,
    /// Where they are kept.
    pub store: TwoCopies,
    /// The control plane.
    pub client: Client,
    /// What says what to run.
    pub repository: Repository,
    /// Files of bundles beside the repository, if that is not the control plane's own.
    pub mirror: Option<Files>,
    /// The bundles on the disk.
    pub slots: Slots,
    /// What runs them.
    pub platform: Arc<Platform>,
    /// The models being served.
    pub registry: Arc<Registry>,
    /// Predictions, labels and alerts.
    pub records: Arc<Records>,
    /// What people are told.
    pub about: Arc<About>,
    /// Where predictions are served, such as `http://127.0.0.1:8600`.
    pub endpoint: String,
    /// How often to ask.
    pub poll: Duration,
    /// How often to upload.
    pub upload: Duration,
    /// Where to hear of news between two polls.
    pub nudges: Nudges,
    /// What bundles may take of the link; none is no limit.
    pub bandwidth: Option<Arc<Bandwidth>>,
    /// When bundles may be fetched and activated.
    pub courtesy: Arc<Courtesy>,
    /// What makes an activated bundle serve.
    pub activation: ActivationConfig,
    /// Everything the agent keeps.
    pub data_dir: PathBuf,
    /// What the device saw of the ledger.
    pub witness: Witness,
    /// Room for the state on a disk that is full.
    pub reserve: Reserve,
    /// Tells the time.
    pub clock: Clock,
}

/// The control loop.
pub struct Control {
    parts: Parts,
    session: Uuid,
    session_started_at_ms: Timestamp,
    report_seq: u64,
    profile_seq: u64,
    queue: VecDeque<Output>,
    jobs: BTreeMap<ModelName, Job>,
    /// Loaded and tested while staging, so that activating is only an exchange.
    ready: BTreeMap<ModelName, Arc<Loaded>>,
    /// Recorders of models that served before, whose last window is still to be taken.
    retired: Vec<Counting>,
    windows_since: BTreeMap<ModelName, Timestamp>,
    /// How requests had fared when each model's last window was taken.
    served_before: BTreeMap<ModelName, Service>,
    poll: Pace,
    tick_due: Instant,
    upload_due: Instant,
    witness_due: Instant,
    trouble: Option<String>,
    /// Why the repository could not be asked.
    unheard: Option<RepositoryTrouble>,
    /// That can be told all the same: it is only slow, or elsewhere than the control plane.
    is_telling: bool,
    report_due: bool,
    /// Whether slots may hold what nobody needs.
    collect_due: bool,
    outside: Outside,
    stagehand: Stagehand,
    worker: Option<JoinHandle<()>>,
    /// Ends the thread that listens for nudges.
    deaf: Arc<AtomicBool>,
    messages: Receiver<Message>,
    sender: Sender<Message>,
}

/// What wakes the loop before its time.
pub enum Message {
    /// Staging ended.
    Staged {
        /// The model.
        model: ModelName,
        /// The bundle.
        bundle: Digest,
        /// The loaded bundle, or why there is none.
        result: Result<Arc<Loaded>, StageOutcome>,
    },
    /// Staging of a shadow ended.
    ShadowStaged {
        /// The model.
        model: ModelName,
        /// The bundle.
        bundle: Digest,
        /// The loaded bundle, or why there is none.
        result: Result<Arc<Loaded>, StageOutcome>,
    },
    /// News of the app beside the agent.
    App(worker::Outcome),
    /// The control plane has news.
    Nudge,
    /// The agent ends.
    Stop,
}

/// `span`, spread by up to a fifth either way.
pub(crate) fn spread(span: Duration) -> Duration {
    pace::spread_randomly(span)
}

/// A recorder and whose it is.
struct Counting {
    model: ModelName,
    bundle: Digest,
    recorder: Arc<Recorder>,
    /// How requests fared with it, taken when it was retired.
    service: Option<Service>,
}

/// Staging under way.
struct Job {
    cancelled: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    /// What to stage when this one has ended.
    next: Option<(SlotId, Release)>,
}

impl Control {
    /// A loop that has not begun; `messages` is the end that `sender` speaks to.
    #[must_use]
    pub fn new(parts: Parts, sender: Sender<Message>, messages: Receiver<Message>) -> Self {
        let now = (parts.clock)();
        Self {
            session: Uuid::now_v7(),
            session_started_at_ms: now,
            report_seq: 0,
            profile_seq: 0,
            queue: VecDeque::new(),
            jobs: BTreeMap::new(),
            ready: BTreeMap::new(),
            retired: Vec::new(),
            windows_since: BTreeMap::new(),
            served_before: BTreeMap::new(),
            poll: Pace::new(parts.poll),
            tick_due: Instant::now(),
            upload_due: Instant::now() + spread(parts.upload),
            witness_due: Instant::now(),
            trouble: None,
            unheard: None,
            is_telling: false,
            report_due: true,
            collect_due: true,
            outside: Outside::default(),
            stagehand: Stagehand::new(&parts.data_dir),
            worker: None,
            deaf: Arc::default(),
            messages,
            sender,
            parts,
        }
    }

    /// Takes up where the last start left off: serves what was active, before anybody is asked anything.
    pub fn start(&mut self) {
        self.start_worker();
        self.feed(Input::Started);
        self.serve_in_any_case();
        self.publish_views();
        let sender = self.sender.clone();
        let nudge = move || drop(sender.send(Message::Nudge));
        let Parts { nudges, client, .. } = &self.parts;
        crate::nudge::listen(nudges.clone(), client.clone(), Arc::clone(&self.deaf), nudge);
    }

    /// Runs until told to stop, then hands what was counted to the spool.
    pub fn run(mut self) {
        while self.wait() {
            self.work();
        }
        self.deaf.store(true, Ordering::Relaxed);
        self.jobs.values().for_each(|job| job.cancelled.store(true, Ordering::Relaxed));
        self.stagehand.stop();
        self.stop_worker();
        self.take_windows();
    }

    /// Waits for a message or the next deadline; false when the agent ends.
    fn wait(&mut self) -> bool {
        if let Some(span) = self.parts.brain.due_in((self.parts.clock)()) {
            // A probation that ends makes room for what is wanted next.
            self.tick_due = self.tick_due.min(Instant::now() + span.max(TICK_MIN));
        }
        let mut due = self.poll.due().min(self.upload_due).min(self.tick_due);
        if self.outside.is_waiting() {
            due = due.min(Instant::now() + outside::LOOK);
        }
        match self.messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Message::Staged { model, bundle, result }) => {
                self.on_staged(model, bundle, result);
                true
            }
            Ok(Message::ShadowStaged { model, bundle, result }) => {
                self.on_shadow_staged(model, bundle, result);
                true
            }
            Ok(Message::App(outcome)) => {
                self.on_app(outcome);
                true
            }
            Ok(Message::Nudge) => {
                self.poll.hurry();
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    fn work(&mut self) {
        self.work_off();
        self.look_outside();
        if Instant::now() >= self.tick_due {
            self.tick_due = Instant::now() + self.parts.poll.min(TICK_MAX);
            self.feed(Input::Tick);
            self.parts.reserve.restore(self.parts.slots.disk());
        }
        self.collect_if_due();
        if Instant::now() >= self.poll.due() {
            self.ask();
            self.report_due = true;
        }
        self.tend_shadows();
        self.publish_views();
        if std::mem::take(&mut self.report_due) && (self.poll.is_reached() || self.is_telling) {
            self.report();
        }
        if Instant::now() >= self.upload_due {
            self.upload_due = Instant::now() + spread(self.parts.upload);
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.poll.is_reached() || self.window_is_old() {
            self.take_windows();
        }
        self.take_handed_records();
        if self.poll.is_reached() {
            self.upload();
        }
        if self.poll.is_reached() && Instant::now() >= self.witness_due {
            self.witness_due = Instant::now() + spread(WITNESS);
            self.look_at_ledger();
        }
    }

    /// Takes the ledger's latest checkpoint, if it continues the one seen before.
    fn look_at_ledger(&mut self) {
        let offered = match self.parts.client.checkpoint_since(self.parts.witness.size()) {
            Ok(offered) => offered,
            // A control plane of an older program knows no such question; one that is away is noticed elsewhere.
            Err(error) => return tracing::debug!("the ledger's checkpoint: {}", chain(&error)),
        };
        if let Err(fault) = self.parts.witness.take(&offered) {
            tracing::error!("the ledger is not believed: {}", chain(&fault));
        }
    }

    /// Asks the repository.
    fn ask(&mut self) {
        let now = (self.parts.clock)();
        (self.unheard, self.is_telling) = (None, false);
        match self.parts.repository.poll(self.parts.brain.trusted(), now) {
            Ok(Polled::Unchanged) => self.heard(false),
            Ok(Polled::Refreshed { trusted, heard, broke_off }) => {
                match (&heard, broke_off) {
                    (_, Some(error)) => self.unheard(&error),
                    (Heard::Refused(_), None) => self.poll.reached(true),
                    (_, None) => self.heard(true),
                }
                self.feed(Input::Refreshed { trusted, heard });
            }
            Err(error) => self.unheard(&error),
        }
    }

    fn heard(&mut self, is_news: bool) {
        self.poll.reached(is_news);
        if self.trouble.take().is_some() {
            tracing::info!(repository = self.parts.repository.base(), "the repository answers");
        }
    }

    fn unheard(&mut self, error: &PollError) {
        self.is_telling = self.parts.mirror.is_some() || matches!(error, PollError::TooSlow { .. });
        self.unheard = Some(RepositoryTrouble { name: error.name().to_owned(), reason: chain(error) });
        match error {
            PollError::Client(error) => self.missed(error),
            PollError::TooSlow { .. } => {
                self.poll.missed(None);
                self.complain(format!("{}; serving goes on", chain(error)));
            }
        }
    }

    fn missed(&mut self, error: &ClientError) {
        self.poll.missed(error.retry_after());
        let why = match error {
            ClientError::Refused { status: 401 | 403, .. } => format!(
                "{}; the control plane does not accept this device any more; serving goes on, and `edgeward device token --for NAME` makes a token with which it joins again",
                chain(error)
            ),
            _ => format!("{}; serving goes on", chain(error)),
        };
        self.complain(why);
    }

    fn complain(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!("{why}");
            self.trouble = Some(why);
        }
    }

    /// Gives the brain an input and works off what it puts out.
    fn feed(&mut self, input: Input) {
        let outputs = self.parts.brain.handle(input, (self.parts.clock)());
        self.queue.extend(outputs);
        self.work_off();
    }

    fn work_off(&mut self) {
        while let Some(output) = self.queue.pop_front() {
            if output == Output::Persist {
                if let Err(error) = self.persist() {
                    tracing::error!("{}; nothing is changed until it can be written", chain(&error));
                    self.queue.push_front(output);
                    return;
                }
            } else {
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Persist => {}
            Output::Reason { model: Some(model), reason } => tracing::info!(%model, "{reason}"),
            Output::Reason { model: None, reason } => tracing::warn!("{reason}"),
            Output::Rejected { reason } => self.trouble = Some(reason),
            Output::Effect { model, effect } => {
                self.report_due = true;
                match effect {
                    Effect::Stage { slot, release } => self.stage(model, slot, release),
                    Effect::Activate(installed) => self.activate(&model, installed),
                    Effect::Deactivate => self.deactivate(&model),
                }
            }
        }
    }

    /// Stages on a thread of its own; a second wish for the same model waits for the first to be given up.
    fn stage(&mut self, model: ModelName, slot: SlotId, release: Release) {
        if let Some(job) = self.jobs.get_mut(&model) {
            job.cancelled.store(true, Ordering::Relaxed);
            job.next = Some((slot, release));
            return;
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let held = self.stagehand.held(&self.parts.slots, &model, release.bundle);
        let slots = self.parts.slots.clone();
        let errand = activate::Errand { slots, model: model.clone(), slot, release, held };
        let say = |model, bundle, result| Message::Staged { model, bundle, result };
        let thread = activate::spawn_staging(&self.parts, &self.sender, &cancelled, errand, say);
        self.jobs.insert(model, Job { cancelled, thread, next: None });
    }

    fn on_staged(&mut self, model: ModelName, bundle: Digest, result: Result<Arc<Loaded>, StageOutcome>) {
        let next = self.jobs.remove(&model).and_then(|job| {
            // The thread's last act was to send this message.
            let _ = job.thread.join();
            job.next
        });
        if let Some((slot, release)) = next {
            return self.stage(model, slot, release);
        }
        self.collect_due |= result.is_err();
        let outcome = match result {
            Ok(loaded) if self.is_held_back(&model, bundle, &loaded) => return,
            Ok(loaded) => {
                self.ready.insert(model.clone(), loaded);
                StageOutcome::Ready
            }
            Err(outcome) => outcome,
        };
        self.report_due = true;
        let no_room = matches!(outcome, StageOutcome::NoRoom(_));
        self.feed(Input::Staged { model: model.clone(), bundle, outcome });
        if no_room {
            self.feed(Input::MakeRoom { model });
            self.shadows_make_room();
        }
    }

    /// Shows the endpoint what the brain thinks.
    fn publish_views(&self) {
        for (model, memory) in self.parts.brain.models() {
            let phase = match memory.slots.phase {
                Phase::Idle => "idle",
                Phase::Staging { .. } => "staging",
                Phase::Probation { .. } => "probation",
            };
            self.parts.registry.get_or_add(model).set_view(View {
                phase: phase.to_owned(),
                refused: memory.slots.refused.clone(),
                active_since_ms: memory.active_since_ms,
                outside: self.outside.serving.get(model).copied(),
                reasons: self.parts.brain.reasons(model).to_vec(),
            });
        }
        let generation = self.parts.brain.generation();
        let ledger_fault = self.parts.witness.fault().map(str::to_owned);
        let ledger_size = self.parts.witness.size();
        let frozen = || {
            let trouble = self.parts.brain.trouble((self.parts.clock)())?;
            Some(format!("{}: {}", trouble.name, trouble.reason))
        };
        let trouble = self.trouble.clone().or_else(frozen);
        self.parts.about.set_link(Link { generation, trouble, ledger_size, ledger_fault });
    }

    fn report(&mut self) {
        let now = (self.parts.clock)();
        self.report_seq += 1;
        let report = Report {
            schema: REPORT_SCHEMA.to_owned(),
            session: self.session,
            seq: self.report_seq,
            session_started_at_ms: self.session_started_at_ms,
            at_ms: now,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: self.parts.endpoint.clone(),
            pid: std::process::id(),
            generation: self.parts.brain.generation(),
            clock_unsure: self.parts.brain.clock_unsure(now),
            repository: self.parts.brain.trouble(now).or_else(|| self.unheard.clone()),
            facts: self.parts.platform.facts(),
            models: self.parts.registry.reports(),
            ledger: self.parts.witness.report(),
        };
        if let Err(error) = self.parts.client.report(&report) {
            self.missed(&error);
        }
    }
}

impl Counting {
    fn of(model: &ModelName, loaded: &Loaded) -> Option<Self> {
        let recorder = Arc::clone(loaded.recorder()?);
        Some(Self { model: model.clone(), bundle: loaded.bundle(), recorder, service: None })
    }
}
