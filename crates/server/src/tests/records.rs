//! Records over real HTTP: kept once, proved one by one, forgotten on their day or when their subject asks with every proof
//! intact, and never believed when they were edited.

use std::time::Duration;

use edgeward_api::device::{RECORDS_SCHEMA, RecordUpload, RecordsUpload};
use edgeward_api::limits::RECORDS_PER_UPLOAD_MAX;
use edgeward_api::record::{InputKept, PredictionAnswer};
use edgeward_api::{Client, ClientError};
use edgeward_core::envelope::Base64;
use edgeward_core::record::{
    Answer, Kept, LabelRecord, PredictionRecord, Record, SALT_LEN, ShadowSaid, ShadowsRecord, salted, seed,
};
use edgeward_core::{Digest, Event, PredictionId, RunId, Timestamp};
use uuid::Uuid;

use super::support::{Plant, START, model};
use crate::audit::AuditFault;
use crate::why::{InputTold, ProofFault, verify};

const DAY: Duration = Duration::from_secs(24 * 3600);
const SALT: [u8; SALT_LEN] = [7; SALT_LEN];
const INPUT: &[u8] = b"what it saw";

fn id(n: u128) -> PredictionId {
    PredictionId(Uuid::from_u128(n))
}

fn upload(n: u128, kept: Kept, keep_days: u32) -> RecordUpload {
    upload_about(n, kept, (keep_days, None), &[])
}

fn upload_about(
    n: u128,
    kept: Kept,
    (keep_days, record_days): (u32, Option<u32>),
    subjects: &[&str],
) -> RecordUpload {
    let input = (!matches!(kept, Kept::Nothing)).then(|| Base64(INPUT.to_vec()));
    let record = PredictionRecord {
        prediction: id(n),
        model: model(),
        bundle: Digest::of(b"bundle"),
        form: "rten-f32".into(),
        at_ms: Timestamp(START),
        latency_us: 1_000,
        input: salted(&SALT, INPUT),
        kept,
        keep_days,
        record_days,
        output: salted(&SALT, b"said"),
        rows: 1,
        answers: vec![Answer { predicted: Some("8".into()), confidence: Some(0.75) }],
        marks: Vec::new(),
        seed: seed(id(n)),
        trace: None,
    };
    let record = serde_json::to_string(&Record::Prediction(record)).unwrap();
    let subjects = subjects.iter().map(|&name| name.to_owned()).collect();
    RecordUpload { record, salt: Some(Base64(SALT.to_vec())), input, subjects }
}

fn bare(record: &Record) -> RecordUpload {
    let record = serde_json::to_string(record).unwrap();
    RecordUpload { record, salt: None, input: None, subjects: Vec::new() }
}

fn label(n: u128) -> RecordUpload {
    let label = LabelRecord { prediction: id(n), row: 0, label: "3".into(), at_ms: Timestamp(START + 5) };
    bare(&Record::Label(label))
}

fn shadows(n: u128) -> RecordUpload {
    let answers = Some(vec![Answer { predicted: Some("9".into()), confidence: None }]);
    let said = ShadowSaid { bundle: Digest::of(b"shadow"), latency_us: 5, answers };
    let (run, at_ms) = (RunId::new("run-1").unwrap(), Timestamp(START + 1));
    bare(&Record::Shadows(ShadowsRecord { prediction: id(n), run, at_ms, candidates: vec![said] }))
}

fn send(device: &Client, records: Vec<RecordUpload>) -> Result<(), ClientError> {
    device.upload_records(&RecordsUpload { schema: RECORDS_SCHEMA.to_owned(), records })
}

fn refusal(outcome: Result<(), ClientError>) -> (u16, String) {
    match outcome {
        Err(ClientError::Refused { status, problem, .. }) => (status, problem.error),
        other => panic!("{other:?}"),
    }
}

fn events(operator: &Client, kind: &str) -> Vec<Event> {
    let entries = operator.events(0, 1000).unwrap().entries;
    entries.into_iter().map(|entry| entry.event).filter(|event| event.kind() == kind).collect()
}

