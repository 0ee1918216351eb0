//! Where a request is computed: on the thread that read it, or on one that may be held up.
//!
//! To hand a request to another thread and back costs some tens of microseconds of processor time, as much as a small model takes.
//! So a request is computed where it was read if it should be short: its body is small, and late requests to the model were
//! quick ([`LateMean`](crate::registry::LateMean)). A model may be slow for once all the same: while one takes longer than it should, the
//! last thread that is free is not used for another, so that nobody is kept from health checks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use edgeward_sdk::Loaded;
use tokio::runtime::Handle;

use super::{Permit, Refusal, blocking};
use crate::registry::Served;

/// Longest time that late requests to a model took in the mean, for its next to be computed where it is read.
const QUICK: Duration = Duration::from_millis(2);
/// Largest body of such a request.
const SMALL_BYTES: usize = 16 << 10;
/// A request that was to be quick and takes longer than this is not.
const OVERDUE: Duration = Duration::from_millis(5);
/// What stands for a thread that computes nothing.
const FREE: u64 = 0;

/// The threads of the runtime, with what each computes.
pub(super) struct Places {
    began: Instant,
    /// When each one's request began, in nanoseconds.
    threads: OnceLock<Box<[AtomicU64]>>,
}

/// A thread that is taken for a request.
struct Place<'a>(&'a AtomicU64);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.store(FREE, Ordering::SeqCst);
    }
}

impl Default for Places {
    fn default() -> Self {
        Self { began: Instant::now(), threads: OnceLock::new() }
    }
}

impl Places {
    /// The calling thread for a request that should be quick; none if it is the last one beside an overdue request.
    fn take(&self, now: Duration) -> Option<Place<'_>> {
        let count = || Handle::current().metrics().num_workers();
        let threads = self.threads.get_or_init(|| (0..count()).map(|_| AtomicU64::new(FREE)).collect());
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1);
        let take = |place: &&AtomicU64| {
            place.compare_exchange(FREE, now, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        };
        let place = Place(threads.iter().find(take)?);
        // Looked at after its own is taken: of two that look at once, one at least sees the other.
        let others = threads.iter().filter(|other| !ptr::eq(*other, place.0));
        let others: Vec<u64> =
            others.map(|other| other.load(Ordering::SeqCst)).filter(|at| *at != FREE).collect();
        let is_last = others.len() + 1 == threads.len();
        let overdue = |began: &u64| u128::from(now.saturating_sub(*began)) > OVERDUE.as_nanos();
        let waits = threads.len() == 1 || is_last && others.iter().any(overdue);
        (!waits).then_some(place)
    }

    /// Runs `work`, a request of `bytes` to `served`, while the permit is held.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        (served, bytes): (Arc<Served>, usize),
        permit: Permit,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let is_short = bytes <= SMALL_BYTES && is_quick(&served);
        let timed = move || {
            let began = Instant::now();
            let result = work();
            served.late_mean.saw(began.elapsed());
            result
        };
        if let Some(_place) = is_short.then(|| self.take(self.began.elapsed())).flatten() {
            return contained(timed);
        }
        blocking(permit, timed).await
    }
}

/// Whether the model's next request should be quick, and waits for no other.
fn is_quick(served: &Served) -> bool {
    let is_alone = |loaded: &Loaded| !loaded.session().runnable().keeps_company();
    served.late_mean.get().is_some_and(|mean| mean <= QUICK)
        && served.handle.current().is_some_and(|loaded| is_alone(&loaded))
}

/// A panic is the request's own trouble, as it is on a thread of its own.
fn contained<T>(work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Refusal::stopped()))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    const SOON: Duration = Duration::from_micros(10);
    const LATE: Duration = Duration::from_millis(20);

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn every_thread_computes_while_all_are_quick() {
        let places = Places::default();
        let all = [places.take(SOON), places.take(SOON), places.take(SOON)];
        assert!(all.iter().all(Option::is_some) && places.take(SOON).is_none());
        drop(all);
        assert!(places.take(LATE).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn the_last_thread_is_kept_free_beside_an_overdue_request() {
        let places = Places::default();
        let overdue = places.take(SOON);
        let beside = places.take(LATE);
        assert!(overdue.is_some() && beside.is_some());
        assert!(places.take(LATE).is_none(), "it would be the last");
        drop(beside);
        assert!(places.take(LATE).is_some());
        drop(overdue);
        let all = [places.take(LATE), places.take(LATE), places.take(LATE)];
        assert!(all.iter().all(Option::is_some));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_is_never_held_up() {
        assert!(Places::default().take(SOON).is_none());
    }

    #[test]
    fn a_panic_is_an_answer() {
        let refusal = contained(|| -> Result<(), Refusal> { panic!("as an engine might") }).unwrap_err();
        assert_eq!(refusal.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
