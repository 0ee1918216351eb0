//! The load generator: one thread per device at a constant rate, and one that hands labels in late.
//!
//! A request fails when no valid answer comes within [`REQUEST_DEADLINE`]. A connection that breaks or is refused, as
//! while a killed device starts again, is tried again within that time and counted as retried. Labels of `field` images
//! follow after [`LABEL_DELAY`]; those of `measure` images never do.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::infer::{Caller, Miss, Prediction};
use super::pools::{Deck, Image, Pools};
use super::traffic::{Answer, Pool, Traffic};

/// How long a request may take, retries included.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries of one request.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// How late a sender may run before it gives up on catching up.
const BACKLOG_MAX: Duration = Duration::from_secs(1);
/// Between an answer and its label.
const LABEL_DELAY: Duration = Duration::from_millis(2500);
/// Between two deliveries of labels.
const LABEL_PERIOD: Duration = Duration::from_millis(250);
/// Most labels in one delivery.
const LABELS_PER_DELIVERY_MAX: usize = 200;
/// Most labels that wait; more are dropped, as by an operator who cannot keep up.
const LABELS_WAITING_MAX: usize = 10_000;
/// Every so many requests, one carries a measuring image.
const MEASURE_EVERY: u64 = 3;
const DECK_SEED: u64 = 20_240_607;

/// What to send where.
pub(crate) struct Plan {
    /// One per device.
    pub(crate) endpoints: Vec<String>,
    pub(crate) model: String,
    /// Requests per second and device.
    pub(crate) rate: f64,
    pub(crate) pools: Arc<Pools>,
}

/// The running threads.
pub(crate) struct Load {
    traffic: Arc<Traffic>,
    threads: Vec<JoinHandle<()>>,
}

struct Label {
    due: Instant,
    prediction: String,
    label: String,
}

impl Load {
    /// Begins to send.
    pub(crate) fn start(plan: &Plan, traffic: &Arc<Traffic>) -> io::Result<Self> {
        let mut load = Self { traffic: Arc::clone(traffic), threads: Vec::new() };
        let decks = Arc::new(Mutex::new(Decks::new(&plan.pools)));
        for device in 0..plan.endpoints.len() {
            load.start_device(plan, device, &decks)?;
        }
        Ok(load)
    }

    fn start_device(&mut self, plan: &Plan, device: usize, decks: &Arc<Mutex<Decks>>) -> io::Result<()> {
        let (labels, waiting) = sync_channel(LABELS_WAITING_MAX);
        let caller = || Caller::new(&plan.endpoints[device], &plan.model);
        let mut sender = Sender {
            device,
            caller: caller(),
            period: Duration::from_secs_f64(1.0 / plan.rate),
            decks: Arc::clone(decks),
            pools: Arc::clone(&plan.pools),
            traffic: Arc::clone(&self.traffic),
            labels,
            turn: 0,
        };
        let share = device as f64 / plan.endpoints.len() as f64;
        let offset = sender.period.mul_f64(share);
        let labeller = caller();
        self.spawn(format!("load-{device}"), move || sender.run(offset))?;
        self.spawn(format!("labels-{device}"), move || deliver(&labeller, &waiting))
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// Stops sending and waits for requests under way.
    pub(crate) fn end(&mut self) {
        self.traffic.end();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// Which image next. All devices deal from the same decks, as parcels on one belt go to one robot each.
struct Decks {
    field: Deck,
    measure: Deck,
}

impl Decks {
    fn new(pools: &Pools) -> Self {
        Self {
            field: Deck::new(&pools.field, pools.new_share, DECK_SEED),
            measure: Deck::new(&pools.measure, pools.new_share, DECK_SEED + 1),
        }
    }

    fn deal<'a>(&mut self, pool: Pool, pools: &'a Pools, with_new: bool) -> Option<&'a Image> {
        match pool {
            Pool::Measure => self.measure.deal(with_new).map(|index| &pools.measure[index]),
            Pool::Field => self.field.deal(with_new).map(|index| &pools.field[index]),
        }
    }
}

/// Which pool a device's `turn`-th image comes from. Each device counts for itself: were the pools dealt out in turn
/// over all devices, one device could end up with nothing but measuring images, and so without a single label.
const fn pool_of(turn: u64) -> Pool {
    match turn.is_multiple_of(MEASURE_EVERY) {
        true => Pool::Measure,
        false => Pool::Field,
    }
}

struct Sender {
    device: usize,
    caller: Caller,
    period: Duration,
    decks: Arc<Mutex<Decks>>,
    pools: Arc<Pools>,
    traffic: Arc<Traffic>,
    labels: SyncSender<Label>,
    turn: u64,
}

impl Sender {
    fn run(&mut self, offset: Duration) {
        let mut due = Instant::now() + offset;
        while !self.traffic.ended() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send_one();
            due = next_due(due, self.period, Instant::now());
        }
    }

