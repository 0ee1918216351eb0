//! What every store must do, whatever database it stands on: each check takes a fresh [`Store`].

#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method itself is not general over the view's lifetime"
)]
#![expect(clippy::unwrap_used, reason = "a failed step of a test should panic where it happens")]

#[path = "conformance/access.rs"]
mod access;
#[path = "conformance/beside.rs"]
mod beside;
#[path = "conformance/mlflow.rs"]
mod mlflow;

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_core::alert::{Alert, AlertKind};
use edgeward_core::event::{ModelVersion, RolloutOutcome, RunOutcome, Runner};
use edgeward_core::rollout::RolloutPolicy;
use edgeward_core::slot::Refused;
use edgeward_core::{
    Bucket, DeviceId, Digest, Event, ModelName, PredictionId, ProjectName, RolloutId, RunId, Timestamp,
};
use edgeward_store::{
    Checkpoint, NewModelState, NewProfile, NewReport, NewSample, PROFILE_RETENTION, Registered,
    ReportOutcome, RunDecision, Store, StoreError,
};
use serde_json::json;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_000_000);

type Check = (&'static str, fn(&Store));

const CHECKS: [Check; 35] = [
    ("appends form one chain", appends_form_one_chain),
    ("append_if compares", append_if_compares),
    ("a failed closure leaves nothing", a_failed_closure_leaves_nothing),
    ("a decision sees its own changes", a_decision_sees_its_own_changes),
    ("threads append without gaps", threads_append_without_gaps),
    ("readers see one snapshot", readers_see_one_snapshot),
    ("one run per project", one_run_per_project),
    ("versions count up", versions_count_up),
    ("aliases move", aliases_move),
    ("a rollout goes its way", a_rollout_goes_its_way),
    ("alerts are raised once", alerts_are_raised_once),
    ("the first who has seen an alert stands", beside::the_first_who_has_seen_an_alert_stands),
    ("contradictions are refused", contradictions_are_refused),
    ("reports keep the latest", reports_keep_the_latest),
    ("profiles are kept once", profiles_are_kept_once),
    ("what devices run is kept beside their reports", what_devices_run_is_kept_beside_their_reports),
    ("evidence is replaced", evidence_is_replaced),
    ("a rollout is paused, resumed and agreed to", a_rollout_is_paused_resumed_and_agreed_to),
    ("samples and late labels", samples_and_late_labels),
    ("tokens and credentials", access::tokens_and_credentials),
    ("a token for a device names it", access::a_token_for_a_device_names_it),
    ("operator tokens", access::operator_tokens),
    (
        "a revoked device stays known until it joins again",
        access::a_revoked_device_stays_known_until_it_joins_again,
    ),
    ("the last checkpoint is kept", the_last_checkpoint_is_kept),
    ("held samples wait for a person", beside::held_samples_wait_for_a_person),
    ("records become batches and are forgotten", beside::records_become_batches_and_are_forgotten),
    ("what is forgotten leaves its leaf", beside::what_is_forgotten_leaves_its_leaf),
    ("groups run what completed in them", beside::groups_run_what_completed_in_them),
    ("shadows are compared", beside::shadows_are_compared),
    ("certificates count until revoked", beside::certificates_count_until_revoked),
    ("kept files are numbered", beside::kept_files_are_numbered),
    ("names sort by their bytes and text keeps what it can", beside::names_sort_by_their_bytes),
    ("MLflow's documents and labels", mlflow::documents_and_labels),
    ("MLflow's metrics", mlflow::metrics),
    ("MLflow's artifacts", mlflow::artifacts),
];

fn check_all(open: impl Fn() -> Store) {
    for (name, check) in CHECKS {
        println!("{name}");
        let store = open();
        check(&store);
        assert_eq!(store.verify().unwrap(), None, "{name}");
    }
}

#[test]
fn sqlite_in_memory_conforms() {
    check_all(|| Store::in_memory().unwrap());
}

#[test]
fn sqlite_on_disk_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = std::cell::Cell::new(0);
    check_all(|| {
        number.set(number.get() + 1);
        Store::open(&directory.path().join(format!("{}.db", number.get()))).unwrap()
    });
    assert_eq!(*number.get_mut(), CHECKS.len());
}

