//! When bundles may be fetched and when they may be activated: links that cost money, and hours in which nothing is to change.
//!
//! On a metered link documents, reports and manifests go on, they are small; files of bundles wait. Outside its maintenance
//! windows a device fetches and tests, and activates once a window opens. What serves nothing yet activates at once, and going
//! back never waits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use edgeward_core::Timestamp;
use edgeward_core::rollout::Window;

use crate::activation::ready;

/// How long the answer of a command counts.
const FRESH: Duration = Duration::from_secs(30);
/// Longest time that the command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the link costs money.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Metered {
    /// It does not.
    #[default]
    Never,
    /// It does: no bundle is fetched over it.
    Always,
    /// It does while this shell command ends with code 0.
    Command(String),
}

/// When what is large or changes something may happen.
#[derive(Debug, Default)]
pub struct Courtesy {
    metered: Metered,
    windows: Vec<Window>,
    /// What the command said last, and when.
    said: Mutex<Option<(Instant, bool)>>,
}

impl Courtesy {
    /// By this link, and with activations in these windows; at any time if there is none.
    #[must_use]
    pub const fn new(metered: Metered, windows: Vec<Window>) -> Self {
        Self { metered, windows, said: Mutex::new(None) }
    }

    /// Why no file of a bundle may be fetched now; none if it may.
    #[must_use]
    pub fn waits_for_link(&self) -> Option<&'static str> {
        let is_metered = match &self.metered {
            Metered::Never => false,
            Metered::Always => true,
            Metered::Command(command) => self.asks(command),
        };
        is_metered.then_some("the link is metered")
    }

    fn asks(&self, command: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = said.filter(|(at, _)| at.elapsed() < FRESH);
        let (_, metered) = *said
            .insert(fresh.unwrap_or_else(|| (Instant::now(), ready::run(command, COMMAND_TIMEOUT).is_ok())));
        metered
    }

    /// Whether a new bundle may take over from one that serves.
    #[must_use]
    pub fn may_activate(&self, now: Timestamp) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.is_open(now))
    }

    /// The windows in words.
    #[must_use]
    pub fn windows(&self) -> String {
        self.windows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 26 November 2026, a Thursday, at midnight.
    const THURSDAY: Timestamp = Timestamp(1_795_651_200_000);

    #[test]
    fn a_command_says_whether_the_link_costs_money_and_is_not_asked_all_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let calls = folder.path().join("calls");
        let by = |end: &str| Metered::Command(format!("echo x >> '{}'; {end}", calls.display()));
        let costly = Courtesy::new(by("true"), Vec::new());
        assert!((0..3).all(|_| costly.waits_for_link() == Some("the link is metered")));
        assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 1);
        assert_eq!(Courtesy::new(by("false"), Vec::new()).waits_for_link(), None);
        assert!(Courtesy::new(Metered::Always, Vec::new()).waits_for_link().is_some());
        assert_eq!(Courtesy::default().waits_for_link(), None);
    }

    #[test]
    fn activations_wait_for_a_window() {
        let window = |text: &str| text.parse().unwrap();
        let courtesy =
            Courtesy::new(Metered::Never, vec![window("sun 02:00-04:00"), window("thu 00:00-00:10")]);
        let at = |minutes: u64| THURSDAY + Duration::from_secs(60 * minutes);
        assert!(courtesy.may_activate(at(9)) && !courtesy.may_activate(at(10)));
        assert!(courtesy.may_activate(at(3 * 24 * 60 + 120)));
        assert!(Courtesy::default().may_activate(at(10)));
    }
}
