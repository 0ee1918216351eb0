//! How often to ask: steadily while the control plane answers, ever more rarely while it does not.
//!
//! Waits are spread by up to a fifth either way, so that a fleet that lost its server does not return as one.

use std::time::{Duration, Instant};

use uuid::Uuid;

/// Longest wait between two attempts.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The next time to ask.
pub(super) struct Pace {
    every: Duration,
    misses: u32,
    due: Instant,
}

impl Pace {
    /// Asks at once, then at this interval.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, misses: 0, due: Instant::now() }
    }

    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Whether the last attempt was answered.
    pub(super) const fn is_reached(&self) -> bool {
        self.misses == 0
    }

    /// Asks at once, but no sooner than a control plane that does not answer may be asked.
    pub(super) fn hurry(&mut self) {
        if self.is_reached() {
            self.due = Instant::now();
        }
    }

    pub(super) fn reached(&mut self) {
        self.misses = 0;
        self.due = Instant::now() + spread(self.every, random());
    }

    pub(super) fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.due = Instant::now() + spread(backoff(self.every, self.misses), random());
    }
}

/// The interval, doubled with each miss after the first, at most [`BACKOFF_MAX`] or the interval itself.
fn backoff(every: Duration, misses: u32) -> Duration {
    let factor = 1_u32.checked_shl(misses.saturating_sub(1)).unwrap_or(u32::MAX);
    every.saturating_mul(factor).min(BACKOFF_MAX.max(every))
}

/// `span`, spread by up to a fifth either way.
pub(super) fn spread_randomly(span: Duration) -> Duration {
    spread(span, random())
}

/// `span` times 0.8 to 1.2, by a random fraction in [0, 1).
fn spread(span: Duration, fraction: f64) -> Duration {
    span.mul_f64(0.8 + 0.4 * fraction)
}

/// The low bits of a fresh UUIDv7 are random.
fn random() -> f64 {
    let bits = Uuid::now_v7().as_u128() as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let every = Duration::from_secs(1);
        let waits: Vec<u64> = (1..=9).map(|misses| backoff(every, misses).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(every, u32::MAX), BACKOFF_MAX);
        assert_eq!(backoff(Duration::from_secs(300), 9), Duration::from_secs(300));
    }

    #[test]
    fn waits_are_spread() {
        assert_eq!(spread(Duration::from_secs(10), 0.0), Duration::from_secs(8));
        assert_eq!(spread(Duration::from_secs(10), 0.5), Duration::from_secs(10));
        assert!((0..100).map(|_| random()).all(|fraction| (0.0..1.0).contains(&fraction)));
    }
}
