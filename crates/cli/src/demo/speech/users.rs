//! The devices as the people around them use them: a word is said to one of them, and a week later it is told what it was.

use std::time::Instant;

use super::stream::{Heard, Pool};
use crate::demo::infer::{Caller, insist};

/// Most labels in one delivery.
const LABELS_PER_DELIVERY_MAX: usize = 200;
/// Most failures kept in words.
const PROBLEMS_MAX: usize = 20;

/// Everybody who speaks.
pub(super) struct Users {
    devices: Vec<Device>,
    /// What a model's answers stand for: it gives the place of a class.
    classes: Vec<String>,
    /// Whose turn it is.
    next: usize,
    requests: u64,
    failed: u64,
    problems: Vec<String>,
}

struct Device {
    caller: Caller,
    /// Predictions of the week whose truth is not handed in yet.
    open: Vec<(String, String)>,
}

impl Users {
    pub(super) fn new(endpoints: &[String], model: &str, classes: Vec<String>) -> Self {
        let device = |at: &String| Device { caller: Caller::new(at, model), open: Vec::new() };
        let devices = endpoints.iter().map(device).collect();
        Self { devices, classes, next: 0, requests: 0, failed: 0, problems: Vec::new() }
    }

    /// What a device understands; none, and a failed request, if there is no valid answer.
    pub(super) fn say(&mut self, heard: &Heard) -> Option<String> {
        self.requests += 1;
        let turn = self.next % self.devices.len().max(1);
        self.next += 1;
        let device = self.devices.get_mut(turn)?;
        match insist(|deadline| device.caller.infer(&heard.features, deadline)) {
            Ok(prediction) => {
                if heard.pool == Pool::Field {
                    device.open.push((prediction.id, heard.word.clone()));
                }
                let place: Option<usize> = prediction.class.parse().ok();
                let word = place.and_then(|place| self.classes.get(place)).cloned();
                if word.is_none() {
                    self.fail(turn, &format!("'{}' is no class of the model", prediction.class));
                }
                word
            }
            Err(why) => {
                self.fail(turn, &why);
                None
            }
        }
    }

    fn fail(&mut self, turn: usize, why: &str) {
        self.failed += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(format!("device {}: {why}", turn + 1));
        }
    }

    /// Tells every device what was said to it last week; how many words.
    pub(super) fn hand_in(&mut self) -> Result<usize, String> {
        let mut labels = 0;
        for device in &mut self.devices {
            for delivery in device.open.chunks(LABELS_PER_DELIVERY_MAX) {
                let take = |deadline: Instant| device.caller.label(delivery, deadline);
                insist(take).map_err(|why| format!("a device took no labels: {why}"))?;
                labels += delivery.len();
            }
            device.open.clear();
        }
        Ok(labels)
    }

    /// Requests, those that failed, and why the first of them did.
    pub(super) fn counts(self) -> (u64, u64, Vec<String>) {
        (self.requests, self.failed, self.problems)
    }
}

/// Which labels the control plane has, so that those that are missing can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uploads {
    /// Labels that devices took.
    pub(super) handed_in: usize,
    /// Labels that were seen on the control plane, up to position `after`.
    seen: usize,
    after: u64,
}

impl Uploads {
    /// Where to ask on and for how many, while some are missing; `held` of them wait for a person instead.
    pub(super) fn outstanding(&self, held: usize) -> Option<(u64, usize)> {
        let missing = self.handed_in.saturating_sub(held + self.seen);
        (missing > 0).then_some((self.after, missing.min(edgeward_api::limits::PAGE_MAX)))
    }

    /// A page came; `next` is where the one after it begins, if it was full.
    pub(super) fn came(&mut self, samples: usize, next: Option<u64>) {
        if let Some(next) = next {
            self.seen += samples;
            self.after = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_asked_for_until_all_are_there() {
        let mut uploads = Uploads { handed_in: 1200, ..Uploads::default() };
        assert_eq!(uploads.outstanding(10), Some((0, 1000)));
        uploads.came(400, None);
        assert_eq!(uploads.outstanding(10), Some((0, 1000)));
        uploads.came(1000, Some(77));
        assert_eq!(uploads.outstanding(10), Some((77, 190)));
        uploads.came(190, Some(99));
        assert_eq!(uploads.outstanding(10), None);
        uploads.handed_in += 5;
        assert_eq!(uploads.outstanding(10), Some((99, 5)));
    }

    #[test]
    fn a_device_that_is_not_there_fails_requests_and_says_why() {
        let mut users = Users::new(&["http://127.0.0.1:1".to_owned()], "keywords", vec!["yes".to_owned()]);
        users.devices[0].open.push(("p".to_owned(), "yes".to_owned()));
        assert!(users.hand_in().unwrap_err().contains("took no labels"));
        assert_eq!(users.devices[0].open.len(), 1, "nothing was handed in");
    }
}
