//! The dashboard from plain snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgeward_api::device::{ModelReport, REPORT_SCHEMA, Report};
use edgeward_api::operator::{
    Acknowledgement, Device, Drift, DriftWindow, Metric, Model, RaisedAlert, Rollout, RolloutDevices,
    RolloutStatus, Run, Version,
};
use edgeward_core::ledger::{Chain, Entry};
use edgeward_core::record::{Answer, Kept, PredictionRecord, ShadowSaid, ShadowsRecord};
use edgeward_core::rollout::{Approval, RolloutPolicy};
use edgeward_core::{
    Alert, DeviceId, Digest, Event, GroupName, ModelName, ProjectName, Role, RolloutId, RunId, Timestamp,
};

use super::fleet::{Asked, Context, Fleet, Standing};
use super::session::{FormKey, Viewer};
use super::snapshot::Snapshot;
use super::stages::{State, stages};
use super::{alerts, fleet, ledger, model as models, overview, prediction, rollout, run as runs, shadow};
use crate::access::Caller;
use crate::audit::Inclusion;
use crate::why::{
    Attribution, Explanation, InputTold, Kind, ModelTold, Picture, Proved, Reproduced, Story, WHY_SCHEMA, Why,
};

const NOW: i64 = 1_700_000_000_000;

fn viewer(role: Role) -> Viewer {
    Viewer {
        caller: Caller::Local,
        role,
        signed_in: true,
        alerts_open: 1,
        forms: FormKey::fresh().unwrap(),
        now: Timestamp(NOW),
    }
}

fn admin() -> Viewer {
    viewer(Role::Admin)
}

fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

fn device(name: &str, accuracy: f64, seen_ago_ms: i64) -> Device {
    let seen = ModelReport {
        active: Some(Digest::of(b"v1")),
        active_since_ms: None,
        phase: "idle".into(),
        refused: Vec::new(),
        requests: 12_345,
        requests_failed: 0,
        swaps: 1,
        received_bytes: 5_200_000,
        accuracy: Some(accuracy),
        accuracy_labels: 100,
        evidence: BTreeMap::from([("confidence".into(), 4.0)]),
        log10_threshold: Some(9.0),
        reasons: Vec::new(),
        shadows: None,
    };
    let report = Report {
        schema: REPORT_SCHEMA.into(),
        session: uuid::Uuid::nil(),
        seq: 1,
        session_started_at_ms: Timestamp(NOW),
        at_ms: Timestamp(NOW),
        agent_version: "0".into(),
        endpoint: "http://127.0.0.1:1".into(),
        pid: 1,
        generation: None,
        clock_unsure: false,
        repository: None,
        facts: BTreeMap::new(),
        models: BTreeMap::from([(model(), seen)]),
        ledger: None,
    };
    Device {
        id: DeviceId::new(name).unwrap(),
        enrolled_at_ms: Timestamp(NOW),
        revoked_at_ms: None,
        seen_at_ms: Some(Timestamp(NOW - seen_ago_ms)),
        report: Some(report),
    }
}

fn alert(message: &str) -> Alert {
    serde_json::from_value(serde_json::json!({
        "id": "a1", "kind": "decay", "device": "d1", "model": "digits", "bundle": Digest::of(b"v1"),
        "at_ms": NOW, "stream": null, "sample": 10, "change_sample": null, "log10_evidence": 9.5,
        "log10_threshold": 9.0, "message": message,
    }))
    .unwrap()
}

/// The alert in the inbox, seen by somebody or by nobody.
fn raised(note: Option<&str>) -> RaisedAlert {
    let seen = |note: &str| Acknowledgement {
        by: "ann <a>".to_owned(),
        at_ms: Timestamp(NOW),
        note: Some(note.to_owned()),
    };
    RaisedAlert { alert: alert("<script>alert(1)</script>"), acknowledged: note.map(seen) }
}

fn entries(events: Vec<Event>) -> Vec<Entry> {
    let mut chain = Chain::default();
    let appended = events.into_iter().map(|event| chain.append(event, Timestamp(NOW)).unwrap().0);
    let mut entries: Vec<Entry> = appended.collect();
    entries.reverse();
    entries
}