#[test]
fn postgresql_conforms() {
    for (name, check) in CHECKS {
        println!("{name}");
        // Dropped after the store: the schema goes when nobody uses it any more.
        let Ok(database) = edgeward_testkit_postgres::database() else { return };
        let store = Store::connect(&database.url().parse().unwrap()).unwrap();
        check(&store);
        assert_eq!(store.verify().unwrap(), None, "{name}");
    }
}

fn device(n: usize) -> DeviceId {
    DeviceId::new(format!("d{n}")).unwrap()
}

fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

fn project() -> ProjectName {
    ProjectName::new("sorting").unwrap()
}

fn run(n: usize) -> RunId {
    RunId::new(format!("run-{n}")).unwrap()
}

fn enrolled(n: usize) -> Event {
    Event::DeviceEnrolled { device: device(n) }
}

fn request(store: &Store, n: usize) -> RunDecision {
    store
        .write::<_, StoreError>(|w| w.request_run(&run(n), &project(), "a test", Runner::ControlPlane, NOW))
        .unwrap()
}

fn register(store: &Store, bundle: &[u8]) -> Registered {
    let metrics = BTreeMap::from([("accuracy".to_owned(), 0.97)]);
    let bundle = Digest::of(bundle);
    store.write::<_, StoreError>(|w| w.register_version(&model(), bundle, &run(1), &metrics, NOW)).unwrap()
}

fn rollout_started(id: &str, version: u64, bundle: &[u8]) -> Event {
    Event::RolloutStarted {
        rollout: RolloutId::new(id).unwrap(),
        model: model(),
        version,
        bundle: Digest::of(bundle),
        from: Some(Digest::of(b"before")),
        policy: RolloutPolicy::default(),
        cause: "a test".into(),
        start_at_ms: None,
    }
}

fn alert(id: &str) -> Alert {
    Alert {
        id: id.into(),
        kind: AlertKind::Drift,
        device: device(1),
        model: model(),
        bundle: Digest::of(b"bundle"),
        at_ms: NOW,
        stream: None,
        sample: 10,
        change_sample: None,
        log10_evidence: 7.5,
        log10_threshold: 7.0,
        message: "inputs moved".into(),
    }
}

fn read<T>(store: &Store, query: impl FnOnce(&edgeward_store::View<'_>) -> Result<T, StoreError>) -> T {
    store.read(query).unwrap()
}

fn refused(store: &Store, event: Event) {
    let before = store.head().unwrap();
    let error = store.append(&[enrolled(9), event], NOW).unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert_eq!(store.head().unwrap(), before);
    assert!(read(store, |v| v.device(&device(9))).is_none());
}

fn appends_form_one_chain(store: &Store) {
    assert_eq!(store.head().unwrap().len, 0);
    store.append(&[enrolled(0), enrolled(1)], NOW).unwrap();
    let entries = store.append(&[enrolled(2)], NOW).unwrap();
    assert_eq!(entries[0].seq, 2);
    let raw = store.entries(1, 10).unwrap();
    assert_eq!(raw.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(raw[1].parse().unwrap(), entries[0]);
    assert_eq!(store.head().unwrap().hash, Digest::of(&raw[1].bytes));
    assert_eq!(store.entries(0, 2).unwrap().len(), 2);
    assert_eq!(store.append(&[], NOW).unwrap(), []);
}

fn append_if_compares(store: &Store) {
    store.append_if(0, &[enrolled(0)], NOW).unwrap();
    let error = store.append_if(0, &[enrolled(1)], NOW).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { expected: 0, found: 1 }));
    assert_eq!(store.head().unwrap().len, 1);
}

fn a_failed_closure_leaves_nothing(store: &Store) {
    let failed: Result<(), StoreError> = store.write(|writer| {
        writer.append(enrolled(0), NOW)?;
        writer.put_join_token(Digest::of(b"token"), NOW, 1, None)?;
        Err(StoreError::Conflict { expected: 0, found: 0 })
    });
    assert!(failed.is_err());
    assert_eq!(store.head().unwrap().len, 0);
    assert_eq!(read(store, |view| view.devices(None, 10)), []);
}

fn a_decision_sees_its_own_changes(store: &Store) {
    store
        .write::<_, StoreError>(|writer| {
            writer.append(enrolled(3), NOW)?;
            assert!(writer.device(&device(3))?.is_some());
            assert_eq!(writer.head()?.len, 1);
            Ok(())
        })
        .unwrap();
}

