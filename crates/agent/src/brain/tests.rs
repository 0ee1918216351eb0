//! The brain's promises, one by one and over random histories with crashes, lost and replayed messages.

use std::collections::BTreeSet;

use edgeward_core::desired::{DESIRED_SCHEMA, Wave};
use edgeward_core::manifest::RELEASE_SCHEMA;
use edgeward_core::{Bucket, Envelope, RolloutId, RunId};
use edgeward_trust::publish::{sign_desired, sign_release};
use edgeward_trust::root::{RoleKeys, Roles};
use edgeward_trust::{Root, Signer as _, SigningKey};
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);
const PROBATION: Duration = Duration::from_millis(50);

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn root() -> Root {
    let publics: Vec<_> = (1..=3).map(|n| key(n).public_key()).collect();
    let role = |n: usize| RoleKeys::any_of(&publics[n..=n]);
    Root::new(1, publics.clone(), Roles { releases: role(0), rollouts: role(1), ledger: role(2) }, None)
        .unwrap()
}

fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

fn device() -> DeviceId {
    DeviceId::new("robot-1").unwrap()
}

fn bundle(n: u8) -> Digest {
    Digest::of(&[n])
}

fn brain() -> Brain {
    Brain::new(device(), Believer::new(root(), Timestamp(0)).unwrap(), SlotPolicy::default())
}

fn release(n: u8, signer: u8) -> Envelope {
    let release = Release {
        schema: RELEASE_SCHEMA.to_owned(),
        model: model(),
        bundle: bundle(n),
        manifest_size_bytes: 100,
        run: RunId::new("run-1").unwrap(),
        issued_at_ms: Timestamp(1),
    };
    sign_release(&release, &[&key(signer)]).unwrap()
}

fn desired(generation: u64, stable: u8, next: Option<u8>) -> Envelope {
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
    let desired = Desired {
        schema: DESIRED_SCHEMA.to_owned(),
        generation,
        issued_at_ms: Timestamp(1),
        expires_at_ms: Timestamp(NOW.0 * 1000),
        models: BTreeMap::from([(model(), assignment)]),
    };
    sign_desired(&desired, &[&key(2)]).unwrap()
}

