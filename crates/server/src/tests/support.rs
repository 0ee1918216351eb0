//! A control plane on a free port in a folder of its own, and what devices and pipelines send it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use edgeward_api::Client;
use edgeward_api::client::{FileAnswer, Roots, Tls};
use edgeward_api::device::{EnrolRequest, ModelReport, REPORT_SCHEMA, Report};
use edgeward_api::operator::{JoinTokenRequest, RunAnnouncement, RunEnd, Version, VersionRegistration};
use edgeward_core::alert::AlertKind;
use edgeward_core::desired::Assignment;
use edgeward_core::envelope::Base64;
use edgeward_core::event::{Project, RunOutcome};
use edgeward_core::manifest::{BundlePath, FileEntry, MANIFEST_SCHEMA, Manifest, Variant};
use edgeward_core::rollout::{RolloutPolicy, WaveSize};
use edgeward_core::trigger::TriggerPolicy;
use edgeward_core::{Alert, DeviceId, Digest, ModelName, ProjectName, RunId, Timestamp};
use edgeward_store::{StoreError, View};
use edgeward_testkit_postgres::Database;
use edgeward_trust::SigningKey;
use edgeward_trust::fleet::{Draft, FleetError, Lives, Refreshed, Wishes, add_release, refresh};
use edgeward_trust::tuf::{Answer, Place, Trusted, Want};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::app::{App, Clock};
use crate::audit::Opened;
use crate::serve::{Bound, ServerConfig, ServerError, bind_with_clock};
use crate::setup::SetupError;
use crate::tls::TlsConfig;

/// Set to 1, every plant stands on PostgreSQL in place of a file.
const ON_POSTGRES: &str = "EDGEWARD_TEST_SERVER_ON_POSTGRES";
/// When every test begins.
pub(crate) const START: i64 = 1_700_000_000_000;
/// So long that the timer never wakes a reconciler within a test.
const NEVER: Duration = Duration::from_secs(3600);

/// How to stop the server, and what it ends with.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), ServerError>>);

/// A server, or only its parts, with a clock that stands still until it is told.
pub(crate) struct Plant {
    pub(crate) dir: Arc<TempDir>,
    pub(crate) runtime: Runtime,
    pub(crate) app: Arc<App>,
    pub(crate) url: String,
    clock: Arc<AtomicI64>,
    running: Option<Running>,
    /// Held while nothing serves, so that the folder stays locked.
    _idle: Option<Bound>,
    /// Where every plant is to stand on PostgreSQL.
    database: Option<Database>,
}

pub(crate) fn config(dir: &Path) -> ServerConfig {
    ServerConfig {
        data_dir: dir.to_owned(),
        database: None,
        blobs: None,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        require_auth: true,
        tls: TlsConfig::default(),
        runner_program: PathBuf::from("/bin/false"),
        broker: None,
        collector: None,
        webhooks: Vec::new(),
        tick: NEVER,
    }
}

impl Plant {
    /// Answers HTTP; its reconcilers run after each change.
    pub(crate) fn serving(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::serving_from(START, change)
    }

    /// The same, with a clock that starts at `now`.
    pub(crate) fn serving_from(now: i64, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut plant = Self::open(Arc::new(tempfile::tempdir().unwrap()), now, change);
        plant.begin_serving();
        plant
    }

    /// Answers HTTP from now on.
    pub(crate) fn begin_serving(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let bound = self._idle.take().unwrap();
        let task = self.runtime.spawn(bound.serve(async {
            let _ = stopped.await;
        }));
        self.running = Some((stop, task));
    }

