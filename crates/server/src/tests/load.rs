//! Many clients at once, and what is left after the server is gone without a word.

use std::sync::Arc;
use std::thread;

use edgeward_api::device::{SAMPLES_SCHEMA, Sample, SamplesUpload};
use edgeward_api::{Client, ClientError};
use edgeward_core::envelope::Base64;
use edgeward_core::{Digest, PredictionId, Timestamp};
use edgeward_store::{StoreError, View};
use uuid::Uuid;

use super::support::{Plant, START, alert, model, project, report};

const CLIENTS: usize = 24;
const ROUNDS: u64 = 8;

fn samples(device: usize, round: u64) -> SamplesUpload {
    let sample = Sample {
        prediction: PredictionId(Uuid::from_u128((device as u128) << 64 | u128::from(round))),
        row: 0,
        model: model(),
        bundle: Digest::of(b"bundle"),
        at_ms: Timestamp(START),
        features: Base64(1.0f32.to_le_bytes().to_vec()),
        predicted: None,
        label: Some("1".to_owned()),
        suspicion: None,
    };
    SamplesUpload { schema: SAMPLES_SCHEMA.to_owned(), samples: vec![sample] }
}

/// Works until the server stops answering; returns how many rounds were acknowledged.
fn work(index: usize, device: &edgeward_core::DeviceId, client: &Client, rounds: u64) -> u64 {
    let round = |n: u64| -> Result<(), ClientError> {
        client.report(&report(n + 1, None))?;
        let raised = vec![alert(&format!("{device}-{n}"), device, Digest::of(b"bundle"))];
        client.upload_alerts(&edgeward_api::device::AlertsUpload { alerts: raised })?;
        client.upload_samples(&samples(index, n))
    };
    (0..rounds).take_while(|n| round(*n).is_ok()).count() as u64
}

#[test]
fn many_clients_at_once_lose_nothing() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    operator.register_project(&project()).unwrap();
    let devices: Vec<_> = (0..CLIENTS).map(|n| plant.enrol(&format!("d{n}"))).collect();
    thread::scope(|scope| {
        for (index, (device, client)) in devices.iter().enumerate() {
            scope.spawn(move || assert_eq!(work(index, device, client, ROUNDS), ROUNDS));
        }
    });
    let expected = CLIENTS as u64 * ROUNDS;
    assert_eq!(operator.alerts().unwrap().alerts.len() as u64, expected);
    let page = operator.labelled_samples(&model(), 0, 1000).unwrap();
    assert_eq!(page.samples.len() as u64, expected);
    assert_eq!(operator.devices().unwrap().devices.len(), CLIENTS);
    assert_eq!(plant.app.store.verify().unwrap(), None);
    plant.stop();
}

#[test]
fn what_was_acknowledged_survives_a_server_that_vanishes() {
    let plant = Plant::serving(|_| {});
    let devices: Vec<_> = (0..4).map(|n| plant.enrol(&format!("d{n}"))).collect();
    let workers: Vec<_> = devices
        .into_iter()
        .enumerate()
        .map(|(index, (device, client))| thread::spawn(move || work(index, &device, &client, u64::MAX)))
        .collect();
    let watching = Arc::clone(&plant.app);
    while watching.store.head().unwrap().len < 40 {
        thread::yield_now();
    }
    drop(watching);
    let plant = plant.crash();
    let acknowledged: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    let seen = |view: &View<'_>| {
        Ok::<_, StoreError>((
            view.alerts(None, 1000)?.len(),
            view.count_labelled_since(&model(), Timestamp(0))?,
        ))
    };
    let (alerts, labelled) = plant.app.store.read(seen).unwrap();
    assert!(alerts as u64 >= acknowledged && labelled >= acknowledged, "{acknowledged}: {alerts} {labelled}");
    assert_eq!(plant.app.store.verify().unwrap(), None);
}
