//! A whole agent against a control plane that is an in-memory fake behind real HTTP.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use edgeward_api::device::{AlertsUpload, EnrolAnswer, EnrolRequest, ProfileUpload, Report, SamplesUpload};
use edgeward_api::{Problem, routes};
use edgeward_core::Digest;
use edgeward_core::desired::Assignment;
use edgeward_model::bundle::path;
use edgeward_trust::fleet::Lives;
use edgeward_trust::fleet::rehearsal::Rehearsal;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::fixtures::{bundle, model, one_row, onnx_bytes, post as http_post};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

struct Plane {
    repository: Rehearsal,
    blobs: BTreeMap<String, Vec<u8>>,
    reports: Vec<Report>,
    profiles: Vec<ProfileUpload>,
    samples: SamplesSeen,
    alerts: Vec<edgeward_core::Alert>,
    /// How often each file of the repository was asked for, and how often it was another one.
    asked: BTreeMap<String, (u64, u64)>,
}

#[derive(Default)]
struct SamplesSeen(Vec<edgeward_api::device::Sample>);

type Shared = Arc<Mutex<Plane>>;

impl Default for Plane {
    fn default() -> Self {
        Self {
            repository: Rehearsal::new(Lives::default(), system_clock()).unwrap(),
            blobs: BTreeMap::new(),
            reports: Vec::new(),
            profiles: Vec::new(),
            samples: SamplesSeen::default(),
            alerts: Vec::new(),
            asked: BTreeMap::new(),
        }
    }
}

impl Plane {
    /// Makes `bundle` what the whole fleet should run.
    fn deploy(&mut self, bundle: &Bundle) {
        let manifest = fs::read(bundle.dir().join(path::MANIFEST)).unwrap();
        self.repository.release(&model(), &manifest, system_clock()).unwrap();
        self.blobs.insert(bundle.digest().hex(), manifest);
        for (path, entry) in &bundle.manifest().files {
            self.blobs.insert(entry.digest.hex(), bundle.read(path.as_str()).unwrap());
        }
        let assignment = Assignment { stable: Some(bundle.digest()), ..Assignment::default() };
        self.repository.publish(BTreeMap::from([(model(), assignment)]), system_clock()).unwrap();
    }
}

async fn enrol(State(plane): State<Shared>, Json(request): Json<EnrolRequest>) -> Response {
    if request.join_token != "good" {
        let problem = Problem::new("unauthorized", "the join token is unknown");
        return (StatusCode::UNAUTHORIZED, Json(problem)).into_response();
    }
    let root = serde_json::from_slice(plane.lock().unwrap().repository.shelf().root().bytes()).unwrap();
    let credential = Some("credential".to_owned());
    Json(EnrolAnswer { device: request.name, credential, certificate: None, root }).into_response()
}

async fn file(State(plane): State<Shared>, UrlPath(path): UrlPath<String>, headers: HeaderMap) -> Response {
    let mut plane = plane.lock().unwrap();
    assert_eq!(headers[header::AUTHORIZATION], "Bearer credential");
    let bytes = plane.repository.files().get(&path).map(|bytes| bytes.to_vec());
    let counts = plane.asked.entry(path).or_default();
    counts.0 += 1;
    let Some(bytes) = bytes else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{}\"", Digest::of(&bytes).short());
    if headers.get(header::IF_NONE_MATCH).is_some_and(|tag| *tag == *etag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    counts.1 += 1;
    ([(header::ETAG, etag)], bytes).into_response()
}

