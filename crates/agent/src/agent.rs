//! Starting and stopping: the agent of a device, and the bare endpoint.
//!
//! The order of a start is the order of what may fail: the data folder and its lock, the address, the identity. What was
//! active serves before the control plane is asked anything.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::future::Future;
use std::io::{self, Read as _};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use edgeward_api::Client;
use edgeward_api::client::Files;
use edgeward_api::otlp::{Collector, Pusher, Resource, Traced};
use edgeward_core::record::ShadowsRecord;
use edgeward_core::{DeviceId, ModelName};
use edgeward_model::{Bundle, Engine, Engines, LoadOptions, onnx};
use edgeward_sdk::{LoadError, Loaded, Watch, WatchOptions};
use edgeward_trust::LedgerKeys;
use edgeward_trust::tuf::Trusted;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::address::{Address, Listening};
use crate::bandwidth::Bandwidth;
use crate::brain::{Brain, RestoreError, SNAPSHOT_SCHEMA, Snapshot};
use crate::config::{AgentConfig, AgentError, ServeConfig, Source, system_clock};
use crate::control::{Control, Message, Parts};
use crate::door::Speech;
use crate::durable::{Access, TwoCopies, replace};
use crate::endpoint::{About, Endpoint};
use crate::fetch::open_verified;
use crate::figures::families;
use crate::identity::{Identity, IdentityError, Join, Joining};
use crate::keeper::Keeper;
use crate::pick::Picker;
use crate::platform::{Hardware, Platform};
use crate::records::{Records, to_json};
use crate::registry::Registry;
use crate::repository::Repository;
use crate::reserve::Reserve;
use crate::slots::{Quota, Slots};
use crate::witness::{WITNESS_FILE, Witness};
use edgeward_sdk::chain;

/// How long requests under way may take when the agent ends.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

const ENROL_RETRY: Duration = Duration::from_secs(1);
const ENROL_RETRY_MAX: Duration = Duration::from_secs(30);

/// Models run on one thread each: a device has other work.
pub const ONE_THREAD: LoadOptions = LoadOptions::with_threads(1);

/// An agent or endpoint that has its address but does not serve yet.
pub struct Bound {
    listening: Vec<Listening>,
    speech: Speech,
    endpoint: Arc<Endpoint>,
    collector: Option<Collector>,
    /// Stops the control loop; none for a bare endpoint.
    control: Option<Running>,
    _kept: Kept,
}

/// What runs beside the endpoint.
struct Running {
    sender: Sender<Message>,
    end: oneshot::Receiver<()>,
    /// Ends the thread that keeps the certificate.
    keeper: Arc<AtomicBool>,
}

