//! Groups and pins: a rollout to a group reaches its members only, follows labels, and leaves pinned devices alone.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_core::event::{Project, RolloutOutcome};
use edgeward_core::rollout::{RolloutPolicy, WaveSize};
use edgeward_core::{DeviceId, Digest, Event, GroupName};

use super::reconcilers::{bundle, enrolled};
use super::support::{Plant, model, project, report};
use crate::reconcile::rollouts;

const DEVICES: [&str; 4] = ["a", "b", "c", "d"];

fn lab() -> GroupName {
    GroupName::new("lab").unwrap()
}

fn by() -> String {
    "operator".to_owned()
}

fn labelled(device: &str, key: &str, value: Option<&str>) -> Event {
    let labels = BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
    Event::DeviceLabelled { device: DeviceId::new(device).unwrap(), labels, by: by() }
}

/// Everybody does what they should until nothing moves any more.
fn settle(plant: &Plant) {
    for _ in 0..8 {
        plant.runtime.block_on(rollouts::reconcile(&plant.app)).unwrap();
        plant.pass(Duration::from_secs(20));
        let desired = plant.desired();
        for name in DEVICES {
            let device = DeviceId::new(name).unwrap();
            let assignment = desired.as_ref().and_then(|desired| desired.models.get(&model()));
            let mut said = report(
                u64::try_from(plant.app.now().0).unwrap(),
                assignment.and_then(|assignment| assignment.bundle_for(&device)),
            );
            said.at_ms = plant.app.now();
            said.facts = BTreeMap::from([(
                "hardware".to_owned(),
                if name < "c" { "jetson" } else { "pi" }.to_owned(),
            )]);
            plant.hears(&device, &said);
        }
    }
}

fn running(plant: &Plant) -> [Option<Digest>; 4] {
    let desired = plant.desired().unwrap();
    DEVICES.map(|name| desired.models[&model()].bundle_for(&DeviceId::new(name).unwrap()))
}

/// Version 1 everywhere; what is rolled out next is for `group`.
fn plant(group: Option<GroupName>) -> Plant {
    let plant = Plant::still();
    let rollout = RolloutPolicy { waves: vec![WaveSize::Percent(50)], ..project().rollout };
    plant.append(&[Event::ProjectRegistered(Project { rollout: rollout.clone(), ..project() })]);
    plant.append(&DEVICES.map(enrolled));
    plant.append(&plant.version(1, "run-1"));
    settle(&plant);
    assert_eq!(running(&plant), [Some(bundle(1)); 4]);
    plant.append(&[Event::ProjectRegistered(Project {
        rollout: RolloutPolicy { group, ..rollout },
        ..project()
    })]);
    plant
}

#[test]
fn a_rollout_to_a_group_reaches_its_members_and_follows_their_labels() {
    let plant = plant(Some(lab()));
    let expression = "hardware=jetson and not canary".parse().unwrap();
    plant.append(&[Event::GroupDefined { group: lab(), expression, by: by() }]);
    plant.append(&plant.version(2, "run-2"));
    settle(&plant);
    assert_eq!(plant.rollouts()[0].outcome, Some(RolloutOutcome::Completed), "{:?}", plant.rollouts()[0]);
    let (old, new) = (Some(bundle(1)), Some(bundle(2)));
    assert_eq!(running(&plant), [new, new, old, old]);
    let champion = plant.look(|view| view.aliased(&model(), "champion")).unwrap();
    assert_eq!(champion.version, 1, "what a group runs is no champion");
    plant.append(&[labelled("a", "canary", Some("true"))]);
    settle(&plant);
    assert_eq!(running(&plant), [old, new, old, old], "out of the group");
    let plant = plant.crash();
    plant.append(&[labelled("a", "canary", None)]);
    settle(&plant);
    assert_eq!(running(&plant), [new, new, old, old], "and in again");
    plant.app.store.rebuild().unwrap();
    settle(&plant);
    assert_eq!(running(&plant), [new, new, old, old], "the ledger knows it all");
    plant.append(&[Event::GroupRemoved { group: lab(), by: by() }]);
    settle(&plant);
    assert_eq!(running(&plant), [old; 4]);
}

#[test]
fn a_rollout_to_everybody_ends_what_groups_run() {
    let plant = plant(Some(lab()));
    let expression = "hardware=pi".parse().unwrap();
    plant.append(&[Event::GroupDefined { group: lab(), expression, by: by() }]);
    plant.append(&plant.version(2, "run-2"));
    settle(&plant);
    assert_eq!(running(&plant), [bundle(1), bundle(1), bundle(2), bundle(2)].map(Some));
    plant.append(&[Event::ProjectRegistered(project())]);
    plant.append(&plant.version(3, "run-3"));
    settle(&plant);
    assert_eq!(running(&plant), [Some(bundle(3)); 4]);
    assert!(plant.desired().unwrap().models[&model()].groups.is_empty());
}

#[test]
fn a_pinned_device_stays_and_is_not_waited_for() {
    let plant = plant(None);
    let device = DeviceId::new("b").unwrap();
    plant.append(&[Event::DevicePinned {
        device: device.clone(),
        model: model(),
        bundle: bundle(1),
        by: by(),
    }]);
    plant.append(&plant.version(2, "run-2"));
    settle(&plant);
    assert_eq!(plant.rollouts()[0].outcome, Some(RolloutOutcome::Completed));
    let (old, new) = (Some(bundle(1)), Some(bundle(2)));
    assert_eq!(running(&plant), [new, old, new, new]);
    plant.append(&[Event::DeviceUnpinned { device, model: model(), by: by() }]);
    settle(&plant);
    assert_eq!(running(&plant), [new; 4]);
}