fn metric(assumes: Option<String>) -> Metric {
    Metric { value: 0.931, low: 0.9, high: 0.95, n: 50, assumes }
}

fn lively() -> Snapshot {
    let version = Version {
        version: 1,
        bundle: Digest::of(b"v1"),
        run: RunId::new("r1").unwrap(),
        registered_at_ms: Timestamp(NOW),
        metrics: BTreeMap::from([("accuracy".into(), 0.97)]),
    };
    let window = |at: i64, psi: f64| DriftWindow {
        from_ms: Timestamp(NOW + at),
        to_ms: Timestamp(NOW + at + 1000),
        samples: 200,
        labelled: 50,
        correct: 48,
        psi: BTreeMap::from([("prediction".into(), psi), ("<pixel>".into(), psi / 2.0)]),
        metrics: BTreeMap::from([("f1_macro".into(), metric(None))]),
        segments: vec!["accuracy is 0.500 where <camera> is 2, 0.950 is due (40 labels)".into()],
        estimated_accuracy: Some(metric(Some("assumes no concept drift".into()))),
    };
    let windows = (0..5).map(|n| window(n * 1000, 0.1 * n as f64)).collect();
    let models = vec![Model {
        name: model(),
        aliases: BTreeMap::from([("champion".into(), 1)]),
        versions: vec![version],
    }];
    let context = Context { now: Timestamp(NOW), models: &models, unsettled: &[], coming: &[] };
    let devices = [device("d1", 0.9, 100), device("d2", 0.5, 60_000)];
    Snapshot {
        now: Timestamp(NOW),
        address: "http://127.0.0.1:7700".into(),
        fleet: Arc::new(Fleet::of(&devices, &context)),
        models,
        runs: vec![run()],
        alerts: vec![raised(None)],
        entries: entries(vec![Event::AlertRaised(alert("<script>alert(1)</script>"))]),
        drift: Some((model(), Drift { bundle: Digest::of(b"v1"), windows })),
        ..Snapshot::default()
    }
}

fn run() -> Run {
    Run {
        id: RunId::new("r1").unwrap(),
        project: ProjectName::new("robots").unwrap(),
        commit: None,
        cause: "by hand".into(),
        requested_at_ms: Timestamp(NOW),
        finished_at_ms: None,
        outcome: None,
        gates: Vec::new(),
    }
}

fn state_of(seen: &Snapshot, name: &str) -> State {
    stages(seen).into_iter().find(|stage| stage.name == name).unwrap().state
}

#[test]
fn an_empty_control_plane_says_what_to_do() {
    let page = overview::render(
        &admin(),
        &Snapshot { address: "http://127.0.0.1:7700".into(), ..Snapshot::default() },
    )
    .0;
    for words in
        ["edgeward run --project", "No device has joined", "No model is registered", "Nothing to plot yet"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(stages(&Snapshot::default()).iter().all(|stage| stage.state == State::Waiting));
}

#[test]
fn what_a_device_says_is_never_markup() {
    let page = overview::render(&admin(), &lively()).0;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains("<script>alert"));
    assert!(!page.contains("<pixel>") && !page.contains("<camera>"));
}

#[test]
fn the_strip_shows_what_is_alive() {
    let seen = lively();
    assert_eq!(state_of(&seen, "Train"), State::Live);
    assert_eq!(state_of(&seen, "Serve"), State::Live);
    assert_eq!(state_of(&seen, "Alert"), State::Alarm);
    let seen = Snapshot { alerts: vec![raised(Some("a new lens"))], ..seen };
    assert_eq!(state_of(&seen, "Alert"), State::Done, "somebody has seen it");
    let settled =
        Snapshot { models: vec![Model { aliases: BTreeMap::new(), ..seen.models[0].clone() }], ..lively() };
    assert_eq!(state_of(&settled, "Alert"), State::Done, "an alert about an older model is settled");
}

#[test]
fn that_a_person_has_seen_an_alert_starts_and_stops_nothing() {
    for note in [None, Some("seen")] {
        // A run that ended, and an alert after it: the next run is due whoever has seen what.
        let seen = Snapshot { alerts: vec![raised(note)], runs: Vec::new(), ..lively() };
        let retrain = stages(&seen).into_iter().find(|stage| stage.name == "Retrain").unwrap();
        assert_eq!(retrain.detail, "by hand (level 0)", "{note:?}");
    }
}

