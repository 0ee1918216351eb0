//! Whoever edits the file behind the ledger's back is found out, and projections follow from the ledger alone.

#![expect(clippy::unwrap_used, reason = "a failed step of a test should panic where it happens")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edgeward_core::envelope::{Base64, Envelope};
use edgeward_core::event::{ModelVersion, RolloutOutcome, RunOutcome, Runner};
use edgeward_core::ledger::LedgerFault;
use edgeward_core::rollout::RolloutPolicy;
use edgeward_core::{Bucket, DeviceId, Digest, Event, ModelName, ProjectName, RolloutId, RunId, Timestamp};
use edgeward_store::{Checkpoint, Fault, Store, StoreError};
use rusqlite::Connection;
use rusqlite::types::Value;

const ENTRIES: u64 = 10;

/// A ledger of ten devices on disk.
fn ledger(directory: &Path) -> PathBuf {
    let path = directory.join("edgeward.db");
    let store = Store::open(&path).unwrap();
    for n in 0..ENTRIES {
        let device = DeviceId::new(format!("d{n}")).unwrap();
        store.append(&[Event::DeviceEnrolled { device }], Timestamp(0)).unwrap();
    }
    path
}

/// The fault found after `sql` was run on the file.
fn fault_after(sql: &str) -> Option<Fault> {
    let directory = tempfile::tempdir().unwrap();
    let path = ledger(directory.path());
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    Store::open(&path).unwrap().verify().unwrap()
}

#[test]
fn an_untouched_ledger_has_no_fault() {
    assert_eq!(fault_after("SELECT 1"), None);
}

#[test]
fn an_edited_entry_is_named() {
    let edit = r#"UPDATE ledger SET bytes = CAST(replace(CAST(bytes AS TEXT), '"d4"', '"dx"') AS BLOB) WHERE seq = 4"#;
    assert_eq!(fault_after(edit), Some(LedgerFault::BrokenChain { seq: 5 }.into()));
    let garbage = fault_after("UPDATE ledger SET bytes = x'7b7d' WHERE seq = 4");
    assert!(matches!(garbage, Some(Fault::Entry(LedgerFault::Damaged { seq: 4, .. }))), "{garbage:?}");
}

#[test]
fn an_edited_last_entry_is_named() {
    let edit = r#"UPDATE ledger SET bytes = CAST(replace(CAST(bytes AS TEXT), '"d9"', '"dx"') AS BLOB) WHERE seq = 9"#;
    assert_eq!(fault_after(edit), Some(Fault::LastEntry { seq: 9 }));
}

#[test]
fn a_dropped_entry_is_named() {
    let fault = fault_after("DELETE FROM ledger WHERE seq = 4");
    assert_eq!(fault, Some(LedgerFault::OutOfOrder { expected: 4, found: 5 }.into()));
    let shifted = "DELETE FROM ledger WHERE seq = 4;
        UPDATE ledger SET seq = -seq WHERE seq > 4; UPDATE ledger SET seq = -seq - 1 WHERE seq < 0";
    assert_eq!(fault_after(shifted), Some(LedgerFault::OutOfOrder { expected: 4, found: 5 }.into()));
}

#[test]
fn swapped_entries_are_named() {
    let swap = "UPDATE ledger SET seq = -1 WHERE seq = 4; UPDATE ledger SET seq = 4 WHERE seq = 5;
        UPDATE ledger SET seq = 5 WHERE seq = -1";
    assert_eq!(fault_after(swap), Some(LedgerFault::OutOfOrder { expected: 4, found: 5 }.into()));
}

#[test]
fn a_cut_off_end_is_named() {
    let truncated = Some(Fault::Truncated { len: 8, expected: ENTRIES });
    assert_eq!(fault_after("DELETE FROM ledger WHERE seq >= 8"), truncated);
    assert_eq!(fault_after("DELETE FROM ledger"), Some(Fault::Truncated { len: 0, expected: ENTRIES }));
}

#[test]
fn an_end_cut_off_with_its_head_is_found_by_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let path = ledger(directory.path());
    let store = Store::open(&path).unwrap();
    let eighth = Digest::of(&store.entries(7, 1).unwrap()[0].bytes);
    let checkpoint =
        Checkpoint { size: ENTRIES, root: Digest::of(b"root"), note: "note".into(), at_ms: Timestamp(0) };
    store.write::<_, StoreError>(|writer| writer.put_checkpoint(&checkpoint)).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute("DELETE FROM ledger WHERE seq >= 8", []).unwrap();
    connection.execute("UPDATE ledger_head SET len = 8, hash = ?1", [eighth.to_string()]).unwrap();
    assert_eq!(store.verify().unwrap(), Some(Fault::Truncated { len: 8, expected: ENTRIES }));
}

