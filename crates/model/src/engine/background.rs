//! Threads whose work must not get in the way of requests.

use std::cell::Cell;

thread_local! {
    static IN_BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// Says that the calling thread works in the background from now on: it tests a model that is to serve, or runs a shadow.
///
/// An engine that computes on threads of its own then keeps others for it. Else a request would wait behind such a test, and be
/// computed with the priority of whoever made the threads.
pub fn work_in_background() {
    IN_BACKGROUND.set(true);
}

pub(crate) fn is_in_background() -> bool {
    IN_BACKGROUND.get()
}