fn threads_append_without_gaps(store: &Store) {
    const THREADS: usize = 8;
    const EACH: usize = 20;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for n in 0..EACH {
                    store.append(&[enrolled(thread * EACH + n)], NOW).unwrap();
                    store.read::<_, StoreError>(|view| view.devices(None, 5)).unwrap();
                }
            });
        }
    });
    assert_eq!(store.head().unwrap().len, (THREADS * EACH) as u64);
    assert_eq!(read(store, |view| view.devices(None, 1000)).len(), THREADS * EACH);
}

fn readers_see_one_snapshot(store: &Store) {
    store.append(&[enrolled(0)], NOW).unwrap();
    read(store, |view| {
        let (head, devices) = (view.head()?, view.devices(None, 10)?);
        assert_eq!(head.len, devices.len() as u64);
        Ok(())
    });
}

fn one_run_per_project(store: &Store) {
    assert_eq!(request(store, 1), RunDecision::Begin);
    assert_eq!(request(store, 1), RunDecision::Already);
    assert_eq!(request(store, 2), RunDecision::Busy(run(1)));
    let gate =
        |passed| Event::GateJudged { run: run(1), gate: "accuracy".into(), passed, reason: "r".into() };
    let outcome = RunOutcome::Failed { reason: "no data".into() };
    let finished = Event::RunFinished { run: run(1), project: project(), outcome: outcome.clone() };
    store.append(&[gate(true), gate(false), finished], NOW).unwrap();
    assert_eq!(request(store, 2), RunDecision::Begin);
    let row = read(store, |view| view.run(&run(1))).unwrap();
    assert_eq!((row.outcome, row.finished_at_ms), (Some(outcome), Some(NOW)));
    assert_eq!(row.gates.len(), 1);
    assert!(!row.gates[0].passed);
    let ids: Vec<RunId> = read(store, |v| v.runs(Some(&project()), 10)).into_iter().map(|r| r.id).collect();
    assert_eq!(ids, [run(2), run(1)]);
    assert_eq!(read(store, |view| view.run_under_way(&project())).unwrap().id, run(2));
}

fn versions_count_up(store: &Store) {
    assert_eq!(register(store, b"one"), Registered::New(1));
    assert_eq!(register(store, b"two"), Registered::New(2));
    assert_eq!(register(store, b"one"), Registered::Already(1));
    let row = read(store, |view| view.version_of_bundle(&model(), Digest::of(b"two"))).unwrap();
    assert_eq!((row.version, row.run), (2, run(1)));
    assert_eq!(row.metrics["accuracy"], 0.97);
    assert_eq!(read(store, |view| view.versions(&model(), 10)).len(), 2);
    assert_eq!(read(store, |view| view.models())[0].latest_version, 2);
}

fn aliases_move(store: &Store) {
    let moved = |version| Event::AliasMoved { model: model(), alias: "champion".into(), version };
    refused(store, moved(1));
    register(store, b"one");
    register(store, b"two");
    store.append(&[moved(1), moved(2)], NOW).unwrap();
    assert_eq!(read(store, |view| view.aliased(&model(), "champion")).unwrap().version, 2);
    assert!(read(store, |view| view.aliased(&model(), "challenger")).is_none());
}

fn a_rollout_goes_its_way(store: &Store) {
    register(store, b"one");
    let id = RolloutId::new("r1").unwrap();
    store.append(&[rollout_started("r1", 1, b"one")], NOW).unwrap();
    refused(store, rollout_started("r2", 1, b"one"));
    let row = read(store, |view| view.rollouts_under_way()).remove(0);
    assert_eq!((row.id.clone(), row.wave, row.outcome), (id.clone(), None, None));
    assert_eq!(row.reasons, ["a test"]);
    let later = NOW + Duration::from_secs(1);
    let advanced = |wave| Event::RolloutAdvanced {
        rollout: id.clone(),
        wave,
        limit: Bucket(u64::MAX - 1),
        reasons: vec!["baked".into()],
    };
    store.append(&[advanced(0)], later).unwrap();
    refused(store, advanced(0));
    let wave = read(store, |view| view.rollout(&id)).unwrap().wave.unwrap();
    assert_eq!((wave.index, wave.limit, wave.since_ms), (0, Bucket(u64::MAX - 1), later));
    let finished = Event::RolloutFinished {
        rollout: id.clone(),
        outcome: RolloutOutcome::Completed,
        reasons: vec!["done".into()],
    };
    store.append(std::slice::from_ref(&finished), later).unwrap();
    refused(store, finished);
    refused(store, advanced(1));
    let row = read(store, |view| view.rollout(&id)).unwrap();
    assert_eq!((row.outcome, row.finished_at_ms), (Some(RolloutOutcome::Completed), Some(later)));
    let again = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
    assert_eq!(row, again);
    store.append(&[rollout_started("r2", 1, b"one")], later).unwrap();
}

