//! Rollouts that are held against the bundle before: labels, requests and alarms decide, once and for good.

use std::time::Duration;

use edgeward_api::device::Service;
use edgeward_core::event::{Project, RolloutOutcome};
use edgeward_core::rollout::{Approval, GateKind, OnFail, RolloutPolicy, WaveSize};
use edgeward_core::{DeviceId, Digest, Event};
use edgeward_store::{NewProfile, RolloutRow};
use uuid::Uuid;

use super::reconcilers::{bundle, enrolled};
use super::support::{Plant, model, project, report};
use crate::reconcile::{evidence, observe, rollouts};

const DEVICES: u64 = 10;

fn name(n: u64) -> DeviceId {
    DeviceId::new(format!("d{n}")).unwrap()
}

impl Plant {
    /// The devices do what they should: report what they run.
    fn all_follow(&self, seq: u64) {
        let desired = self.desired().unwrap();
        for n in 0..DEVICES {
            let mut said = report(seq, desired.models[&model()].bundle_for(&name(n)));
            said.at_ms = self.app.now();
            self.hears(&name(n), &said);
        }
    }

    /// Every device uploads a window; each answer of `bad`'s is as bad as `of_bad` says, the others' are good.
    fn all_upload(&self, seq: u64, bad: Digest, of_bad: &Window) {
        let desired = self.desired().unwrap();
        for n in 0..DEVICES {
            let Some(runs) = desired.models[&model()].bundle_for(&name(n)) else { continue };
            let good = Window { correct: of_bad.labelled, failed: 0, slow: 0, ..*of_bad };
            self.upload_window(n, seq, runs, if runs == bad { of_bad } else { &good });
        }
    }

    fn upload_window(&self, device: u64, seq: u64, bundle: Digest, window: &Window) {
        let mut latency = [0; 13];
        (latency[3], latency[9]) = (window.requests - window.failed - window.slow, window.slow);
        let service =
            serde_json::to_value(Service { failed: window.failed, latency, ..Service::default() }).unwrap();
        let now = self.app.now();
        let new = NewProfile {
            device: &name(device),
            session: Uuid::from_u128(7),
            seq,
            model: &model(),
            bundle,
            from_ms: now,
            to_ms: now,
            labelled: window.labelled,
            correct: window.correct,
            profile: b"bytes",
            performance: None,
            service: Some(&service),
        };
        self.app.store.write(|writer| writer.put_profile(&new, now)).unwrap();
    }

    fn turn(&self) {
        self.runtime.block_on(evidence::reconcile(&self.app)).unwrap();
        self.runtime.block_on(rollouts::reconcile(&self.app)).unwrap();
    }

    fn newest(&self) -> RolloutRow {
        self.rollouts().remove(0)
    }
}

/// What one device counts in one window.
#[derive(Clone, Copy)]
struct Window {
    labelled: u64,
    correct: u64,
    requests: u64,
    failed: u64,
    slow: u64,
}

const QUIET: Window = Window { labelled: 10, correct: 10, requests: 100, failed: 0, slow: 0 };

/// Version 1 serves on every device, and one of them runs version 2.
fn first_wave(change: impl FnOnce(&mut RolloutPolicy)) -> Plant {
    let plant = Plant::still();
    let waves = vec![WaveSize::Devices(1), WaveSize::Percent(50)];
    let mut rollout = RolloutPolicy { waves, ..project().rollout };
    plant.append(&[Event::ProjectRegistered(Project { rollout: rollout.clone(), ..project() })]);
    plant.append(&(0..DEVICES).map(|n| enrolled(name(n).as_str())).collect::<Vec<_>>());
    plant.append(&plant.version(1, "run-1"));
    for seq in 1..6 {
        plant.turn();
        plant.all_follow(seq);
        plant.pass(Duration::from_secs(20));
    }
    assert_eq!(plant.newest().outcome, Some(RolloutOutcome::Completed));
    change(&mut rollout);
    plant.append(&[Event::ProjectRegistered(Project { rollout, ..project() })]);
    plant.append(&plant.version(2, "run-2"));
    plant.turn();
    plant.all_follow(6);
    plant
}

