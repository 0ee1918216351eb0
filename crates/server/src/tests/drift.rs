//! Drift over the whole fleet, from the profiles that devices send.

use std::time::Duration;

use edgeward_api::device::{PROFILE_SCHEMA, ProfileUpload};
use edgeward_core::envelope::Base64;
use edgeward_core::{Digest, Timestamp};
use edgeward_monitor::{Profile, Reference, Sample};
use uuid::Uuid;

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
    }
}

#[test]
fn the_fleets_profiles_add_up_and_show_what_moved() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    operator.register_project(&project()).unwrap();
    let profile = reference().to_bytes();
    let version =
        plant.make_version(&operator, "run-1", &[("model.onnx", b"w"), ("reference.profile", &profile)]);
    let empty = operator.drift(&model()).unwrap();
    assert_eq!((empty.bundle, empty.windows.len()), (version.bundle, 0));

    let (_, one) = plant.enrol("d1");
    let (_, two) = plant.enrol("d2");
    for client in [&one, &two] {
        for (window, shift) in [(0, 0.0), (1, 0.5)] {
            client.upload_profile(&upload(version.bundle, window, shift)).unwrap();
        }
    }
    one.upload_profile(&upload(version.bundle, 0, 0.0)).unwrap();
    plant.pass(Duration::from_secs(30));
    let windows = operator.drift(&model()).unwrap().windows;
    assert_eq!(
        windows.iter().map(|w| (w.samples, w.labelled, w.correct)).collect::<Vec<_>>(),
        [(400, 20, 18); 2]
    );
    assert!(windows[0].psi["weight"] < 1e-6, "{:?}", windows[0].psi);
    assert!(windows[1].psi["weight"] > 0.25, "{:?}", windows[1].psi);
    plant.stop();
}
