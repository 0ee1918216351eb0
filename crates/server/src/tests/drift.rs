//! Drift over the whole fleet, from the profiles that devices send.

use std::time::Duration;

use edgeward_api::Client;
use edgeward_api::device::{PROFILE_SCHEMA, ProfileUpload};
use edgeward_api::operator::{AcknowledgeRequest, RaisedAlert};
use edgeward_core::alert::AlertKind;
use edgeward_core::envelope::Base64;
use edgeward_core::{Alert, Digest, Timestamp};
use edgeward_monitor::{Outcome, Profile, Reference, Sample, Scores, Segment, SegmentedPerformance};
use uuid::Uuid;

use crate::reconcile::fleet::{self, Watched};

use super::support::{Plant, START, model, project};

/// Rows of one feature that takes each tenth of a second's value once, moved by `shift`.
fn rows(shift: f32) -> Vec<[f32; 1]> {
    (0..200).map(|n| [(n % 10) as f32 / 10.0 + shift]).collect()
}

fn samples(rows: &[[f32; 1]]) -> impl Iterator<Item = Sample<'_>> {
    rows.iter().map(|row| Sample { features: row, predicted: None, confidence: None })
}

fn reference() -> Reference {
    Reference::fit(&["weight".to_owned()], &[], samples(&rows(0.0))).unwrap()
}

/// A bundle that serves, of which the fleet's profiles are.
fn serving() -> (Plant, Digest) {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    operator.register_project(&project()).unwrap();
    let profile = reference().to_bytes();
    let files: [(&str, &[u8]); 2] = [("model.onnx", b"w"), ("reference.profile", &profile)];
    let version = plant.make_version(&operator, "run-1", &files);
    (plant, version.bundle)
}

fn upload(bundle: Digest, window: u64, shift: f32) -> ProfileUpload {
    let reference = reference();
    let mut profile = Profile::new(&reference);
    for sample in samples(&rows(shift)) {
        profile.observe(&reference, &sample).unwrap();
    }
    let from = START + 10_000 * i64::try_from(window).unwrap();
    ProfileUpload {
        schema: PROFILE_SCHEMA.to_owned(),
        session: Uuid::from_u128(1),
        seq: window,
        model: model(),
        bundle,
        from_ms: Timestamp(from),
        to_ms: Timestamp(from + 10_000),
        profile: Base64(profile.to_bytes()),
        labelled: 10,
        correct: 9,
        performance: Some(Base64(performance().to_bytes())),
        service: None,
    }
}

/// Ten labels, nine of them right, all from the north.
fn performance() -> SegmentedPerformance {
    let mut performance = SegmentedPerformance::default();
    for label in 0..10 {
        let truth = Some(u32::from(label > 0));
        let outcome = Outcome::Class { predicted: 1, truth, scores: Scores::All(&[0.1, 0.9]) };
        performance.observe(&outcome, [&Segment::new("site", "north")]);
    }
    performance
}

#[test]
fn the_fleets_profiles_add_up_and_show_what_moved() {
    let (plant, bundle) = serving();
    let operator = plant.operator();
    let empty = operator.drift(&model()).unwrap();
    assert_eq!((empty.bundle, empty.windows.len()), (bundle, 0));

    let (_, one) = plant.enrol("d1");
    let (_, two) = plant.enrol("d2");
    for client in [&one, &two] {
        for (window, shift) in [(0, 0.0), (1, 0.5)] {
            client.upload_profile(&upload(bundle, window, shift)).unwrap();
        }
    }
    one.upload_profile(&upload(bundle, 0, 0.0)).unwrap();
    plant.pass(Duration::from_secs(30));
    let windows = operator.drift(&model()).unwrap().windows;
    assert_eq!(
        windows.iter().map(|w| (w.samples, w.labelled, w.correct)).collect::<Vec<_>>(),
        [(400, 20, 18); 2]
    );
    let accuracy = &windows[0].metrics["accuracy"];
    assert!(accuracy.value == 0.9 && accuracy.low < 0.8 && accuracy.high > 0.95 && accuracy.n == 20);
    assert!(
        (windows[1].metrics["log_loss"].value - 0.9 * -(0.9f64.ln()) - 0.1 * -(0.1f64.ln())).abs() < 1e-6
    );
    assert!(windows[0].segments.is_empty() && windows[0].estimated_accuracy.is_none());
    assert!(windows[0].psi["weight"] < 1e-6, "{:?}", windows[0].psi);
    assert!(windows[1].psi["weight"] > 0.25, "{:?}", windows[1].psi);
    plant.stop();
}

/// Devices that send windows, and what is said of the fleet.
struct Sending {
    clients: Vec<Client>,
    bundle: Digest,
    window: u64,
}