/// What lives as long as the process serves.
enum Kept {
    Lock(#[expect(dead_code, reason = "held until the agent ends")] File),
    #[expect(dead_code, reason = "removed, and followed no more, when the endpoint ends")]
    Temporary(tempfile::TempDir, Option<Watch>),
}

/// Runs an agent until `shutdown` is ready.
///
/// # Errors
/// It cannot start, or the endpoint fails.
pub async fn run(config: AgentConfig, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let mut shutdown = pin!(shutdown);
    let bound = tokio::select! {
        bound = bind(config) => bound?,
        () = &mut shutdown => return Ok(()),
    };
    bound.serve(shutdown).await
}

/// Runs a bare endpoint until `shutdown` is ready.
///
/// # Errors
/// It cannot start, or the endpoint fails.
pub async fn serve(config: ServeConfig, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    bind_bare(&config).await?.serve(shutdown).await
}

/// Starts an agent up to the point where it serves: it is enrolled, what was active is loaded, the loop runs.
///
/// # Errors
/// It cannot start.
pub async fn bind(config: AgentConfig) -> Result<Bound, AgentError> {
    if let Some(problem) = config.activation.problem() {
        return Err(AgentError::Activation(problem));
    }
    let lock = lock(&config.data_dir)?;
    let listening = listen(&config.listen, &config.speech).await?;
    let (identity, pinned) = identify(&config).await?;
    let (store, brain) = restore(&config, &identity, pinned)?;
    let ledger = LedgerKeys::of(brain.trusted().root()).unwrap_or_default();
    let url = url(&listening, &config.speech);
    tell_address(&config.data_dir, &url)?;
    let registry = Arc::new(Registry::default());
    let records = Arc::new(Records::open(&config.data_dir, identity.device.clone())?);
    keep_shadow_answers(&registry, &records);
    let about = Arc::new(About::new(identity.device.clone(), Some(config.server.clone())));
    let (client, stop) = keep_identity(&config, identity);
    let (files, mirror) = match &config.repository {
        Some(url) => {
            let below = |place: &str| Files::new(&format!("{}/{place}", url.trim_end_matches('/')), None);
            ((below("metadata"), below("targets")), Some(below("blobs")))
        }
        None => (client.repository(), None),
    };
    let parts = Parts {
        brain,
        store,
        repository: Repository::new(files, config.refresh_timeout),
        mirror,
        client,
        slots: Slots::new(config.data_dir.join("models")).with_quota(quota(&config)),
        platform: Arc::new(platform(&config.engines, &config.hardware, config.batch_rows)),
        registry: Arc::clone(&registry),
        records: Arc::clone(&records),
        about: Arc::clone(&about),
        endpoint: url,
        poll: config.poll,
        upload: config.upload,
        nudges: config.nudges.clone(),
        bandwidth: config.bandwidth_bytes_per_second.map(|limit| Arc::new(Bandwidth::new(limit))),
        courtesy: Arc::clone(&config.courtesy),
        activation: config.activation.clone(),
        data_dir: config.data_dir.clone(),
        witness: Witness::open(config.data_dir.join(WITNESS_FILE), ledger),
        reserve: Reserve::below(&config.data_dir),
        clock: Arc::clone(&config.clock),
    };
    let (sender, end) = start_control(parts).await;
    let control = Some(Running { sender, end, keeper: stop });
    let endpoint = Endpoint::new(registry, records, about, system_clock);
    Ok(Bound {
        listening,
        speech: config.speech,
        endpoint,
        collector: config.collector,
        control,
        _kept: Kept::Lock(lock),
    })
}

/// Starts a bare endpoint up to the point where it serves.
///
/// # Errors
/// The model does not load or the address is taken.
pub async fn bind_bare(config: &ServeConfig) -> Result<Bound, AgentError> {
    let registry = Arc::new(Registry::default());
    let watch = match &config.source {
        Source::Path(path) => {
            let (name, loaded) = load_bare(config, path)?;
            registry.get_or_add(&name).publish(Arc::new(loaded));
            None
        }
        Source::Active(data_dir) => Some(watch(config, data_dir, &registry)?),
    };
    let listening = listen(&config.listen, &config.speech).await?;
    let folder = tempfile::tempdir().map_err(AgentError::data_dir(&std::env::temp_dir()))?;
    let device = DeviceId::new("local").map_err(|error| refuse(folder.path(), error.to_string()))?;
    let records = Arc::new(Records::open(folder.path(), device.clone())?);
    let endpoint = Endpoint::new(registry, records, Arc::new(About::new(device, None)), system_clock);
    let speech = config.speech.clone();
    let collector = config.collector.clone();
    let kept = Kept::Temporary(folder, watch);
    Ok(Bound { listening, speech, endpoint, collector, control: None, _kept: kept })
}

impl Bound {
    /// Its first address as callers on this machine write it.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.listening, &self.speech)
    }

    /// All of its addresses, as callers on this machine write them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let is_tls = self.speech.is_tls();
        self.listening.iter().map(|listening| listening.address.url(is_tls)).collect()
    }

    /// Serves until `shutdown` is ready, then lets requests under way finish, for [`DRAIN_TIMEOUT`] at most.
    ///
    /// # Errors
    /// The endpoint fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let (stop, stopped) = watch::channel(());
        let urls = self.urls().join(" and ");
        let told = self.collector.map(|collector| tell(&collector, &self.endpoint));
        let router = self.endpoint.router(told.as_ref().map(|(_, traced)| traced.tracer()));
        let mut servers = JoinSet::new();
        for Listening { listener, file, .. } in self.listening {
            let (door, router) = (self.speech.door(listener), router.clone());
            let mut stopped = stopped.clone();
            let stopped = async move {
                // A dropped sender is the sign.
                while stopped.changed().await.is_ok() {}
            };
            servers.spawn(async move {
                let served = axum::serve(door, router).with_graceful_shutdown(stopped).await;
                drop(file);
                served
            });
        }
        tracing::info!("serving at {urls}");
        shutdown.await;
        drop(stop);
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, first_failure(servers)).await;
        // What was counted last is sent once more; a collector that does not answer holds nothing up for long.
        let _ = tokio::task::spawn_blocking(move || drop(told)).await;
        if let Some(Running { sender, end, keeper }) = self.control {
            keeper.store(true, Ordering::Relaxed);
            // The loop may have ended by itself.
            let _ = sender.send(Message::Stop);
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, end).await;
        }
        drained.unwrap_or(Ok(())).map_err(AgentError::Endpoint)
    }
}