fn a_rollout_is_paused_resumed_and_agreed_to(store: &Store) {
    register(store, b"one");
    let id = RolloutId::new("r1").unwrap();
    store.append(&[rollout_started("r1", 1, b"one")], NOW).unwrap();
    let by = || "operator".to_owned();
    let paused =
        Event::RolloutPaused { rollout: id.clone(), by: Some(by()), reasons: vec!["lunch".to_owned()] };
    let resumed = Event::RolloutResumed { rollout: id.clone(), by: by(), cause: "back".to_owned() };
    let approved =
        |waves| Event::RolloutApproved { rollout: id.clone(), waves, by: by(), cause: "fine".to_owned() };
    refused(store, resumed.clone());
    store.append(std::slice::from_ref(&paused), NOW).unwrap();
    refused(store, paused);
    let row = || read(store, |view| view.rollout(&id)).unwrap();
    assert_eq!((row().paused, row().reasons), (true, vec!["lunch".to_owned()]));
    store.append(&[resumed, approved(1)], NOW).unwrap();
    refused(store, approved(1));
    assert_eq!((row().paused, row().resumed_at_ms, row().waves_approved), (false, Some(NOW), 1));
    store.rebuild().unwrap();
    assert_eq!(row().waves_approved, 1);
}

fn alerts_are_raised_once(store: &Store) {
    let raise = |id: &str| store.write::<_, StoreError>(|w| w.raise_alert(&alert(id), NOW)).unwrap();
    assert!(raise("a1"));
    assert!(!raise("a1"));
    assert!(raise("a2"));
    assert_eq!(read(store, |view| view.alerts(Some(&model()), 10)), [alert("a2"), alert("a1")]);
    refused(store, Event::AlertRaised(alert("a1")));
}

fn contradictions_are_refused(store: &Store) {
    let outcome = RunOutcome::Refused { reason: "stale".into() };
    refused(store, Event::RunFinished { run: run(5), project: project(), outcome });
    refused(store, Event::GateJudged { run: run(5), gate: "g".into(), passed: true, reason: String::new() });
    refused(store, rollout_started("r1", 1, b"one"));
    let out_of_turn = ModelVersion {
        model: model(),
        version: 2,
        bundle: Digest::of(b"x"),
        run: run(1),
        metrics: BTreeMap::new(),
        release: None,
    };
    refused(store, Event::ModelRegistered(out_of_turn));
}

fn reports_keep_the_latest(store: &Store) {
    store.append(&[enrolled(1)], NOW).unwrap();
    assert!(read(store, |view| view.device(&device(1))).unwrap().report.is_none());
    let put = |session: u128, started: i64, seq: u64, now: i64| {
        let document = json!({ "session": session.to_string(), "seq": seq });
        let report = NewReport {
            device: &device(1),
            session: Uuid::from_u128(session),
            session_started_at_ms: Timestamp(started),
            seq,
            document: &document,
            models: &[],
            facts: &BTreeMap::new(),
        };
        store.write::<_, StoreError>(|writer| writer.put_report(report, Timestamp(now))).unwrap()
    };
    assert_eq!(put(1, 500, 7, 1_000), ReportOutcome::Changed, "the first");
    assert_eq!(put(1, 500, 7, 1_001), ReportOutcome::Stale);
    assert_eq!(put(1, 500, 6, 1_002), ReportOutcome::Stale);
    assert_eq!(put(2, 600, 1, 1_003), ReportOutcome::Kept);
    assert_eq!(put(1, 500, 9, 1_004), ReportOutcome::Stale);
    assert_eq!(put(3, 10, 1, 1_003 + 60_000), ReportOutcome::Kept, "a clock stepped back between sessions");
    let report = read(store, |view| view.device(&device(1))).unwrap().report.unwrap();
    assert_eq!(report.document, json!({ "session": "3", "seq": 1 }));
    assert_eq!(report.received_at_ms, Timestamp(61_003));
}

