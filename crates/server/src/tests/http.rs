//! What devices, pipelines and operators do, in the order they do it.

use std::io::Read;

use edgeward_api::client::FileAnswer;
use edgeward_api::device::{
    AlertsUpload, EnrolRequest, PROFILE_SCHEMA, ProfileUpload, SAMPLES_SCHEMA, Sample, SamplesUpload,
};
use edgeward_api::limits::{
    ALERTS_PER_UPLOAD_MAX, JSON_BYTES_MAX, PERFORMANCE_BYTES_MAX, SAMPLES_PER_UPLOAD_MAX,
};
use edgeward_api::operator::{
    AcknowledgeRequest, GateVerdict, GateVerdicts, JoinTokenRequest, QuarantineDecision, RunAnnouncement,
    RunEnd, VersionRegistration,
};
use edgeward_api::{Client, ClientError, Problem, routes};
use edgeward_core::envelope::Base64;
use edgeward_core::event::{RunOutcome, SampleVerdict};
use edgeward_core::ledger::Entry;
use edgeward_core::{DeviceId, Digest, Event, PredictionId, RunId, Timestamp};
use edgeward_trust::tuf::Trusted;
use edgeward_trust::{Checkpoint, LedgerKeys};
use uuid::Uuid;

use super::support::{Plant, START, WEIGHTS, alert, config, model, project, report};

fn refused<T>(result: Result<T, ClientError>) -> (u16, Problem) {
    match result.err() {
        Some(ClientError::Refused { status, problem, .. }) => (status, problem),
        other => panic!("{other:?}"),
    }
}

fn send(plant: &Plant, method: &str, path: &str, media_type: &str, body: Vec<u8>) -> (u16, Option<Problem>) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", plant.url))
        .header("authorization", format!("Bearer {}", plant.token()))
        .header("content-type", media_type);
    let mut answer = agent.run(request.body(body).unwrap()).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_json().ok())
}

fn sample(n: u128, label: Option<&str>) -> Sample {
    Sample {
        prediction: PredictionId(Uuid::from_u128(n)),
        row: 0,
        model: model(),
        bundle: Digest::of(b"bundle"),
        at_ms: Timestamp(START),
        features: Base64(1.5f32.to_le_bytes().to_vec()),
        predicted: Some("3".to_owned()),
        label: label.map(str::to_owned),
        suspicion: None,
    }
}

fn upload(samples: Vec<Sample>) -> SamplesUpload {
    SamplesUpload { schema: SAMPLES_SCHEMA.to_owned(), samples }
}

