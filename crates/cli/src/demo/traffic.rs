//! What the load generator saw: one record per good answer, and counts of everything else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edgeward_core::Timestamp;

use crate::command::now;

/// Most answers kept; the older half is dropped beyond it (long after the story's summary is made).
const ANSWERS_MAX: usize = 400_000;
/// Most failures kept in words.
const PROBLEMS_MAX: usize = 20;

/// Which pool an image came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// Its label is handed in later.
    Field,
    /// Its label is kept from the system: it measures.
    Measure,
}

/// One good answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Index of the device.
    pub(crate) device: usize,
    /// When it came, since the traffic began.
    pub(crate) at: Duration,
    /// Index into [`Log::versions`].
    pub(crate) version: usize,
    pub(crate) pool: Pool,
    /// Sent after the new digits appeared.
    pub(crate) after_arrival: bool,
    /// The image shows a new digit.
    pub(crate) is_new: bool,
    pub(crate) is_correct: bool,
}

/// Counts of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Requests that ended, well or badly.
    pub(crate) requests: u64,
    /// Of those, the ones without a good answer in time.
    pub(crate) failed: u64,
    /// Of those, the ones that needed more than one try.
    pub(crate) retried: u64,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) answers: Vec<Answer>,
    /// One per device.
    pub(crate) counts: Vec<Count>,
    /// Model versions in the order they first answered.
    pub(crate) versions: Vec<String>,
    /// The first failures, in words.
    pub(crate) problems: Vec<String>,
}

impl Log {
    /// Keeps one good answer; the index of its version.
    pub(crate) fn version_index(&mut self, version: &str) -> usize {
        match self.versions.iter().position(|known| known == version) {
            Some(index) => index,
            None => {
                self.versions.push(version.to_owned());
                self.versions.len() - 1
            }
        }
    }

    /// Keeps a good answer.
    pub(crate) fn push(&mut self, answer: Answer) {
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.drain(..ANSWERS_MAX / 2);
        }
        self.answers.push(answer);
    }

    /// Counts a request that got no good answer.
    pub(crate) fn fail(&mut self, device: usize, why: String) {
        self.counts[device].failed += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(why);
        }
    }

    /// The sum over all devices.
    pub(crate) fn total(&self) -> Count {
        self.counts.iter().fold(Count::default(), |sum, count| Count {
            requests: sum.requests + count.requests,
            failed: sum.failed + count.failed,
            retried: sum.retried + count.retried,
        })
    }

    /// The version each device answered with last.
    pub(crate) fn serving(&self) -> Vec<Option<&str>> {
        let last = |device| self.answers.iter().rev().find(|answer| answer.device == device);
        let version = |answer: &Answer| self.versions[answer.version].as_str();
        (0..self.counts.len()).map(|device| last(device).map(version)).collect()
    }
}

/// The log, its clock, and what the load generator is to send.
pub(crate) struct Traffic {
    started: Instant,
    started_at: Timestamp,
    log: Mutex<Log>,
    with_new: AtomicBool,
    stop: AtomicBool,
}

impl Traffic {
    /// Nothing sent yet, to so many devices.
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            started: Instant::now(),
            started_at: now(),
            log: Mutex::new(Log { counts: vec![Count::default(); devices], ..Log::default() }),
            with_new: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the traffic began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A wall-clock time on this traffic's clock.
    pub(crate) fn on_clock(&self, at: Timestamp) -> Duration {
        at.since(self.started_at)
    }

    /// From now on the new digits appear.
    pub(crate) fn let_new_digits_in(&self) {
        self.with_new.store(true, Ordering::SeqCst);
    }

    pub(crate) fn with_new(&self) -> bool {
        self.with_new.load(Ordering::SeqCst)
    }

    pub(crate) fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(crate) fn ended(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Answers to measuring images since `from`.
    pub(crate) fn measured_since(&self, from: Duration) -> usize {
        let log = self.log();
        log.answers.iter().filter(|answer| answer.at >= from && answer.pool == Pool::Measure).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_tells_what_a_device_serves() {
        let mut log = Log { counts: vec![Count::default(); 3], ..Log::default() };
        for (device, version) in [(0, "a"), (1, "a"), (0, "b")] {
            let version = log.version_index(version);
            log.push(Answer {
                device,
                at: Duration::ZERO,
                version,
                pool: Pool::Field,
                after_arrival: false,
                is_new: false,
                is_correct: true,
            });
        }
        assert_eq!(log.serving(), [Some("b"), Some("a"), None]);
    }

    #[test]
    fn failures_are_counted_beyond_those_kept_in_words() {
        let mut log = Log { counts: vec![Count::default(); 1], ..Log::default() };
        (0..100).for_each(|n| log.fail(0, n.to_string()));
        assert_eq!(log.total().failed, 100);
        assert_eq!(log.problems.len(), PROBLEMS_MAX);
    }
}
