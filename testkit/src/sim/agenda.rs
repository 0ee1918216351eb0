//! Simulated time: what happens next, in order, ties broken by who was planned first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use edgeward_core::Timestamp;

/// Things to happen, by time.
pub(super) struct Agenda<T> {
    now: Timestamp,
    planned: u64,
    heap: BinaryHeap<Reverse<Item<T>>>,
}

struct Item<T> {
    at: Timestamp,
    order: u64,
    what: T,
}

impl<T> Agenda<T> {
    /// An empty agenda at `now`.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { now, planned: 0, heap: BinaryHeap::new() }
    }

    /// The simulated time.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Plans `what` for `wait` from now.
    pub(super) fn after(&mut self, wait: Duration, what: T) {
        self.planned += 1;
        self.heap.push(Reverse(Item { at: self.now + wait, order: self.planned, what }));
    }

    /// Moves time to the next thing and returns it, unless it lies after `end`.
    pub(super) fn next(&mut self, end: Timestamp) -> Option<T> {
        if self.heap.peek().is_none_or(|Reverse(item)| item.at > end) {
            return None;
        }
        let Reverse(item) = self.heap.pop()?;
        self.now = item.at;
        Some(item.what)
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
