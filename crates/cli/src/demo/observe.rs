//! What the control plane says of the loop: its ledger, entry by entry, and the devices' last reports.
//!
//! The fold over ledger entries is pure. A control plane that is away for a while is simply asked again: the ledger is
//! the same afterwards.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use edgeward_api::Client;
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::Device;
use edgeward_core::event::{RolloutOutcome, RunOutcome};
use edgeward_core::ledger::Entry;
use edgeward_core::{Alert, Digest, Event, RolloutId, RunId, Timestamp};

use super::board::{Board, Stop};
use crate::describe;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// A run, as the ledger tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunSeen {
    pub(crate) run: RunId,
    pub(crate) requested_at: Timestamp,
    pub(crate) cause: String,
    pub(crate) outcome: Option<RunOutcome>,
}

/// A rollout, as the ledger tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RolloutSeen {
    pub(crate) rollout: RolloutId,
    pub(crate) bundle: Digest,
    pub(crate) outcome: Option<RolloutOutcome>,
}

/// Everything heard so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// The next ledger entry to ask for.
    pub(crate) next: u64,
    pub(crate) enrolled: usize,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) runs: Vec<RunSeen>,
    pub(crate) rollouts: Vec<RolloutSeen>,
    /// The devices with their last reports.
    pub(crate) devices: Vec<Device>,
}

impl Heard {
    /// Takes the next ledger entry in; one that was taken in already changes nothing.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        if entry.seq < self.next {
            return;
        }
        self.next = entry.seq + 1;
        match &entry.event {
            Event::DeviceEnrolled { .. } => self.enrolled += 1,
            Event::AlertRaised(alert) => self.alerts.push(alert.clone()),
            Event::RunRequested { run, cause, .. } => {
                let (run, cause) = (run.clone(), cause.clone());
                self.runs.push(RunSeen { run, requested_at: entry.at_ms, cause, outcome: None });
            }
            Event::RunFinished { run, outcome, .. } => {
                self.runs.iter_mut().filter(|seen| seen.run == *run).for_each(|seen| {
                    seen.outcome = Some(outcome.clone());
                });
            }
            Event::RolloutStarted { rollout, bundle, .. } => {
                self.rollouts.push(RolloutSeen { rollout: rollout.clone(), bundle: *bundle, outcome: None });
            }
            Event::RolloutFinished { rollout, outcome, .. } => {
                self.rollouts.iter_mut().filter(|seen| seen.rollout == *rollout).for_each(|seen| {
                    seen.outcome = Some(*outcome);
                });
            }
            Event::ProjectRegistered(_)
            | Event::AlertAcknowledged { .. }
            | Event::AccessChanged(_)
            | Event::GateJudged { .. }
            | Event::ModelRegistered(_)
            | Event::AliasMoved { .. }
            | Event::RolloutAdvanced { .. }
            | Event::RolloutPaused { .. }
            | Event::DeviceLabelled { .. }
            | Event::DevicePinned { .. }
            | Event::DeviceUnpinned { .. }
            | Event::GroupDefined { .. }
            | Event::GroupRemoved { .. }
            | Event::RolloutResumed { .. }
            | Event::RolloutApproved { .. }
            | Event::ShadowsStarted { .. }
            | Event::ShadowsJudged { .. }
            | Event::SamplesJudged { .. }
            | Event::RecordsKept { .. }
            | Event::RecordsRead { .. }
            | Event::RecordsExpired { .. }
            | Event::SubjectErased { .. }
            | Event::InputsErased { .. } => {}
        }
    }

    /// The first alert of a device about `bundle` raised at or after `from`.
    pub(crate) fn first_alert(&self, bundle: &str, from: Timestamp) -> Option<&Alert> {
        let of = |alert: &&Alert| alert.bundle.hex() == bundle && alert.at_ms >= from;
        let of_device = |alert: &&Alert| !alert.kind.is_of_fleet();
        self.alerts.iter().filter(of).filter(of_device).min_by_key(|alert| alert.at_ms)
    }

    /// Whether the last rollout of `bundle` completed.
    pub(crate) fn is_rolled_out(&self, bundle: &str) -> bool {
        let last = self.rollouts.iter().rfind(|rollout| rollout.bundle.hex() == bundle);
        last.is_some_and(|rollout| rollout.outcome == Some(RolloutOutcome::Completed))
    }
}

