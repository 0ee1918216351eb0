//! What a device hands over about its predictions.

use std::sync::Arc;

use edgeward_api::device::RecordUpload;
use edgeward_core::RecordPolicy;
use edgeward_core::record::{InputsKept, Kept, RECORD_POLICY_SCHEMA, Record, SALT_LEN, salted};
use edgeward_model::RtenEngine;
use edgeward_model::tensor::unpack;
use edgeward_sdk::Loaded;

use crate::fixtures::{ONE_THREAD, TestEndpoint, bundle, one_row};
use crate::spool::Lane;

fn serving(policy: Option<RecordPolicy>) -> TestEndpoint {
    let endpoint = TestEndpoint::new();
    let bundle = bundle(&endpoint.folder.path().join("bundles"), "1");
    let loaded = Loaded::from_bundle(&bundle, &RtenEngine::new(), &ONE_THREAD).unwrap();
    endpoint.served().publish(Arc::new(loaded.with_records(policy)));
    endpoint
}

fn policy(redact: &[&str]) -> RecordPolicy {
    RecordPolicy {
        schema: RECORD_POLICY_SCHEMA.to_owned(),
        inputs: InputsKept::All,
        sampled: 0.0,
        redact: redact.iter().map(|&field| field.to_owned()).collect(),
        retention_days: 30,
    }
}

/// A prediction and its label over HTTP, and what waits for upload then.
fn spooled(endpoint: &TestEndpoint) -> (String, Vec<(Record, RecordUpload)>) {
    let (_, answer) = endpoint.post("/v2/models/digits/infer", &one_row());
    let id = answer["parameters"]["prediction_id"].as_str().unwrap().to_owned();
    let feedback = serde_json::json!({ "id": id, "label": "b" });
    assert_eq!(endpoint.post("/v1/feedback", &feedback.to_string()).0, 200);
    let batch = endpoint.records.spool().batch(Lane::Records, 10, 1 << 20);
    let read = |(_, bytes): (u64, Vec<u8>)| {
        let upload: RecordUpload = serde_json::from_slice(&bytes).unwrap();
        (serde_json::from_str(&upload.record).unwrap(), upload)
    };
    (id, batch.into_iter().map(read).collect())
}

#[test]
fn a_prediction_and_its_label_leave_a_record_each() {
    let endpoint = serving(Some(policy(&[])));
    let (id, records) = spooled(&endpoint);
    let [(Record::Prediction(said), upload), (Record::Label(label), bare)] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((said.prediction.to_string(), label.prediction), (id, said.prediction));
    assert_eq!((said.form.as_str(), said.rows, said.answers.len()), ("rten-f32", 1, 1));
    assert!(said.answers[0].predicted.is_some() && said.answers[0].confidence.unwrap() > 0.0);
    let salt: [u8; SALT_LEN] = upload.salt.as_ref().unwrap().0.clone().try_into().unwrap();
    let input = upload.input.as_ref().unwrap();
    assert_eq!((&said.kept, said.input), (&Kept::Whole, salted(&salt, &input.0)));
    assert_eq!(unpack(&input.0).unwrap()[0].tensor.shape(), [1, 4]);
    assert_eq!((label.label.as_str(), &bare.salt, &bare.input), ("b", &None, &None));
}

#[test]
fn without_a_policy_there_is_no_record() {
    assert!(spooled(&serving(None)).1.is_empty());
}

#[test]
fn the_device_itself_remembers_what_it_answered() {
    let endpoint = serving(None);
    let (id, _) = spooled(&endpoint);
    let (status, said) = endpoint.get(&format!("/v1/predictions/{id}"));
    assert_eq!(
        (status, &said["prediction"], &said["device"]),
        (200, &id.into(), &"robot-1".into()),
        "{said}"
    );
    let row = &said["rows"][0];
    assert!(row["predicted"].is_string() && row["values"].as_array().unwrap().len() == 4, "{said}");
    assert_eq!(endpoint.get("/v1/predictions/0192f3a0-0000-7000-8000-000000000000").0, 404);
    let (status, said) = endpoint.get("/v1/predictions/nonsense");
    assert!(status == 400 && said["error"].as_str().unwrap().contains("prediction_id"), "{said}");
}