    /// Answers nothing: the test turns each wheel itself.
    pub(crate) fn still() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), START, |_| {})
    }

    pub(crate) fn open(dir: Arc<TempDir>, now: i64, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let is_asked = std::env::var(ON_POSTGRES).is_ok_and(|value| value == "1");
        let database = is_asked.then(|| edgeward_testkit_postgres::database().unwrap());
        Self::open_on(database, dir, now, change)
    }

    fn open_on(
        database: Option<Database>,
        dir: Arc<TempDir>,
        now: i64,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = Arc::new(AtomicI64::new(now));
        let read = Arc::clone(&clock);
        let mut config = config(dir.path());
        config.database = database.as_ref().map(|database| database.url().parse().unwrap());
        change(&mut config);
        let clock_fn: Clock = Arc::new(move || Timestamp(read.load(Ordering::SeqCst)));
        let bound = runtime.block_on(bind_soon(config, clock_fn));
        let (app, url) = (bound.app(), bound.url().to_owned());
        Self { dir, runtime, app, url, clock, running: None, _idle: Some(bound), database }
    }

    /// Everything in memory is gone, as after a crash; the folder stays.
    pub(crate) fn crash(self) -> Self {
        self.crash_and(|_| {})
    }

    /// The same, and other settings afterwards.
    pub(crate) fn crash_and(self, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let (dir, now) = (Arc::clone(&self.dir), self.clock.load(Ordering::SeqCst));
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        drop((self.running, self._idle, self.app));
        Self::open_on(self.database, dir, now, change)
    }

    /// Its ledger, as an audit opens it.
    pub(crate) fn audited(&self) -> Opened {
        match &self.database {
            None => Opened::folder(self.dir.path()).unwrap(),
            Some(database) => Opened::database(self.dir.path(), &database.url().parse().unwrap()).unwrap(),
        }
    }

    /// How many keys there are of a subject.
    pub(crate) fn input_keys_about(&self, subject: &Digest) -> usize {
        let folder = format!("inputs/subjects/{}/", subject.hex());
        match &self.database {
            None => std::fs::read_dir(self.dir.path().join("keys").join(&folder)).map_or(0, Iterator::count),
            Some(_) => self.app.store.read::<_, StoreError>(|view| view.kept_paths(&folder)).unwrap().len(),
        }
    }

    /// How many days have a key for their inputs.
    pub(crate) fn input_keys(&self) -> usize {
        let kept = |view: &View<'_>| view.kept_paths("inputs/");
        match &self.database {
            None => std::fs::read_dir(self.dir.path().join("keys/inputs")).unwrap().count(),
            Some(_) => {
                let paths = self.app.store.read::<_, StoreError>(kept).unwrap();
                paths.iter().filter(|path| path.ends_with(".key")).count()
            }
        }
    }

    pub(crate) fn stop(mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        self.runtime.block_on(task).unwrap().unwrap();
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("operator.token")).unwrap()
    }

    pub(crate) fn operator(&self) -> Client {
        let roots = match self.url.starts_with("https:") {
            true => Roots::parse(self.dir.path().join("ca.pem").to_str().unwrap()).unwrap(),
            false => Roots::System,
        };
        Client::with_tls(&self.url, Some(self.token()), Tls::with_roots(roots))
    }

    /// What a device that trusts `trusted` reads in the repository, over HTTP.
    pub(crate) fn follow(&self, trusted: Trusted, client: &Client) -> Refreshed<FleetError> {
        let (metadata, targets) = client.repository();
        refresh(trusted, self.app.now(), |want: &Want| {
            let files = if want.place == Place::Metadata { &metadata } else { &targets };
            Ok(match files.get(&want.path, want.bytes_max, None).unwrap() {
                FileAnswer::Bytes { bytes, .. } => Answer::Bytes(bytes),
                FileAnswer::Absent | FileAnswer::Unchanged => Answer::Absent,
            })
        })
    }

    /// Follows, as a device does, until the assignment is as wanted.
    pub(crate) fn wait_for(&self, client: &Client, is_wanted: impl Fn(&Assignment) -> bool) -> Wishes {
        let mut trusted = Trusted::pin(&self.app.repository.root(), Timestamp(0)).unwrap();
        for _ in 0..500 {
            let refreshed = self.follow(trusted, client);
            trusted = refreshed.trusted;
            let wishes = refreshed.outcome.ok().flatten();
            let assignment = wishes.as_ref().and_then(|wishes| wishes.desired.models.get(&model()));
            if assignment.is_some_and(&is_wanted) {
                return wishes.unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the desired state did not come");
    }

    pub(crate) fn enrol(&self, name: &str) -> (DeviceId, Client) {
        let token = self
            .operator()
            .make_join_token(&JoinTokenRequest { uses: 1, ttl_ms: 60_000, device: None })
            .unwrap();
        let request = EnrolRequest::new(token.join_token, DeviceId::new(name).unwrap());
        let answer = Client::new(&self.url, None).enrol(&request).unwrap();
        (answer.device, Client::new(&self.url, answer.credential))
    }

    pub(crate) fn release_key(&self) -> SigningKey {
        SigningKey::from_json(&std::fs::read(self.dir.path().join("keys/releases.json")).unwrap()).unwrap()
    }

    /// Uploads, announces, registers and finishes: what a pipeline that passed does.
    pub(crate) fn make_version(&self, operator: &Client, run: &str, files: Files<'_>) -> Version {
        let run = RunId::new(run).unwrap();
        let (project, cause) = (project().name, "by hand".to_owned());
        operator.announce_run(&RunAnnouncement { run: run.clone(), project, cause }).unwrap();
        let (bundle, registration) = self.upload(operator, &run, files);
        let version = operator.register_version(&model(), &registration).unwrap();
        operator
            .finish_run(
                &run,
                &RunEnd { outcome: RunOutcome::Passed { bundle }, adopts: None, shadows: Vec::new() },
            )
            .unwrap();
        version
    }

    pub(crate) fn upload(
        &self,
        operator: &Client,
        run: &RunId,
        files: Files<'_>,
    ) -> (Digest, VersionRegistration) {
        let manifest = manifest(files);
        let bytes = manifest.to_bytes().unwrap();
        let bundle = Digest::of(&bytes);
        for (_, content) in files {
            operator.upload_blob(&Digest::of(content), content).unwrap();
        }
        operator.upload_blob(&bundle, &bytes).unwrap();
        let metrics = BTreeMap::from([("accuracy".to_owned(), 0.97)]);
        let releases = Base64(self.signed_releases(&bytes));
        (bundle, VersionRegistration { bundle, run: run.clone(), metrics, releases })
    }

    /// The releases with this one added, as an offline key signs them.
    pub(crate) fn signed_releases(&self, manifest: &[u8]) -> Vec<u8> {
        let draft = Draft { model: &model(), manifest, custom: serde_json::json!({}) };
        let known = self.app.repository.releases();
        add_release(&known, &draft, &self.release_key(), &Lives::default(), self.app.now()).unwrap()
    }
}

/// Paths in a bundle with what they hold; the first is the model.
pub(crate) type Files<'a> = &'a [(&'a str, &'a [u8])];

/// The smallest bundle.
pub(crate) const WEIGHTS: Files<'static> = &[("model.onnx", b"weights")];

pub(crate) fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

pub(crate) fn project() -> Project {
    Project {
        name: ProjectName::new("robots").unwrap(),
        model: model(),
        path: "/srv/robots".to_owned(),
        trigger: TriggerPolicy { level: 1, ..TriggerPolicy::default() },
        source: None,
        rollout: RolloutPolicy {
            waves: vec![WaveSize::Devices(1), WaveSize::Percent(100)],
            bake_ms: Duration::from_secs(10),
            ..RolloutPolicy::default()
        },
        shadows: None,
        mlflow: None,
    }
}

fn manifest(files: Files<'_>) -> Manifest {
    let entry = |(path, content): &(&str, &[u8])| {
        let entry = FileEntry { size_bytes: content.len() as u64, digest: Digest::of(content) };
        (BundlePath::new(*path).unwrap(), entry)
    };
    let path = BundlePath::new(files[0].0).unwrap();
    Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        model: model(),
        files: files.iter().map(entry).collect(),
        variants: vec![Variant::new("rten", "f32", path)],
    }
}

