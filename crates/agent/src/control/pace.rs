//! How often to ask: steadily while the control plane answers, ever more rarely while it does not.
//!
//! Waits are spread by up to a fifth either way, so that a fleet that lost its server does not return as one. A nudge is
//! believed at once, unless the last ones led to nothing: whoever nudges without cause gets at most a poll more per
//! interval than without.

use std::time::{Duration, Instant};

use uuid::Uuid;

/// Longest wait between two attempts.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A nudge that led to nothing is followed by no other for this long, at first.
const IDLE_NUDGE: Duration = Duration::from_millis(100);

/// The next time to ask.
pub(super) struct Pace {
    every: Duration,
    misses: u32,
    due: Instant,
    asked: Instant,
    /// Whether the next attempt is due to a nudge.
    is_nudged: bool,
    /// Nudges in a row that led to nothing.
    idle_nudges: u32,
}

impl Pace {
    /// Asks at once, then at this interval.
    pub(super) fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self { every, misses: 0, due: now, asked: now, is_nudged: false, idle_nudges: 0 }
    }

    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Whether the last attempt was answered.
    pub(super) const fn is_reached(&self) -> bool {
        self.misses == 0
    }

    /// Asks at once, but no sooner than a control plane that does not answer may be asked, and after nudges without news
    /// not before a while since the last attempt.
    pub(super) fn hurry(&mut self) {
        if self.is_reached() {
            self.is_nudged = true;
            self.due = self.due.min(self.asked + nudge_gap(self.every, self.idle_nudges)).max(Instant::now());
        }
    }

    /// The repository answered, and whether it had news.
    pub(super) fn reached(&mut self, is_news: bool) {
        self.misses = 0;
        self.asked = Instant::now();
        self.due = self.asked + spread(self.every, random());
        let was_in_vain = std::mem::take(&mut self.is_nudged) && !is_news;
        self.idle_nudges = if was_in_vain { self.idle_nudges.saturating_add(1) } else { 0 };
    }

    /// Nobody answered, or somebody who asks to be left alone for a while.
    pub(super) fn missed(&mut self, retry_after: Option<Duration>) {
        self.misses = self.misses.saturating_add(1);
        self.due = Instant::now() + wait(self.every, self.misses, retry_after, random());
    }
}

/// How long after the last attempt a nudge counts, when so many before it led to nothing: doubled with each, at most the
/// interval itself.
fn nudge_gap(every: Duration, idle: u32) -> Duration {
    let factor = idle.checked_sub(1).map_or(0, |doublings| 1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
    IDLE_NUDGE.saturating_mul(factor).min(every)
}

/// The interval, doubled with each miss after the first, at most [`BACKOFF_MAX`] or the interval itself.
fn backoff(every: Duration, misses: u32) -> Duration {
    let factor = 1_u32.checked_shl(misses.saturating_sub(1)).unwrap_or(u32::MAX);
    every.saturating_mul(factor).min(BACKOFF_MAX.max(every))
}

/// How long to wait after so many misses: never less than the server asks for, and then up to twice that, so that those
/// who were turned away together do not come back together.
fn wait(every: Duration, misses: u32, retry_after: Option<Duration>, fraction: f64) -> Duration {
    let patient = retry_after.map_or(Duration::ZERO, |asked| asked.mul_f64(1.0 + fraction));
    spread(backoff(every, misses), fraction).max(patient)
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
    fn a_nudge_counts_at_once_unless_the_last_ones_led_to_nothing() {
        let every = Duration::from_secs(1);
        let mut pace = Pace::new(every);
        pace.reached(false);
        pace.hurry();
        assert!(pace.due() <= Instant::now());
        let gaps: Vec<u128> = (1..=6)
            .map(|_| {
                pace.reached(false);
                pace.hurry();
                pace.due().duration_since(pace.asked).as_millis()
            })
            .collect();
        assert_eq!(gaps[..3], [100, 200, 400]);
        // Not later than the poll that is due in any case.
        assert!(gaps[3..].iter().all(|gap| (800..=1200).contains(gap)), "{gaps:?}");
        pace.reached(true);
        pace.hurry();
        assert!(pace.due() <= Instant::now());
    }

    #[test]
    fn an_interval_without_nudges_forgets_those_in_vain() {
        let mut pace = Pace::new(Duration::from_secs(1));
        pace.hurry();
        pace.reached(false);
        assert_eq!(pace.idle_nudges, 1);
        pace.reached(false);
        assert_eq!(pace.idle_nudges, 0);
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it() {
        let s = Duration::from_secs;
        assert_eq!(wait(s(1), 1, Some(s(15)), 0.0), s(15));
        assert_eq!(wait(s(1), 1, Some(s(15)), 0.5), Duration::from_millis(22_500));
        assert_eq!(wait(s(1), 1, None, 0.5), s(1));
        assert_eq!(wait(s(300), 1, Some(s(15)), 0.5), s(300));
    }

    #[test]
    fn waits_are_spread() {
        assert_eq!(spread(Duration::from_secs(10), 0.0), Duration::from_secs(8));
        assert_eq!(spread(Duration::from_secs(10), 0.5), Duration::from_secs(10));
        assert!((0..100).map(|_| random()).all(|fraction| (0.0..1.0).contains(&fraction)));
    }
}