/// What was heard, shared by those who ask.
#[derive(Clone, Default)]
pub(crate) struct Ears(Arc<Mutex<Heard>>);

impl Ears {
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the control plane again and again, on a thread of its own.
pub(crate) struct Observer {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    pub(crate) fn start(server: &str, ears: &Ears, board: &Arc<Board>) -> io::Result<Self> {
        let stop = Stop::default();
        let client = Client::new(server, None);
        let (board, ears, until) = (Arc::clone(board), ears.clone(), stop.clone());
        let thread = thread::Builder::new().name("observer".to_owned()).spawn(move || {
            while !until.is_raised() {
                look(&client, &ears, &board);
                thread::sleep(LOOK);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(client: &Client, ears: &Ears, board: &Board) {
    let next = ears.heard().next;
    if let Ok(page) = client.events(next, PAGE_MAX) {
        for entry in &page.entries {
            ears.heard().apply(entry);
            board.say(describe::event(&entry.event));
        }
    }
    if let Ok(devices) = client.devices() {
        ears.heard().devices = devices.devices;
    }
}

#[cfg(test)]
mod tests {
    use edgeward_core::DeviceId;
    use edgeward_core::event::Runner;
    use edgeward_core::ledger::Chain;
    use edgeward_core::{ModelName, ProjectName, alert::AlertKind};

    use super::*;

    fn alert(bundle: Digest, at: i64) -> Alert {
        Alert {
            id: format!("a{at}"),
            kind: AlertKind::Drift,
            device: DeviceId::new("robot-1").unwrap(),
            model: ModelName::new("digits").unwrap(),
            bundle,
            at_ms: Timestamp(at),
            stream: None,
            sample: 9,
            change_sample: None,
            log10_evidence: 9.0,
            log10_threshold: 8.0,
            message: "moved".into(),
        }
    }

    #[test]
    fn the_ledger_tells_runs_rollouts_and_alerts() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let run = RunId::new("r1").unwrap();
        let rollout = RolloutId::new("o1").unwrap();
        let events = [
            Event::AlertRaised(alert(old, 5)),
            Event::AlertRaised(alert(old, 50)),
            Event::RunRequested {
                run: run.clone(),
                project: ProjectName::new("robots").unwrap(),
                cause: "drift".into(),
                runner: Runner::ControlPlane,
                commit: None,
            },
            Event::RunFinished {
                run,
                project: ProjectName::new("robots").unwrap(),
                outcome: RunOutcome::Passed { bundle: new },
            },
            Event::RolloutStarted {
                rollout: rollout.clone(),
                model: ModelName::new("digits").unwrap(),
                version: 2,
                bundle: new,
                from: Some(old),
                policy: edgeward_core::rollout::RolloutPolicy::default(),
                start_at_ms: None,
                cause: "passed".into(),
            },
            Event::RolloutFinished { rollout, outcome: RolloutOutcome::Completed, reasons: vec![] },
        ];
        let mut chain = Chain::default();
        let mut heard = Heard::default();
        for event in events {
            let (entry, _) = chain.append(event, Timestamp(0)).unwrap();
            heard.apply(&entry);
            heard.apply(&entry);
        }
        assert_eq!(heard.first_alert(&old.hex(), Timestamp(10)).unwrap().at_ms, Timestamp(50));
        assert_eq!(heard.first_alert(&new.hex(), Timestamp(0)), None);
        assert_eq!(heard.runs.len(), 1);
        assert_eq!(heard.runs[0].outcome, Some(RunOutcome::Passed { bundle: new }));
        assert!(heard.is_rolled_out(&new.hex()) && !heard.is_rolled_out(&old.hex()));
    }
}