#[test]
fn every_record_of_a_batch_is_proved_and_sent_again_it_is_kept_once() {
    let plant = Plant::serving(|_| {});
    let (operator, (_, device)) = (plant.operator(), plant.enrol("robot-1"));
    let records: Vec<RecordUpload> = (1..=9).map(|n| upload(n, Kept::Whole, 30)).collect();
    send(&device, records[..6].to_vec()).unwrap();
    send(&device, [&records[2..], &[label(4), label(4)]].concat()).unwrap();
    for n in 1..=9 {
        let answer = operator.prediction(id(n)).unwrap();
        let held = verify(&answer, None).unwrap();
        assert_eq!((held.record.prediction, held.labels.len()), (id(n), usize::from(n == 4)));
        assert_eq!(held.input, InputTold::Here { redacted: Vec::new() });
        assert_eq!(held.proved.batch.map(|(batch, _)| batch), Some(0));
    }
    assert!(matches!(&events(&operator, "records_kept")[..], [Event::RecordsKept { records: 10, .. }]));
    let read = events(&operator, "records_read");
    assert!(read.len() == 9 && matches!(&read[0], Event::RecordsRead { by, .. } if by == "operator.token"));
    // A later batch is another tree under the same ledger.
    send(&device, vec![label(1)]).unwrap();
    let held = verify(&operator.prediction(id(1)).unwrap(), None).unwrap();
    assert_eq!((held.labels[0].label.as_str(), held.proved.batch.unwrap().0), ("3", 0));
    let (data, found) = (plant.dir.path().to_owned(), plant.audited());
    assert_eq!(found.verify(Vec::new()).unwrap().records, 11);
    let out = data.join("export");
    assert_eq!(found.export(&out, Timestamp(START)).unwrap().records, 11);
    assert_eq!(std::fs::read_to_string(out.join("records.jsonl")).unwrap().lines().count(), 11);
}

#[test]
fn when_its_day_comes_an_input_is_gone_and_every_proof_holds() {
    let plant = Plant::serving(|_| {});
    let (operator, (_, device)) = (plant.operator(), plant.enrol("robot-1"));
    send(&device, vec![upload(1, Kept::Whole, 1), upload(2, Kept::Whole, 30), upload(3, Kept::Nothing, 30)])
        .unwrap();
    let input = |n| verify(&operator.prediction(id(n)).unwrap(), None).unwrap().input;
    assert_eq!(input(1), InputTold::Here { redacted: Vec::new() });
    assert_eq!(input(3), InputTold::DigestOnly { kept: Kept::Nothing });
    let keys = || plant.input_keys();
    assert_eq!(keys(), 2);
    plant.pass(DAY * 3);
    plant.runtime.block_on(crate::reconcile::records::reconcile(&plant.app)).unwrap();
    assert_eq!((input(1), keys()), (InputTold::Erased, 1));
    assert_eq!(input(2), InputTold::Here { redacted: Vec::new() });
    assert!(matches!(&events(&operator, "inputs_erased")[..], [Event::InputsErased { inputs: 1, .. }]));
    // Neither the database nor its log holds what was erased under a key that is left.
    assert_eq!(plant.audited().verify(Vec::new()).unwrap().records, 3);
}