fn profiles_are_kept_once(store: &Store) {
    let put = |seq: u64, bundle: &[u8], to: i64, now: Timestamp| {
        let new = NewProfile {
            device: &device(1),
            session: Uuid::from_u128(1),
            seq,
            model: &model(),
            bundle: Digest::of(bundle),
            from_ms: Timestamp(to - 10),
            to_ms: Timestamp(to),
            labelled: 4,
            correct: 3,
            profile: b"bytes",
            performance: (seq == 1).then_some(b"labels".as_slice()),
            service: None,
        };
        store.write::<_, StoreError>(|writer| writer.put_profile(&new, now)).unwrap()
    };
    let count = |bundle: Option<&[u8]>, from, to| {
        let window = (Timestamp(from), Timestamp(to));
        read(store, |view| view.profiles(&model(), bundle.map(Digest::of), window, 100)).len()
    };
    assert!(put(1, b"one", 100, NOW));
    assert!(!put(1, b"one", 100, NOW));
    assert!(put(2, b"two", 200, NOW));
    assert_eq!((count(None, 0, 1000), count(Some(b"two"), 0, 1000)), (2, 1));
    assert_eq!((count(None, 100, 200), count(None, 101, 200)), (1, 0));
    let latest = read(store, |view| view.latest_arrival());
    let arrived = read(store, |view| view.profiles_after(0, 100));
    assert_eq!(arrived.last().map(|last| (last.arrival, &last.model)), Some((latest, &model())));
    assert!(arrived.iter().all(|arrived| arrived.received_at_ms == NOW));
    assert!(arrived.is_sorted_by(|a, b| a.arrival < b.arrival));
    assert_eq!(read(store, |view| view.profiles_after(arrived[0].arrival, 1)), arrived[1..2]);
    assert!(read(store, |view| view.profiles_after(latest, 100)).is_empty());
    let rows = read(store, |view| view.profiles(&model(), None, (Timestamp(0), Timestamp(500)), 1));
    assert_eq!((rows.len(), rows[0].profile.as_slice(), rows[0].correct), (1, b"bytes".as_slice(), 3));
    put(3, b"two", 300, NOW + PROFILE_RETENTION);
    let drop_at = |now| store.write::<_, StoreError>(|writer| writer.drop_old_profiles(now)).unwrap();
    drop_at(NOW + PROFILE_RETENTION);
    assert_eq!(count(None, 0, 1000), 3);
    let windows = || read(store, |view| view.windows_after(&model(), 0, 100));
    assert_eq!(
        windows().iter().map(|window| (window.labelled, window.correct)).collect::<Vec<_>>(),
        [(4, 3); 3]
    );
    assert_eq!(read(store, |view| view.windows_after(&model(), latest, 100)), windows()[2..]);
    drop_at(NOW + PROFILE_RETENTION + Duration::from_millis(1));
    assert_eq!((count(None, 0, 1000), windows().len()), (1, 1));
}