/// Sends metrics and spans to a collector until they are dropped.
fn tell(collector: &Collector, endpoint: &Endpoint) -> (Pusher, Traced) {
    let (registry, records) = (Arc::clone(&endpoint.registry), Arc::clone(&endpoint.records));
    let resource = Resource { service: "edgeward-agent", instance: endpoint.about.device.to_string() };
    let pusher = collector.push(resource.clone(), move || families(&registry, &records));
    (pusher, collector.trace(resource))
}

/// Waits for all of them; one that panicked has said so already.
async fn first_failure(mut servers: JoinSet<io::Result<()>>) -> io::Result<()> {
    let mut failure = Ok(());
    while let Some(ended) = servers.join_next().await {
        failure = failure.and(ended.unwrap_or(Ok(())));
    }
    failure
}

/// Loads what was active, then starts the loop.
async fn start_control(parts: Parts) -> (Sender<Message>, oneshot::Receiver<()>) {
    let (sender, messages) = mpsc::channel();
    let mut control = Control::new(parts, sender.clone(), messages);
    let (started, ready) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    // No thread of the runtime: the process need not wait for it, should a call to the control plane hang.
    std::thread::spawn(move || {
        control.start();
        // Whoever waits for either may have given up.
        let _ = started.send(());
        control.run();
        let _ = ended.send(());
    });
    // An error means that the loop panicked: the endpoint then answers that nothing serves.
    let _ = ready.await;
    (sender, end)
}

fn quota(config: &AgentConfig) -> Option<Quota> {
    let data_dir = config.data_dir.clone();
    config.disk_quota_bytes.map(|bytes| Quota { data_dir, bytes: bytes.get() })
}

/// Writes down where predictions are served; a disk that is full is no reason not to serve them.
fn tell_address(data_dir: &Path, url: &str) -> Result<(), AgentError> {
    match replace(&data_dir.join("endpoint"), url.as_bytes(), Access::Default) {
        Err(error) if error.is_full() => {
            tracing::warn!("{}; the agent serves all the same", chain(&error));
            Ok(())
        }
        written => Ok(written?),
    }
}

fn lock(data_dir: &Path) -> Result<File, AgentError> {
    let wrap = || AgentError::data_dir(data_dir);
    fs::create_dir_all(data_dir).map_err(wrap())?;
    let path = data_dir.join("agent.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(wrap())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AgentError::Locked { path: data_dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(wrap()(source)),
    }
}

/// Listens at every address, once it is known that each may be listened at.
async fn listen(addresses: &[Address], speech: &Speech) -> Result<Vec<Listening>, AgentError> {
    for address in addresses {
        speech.check(address)?;
    }
    let mut listening = Vec::with_capacity(addresses.len());
    for address in addresses {
        let open = address.listen().await;
        listening.push(open.map_err(|source| AgentError::Listen { address: address.clone(), source })?);
    }
    Ok(listening)
}

/// The address under which this machine reaches the endpoint.
fn url(listening: &[Listening], speech: &Speech) -> String {
    listening.first().map(|first| first.address.url(speech.is_tls())).unwrap_or_default()
}