async fn blob(State(plane): State<Shared>, UrlPath(digest): UrlPath<String>) -> Response {
    plane
        .lock()
        .unwrap()
        .blobs
        .get(&digest)
        .cloned()
        .map_or(StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

fn fake(plane: Shared) -> Router {
    Router::new()
        .route(routes::ENROL, post(enrol))
        .route(&format!("{}/{{*path}}", routes::REPOSITORY), get(file))
        .route(routes::BLOB, get(blob))
        .route(
            routes::REPORT,
            post(|State(plane): State<Shared>, Json(report): Json<Report>| async move {
                plane.lock().unwrap().reports.push(report);
            }),
        )
        .route(
            routes::PROFILES,
            post(|State(plane): State<Shared>, Json(upload): Json<ProfileUpload>| async move {
                plane.lock().unwrap().profiles.push(upload);
            }),
        )
        .route(
            routes::SAMPLES_UPLOAD,
            post(|State(plane): State<Shared>, Json(upload): Json<SamplesUpload>| async move {
                plane.lock().unwrap().samples.0.extend(upload.samples);
            }),
        )
        .route(
            routes::ALERTS_UPLOAD,
            post(|State(plane): State<Shared>, Json(upload): Json<AlertsUpload>| async move {
                plane.lock().unwrap().alerts.extend(upload.alerts);
            }),
        )
        .with_state(plane)
}

struct Fleet {
    plane: Shared,
    server: String,
    control_plane: Option<Runtime>,
    folder: TempDir,
}

impl Fleet {
    fn new() -> Self {
        let plane = Shared::default();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = fake(Arc::clone(&plane));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { plane, server, control_plane: Some(runtime), folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self, token: Option<&str>) -> AgentConfig {
        let name = DeviceId::new("robot-1").unwrap();
        let listen: Address = "127.0.0.1:0".parse().unwrap();
        let mut config = AgentConfig::new(&self.server, self.folder.path().join("data"), name, listen);
        config.join_token = token.map(str::to_owned);
        (config.poll, config.upload) = (Duration::from_millis(20), Duration::from_millis(20));
        config
    }

    fn bundle(&self, version: &str) -> Bundle {
        bundle(&self.folder.path().join("made"), version)
    }

    fn start(&self) -> Agent {
        Agent::start(self.config(Some("good")))
    }

    /// Waits until the plane has seen something.
    fn wait<T>(&self, what: &str, seen: impl Fn(&Plane) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = seen(&self.plane.lock().unwrap()) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for_report_of(&self, bundle: Digest) {
        let runs = |report: &Report| report.models.get(&model()).is_some_and(|m| m.active == Some(bundle));
        self.wait("a report of the bundle", |plane| {
            plane.reports.last().filter(|report| runs(report)).map(|_| ())
        });
    }
}

/// An agent on a runtime of its own.
pub(super) struct Agent {
    pub(super) url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Agent {
    pub(super) fn start(config: AgentConfig) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (started, ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            Runtime::new().unwrap().block_on(async move {
                let bound = bind(config).await.unwrap();
                started.send(bound.url()).unwrap();
                let stopped = async move { stopped.await.unwrap_or(()) };
                bound.serve(stopped).await.unwrap();
            });
        });
        let url = ready.recv().unwrap();
        Self { url, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn stop(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }

    pub(super) fn predict(&self) -> (u16, serde_json::Value) {
        http_post(&format!("{}/v2/models/digits/infer", self.url), &one_row())
    }

    fn prediction_id(&self) -> String {
        let (status, body) = self.predict();
        assert_eq!(status, 200, "{body}");
        body["parameters"]["prediction_id"].as_str().unwrap().to_owned()
    }

    fn label(&self, id: &str) -> (u16, serde_json::Value) {
        http_post(&format!("{}/v1/feedback", self.url), &json!({ "id": id, "label": "1" }).to_string())
    }
}

fn fails(config: AgentConfig, expected: &str) {
    let error = Runtime::new().unwrap().block_on(bind(config)).err().expect("it should not start");
    let text = chain(&error);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_device_joins_serves_learns_and_is_updated() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.bundle("1"), fleet.bundle("2"));
    let agent = fleet.start();
    assert_eq!(agent.predict().0, 404);
    fleet.plane.lock().unwrap().deploy(&first);
    fleet.wait_for_report_of(first.digest());
    let id = agent.prediction_id();
    assert_eq!(agent.label(&id).0, 200);
    let sample = fleet.wait("the sample", |plane| plane.samples.0.first().cloned());
    assert_eq!((sample.prediction.to_string(), sample.bundle), (id, first.digest()));
    let profile = fleet.wait("the profile", |plane| plane.profiles.first().cloned());
    assert_eq!((profile.bundle, profile.model), (first.digest(), model()));
    fleet.plane.lock().unwrap().deploy(&second);
    fleet.wait_for_report_of(second.digest());
    // What did not change is not sent again.
    let asked = fleet.wait("a look that finds nothing new", |plane| {
        let (polls, news) = plane.asked["metadata/timestamp.json"];
        (polls > news).then(|| plane.asked.clone())
    });
    assert_eq!(
        [asked["metadata/1.targets.json"].1, asked["metadata/2.releases.json"].1],
        [1, 1],
        "{asked:?}"
    );
    assert!(asked["metadata/timestamp.json"].1 >= 2, "{asked:?}");
    assert_eq!(agent.predict().1["model_version"], json!(second.digest().hex()));
    agent.stop();
    let reports = &fleet.plane.lock().unwrap().reports;
    assert!(reports.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(reports.last().unwrap().models[&model()].requests_failed, 0);
}

#[test]
fn a_restart_without_a_control_plane_serves_at_once_and_still_joins_labels() {
    let mut fleet = Fleet::new();
    let first = fleet.bundle("1");
    fleet.plane.lock().unwrap().deploy(&first);
    let agent = fleet.start();
    fleet.wait_for_report_of(first.digest());
    let id = agent.prediction_id();
    agent.stop();
    fleet.control_plane.take().unwrap().shutdown_background();
    let agent = fleet.start();
    assert_eq!(agent.predict().0, 200);
    let (status, body) = agent.label(&id);
    assert_eq!((status, &body["accepted"]), (200, &json!(1)));
    agent.stop();
}

#[test]
fn a_bundle_that_rots_on_the_disk_is_never_served() {
    let fleet = Fleet::new();
    let first = fleet.bundle("1");
    fleet.plane.lock().unwrap().deploy(&first);
    let agent = fleet.start();
    fleet.wait_for_report_of(first.digest());
    agent.stop();
    let file = fleet.folder.path().join("data/models/digits/a").join(path::MODEL);
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, bytes).unwrap();
    let agent = fleet.start();
    assert_eq!(agent.predict().0, 503);
    agent.stop();
}

#[test]
fn what_stands_in_the_way_of_a_start_is_said() {
    let fleet = Fleet::new();
    fails(fleet.config(None), "no join token");
    fails(fleet.config(Some("bad")), "the join token is unknown");
    let agent = fleet.start();
    fails(fleet.config(None), "another agent already runs on the data folder");
    let mut taken = fleet.config(Some("good"));
    taken.data_dir = fleet.folder.path().join("other");
    taken.listen = vec![agent.url.trim_start_matches("http://").parse().unwrap()];
    fails(taken, "give --listen a free address");
    agent.stop();
    let mut in_a_file = fleet.config(None);
    in_a_file.data_dir = fleet.folder.path().join("data/identity.json");
    fails(in_a_file, "give --data a folder");
    let data = fleet.folder.path().join("data");
    for copy in ["state.0", "state.1"] {
        let _ = fs::remove_file(data.join(copy));
    }
    fails(fleet.config(None), "has an identity but no state");
}

#[test]
fn a_bare_model_and_a_bundle_are_served_without_a_control_plane() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("My Model.onnx");
    fs::write(&file, onnx_bytes("1")).unwrap();
    let config = |path: &Path| ServeConfig {
        source: Source::Path(path.to_owned()),
        name: None,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        speech: Speech::default(),
        collector: None,
        engines: Arc::new(Engines::embedded()),
        hardware: Hardware::default(),
        batch_rows: 8,
    };
    assert_eq!(load_bare(&config(&file), &file).unwrap().0.as_str(), "my-model");
    let bundle = bundle(folder.path(), "1");
    let (name, loaded) = load_bare(&config(bundle.dir()), bundle.dir()).unwrap();
    assert_eq!((name, loaded.bundle()), (model(), bundle.digest()));
    fs::write(&file, b"no model").unwrap();
    let error = load_bare(&config(&file), &file).err().unwrap();
    assert!(error.to_string().contains("My Model.onnx"), "{error}");
    let bound = Runtime::new().unwrap().block_on(bind_bare(&config(bundle.dir()))).unwrap();
    assert!(bound.url().starts_with("http://127.0.0.1:") && !bound.url().ends_with(":0"), "{}", bound.url());
}
