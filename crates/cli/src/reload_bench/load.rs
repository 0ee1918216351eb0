//! A constant load on one app, and what its clients saw.
//!
//! Requests are due at a fixed rate whatever became of those before, and times count from when a request was due, so that
//! an app that stands still is not asked less often. A request is sent once: one that finds nobody has failed.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::model::{INPUT, MODEL, WIDTH};

/// Longest time one request may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A sender that is further behind than this does not try to catch up.
const BACKLOG_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// When it was due.
    pub(super) due: Instant,
    /// When it was answered, or had failed.
    pub(super) done: Instant,
    /// The version that answered; none if it failed.
    pub(super) version: Option<Arc<str>>,
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    first: BTreeMap<Arc<str>, Instant>,
    last_failure: String,
    /// The version that answered last.
    now: Option<Arc<str>>,
}

/// The running load.
pub(super) struct Load {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins to ask the app at `address`, `rate` times per second.
    pub(super) fn start(address: &str, rate: f64) -> io::Result<Self> {
        let (log, stop): (Arc<Mutex<Log>>, Arc<AtomicBool>) = Default::default();
        let sender = Sender::new(address);
        let (writes, ends) = (Arc::clone(&log), Arc::clone(&stop));
        let period = Duration::from_secs_f64(1.0 / rate);
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            let mut due = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let answer = sender.ask();
                lock(&writes).push(due, answer);
                due += period;
                if due.elapsed() > BACKLOG_MAX {
                    due = Instant::now();
                }
            }
        })?;
        Ok(Self { log, stop, thread: Some(thread) })
    }

    /// When `version` first answered.
    pub(super) fn first_answer_of(&self, version: &str) -> Option<Instant> {
        lock(&self.log).first.get(version).copied()
    }

    /// The version that answered last.
    pub(super) fn serving(&self) -> Option<Arc<str>> {
        lock(&self.log).now.clone()
    }

    /// Why the latest failed request failed.
    pub(super) fn last_failure(&self) -> String {
        lock(&self.log).last_failure.clone()
    }

    /// Stops asking: everything that was seen.
    pub(super) fn end(mut self) -> Vec<Seen> {
        self.stop();
        std::mem::take(&mut lock(&self.log).seen)
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Log {
    fn push(&mut self, due: Instant, answer: Result<String, String>) {
        let done = Instant::now();
        let version = match answer {
            Ok(version) => {
                self.now = Some(self.version(&version, done));
                self.now.clone()
            }
            Err(why) => {
                self.last_failure = why;
                None
            }
        };
        // Requests before the app first answered are its start, not a reload.
        if !self.first.is_empty() {
            self.seen.push(Seen { due, done, version });
        }
    }

    fn version(&mut self, version: &str, at: Instant) -> Arc<str> {
        if let Some((known, _)) = self.first.get_key_value(version) {
            return Arc::clone(known);
        }
        let new: Arc<str> = version.into();
        self.first.insert(Arc::clone(&new), at);
        new
    }
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// Nobody is there, or went away before the answer was whole.
    Unreachable(String),
    /// Something other than an answer came.
    Refused(String),
}

impl Unanswered {
    /// In words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Unreachable(words) | Self::Refused(words) => words,
        }
    }
}

/// Sends the same request again and again.
pub(super) struct Sender {
    agent: ureq::Agent,
    address: String,
    body: String,
}

impl Sender {
    /// A sender to the endpoint at `address`.
    pub(super) fn new(address: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .build();
        let row: Vec<f32> = (0..WIDTH).map(|n| n as f32 / WIDTH as f32).collect();
        let body = serde_json::json!({
            "inputs": [{"name": INPUT, "shape": [1, WIDTH], "datatype": "FP32", "data": row}],
        });
        Self {
            agent: config.into(),
            address: format!("{address}/v2/models/{MODEL}/infer"),
            body: body.to_string(),
        }
    }

    /// The version that answers.
    fn ask(&self) -> Result<String, String> {
        let answer = self.answer().map_err(Unanswered::words)?;
        answer["model_version"].as_str().map(str::to_owned).ok_or_else(|| "no model_version".to_owned())
    }

    /// The whole answer.
    pub(super) fn answer(&self) -> Result<Value, Unanswered> {
        let unreachable = |error: ureq::Error| Unanswered::Unreachable(error.to_string());
        let request = self.agent.post(&self.address).header("content-type", "application/json");
        let mut answer = request.send(&self.body).map_err(unreachable)?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(unreachable)?;
        if !status.is_success() {
            let words = format!("HTTP {status}: {}", text.chars().take(200).collect::<String>());
            return Err(Unanswered::Refused(words));
        }
        serde_json::from_str(&text).map_err(|error| Unanswered::Refused(error.to_string()))
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