/// The device's identity; a fresh one comes with what goes into a fresh state.
async fn identify(config: &AgentConfig) -> Result<(Identity, Option<Trusted>), AgentError> {
    let path = config.data_dir.join("identity.json");
    if let Some(known) = Identity::load(&path)? {
        return Ok((join_again(config, known, &path).await?, None));
    }
    let token = config.join_token.as_deref().ok_or(IdentityError::NoToken)?;
    let identity = enrol(config, join(config, token)).await?;
    let pinned = identity.pinned()?;
    Ok((identity, Some(pinned)))
}

fn join(config: &AgentConfig, token: &str) -> Join {
    Join {
        server: config.server.clone(),
        name: config.name.clone(),
        token: token.trim().to_owned(),
        roots: config.roots.clone(),
        again: false,
    }
}

/// A token that the device did not join with lets it join again. If that fails, the device is who it was: what it has
/// may still be good, and what it serves is in any case.
async fn join_again(config: &AgentConfig, known: Identity, path: &Path) -> Result<Identity, AgentError> {
    let Some(token) = config.join_token.as_deref() else { return Ok(known) };
    let join = Join { name: known.device.clone(), again: true, ..join(config, token) };
    if known.joined_with == Some(join.token_digest()) {
        return Ok(known);
    }
    match attempt(config, &join).await {
        Ok(joined) => {
            // What the device believes of releases has grown from the root that it pinned first.
            let joined = Identity { root: known.root, ..joined };
            joined.save(path)?;
            forget_joining(config);
            Ok(joined)
        }
        Err(error) => {
            tracing::warn!("joining again: {}; the device goes on as before", chain(&error));
            Ok(known)
        }
    }
}

async fn attempt(config: &AgentConfig, join: &Join) -> Result<Identity, AgentError> {
    let joining = Joining::begin(&config.data_dir.join("joining.json"), join.token_digest())?;
    let join = join.clone();
    let attempt = tokio::task::spawn_blocking(move || Identity::enrol(&join, &joining));
    Ok(attempt.await.map_err(|error| AgentError::Endpoint(error.into()))??)
}

/// The key of the join is in the identity now.
fn forget_joining(config: &AgentConfig) {
    // Another token gets another key, whether or not this one is gone.
    let _ = fs::remove_file(config.data_dir.join("joining.json"));
}

/// Enrols, waiting for a control plane that does not answer yet.
async fn enrol(config: &AgentConfig, join: Join) -> Result<Identity, AgentError> {
    let mut wait = ENROL_RETRY;
    loop {
        match attempt(config, &join).await {
            Err(AgentError::Identity(error @ IdentityError::Unreachable { .. })) => {
                tracing::warn!("{}; next try in {} s", chain(&error), wait.as_secs());
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(ENROL_RETRY_MAX);
            }
            outcome => return outcome,
        }
    }
}

/// A client that shows who the device is; under TLS its certificate is kept alive until the flag is set.
fn keep_identity(config: &AgentConfig, identity: Identity) -> (Client, Arc<AtomicBool>) {
    let tls = identity.client_tls(config.roots.as_ref());
    let client = Client::with_tls(&config.server, identity.credential.clone(), tls);
    let stop = Arc::new(AtomicBool::new(false));
    if config.server.starts_with("https://") {
        let keeper = Keeper {
            client: client.clone(),
            identity,
            path: config.data_dir.join("identity.json"),
            roots: config.roots.clone(),
        };
        keeper.run(Arc::clone(&stop));
    }
    (client, stop)
}

/// The device's state; a device that has just enrolled gets a fresh one, kept before its identity is.
fn restore(
    config: &AgentConfig,
    identity: &Identity,
    fresh: Option<Trusted>,
) -> Result<(TwoCopies, Brain), AgentError> {
    let path = config.data_dir.join("state");
    if let Some(pinned) = fresh {
        // What is there was written by an enrolment that was cut off, and nothing was ever done on its word.
        let mut store = TwoCopies::begin(&path)?;
        let brain = Brain::new(identity.device.clone(), pinned, config.slots.clone());
        store.write(&to_json(brain.snapshot()))?;
        identity.save(&config.data_dir.join("identity.json"))?;
        forget_joining(config);
        return Ok((store, brain));
    }
    let (store, bytes) = TwoCopies::open(&path)?;
    let bytes = bytes.ok_or_else(|| AgentError::StateMissing { path: config.data_dir.clone() })?;
    let snapshot = read_snapshot(&bytes)?;
    let brain = Brain::restore(snapshot, &identity.device, config.slots.clone())?;
    Ok((store, brain))
}