#[test]
fn the_overview_counts_who_is_away_and_has_one_accuracy() {
    let page = overview::render(&admin(), &lively()).0;
    assert!(page.contains("70.0\u{202f}%"), "mean of both devices");
    assert!(page.contains("href=\"/fleet?standing=away\"") && page.contains("1 fine, 1 away"));
    assert!(page.contains("1 of 2 devices report"));
}

#[test]
fn the_plot_draws_the_streams_and_their_numbers() {
    let page = overview::render(&admin(), &lively()).0;
    assert!(page.contains("class=\"line s0\"") && page.contains("class=\"line s1\""));
    assert!(!page.contains("NaN") && !page.contains("inf\""));
    assert!(page.contains("role=\"img\"") && page.contains("96.0\u{202f}%"));
    assert!(page.contains("f1 macro") && page.contains("0.931") && page.contains("0.900 to 0.950"));
    assert!(page.contains("assumes no concept drift.") && page.contains("&lt;camera&gt;"));
}

/// A fleet of so many devices, every tenth of which is away.
fn large(devices: usize) -> Fleet {
    let all: Vec<Device> = (0..devices)
        .map(|n| device(&format!("device-{n:05}"), 0.9, if n % 10 == 0 { 60_000 } else { 0 }))
        .collect();
    let models = lively().models;
    Fleet::of(&all, &Context { now: Timestamp(NOW), models: &models, unsettled: &[], coming: &[] })
}

fn asked(query: &str) -> Asked {
    let uri = format!("/fleet?{query}").parse::<axum::http::Uri>().unwrap();
    axum::extract::Query::<Asked>::try_from_uri(&uri).unwrap().0
}

#[test]
fn ten_thousand_devices_are_counts_and_one_page_of_rows() {
    let fleet = large(10_000);
    let page = fleet::render(&admin(), &fleet, &Asked::default(), "http://127.0.0.1:7700").0;
    assert!(page.len() < 120_000, "{} bytes", page.len());
    assert_eq!(page.matches("<th scope=\"row\"><a href=\"/devices/").count(), 50);
    assert!(
        page.contains("1–50 of 10\u{202f}000")
            && page.contains("9\u{202f}000")
            && page.contains("data-look=\"5000\"")
    );
    let away = fleet::render(&admin(), &fleet, &asked("standing=away&page=19"), "").0;
    assert!(away.contains("951–1\u{202f}000 of 1\u{202f}000") && !away.contains("rel=\"next\""));
    let one = fleet::render(&admin(), &fleet, &asked("q=device-00042"), "").0;
    assert!(one.contains("1–1 of 1") && one.contains("/devices/device-00042"));
    let none = fleet::render(&admin(), &fleet, &asked("group=nobody"), "").0;
    assert!(none.contains("No such device"));
    let seen = Snapshot { fleet: Arc::new(fleet), ..lively() };
    let overview = overview::render(&admin(), &seen).0;
    assert!(overview.len() < 120_000 && overview.contains("a dot is 60 of them"), "{}", overview.len());
}

#[test]
fn a_device_stands_as_badly_as_what_is_worst_of_it() {
    let at = |change: fn(&mut Device)| {
        let mut one = device("d1", 0.9, 0);
        change(&mut one);
        let models = lively().models;
        let context =
            Context { now: Timestamp(NOW), models: &models, unsettled: &[], coming: &[Digest::of(b"v2")] };
        Fleet::of(&[one], &context).devices[0].standing
    };
    fn report(device: &mut Device) -> &mut ModelReport {
        device.report.as_mut().unwrap().models.get_mut(&model()).unwrap()
    }
    assert_eq!(at(|_| {}), Standing::Fine);
    assert_eq!(at(|device| report(device).phase = "probation".into()), Standing::Updating);
    assert_eq!(at(|device| report(device).log10_threshold = Some(4.0)), Standing::Alarmed);
    let refused = |device: &mut Device| {
        report(device)
            .refused
            .push(edgeward_core::slot::Refused { bundle: Digest::of(b"v2"), reason: "no".into() });
    };
    assert_eq!(at(refused), Standing::Refusing);
    assert_eq!(at(|device| device.seen_at_ms = Some(Timestamp(NOW - 20_000))), Standing::Away);
    let rare = |device: &mut Device| {
        device.seen_at_ms = Some(Timestamp(NOW - 100_000));
        device.report.as_mut().unwrap().session_started_at_ms = Timestamp(NOW - 60_000);
    };
    assert_eq!(at(rare), Standing::Fine, "it reports once in a minute");
    assert_eq!(at(|device| device.report = None), Standing::Silent);
    assert_eq!(at(|device| device.revoked_at_ms = Some(Timestamp(NOW))), Standing::Revoked);
}

