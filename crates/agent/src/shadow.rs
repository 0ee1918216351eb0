//! Shadows on a device: candidates that answer copies of the champion's requests, after the champion has.
//!
//! A request is copied only if there is room for it ([`room`]); otherwise it is counted as dropped, so that production never
//! waits for a shadow. One thread, as unimportant to the system as a thread can be, lets every candidate answer, compares,
//! and waits for labels ([`tally`]). What it counts is added up since the agent started, has a fixed size, and goes up with
//! the reports. Getting the candidates onto the device is [`stage`]'s business.
//!
//! Nothing is counted before all candidates of a comparison are there: they are compared on the same requests.
//!
//! Deliberately missing: predictions that wait for a label are forgotten when the agent ends; monitors of shadows; apps that
//! serve by themselves beside the agent.

mod room;
pub(crate) mod stage;
mod tally;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use edgeward_api::device::ShadowReport;
use edgeward_core::shadow::Shadows;
use edgeward_core::{Digest, ModelName, PredictionId};
use edgeward_model::{Interpretation, NamedTensor};
use edgeward_monitor::ErrorBaseline;
use edgeward_sdk::{Loaded, Prediction};

use crate::records::{Label, predicted_text};

use self::room::{Place, Room};
use self::tally::{Said, Tally};

/// Most requests and batches of labels that wait for the shadows.
pub const WAITING_MAX: usize = 64;
/// Most bytes of requests that wait for the shadows.
pub const WAITING_BYTES_MAX: usize = 16 << 20;
/// How unimportant the shadows' thread is, on the scale of `nice`.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// The shadows of every model on this device.
pub struct ShadowBench {
    sets: RwLock<BTreeMap<ModelName, Beside>>,
    room: Arc<Room>,
    sender: Sender<Job>,
    /// What the thread will listen to, until it is started.
    jobs: Mutex<Option<Receiver<Job>>>,
}

/// What stands beside the champion of a model.
#[derive(Clone)]
enum Beside {
    /// Not all of them are there yet: what is reported meanwhile.
    Coming(ShadowReport),
    Running(Arc<ShadowSet>),
}

/// The shadows of one model, all of them loaded.
pub struct ShadowSet {
    shadows: Shadows,
    loaded: Vec<Arc<Loaded>>,
    tally: Mutex<Tally>,
    mirrored: AtomicU64,
    dropped: AtomicU64,
}

/// What the thread is asked to do.
enum Job {
    Request(Box<Request>),
    Labels(Vec<Label>, Vec<Arc<ShadowSet>>, Place),
}

/// A copy of an answered request.
pub struct Request {
    set: Arc<ShadowSet>,
    prediction: PredictionId,
    said: Vec<Interpretation>,
    inputs: Vec<NamedTensor>,
    _place: Place,
}

/// The right to have one request copied.
pub struct Ticket {
    set: Arc<ShadowSet>,
    place: Place,
}

impl Default for ShadowBench {
    fn default() -> Self {
        let (sender, jobs) = channel();
        let room = Arc::new(Room::new(WAITING_MAX, WAITING_BYTES_MAX));
        Self { sets: RwLock::default(), room, sender, jobs: Mutex::new(Some(jobs)) }
    }
}