#[test]
fn a_damaged_ledger_is_not_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let path = ledger(directory.path());
    Connection::open(&path).unwrap().execute("DELETE FROM ledger WHERE seq = 4", []).unwrap();
    let store = Store::open(&path).unwrap();
    assert!(matches!(store.rebuild().unwrap_err(), StoreError::Damaged(_)));
    let devices = store.read::<_, StoreError>(|view| view.devices(None, 100)).unwrap();
    assert_eq!(devices.len() as u64, ENTRIES, "the projections stay as they were");
}

/// Every row of every projection, as SQLite shows it.
fn projections(path: &Path) -> BTreeMap<&'static str, Vec<Vec<Value>>> {
    const TABLES: [&str; 8] =
        ["devices", "projects", "runs", "gates", "versions", "aliases", "rollouts", "alerts"];
    let connection = Connection::open(path).unwrap();
    let dump = |table: &'static str| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect());
        (table, rows.unwrap().collect::<Result<_, _>>().unwrap())
    };
    TABLES.into_iter().map(dump).collect()
}

/// One event of each kind that a loop makes.
fn a_loop() -> Vec<Event> {
    let (model, run) = (ModelName::new("digits").unwrap(), RunId::new("run-1").unwrap());
    let (project, rollout) = (ProjectName::new("sorting").unwrap(), RolloutId::new("r1").unwrap());
    let bundle = Digest::of(b"bundle");
    // As ledgers of earlier builds have it.
    let release =
        Some(Envelope { payload_type: "t".into(), payload: Base64::default(), signatures: Vec::new() });
    let metrics = BTreeMap::from([("accuracy".to_owned(), 0.971_234_567_890_123_4)]);
    let alert = serde_json::from_value(serde_json::json!({
        "id": "a1", "kind": "drift", "device": "d1", "model": "digits", "bundle": bundle, "at_ms": 3,
        "stream": "pixel_7", "sample": 100, "change_sample": 90, "log10_evidence": 7.25,
        "log10_threshold": 7.0, "message": "inputs moved"
    }))
    .unwrap();
    let registered = serde_json::from_value(serde_json::json!({
        "name": project, "model": model, "path": "robots",
        "trigger": edgeward_core::trigger::TriggerPolicy::default(),
        "rollout": RolloutPolicy::default(),
    }))
    .unwrap();
    vec![
        Event::ProjectRegistered(registered),
        Event::DeviceEnrolled { device: DeviceId::new("d1").unwrap() },
        Event::RunRequested {
            run: run.clone(),
            project: project.clone(),
            cause: "drift".into(),
            runner: Runner::ControlPlane,
            commit: None,
        },
        Event::GateJudged { run: run.clone(), gate: "accuracy".into(), passed: true, reason: "ok".into() },
        Event::ModelRegistered(ModelVersion {
            model: model.clone(),
            version: 1,
            bundle,
            run: run.clone(),
            metrics,
            release,
        }),
        Event::RunFinished { run, project, outcome: RunOutcome::Passed { bundle } },
        Event::RolloutStarted {
            rollout: rollout.clone(),
            model: model.clone(),
            version: 1,
            bundle,
            from: None,
            policy: RolloutPolicy::default(),
            cause: "run passed".into(),
            start_at_ms: Some(Timestamp(5)),
        },
        Event::RolloutApproved {
            rollout: rollout.clone(),
            waves: 1,
            by: "operator".into(),
            cause: "ok".into(),
        },
        Event::RolloutPaused { rollout: rollout.clone(), by: None, reasons: vec!["slow".into()] },
        Event::RolloutResumed { rollout: rollout.clone(), by: "operator".into(), cause: "fine".into() },
        Event::RolloutAdvanced {
            rollout: rollout.clone(),
            wave: 0,
            limit: Bucket(7),
            reasons: vec!["first".into()],
        },
        Event::RolloutFinished { rollout, outcome: RolloutOutcome::Completed, reasons: vec!["done".into()] },
        Event::AliasMoved { model, alias: "champion".into(), version: 1 },
        Event::AlertRaised(alert),
        Event::AlertAcknowledged { alert: "a1".into(), by: "operator".into(), note: Some("seen".into()) },
    ]
}

#[test]
fn rebuilt_projections_equal_those_built_step_by_step() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edgeward.db");
    let store = Store::open(&path).unwrap();
    for (n, event) in a_loop().into_iter().enumerate() {
        store.append(&[event], Timestamp(n as i64)).unwrap();
    }
    let built = projections(&path);
    assert!(built.values().all(|rows| !rows.is_empty()), "every projection has a row: {built:?}");
    store.rebuild().unwrap();
    assert_eq!(projections(&path), built);
    Connection::open(&path).unwrap().execute("UPDATE versions SET run = 'forged'", []).unwrap();
    assert_ne!(projections(&path), built);
    store.rebuild().unwrap();
    assert_eq!(projections(&path), built);
}