#[test]
fn actions_are_offered_to_whoever_may_take_them() {
    let rollout = Rollout {
        id: RolloutId::new("rollout-1").unwrap(),
        model: model(),
        version: 2,
        bundle: Digest::of(b"v2"),
        group: Some(GroupName::new("canaries").unwrap()),
        started_at_ms: Timestamp(NOW),
        start_at_ms: None,
        wave: Some(0),
        waves_approved: 0,
        paused: false,
        outcome: None,
        finished_at_ms: None,
        reasons: vec!["<b>wave 1 opens</b>".into()],
    };
    let told = rollout::Told {
        now: Timestamp(NOW),
        status: RolloutStatus {
            rollout: rollout.clone(),
            devices: vec![RolloutDevices { all: 10, reached: 1, running: 1, ..RolloutDevices::default() }],
            gates: Vec::new(),
            now: vec!["wave 2: waits for approval".into()],
        },
        policy: RolloutPolicy { approval: Approval::Each, ..RolloutPolicy::default() },
        from: Some(Digest::of(b"v1")),
        cause: "by hand".into(),
        entries: Vec::new(),
    };
    let page = |role| rollout::render(&viewer(role), &told, Some("approved")).0;
    let offers = |role| {
        ["approve", "pause", "abort"]
            .map(|verb| page(role).contains(&format!("href=\"/rollouts/rollout-1/{verb}\"")))
    };
    assert_eq!(offers(Role::Viewer), [false; 3]);
    assert_eq!(offers(Role::Operator), [false, true, true]);
    assert_eq!(offers(Role::Approver), [true; 3]);
    let page = page(Role::Approver);
    assert!(
        page.contains("needs approval")
            && page.contains("Done: approved")
            && page.contains("&lt;b&gt;wave 1")
    );
    assert_eq!(page.matches("class=\"live\"").count(), 1);
    let list = rollout::render_list(&viewer(Role::Viewer), &[rollout], Timestamp(NOW)).0;
    assert!(list.contains("under way") && list.contains("None yet."));
}

/// The inbox of one alert, as `query` asks for it.
fn inbox(role: Role, raised: RaisedAlert, models: &[Model], query: &str) -> String {
    let asked = axum::extract::Query::try_from_uri(&format!("/alerts?{query}").parse().unwrap()).unwrap().0;
    let inbox = alerts::Inbox {
        now: Timestamp(NOW),
        alerts: vec![raised],
        models: models.to_vec(),
        asked,
        ..alerts::Inbox::default()
    };
    alerts::render(&viewer(role), &inbox).0
}

#[test]
fn the_inbox_tells_open_from_acknowledged_from_settled() {
    let models = lively().models;
    let counts = |page: &str| {
        let count = |name: &str| {
            page.split(&format!(">{name} <span class=\"count\">")).nth(1).unwrap()[..1].to_owned()
        };
        ["Open", "Acknowledged", "All"].map(count).join(" ")
    };
    let open = inbox(Role::Operator, raised(None), &models, "");
    assert!(open.contains("Decay on d1") && open.contains("open</span>") && open.contains("&lt;script&gt;"));
    assert!(open.contains("href=\"/alerts/acknowledge?alert=a1\"") && counts(&open) == "1 0 1", "{open}");
    let viewers = inbox(Role::Viewer, raised(None), &models, "");
    assert!(!viewers.contains("/alerts/acknowledge"), "a viewer may not");

    let seen = || raised(Some("a new <lens>"));
    assert!(inbox(Role::Operator, seen(), &models, "").contains("No open alert."));
    let page = inbox(Role::Operator, seen(), &models, "acknowledged=true");
    assert!(page.contains("acknowledged</span>") && counts(&page) == "0 1 1", "{page}");
    assert!(page.contains("by ann &lt;a&gt;") && page.contains("“a new &lt;lens&gt;”"), "{page}");
    assert!(!page.contains("/alerts/acknowledge?"), "once is enough");

    assert!(inbox(Role::Operator, raised(None), &[], "").contains("No open alert."));
    let settled = inbox(Role::Operator, seen(), &[], "all=true");
    assert!(settled.contains("settled</span>") && counts(&settled) == "0 0 1", "{settled}");
    assert!(settled.contains("acknowledged by ann"), "who has seen it is told for ever");
    assert!(!inbox(Role::Operator, raised(None), &[], "all=true").contains("/alerts/acknowledge?"));
}