/// Turns the wheels for `rounds` windows; after each one everything in memory may be thrown away.
fn rounds(mut plant: Plant, window: Window, rounds: u64, crashing: bool) -> Plant {
    for _ in 0..rounds {
        let seq = u64::try_from(plant.app.now().0).unwrap();
        if plant.newest().outcome.is_some() {
            break;
        }
        plant.all_upload(seq, bundle(2), &window);
        plant.all_follow(seq);
        plant.turn();
        if crashing {
            plant = plant.crash();
            plant.turn();
        }
        plant.pass(Duration::from_secs(1));
    }
    plant
}

fn aborted(window: Window, gate: &str) {
    for crashing in [false, true] {
        let plant =
            rounds(first_wave(|policy| policy.bake_ms = Duration::from_secs(60)), window, 30, crashing);
        let row = plant.newest();
        assert_eq!(row.outcome, Some(RolloutOutcome::RolledBack), "{gate} {:?}", row.reasons);
        assert!(row.reasons[0].starts_with(&format!("{gate}: fail: ")), "{:?}", row.reasons);
        assert_eq!(row.wave.unwrap().index, 0, "stopped in the first wave");
        plant.turn();
        assert_eq!(plant.desired().unwrap().models[&model()].next, None);
    }
}

#[test]
fn wrong_failing_and_slow_answers_each_take_it_back_in_the_first_wave() {
    aborted(Window { correct: 4, ..QUIET }, "accuracy");
    aborted(Window { failed: 30, ..QUIET }, "failed_requests");
    aborted(Window { slow: 60, ..QUIET }, "slow_requests");
}

#[test]
fn evidence_is_folded_once_however_often_it_is_interrupted() {
    let evidence_of = |crashing| {
        let plant =
            rounds(first_wave(|policy| policy.bake_ms = Duration::from_secs(600)), QUIET, 8, crashing);
        plant.turn();
        let row = plant.newest();
        let seen = plant.look(|view| observe::observed(view, &row, plant.app.now()));
        seen.gates.into_iter().filter(|seen| seen.gate != GateKind::Alarms).collect::<Vec<_>>()
    };
    let calm = evidence_of(false);
    assert_eq!(calm[0].newcomer.n, 7 * 10, "the first window came before the comparison began");
    assert_eq!(calm, evidence_of(true));
}

#[test]
fn an_equal_bundle_completes() {
    let plant = rounds(first_wave(|policy| policy.bake_ms = Duration::from_secs(3)), QUIET, 30, false);
    let row = plant.newest();
    assert_eq!((row.outcome, row.version), (Some(RolloutOutcome::Completed), 2), "{:?}", row.reasons);
}

#[test]
fn a_failing_rollout_may_pause_and_going_on_forgets_what_the_gates_held_against_it() {
    let pausing = |policy: &mut RolloutPolicy| {
        policy.on_fail = OnFail::Pause;
        policy.bake_ms = Duration::from_secs(5);
    };
    let plant = rounds(first_wave(pausing), Window { correct: 2, ..QUIET }, 5, false);
    let row = plant.newest();
    assert!(row.paused && row.outcome.is_none() && row.reasons[0].starts_with("accuracy: fail"), "{row:?}");
    let (rollout, by, cause) = (row.id, "operator".to_owned(), "the labels were wrong".to_owned());
    plant.append(&[Event::RolloutResumed { rollout, by, cause }]);
    let plant = rounds(plant, QUIET, 30, false);
    assert_eq!(plant.newest().outcome, Some(RolloutOutcome::Completed), "{:?}", plant.newest());
}

#[test]
fn a_wave_opens_when_somebody_agreed() {
    let each = |policy: &mut RolloutPolicy| {
        policy.approval = Approval::Each;
        policy.bake_ms = Duration::from_secs(2);
    };
    let mut plant = first_wave(each);
    for waves in 1..=3 {
        assert_eq!(plant.newest().wave.map_or(0, |wave| wave.index + 1), waves - 1);
        let (rollout, by, cause) = (plant.newest().id, "operator".to_owned(), "go".to_owned());
        plant.append(&[Event::RolloutApproved { rollout, waves, by, cause }]);
        plant.turn();
        plant = rounds(plant, QUIET, 6, true);
    }
    assert_eq!(plant.newest().outcome, Some(RolloutOutcome::Completed));
}
