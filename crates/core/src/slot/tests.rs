//! The invariants of the slot machine, one by one and over random histories.

use proptest::prelude::*;

use super::*;

fn policy() -> SlotPolicy {
    SlotPolicy { probation_ms: Duration::from_millis(100), ..SlotPolicy::default() }
}

fn bundle(n: u8) -> Digest {
    Digest::of(&[n])
}

/// Feeds `inputs` at the given times and returns the last step.
fn feed(state: State, inputs: impl IntoIterator<Item = (i64, Input)>) -> Step {
    inputs
        .into_iter()
        .fold(Step::stay(state), |last, (now, input)| step(&policy(), last.state, input, Timestamp(now)))
}

fn ready(n: u8) -> Input {
    Input::Staged { bundle: bundle(n), outcome: StageOutcome::Ready }
}

fn wanted(n: u8) -> Input {
    Input::Desired(Some(bundle(n)))
}

fn running_one() -> State {
    feed(State::default(), [(0, wanted(1)), (1, ready(1))]).state
}

#[test]
fn the_first_bundle_is_staged_then_served() {
    let first = feed(State::default(), [(0, wanted(1))]);
    assert_eq!(first.effects, [Effect::Stage { slot: SlotId::A, bundle: bundle(1) }]);
    let second = feed(first.state, [(1, ready(1))]);
    let installed = Installed { slot: SlotId::A, bundle: bundle(1) };
    assert_eq!(second.effects, [Effect::Activate(installed)]);
    assert_eq!(second.state.active, Some(installed));
}

#[test]
fn an_update_goes_to_the_other_slot_and_is_committed_after_probation() {
    let updated = feed(running_one(), [(10, wanted(2)), (20, ready(2))]).state;
    assert_eq!(updated.active, Some(Installed { slot: SlotId::B, bundle: bundle(2) }));
    assert_eq!(updated.phase, Phase::Probation { until_ms: Timestamp(120), starts: 0 });
    assert_eq!(feed(updated, [(120, Input::Tick)]).state.phase, Phase::Idle);
}

#[test]
fn a_bad_bundle_falls_back_and_is_not_fetched_again() {
    let unhealthy = Input::Unhealthy { reason: "does not load".into() };
    let fallen = feed(running_one(), [(10, wanted(2)), (20, ready(2)), (30, unhealthy)]);
    assert_eq!(fallen.effects, [Effect::Activate(Installed { slot: SlotId::A, bundle: bundle(1) })]);
    assert_eq!(feed(fallen.state, [(40, wanted(2))]).effects, []);
}

#[test]
fn a_failed_golden_test_leaves_the_active_bundle_alone() {
    let refused = StageOutcome::Refused("answers differ".into());
    let after =
        feed(running_one(), [(10, wanted(2)), (20, Input::Staged { bundle: bundle(2), outcome: refused })]);
    assert_eq!(after.effects, []);
    assert_eq!(after.state.active, running_one().active);
    assert_eq!(after.state.refusal(bundle(2)), Some("answers differ"));
}

#[test]
fn a_failed_fetch_is_tried_again_later_and_later() {
    let unreachable =
        || Input::Staged { bundle: bundle(2), outcome: StageOutcome::Unreachable("no route".into()) };
    let once = feed(running_one(), [(0, wanted(2)), (0, unreachable())]).state;
    assert_eq!(feed(once.clone(), [(999, Input::Tick)]).effects, []);
    let again = feed(once, [(1000, Input::Tick)]);
    assert_eq!(again.effects.len(), 1);
    let twice = feed(again.state, [(1000, unreachable())]).state;
    assert_eq!(feed(twice, [(2999, Input::Tick)]).effects, []);
}