/// What shadows say to a prediction that leaves a record leaves one, too.
fn keep_shadow_answers(registry: &Registry, records: &Arc<Records>) {
    let records = Arc::clone(records);
    registry.shadows.keep_answers(move |run, prediction, candidates| {
        let (run, at_ms) = (run.clone(), system_clock());
        records.shadows_answered(ShadowsRecord { prediction, run, at_ms, candidates });
    });
}

/// A state of another build is told from a damaged one.
fn read_snapshot(bytes: &[u8]) -> Result<Snapshot, AgentError> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(AgentError::State)?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(found) if found != SNAPSHOT_SCHEMA => Err(RestoreError::Schema(found.to_owned()).into()),
        _ => serde_json::from_value(value).map_err(AgentError::State),
    }
}

fn refuse(path: &Path, reason: String) -> AgentError {
    AgentError::Model { path: path.to_owned(), reason }
}

/// Follows what an agent on this device activates.
fn watch(config: &ServeConfig, data_dir: &Path, registry: &Arc<Registry>) -> Result<Watch, AgentError> {
    let name =
        config.name.clone().ok_or_else(|| refuse(data_dir, "the model's name is missing".to_owned()))?;
    let served = registry.get_or_add(&name);
    let options = WatchOptions {
        engines: Arc::clone(&config.engines),
        load: LoadOptions { batch_rows: config.batch_rows, ..ONE_THREAD },
        on_swap: Some(Box::new(move |_, loaded| drop(served.publish(Arc::clone(loaded))))),
        ..WatchOptions::default()
    };
    let folder = edgeward_sdk::model_folder(data_dir, &name);
    Watch::start(&folder, options).map_err(|error| refuse(&folder, chain(&error)))
}

fn platform(engines: &Arc<Engines>, hardware: &Hardware, batch_rows: usize) -> Platform {
    Platform::new(Arc::clone(engines), hardware.clone()).batching(batch_rows)
}

/// A bundle's folder, verified and tested, or a bare ONNX file.
fn load_bare(config: &ServeConfig, path: &Path) -> Result<(ModelName, Loaded), AgentError> {
    let fail = |error: &dyn std::error::Error| refuse(path, chain(error));
    let (default_name, loaded) = if path.is_dir() {
        let opened = Bundle::open(path).map_err(|error| fail(&error))?;
        let platform = platform(&config.engines, &config.hardware, config.batch_rows);
        // An agent's slot holds only the forms that its device can use.
        let bundle = open_verified(path, opened.digest(), &platform).map_err(|error| fail(&error))?;
        let picker = Picker { platform: &platform, folder: None };
        let loaded = picker.pick(&bundle).map_err(|error| fail(&error))?;
        (bundle.manifest().model.clone(), loaded)
    } else {
        let bytes = read_model(path).map_err(|error| fail(&error))?;
        let loaded = load_onnx(&bytes, config).map_err(|error| fail(&error))?;
        (name_of(path), loaded)
    };
    Ok((config.name.clone().unwrap_or(default_name), loaded))
}

/// A bare model on the embedded engine, or on another one here if that does not take it.
fn load_onnx(bytes: &[u8], config: &ServeConfig) -> Result<Loaded, Box<LoadError>> {
    let load = |engine: &dyn Engine| Loaded::from_onnx(bytes, engine, &ONE_THREAD).map_err(Box::new);
    load(&*config.engines.default_engine()).or_else(|refusal| {
        let mut others = config.engines.all().into_iter().skip(1);
        others.find_map(|engine| load(&*engine).ok()).ok_or(refusal)
    })
}

fn read_model(path: &Path) -> io::Result<Vec<u8>> {
    let limit = onnx::MODEL_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    // A size that the file system tells is no bound: a pipe or a device has none.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let why = format!("the file is over the limit of {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// The file's name as a model's name, or `model` if it has none that fits.
fn name_of(path: &Path) -> ModelName {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let text: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    ModelName::new(text.trim_matches('-'))
        .or_else(|_| ModelName::new("model"))
        .expect("'model' keeps the rule for names")
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
