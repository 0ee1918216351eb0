//! What the planner says, case by case, and what holds of it whatever happens.

use std::time::Duration;

use super::*;
use crate::RolloutId;

const NEW: &[u8] = b"new";

fn device(n: usize) -> DeviceObserved {
    let device = DeviceId::new(format!("d{n}")).unwrap();
    let bucket = Bucket::of(&RolloutId::new("r").unwrap(), &device);
    DeviceObserved {
        device,
        bucket,
        seen_at_ms: Timestamp(0),
        running_since_ms: None,
        hardware: None,
        failure: None,
    }
}

fn observed(fleet: usize) -> Observed {
    Observed::new(Digest::of(NEW), None, (0..fleet).map(device).collect())
}

fn policy() -> RolloutPolicy {
    RolloutPolicy {
        waves: vec![WaveSize::Devices(1), WaveSize::Percent(50)],
        bake_ms: Duration::from_millis(10),
        ..RolloutPolicy::default()
    }
}

/// Opens what the plan says and lets every reached device run it.
fn carry_out(observed: &mut Observed, decision: &Decision, now: Timestamp) -> usize {
    let Decision::Advance { index, limit } = *decision else { panic!("{decision:?}") };
    observed.wave = Some(OpenWave { index, limit, since_ms: now });
    for seen in observed.devices.iter_mut().filter(|seen| seen.bucket <= limit) {
        seen.running_since_ms.get_or_insert(now);
    }
    observed.devices.iter().filter(|seen| seen.bucket <= limit).count()
}

#[test]
fn waves_grow_to_the_whole_fleet() {
    let mut fleet = observed(10);
    let mut reached = Vec::new();
    for round in 0..3 {
        let now = Timestamp(round * 100);
        let plan = plan(&policy(), &fleet, now);
        reached.push(carry_out(&mut fleet, &plan.decision, now));
    }
    assert_eq!(reached, [1, 5, 10]);
    assert_eq!(plan(&policy(), &fleet, Timestamp(300)).decision, Decision::Complete);
}

#[test]
fn a_wave_waits_for_its_devices_and_its_bake_time() {
    let mut fleet = observed(10);
    let limit = Bucket::ALL;
    fleet.wave = Some(OpenWave { index: 2, limit, since_ms: Timestamp(0) });
    assert_eq!(plan(&policy(), &fleet, Timestamp(50)).reasons, ["wave 3: 0 of 10 devices run it"]);
    carry_out(&mut fleet, &Decision::Advance { index: 2, limit }, Timestamp(50));
    assert_eq!(plan(&policy(), &fleet, Timestamp(59)).decision, Decision::Hold);
    assert_eq!(plan(&policy(), &fleet, Timestamp(60)).decision, Decision::Complete);
}

#[test]
fn a_device_that_is_away_is_not_waited_for() {
    let mut fleet = observed(2);
    carry_out(&mut fleet, &Decision::Advance { index: 1, limit: Bucket::ALL }, Timestamp(0));
    fleet.devices[0].running_since_ms = None;
    let later = Timestamp(0) + policy().offline_ms;
    fleet.devices[1].seen_at_ms = later;
    assert_eq!(plan(&policy(), &fleet, later).decision, Decision::Complete);
}

#[test]
fn one_failure_takes_it_back() {
    let mut fleet = observed(10);
    fleet.devices[3].failure = Some("golden test: answers differ".into());
    let plan = plan(&policy(), &fleet, Timestamp(0));
    assert_eq!(plan.decision, Decision::RollBack);
    assert_eq!(plan.reasons, ["d3: golden test: answers differ"]);
}

#[test]
fn an_empty_fleet_is_done_at_once() {
    let mut fleet = observed(0);
    let first = plan(&policy(), &fleet, Timestamp(0));
    carry_out(&mut fleet, &first.decision, Timestamp(0));
    assert_eq!(plan(&policy(), &fleet, Timestamp(10)).decision, Decision::Complete);
}