impl ShadowBench {
    /// The right to copy a request of so many bytes that `champion` is about to answer; none if it has no shadows here, or
    /// as many wait as may. Never waits.
    #[must_use]
    pub fn ticket(&self, model: &ModelName, champion: Digest, bytes: usize) -> Option<Ticket> {
        let set = self.set(model).filter(|set| set.shadows.champion == champion)?;
        match self.room.take(bytes) {
            Some(place) => Some(Ticket { set, place }),
            None => {
                set.dropped.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Hands an answered request over. Never waits: it has its place in the queue.
    pub fn mirror(&self, request: Request) {
        request.set.mirrored.fetch_add(1, Ordering::Relaxed);
        // Nobody listens once the agent ends.
        let _ = self.sender.send(Job::Request(Box::new(request)));
    }

    /// Hands labels over, behind the requests they may be for. Never waits.
    pub fn label(&self, labels: &[Label]) {
        let sets: Vec<Arc<ShadowSet>> = self.read().values().filter_map(Beside::running).collect();
        if sets.is_empty() || labels.is_empty() {
            return;
        }
        let bytes = labels.iter().map(|label| size_of::<Label>() + label.label.len()).sum();
        match self.room.take(bytes) {
            Some(place) => drop(self.sender.send(Job::Labels(labels.to_vec(), sets, place))),
            None => sets.iter().for_each(|set| {
                set.dropped.fetch_add(labels.len() as u64, Ordering::Relaxed);
            }),
        }
    }

    /// The shadows that answer beside the champion of `model`.
    #[must_use]
    pub fn set(&self, model: &ModelName) -> Option<Arc<ShadowSet>> {
        self.read().get(model).and_then(Beside::running)
    }

    /// Lets these answer from the next request on; what was counted of others is forgotten.
    pub fn begin(&self, model: &ModelName, set: ShadowSet) {
        self.start();
        self.write().insert(model.clone(), Beside::Running(Arc::new(set)));
    }

    /// Says how it stands with shadows of `model` that are not all there yet.
    pub fn wait(&self, model: &ModelName, report: ShadowReport) {
        self.write().insert(model.clone(), Beside::Coming(report));
    }

    /// What is reported of the shadows of `model`; none without any.
    #[must_use]
    pub fn report(&self, model: &ModelName) -> Option<ShadowReport> {
        Some(match self.read().get(model)? {
            Beside::Coming(report) => report.clone(),
            Beside::Running(set) => set.report(),
        })
    }

    /// The models that have shadows.
    #[must_use]
    pub fn models(&self) -> Vec<ModelName> {
        self.read().keys().cloned().collect()
    }

    /// Lets no shadow of `model` answer any more.
    pub fn end(&self, model: &ModelName) {
        self.write().remove(model);
    }

    /// Starts the thread, once.
    fn start(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(jobs) = jobs else { return };
        thread::spawn(move || {
            edgeward_sdk::step_back(NICENESS);
            jobs.into_iter().for_each(work);
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ModelName, Beside>> {
        self.sets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<ModelName, Beside>> {
        self.sets.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The copy of a request and of its answer.
    #[must_use]
    pub fn of(self, inputs: Vec<NamedTensor>, answer: &Prediction) -> Request {
        let Self { set, place } = self;
        Request { set, prediction: answer.id, said: answer.rows.clone(), inputs, _place: place }
    }
}

impl Beside {
    fn running(&self) -> Option<Arc<ShadowSet>> {
        match self {
            Self::Coming(_) => None,
            Self::Running(set) => Some(Arc::clone(set)),
        }
    }
}

impl ShadowSet {
    /// The candidates of `shadows`, loaded and in its order; errors of numbers count by `scale`.
    #[must_use]
    pub fn new(shadows: Shadows, loaded: Vec<Arc<Loaded>>, scale: Option<ErrorBaseline>) -> Self {
        let tally = Mutex::new(Tally::new(loaded.len(), scale));
        Self { shadows, loaded, tally, mirrored: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// Whose they are.
    #[must_use]
    pub const fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// What was counted since they began.
    #[must_use]
    pub fn report(&self) -> ShadowReport {
        let tally = self.tally();
        ShadowReport {
            run: self.shadows.run.clone(),
            mirrored: self.mirrored.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            losses: tally.losses(),
            candidates: tally.counts(&self.shadows.bundles),
        }
    }

    fn answer(&self, request: &Request) {
        let rows = request.said.len();
        let said: Vec<Option<Vec<Interpretation>>> = self
            .loaded
            .iter()
            .map(|shadow| {
                let outputs = shadow.session().infer(request.inputs.clone()).ok()?;
                (outputs.rows.len() == rows).then_some(outputs.rows)
            })
            .collect();
        let rows = (0..rows).map(|row| Said {
            champion: predicted_text(&request.said[row]),
            shadows: said.iter().map(|said| said.as_ref().map(|rows| rows[row].clone())).collect(),
        });
        self.tally().answered(request.prediction, rows.collect());
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(job: Job) {
    match job {
        Job::Request(request) => request.set.answer(&request),
        Job::Labels(labels, sets, place) => {
            for set in &sets {
                labels.iter().for_each(|label| set.tally().labelled(label.id, label.row, &label.label));
            }
            drop(place);
        }
    }
}

#[cfg(test)]
mod tests;