/// A report that says `active` runs since the report was made.
pub(crate) fn report(seq: u64, active: Option<Digest>) -> Report {
    let model_report = ModelReport {
        active,
        active_since_ms: active.map(|_| Timestamp(START)),
        phase: "idle".to_owned(),
        refused: Vec::new(),
        requests: 10 * seq,
        requests_failed: 0,
        swaps: 1,
        received_bytes: 0,
        accuracy: Some(0.97),
        accuracy_labels: 100,
        evidence: BTreeMap::from([("prediction".to_owned(), 1.5)]),
        log10_threshold: Some(9.0),
        reasons: Vec::new(),
        shadows: None,
    };
    Report {
        schema: REPORT_SCHEMA.to_owned(),
        session: Uuid::from_u128(7),
        seq,
        session_started_at_ms: Timestamp(START),
        at_ms: Timestamp(START),
        agent_version: "0.1.0".to_owned(),
        endpoint: "http://127.0.0.1:8600".to_owned(),
        pid: 1,
        generation: Some(1),
        clock_unsure: false,
        repository: None,
        facts: BTreeMap::new(),
        models: BTreeMap::from([(model(), model_report)]),
        ledger: None,
    }
}

pub(crate) fn alert(id: &str, device: &DeviceId, bundle: Digest) -> Alert {
    Alert {
        id: id.to_owned(),
        kind: AlertKind::Decay,
        device: device.clone(),
        model: model(),
        bundle,
        at_ms: Timestamp(START),
        stream: None,
        sample: 900,
        change_sample: Some(850),
        log10_evidence: 9.5,
        log10_threshold: 9.0,
        message: "error rate rose".to_owned(),
    }
}

/// Binds as soon as the folder is free: a program that another test is just starting holds its lock for a moment, since a process
/// has the files of its parent until it runs its own program.
async fn bind_soon(config: ServerConfig, clock: Clock) -> Bound {
    for _ in 0..500 {
        match bind_with_clock(config.clone(), Arc::clone(&clock)).await {
            Err(ServerError::Setup(SetupError::InUse(_))) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            bound => return bound.unwrap(),
        }
    }
    panic!("the folder is still in use")
}
