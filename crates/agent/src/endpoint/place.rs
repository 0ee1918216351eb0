//! Where a request is computed: on the thread that read it, or on one that may be held up.
//!
//! To hand a request to another thread and back costs some tens of microseconds of processor time, as much as a small model takes.
//! So a request is computed where it was read if it should be short: its body is small, and late requests to the model were
//! quick ([`LateMean`](crate::registry::LateMean)). One thread of the runtime is never used for this, so that a model
//! that is slow for once, or a disk that stands still, keeps nobody from health checks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{Permit, Refusal, blocking};
use crate::registry::Served;

/// Longest time that late requests to a model took in the mean, for its next to be computed where it is read.
const QUICK: Duration = Duration::from_micros(250);
/// Largest body of such a request.
const SMALL_BYTES: usize = 16 << 10;
/// How long such a request waits for one that is computed before it; it is handed on then, since that one is not quick after all.
const PATIENCE: Duration = Duration::from_millis(2);

/// Where requests are computed as soon as they are read: threads of the runtime, all but one.
#[derive(Default)]
pub(super) struct Places {
    free: OnceLock<Semaphore>,
}

impl Places {
    /// The next that is free; none if that takes long.
    async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let threads = || Handle::current().metrics().num_workers();
        let free = self.free.get_or_init(|| Semaphore::new(threads().saturating_sub(1)));
        match free.try_acquire() {
            Ok(place) => Some(place),
            Err(_) => timeout(PATIENCE, free.acquire()).await.ok()?.ok(),
        }
    }

    /// Runs `work`, a request of `bytes` to `served`, while the permit is held.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        (served, bytes): (Arc<Served>, usize),
        permit: Permit,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let is_short = bytes <= SMALL_BYTES && served.late_mean.get().is_some_and(|mean| mean <= QUICK);
        let place = if is_short { self.wait().await } else { None };
        let timed = move || {
            let began = Instant::now();
            let result = work();
            served.late_mean.saw(began.elapsed());
            result
        };
        match place {
            Some(_place) => contained(timed),
            None => blocking(permit, timed).await,
        }
    }
}

/// A panic is the request's own trouble, as it is on a thread of its own.
fn contained<T>(work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    let stopped = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the request's thread stopped");
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(stopped(panic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn one_thread_is_never_held_up() {
        let places = Places::default();
        let (first, second) = (places.wait().await, places.wait().await);
        assert!(first.is_some() && second.is_some() && places.wait().await.is_none());
        drop(first);
        assert!(places.wait().await.is_some());
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_is_never_held_up() {
        assert!(Places::default().wait().await.is_none());
    }

    #[test]
    fn a_panic_is_an_answer() {
        let refusal = contained(|| -> Result<(), Refusal> { panic!("as an engine might") }).unwrap_err();
        assert_eq!(refusal.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