#[test]
fn every_refusal_is_a_problem() {
    let plant = Plant::serving(|_| {});
    let json = "application/json";
    for (method, path, media_type, body, status, kind) in [
        ("GET", "/nothing", json, "", 404, "not_found"),
        ("DELETE", routes::DEVICES, json, "", 405, "method_not_allowed"),
        ("POST", routes::JOIN_TOKENS, "text/plain", "{}", 415, "unsupported_media_type"),
        ("POST", routes::JOIN_TOKENS, json, "{", 400, "malformed"),
        ("POST", routes::JOIN_TOKENS, json, "{}", 422, "invalid"),
        ("POST", routes::JOIN_TOKENS, json, r#"{"uses":0,"ttl_ms":1}"#, 422, "invalid"),
        ("POST", "/v1/projects/nothing/runs", json, r#"{"cause":"c"}"#, 404, "not_found"),
        ("POST", "/v1/projects/NOT%20A%20NAME/runs", json, r#"{"cause":"c"}"#, 422, "invalid"),
        ("GET", "/v1/blobs/abc", json, "", 422, "invalid"),
        ("GET", "/v1/events?limit=many", json, "", 422, "invalid"),
        ("GET", "/v1/models/absent/drift", json, "", 404, "not_found"),
        ("POST", "/v1/models/absent/rollouts", json, r#"{"cause":"c"}"#, 404, "not_found"),
    ] {
        let (found, problem) = send(&plant, method, path, media_type, body.as_bytes().to_vec());
        let problem = problem.unwrap_or_else(|| panic!("{method} {path}: no problem, {found}"));
        assert_eq!((found, problem.kind.as_str()), (status, kind), "{method} {path}");
        assert!(!problem.error.is_empty());
    }
    plant.stop();
}

#[test]
fn an_unknown_model_is_named_with_what_there_is_instead() {
    let plant = Plant::serving(|_| {});
    let body = br#"{"cause":"c"}"#.to_vec();
    let (_, problem) = send(&plant, "POST", "/v1/models/absent/rollouts", "application/json", body);
    let problem = problem.unwrap();
    assert!(problem.error.contains("no model absent"), "{problem:?}");
    assert!(problem.hints[0].contains("No model is registered yet"), "{problem:?}");
    plant.stop();
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_at_it_is_read() {
    let plant = Plant::serving(|_| {});
    let padded = |bytes: usize| {
        let mut body = br#"{"uses":1,"ttl_ms":1000}"#.to_vec();
        body.resize(bytes, b' ');
        send(&plant, "POST", routes::JOIN_TOKENS, "application/json", body).0
    };
    let limit = usize::try_from(JSON_BYTES_MAX).unwrap();
    assert_eq!([padded(limit), padded(limit + 1)], [200, 413]);
    plant.stop();
}

#[test]
fn joining_takes_a_use_of_the_token_and_a_free_name() {
    let plant = Plant::serving(|_| {});
    let token =
        plant.operator().make_join_token(&JoinTokenRequest { uses: 2, ttl_ms: 1000, device: None }).unwrap();
    let anyone = Client::new(&plant.url, None);
    let request = EnrolRequest::new(token.join_token, DeviceId::new("robot").unwrap());
    let (first, second) = (anyone.enrol(&request).unwrap(), anyone.enrol(&request).unwrap());
    assert_eq!([first.device.as_str(), second.device.as_str()], ["robot", "robot-2"]);
    assert_ne!(first.credential, second.credential);
    let pinned = Trusted::pin(first.root.to_string().as_bytes(), Timestamp(0)).unwrap();
    assert_eq!(pinned.root().version, 1);
    assert!(refused(anyone.enrol(&request)).1.error.contains("used up"));
    let late =
        plant.operator().make_join_token(&JoinTokenRequest { uses: 2, ttl_ms: 1000, device: None }).unwrap();
    plant.pass(std::time::Duration::from_secs(1));
    let late = EnrolRequest { join_token: late.join_token, ..request };
    assert!(refused(anyone.enrol(&late)).1.error.contains("expired"));
    let guess = EnrolRequest { join_token: "ewj_guess".to_owned(), ..late };
    assert_eq!(refused(anyone.enrol(&guess)).0, 401);
    plant.stop();
}

#[test]
fn a_version_reaches_the_devices_signed() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    let (device, client) = plant.enrol("robot");
    operator.register_project(&project()).unwrap();
    let version = plant.make_version(&operator, "run-1", WEIGHTS);
    assert_eq!(version.version, 1);

    let said = plant
        .wait_for(&client, |assignment| assignment.next.as_ref().is_none_or(|next| next.limit.is_some()));
    assert_eq!(said.desired.models[&model()].bundle_for(&device), Some(version.bundle));
    assert_eq!(said.releases.keys().collect::<Vec<_>>(), [&(model(), version.bundle)]);
    let (metadata, _) = client.repository();
    let FileAnswer::Bytes { etag, .. } = metadata.get("timestamp.json", 10_000, None).unwrap() else {
        panic!("the timestamp is there");
    };
    assert_eq!(metadata.get("timestamp.json", 10_000, etag.as_deref()).unwrap(), FileAnswer::Unchanged);

    let (partial, mut reader) = client.blob(&Digest::of(b"weights"), 3).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!((partial, rest.as_slice()), (true, b"ghts".as_slice()));
    plant.stop();
}

#[test]
fn what_no_device_would_run_is_not_registered() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    operator.register_project(&project()).unwrap();
    let run = RunId::new("run-1").unwrap();
    let (_, good) = plant.upload(&operator, &run, WEIGHTS);
    assert_eq!(refused(operator.register_version(&model(), &good)).0, 404, "the run is not announced");
    let (project, cause) = (project().name, "test".to_owned());
    operator.announce_run(&RunAnnouncement { run: run.clone(), project, cause }).unwrap();

    let stranger = edgeward_trust::SigningKey::from_seed(&[1; 32]);
    let mut forged = good.clone();
    let body =
        edgeward_trust::tuf::Document::<edgeward_trust::tuf::Targets>::parse(&good.releases.0).unwrap();
    forged.releases.0 = edgeward_trust::tuf::repository::sign(body.body(), &[&stranger]).unwrap();
    let (status, problem) = refused(operator.register_version(&model(), &forged));
    assert!(status == 422 && problem.error.contains("signatures that role releases needs"), "{problem:?}");
    let unlisted = VersionRegistration { releases: Base64::default(), ..good.clone() };
    assert_eq!(refused(operator.register_version(&model(), &unlisted)).0, 422);
    let mut by_stranger = good.clone();
    by_stranger.releases.0 =
        String::from_utf8(by_stranger.releases.0).unwrap().replace("\"sig\":\"", "\"sig\":\"0").into();
    assert_eq!(refused(operator.register_version(&model(), &by_stranger)).0, 422);
    let absent = VersionRegistration { bundle: Digest::of(b"absent"), ..good.clone() };
    assert_eq!(refused(operator.register_version(&model(), &absent)).0, 404);

    let first = operator.register_version(&model(), &good).unwrap();
    assert_eq!(operator.register_version(&model(), &good).unwrap(), first);
    assert_eq!(operator.models().unwrap().models[0].versions.len(), 1);
    plant.stop();
}

#[test]
fn a_damaged_upload_is_not_kept() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    let digest = Digest::of(b"right");
    assert_eq!(refused(operator.upload_blob(&digest, b"wrong")).0, 422);
    assert_eq!(refused(operator.blob(&digest, 0).map(|_| ())).0, 404);
    operator.upload_blob(&digest, b"right").unwrap();
    operator.upload_blob(&digest, b"right").unwrap();
    assert_eq!(refused(operator.blob(&digest, 5).map(|_| ())).0, 416);
    plant.stop();
}

#[test]
fn uploads_count_once_however_often_they_come() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    let (device, client) = plant.enrol("robot");
    let raised = AlertsUpload { alerts: vec![alert("a1", &device, Digest::of(b"bundle"))] };
    for _ in 0..2 {
        client.upload_alerts(&raised).unwrap();
        client.upload_samples(&upload(vec![sample(1, None), sample(2, Some("8"))])).unwrap();
        client.report(&report(5, None)).unwrap();
    }
    assert_eq!(operator.alerts().unwrap().alerts.len(), 1);
    assert_eq!(operator.labelled_samples(&model(), 0, 10).unwrap().samples.len(), 1);
    client.upload_samples(&upload(vec![sample(1, Some("9"))])).unwrap();
    let page = operator.labelled_samples(&model(), 0, 10).unwrap();
    assert_eq!(page.samples.iter().map(|s| s.label.as_deref()).collect::<Vec<_>>(), [Some("8"), Some("9")]);
    assert_eq!((page.samples[0].values(), page.next), (vec![1.5], None));

    client.report(&report(4, Some(Digest::of(b"old")))).unwrap();
    let seen = operator.devices().unwrap().devices.remove(0);
    assert_eq!(seen.report.unwrap().seq, 5, "an older report is ignored");
    plant.stop();
}

#[test]
fn the_first_who_acknowledges_an_alert_stands() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    let (device, client) = plant.enrol("robot");
    // Whatever a device calls an alert, it can be acknowledged.
    let hostile = "a/../b?x=%2F\u{1f4a5} <i>";
    let alerts = ["a1", hostile].map(|id| alert(id, &device, Digest::of(b"bundle"))).to_vec();
    client.upload_alerts(&AlertsUpload { alerts: alerts.clone() }).unwrap();
    let acknowledge = |alert: &str, note: Option<&str>| {
        operator.acknowledge_alert(&AcknowledgeRequest { alert: alert.into(), note: note.map(str::to_owned) })
    };
    let listed = || operator.alerts().unwrap().alerts;
    assert!(listed().iter().all(|raised| raised.acknowledged.is_none()));

    let (status, problem) = refused(acknowledge("a2", None));
    assert_eq!((status, problem.error.as_str()), (404, "there is no alert a2"));
    assert!(problem.hints[0].contains("edgeward alert ls"), "{problem:?}");
    assert_eq!(refused(acknowledge("a1", Some(&"x".repeat(2001)))).0, 413);
    assert_eq!(refused(acknowledge(&"a".repeat(2001), None)).0, 413);

    let first = acknowledge("a1", Some(" a new lens ")).unwrap();
    assert_eq!((first.already, first.acknowledged.note.as_deref()), (false, Some("a new lens")));
    plant.pass(std::time::Duration::from_secs(60));
    let again = acknowledge("a1", Some("me, too")).unwrap();
    assert_eq!((again.already, &again.acknowledged), (true, &first.acknowledged));
    assert_eq!(acknowledge(hostile, Some("  ")).unwrap().acknowledged.note, None);
    assert!(listed().iter().all(|raised| raised.acknowledged.is_some()));
    assert_eq!(listed()[1].acknowledged.as_ref(), Some(&first.acknowledged));

    // The device sends it once more: it is no new one. Another one is, whatever was said of the first.
    client.upload_alerts(&AlertsUpload { alerts: vec![alerts[0].clone()] }).unwrap();
    assert_eq!(listed().len(), 2);
    client
        .upload_alerts(&AlertsUpload { alerts: vec![alert("a3", &device, Digest::of(b"bundle"))] })
        .unwrap();
    assert!(listed()[0].alert.id == "a3" && listed()[0].acknowledged.is_none());
    let entries = operator.events(0, 100).unwrap().entries;
    let told = |entry: &&Entry| matches!(entry.event, Event::AlertAcknowledged { .. });
    assert_eq!(entries.iter().filter(told).count(), 2);
    plant.stop();
}