#[test]
fn a_bundle_without_room_waits_and_only_a_way_back_that_is_not_needed_gives_way() {
    let full = Input::Staged { bundle: bundle(2), outcome: StageOutcome::NoRoom("the disk is full".into()) };
    let waits = feed(running_one(), [(10, wanted(2)), (20, full)]).state;
    assert!(waits.refused.is_empty() && waits.active == running_one().active);
    let again = feed(waits, [(20 + 1000, Input::Tick)]);
    assert_eq!(again.effects, [Effect::Stage { slot: SlotId::B, bundle: bundle(2) }]);
    let probation = feed(again.state, [(1100, ready(2))]).state;
    let asked = feed(probation.clone(), [(1110, Input::MakeRoom)]).state;
    assert_eq!(asked, probation, "the way back is needed");
    let asked = feed(probation, [(1300, Input::Tick), (1310, Input::MakeRoom)]).state;
    assert_eq!(asked.previous, None);
    assert_eq!(asked.active.map(|active| active.bundle), Some(bundle(2)));
}

fn damaged(n: u8) -> Input {
    Input::Staged { bundle: bundle(n), outcome: StageOutcome::Damaged("its digest is another".into()) }
}

#[test]
fn damaged_bytes_are_tried_again_a_few_times_then_rarely_but_never_refused() {
    let (mut state, mut now, mut waits) = (feed(running_one(), [(0, wanted(2))]).state, 0, Vec::new());
    for _ in 0..9 {
        state = feed(state, [(now, damaged(2))]).state;
        let Phase::Staging { retry_at_ms: Some(at), .. } = state.phase else { panic!("{:?}", state.phase) };
        assert_eq!(feed(state.clone(), [(at.0 - 1, Input::Tick), (at.0 - 1, wanted(2))]).effects, []);
        waits.push((at.0 - now) / 1000);
        now = at.0;
        let again = feed(state, [(now, Input::Tick)]);
        assert_eq!(again.effects.len(), 1, "fetched again");
        state = again.state;
    }
    assert_eq!(waits, [1, 2, 4, 3600, 1, 2, 4, 3600, 1]);
    assert_eq!(state.refused, []);
    assert_eq!(feed(state, [(now, ready(2))]).state.active.map(|active| active.bundle), Some(bundle(2)));
}

#[test]
fn a_bundle_that_rots_on_the_disk_is_left_but_may_come_back() {
    let rot = || Input::Damaged { reason: "its digest is another".into() };
    let updated = feed(running_one(), [(10, wanted(2)), (20, ready(2)), (200, Input::Tick)]).state;
    let fallen = feed(updated, [(300, rot())]);
    assert_eq!(fallen.effects, [Effect::Activate(Installed { slot: SlotId::A, bundle: bundle(1) })]);
    let again = feed(fallen.state, [(310, wanted(2))]);
    assert_eq!(again.effects, [Effect::Stage { slot: SlotId::B, bundle: bundle(2) }]);
    let alone = feed(running_one(), [(10, rot())]);
    assert_eq!(alone.effects, [Effect::Deactivate]);
    assert_eq!(feed(alone.state, [(20, wanted(1))]).effects.len(), 1);
}

#[test]
fn ten_thousand_restarts_outside_probation_never_fall_back() {
    let updated = feed(running_one(), [(10, wanted(2)), (20, ready(2)), (200, Input::Tick)]).state;
    let serving = updated.active;
    let staging = feed(updated.clone(), [(300, wanted(3))]).state;
    for state in [updated, staging] {
        let mut state = state;
        for start in 0..10_000 {
            let started = feed(state, [(1000 + start, Input::Started)]);
            assert!(started.effects.contains(&Effect::Activate(serving.expect("one serves"))));
            state = started.state;
        }
        assert_eq!((state.active, state.refused), (serving, Vec::new()));
    }
}

#[test]
fn a_clock_set_back_stops_neither_a_retry_nor_a_probation() {
    let late = 1_000_000_000;
    let unreachable = Input::Staged { bundle: bundle(2), outcome: StageOutcome::Unreachable("net".into()) };
    let waiting = feed(running_one(), [(late, wanted(2)), (late, unreachable)]).state;
    assert_eq!(feed(waiting, [(0, Input::Tick)]).effects.len(), 1);
    let probation = feed(running_one(), [(late, wanted(2)), (late, ready(2))]).state;
    let again = feed(probation, [(0, Input::Tick)]).state;
    assert_eq!(again.phase, Phase::Probation { until_ms: Timestamp(100), starts: 0 });
    assert_eq!(feed(again, [(100, Input::Tick)]).state.phase, Phase::Idle);
}

