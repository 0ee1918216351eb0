//! What a device hands over about its predictions.

use std::sync::Arc;

use edgeward_api::device::RecordUpload;
use edgeward_core::RecordPolicy;
use edgeward_core::envelope::Base64;
use edgeward_core::record::{
    InputsKept, Kept, RECORD_POLICY_SCHEMA, Record, SALT_LEN, ShadowsRecord, salted,
};
use edgeward_model::RtenEngine;
use edgeward_model::tensor::unpack;
use edgeward_sdk::{HandedRecord, HandedRecords, Loaded};

use crate::fixtures::{ONE_THREAD, TestEndpoint, bundle, model, one_row};
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
        records_days: None,
        subject: None,
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

#[test]
fn what_an_app_left_is_taken_and_what_is_no_record_of_it_is_counted() {
    let own = serving(Some(policy(&[])));
    let (_, records) = spooled(&own);
    let handed = |(_, upload): &(Record, RecordUpload)| HandedRecord {
        record: upload.record.clone(),
        salt: upload.salt.clone(),
        input: upload.input.clone(),
        subjects: vec!["Ada".to_owned()],
    };
    let [answer, label] = &records[..] else { panic!("{records:?}") };
    let (good, label) = (handed(answer), handed(label));
    let of_another = HandedRecord { record: good.record.replace("digits", "other"), ..good.clone() };
    let salted = HandedRecord { salt: Some(Base64(vec![1; 3])), ..good.clone() };
    let large = HandedRecord { input: Some(Base64(vec![0; 300_000])), ..good.clone() };
    let named = HandedRecord { subjects: vec!["x".repeat(257)], ..good.clone() };
    let long = good.record.replace("\"keep_days\":30", "\"keep_days\":4000");
    let long = HandedRecord { record: long, ..good.clone() };
    let shadows = ShadowsRecord {
        prediction: answer.0.prediction(),
        run: edgeward_core::RunId::new("run-1").unwrap(),
        at_ms: edgeward_core::Timestamp(1),
        candidates: Vec::new(),
    };
    let shadows = serde_json::to_string(&Record::Shadows(shadows)).unwrap();
    let made_up = HandedRecord { record: shadows, salt: None, input: None, subjects: Vec::new() };
    let junk = HandedRecord { record: "{}".into(), ..good.clone() };
    let bad = [of_another, salted, large, named, long, made_up, junk];
    let bad_count = bad.len() as u64;
    let all = [bad.to_vec(), vec![good.clone(), label]].concat();

    let endpoint = serving(None);
    let schema = "edgeward.handed-records/1".to_owned();
    endpoint.records.handed_records(&model(), HandedRecords { schema, dropped: 5, records: all });
    let spool = endpoint.records.spool();
    let taken = spool.batch(Lane::Records, 10, 1 << 20);
    assert_eq!((taken.len(), spool.dropped(Lane::Records)), (2, 5 + bad_count));
    let first: RecordUpload = serde_json::from_slice(&taken[0].1).unwrap();
    assert_eq!((&first.record, &first.subjects), (&good.record, &good.subjects), "byte for byte");
}

#[test]
fn an_impossible_value_is_marked_each_time_though_its_alarm_holds_its_peace() {
    let endpoint = serving(Some(RecordPolicy { inputs: InputsKept::Flagged, ..policy(&[]) }));
    let body = |first: f32| {
        let data = [first, 0.0, 0.0, 0.0];
        serde_json::json!({ "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": data }] })
    };
    let ask = |first| assert_eq!(endpoint.post("/v2/models/digits/infer", &body(first).to_string()).0, 200);
    ask(1e6);
    let raised = endpoint.records.spool().waiting(Lane::Alerts);
    ask(1e6);
    ask(0.0);
    assert_eq!((raised > 0, endpoint.records.spool().waiting(Lane::Alerts)), (true, raised), "raised once");
    let said: Vec<(Vec<String>, bool)> = endpoint
        .records
        .spool()
        .batch(Lane::Records, 10, 1 << 20)
        .iter()
        .map(|(_, bytes)| {
            let upload: RecordUpload = serde_json::from_slice(bytes).unwrap();
            let Record::Prediction(said) = serde_json::from_str(&upload.record).unwrap() else { panic!() };
            (said.marks.into_iter().map(|mark| mark.kind).collect(), upload.input.is_some())
        })
        .collect();
    let [first, second, third] = &said[..] else { panic!("{said:?}") };
    for (marks, is_kept) in [first, second] {
        assert!(marks.contains(&"outlier".to_owned()) && *is_kept, "{marks:?}");
    }
    assert_eq!(*third, (Vec::new(), false));
}
