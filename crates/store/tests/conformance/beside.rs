//! What stands beside models and rollouts: held samples, records, groups, shadows, certificates, kept files.

use std::collections::BTreeMap;

use edgeward_core::event::{RolloutOutcome, SampleRef, SampleVerdict};
use edgeward_core::rollout::RolloutPolicy;
use edgeward_core::shadow::{ShadowCandidate, ShadowOutcome, ShadowPolicy};
use edgeward_core::{DeviceId, Digest, Event, GroupName, PredictionId, Timestamp};
use edgeward_store::{
    AcknowledgementRow, AlertRow, CertificateRow, GroupBundle, Leaf, NewRecord, NewSample, Store, StoreError,
};
use serde_json::json;
use uuid::Uuid;

use super::{NOW, alert, device, enrolled, model, read, refused, register, rollout_started, run, sample};

pub(crate) fn held_samples_wait_for_a_person(store: &Store) {
    let held = |n| NewSample { suspicion: Some("impossible".into()), ..sample(n, Some("3")) };
    let put = |samples: &[NewSample]| {
        store.write::<_, StoreError>(|w| w.put_samples(&device(1), samples, Timestamp(5))).unwrap()
    };
    assert_eq!(put(&[held(1), sample(2, Some("4")), held(3)]), 3);
    let free = || read(store, |view| view.labelled_samples(&model(), 0, 10));
    let waiting = || read(store, |view| view.held_samples(&model(), 10)).len();
    assert_eq!((free().len(), waiting()), (1, 2));
    let judge = |n, verdict| {
        let which = SampleRef { device: device(1), prediction: sample(n, None).prediction, row: 0 };
        let (samples, cause) = (vec![which], "checked".to_owned());
        let event = Event::SamplesJudged { model: model(), samples, verdict, cause };
        store.append(&[event], Timestamp(9)).unwrap();
    };
    let before = free()[0].seq;
    judge(1, SampleVerdict::Released);
    judge(1, SampleVerdict::Released);
    judge(3, SampleVerdict::Discarded);
    assert_eq!((free().len(), waiting()), (2, 0));
    let released = free().pop().unwrap();
    assert!(released.seq > before && released.received_at_ms == Timestamp(9));
    assert_eq!(released.sample, held(1));
    assert_eq!(put(&[NewSample { label: Some("8".into()), ..held(1) }]), 1);
    assert_eq!(free().len(), 2, "a verdict outlives a new label");
    let doubted = NewSample { label: None, suspicion: Some("odd".into()), ..sample(2, None) };
    assert_eq!(put(&[doubted]), 1);
    let now_held = read(store, |view| view.held_samples(&model(), 10)).remove(0);
    assert_eq!(now_held.sample.label.as_deref(), Some("4"), "a suspicion takes no label away");
}