impl Sending {
    fn new(plant: &Plant, bundle: Digest, devices: usize) -> Self {
        let clients = (0..devices).map(|device| plant.enrol(&format!("d{device}")).1).collect();
        Self { clients, bundle, window: 0 }
    }

    /// Eight windows of each, of which those in `moved` have left the reference; every alert there is then.
    fn send(&mut self, plant: &Plant, moved: &[usize]) -> Vec<RaisedAlert> {
        for _ in 0..8 {
            plant.pass(Duration::from_secs(10));
            for (device, client) in self.clients.iter().enumerate() {
                let shift = if moved.contains(&device) { 0.5 } else { 0.0 };
                client.upload_profile(&upload(self.bundle, self.window, shift)).unwrap();
            }
            plant.runtime.block_on(fleet::reconcile(&plant.app)).unwrap();
            self.window += 1;
        }
        plant.operator().alerts().unwrap().alerts
    }
}

fn verdicts(plant: &Plant, bundle: Digest, devices: usize, moved: &[usize]) -> Vec<Alert> {
    let raised = Sending::new(plant, bundle, devices).send(plant, moved);
    raised.into_iter().map(|raised| raised.alert).collect()
}

/// What moves twice is said twice, however well the first time was seen, and once each.
fn is_said_again(moved: &[usize], kind: AlertKind, ids: [&str; 2]) {
    let (plant, bundle) = serving();
    let mut sending = Sending::new(&plant, bundle, 4);
    let said = |alerts: &[RaisedAlert]| {
        let meant = alerts.iter().filter(|raised| raised.alert.kind == kind);
        meant.map(|raised| raised.alert.id.replace(&bundle.hex(), "B")).collect::<Vec<_>>()
    };
    let first = sending.send(&plant, moved);
    assert_eq!(said(&first), ids[..1]);
    for raised in &first {
        let request = AcknowledgeRequest { alert: raised.alert.id.clone(), note: None };
        plant.operator().acknowledge_alert(&request).unwrap();
    }
    assert_eq!(said(&sending.send(&plant, moved)), ids[..1], "it is still the first");
    assert_eq!(said(&sending.send(&plant, &[])), ids[..1], "it is over");
    let again = sending.send(&plant, moved);
    assert_eq!(said(&again), [ids[1], ids[0]]);
    assert!(again[0].acknowledged.is_none() && again.last().unwrap().acknowledged.is_some());
    // A server that starts anew folds the same profiles and has nothing to add.
    *plant.app.watched.blocking_lock() = Watched::default();
    plant.runtime.block_on(fleet::reconcile(&plant.app)).unwrap();
    assert_eq!(said(&sending.send(&plant, moved)), [ids[1], ids[0]]);
    plant.stop();
}

#[test]
fn a_device_that_is_odd_once_more_is_said_to_be() {
    is_said_again(&[2], AlertKind::OddDevice, ["odd-B-d2", "odd#2-B-d2"]);
}

#[test]
fn a_world_that_changes_once_more_is_said_to() {
    is_said_again(&[0, 1, 2, 3], AlertKind::WorldChanged, ["world-B-weight", "world#2-B-weight"]);
}

#[test]
fn what_every_device_sees_is_said_of_the_world_once() {
    let (plant, bundle) = serving();
    let alerts = verdicts(&plant, bundle, 4, &[0, 1, 2, 3]);
    let world: Vec<_> = alerts.iter().filter(|alert| alert.kind == AlertKind::WorldChanged).collect();
    assert_eq!(world.len(), 1, "{alerts:?}");
    assert_eq!((world[0].bundle, world[0].stream.as_deref()), (bundle, Some("weight")));
    assert!(world[0].message.starts_with("the world changed: 'weight' has "), "{}", world[0].message);
    assert!(world[0].log10_evidence >= world[0].log10_threshold);
    // A server that starts anew folds the same profiles and has nothing to add.
    *plant.app.watched.blocking_lock() = Watched::default();
    plant.runtime.block_on(fleet::reconcile(&plant.app)).unwrap();
    assert_eq!(plant.operator().alerts().unwrap().alerts.len(), alerts.len());
    plant.stop();
}

#[test]
fn what_one_device_sees_is_said_of_that_device() {
    let (plant, bundle) = serving();
    let alerts = verdicts(&plant, bundle, 4, &[2]);
    let said: Vec<_> = alerts.iter().map(|alert| (alert.kind, alert.device.as_str())).collect();
    assert_eq!(said, [(AlertKind::OddDevice, "d2")]);
    assert!(alerts[0].message.starts_with("d2 is odd: 'weight' has "), "{}", alerts[0].message);
    plant.stop();
}

#[test]
fn a_bundle_without_a_reference_is_not_watched() {
    let plant = Plant::serving(|_| {});
    plant.operator().register_project(&project()).unwrap();
    assert!(verdicts(&plant, Digest::of(b"unknown"), 3, &[0, 1, 2]).is_empty());
    plant.stop();
}