#[test]
fn what_a_device_finds_impossible_waits_for_a_person() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    let (device, client) = plant.enrol("robot");
    let odd = |n| Sample { suspicion: Some("'price' is -36.98".into()), ..sample(n, Some("8")) };
    client.upload_samples(&upload(vec![sample(1, Some("7")), odd(2), odd(3)])).unwrap();
    let learned = || operator.labelled_samples(&model(), 0, 10).unwrap().samples.len();
    let held = || operator.quarantine(&model()).unwrap().held;
    assert_eq!((learned(), held().len()), (1, 2));
    assert_eq!(
        (&held()[0].device, held()[0].sample.suspicion.as_deref()),
        (&device, Some("'price' is -36.98"))
    );
    let decide = |predictions, verdict| {
        let cause = "looked at it".to_owned();
        operator.decide_quarantine(&model(), &QuarantineDecision { predictions, verdict, cause })
    };
    assert_eq!(decide(vec![odd(2).prediction], SampleVerdict::Released).unwrap().samples, 1);
    assert_eq!((learned(), held().len()), (2, 1));
    assert_eq!(decide(Vec::new(), SampleVerdict::Discarded).unwrap().samples, 1);
    assert_eq!((learned(), held().len()), (2, 0));
    assert_eq!(refused(decide(Vec::new(), SampleVerdict::Released)).0, 404);
    let entries = operator.events(0, 100).unwrap().entries;
    let judged = |entry: &&Entry| matches!(entry.event, Event::SamplesJudged { .. });
    assert_eq!(entries.iter().filter(judged).count(), 2);
    plant.stop();
}

