//! The control plane of the measurement, and the versions it publishes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edgeward_api::Client;
use edgeward_api::operator::{JoinTokenRequest, Rollout, RolloutRequest};
use edgeward_core::event::{Project, RunOutcome};
use edgeward_core::rollout::{RolloutPolicy, WaveSize};
use edgeward_core::trigger::TriggerPolicy;
use edgeward_core::{ModelName, ProjectName, RolloutId, RunId};
use edgeward_pipeline::project::{PROJECT_FILE, ProjectFile};
use edgeward_pipeline::register::Registry;
use edgeward_trust::SigningKey;

use super::START_PATIENCE;
use super::model::{self, MODEL};
use crate::args::ReloadBenchArgs;
use crate::command::now;
use crate::output::{Explain, Failure};
use crate::supervisor::{Life, Spec, Supervisor, log_tail};

const SERVER: &str = "server";
const TOKEN_TTL_MS: u64 = 3_600_000;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// The project that the versions belong to; nothing in it is run.
const PROJECT: &str = "[project]\nname = \"reload\"\nmodel = \"reload\"\nlevel = 0\n\
    [data]\nfiles = [\"none.csv\"]\nlabel = \"label\"\n[train]\nbuiltin = \"logistic\"\n";

/// A running control plane.
pub(super) struct Plane {
    pub(super) program: PathBuf,
    /// The flags of the broker by which news is told, if there is one.
    pub(super) broker: Vec<OsString>,
    dir: PathBuf,
    client: Client,
    project: ProjectFile,
    key: SigningKey,
    megabytes: u32,
    next: Cell<u32>,
    expected: Expected,
}

/// What each version that was made answers, by the version's name in answers.
pub(super) type Expected = Arc<Mutex<BTreeMap<String, Vec<f32>>>>;

impl Plane {
    /// Starts one below `dir` and registers the project.
    pub(super) fn start(
        dir: &Path,
        supervisor: &Supervisor,
        args: &ReloadBenchArgs,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().explain("system", "finding this program's own file")?;
        let data = dir.join(SERVER);
        let log = dir.join("server.log");
        let broker = args.broker.words();
        supervisor.start(server_spec(&program, &data, &log, &broker));
        let client = wait_for_server(&data, &log)?;
        let project = ProjectFile::parse(PROJECT, PROJECT_FILE, dir)
            .explain("project", "making the measurement's project")?;
        client.register_project(&policies(dir)?).explain("reload", "registering the project")?;
        let key_file = data.join("keys/releases.json");
        let key = fs::read(&key_file).explain("key", format_args!("reading {}", key_file.display()))?;
        let key = SigningKey::from_json(&key).explain("key", "reading the release key")?;
        Ok(Self {
            program,
            broker,
            dir: dir.to_owned(),
            client,
            project,
            key,
            megabytes: args.model_mb,
            next: Cell::new(0),
            expected: Expected::default(),
        })
    }

    /// Its address.
    pub(super) fn address(&self) -> &str {
        self.client.base()
    }

    /// A token for one device.
    pub(super) fn join_token(&self) -> Result<String, Failure> {
        let request = JoinTokenRequest { uses: 1, ttl_ms: TOKEN_TTL_MS, device: None };
        let token = self.client.make_join_token(&request).explain("reload", "making a join token")?;
        Ok(token.join_token)
    }

    /// Rolls out the next version, which was registered before, and prepares the one after it; the version's name in
    /// answers.
    pub(super) fn publish_next(&self) -> Result<String, Failure> {
        let number = self.next.get();
        if number == 0 {
            self.register(0)?;
        }
        let model = self.model()?;
        let request = RolloutRequest { cause: "reload-bench".to_owned(), ..RolloutRequest::default() };
        let rollout =
            self.client.start_rollout(&model, &request).explain("reload", "starting the rollout")?;
        self.next.set(number + 1);
        Ok(rollout.bundle.hex())
    }

    /// Rolls out a version that was registered before, by its number from 1.
    pub(super) fn publish(&self, version: u64) -> Result<Rollout, Failure> {
        let cause = "reload-bench".to_owned();
        let request = RolloutRequest { version: Some(version), cause, ..RolloutRequest::default() };
        self.client.start_rollout(&self.model()?, &request).explain("reload", "starting the rollout")
    }

