//! The brain's promises, one by one and over random histories with crashes, lost and replayed messages.

use std::collections::BTreeSet;

use edgeward_core::desired::Wave;
use edgeward_core::{Bucket, RolloutId};
use edgeward_trust::fleet::Lives;
use edgeward_trust::fleet::rehearsal::{Files, Rehearsal, follow};
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_795_651_200_000);
const PROBATION: Duration = Duration::from_millis(50);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

fn device() -> DeviceId {
    DeviceId::new("robot-1").unwrap()
}

fn bundle(n: u8) -> Digest {
    Digest::of(&[n])
}

/// A repository, and its files as they were at each generation from 1 on.
struct Source {
    repository: Rehearsal,
    history: Vec<Files>,
}

impl Source {
    /// Bundles 1 to 9 are released, and none is wanted.
    fn new() -> Self {
        let mut repository = Rehearsal::new(Lives::default(), NOW).unwrap();
        for n in 1..10 {
            repository.release(&model(), &[n], NOW).unwrap();
        }
        Self { repository, history: Vec::new() }
    }

    fn brain(&self) -> Brain {
        Brain::new(device(), self.repository.pinned().unwrap(), SlotPolicy::default())
    }

    fn publish(&mut self, stable: u8, next: Option<u8>) {
        let wave = |n| Wave {
            rollout: RolloutId::new("r1").unwrap(),
            bundle: bundle(n),
            limit: Some(Bucket::ALL),
            members: None,
        };
        let assignment = Assignment {
            stable: Some(bundle(stable)),
            next: next.map(wave),
            probation_ms: PROBATION,
            ..Assignment::default()
        };
        self.repository.publish(BTreeMap::from([(model(), assignment)]), NOW).unwrap();
        self.history.push(self.repository.files().clone());
    }

    fn latest(&self) -> &Files {
        self.history.last().unwrap()
    }
}

/// What `brain` hears from files.
fn refreshed(brain: &Brain, files: &Files, now: Timestamp) -> Input {
    let refreshed = follow(files, brain.trusted().clone(), now);
    let heard = match refreshed.outcome {
        Ok(Some(wishes)) => Heard::Wishes(Box::new(wishes)),
        Ok(None) => Heard::Nothing,
        Err(error) => Heard::Refused(error),
    };
    Input::Refreshed { trusted: Box::new(refreshed.trusted), heard }
}

/// The same, but that no release came with it.
fn unreleased(input: Input) -> Input {
    match input {
        Input::Refreshed { trusted, heard: Heard::Wishes(mut wishes) } => {
            wishes.releases.clear();
            Input::Refreshed { trusted, heard: Heard::Wishes(wishes) }
        }
        other => other,
    }
}

/// Publishes, and lets `brain` hear of it.
fn told(brain: &mut Brain, source: &mut Source, stable: u8, next: Option<u8>) -> Vec<Output> {
    source.publish(stable, next);
    let input = refreshed(brain, source.latest(), NOW);
    brain.handle(input, NOW)
}

fn effects(outputs: &[Output]) -> Vec<Effect> {
    let effect = |output: &Output| match output {
        Output::Effect { effect, .. } => Some(effect.clone()),
        _ => None,
    };
    outputs.iter().filter_map(effect).collect()
}

fn reasons(outputs: &[Output]) -> String {
    let reason = |output: &Output| match output {
        Output::Reason { reason, .. } | Output::Rejected { reason } => Some(reason.clone()),
        _ => None,
    };
    outputs.iter().filter_map(reason).collect::<Vec<_>>().join("\n")
}

fn ready(n: u8) -> Input {
    Input::Staged { model: model(), bundle: bundle(n), outcome: StageOutcome::Ready }
}