#[test]
fn a_healthy_device_never_falls_back_however_often_it_restarts() {
    let committed = feed(running_one(), [(10, wanted(2)), (20, ready(2)), (120, Input::Tick)]).state;
    let restarts = (0..10_000).map(|i| (200 + i, Input::Started));
    assert_eq!(feed(committed.clone(), restarts).state, committed);
}

#[test]
fn too_many_starts_in_probation_fall_back() {
    let probation = feed(running_one(), [(10, wanted(2)), (20, ready(2))]).state;
    let fallen = feed(probation, (0..4).map(|i| (30 + i, Input::Started)));
    assert_eq!(fallen.state.active.map(|active| active.bundle), Some(bundle(1)));
}

#[test]
fn rolling_back_needs_no_download() {
    let updated = feed(running_one(), [(10, wanted(2)), (20, ready(2))]).state;
    let back = feed(updated, [(30, wanted(1))]);
    assert_eq!(back.effects, [Effect::Activate(Installed { slot: SlotId::A, bundle: bundle(1) })]);
}

fn any_input() -> impl Strategy<Value = Input> {
    let digest = || (1_u8..5).prop_map(bundle);
    prop_oneof![
        4 => proptest::option::of(digest()).prop_map(Input::Desired),
        4 => (digest(), 0..5).prop_map(|(bundle, kind)| Input::Staged {
            bundle,
            outcome: match kind {
                0 => StageOutcome::Ready,
                3 => StageOutcome::Damaged("rot".into()),
                4 => StageOutcome::NoRoom("full".into()),
                1 => StageOutcome::Unreachable("net".into()),
                _ => StageOutcome::Refused("bad".into()),
            },
        }),
        1 => Just(Input::Unhealthy { reason: "sick".into() }),
        1 => Just(Input::Damaged { reason: "rot".into() }),
        1 => Just(Input::MakeRoom),
        2 => Just(Input::Started),
        3 => Just(Input::Tick),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_slots_stay_sound(inputs in proptest::collection::vec((0_i64..50, any_input()), 0..60)) {
        let mut now = 0;
        let mut state = State::default();
        let mut verified: Vec<Installed> = Vec::new();
        for (wait, input) in inputs {
            now += wait;
            let passed = match (&input, &state.phase) {
                (Input::Staged { bundle, outcome: StageOutcome::Ready }, Phase::Staging { slot, bundle: wanted, .. })
                    if bundle == wanted => Some(Installed { slot: *slot, bundle: *bundle }),
                _ => None,
            };
            verified.extend(passed);
            let next = step(&policy(), state.clone(), input, Timestamp(now));
            for effect in &next.effects {
                match effect {
                    Effect::Activate(installed) => prop_assert!(verified.contains(installed), "unverified bundle activated"),
                    Effect::Stage { slot, .. } => {
                        prop_assert_ne!(Some(*slot), next.state.active.map(|active| active.slot), "active slot overwritten");
                        let in_probation = matches!(state.phase, Phase::Probation { .. });
                        prop_assert!(!in_probation, "the way back was overwritten in probation");
                        verified.retain(|installed| installed.slot != *slot);
                    }
                    Effect::Deactivate => prop_assert!(next.state.active.is_none()),
                }
            }
            let (active, previous) = (next.state.active, next.state.previous);
            prop_assert!(active.is_none() || active.map(|a| a.slot) != previous.map(|p| p.slot));
            prop_assert!(next.state.refused.len() <= REFUSED_MAX);
            let text = serde_json::to_string(&next.state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &next.state);
            state = next.state;
        }
    }
}