pub(crate) fn records_become_batches_and_are_forgotten(store: &Store) {
    let record = |n: u128, kind, day, sealed: Option<&[u8]>| NewRecord {
        prediction: PredictionId(Uuid::from_u128(n)),
        kind,
        row: 0,
        record: format!("record {n} {kind}"),
        sealed: sealed.map(<[u8]>::to_vec),
        erase_day: day,
        expire_day: None,
        subjects: Vec::new(),
    };
    let put = |records: &[NewRecord]| {
        store.write::<_, StoreError>(|writer| writer.put_records(&device(1), records, NOW)).unwrap()
    };
    let all = [
        record(1, "prediction", 5, Some(b"a")),
        record(1, "label", 0, None),
        record(2, "prediction", 9, Some(b"b")),
    ];
    assert_eq!((put(&all), put(&all[1..])), (3, 0));
    assert_eq!(read(store, |view| view.newest_recorded(1)), [PredictionId(Uuid::from_u128(2))]);
    assert_eq!(read(store, |view| view.oldest_waiting_record()), Some(NOW));
    let waiting = read(store, |view| view.records_waiting());
    assert_eq!(
        waiting.iter().map(|(_, record)| record.as_str()).collect::<Vec<_>>(),
        ["record 1 prediction", "record 1 label", "record 2 prediction"]
    );
    store
        .write::<_, StoreError>(|writer| {
            assert_eq!(writer.next_batch()?, 0);
            assert_eq!(writer.put_into_batch(0, waiting[1].0)?, 2);
            writer.append(Event::RecordsKept { batch: 0, records: 2, root: Digest::of(b"root") }, NOW)?;
            assert_eq!(writer.next_batch()?, 1);
            Ok(())
        })
        .unwrap();
    let leaves = waiting[..2].iter().map(|(seq, record)| (*seq, Leaf::Record(record.clone())));
    assert_eq!(read(store, |view| view.leaves_of_batch(0)), leaves.collect::<Vec<_>>());
    assert_eq!(read(store, |view| view.record_batch(0)).unwrap().records, 2);
    store.append(&[enrolled(1), Event::AlertRaised(alert("d1"))], NOW).unwrap();
    let kept = read(store, |view| view.batches_in_ledger(0, 10));
    assert_eq!(kept.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [0]);
    let about = |words: &[&str], limit| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = read(store, |view| view.entries_about(&words, 0, limit));
        found.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(about(&["\"d1\""], 10), [1], "an alert is left out");
    assert_eq!(about(&["nowhere", "records_kept", "\"d1\""], 10), [0, 1]);
    assert_eq!((about(&["records_kept", "\"d1\""], 1), about(&[], 10)), (vec![0], vec![]));
    assert_eq!([4, 5, 9].map(|day| read(store, |view| view.inputs_due(day))), [0, 1, 2]);
    assert_eq!(store.write::<_, StoreError>(|writer| writer.drop_sealed(5)).unwrap(), 1);
    let of = read(store, |view| view.records_of(PredictionId(Uuid::from_u128(1))));
    assert_eq!(
        of.iter().map(|row| (row.batch, row.sealed.is_some())).collect::<Vec<_>>(),
        [(Some(0), false); 2]
    );
    let seqs = |before, kind| {
        let found = read(store, |view| view.entries_before(before, kind, 10));
        found.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!((seqs(None, None), seqs(Some(2), None)), (vec![2, 1, 0], vec![1, 0]));
    assert_eq!((seqs(None, Some("alert_raised")), seqs(Some(2), Some("alert_raised"))), (vec![2], vec![]));
    newest_first(store);
}

/// What the ledger holds about a word, from its end.
fn newest_first(store: &Store) {
    let newest = |word: &str, limit| {
        let found = read(store, |view| view.newest_about(word, limit));
        found.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(
        (newest("\"d1\"", 10), newest("\"d1\"", 1), newest("nowhere", 10)),
        (vec![2, 1], vec![2], vec![])
    );
}

pub(crate) fn what_is_forgotten_leaves_its_leaf(store: &Store) {
    let [ada, bob] = [b"ada", b"bob"].map(|name| Digest::of(name));
    let record = |n: u128, kind, subjects: &[Digest]| NewRecord {
        prediction: PredictionId(Uuid::from_u128(n)),
        kind,
        row: 0,
        record: format!("record {n} {kind}"),
        sealed: (kind == "prediction").then(|| b"sealed".to_vec()),
        erase_day: 50,
        expire_day: (n == 3 && kind == "prediction").then_some(20),
        subjects: subjects.to_vec(),
    };
    let put = |records: &[NewRecord]| {
        store.write::<_, StoreError>(|writer| writer.put_records(&device(1), records, NOW)).unwrap()
    };
    let first = [record(1, "prediction", &[ada, bob]), record(2, "prediction", &[bob])];
    assert_eq!(put(&[&first[..], &[record(1, "label", &[]), record(3, "prediction", &[])]].concat()), 4);
    let last = read(store, |view| view.records_waiting()).last().unwrap().0;
    store.write::<_, StoreError>(|writer| writer.put_into_batch(0, last)).unwrap();
    let due = |day| read(store, |view| view.records_due(day)).len();
    assert_eq!((due(19), due(20)), (0, 1));
    assert_eq!(read(store, |view| view.records_about(bob)).len(), 2);
    let about = read(store, |view| view.records_about(ada));
    let prediction = PredictionId(Uuid::from_u128(1));
    assert_eq!((about.len(), about[0].prediction, &about[0].device), (1, prediction, &device(1)));
    let subjects = read(store, |view| view.subjects_of(&device(1), prediction));
    assert_eq!(subjects, std::collections::BTreeSet::from([ada, bob]).into_iter().collect::<Vec<_>>());
    let sampled = NewSample { prediction, ..sample(1, Some("3")) };
    let keep = |sampled: &NewSample| {
        let samples = std::slice::from_ref(sampled);
        store.write::<_, StoreError>(|w| w.put_samples(&device(1), samples, NOW)).unwrap()
    };
    assert_eq!(keep(&sampled), 1);
    let forgotten = store.write::<_, StoreError>(|writer| {
        let held = writer.remembered(&about[0])?;
        for one in &held {
            writer.forget(one.seq, Digest::of(one.record.as_bytes()))?;
        }
        let sealed = held.iter().map(|one| one.is_sealed).collect::<Vec<_>>();
        Ok((sealed, writer.forget_samples(&about[0])?, writer.forget_subjects(&about[0])?))
    });
    assert_eq!(forgotten.unwrap(), (vec![true, false], 1, 2));
    let leaves = read(store, |view| view.leaves_of_batch(0)).into_iter().map(|(_, leaf)| leaf);
    let gone = |kind| Leaf::Forgotten(Digest::of(format!("record 1 {kind}").as_bytes()));
    let kept = |n| Leaf::Record(format!("record {n} prediction"));
    assert_eq!(leaves.collect::<Vec<_>>(), [gone("prediction"), kept(2), gone("label"), kept(3)]);
    let rows = read(store, |view| view.records_of(prediction));
    assert!(rows.iter().all(|row| row.record.is_none() && row.sealed.is_none()));
    // What comes for it later, or once more, is not kept.
    let later = [record(1, "prediction", &[ada]), record(1, "shadows", &[]), record(2, "label", &[])];
    assert_eq!((put(&later), keep(&sampled)), (1, 0));
    assert!(read(store, |view| view.records_about(ada)).is_empty());
}

pub(crate) fn groups_run_what_completed_in_them(store: &Store) {
    register(store, b"one");
    let group = GroupName::new("north").unwrap();
    let by = || "ann".to_owned();
    let labels = BTreeMap::from([("site".to_owned(), Some("oslo".to_owned())), ("old".to_owned(), None)]);
    let expression = "site=oslo".parse().unwrap();
    store
        .append(
            &[
                enrolled(1),
                enrolled(2),
                Event::DeviceLabelled { device: device(1), labels, by: by() },
                Event::GroupDefined { group: group.clone(), expression, by: by() },
                Event::DevicePinned {
                    device: device(2),
                    model: model(),
                    bundle: Digest::of(b"pin"),
                    by: by(),
                },
            ],
            NOW,
        )
        .unwrap();
    let known = read(store, |view| view.labels());
    assert_eq!(known[&device(1)], BTreeMap::from([("site".to_owned(), "oslo".to_owned())]));
    assert!(read(store, |view| view.groups()).into_keys().eq([group.clone()]));
    assert_eq!(read(store, |view| view.pins(&model())), BTreeMap::from([(device(2), Digest::of(b"pin"))]));
    let roll = |id: &str, group: Option<GroupName>| {
        let Event::RolloutStarted { rollout, model, version, bundle, from, policy, cause, start_at_ms } =
            rollout_started(id, 1, b"one")
        else {
            unreachable!()
        };
        let policy = RolloutPolicy { group, ..policy };
        let started = Event::RolloutStarted {
            rollout: rollout.clone(),
            model,
            version,
            bundle,
            from,
            policy,
            cause,
            start_at_ms,
        };
        let outcome = RolloutOutcome::Completed;
        store.append(&[started, Event::RolloutFinished { rollout, outcome, reasons: vec![] }], NOW).unwrap();
    };
    let bundles = || read(store, |view| view.group_bundles(&model()));
    roll("r1", Some(group.clone()));
    roll("r2", Some(group.clone()));
    assert_eq!(bundles(), [GroupBundle { group: group.clone(), version: 1, bundle: Digest::of(b"one") }]);
    assert_eq!(read(store, |view| view.rollouts_of(Digest::of(b"one"))).len(), 2);
    store.rebuild().unwrap();
    assert_eq!(bundles().len(), 1);
    roll("r3", None);
    assert_eq!(bundles(), []);
    store.append(&[Event::GroupRemoved { group, by: by() }], NOW).unwrap();
    assert!(read(store, |view| view.groups()).is_empty());
}

pub(crate) fn shadows_are_compared(store: &Store) {
    let candidates = vec![ShadowCandidate { name: "recent".into(), version: 2, bundle: Digest::of(b"two") }];
    let started = Event::ShadowsStarted {
        run: run(1),
        model: model(),
        champion: Digest::of(b"one"),
        candidates,
        policy: ShadowPolicy::default(),
    };
    let count = |session: u128, seq, n: u64| {
        let document = json!({ "n": n });
        let session = (Uuid::from_u128(session), seq);
        store
            .write::<_, StoreError>(|w| w.put_shadow_counts(&run(1), &device(1), session, &document))
            .unwrap();
    };
    let counts = || {
        let mut counts: Vec<_> = read(store, |view| view.shadow_counts(&run(1)))
            .into_iter()
            .map(|row| row.document["n"].as_u64())
            .collect();
        counts.sort_unstable();
        counts
    };
    count(1, 1, 10);
    assert_eq!(counts(), [], "nobody asked for it yet");
    store.append(std::slice::from_ref(&started), NOW).unwrap();
    refused(store, started);
    count(1, 1, 10);
    count(1, 2, 20);
    count(1, 1, 30);
    count(2, 1, 5);
    assert_eq!(counts(), [Some(5), Some(20)]);
    assert_eq!(read(store, |view| view.shadow_tests_under_way()).len(), 1);
    let judged = Event::ShadowsJudged {
        run: run(1),
        model: model(),
        outcome: ShadowOutcome::NoneBetter,
        reasons: vec!["equal".into()],
    };
    store.append(&[judged], NOW).unwrap();
    count(3, 1, 7);
    assert_eq!(counts().len(), 2, "it is over");
    let row = read(store, |view| view.shadow_test(&run(1))).unwrap();
    assert_eq!((row.outcome, row.finished_at_ms), (Some(ShadowOutcome::NoneBetter), Some(NOW)));
    assert_eq!(read(store, |view| view.shadow_tests(Some(&model()), 5)).len(), 1);
}

pub(crate) fn certificates_count_until_revoked(store: &Store) {
    let put = |fingerprint: &[u8], n, authority: &[u8], expires| {
        let row = CertificateRow {
            device: device(n),
            authority: Digest::of(authority),
            issued_at_ms: NOW,
            expires_at_ms: Timestamp(expires),
            revoked: false,
        };
        store.write::<_, StoreError>(|writer| writer.put_certificate(Digest::of(fingerprint), &row))
    };
    put(b"1", 1, b"old", 100).unwrap();
    put(b"2", 1, b"new", 100).unwrap();
    put(b"3", 2, b"old", 100).unwrap();
    put(b"4", 3, b"old", 10).unwrap();
    assert!(put(b"3", 2, b"old", 100).is_err());
    let newest = || read(store, |view| view.newest_authorities(Timestamp(50)));
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    assert_eq!(newest(), [(device(1), new), (device(2), old)]);
    let kept = [Digest::of(b"1")];
    let revoked = store.write::<_, StoreError>(|writer| writer.revoke_certificates(&device(1), &kept));
    assert_eq!(revoked.unwrap(), 1);
    assert_eq!(newest(), [(device(1), old), (device(2), old)]);
    assert!(read(store, |view| view.certificate(Digest::of(b"2"))).unwrap().revoked);
    let (token, key) = (Digest::of(b"token"), Digest::of(b"key"));
    for n in [1, 2] {
        store.write::<_, StoreError>(|writer| writer.put_join_use(token, key, &device(n))).unwrap();
        assert_eq!(read(store, |view| view.join_use(token, key)), Some(device(n)));
    }
}

pub(crate) fn the_first_who_has_seen_an_alert_stands(store: &Store) {
    let acknowledged = |id: &str, by: &str, note: Option<&str>| Event::AlertAcknowledged {
        alert: id.to_owned(),
        by: by.to_owned(),
        note: note.map(str::to_owned),
    };
    refused(store, acknowledged("a1", "ann", None));
    for id in ["a1", "a2", "a3"] {
        store.append(&[Event::AlertRaised(alert(id))], NOW).unwrap();
    }
    let later = Timestamp(NOW.0 + 7);
    store
        .append(&[acknowledged("a1", "ann", Some("a new lens")), acknowledged("a2", "bob", None)], later)
        .unwrap();
    refused(store, acknowledged("a1", "bob", None));
    let seen = |by: &str, note: Option<&str>| AcknowledgementRow {
        by: by.to_owned(),
        at_ms: later,
        note: note.map(str::to_owned),
    };
    let expected = [
        AlertRow { alert: alert("a3"), acknowledged: None },
        AlertRow { alert: alert("a2"), acknowledged: Some(seen("bob", None)) },
        AlertRow { alert: alert("a1"), acknowledged: Some(seen("ann", Some("a new lens"))) },
    ];
    for _ in 0..2 {
        assert_eq!(read(store, |view| view.alert_rows(Some(&model()), 10)), expected);
        assert_eq!(read(store, |view| view.alert_rows(None, 1)), expected[..1]);
        assert_eq!(read(store, |view| view.alert("a1")).as_ref(), Some(&expected[2]));
        assert_eq!(read(store, |view| view.alert("a4")), None);
        // Whoever decides looks at what was raised, whoever has seen it.
        let raised = expected.iter().map(|row| row.alert.clone()).collect::<Vec<_>>();
        assert_eq!(read(store, |view| view.alerts(None, 10)), raised);
        store.rebuild().unwrap();
    }
}

pub(crate) fn kept_files_are_numbered(store: &Store) {
    let put = |path: &str, bytes: &[u8]| {
        store.write::<_, StoreError>(|writer| writer.put_kept_file(path, bytes)).unwrap();
    };
    put("repository/1", b"one");
    put("repository/2", b"two");
    put("repository0", b"beside");
    put("repository/1", b"again");
    let after = |change| {
        let files = read(store, |view| view.kept_files_after(change));
        files.into_iter().map(|file| (file.path, file.change)).collect::<Vec<_>>()
    };
    let file = |path: &str, change| (path.to_owned(), change);
    assert_eq!(after(1), [file("repository/2", 2), file("repository0", 3), file("repository/1", 4)]);
    assert_eq!(after(3), [file("repository/1", 4)]);
    assert_eq!(read(store, |view| view.kept_paths("repository/")), ["repository/1", "repository/2"]);
    assert_eq!(read(store, |view| view.kept_file("repository/1")), Some(b"again".to_vec()));
    let drop = |path| store.write::<_, StoreError>(|writer| writer.drop_kept_file(path)).unwrap();
    assert_eq!([drop("repository/2"), drop("repository/2")], [true, false]);
}

pub(crate) fn names_sort_by_their_bytes(store: &Store) {
    let names = ["a-1", "a.1", "a1", "a_1", "b"];
    for name in names {
        store.append(&[Event::DeviceEnrolled { device: DeviceId::new(name).unwrap() }], NOW).unwrap();
    }
    let mut sorted = names.map(|name| DeviceId::new(name).unwrap());
    sorted.sort();
    let listed: Vec<_> = read(store, |view| view.devices(None, 10)).into_iter().map(|row| row.id).collect();
    assert_eq!(listed, sorted);
    let second = read(store, |view| view.devices(Some(&sorted[0]), 1)).remove(0);
    assert_eq!(second.id, sorted[1]);
    let text = NewSample { label: Some("a\0\u{1f600}".into()), ..sample(1, None) };
    store.write::<_, StoreError>(|writer| writer.put_samples(&device(1), &[text], NOW)).unwrap();
    let kept = read(store, |view| view.labelled_samples(&model(), 0, 1)).remove(0);
    assert!(kept.sample.label.unwrap().ends_with('\u{1f600}'));
}
