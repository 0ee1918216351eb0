//! Sending metrics to a collector again and again, on a thread of its own.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Exporter, Resource};
use crate::metrics::Family;

/// Time between two pushes, as OpenTelemetry has it.
pub const PUSH_EVERY: Duration = Duration::from_secs(60);

/// Where to send, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    /// Its address, such as [`super::LOCAL_COLLECTOR`].
    pub endpoint: String,
    /// Headers of every call, such as one with a token.
    pub headers: Vec<(String, String)>,
    /// Time between two pushes.
    pub every: Duration,
    /// Share of the requests without a trace of their caller's that get one, from 0 to 1.
    pub trace_ratio: f64,
}

/// Pushes until it is dropped, and once more then.
pub struct Pusher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// What sends to it, counting from now on.
    #[must_use]
    pub fn exporter(&self, resource: Resource) -> Exporter {
        Exporter::new(&self.endpoint, &self.headers, resource, now_ns())
    }

    /// Sends what `families` tells, from now on.
    #[must_use]
    pub fn push(&self, resource: Resource, families: impl Fn() -> Vec<Family> + Send + 'static) -> Pusher {
        let (stop, stopped) = mpsc::channel();
        let (exporter, every) = (self.exporter(resource), self.every);
        let mut fails = false;
        let thread = thread::spawn(move || {
            loop {
                let ends = stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
                match exporter.metrics(&families(), now_ns()) {
                    Ok(()) => fails = false,
                    Err(error) if !fails => {
                        fails = true;
                        tracing::warn!(%error, "the collector does not take metrics; they are sent anew each time");
                    }
                    Err(_) => {}
                }
                if ends {
                    return;
                }
            }
        });
        Pusher { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A thread that panicked has said so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Nanoseconds since 1970, by the system's clock.
#[must_use]
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