#[test]
fn a_device_speaks_only_for_itself_and_within_limits() {
    let plant = Plant::serving(|_| {});
    let (device, client) = plant.enrol("robot");
    let other = DeviceId::new("other").unwrap();
    let bundle = Digest::of(b"bundle");
    let forged = AlertsUpload { alerts: vec![alert("a1", &other, bundle)] };
    assert_eq!(refused(client.upload_alerts(&forged)).0, 403);
    // With an id of the control plane's own it would silence what is said of the fleet.
    for taken in ["world-", "odd-", "odd#2-"] {
        let id = format!("{taken}{}-robot", bundle.hex());
        let forged = AlertsUpload { alerts: vec![alert(&id, &device, bundle)] };
        assert_eq!(refused(client.upload_alerts(&forged)).0, 422, "{id}");
    }
    let alerts = |n: usize| AlertsUpload {
        alerts: (0..n).map(|i| alert(&format!("a{i}"), &device, bundle)).collect(),
    };
    client.upload_alerts(&alerts(ALERTS_PER_UPLOAD_MAX)).unwrap();
    assert_eq!(refused(client.upload_alerts(&alerts(ALERTS_PER_UPLOAD_MAX + 1))).0, 413);
    let samples = |n: usize| upload((0..n).map(|i| sample(i as u128, None)).collect());
    client.upload_samples(&samples(SAMPLES_PER_UPLOAD_MAX)).unwrap();
    assert_eq!(refused(client.upload_samples(&samples(SAMPLES_PER_UPLOAD_MAX + 1))).0, 413);
    let torn = Sample { features: Base64(vec![1, 2, 3]), ..sample(9000, None) };
    assert_eq!(refused(client.upload_samples(&upload(vec![torn]))).0, 422);
    let profile = ProfileUpload {
        schema: PROFILE_SCHEMA.to_owned(),
        session: Uuid::from_u128(1),
        seq: 1,
        model: model(),
        bundle,
        from_ms: Timestamp(0),
        to_ms: Timestamp(1),
        profile: Base64(b"not a profile".to_vec()),
        labelled: 0,
        correct: 0,
        performance: None,
        service: None,
    };
    assert_eq!(refused(client.upload_profile(&profile)).0, 422);
    for (schema, performance, status) in [
        (PROFILE_SCHEMA, b"no performance".to_vec(), 422),
        ("edgeward.profile-upload/2", edgeward_monitor::SegmentedPerformance::default().to_bytes(), 422),
        (PROFILE_SCHEMA, vec![0; PERFORMANCE_BYTES_MAX + 1], 413),
    ] {
        let performance = Some(Base64(performance));
        let profile = ProfileUpload { schema: schema.to_owned(), performance, ..profile.clone() };
        assert_eq!(refused(client.upload_profile(&profile)).0, status);
    }
    plant.stop();
}

