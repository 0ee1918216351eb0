//! What the fleet counted: requests by kind with their latencies, and the control plane's processor time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Ticks of processor time per second that Linux tells processes, on every architecture Edgeward runs on.
const TICKS_PER_S: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// To join.
    Join,
    /// Whether the repository has news.
    Poll,
    /// Another file of the repository.
    File,
    /// A report.
    Report,
    /// A profile.
    Profile,
}

/// Latencies in microseconds, and what became of the requests that were not answered well.
#[derive(Debug, Default)]
struct Counts {
    took_us: Vec<u32>,
    unchanged: u64,
    busy: u64,
    refused: BTreeMap<u16, u64>,
    failed: BTreeMap<String, u64>,
}

/// Everything that was counted.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<Kind, Counts>>);

/// What is printed of one kind of request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) answered: usize,
    pub(super) per_second: f64,
    pub(super) unchanged: u64,
    /// Turned away with 503 or 429.
    pub(super) busy: u64,
    /// Other answers that are no success, by status.
    pub(super) refused: BTreeMap<u16, u64>,
    /// No answer, by reason.
    pub(super) failed: BTreeMap<String, u64>,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Tally {
    fn with(&self, kind: Kind, change: impl FnOnce(&mut Counts)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default());
    }

    pub(super) fn answered(&self, kind: Kind, status: u16, took: Duration) {
        self.with(kind, |counts| {
            counts.took_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            match status {
                304 => counts.unchanged += 1,
                429 | 503 => counts.busy += 1,
                200..300 => {}
                404 if matches!(kind, Kind::Poll | Kind::File) => {}
                other => *counts.refused.entry(other).or_default() += 1,
            }
        });
    }

    pub(super) fn failed(&self, kind: Kind, error: &std::io::Error) {
        self.with(kind, |counts| *counts.failed.entry(error.to_string()).or_default() += 1);
    }

    /// Forgets everything: what comes is measured.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn summary(&self, over: Duration) -> BTreeMap<Kind, Summary> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(kind, counts)| (*kind, counts.summary(over))).collect()
    }
}

impl Counts {
    fn summary(&self, over: Duration) -> Summary {
        let mut took = self.took_us.clone();
        took.sort_unstable();
        let quantile = |share: f64| {
            let rank = (share * took.len() as f64).ceil().max(1.0) as usize - 1;
            took.get(rank.min(took.len().saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        Summary {
            answered: took.len(),
            per_second: took.len() as f64 / over.as_secs_f64().max(1e-9),
            unchanged: self.unchanged,
            busy: self.busy,
            refused: self.refused.clone(),
            failed: self.failed.clone(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
        }
    }
}

/// A process whose processor time is measured.
#[derive(Debug)]
pub(super) struct Watched {
    pid: u32,
    began: Instant,
    cpu_s: f64,
}

/// What a process took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Taken {
    /// Seconds of processor time over seconds that passed: 1 is one core.
    pub(super) cores: f64,
    /// Memory it holds at the end.
    pub(super) rss_mib: f64,
}

impl Watched {
    /// None where the system does not tell.
    pub(super) fn start(pid: u32) -> Option<Self> {
        Some(Self { pid, began: Instant::now(), cpu_s: cpu_s(pid)? })
    }

    pub(super) fn taken(&self) -> Option<Taken> {
        let cores = (cpu_s(self.pid)? - self.cpu_s) / self.began.elapsed().as_secs_f64().max(1e-9);
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid)).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(Taken { cores, rss_mib: (pages * PAGE_BYTES) as f64 / f64::from(1 << 20) })
    }
}

/// Processor time of a process, its own and the system's for it.
fn cpu_s(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let tally = Tally::default();
        for ms in 1..=100 {
            tally.answered(Kind::Poll, if ms > 90 { 503 } else { 304 }, Duration::from_millis(ms));
        }
        tally.failed(Kind::Poll, &std::io::ErrorKind::TimedOut.into());
        let summary = tally.summary(Duration::from_secs(10)).remove(&Kind::Poll).unwrap();
        assert_eq!((summary.p50_ms, summary.p99_ms, summary.max_ms), (50.0, 99.0, 100.0));
        assert_eq!((summary.answered, summary.unchanged, summary.busy), (100, 90, 10));
        assert_eq!((summary.per_second, summary.failed.len()), (10.0, 1));
        tally.clear();
        assert!(tally.summary(Duration::from_secs(1)).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_takes_time_and_memory() {
        let watched = Watched::start(std::process::id()).unwrap();
        let taken = watched.taken().unwrap();
        assert!(taken.cores >= 0.0 && taken.rss_mib > 1.0, "{taken:?}");
        assert!(Watched::start(u32::MAX).is_none());
    }
}