/// Every way to change an answer on its way, or in the database, is seen.
#[test]
fn an_edited_answer_is_not_believed() {
    let plant = Plant::serving(|_| {});
    let (operator, (_, device)) = (plant.operator(), plant.enrol("robot-1"));
    let all = vec![upload(1, Kept::Whole, 30), label(1), upload(2, Kept::Whole, 30), shadows(1)];
    send(&device, all).unwrap();
    let answer = operator.prediction(id(1)).unwrap();
    let check = |what: &str, change: &dyn Fn(&mut PredictionAnswer)| {
        let mut changed = answer.clone();
        change(&mut changed);
        assert!(verify(&changed, None).is_err(), "{what}");
    };
    assert_eq!(answer.shadows.len(), 1);
    check("the shadows' answer", &|a| {
        a.shadows[0].record = a.shadows[0].record.replace("\"9\"", "\"8\"");
    });
    check("another's shadows", &|a| a.shadows[0] = a.labels[0].clone());
    check("the answer", &|a| a.record.record = a.record.record.replace("\"8\"", "\"9\""));
    check("the label", &|a| a.labels[0].record = a.labels[0].record.replace("\"3\"", "\"4\""));
    check("another label", &|a| a.labels[0] = a.record.clone());
    check("its place", &|a| a.record.index ^= 1);
    check("a hash", &|a| a.record.path[0] = Digest::of(b"other"));
    check("the batch's entry", &|a| {
        a.record.entry.entry = a.record.entry.entry.replace("\"records\":4", "\"records\":5");
    });
    check("the entry's place", &|a| a.record.entry.index ^= 1);
    check("the checkpoint", &|a| a.lineage.checkpoint = a.lineage.checkpoint.replacen('\n', "\n9", 1));
    check("the keys", &|a| a.lineage.ledger_keys = serde_json::json!({ "keys": [], "threshold": 0 }));
    check("the model", &|a| a.lineage.bundle = Digest::of(b"other"));
    check("the input", &|a| {
        let salt = Base64(SALT.to_vec());
        a.input = InputKept::Readable { salt, input: Some(Base64(b"another".to_vec())) };
    });
    check("the salt", &|a| {
        a.input =
            InputKept::Readable { salt: Base64(vec![8; SALT_LEN]), input: Some(Base64(INPUT.to_vec())) };
    });
    let origin = verify(&answer, None).unwrap().proved.origin;
    assert!(verify(&answer, Some(&origin)).unwrap().proved.origin_known);
    assert!(matches!(verify(&answer, Some("edgeward-ledger/x")), Err(ProofFault::Origin { .. })));

    let database = &plant.app.store;
    let device = edgeward_core::DeviceId::new("robot-1").unwrap();
    let batch = |found: &edgeward_store::View<'_>| found.leaves_of_batch(0);
    assert_eq!(database.read(batch).unwrap().len(), 4);
    // A record that nobody saw arrive is put into a batch that was made.
    let added = edgeward_store::NewRecord {
        prediction: id(9),
        kind: "label",
        row: 0,
        record: label(9).record,
        sealed: None,
        erase_day: 0,
        expire_day: None,
        subjects: Vec::new(),
    };
    let add = |writer: &edgeward_store::Writer<'_>| {
        writer.put_records(&device, std::slice::from_ref(&added), Timestamp(START))?;
        writer.put_into_batch(0, u64::from(u32::MAX))
    };
    database.write::<_, edgeward_store::StoreError>(add).unwrap();
    let fault = plant.audited().verify(Vec::new()).unwrap_err();
    assert!(matches!(fault, AuditFault::Records { batch: 0, .. }), "{fault}");
    assert!(verify(&operator.prediction(id(2)).unwrap(), None).is_err());
}

#[test]
fn what_is_no_record_is_refused_and_the_rest_of_the_upload_with_it() {
    let plant = Plant::serving(|_| {});
    let (operator, (_, device)) = (plant.operator(), plant.enrol("robot-1"));
    let good = || upload(1, Kept::Whole, 30);
    let check = |bad: RecordUpload, status: u16, words: &str| {
        let (found, error) = refusal(send(&device, vec![good(), bad]));
        assert!(found == status && error.contains(words), "{found} {error}");
    };
    check(RecordUpload { record: "{}".into(), ..good() }, 422, "cannot be read");
    check(RecordUpload { record: " ".repeat(70_000), ..good() }, 413, "65536 bytes");
    check(RecordUpload { salt: Some(Base64(vec![1; 15])), ..good() }, 422, "16 bytes");
    check(RecordUpload { input: Some(Base64(vec![1; 300_000])), ..good() }, 413, "262144 bytes");
    check(upload(2, Kept::Whole, 4_000), 413, "3650 days");
    check(upload_about(2, Kept::Whole, (30, Some(4_000)), &[]), 413, "3650 days");
    let long = "x".repeat(257);
    check(upload_about(2, Kept::Whole, (30, None), &[&long]), 413, "256 bytes");
    check(upload_about(2, Kept::Whole, (30, None), &["x"; 65]), 413, "64 subjects");
    let many = vec![label(1); RECORDS_PER_UPLOAD_MAX + 1];
    assert_eq!(refusal(send(&device, many)).0, 413);
    let unknown = operator.prediction(id(1)).unwrap_err();
    assert!(unknown.to_string().contains("no record of a prediction"), "{unknown}");
    assert!(events(&operator, "records_read").is_empty());
}