    /// What `version` answers to the request that is always sent.
    pub(super) fn expected(&self) -> Expected {
        Arc::clone(&self.expected)
    }

    /// Waits until one rollout is over.
    pub(super) fn settle_rollout(&self, id: &RolloutId, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let rollouts = self.client.rollouts().explain("reload", "asking for the rollouts")?.rollouts;
            let this = rollouts.iter().find(|rollout| rollout.id == *id);
            if this.is_some_and(|rollout| rollout.outcome.is_some()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let error = format!("the rollout {id} did not end within {} s", patience.as_secs());
                return Err(Failure::new("reload", error));
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until the version has reached the device for good, and registers the next one.
    pub(super) fn settle(&self, version: &str, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let rollouts = self.client.rollouts().explain("reload", "asking for the rollouts")?.rollouts;
            let this = rollouts.iter().find(|rollout| rollout.bundle.hex() == version);
            if this.is_some_and(|rollout| rollout.outcome.is_some()) {
                break;
            }
            if Instant::now() >= deadline {
                let error = format!("the rollout of {version} did not end within {} s", patience.as_secs());
                return Err(Failure::new("reload", error));
            }
            thread::sleep(LOOK);
        }
        self.register(self.next.get())
    }

    /// Makes and registers a version.
    pub(super) fn register(&self, number: u32) -> Result<(), Failure> {
        let made = self.dir.join("versions");
        let bundle = model::write(&made, number, self.megabytes)?;
        let answer = model::answer(&bundle)?;
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).insert(bundle.digest().hex(), answer);
        let run = RunId::new(format!("reload-{number}")).explain("reload", "naming a run")?;
        let registry = Registry { client: &self.client, project: &self.project, run: &run };
        let doing = "registering a version";
        registry.announce("reload-bench").explain("reload", doing)?;
        registry.register(&bundle, &BTreeMap::new(), &self.key, now()).explain("reload", doing)?;
        registry.finish(&RunOutcome::Passed { bundle: bundle.digest() }, None).explain("reload", doing)?;
        let folder = bundle.dir().to_owned();
        fs::remove_dir_all(&folder).explain("folder", format_args!("removing {}", folder.display()))
    }

    fn model(&self) -> Result<ModelName, Failure> {
        ModelName::new(MODEL).explain("model", "naming the model")
    }
}

/// One wave, no waiting: what is measured is the reload.
fn policies(dir: &Path) -> Result<Project, Failure> {
    let rollout = RolloutPolicy {
        waves: vec![WaveSize::Percent(100)],
        bake_ms: Duration::ZERO,
        probation_ms: Duration::from_millis(1),
        // A device that was measured before is gone for good, and is not waited for.
        offline_ms: Duration::from_secs(3),
        ..RolloutPolicy::default()
    };
    Ok(Project {
        name: ProjectName::new(MODEL).explain("reload", "naming the project")?,
        model: ModelName::new(MODEL).explain("reload", "naming the model")?,
        path: dir.display().to_string(),
        trigger: TriggerPolicy { level: 0, ..TriggerPolicy::default() },
        source: None,
        rollout,
        shadows: None,
        mlflow: None,
    })
}

fn server_spec(program: &Path, data: &Path, log: &Path, broker: &[OsString]) -> Spec {
    let (data, broker) = (data.to_owned(), broker.to_owned());
    let parent = std::process::id().to_string();
    Spec {
        name: SERVER.to_owned(),
        program: program.to_owned(),
        args: Box::new(move || {
            let words = ["--parent", &parent, "server", "--log", "info", "--listen", "127.0.0.1:0", "--data"];
            let words = words.iter().map(OsString::from).chain([data.clone().into_os_string()]);
            words.chain(broker.iter().cloned()).collect()
        }),
        log: log.to_owned(),
        life: Life::Service,
    }
}

fn wait_for_server(data: &Path, log: &Path) -> Result<Client, Failure> {
    let deadline = Instant::now() + START_PATIENCE;
    while Instant::now() < deadline {
        if let Ok(address) = fs::read_to_string(data.join("address")) {
            let client = Client::new(address.trim(), None);
            if client.health().is_ok() {
                return Ok(client);
            }
        }
        thread::sleep(LOOK);
    }
    Err(Failure::new("reload", format!("the control plane did not start: {}", log_tail(log))))
}
