//! Sending spans to a collector, in batches, on a thread of its own. Nothing waits for it: what it cannot keep up with is dropped.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::place::Place;
use super::push::Collector;
use super::span::Span;
use super::{Exporter, Resource};

/// Spans that wait for the collector, as OpenTelemetry has it.
const WAITING_MAX: usize = 2048;
/// Spans of one call, as OpenTelemetry has it.
const BATCH_MAX: usize = 512;
/// Longest time that a span waits.
const BATCH_EVERY: Duration = Duration::from_secs(1);

/// Takes spans.
#[derive(Clone)]
pub struct Tracer {
    spans: SyncSender<Option<Span>>,
    ratio: f64,
}

/// Sends what a [`Tracer`] took, until it is dropped; what waits is sent then.
pub struct Traced {
    tracer: Tracer,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Takes spans from now on.
    #[must_use]
    pub fn trace(&self, resource: Resource) -> Traced {
        let (spans, waiting) = sync_channel(WAITING_MAX);
        let exporter = self.exporter(resource);
        let thread = thread::spawn(move || ship(&exporter, &waiting));
        Traced { tracer: Tracer { spans, ratio: self.trace_ratio }, thread: Some(thread) }
    }
}

impl Tracer {
    /// Where a request is whose caller named no trace; none if it is not one of those that are recorded.
    #[must_use]
    pub fn first(&self) -> Option<Place> {
        (self.ratio > 0.0).then(|| Place::first(self.ratio)).filter(|place| place.is_sampled)
    }

    /// Takes a span.
    pub fn tell(&self, span: Span) {
        // Who answers requests never waits for a collector.
        let _ = self.spans.try_send(Some(span));
    }
}

impl Traced {
    /// Takes spans for it.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // A thread that panicked has said so already.
        let _ = self.tracer.spans.send(None);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends spans until there is the sign to end.
fn ship(exporter: &Exporter, waiting: &Receiver<Option<Span>>) {
    let (mut fails, mut ends) = (false, false);
    while !ends {
        let Ok(Some(first)) = waiting.recv() else { return };
        let (mut batch, due) = (vec![first], Instant::now() + BATCH_EVERY);
        while batch.len() < BATCH_MAX && !ends {
            match waiting.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Some(span)) => batch.push(span),
                Err(RecvTimeoutError::Timeout) => break,
                Ok(None) | Err(RecvTimeoutError::Disconnected) => ends = true,
            }
        }
        match exporter.spans(&batch) {
            Ok(()) => fails = false,
            Err(error) if !fails => {
                fails = true;
                tracing::warn!(%error, "the collector does not take spans; those are lost");
            }
            Err(_) => {}
        }
    }
}