#[test]
fn lists_that_are_empty_say_what_fills_them() {
    let (nobody, now) = (viewer(Role::Viewer), Timestamp(NOW));
    for (page, words) in [
        (models::render_list(&nobody, &[], &[], now), "No model is registered"),
        (rollout::render_list(&nobody, &[], now), "None is under way"),
        (runs::render_list(&nobody, (&[], &[], &[]), now, None), "No run yet"),
        (shadow::render(&nobody, &[], now), "No shadows yet"),
        (fleet::render(&nobody, &Fleet::default(), &Asked::default(), "http://x"), "No device has joined"),
        (alerts::render(&nobody, &alerts::Inbox::default()), "No open alert."),
    ] {
        assert!(page.0.contains(words), "{words}");
    }
}

#[test]
fn pages_need_nothing_from_elsewhere_and_no_inline_style_or_script() {
    let pages = [
        overview::render(&admin(), &lively()),
        fleet::render(&admin(), &large(3), &Asked::default(), ""),
        alerts::render(&admin(), &alerts::Inbox::default()),
        runs::render_list(&admin(), (&[run()], &[], &[]), Timestamp(NOW), None),
        shadow::render(&admin(), &[], Timestamp(NOW)),
        ledger::render(&admin(), &trail()),
        ledger::entry(&admin(), &inclusion()),
        prediction::render(&admin(), &why(mapped())),
        prediction::render(&admin(), &why(features())),
    ];
    for page in pages.map(|page| page.0) {
        assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"));
        for reference in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "data:"] {
            assert!(!page.contains(reference), "{reference}");
        }
        assert_eq!(page.matches("<h1").count(), 1, "one heading");
        assert!(page.contains("lang=\"en\"") && page.contains("Skip to content"));
    }
}

fn trail() -> ledger::Trail {
    let entries = entries(vec![
        Event::AlertRaised(alert("<script>alert(1)</script>")),
        Event::RecordsRead { what: "prediction 1".into(), by: "<b>ada</b>".into() },
    ]);
    ledger::Trail { now: Timestamp(NOW), len: 1234, covered: 1200, entries, ..ledger::Trail::default() }
}

fn inclusion() -> Inclusion {
    let entry = serde_json::to_string(
        &entries(vec![Event::DeviceEnrolled { device: DeviceId::new("d1").unwrap() }])[0],
    );
    Inclusion {
        entry: serde_json::value::RawValue::from_string(entry.unwrap()).unwrap(),
        index: 0,
        checkpoint: Some("edgeward-ledger/0\n1\nroot\n".into()),
        proof: vec![Digest::of(b"sibling")],
    }
}

fn reproduced() -> Reproduced {
    Reproduced { same: true, then: Answer::default(), now: Answer::default() }
}

fn features() -> Explanation {
    let one = |feature: &str, moved| Attribution { feature: feature.into(), value: 1.5, moved, error: 0.25 };
    Explanation::Given {
        method: "exact",
        row: 0,
        output: "worn".into(),
        base: 0.25,
        answer: 0.75,
        background: 8,
        seed: 7,
        form: "rten-f32".into(),
        reproduced: reproduced(),
        attributions: vec![one("<vibration>", 0.75), one("heat", -0.25)],
    }
}