fn document(generation: u64, stable: u8, next: Option<u8>) -> Input {
    let releases = [Some(stable), next].into_iter().flatten().map(|n| release(n, 1)).collect();
    Input::Document(Box::new(DesiredDocument { desired: desired(generation, stable, next), releases }))
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
    let mut brain = brain();
    let outputs = brain.handle(document(1, 1, None), NOW);
    assert_eq!(outputs[0], Output::Persist);
    let [Effect::Stage { slot: SlotId::A, release }] = &effects(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((release.bundle, release.manifest_size_bytes), (bundle(1), 100));
    assert!(brain.handle(document(1, 1, None), NOW).is_empty());
    let outputs = brain.handle(ready(1), NOW);
    assert_eq!(effects(&outputs), [Effect::Activate(Installed { slot: SlotId::A, bundle: bundle(1) })]);
    assert_eq!(brain.active(&model()), Some(bundle(1)));
    assert_eq!(brain.snapshot().models[&model()].active_since_ms, Some(NOW));
}

#[test]
fn a_bundle_without_a_valid_release_is_not_staged_and_not_banned() {
    let mut brain = brain();
    for releases in [Vec::new(), vec![release(1, 2)], vec![release(2, 1)]] {
        let unreleased = DesiredDocument { desired: desired(1, 1, None), releases };
        let outputs = brain.handle(Input::Document(Box::new(unreleased)), NOW);
        assert_eq!(effects(&outputs), []);
    }
    assert!(brain.reasons(&model())[0].contains("no valid release"));
    assert_eq!(effects(&brain.handle(document(1, 1, None), NOW)).len(), 1);
}

#[test]
fn an_older_document_is_rejected_and_changes_nothing() {
    let mut brain = brain();
    brain.handle(document(7, 1, None), NOW);
    let before = brain.snapshot().clone();
    let outputs = brain.handle(document(6, 2, None), NOW);
    assert!(matches!(outputs.last(), Some(Output::Rejected { .. })));
    assert!(reasons(&outputs).contains("older than 7"), "{outputs:?}");
    assert_eq!(*brain.snapshot(), before);
}

#[test]
fn a_document_signed_by_another_role_is_rejected() {
    let mut brain = brain();
    let mut forged = DesiredDocument { desired: desired(1, 1, None), releases: vec![release(1, 1)] };
    forged.desired.signatures = release(1, 1).signatures;
    let outputs = brain.handle(Input::Document(Box::new(forged)), NOW);
    assert_eq!(effects(&outputs), []);
    assert!(matches!(outputs.last(), Some(Output::Rejected { .. })));
}

#[test]
fn an_expired_wish_is_not_acted_on() {
    let mut brain = brain();
    brain.handle(document(1, 1, None), NOW);
    brain.handle(ready(1), NOW);
    brain.handle(document(2, 1, Some(2)), NOW);
    let late = Timestamp(NOW.0 * 2000);
    let outputs = brain.handle(Input::Tick, late);
    assert!(reasons(&outputs).contains("expired"), "{outputs:?}");
    assert_eq!(brain.active(&model()), Some(bundle(1)));
}

#[test]
fn staging_is_taken_up_again_after_a_restart() {
    let mut first = brain();
    first.handle(document(1, 1, None), NOW);
    let json = serde_json::to_vec(first.snapshot()).unwrap();
    let snapshot: Snapshot = serde_json::from_slice(&json).unwrap();
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
    let mut brain = brain();
    brain.handle(document(1, 1, None), NOW);
    brain.handle(ready(1), NOW);
    brain.handle(document(2, 1, Some(2)), NOW);
    brain.handle(ready(2), NOW);
    assert_eq!(effects(&brain.handle(document(3, 1, Some(3)), NOW)), []);
    let outputs = brain.handle(Input::Tick, NOW + PROBATION);
    assert!(matches!(&effects(&outputs)[..], [Effect::Stage { .. }]), "{outputs:?}");
}

#[test]
fn a_sick_bundle_falls_back_without_a_download() {
    let mut brain = brain();
    brain.handle(document(1, 1, None), NOW);
    brain.handle(ready(1), NOW);
    brain.handle(document(2, 1, Some(2)), NOW);
    brain.handle(ready(2), NOW);
    let sick = Input::Unhealthy { model: model(), reason: "does not load".into() };
    let outputs = brain.handle(sick, NOW);
    assert_eq!(effects(&outputs), [Effect::Activate(Installed { slot: SlotId::A, bundle: bundle(1) })]);
    assert_eq!(effects(&brain.handle(Input::Tick, NOW)), []);
}

/// A device whose disk and memory are told apart, so that it can crash between any two steps.
struct Device {
    brain: Brain,
    disk: Snapshot,
    slots: BTreeMap<SlotId, Digest>,
    staging: Vec<(SlotId, Digest)>,
    released: BTreeSet<Digest>,
    generation: u64,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A newer document is published and arrives, perhaps; with its releases, perhaps.
    Publish {
        stable: u8,
        next: Option<u8>,
        arrives: bool,
        released: bool,
    },
    /// An older document arrives again.
    Replay(u64),
    /// Staging that is under way ends, perhaps not well.
    EndStaging(u8),
    Unhealthy,
    Tick(u8),
}

impl Device {
    fn new() -> Self {
        let brain = brain();
        let disk = brain.snapshot().clone();
        let (slots, staging, released) = Default::default();
        Self { brain, disk, slots, staging, released, generation: 0, now: NOW }
    }

    fn input(&mut self, input: Input, crash_after: Option<usize>) {
        let outputs = self.brain.handle(input, self.now);
        for (index, output) in outputs.into_iter().enumerate() {
            if crash_after == Some(index) {
                return self.restart();
            }
            match output {
                Output::Persist => self.disk = self.brain.snapshot().clone(),
                Output::Effect { effect, .. } => self.carry_out(effect),
                Output::Reason { .. } | Output::Rejected { .. } => {}
            }
        }
    }

    fn restart(&mut self) {
        self.staging.clear();
        self.brain = Brain::restore(self.disk.clone(), &device(), SlotPolicy::default()).unwrap();
        self.input(Input::Started, None);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
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
                self.generation += 1;
                let releases: Vec<u8> =
                    [Some(stable), next].into_iter().flatten().filter(|_| released).collect();
                if arrives {
                    self.released.extend(releases.iter().map(|n| bundle(*n)));
                    let desired = desired(self.generation, stable, next);
                    let releases = releases.into_iter().map(|n| release(n, 1)).collect();
                    let document = DesiredDocument { desired, releases };
                    self.input(Input::Document(Box::new(document)), crash_after);
                }
            }
            Event::Replay(back) => {
                let before = self.brain.snapshot().clone();
                let known = before.believer.last().map_or(0, |last| last.generation);
                if let Some(old) = known.checked_sub(back + 1).filter(|old| *old > 0) {
                    self.brain.handle(document(old, 4, None), self.now);
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
        1 => (0_u64..3).prop_map(Event::Replay),
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
        let generation = device.generation;
        for _ in 0..6 {
            device.input(document(generation, 9, None), None);
            device.end_staging(9, None);
            device.now = device.now + Duration::from_secs(3600);
            device.input(Input::Tick, None);
        }
        prop_assert_eq!(device.brain.active(&model()), Some(bundle(9)));
        prop_assert_eq!(device.brain.generation(), Some(generation));
    }
}
