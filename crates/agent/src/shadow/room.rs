//! How much may wait: so many jobs, so many bytes, and whoever finds no place is told so at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may wait, and what does.
#[derive(Debug)]
pub(super) struct Room {
    jobs_max: usize,
    bytes_max: usize,
    jobs: AtomicUsize,
    bytes: AtomicUsize,
}

/// A place in the queue, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) const fn new(jobs_max: usize, bytes_max: usize) -> Self {
        Self { jobs_max, bytes_max, jobs: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// A place for a job of so many bytes; none if that is one too many.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let place = Place { room: Arc::clone(self), bytes };
        let jobs = self.jobs.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = jobs < self.jobs_max && before.checked_add(bytes).is_some_and(|sum| sum <= self.bytes_max);
        // Dropped where it does not fit, which gives back what was taken.
        fits.then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.jobs.fetch_sub(1, Ordering::AcqRel);
        self.room.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_may_and_a_place_that_is_left_is_free() {
        let room = Arc::new(Room::new(2, 10));
        let first = room.take(4).unwrap();
        assert!(room.take(7).is_none(), "too many bytes");
        let second = room.take(6).unwrap();
        assert!(room.take(0).is_none(), "too many jobs");
        drop(first);
        assert!(room.take(4).is_some());
        drop(second);
        assert_eq!((room.jobs.load(Ordering::Relaxed), room.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