fn mapped() -> Explanation {
    let (mattered, seen) = (vec![0.0, 0.5, -0.25, 0.0], vec![0.0, 1.0, 0.5, 0.0]);
    let picture = Picture { kind: Kind::Image, of: [4, 4], height: 2, width: 2, mattered, seen };
    Explanation::Mapped {
        method: "rise",
        row: 0,
        output: "eight".into(),
        answer: 0.75,
        evaluations: 1025,
        seed: 7,
        form: "rten-f32".into(),
        reproduced: reproduced(),
        picture,
    }
}

fn why(explanation: Explanation) -> Why {
    let id = edgeward_core::PredictionId(uuid::Uuid::from_u128(1));
    let said = ShadowSaid { bundle: Digest::of(b"v2"), latency_us: 9, answers: None };
    let run = RunId::new("r2").unwrap();
    Why {
        schema: WHY_SCHEMA,
        device: DeviceId::new("d1").unwrap(),
        received_at_ms: Timestamp(NOW),
        record: PredictionRecord {
            prediction: id,
            model: model(),
            bundle: Digest::of(b"v1"),
            form: "rten-f32".into(),
            at_ms: Timestamp(NOW),
            latency_us: 812,
            input: Digest::of(b"in"),
            kept: Kept::Whole,
            keep_days: 30,
            record_days: None,
            output: Digest::of(b"out"),
            rows: 1,
            answers: vec![Answer { predicted: Some("<i>8</i>".into()), confidence: Some(0.75) }],
            marks: Vec::new(),
            seed: 7,
            trace: None,
        },
        labels: Vec::new(),
        shadows: vec![ShadowsRecord { prediction: id, run, at_ms: Timestamp(NOW), candidates: vec![said] }],
        input: InputTold::Here { redacted: Vec::new() },
        explanation,
        model: ModelTold {
            name: model(),
            bundle: Digest::of(b"v1"),
            version: Some(1),
            gone: None,
            files: Vec::new(),
            forms: Vec::new(),
            made_from: None,
            story: Story::default(),
        },
        proof: Proved {
            origin: "edgeward-ledger/0".into(),
            origin_known: false,
            checkpoint_size: 9,
            checkpoint_root: Digest::of(b"root"),
            batch: Some((3, 7)),
            entries: 5,
        },
    }
}

#[test]
fn the_audit_trail_shows_its_state_its_entries_and_what_was_found() {
    let page = ledger::render(&admin(), &trail()).0;
    assert!(
        page.contains("1\u{202f}234")
            && page.contains("href=\"/audit/1\"")
            && page.contains("Check all of it now")
    );
    assert!(
        page.contains("&lt;b&gt;ada&lt;/b&gt;")
            && !page.contains("<b>ada")
            && !page.contains("<script>alert")
    );
    assert!(!page.contains("rel=\"next\""), "all of them are on the page");
    let found = |audit| ledger::render(&admin(), &ledger::Trail { audit: Some(audit), ..trail() }).0;
    let bad = found(Err("entry 7 was edited".into()));
    assert!(
        bad.contains("Not verified") && bad.contains("entry 7 was edited") && bad.contains("role=\"alert\"")
    );
    let filtered = ledger::Trail { kind: Some("alert_raised".into()), ..trail() };
    assert!(ledger::render(&admin(), &filtered).0.contains("<option value=\"alert_raised\" selected>"));
    let proof = ledger::entry(&admin(), &inclusion()).0;
    assert!(proof.contains(&Digest::of(b"sibling").hex()) && proof.contains("&quot;device_enrolled&quot;"));
}

#[test]
fn a_prediction_is_explained_by_bars_and_by_maps() {
    let page = prediction::render(&admin(), &why(features())).0;
    assert!(page.contains("&lt;vibration&gt;") && page.contains("&lt;i&gt;8&lt;/i&gt;"));
    assert!(page.contains("width=\"100.0\"") && page.contains("width=\"33.3\""), "bars by their share");
    assert!(page.contains("Candidates of run r2") && page.contains("failed"));
    let page = prediction::render(&admin(), &why(mapped())).0;
    assert_eq!(page.matches("role=\"img\"").count(), 2, "what was seen and what mattered");
    assert!(page.contains("rests most on what is about line 0, point 2"), "{page}");
    assert!(page.contains("fill-opacity=\"0.50\""), "half as much against it");
    assert!(!page.contains("NaN"));
}