#[test]
fn a_run_is_begun_judged_and_ended_once() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    let announcement = RunAnnouncement {
        run: RunId::new("run-1").unwrap(),
        project: project().name,
        cause: "test".to_owned(),
    };
    assert_eq!(refused(operator.announce_run(&announcement)).0, 404);
    operator.register_project(&project()).unwrap();
    let run = operator.announce_run(&announcement).unwrap();
    assert_eq!(operator.announce_run(&announcement).unwrap(), run);
    let second = RunAnnouncement { run: RunId::new("run-2").unwrap(), ..announcement };
    assert_eq!(refused(operator.announce_run(&second)).0, 409);

    let verdict = GateVerdict { gate: "accuracy".into(), passed: false, reason: "0.91 < 0.95".into() };
    let verdicts = GateVerdicts { verdicts: vec![verdict] };
    let end = RunEnd {
        outcome: RunOutcome::Refused { reason: "accuracy".into() },
        adopts: None,
        shadows: Vec::new(),
    };
    for _ in 0..2 {
        operator.record_gates(&run.id, &verdicts).unwrap();
        operator.finish_run(&run.id, &end).unwrap();
    }
    let other = RunEnd {
        outcome: RunOutcome::Failed { reason: "late twin".into() },
        adopts: None,
        shadows: Vec::new(),
    };
    assert_eq!(refused(operator.finish_run(&run.id, &other)).0, 409);
    let runs = operator.runs().unwrap().runs;
    assert_eq!((runs.len(), runs[0].gates.len(), runs[0].outcome.clone()), (1, 1, Some(end.outcome)));
    assert_eq!(operator.events(0, 100).unwrap().entries.len(), 4);
    plant.stop();
}