#[test]
fn wave_sizes_read_as_people_write_them() {
    let read = |text: &str| serde_json::from_str::<WaveSize>(text).ok();
    assert_eq!(read("3"), Some(WaveSize::Devices(3)));
    assert_eq!(read("\"10%\""), Some(WaveSize::Percent(10)));
    for bad in ["0", "\"0%\"", "\"101%\"", "\"ten\"", "-1", "null"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

/// A fleet whose first wave is open, reached and baked at 100.
fn baked(fleet: usize) -> Observed {
    let mut fleet = observed(fleet);
    let first = plan(&policy(), &fleet, Timestamp(0));
    carry_out(&mut fleet, &first.decision, Timestamp(0));
    fleet
}

fn accuracy(n: u64, log10_worse: f64, log10_fine: f64) -> GateObserved {
    GateObserved {
        gate: GateKind::Accuracy,
        newcomer: Tally { n, bad: n / 2 },
        incumbent: Tally { n: 10 * n, bad: n / 2 },
        log10_worse,
        log10_fine: Some(log10_fine),
        more: Some(40),
    }
}

fn holds(policy: &RolloutPolicy, observed: &Observed, now: i64, because: &str) {
    let plan = plan(policy, observed, Timestamp(now));
    assert_eq!(plan.decision, Decision::Hold, "{:?}", plan.reasons);
    assert!(plan.reasons[0].contains(because), "{:?} lacks '{because}'", plan.reasons);
}

#[test]
fn nothing_opens_before_its_time_outside_the_window_without_approval_or_while_paused() {
    let now = 100;
    let scheduled = Observed { start_at_ms: Some(Timestamp(5_100)), ..observed(10) };
    holds(&policy(), &scheduled, now, "starts in 5 s");
    assert!(matches!(plan(&policy(), &scheduled, Timestamp(5_100)).decision, Decision::Advance { .. }));
    let at_noon = RolloutPolicy { window: Some("12:00-13:00".parse().unwrap()), ..policy() };
    holds(&at_noon, &observed(10), now, "waits for the window 12:00-13:00 (UTC)");
    let noon = Timestamp(12 * 3_600_000);
    assert!(matches!(plan(&at_noon, &observed(10), noon).decision, Decision::Advance { .. }));
    for (approval, index, waits) in [
        (Approval::First, 0, true),
        (Approval::First, 1, false),
        (Approval::Each, 0, true),
        (Approval::Each, 1, true),
    ] {
        let policy = RolloutPolicy { approval, ..policy() };
        let mut fleet = if index == 0 { observed(10) } else { baked(10) };
        assert_eq!(next_wave(&policy, &fleet), Some(index));
        if waits {
            holds(&policy, &fleet, now, &format!("wave {}: waits for approval", index + 1));
        }
        fleet.waves_approved = index + 1;
        assert!(matches!(plan(&policy, &fleet, Timestamp(now)).decision, Decision::Advance { .. }));
    }
    let mut paused = baked(10);
    paused.paused = true;
    paused.devices[3].failure = Some("golden test".into());
    holds(&policy(), &paused, now, "paused");
}

#[test]
fn a_gate_that_fails_takes_it_back_or_pauses_it() {
    let mut fleet = baked(10);
    let bar = policy().gates.log10_fail();
    fleet.gates = vec![accuracy(40, bar - 0.1, 0.0)];
    assert!(matches!(plan(&policy(), &fleet, Timestamp(100)).decision, Decision::Advance { .. }));
    fleet.gates = vec![accuracy(40, bar, 0.0)];
    let failed = plan(&policy(), &fleet, Timestamp(100));
    assert_eq!(failed.decision, Decision::RollBack);
    assert_eq!(
        failed.reasons,
        ["accuracy: fail: 20 of 40 labelled answers wrong, 20 of 400 with the one before \
          (evidence 10^2.6 of more than 2 % worse, threshold 10^2.6)"]
    );
    let pausing = RolloutPolicy { on_fail: OnFail::Pause, ..policy() };
    assert_eq!(plan(&pausing, &fleet, Timestamp(100)).decision, Decision::Pause);
}

#[test]
fn a_wave_may_wait_for_labels_or_for_proof_but_a_first_model_for_neither() {
    let gates = Gates { labels_min: 50, ..Gates::default() };
    let counting = RolloutPolicy { gates, ..policy() };
    let proving = RolloutPolicy { gates: Gates { proof: true, ..Gates::default() }, ..policy() };
    let mut fleet = baked(10);
    for policy in [&counting, &proving] {
        assert!(matches!(plan(policy, &fleet, Timestamp(100)).decision, Decision::Advance { .. }));
    }
    fleet.gates = vec![accuracy(49, 0.0, 1.9)];
    holds(&counting, &fleet, 100, "not enough data yet: 49 of 50 labels");
    holds(&proving, &fleet, 100, "not enough data yet (needs about 40 more labelled answers)");
    fleet.gates = vec![accuracy(50, 0.0, 2.0)];
    for policy in [&counting, &proving] {
        assert!(matches!(plan(policy, &fleet, Timestamp(100)).decision, Decision::Advance { .. }));
    }
}

#[test]
fn failures_name_the_hardware_and_not_a_thousand_devices() {
    let mut fleet = baked(100);
    for seen in &mut fleet.devices {
        seen.failure = Some("no form is for it".into());
        seen.hardware = Some("jetson".into());
    }
    let failed = plan(&policy(), &fleet, Timestamp(0));
    assert_eq!((failed.reasons[0].as_str(), failed.reasons.len()), ("d0 (jetson): no form is for it", 21));
    assert_eq!(failed.reasons[20], "and 80 more");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// What may happen between two looks of the planner.
    #[derive(Clone, Debug)]
    enum Happening {
        Follow(usize),
        Fail(usize),
        Silence(usize),
        Approve,
        Pass(u16),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            6 => (0..20usize).prop_map(Happening::Follow),
            1 => (0..20usize).prop_map(Happening::Fail),
            1 => (0..20usize).prop_map(Happening::Silence),
            2 => Just(Happening::Approve),
            4 => (1..400u16).prop_map(Happening::Pass),
        ]
    }

    /// Looks, and carries out what is asked for; how often it was asked for something, and what became of it.
    fn look(policy: &RolloutPolicy, fleet: &mut Observed, now: Timestamp) -> (usize, Option<Decision>) {
        for steps in 0.. {
            match plan(policy, fleet, now).decision {
                Decision::Hold => return (steps, None),
                Decision::Advance { index, limit } => {
                    let before = fleet.wave;
                    fleet.wave = Some(OpenWave { index, limit, since_ms: now });
                    assert!(
                        before.is_none_or(|open| open.index < index && open.limit < limit),
                        "waves only widen"
                    );
                    assert!(steps < 10, "it comes to rest");
                }
                end => return (steps, Some(end)),
            }
        }
        unreachable!("the loop returns")
    }

    proptest! {
        #[test]
        fn whatever_happens_waves_only_widen_and_asking_again_asks_for_nothing(
            size in 0..20usize,
            each in any::<bool>(),
            happenings in prop::collection::vec(happening(), 0..60),
        ) {
            let approval = if each { Approval::Each } else { Approval::None };
            let policy = RolloutPolicy { approval, failures_max: 1, ..policy() };
            let mut fleet = observed(size);
            let mut now = Timestamp(0);
            for happening in happenings {
                match happening {
                    Happening::Follow(n) => if let Some(seen) = fleet.devices.get_mut(n) {
                        seen.seen_at_ms = now;
                        if fleet.wave.is_some_and(|open| seen.bucket <= open.limit) {
                            seen.running_since_ms.get_or_insert(now);
                        }
                    },
                    Happening::Fail(n) => if let Some(seen) = fleet.devices.get_mut(n) {
                        seen.failure = Some("broken".into());
                        seen.running_since_ms = None;
                    },
                    Happening::Silence(n) => if let Some(seen) = fleet.devices.get_mut(n) {
                        seen.seen_at_ms = Timestamp(-1_000_000);
                    },
                    Happening::Approve => fleet.waves_approved = fleet.wave.map_or(1, |open| open.index + 2),
                    Happening::Pass(ms) => now = now + Duration::from_millis(ms.into()),
                }
                let failures = fleet.devices.iter().filter(|seen| seen.failure.is_some()).count();
                let before = fleet.wave;
                let (_, end) = look(&policy, &mut fleet, now);
                prop_assert_eq!(failures > 1, end == Some(Decision::RollBack));
                if each && fleet.wave != before {
                    prop_assert!(fleet.waves_approved > fleet.wave.map_or(0, |open| open.index));
                }
                match end {
                    // Asked again, as after a crash before the end was written down, it says the same.
                    Some(end) => {
                        prop_assert_eq!(plan(&policy, &fleet, now).decision, end);
                        break;
                    }
                    None => prop_assert_eq!(look(&policy, &mut fleet, now), (0, None)),
                }
            }
        }
    }
}
