//! The threads that models compute on.

use std::sync::{Arc, OnceLock};

use rten::ThreadPool;

use crate::engine::background::is_in_background;

/// Threads for requests, and as many for work in the background.
///
/// Either are made by the first thread that needs them, whose priority they inherit: a request's own for the first, a lowered one
/// for the second.
#[derive(Debug)]
pub(super) struct Pools {
    threads: usize,
    requests: OnceLock<Arc<ThreadPool>>,
    background: OnceLock<Arc<ThreadPool>>,
}

impl Pools {
    pub(super) const fn new(threads: usize) -> Self {
        Self { threads, requests: OnceLock::new(), background: OnceLock::new() }
    }

    /// Those for what the calling thread does.
    pub(super) fn of_caller(&self) -> Arc<ThreadPool> {
        let pool = if is_in_background() { &self.background } else { &self.requests };
        Arc::clone(pool.get_or_init(|| Arc::new(ThreadPool::with_num_threads(self.threads))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::work_in_background;

    #[test]
    fn the_background_has_threads_of_its_own() {
        let pools = Pools::new(1);
        let for_requests = pools.of_caller();
        let (again, beside) = std::thread::scope(|scope| {
            let again = scope.spawn(|| pools.of_caller()).join().unwrap();
            let beside = scope.spawn(|| {
                work_in_background();
                pools.of_caller()
            });
            (again, beside.join().unwrap())
        });
        assert!(Arc::ptr_eq(&for_requests, &again) && !Arc::ptr_eq(&for_requests, &beside));
    }
}
