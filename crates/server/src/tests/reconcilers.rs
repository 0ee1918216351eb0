//! "Crash after any effect, run again, same end state", for each reconciler.
//!
//! A still plant serves nothing: the test turns one wheel at a time, throws everything in memory away in between, and
//! compares what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgeward_api::device::Report;
use edgeward_core::alert::AlertKind;
use edgeward_core::event::{ModelVersion, Project, RolloutOutcome, RunOutcome, Runner};
use edgeward_core::slot::Refused;
use edgeward_core::trigger::{Trigger, TriggerPolicy};
use edgeward_core::{Desired, DeviceId, Digest, Event, PredictionId, RunId};
use edgeward_store::{Checkpoint, NewReport, NewSample, RolloutRow, RunRow, StoreError, View, Writer};
use uuid::Uuid;

use super::support::{Plant, START, alert, model, project, report};
use crate::intake::states;
use crate::reconcile::{ReconcileError, checkpoints, rollouts, runs, triggers};

impl Plant {
    pub(super) fn append(&self, events: &[Event]) {
        self.app.store.append(events, self.app.now()).unwrap();
    }

    pub(super) fn look<T>(&self, query: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> T {
        self.app.store.read(query).unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&Writer<'_>) -> Result<T, StoreError>) -> T {
        self.app.store.write(change).unwrap()
    }

    fn ledger_len(&self) -> u64 {
        self.look(|view| Ok(view.head()?.len))
    }

    pub(super) fn version(&self, version: u64, run: &str) -> [Event; 3] {
        let (run, bundle) = (RunId::new(run).unwrap(), bundle(version));
        let manifest = version.to_be_bytes();
        let releases = self.signed_releases(&manifest);
        self.app.repository.accept_releases(&releases, (&model(), &manifest), self.app.now(), true).unwrap();
        let project = project().name;
        let (cause, runner) = ("test".to_owned(), Runner::Caller);
        [
            Event::RunRequested { run: run.clone(), project: project.clone(), cause, runner, commit: None },
            Event::ModelRegistered(ModelVersion {
                model: model(),
                version,
                bundle,
                run: run.clone(),
                metrics: BTreeMap::new(),
                release: None,
            }),
            Event::RunFinished { run, project, outcome: RunOutcome::Passed { bundle } },
        ]
    }

    /// `device` says what it runs, or what it refuses.
    fn says(&self, device: &str, seq: u64, active: Option<Digest>, refused: Option<Digest>) {
        let device = DeviceId::new(device).unwrap();
        let mut said = report(seq, active);
        let refused = refused.map(|bundle| Refused { bundle, reason: "golden test: answers differ".into() });
        said.models.get_mut(&model()).unwrap().refused = refused.into_iter().collect();
        self.hears(&device, &said);
    }

    /// `device` reports.
    pub(super) fn hears(&self, device: &DeviceId, said: &Report) {
        let document = serde_json::to_value(said).unwrap();
        let models = states(said, self.app.now());
        let new = NewReport {
            device,
            session: said.session,
            session_started_at_ms: said.session_started_at_ms,
            seq: said.seq,
            document: &document,
            models: &models,
            facts: &said.facts,
        };
        self.change(|writer| writer.put_report(new, self.app.now()));
    }

    pub(super) fn desired(&self) -> Option<Desired> {
        self.app.repository.desired()
    }

    pub(super) fn rollouts(&self) -> Vec<RolloutRow> {
        self.look(|view| view.rollouts(None, 100))
    }

    fn runs(&self) -> Vec<RunRow> {
        self.look(|view| view.runs(None, 100))
    }

    fn roll(&self) -> Result<(), ReconcileError> {
        self.runtime.block_on(rollouts::reconcile(&self.app))
    }
}

fn latest_checkpoint(view: &View<'_>) -> Result<Option<Checkpoint>, StoreError> {
    view.latest_checkpoint()
}

pub(super) fn bundle(version: u64) -> Digest {
    Digest::of(&version.to_be_bytes())
}

pub(super) fn enrolled(name: &str) -> Event {
    Event::DeviceEnrolled { device: DeviceId::new(name).unwrap() }
}

fn fleet(plant: &Plant, project: Project) {
    plant.append(&[Event::ProjectRegistered(project), enrolled("d1"), enrolled("d2")]);
    for device in ["d1", "d2"] {
        plant.says(device, 1, None, None);
    }
}

/// Both devices run what they should; a minute passes, as it takes to bake.
fn devices_follow(plant: &Plant, seq: u64) {
    let desired = plant.desired().unwrap();
    for name in ["d1", "d2"] {
        let device = DeviceId::new(name).unwrap();
        plant.says(name, seq, desired.models[&model()].bundle_for(&device), None);
    }
    plant.pass(Duration::from_secs(60));
    for name in ["d1", "d2"] {
        let device = DeviceId::new(name).unwrap();
        let mut said = report(seq + 1, desired.models[&model()].bundle_for(&device));
        said.at_ms = plant.app.now();
        plant.hears(&device, &said);
    }
}

/// Runs a whole rollout; after each turn everything in memory may be thrown away, and each turn may be done twice.
fn whole_rollout(
    crashing: bool,
    twice: bool,
) -> (u64, Option<u64>, Vec<Option<RolloutOutcome>>, Option<Digest>) {
    let mut plant = Plant::still();
    fleet(&plant, project());
    plant.append(&plant.version(1, "run-1"));
    let mut seq = 2;
    for _ in 0..6 {
        plant.roll().unwrap();
        if twice {
            plant.roll().unwrap();
        }
        if crashing {
            plant = plant.crash();
            plant.roll().unwrap();
        }
        devices_follow(&plant, seq);
        seq += 2;
    }
    let champion = plant.look(|view| view.aliased(&model(), "champion"));
    let desired = plant.desired().unwrap();
    let outcomes = plant.rollouts().into_iter().map(|row| row.outcome).collect();
    (desired.generation, champion.map(|version| version.version), outcomes, desired.models[&model()].stable)
}

#[test]
fn a_rollout_ends_the_same_however_often_it_is_interrupted() {
    let calm = whole_rollout(false, false);
    assert_eq!(calm.1, Some(1));
    assert_eq!(calm.2, [Some(RolloutOutcome::Completed)]);
    assert_eq!(calm.3, Some(bundle(1)));
    assert_eq!(whole_rollout(true, false), calm);
    assert_eq!(whole_rollout(false, true), calm);
    assert_eq!(whole_rollout(true, true), calm);
}

#[test]
fn a_crash_between_an_event_and_its_document_is_healed() {
    let plant = Plant::still();
    fleet(&plant, project());
    plant.append(&plant.version(1, "run-1"));
    plant.roll().unwrap();
    let before = plant.desired().unwrap();
    let row = plant.rollouts().remove(0);
    // The event is kept, and the server dies before it signs what follows from it.
    let (outcome, reasons) = (RolloutOutcome::Completed, Vec::new());
    plant.append(&[
        Event::RolloutFinished { rollout: row.id, outcome, reasons },
        Event::AliasMoved { model: model(), alias: "champion".into(), version: 1 },
    ]);
    let plant = plant.crash();
    let len = plant.ledger_len();
    plant.roll().unwrap();
    let after = plant.desired().unwrap();
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!(after.models[&model()].stable, Some(bundle(1)));
    assert_eq!(after.models[&model()].next, None);
    assert_eq!(plant.ledger_len(), len, "nothing is decided twice");
    plant.roll().unwrap();
    assert_eq!(plant.desired().unwrap(), after);
}

/// Version 1 is the champion, and version 2 begins to roll out.
fn second_version_under_way() -> Plant {
    let plant = Plant::still();
    fleet(&plant, project());
    plant.append(&plant.version(1, "run-1"));
    plant.append(&[Event::AliasMoved { model: model(), alias: "champion".into(), version: 1 }]);
    plant.append(&plant.version(2, "run-2"));
    plant.roll().unwrap();
    plant
}

#[test]
fn a_bad_version_is_taken_back_and_not_tried_again() {
    let plant = second_version_under_way();
    assert_eq!(plant.rollouts()[0].from, Some(bundle(1)));
    plant.says("d1", 2, Some(bundle(1)), Some(bundle(2)));
    plant.roll().unwrap();
    let row = plant.rollouts().remove(0);
    assert_eq!(row.outcome, Some(RolloutOutcome::RolledBack));
    assert!(row.reasons[0].contains("golden test"), "{:?}", row.reasons);
    assert_eq!(plant.desired().unwrap().models[&model()].next, None);
    assert_eq!(plant.desired().unwrap().models[&model()].stable, Some(bundle(1)));
    let plant = plant.crash();
    plant.roll().unwrap();
    assert_eq!(plant.rollouts().len(), 1);
}

#[test]
fn an_alert_about_the_new_bundle_takes_it_back() {
    let plant = second_version_under_way();
    plant.append(&[Event::AlertRaised(alert("a1", &DeviceId::new("d2").unwrap(), bundle(2)))]);
    plant.roll().unwrap();
    assert_eq!(plant.rollouts()[0].outcome, Some(RolloutOutcome::RolledBack));
    assert_eq!(plant.desired().unwrap().models[&model()].stable, Some(bundle(1)));
}

#[test]
fn an_alert_about_the_first_model_leaves_it_where_it_is() {
    let plant = Plant::still();
    fleet(&plant, project());
    plant.append(&plant.version(1, "run-1"));
    plant.roll().unwrap();
    plant.append(&[Event::AlertRaised(alert("a1", &DeviceId::new("d2").unwrap(), bundle(1)))]);
    plant.roll().unwrap();
    assert_eq!(plant.rollouts()[0].outcome, None, "there is nothing better to go back to");
}

#[test]
fn at_level_0_nothing_rolls_out_by_itself() {
    let plant = Plant::still();
    fleet(&plant, Project { trigger: TriggerPolicy::default(), ..project() });
    plant.append(&plant.version(1, "run-1"));
    plant.roll().unwrap();
    assert!(plant.rollouts().is_empty() && plant.desired().is_none());
}

#[test]
fn a_document_that_grows_old_is_signed_anew() {
    let plant = Plant::still();
    fleet(&plant, project());
    plant.append(&plant.version(1, "run-1"));
    plant.append(&[Event::AliasMoved { model: model(), alias: "champion".into(), version: 1 }]);
    plant.roll().unwrap();
    let first = plant.desired().unwrap();
    plant.pass(Duration::from_secs(14 * 24 * 3600));
    plant.roll().unwrap();
    assert_eq!(plant.desired().unwrap(), first);
    plant.pass(Duration::from_secs(2 * 24 * 3600));
    plant.roll().unwrap();
    let second = plant.desired().unwrap();
    assert_eq!((second.generation, &second.models), (first.generation + 1, &first.models));
}

fn watchful() -> Project {
    let kinds = BTreeSet::from([AlertKind::Decay]);
    let trigger = TriggerPolicy {
        level: 1,
        triggers: vec![Trigger::Alert { kinds, labels_min: 2 }],
        cooldown_ms: Duration::from_secs(1),
        runs_per_week_max: 10,
    };
    Project { trigger, ..project() }
}

fn label(plant: &Plant, n: u128) {
    let sample = NewSample {
        prediction: PredictionId(Uuid::from_u128(n)),
        row: 0,
        model: model(),
        bundle: bundle(1),
        at_ms: plant.app.now(),
        features: vec![0; 4],
        predicted: None,
        label: Some("8".into()),
        suspicion: None,
    };
    let device = DeviceId::new("d1").unwrap();
    plant.change(|writer| writer.put_samples(&device, &[sample], plant.app.now()));
}

#[test]
fn an_alert_asks_for_one_run_however_often_it_is_looked_at() {
    let plant = Plant::still();
    fleet(&plant, watchful());
    plant.append(&plant.version(1, "run-1"));
    plant.append(&[Event::AliasMoved { model: model(), alias: "champion".into(), version: 1 }]);
    plant.append(&[Event::AlertRaised(alert("a1", &DeviceId::new("d1").unwrap(), bundle(1)))]);
    // That a person has seen it stops nothing.
    plant.append(&[Event::AlertAcknowledged { alert: "a1".into(), by: "ann".into(), note: None }]);
    plant.pass(Duration::from_secs(60));
    let trigger = |plant: &Plant| plant.runtime.block_on(triggers::reconcile(&plant.app)).unwrap();
    label(&plant, 1);
    trigger(&plant);
    assert_eq!(plant.runs().len(), 1, "it waits for labels");
    label(&plant, 2);
    trigger(&plant);
    trigger(&plant);
    let plant = plant.crash();
    trigger(&plant);
    let runs = plant.runs();
    assert_eq!(runs.len(), 2);
    assert_eq!((runs[0].runner, runs[0].outcome.clone()), (Runner::ControlPlane, None));
    assert!(runs[0].cause.contains("decay alert from d1"), "{}", runs[0].cause);
}

#[test]
fn no_run_begins_between_a_registered_version_and_its_rollout() {
    let plant = Plant::still();
    let eager = TriggerPolicy { cooldown_ms: Duration::ZERO, ..watchful().trigger };
    fleet(&plant, Project { trigger: eager, ..watchful() });
    plant.append(&plant.version(1, "run-1"));
    plant.append(&[Event::AliasMoved { model: model(), alias: "champion".into(), version: 1 }]);
    plant.append(&[Event::AlertRaised(alert("a1", &DeviceId::new("d1").unwrap(), bundle(1)))]);
    plant.append(&plant.version(2, "run-2"));
    label(&plant, 1);
    label(&plant, 2);
    plant.runtime.block_on(triggers::reconcile(&plant.app)).unwrap();
    assert_eq!(plant.runs().len(), 2);
}

/// A plant whose runner is a shell script.
fn with_runner(script: &str) -> Plant {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let path = write_script(dir.path().join("runner.sh"), script);
    let plant = Plant::open(dir, START, |config| config.runner_program = path);
    let run = RunId::new("run-1").unwrap();
    let (project_name, cause, runner) = (project().name, "test".to_owned(), Runner::ControlPlane);
    plant.append(&[
        Event::ProjectRegistered(project()),
        Event::RunRequested { run, project: project_name, cause, runner, commit: None },
    ]);
    plant
}

fn write_script(path: PathBuf, script: &str) -> PathBuf {
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Turns the wheel until `is_done`; bounded by turns, not by time.
fn turn_until(plant: &Plant, is_done: impl Fn(&Plant) -> bool) {
    for _ in 0..1000 {
        plant.runtime.block_on(runs::reconcile(&plant.app)).unwrap();
        if is_done(plant) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{:?}", plant.runs());
}

fn log(plant: &Plant) -> String {
    std::fs::read_to_string(plant.dir.path().join("runs/run-1.log")).unwrap_or_default()
}

#[test]
fn a_run_whose_process_keeps_dying_fails_with_its_last_words() {
    let plant = with_runner("echo out of memory >&2; exit 9");
    turn_until(&plant, |plant| plant.runs()[0].outcome.is_some());
    let Some(RunOutcome::Failed { reason }) = plant.runs().remove(0).outcome else { panic!() };
    assert!(
        reason.contains("3 times") && reason.contains("9") && reason.contains("out of memory"),
        "{reason}"
    );
    assert_eq!(log(&plant).matches("out of memory").count(), 3);
    let len = plant.ledger_len();
    plant.runtime.block_on(runs::reconcile(&plant.app)).unwrap();
    assert_eq!(plant.ledger_len(), len);
}

#[test]
fn a_callers_run_that_never_ends_does_not_keep_others_waiting_for_ever() {
    let plant = Plant::still();
    let (run, cause, runner) = (RunId::new("run-1").unwrap(), "test".to_owned(), Runner::Caller);
    plant.append(&[
        Event::ProjectRegistered(project()),
        Event::RunRequested { run, project: project().name, cause, runner, commit: None },
    ]);
    plant.pass(Duration::from_secs(23 * 3600));
    plant.runtime.block_on(runs::reconcile(&plant.app)).unwrap();
    assert_eq!(plant.runs()[0].outcome, None);
    plant.pass(Duration::from_secs(2 * 3600));
    plant.runtime.block_on(runs::reconcile(&plant.app)).unwrap();
    assert!(matches!(plant.runs()[0].outcome, Some(RunOutcome::Failed { .. })));
}

#[test]
fn a_runner_that_is_not_there_fails_the_run() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let plant = Plant::open(dir, START, |config| config.runner_program = PathBuf::from("/nonexistent"));
    let (run, cause, runner) = (RunId::new("run-1").unwrap(), "test".to_owned(), Runner::ControlPlane);
    plant.append(&[
        Event::ProjectRegistered(project()),
        Event::RunRequested { run, project: project().name, cause, runner, commit: None },
    ]);
    turn_until(&plant, |plant| plant.runs()[0].outcome.is_some());
}

#[test]
fn a_run_gets_one_process_and_another_after_a_crash() {
    let plant = with_runner("echo started \"$@\"; exec sleep 600");
    turn_until(&plant, |plant| log(plant).contains("started"));
    for _ in 0..3 {
        plant.runtime.block_on(runs::reconcile(&plant.app)).unwrap();
    }
    let words = log(&plant);
    assert_eq!(words.matches("started").count(), 1, "{words}");
    for argument in ["run --project /srv/robots", "--server http://127.0.0.1:", "--run-id run-1", "--json"] {
        assert!(words.contains(argument), "{argument}: {words}");
    }
    plant.runtime.block_on(runs::stop(&plant.app));
    let script = plant.dir.path().join("runner.sh");
    let plant = plant.crash_and(|config| config.runner_program = script);
    turn_until(&plant, |plant| log(plant).matches("started").count() == 2);
    plant.runtime.block_on(runs::stop(&plant.app));
    assert_eq!(plant.runs()[0].outcome, None);
}

#[test]
fn checkpoints_follow_the_ledger_across_crashes() {
    let plant = Plant::still();
    plant.append(&[enrolled("d1")]);
    let reconcile = |plant: &Plant| plant.runtime.block_on(checkpoints::reconcile(&plant.app));
    reconcile(&plant).unwrap();
    let first = plant.look(latest_checkpoint).unwrap();
    assert_eq!(first.size, 1);
    plant.append(&[enrolled("d2")]);
    reconcile(&plant).unwrap();
    assert_eq!(plant.look(latest_checkpoint).unwrap(), first, "one entry waits for company");
    plant.pass(Duration::from_secs(10));
    let plant = plant.crash();
    reconcile(&plant).unwrap();
    reconcile(&plant).unwrap();
    let second = plant.look(latest_checkpoint).unwrap();
    assert_eq!(second.size, 2);
    let leaves = plant.look(|view| view.entries(0, 10));
    let leaves: Vec<Digest> = leaves.iter().map(|raw| edgeward_trust::tree::leaf_hash(&raw.bytes)).collect();
    assert_eq!(second.root, edgeward_trust::tree::root(&leaves));
}

#[test]
fn nothing_is_signed_over_a_rewritten_history() {
    let plant = Plant::still();
    plant.append(&[enrolled("d1")]);
    let sign = |plant: &Plant| plant.runtime.block_on(checkpoints::sign_now(&plant.app));
    let mut forged = sign(&plant).unwrap();
    forged.root = Digest::of(b"another history");
    plant.change(|writer| writer.put_checkpoint(&forged));
    plant.append(&[enrolled("d2")]);
    let plant = plant.crash();
    assert!(matches!(sign(&plant), Err(ReconcileError::Rewritten { size: 1 })));
}
