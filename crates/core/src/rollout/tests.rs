//! What the planner says, case by case, and what holds of it whatever happens.

use std::time::Duration;

use super::*;
use crate::RolloutId;

const NEW: &[u8] = b"new";

fn device(n: usize) -> DeviceObserved {
    let device = DeviceId::new(format!("d{n}")).unwrap();
    let bucket = Bucket::of(&RolloutId::new("r").unwrap(), &device);
    DeviceObserved { device, bucket, seen_at_ms: Timestamp(0), running_since_ms: None, hardware: None, failure: None }
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