#[test]
fn the_checkpoint_covers_every_entry() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    plant.enrol("robot");
    operator.register_project(&project()).unwrap();
    let root = std::fs::read(plant.dir.path().join("repository/metadata/1.root.json")).unwrap();
    let pinned = Trusted::pin(&root, Timestamp(0)).unwrap();
    let keys = LedgerKeys::of(pinned.root()).unwrap();
    let origin = keys.origin();
    let checkpoint = operator.checkpoint().unwrap();
    assert_eq!(checkpoint.size, 3);
    let verified = Checkpoint::verify(&checkpoint.note, &origin, &keys).unwrap();
    let leaves = operator.events(0, 10).unwrap().entries;
    let leaves: Vec<Digest> =
        leaves.iter().map(|entry| edgeward_trust::tree::leaf_hash(&entry.to_bytes().unwrap())).collect();
    assert_eq!(verified.head.root, edgeward_trust::tree::root(&leaves));
    assert_eq!(operator.checkpoint().unwrap(), checkpoint);
    plant.stop();
}

#[test]
fn watchers_get_every_entry_and_resume_where_they_left() {
    let plant = Plant::serving(|_| {});
    plant.enrol("robot-1");
    let watch = |last: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
        let request = agent.get(format!("{}{}", plant.url, routes::EVENTS_STREAM));
        let request = request.header("authorization", format!("Bearer {}", plant.token()));
        std::io::BufReader::new(
            request.header("last-event-id", last).call().unwrap().into_body().into_reader(),
        )
    };
    let ids = |reader: &mut dyn Read, n: usize| -> Vec<String> {
        let mut line = || {
            // One byte at a time: nothing of the next event may be taken away.
            let (mut line, mut byte) = (Vec::new(), [0]);
            while reader.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
                line.push(byte[0]);
            }
            String::from_utf8(line).unwrap()
        };
        let lines = std::iter::repeat_with(&mut line);
        lines.filter_map(|line| line.strip_prefix("id: ").map(str::to_owned)).take(n).collect()
    };
    plant.enrol("robot-2");
    let mut stream = watch("0");
    assert_eq!(ids(&mut stream, 1), ["1"]);
    plant.enrol("robot-3");
    assert_eq!(ids(&mut stream, 1), ["2"]);
    assert_eq!(ids(&mut watch("1"), 1), ["2"]);
    plant.stop();
}

#[test]
fn starts_that_cannot_work_say_why() {
    let plant = Plant::serving(|_| {});
    let problem = |change: &dyn Fn(&mut crate::ServerConfig)| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        plant.runtime.block_on(crate::bind(config)).err().unwrap().problem()
    };
    let taken = plant.url.strip_prefix("http://").unwrap().parse().unwrap();
    let port = problem(&|config| config.listen = taken);
    assert!(port.kind == "port_taken" && port.hints[0].contains("--listen"), "{port:?}");
    let in_use = problem(&|config| config.data_dir = plant.dir.path().to_owned());
    assert_eq!(in_use.kind, "data_dir_in_use");
    let bad = problem(&|config| config.data_dir = PathBufFile::here());
    assert_eq!(bad.kind, "data_dir_not_writable");
    plant.stop();
}

struct PathBufFile;

impl PathBufFile {
    /// A path that is a file on every machine that runs this test: the test itself.
    fn here() -> std::path::PathBuf {
        std::env::current_exe().unwrap()
    }
}
