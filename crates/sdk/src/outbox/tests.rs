//! Records of a real model's predictions, in the folder where the agent finds them.

use edgeward_core::RecordPolicy;
use edgeward_core::record::{InputsKept, Kept, RECORD_POLICY_SCHEMA, SALT_LEN, salted};
use edgeward_model::engine::conformance::fixture;
use edgeward_model::{LoadOptions, NamedTensor, RtenEngine, Tensor, onnx};

use super::*;
use crate::handover::HandingOver;
use crate::labelled::Labelled;
use crate::loaded::Loaded;

fn policy() -> RecordPolicy {
    RecordPolicy {
        schema: RECORD_POLICY_SCHEMA.to_owned(),
        inputs: InputsKept::All,
        sampled: 0.0,
        redact: Vec::new(),
        retention_days: 30,
        records_days: Some(365),
        subject: Some("x".to_owned()),
    }
}

fn loaded() -> Loaded {
    let bytes = onnx::encode(&fixture::classifier());
    let loaded = Loaded::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
    loaded.with_records(Some(policy()))
}

fn row() -> Vec<NamedTensor> {
    vec![Tensor::from_rows(1, 4, vec![1.0, 2.0, 3.0, 4.0]).unwrap().named("x")]
}

fn read(folder: &Path) -> Vec<HandedRecords> {
    HandedRecords::waiting(folder).iter().map(|path| HandedRecords::read(path).unwrap()).collect()
}

/// A label's record, as small as they come.
fn label(outbox: &Outbox, n: u128) {
    outbox.labelled((PredictionId(Uuid::from_u128(n)), 0), "a");
}

fn emptied(outbox: &Outbox, folder: &Path) {
    outbox.queue().is_ending = true;
    outbox.run(folder);
}

#[test]
fn what_an_app_answered_is_there_for_the_agent_when_the_app_ends() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("digits");
    let loaded = Arc::new(loaded());
    let handing_over = HandingOver::start(&folder).unwrap();
    (handing_over.taking_over())(&loaded);
    let answer = loaded.infer(row()).unwrap();
    assert!(answer.keepsake.is_none(), "it is on its way");
    let handle = crate::ModelHandle::new();
    handle.publish(Arc::clone(&loaded));
    let told = |of| Labelled { predicted: "a", truth: "b", scores: &[], values: &[], tags: &[], of };
    handle.label(loaded.bundle(), &told(Some((answer.id, 0))));
    handle.label(loaded.bundle(), &told(None));
    drop(handing_over);

    let documents = read(&folder);
    let records: Vec<&HandedRecord> = documents.iter().flat_map(|document| &document.records).collect();
    let [answered, label] = records[..] else { panic!("{records:?}") };
    let Record::Prediction(said) = serde_json::from_str(&answered.record).unwrap() else { panic!() };
    assert_eq!((said.prediction, said.model.as_str(), said.bundle), (answer.id, "digits", loaded.bundle()));
    assert_eq!((said.kept, said.record_days), (Kept::Whole, Some(365)));
    let salt: [u8; SALT_LEN] = answered.salt.as_ref().unwrap().0.clone().try_into().unwrap();
    assert_eq!(said.input, salted(&salt, &answered.input.as_ref().unwrap().0));
    assert_eq!(answered.subjects, ["1"]);
    let Record::Label(label) = serde_json::from_str(&label.record).unwrap() else { panic!() };
    assert_eq!((label.prediction, label.label.as_str()), (answer.id, "b"));
    assert!(documents.iter().all(|document| document.dropped == 0));
    // A model that is still pinned somewhere answers on; nobody is there to hear of it.
    assert!(loaded.infer(row()).is_ok());
}

#[test]
fn without_a_policy_or_an_agent_nothing_is_left_anywhere() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("digits");
    let bare = loaded().with_records(None);
    let handing_over = HandingOver::start(&folder).unwrap();
    (handing_over.taking_over())(&bare);
    bare.infer(row()).unwrap();
    let opened = loaded();
    assert!(opened.infer(row()).unwrap().keepsake.is_some(), "the app may do with it what it likes");
    drop(handing_over);
    assert!(!folder.join(APP_FOLDER).join(RECORDS_FOLDER).exists());
}

#[test]
fn what_is_too_much_for_the_queue_is_lost_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::new(ModelName::new("digits").unwrap());
    (0..QUEUED_MAX as u128 + 3).for_each(|n| label(&outbox, n));
    let waiting = outbox.queue().waiting.len();
    assert_eq!(waiting, QUEUED_MAX);
    emptied(&outbox, folder.path());
    let document = HandedRecords::read(&whole_in(folder.path())[0]).unwrap();
    assert_eq!((document.records.len(), document.dropped), (QUEUED_MAX, 3));
    let large = "x".repeat(QUEUED_BYTES_MAX);
    let outbox = Outbox::new(ModelName::new("digits").unwrap());
    outbox.labelled((PredictionId(Uuid::from_u128(1)), 0), &large);
    assert_eq!(outbox.queue().dropped, 1, "one that is larger than the queue");
}

#[test]
fn while_nobody_takes_them_the_oldest_documents_give_way() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..DOCUMENTS_MAX as u128 + 2 {
        let outbox = Outbox::new(ModelName::new("digits").unwrap());
        (0..=n % 2).for_each(|row| label(&outbox, 2 * n + row));
        emptied(&outbox, folder.path());
    }
    let documents: Vec<HandedRecords> =
        whole_in(folder.path()).iter().map(|path| HandedRecords::read(path).unwrap()).collect();
    assert_eq!(documents.len(), DOCUMENTS_MAX);
    // The first held one record, the second two.
    assert_eq!(documents.iter().map(|document| document.dropped).sum::<u64>(), 3);
    assert!(documents[0].records[0].record.contains(&Uuid::from_u128(4).to_string()));
}

#[test]
fn a_document_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("1.json", &b"{"[..]), ("2.json", b"{}"), ("3.json", b"null")] {
        write_whole(&folder.path().join(name), bytes).unwrap();
        assert!(HandedRecords::read(&folder.path().join(name)).is_err(), "{name}");
    }
}