#[test]
fn a_released_bundle_is_staged_tested_and_served() {
    let mut source = Source::new();
    let mut brain = source.brain();
    let outputs = told(&mut brain, &mut source, 1, None);
    assert_eq!(outputs[0], Output::Persist);
    let [Effect::Stage { slot: SlotId::A, release }] = &effects(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((release.bundle, release.manifest_size_bytes), (bundle(1), 1));
    let again = refreshed(&brain, source.latest(), NOW);
    assert!(brain.handle(again, NOW).is_empty());
    let outputs = brain.handle(ready(1), NOW);
    assert_eq!(effects(&outputs), [Effect::Activate(Installed { slot: SlotId::A, bundle: bundle(1) })]);
    assert_eq!(brain.active(&model()), Some(bundle(1)));
    assert_eq!(brain.snapshot().models[&model()].active_since_ms, Some(NOW));
    assert_eq!((brain.generation(), brain.trouble(NOW)), (Some(1), None));
}

#[test]
fn a_bundle_without_a_release_is_not_staged_and_not_banned() {
    let mut source = Source::new();
    let mut brain = source.brain();
    source.publish(1, None);
    let input = unreleased(refreshed(&brain, source.latest(), NOW));
    assert_eq!(effects(&brain.handle(input, NOW)), []);
    assert!(brain.reasons(&model())[0].contains("was not released"));
    let input = refreshed(&brain, source.latest(), NOW);
    assert_eq!(effects(&brain.handle(input, NOW)).len(), 1);
}

#[test]
fn an_older_repository_is_refused_by_name_and_changes_nothing() {
    let mut source = Source::new();
    let mut brain = source.brain();
    told(&mut brain, &mut source, 1, None);
    told(&mut brain, &mut source, 2, None);
    let before = brain.snapshot().clone();
    let input = refreshed(&brain, &source.history[0], NOW);
    let outputs = brain.handle(input, NOW);
    assert!(matches!(outputs.last(), Some(Output::Rejected { .. })));
    assert!(reasons(&outputs).contains("was seen before"), "{outputs:?}");
    assert_eq!(*brain.snapshot(), before);
    assert_eq!(brain.trouble(NOW).unwrap().name, "rolled_back");
    let input = refreshed(&brain, source.latest(), NOW);
    brain.handle(input, NOW);
    assert_eq!(brain.trouble(NOW), None);
}

#[test]
fn what_broke_off_is_kept_and_not_acted_on() {
    let mut source = Source::new();
    let mut brain = source.brain();
    source.publish(1, None);
    let Input::Refreshed { trusted, .. } = refreshed(&brain, source.latest(), NOW) else { panic!() };
    let outputs = brain.handle(Input::Refreshed { trusted, heard: Heard::Interrupted }, NOW);
    assert_eq!(outputs, [Output::Persist]);
    assert_eq!((brain.trusted().timestamp().is_some(), brain.generation()), (true, None));
}

#[test]
fn a_repository_that_no_device_could_keep_is_refused() {
    let source = Source::new();
    let mut brain = source.brain();
    let mut root = brain.trusted().root().clone();
    let filler = serde_json::json!("x".repeat(usize::try_from(TRUSTED_BYTES_MAX).unwrap()));
    root.extra.insert("x".to_owned(), filler);
    let keys =
        [edgeward_trust::fleet::rehearsal::key("root-1"), edgeward_trust::fleet::rehearsal::key("root-2")];
    let large = edgeward_trust::tuf::repository::sign(&root, &[&keys[0], &keys[1]]).unwrap();
    let trusted = Box::new(Trusted::pin(&large, Timestamp(0)).unwrap());
    let before = brain.snapshot().clone();
    brain.handle(Input::Refreshed { trusted, heard: Heard::Nothing }, NOW);
    assert_eq!((brain.snapshot(), brain.trouble(NOW).unwrap().name.as_str()), (&before, "too_large"));
}

#[test]
fn the_time_floor_alone_is_not_written_again_and_again() {
    let mut source = Source::new();
    let mut brain = source.brain();
    told(&mut brain, &mut source, 1, None);
    let hour = |n: u64| NOW + Duration::from_secs(n * 1800);
    let mut writes = 0;
    for n in 0..5 {
        let input = refreshed(&brain, source.latest(), hour(n));
        writes += brain.handle(input, hour(n)).iter().filter(|output| **output == Output::Persist).count();
    }
    assert_eq!((writes, brain.trusted().floor()), (2, hour(4)));
}

#[test]
fn what_expired_is_not_acted_on_and_reported_by_name() {
    let mut source = Source::new();
    let mut brain = source.brain();
    told(&mut brain, &mut source, 1, None);
    brain.handle(ready(1), NOW);
    told(&mut brain, &mut source, 1, Some(2));
    let late = NOW + 8 * DAY;
    let outputs = brain.handle(Input::Tick, late);
    assert!(reasons(&outputs).contains("expired"), "{outputs:?}");
    assert_eq!(brain.active(&model()), Some(bundle(1)));
    assert_eq!(brain.trouble(late).unwrap().name, "expired");
}

#[test]
fn staging_is_taken_up_again_after_a_restart() {
    let mut source = Source::new();
    let mut first = source.brain();
    told(&mut first, &mut source, 1, None);
    let json = serde_json::to_vec(first.snapshot()).unwrap();
    let snapshot: Snapshot = serde_json::from_slice(&json).unwrap();
    assert_eq!(snapshot, *first.snapshot());
    let mut second = Brain::restore(snapshot.clone(), &device(), SlotPolicy::default()).unwrap();
    assert!(matches!(&effects(&second.handle(Input::Started, NOW))[..], [Effect::Stage { .. }]));
    let other = DeviceId::new("robot-2").unwrap();
    assert!(matches!(
        Brain::restore(snapshot, &other, SlotPolicy::default()),
        Err(RestoreError::Device { .. })
    ));
}

#[test]
fn a_wish_that_waited_for_the_probation_is_taken_up_after_it() {
    let mut source = Source::new();
    let mut brain = source.brain();
    told(&mut brain, &mut source, 1, None);
    brain.handle(ready(1), NOW);
    told(&mut brain, &mut source, 1, Some(2));
    brain.handle(ready(2), NOW);
    assert_eq!(effects(&told(&mut brain, &mut source, 1, Some(3))), []);
    let outputs = brain.handle(Input::Tick, NOW + PROBATION);
    assert!(matches!(&effects(&outputs)[..], [Effect::Stage { .. }]), "{outputs:?}");
}

#[test]
fn a_sick_bundle_falls_back_without_a_download() {
    let mut source = Source::new();
    let mut brain = source.brain();
    told(&mut brain, &mut source, 1, None);
    brain.handle(ready(1), NOW);
    told(&mut brain, &mut source, 1, Some(2));
    brain.handle(ready(2), NOW);
    let sick = Input::Unhealthy { model: model(), reason: "does not load".into() };
    let outputs = brain.handle(sick, NOW);
    assert_eq!(effects(&outputs), [Effect::Activate(Installed { slot: SlotId::A, bundle: bundle(1) })]);
    assert_eq!(effects(&brain.handle(Input::Tick, NOW)), []);
}

/// A device whose disk and memory are told apart, so that it can crash between any two steps.
struct Device {
    source: Source,
    brain: Brain,
    disk: Snapshot,
    slots: BTreeMap<SlotId, Digest>,
    staging: Vec<(SlotId, Digest)>,
    released: BTreeSet<Digest>,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Something is published and arrives, perhaps; with its releases, perhaps.
    Publish {
        stable: u8,
        next: Option<u8>,
        arrives: bool,
        released: bool,
    },
    /// An older repository arrives again.
    Replay(usize),
    /// Staging that is under way ends, perhaps not well.
    EndStaging(u8),
    Unhealthy,
    Tick(u8),
}

impl Device {
    fn new() -> Self {
        let source = Source::new();
        let brain = source.brain();
        let disk = brain.snapshot().clone();
        let (slots, staging, released) = Default::default();
        Self { source, brain, disk, slots, staging, released, now: NOW }
    }

    fn input(&mut self, input: Input, crash_after: Option<usize>) {
        let outputs = self.brain.handle(input, self.now);
        for (index, output) in outputs.into_iter().enumerate() {
            if crash_after == Some(index) {
                return self.restart();
            }
            match output {
                Output::Persist => self.disk = self.brain.snapshot().clone(),
                Output::Effect { effect, .. } => self.carry_out(&effect),
                Output::Reason { .. } | Output::Rejected { .. } => {}
            }
        }
    }

    fn restart(&mut self) {
        self.staging.clear();
        self.brain = Brain::restore(self.disk.clone(), &device(), SlotPolicy::default()).unwrap();
        self.input(Input::Started, None);
    }

    fn carry_out(&mut self, effect: &Effect) {
        match *effect {
            Effect::Stage { slot, release } => {
                assert!(self.released.contains(&release.bundle), "staged without a release");
                let slots = &self.brain.snapshot().models[&model()].slots;
                assert_ne!(slots.active.map(|active| active.slot), Some(slot), "staged over what serves");
                self.slots.remove(&slot);
                self.staging = vec![(slot, release.bundle)];
            }
            Effect::Activate(installed) => {
                assert_eq!(
                    self.slots.get(&installed.slot),
                    Some(&installed.bundle),
                    "activated unverified bytes"
                );
            }
            Effect::Deactivate => {}
        }
    }

    fn end_staging(&mut self, how: u8, crash_after: Option<usize>) {
        let Some((slot, bundle)) = self.staging.pop() else { return };
        let outcome = match how {
            0 => StageOutcome::Unreachable("net".into()),
            1 => StageOutcome::Refused("bad".into()),
            _ => {
                self.slots.insert(slot, bundle);
                StageOutcome::Ready
            }
        };
        self.input(Input::Staged { model: model(), bundle, outcome }, crash_after);
    }

    fn event(&mut self, event: Event, crash_after: Option<usize>) {
        match event {
            Event::Publish { stable, next, arrives, released } => {
                self.source.publish(stable, next);
                if !arrives {
                    return;
                }
                let mut input = refreshed(&self.brain, self.source.latest(), self.now);
                if released {
                    self.released.extend([Some(stable), next].into_iter().flatten().map(bundle));
                } else {
                    input = unreleased(input);
                }
                self.input(input, crash_after);
            }
            Event::Replay(back) => {
                let before = self.brain.snapshot().clone();
                let known = self.brain.generation().unwrap_or(0) as usize;
                if let Some(old) = known.checked_sub(back + 2) {
                    let input = refreshed(&self.brain, &self.source.history[old], self.now);
                    self.brain.handle(input, self.now);
                    assert_eq!(*self.brain.snapshot(), before, "a replay changed something");
                }
            }
            Event::EndStaging(how) => self.end_staging(how, crash_after),
            Event::Unhealthy => {
                self.input(Input::Unhealthy { model: model(), reason: "sick".into() }, crash_after);
            }
            Event::Tick(ms) => {
                self.now = self.now + Duration::from_millis(u64::from(ms) * 40);
                self.input(Input::Tick, crash_after);
            }
        }
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let next = || proptest::option::of(1_u8..5);
    prop_oneof![
        3 => (1_u8..5, next(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(stable, next, arrives, released)| Event::Publish { stable, next, arrives, released }),
        1 => (0_usize..3).prop_map(Event::Replay),
        4 => (0_u8..6).prop_map(Event::EndStaging),
        1 => Just(Event::Unhealthy),
        3 => any::<u8>().prop_map(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_only_verified_bundles_serve_and_the_device_converges(
        history in proptest::collection::vec((any_event(), proptest::option::weighted(0.2, 0_usize..4)), 0..40)
    ) {
        let mut device = Device::new();
        for (event, crash_after) in history {
            device.event(event, crash_after);
        }
        // A bundle that nothing was ever held against arrives in the end, through crashes too.
        let last = Event::Publish { stable: 9, next: None, arrives: true, released: true };
        device.event(last, Some(1));
        let generation = device.source.repository.generation();
        for _ in 0..6 {
            let input = refreshed(&device.brain, device.source.latest(), device.now);
            device.input(input, None);
            device.released.insert(bundle(9));
            device.end_staging(9, None);
            device.now = device.now + Duration::from_secs(3600);
            device.input(Input::Tick, None);
        }
        prop_assert_eq!(device.brain.active(&model()), Some(bundle(9)));
        prop_assert_eq!(device.brain.generation(), Some(generation));
    }
}
