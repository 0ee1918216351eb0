//! Shadows on a device: candidates that answer copies of the champion's requests, after the champion has.
//!
//! A request is copied only if there is room for it ([`room`]); otherwise it is counted as dropped, so that production never
//! waits for a shadow. One thread, as unimportant to the system as a thread can be, lets every candidate answer, compares,
//! and waits for labels ([`tally`]). What it counts is added up since the agent started, has a fixed size, and goes up with
//! the reports. Getting the candidates onto the device is [`stage`]'s business.
//!
//! Where the champion's predictions leave records, what each candidate said leaves one, too.
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
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Instant;

use edgeward_api::device::ShadowReport;
use edgeward_core::record::{Answer, RECORD_ANSWERS_MAX, ShadowSaid};
use edgeward_core::shadow::Shadows;
use edgeward_core::{Digest, ModelName, PredictionId, RunId};
use edgeward_model::{Interpretation, NamedTensor};
use edgeward_monitor::ErrorBaseline;
use edgeward_sdk::{Loaded, Prediction, predicted_text};

use crate::records::Label;

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
    /// Where answers go that leave a record.
    keep: Arc<OnceLock<Keep>>,
}

/// What is done with the answers of a run's candidates to a prediction that leaves a record.
type Keep = Box<dyn Fn(&RunId, PredictionId, Vec<ShadowSaid>) + Send + Sync>;

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
    /// Whether what is said to it leaves a record.
    is_kept: bool,
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
        Self { sets: RwLock::default(), room, sender, jobs: Mutex::new(Some(jobs)), keep: Arc::default() }
    }
}

impl ShadowBench {
    /// Hands the answers to predictions that leave a record to `keep`, on the shadows' thread. Only the first caller is heard.
    pub fn keep_answers(&self, keep: impl Fn(&RunId, PredictionId, Vec<ShadowSaid>) + Send + Sync + 'static) {
        // A second one would be another agent in this process, which has a bench of its own.
        let _ = self.keep.set(Box::new(keep));
    }

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
        let keep = Arc::clone(&self.keep);
        thread::spawn(move || {
            edgeward_sdk::step_back(NICENESS);
            jobs.into_iter().for_each(|job| work(job, keep.get()));
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
        let (said, is_kept) = (answer.rows.clone(), answer.keepsake.is_some());
        Request { set, prediction: answer.id, said, inputs, is_kept, _place: place }
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

    fn answer(&self, request: &Request, keep: Option<&Keep>) {
        let rows = request.said.len();
        let mut latencies_us = Vec::with_capacity(self.loaded.len());
        let mut ask = |shadow: &Arc<Loaded>| {
            let began = Instant::now();
            let outputs = shadow.session().infer(request.inputs.clone()).ok();
            latencies_us.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            outputs.map(|outputs| outputs.rows).filter(|said| said.len() == rows)
        };
        let said: Vec<Option<Vec<Interpretation>>> = self.loaded.iter().map(&mut ask).collect();
        if let Some(keep) = keep.filter(|_| request.is_kept) {
            keep(&self.shadows.run, request.prediction, self.told(&said, &latencies_us));
        }
        let rows = (0..rows).map(|row| Said {
            champion: predicted_text(&request.said[row]),
            shadows: said.iter().map(|said| said.as_ref().map(|rows| rows[row].clone())).collect(),
        });
        self.tally().answered(request.prediction, rows.collect());
    }

    /// What a record says of each candidate.
    fn told(&self, said: &[Option<Vec<Interpretation>>], latencies_us: &[u64]) -> Vec<ShadowSaid> {
        let answer =
            |row: &Interpretation| Answer { predicted: predicted_text(row), confidence: row.confidence };
        let of = self.shadows.bundles.iter().zip(said).zip(latencies_us);
        of.map(|((bundle, said), latency_us)| ShadowSaid {
            bundle: *bundle,
            latency_us: *latency_us,
            answers: said.as_ref().map(|rows| rows.iter().take(RECORD_ANSWERS_MAX).map(answer).collect()),
        })
        .collect()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(job: Job, keep: Option<&Keep>) {
    match job {
        Job::Request(request) => request.set.answer(&request, keep),
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