#[test]
fn when_its_day_comes_a_record_is_gone_and_every_other_proof_holds() {
    let plant = Plant::serving(|_| {});
    let (operator, (_, device)) = (plant.operator(), plant.enrol("robot-1"));
    let short = upload_about(1, Kept::Whole, (1, Some(2)), &[]);
    send(&device, vec![short, label(1), shadows(1), upload(2, Kept::Whole, 30), label(2)]).unwrap();
    let held = |n| operator.prediction(id(n)).map(|answer| verify(&answer, None).unwrap());
    assert_eq!(held(1).unwrap().shadows[0].candidates[0].latency_us, 5);
    plant.pass(DAY * 4);
    plant.runtime.block_on(crate::reconcile::records::reconcile(&plant.app)).unwrap();
    let gone = held(1).err().unwrap().to_string();
    assert!(gone.contains("was dropped"), "{gone}");
    assert_eq!(held(2).unwrap().labels.len(), 1);
    assert!(matches!(&events(&operator, "records_expired")[..], [Event::RecordsExpired { records: 3, .. }]));
    // What comes for it later is not kept, and neither is it when it is sent again.
    send(&device, vec![upload_about(1, Kept::Whole, (1, Some(2)), &[]), label(1)]).unwrap();
    assert!(held(1).is_err());
    let opened = plant.audited();
    assert_eq!(opened.verify(Vec::new()).unwrap().records, 5, "the digests stay");
    let out = plant.dir.path().join("export");
    assert_eq!(opened.export(&out, Timestamp(START)).unwrap().records, 5);
    let lines = std::fs::read_to_string(out.join("records.jsonl")).unwrap();
    assert_eq!(lines.lines().filter(|line| line.starts_with("\"sha256:")).count(), 3);
    plant.runtime.block_on(crate::reconcile::records::reconcile(&plant.app)).unwrap();
    assert_eq!(events(&operator, "records_expired").len(), 1, "once");
}

#[test]
fn a_subject_is_forgotten_and_every_other_proof_holds() {
    let plant = Plant::serving(|_| {});
    let (operator, (_, device)) = (plant.operator(), plant.enrol("robot-1"));
    let about = |n, subjects: &[&str]| upload_about(n, Kept::Whole, (30, None), subjects);
    let all = vec![
        about(1, &["Ada Lovelace"]),
        about(2, &["Bob"]),
        about(3, &["Bob", "Ada Lovelace"]),
        about(4, &[]),
        label(1),
    ];
    send(&device, all).unwrap();
    let input = |n| operator.prediction(id(n)).map(|answer| verify(&answer, None).unwrap().input);
    (1..=4).for_each(|n| assert_eq!(input(n).unwrap(), InputTold::Here { redacted: Vec::new() }, "{n}"));
    let kept = std::fs::read(plant.dir.path().join("edgeward.db")).unwrap_or_default();
    assert!(!kept.windows(12).any(|part| part == b"Ada Lovelace"), "its name stands nowhere");

    let erased = operator.erase_subject("Ada Lovelace").unwrap();
    let bob = plant.app.vault.subject("Bob").unwrap();
    assert!(plant.input_keys_about(&bob) > 0, "another's keys stay");
    assert_eq!((erased.inputs, erased.records), (2, 3));
    for n in [1, 3] {
        let gone = input(n).err().unwrap().to_string();
        assert!(gone.contains("its subject was erased"), "{gone}");
    }
    for n in [2, 4] {
        assert_eq!(input(n).unwrap(), InputTold::Here { redacted: Vec::new() });
    }
    let [Event::SubjectErased { subject, by, .. }] = &events(&operator, "subject_erased")[..] else {
        panic!()
    };
    assert_eq!((*subject, by.as_str()), (erased.subject, "operator.token"));
    assert_eq!(plant.audited().verify(Vec::new()).unwrap().records, 5);
    // The keys went with it: what a backup of the database holds cannot be read either.
    assert_eq!(plant.input_keys_about(&erased.subject), 0);
    let again = operator.erase_subject("Ada Lovelace").unwrap();
    assert_eq!((again.subject, again.records), (erased.subject, 0));
    let refused = operator.erase_subject("").unwrap_err();
    assert!(refused.to_string().contains("1 to 256 bytes"), "{refused}");
}
