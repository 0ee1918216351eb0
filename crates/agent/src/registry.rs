//! The models a device serves, with what is counted about each.
//!
//! The endpoint reads it on every request, the control loop writes it when a model changes. Counters are atomics;
//! nothing here blocks a request but a read lock held for one map lookup.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use edgeward_api::device::{LATENCY_BOUNDS_US, ModelReport, Service};
use edgeward_core::slot::Refused;
use edgeward_core::{Digest, ModelName, Timestamp};
use edgeward_sdk::{Loaded, ModelHandle};

use crate::shadow::ShadowBench;

/// Every model that has a name on this device.
#[derive(Default)]
pub struct Registry {
    /// What answers beside them.
    pub shadows: ShadowBench,
    models: RwLock<BTreeMap<ModelName, Arc<Served>>>,
}

/// One model on this device.
pub struct Served {
    /// Its name.
    pub name: ModelName,
    /// Where it is asked.
    pub handle: ModelHandle,
    /// What is counted.
    pub counters: Counters,
    /// How long its late requests took.
    pub late_mean: LateMean,
    view: Mutex<View>,
}

/// What the control loop says about a model, for reports and people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// `idle`, `staging` or `probation`.
    pub phase: String,
    /// Bundles the device will not run.
    pub refused: Vec<Refused>,
    /// Since when the active bundle serves.
    pub active_since_ms: Option<Timestamp>,
    /// What an app beside the agent serves.
    pub outside: Option<Digest>,
    /// The last few decisions, the newest last.
    pub reasons: Vec<String>,
}

/// Counts since the agent started.
#[derive(Default)]
pub struct Counters {
    /// Requests answered.
    pub requests: AtomicU64,
    /// Requests that failed through no fault of the caller.
    pub requests_failed: AtomicU64,
    /// Bytes that came from the control plane for its bundles.
    pub received_bytes: AtomicU64,
    /// Swaps.
    pub swaps: AtomicU64,
    /// Longest exchange of two models, in nanoseconds.
    pub swap_ns_max: AtomicU64,
    /// Longest time a request waited to pin its model, in nanoseconds.
    pub pin_ns_max: AtomicU64,
    /// Sum of all latencies, in microseconds.
    pub latency_us_sum: AtomicU64,
    /// When the last request was answered; 0 before the first.
    pub answered_at_ms: AtomicU64,
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
}

impl Counters {
    /// Counts a request that was answered at this time and took `latency`.
    pub fn answered(&self, now: Timestamp, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_us_sum.fetch_add(us, Ordering::Relaxed);
        self.answered_at_ms.fetch_max(u64::try_from(now.0).unwrap_or(0), Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that failed through no fault of the caller.
    pub fn failed(&self) {
        self.requests_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the longest time a request waited to pin its model.
    pub fn pinned(&self, waited: Duration) {
        self.pin_ns_max.fetch_max(nanos(waited), Ordering::Relaxed);
    }

    /// Requests per latency bucket, not cumulated; the last has no bound.
    pub fn latency_buckets(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))
    }

    /// How requests fared since the agent started.
    #[must_use]
    pub fn service(&self) -> Service {
        let latency = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        Service { failed: self.requests_failed.load(Ordering::Relaxed), latency, ..Service::default() }
    }

    /// The longest a request can have waited for a swap, in milliseconds.
    #[must_use]
    pub fn swap_gap_ms_max(&self) -> f64 {
        let ns = self.swap_ns_max.load(Ordering::Relaxed).max(self.pin_ns_max.load(Ordering::Relaxed));
        ns as f64 / 1e6
    }
}

/// The mean of durations, the latest of which weighs an eighth and each one before it an eighth less.
#[derive(Default)]
pub struct LateMean {
    /// 0 before the first.
    ns: AtomicU64,
}

impl LateMean {
    /// The mean; none before anything was seen.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let ns = self.ns.load(Ordering::Relaxed);
        (ns > 0).then(|| Duration::from_nanos(ns))
    }

    /// Takes in one more.
    pub fn saw(&self, took: Duration) {
        // Where two write at once, one of them is lost: the next makes up for it.
        let (before, took) = (self.ns.load(Ordering::Relaxed), nanos(took).max(1));
        let after = if before == 0 { took } else { before - before / 8 + took / 8 };
        self.ns.store(after.max(1), Ordering::Relaxed);
    }