fn what_devices_run_is_kept_beside_their_reports(store: &Store) {
    store.append(&[enrolled(1), enrolled(2)], NOW).unwrap();
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    let put = |session: u128, seq: u64, bundle: Digest, since: i64, refused: &[Refused]| {
        let document = json!({ "seq": seq });
        let state = NewModelState {
            model: &model(),
            bundle: Some(bundle),
            since_ms: Some(Timestamp(since)),
            refused,
        };
        let report = NewReport {
            device: &device(1),
            session: Uuid::from_u128(session),
            session_started_at_ms: Timestamp(i64::try_from(session).unwrap()),
            seq,
            document: &document,
            models: &[state],
            facts: &BTreeMap::from([("hardware".to_owned(), "jetson".to_owned())]),
        };
        store.write::<_, StoreError>(|writer| writer.put_report(report, Timestamp(since + 1))).unwrap()
    };
    let state = || read(store, |view| view.device_states(&model())).remove(0);
    assert_eq!(put(1, 1, old, 100, &[]), ReportOutcome::Changed);
    assert_eq!(put(1, 2, old, 200, &[]), ReportOutcome::Kept);
    assert_eq!((state().bundle, state().since_ms, state().starts), (Some(old), Some(Timestamp(100)), 0));
    assert_eq!(state().seen_at_ms, Timestamp(201));
    assert_eq!(put(2, 1, old, 300, &[]), ReportOutcome::Changed, "it started again");
    assert_eq!((state().since_ms, state().starts), (Some(Timestamp(100)), 1));
    let refused = [Refused { bundle: new, reason: "golden test".into() }];
    assert_eq!(put(2, 2, old, 400, &refused), ReportOutcome::Changed);
    assert_eq!((state().refused, state().hardware.as_deref()), (refused.to_vec(), Some("jetson")));
    assert_eq!(put(2, 3, new, 500, &[]), ReportOutcome::Changed);
    assert_eq!((state().bundle, state().since_ms, state().starts), (Some(new), Some(Timestamp(500)), 0));
    let silent = read(store, |view| view.device_states(&model())).remove(1);
    assert_eq!((silent.device, silent.seen_at_ms, silent.bundle), (device(2), NOW, None));
}

fn evidence_is_replaced(store: &Store) {
    let id = RolloutId::new("r1").unwrap();
    assert_eq!(read(store, |view| view.evidence(&id)), None);
    for arrival in [3, 7] {
        let document = json!({ "arrival": arrival });
        store.write::<_, StoreError>(|writer| writer.put_evidence(&id, arrival, &document)).unwrap();
        assert_eq!(read(store, |view| view.evidence(&id)), Some((arrival, document)));
    }
}

fn sample(n: u128, label: Option<&str>) -> NewSample {
    NewSample {
        prediction: PredictionId(Uuid::from_u128(n)),
        row: 0,
        model: model(),
        bundle: Digest::of(b"bundle"),
        at_ms: NOW,
        features: 1.5f32.to_le_bytes().to_vec(),
        predicted: Some("3".into()),
        label: label.map(str::to_owned),
        suspicion: None,
    }
}

fn samples_and_late_labels(store: &Store) {
    let put = |from: usize, samples: &[NewSample], now: i64| {
        store.write::<_, StoreError>(|w| w.put_samples(&device(from), samples, Timestamp(now))).unwrap()
    };
    let page = |after| read(store, |view| view.labelled_samples(&model(), after, 100));
    assert_eq!(put(1, &[sample(1, None), sample(2, Some("8")), sample(3, None)], 10), 3);
    assert_eq!(put(1, &[sample(1, None), sample(2, Some("8"))], 11), 0);
    let first = page(0);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].sample, sample(2, Some("8")));
    assert_eq!(first[0].row_digest, edgeward_core::dataset::row_digest(&[1.5]));
    assert_eq!(put(1, &[sample(1, Some("9"))], 20), 1);
    assert_eq!(put(1, &[sample(1, None)], 21), 0, "a repeated upload without label takes no label away");
    let next = page(first[0].seq);
    assert_eq!(next.iter().map(|row| row.sample.clone()).collect::<Vec<_>>(), [sample(1, Some("9"))]);
    assert_eq!(put(2, &[sample(1, Some("0"))], 30), 1, "another device cannot relabel it");
    assert_eq!(page(0).len(), 3);
    let since = |at| read(store, |view| view.count_labelled_since(&model(), Timestamp(at)));
    assert_eq!([since(0), since(11), since(21), since(31)], [3, 2, 1, 0]);
    let dropped = store.write::<_, StoreError>(|writer| writer.drop_oldest_samples(&model(), 2)).unwrap();
    assert_eq!((dropped, page(0).len()), (2, 2));
    assert_eq!(page(0)[0].sample.label.as_deref(), Some("9"));
}

fn the_last_checkpoint_is_kept(store: &Store) {
    store.append(&[enrolled(0)], NOW).unwrap();
    assert_eq!(read(store, |view| view.latest_checkpoint()), None);
    let kept = Checkpoint { size: 1, root: Digest::of(b"root"), note: "note".into(), at_ms: NOW };
    store.write::<_, StoreError>(|writer| writer.put_checkpoint(&kept)).unwrap();
    assert_eq!(read(store, |view| view.latest_checkpoint()), Some(kept));
}