    fn send_one(&mut self) {
        let after_arrival = self.traffic.with_new();
        let pools = Arc::clone(&self.pools);
        self.turn += 1;
        let pool = pool_of(self.turn);
        let dealt = lock(&self.decks).deal(pool, &pools, after_arrival);
        let Some(image) = dealt else { return };
        let (result, tries) = self.ask(&image.pixels);
        let mut log = self.traffic.log();
        let count = &mut log.counts[self.device];
        count.requests += 1;
        count.retried += u64::from(tries > 1);
        let prediction = match result {
            Ok(prediction) => prediction,
            Err(why) => return log.fail(self.device, format!("device {}: {why}", self.device + 1)),
        };
        let version = log.version_index(&prediction.version);
        log.push(Answer {
            device: self.device,
            at: self.traffic.elapsed(),
            version,
            pool,
            after_arrival,
            is_new: image.is_new(),
            is_correct: prediction.class == image.label,
        });
        drop(log);
        if pool == Pool::Field {
            let (due, label) = (Instant::now() + LABEL_DELAY, image.label.clone());
            let _ = self.labels.try_send(Label { due, prediction: prediction.id, label });
        }
    }

    /// The answer or why there is none, and how many tries it took.
    fn ask(&self, pixels: &[f32]) -> (Result<Prediction, String>, u32) {
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.caller.infer(pixels, deadline) {
                Ok(prediction) => return (Ok(prediction), tries),
                Err(Miss::Answer(why) | Miss::Busy(why)) => return (Err(why), tries),
                Err(Miss::Connection(why)) if Instant::now() + RETRY_DELAY >= deadline => {
                    return (Err(why), tries);
                }
                Err(Miss::Connection(_)) => thread::sleep(RETRY_DELAY),
            }
        }
    }
}

fn lock(decks: &Mutex<Decks>) -> MutexGuard<'_, Decks> {
    decks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the next request is due. A sender that was held up catches up, but not on more than [`BACKLOG_MAX`].
fn next_due(due: Instant, period: Duration, now: Instant) -> Instant {
    let next = due + period;
    next.max(now.checked_sub(BACKLOG_MAX).unwrap_or(next))
}

/// Hands labels in as they fall due, until nobody makes any more; what is not due by then is dropped.
fn deliver(caller: &Caller, incoming: &Receiver<Label>) {
    let mut waiting = VecDeque::new();
    loop {
        match incoming.recv_timeout(LABEL_PERIOD) {
            Ok(label) => waiting.push_back(label),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        waiting.extend(incoming.try_iter().take(LABELS_WAITING_MAX - waiting.len().min(LABELS_WAITING_MAX)));
        let due =
            waiting.iter().take(LABELS_PER_DELIVERY_MAX).take_while(|label| label.due <= Instant::now());
        let batch: Vec<(String, String)> =
            due.map(|label| (label.prediction.clone(), label.label.clone())).collect();
        if batch.is_empty() {
            continue;
        }
        match caller.label(&batch, Instant::now() + REQUEST_DEADLINE) {
            Ok(()) => drop(waiting.drain(..batch.len())),
            Err(Miss::Answer(why)) => {
                tracing::debug!("{} labels were not taken: {why}", batch.len());
                waiting.drain(..batch.len());
            }
            Err(Miss::Connection(_) | Miss::Busy(_)) => thread::sleep(RETRY_DELAY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_keeps_its_rate_and_forgets_a_long_backlog() {
        let start = Instant::now() + Duration::from_secs(100);
        let period = Duration::from_millis(10);
        assert_eq!(next_due(start, period, start + Duration::from_millis(3)), start + period);
        assert_eq!(next_due(start, period, start + Duration::from_millis(500)), start + period);
        let late = start + Duration::from_secs(7);
        assert_eq!(next_due(start, period, late), late - BACKLOG_MAX);
    }

    #[test]
    fn a_third_of_each_devices_images_measure() {
        let measured = (1..=300).filter(|turn| pool_of(*turn) == Pool::Measure).count();
        assert_eq!(measured, 100);
    }
}