    /// Begins anew: what was seen says nothing about what comes.
    pub fn forget(&self) {
        self.ns.store(0, Ordering::Relaxed);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Registry {
    /// The model of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Served>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let name = ModelName::new(name).ok()?;
        models.get(&name).cloned()
    }

    /// The model of this name, made if it is new.
    pub fn get_or_add(&self, name: &ModelName) -> Arc<Served> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(name.clone()).or_insert_with(|| Arc::new(Served::new(name.clone()))))
    }

    /// Every model, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether there is a model, and each one answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let models = self.all();
        !models.is_empty() && models.iter().all(|model| model.report_active().is_some())
    }

    /// What every model runs and how it fares.
    #[must_use]
    pub fn reports(&self) -> BTreeMap<ModelName, ModelReport> {
        let report = |model: &Arc<Served>| {
            let shadows = self.shadows.report(&model.name);
            (model.name.clone(), ModelReport { shadows, ..model.report() })
        };
        self.all().iter().map(report).collect()
    }
}

impl Served {
    fn new(name: ModelName) -> Self {
        let view = View { phase: "idle".to_owned(), ..View::default() };
        Self {
            name,
            handle: ModelHandle::new(),
            counters: Counters::default(),
            late_mean: LateMean::default(),
            view: Mutex::new(view),
        }
    }

    /// Serves `model` from the next request on and returns what served before.
    pub fn publish(&self, model: Arc<Loaded>) -> Option<Arc<Loaded>> {
        let swap = self.handle.publish(model);
        self.late_mean.forget();
        if swap.before.is_some() {
            self.counters.swaps.fetch_add(1, Ordering::Relaxed);
            self.counters.swap_ns_max.fetch_max(nanos(swap.took), Ordering::Relaxed);
        }
        swap.before
    }

    /// Says what the control loop thinks of the model.
    pub fn set_view(&self, view: View) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// The bundle that serves, here or in an app beside the agent.
    fn report_active(&self) -> Option<Digest> {
        let outside = self.view.lock().unwrap_or_else(PoisonError::into_inner).outside;
        self.handle.current().map(|model| model.bundle()).or(outside)
    }

    /// What the model runs and how it fares.
    #[must_use]
    pub fn report(&self) -> ModelReport {
        let View { phase, refused, active_since_ms, outside, reasons } =
            self.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let current = self.handle.current();
        let recorder = current.as_ref().and_then(|model| model.recorder());
        let evidence = recorder.map(|recorder| recorder.evidence()).unwrap_or_default();
        let accuracy = recorder.and_then(|recorder| recorder.accuracy());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ModelReport {
            active: current.as_ref().map(|model| model.bundle()).or(outside),
            active_since_ms,
            phase,
            refused,
            requests: count(&self.counters.requests),
            requests_failed: count(&self.counters.requests_failed),
            swaps: count(&self.counters.swaps),
            received_bytes: count(&self.counters.received_bytes),
            accuracy: accuracy.map(|(accuracy, _)| accuracy),
            accuracy_labels: accuracy.map_or(0, |(_, labels)| labels),
            log10_threshold: evidence.first().map(|stream| stream.log10_threshold),
            evidence: evidence
                .into_iter()
                .filter(|stream| stream.log10_evidence.is_finite())
                .map(|stream| (stream.stream, stream.log10_evidence))
                .collect(),
            reasons,
            shadows: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_their_buckets() {
        let counters = Counters::default();
        for us in [1, 100, 101, 1_000_000, 1_000_001] {
            counters.answered(Timestamp(7), Duration::from_micros(us));
        }
        let buckets: Vec<u64> = counters.latency_buckets().collect();
        assert_eq!((buckets[0], buckets[1], buckets[11], buckets[12]), (2, 1, 1, 1));
        assert_eq!(counters.requests.load(Ordering::Relaxed), 5);
        assert_eq!(counters.answered_at_ms.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn the_late_mean_follows_what_it_sees_and_begins_anew() {
        let (mean, us) = (LateMean::default(), Duration::from_micros);
        assert_eq!(mean.get(), None);
        mean.saw(us(160));
        assert_eq!(mean.get(), Some(us(160)));
        mean.saw(us(1600));
        assert_eq!(mean.get(), Some(us(340)));
        (0..100).for_each(|_| mean.saw(us(16)));
        assert!(mean.get().is_some_and(|mean| mean >= us(15) && mean <= us(17)));
        mean.forget();
        assert_eq!(mean.get(), None);
    }

    #[test]
    fn a_device_without_models_is_not_ready() {
        let registry = Registry::default();
        assert!(!registry.is_ready());
        registry.get_or_add(&ModelName::new("digits").unwrap());
        assert!(!registry.is_ready());
        assert!(registry.get("digits").is_some() && registry.get("Not/a name").is_none());
    }
}
