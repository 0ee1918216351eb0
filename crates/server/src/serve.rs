//! Starting and ending: the data folder, the socket, the service, the reconcilers.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeward_api::Problem;
use edgeward_api::broker::{Broker, BrokerError};
use edgeward_api::connections::{Gate, Patience};
use edgeward_api::door;
use edgeward_api::limits::UPLOADS_WAITING_MAX;
use edgeward_api::otlp::{Collector, Pusher, Resource, Traced};
use edgeward_core::Timestamp;
use edgeward_store::{Address, BlobError, Blobs, Bucket, BucketConfig, BucketError, Store, StoreError};
use edgeward_trust::note::NoteError;
use edgeward_trust::tree::TreeHead;
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, watch};

use crate::access::Access;
use crate::app::{App, Clock, Stopped, blocking, closed};
use crate::broker;
use crate::dashboard::{FleetCache, FormKey};
use crate::deltas::{self, Deltas};
use crate::drift::DriftCache;
use crate::failure::chain;
use crate::figures::{self, Figures};
use crate::heard::Heard;
use crate::intake::{self, Uploads};
use crate::mirror::Mirror;
use crate::reconcile::checkpoints::Tree;
use crate::reconcile::{self, runs};
use crate::records::Vault;
use crate::replicas;
use crate::routes::router;
use crate::seals;
use crate::secret;
use crate::setup::{self, Home, Setup, SetupError};
use crate::tls::{Certificates, Door, Peer, TLS_HINT, TlsConfig, TlsError};
use crate::webhooks::{self, Webhook};

/// Time that requests under way get when the server ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Most connections at once; further ones wait for a place. Devices keep one each between two polls.
const CONNECTIONS_MAX: usize = 4096;

/// Most devices shut out at once of which a stream hears one by one; beyond, every stream ends and is opened again.
const SHUT_OUT_WAITING_MAX: usize = 64;

/// How to run a control plane.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its data folder; made if it is not there.
    pub data_dir: PathBuf,
    /// A PostgreSQL database in place of a file in the data folder: any number of servers may share it.
    pub database: Option<Address>,
    /// The bucket of the blobs; a folder in the data folder if absent.
    pub blobs: Option<BucketConfig>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Ask local callers for the operator token too.
    pub require_auth: bool,
    /// How to speak TLS; on anything but loopback it does.
    pub tls: TlsConfig,
    /// The program that carries out runs: `PROGRAM run --project ...`.
    pub runner_program: PathBuf,
    /// An MQTT broker to tell of news, beside the streams that devices hold open.
    pub broker: Option<Broker>,
    /// Where its metrics are sent, beside being there to be scraped.
    pub collector: Option<Collector>,
    /// Who is told what happens.
    pub webhooks: Vec<Webhook>,
    /// Longest time between two looks of the reconcilers.
    pub tick: Duration,
}

/// Why a control plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blob folder cannot be used.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The bucket of the blobs cannot be used.
    #[error("the blobs of the control plane (--blobs)")]
    Bucket(#[from] BucketError),
    /// The first checkpoint of the ledger cannot be signed.
    #[error("signing the first checkpoint of the ledger")]
    Checkpoint(#[from] NoteError),
    /// No certificate can be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The broker cannot be spoken to.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Accepting connections failed.
    #[error("serving")]
    Serve(#[source] io::Error),
    /// The start was stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ServerError {
    /// The error as people and programs read it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Setup(error) => error.problem(),
            Self::Store(StoreError::NewerSchema { .. }) => Problem::new("newer_database", chain(self)),
            Self::Store(_) => Problem::new("database", chain(self)),
            Self::Blobs(_) | Self::Bucket(_) => Problem::new("blobs", chain(self)),
            Self::Tls(error) => tls_problem(error),
            Self::Broker(_) => Problem::new("broker", chain(self)),
            Self::Listen { address, source } => {
                let (kind, hint) = match source.kind() {
                    ErrorKind::AddrInUse => (
                        "port_taken",
                        format!(
                            "Another program listens on {address}: stop it, or choose another --listen address."
                        ),
                    ),
                    ErrorKind::PermissionDenied => ("listen", "Choose a port of 1024 or above.".to_owned()),
                    _ => ("listen", "Choose an address of this machine.".to_owned()),
                };
                Problem::new(kind, chain(self)).hint(hint)
            }
            Self::Serve(_) | Self::Stopped(_) | Self::Checkpoint(_) => Problem::new("serving", chain(self)),
        }
    }
}

/// A control plane that listens and does not answer yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    tick: Duration,
    collector: Option<Collector>,
    webhooks: Vec<Webhook>,
    uploads: Uploads,
    /// Released when the server has ended.
    _lock: std::fs::File,
}

/// Opens the data folder and listens.
///
/// # Errors
/// The folder, the database or the address cannot be used; see [`ServerError::problem`].
pub async fn bind(config: ServerConfig) -> Result<Bound, ServerError> {
    bind_with_clock(config, Arc::new(system_clock)).await
}

pub(crate) async fn bind_with_clock(config: ServerConfig, clock: Clock) -> Result<Bound, ServerError> {
    let listen = config.listen;
    let (data_dir, database) = (config.data_dir.clone(), config.database.clone());
    let now = clock();
    let bucket = config.blobs.as_ref().map(Bucket::open).transpose()?;
    if let Some(bucket) = &bucket {
        bucket.check().await?;
    }
    let opened = blocking(move || open(&data_dir, database.as_ref(), bucket, now)).await?;
    let is_tls = config.tls.always || config.tls.public.is_some() || !listen.ip().is_loopback();
    let certificates = Certificates::open(&opened.setup.home, &with_address(config.tls, listen), now)?;
    let listening = async {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) =
        listening.await.map_err(|source| ServerError::Listen { address: listen, source })?;
    let address_told = local_address(address, is_tls);
    setup::write_address(&opened.setup.home, &address_told)?;
    let access = Access::new(&opened.setup.operator_token, address, config.require_auth);
    say_how_it_listens(&opened.setup.home, address, &access, is_tls.then_some(&certificates));
    let door = Reached { address: address_told, access, certificates, is_tls };
    let Assembled { app, uploads, lock } = assemble(opened, door, config.runner_program, clock);
    if let Some(broker) = &config.broker {
        broker::announce(&app, broker)?;
    }
    let ServerConfig { tick, collector, webhooks, .. } = config;
    Ok(Bound { listener, address, app, tick, collector, webhooks, uploads, _lock: lock })
}

/// The data folder opened by itself, for as long as the lock is held: nobody is listened to, and nothing is reconciled.
pub(crate) async fn offline(data_dir: &std::path::Path) -> Result<(Arc<App>, std::fs::File), ServerError> {
    let (data_dir, now) = (data_dir.to_owned(), system_clock());
    let opened = blocking(move || open(&data_dir, None, None, now)).await?;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let certificates = Certificates::open(&opened.setup.home, &TlsConfig::default(), now)?;
    let access = Access::new(&opened.setup.operator_token, nowhere, true);
    let door = Reached { address: local_address(nowhere, false), access, certificates, is_tls: false };
    let Assembled { app, lock, .. } = assemble(opened, door, PathBuf::new(), Arc::new(system_clock));
    Ok((app, lock))
}

/// How callers reach a control plane.
struct Reached {
    address: String,
    access: Access,
    certificates: Certificates,
    is_tls: bool,
}

/// A control plane that nothing moves yet.
struct Assembled {
    app: Arc<App>,
    uploads: Uploads,
    lock: std::fs::File,
}

fn assemble(opened: Opened, reached: Reached, runner_program: PathBuf, clock: Clock) -> Assembled {
    let Opened { setup, store, blobs, witness, vault, origin, len, forms } = opened;
    let Setup { home, ledger, repository, lock, .. } = setup;
    let Reached { address, access, certificates, is_tls } = reached;
    let (intake, uploads) = intake::queue(UPLOADS_WAITING_MAX);
    let is_alone = store.seat().is_none();
    let app = Arc::new(App {
        store,
        blobs,
        home,
        ledger,
        repository: Arc::new(repository),
        access,
        certificates: Arc::new(certificates),
        is_tls,
        address,
        runner_program,
        clock,
        wake: Notify::new(),
        hurry: Notify::new(),
        lead: watch::Sender::new(is_alone),
        origin,
        ledger_len: watch::Sender::new(len),
        generation: watch::Sender::new(0),
        shut_out: broadcast::Sender::new(SHUT_OUT_WAITING_MAX),
        closing: watch::Sender::new(false),
        intake,
        children: tokio::sync::Mutex::default(),
        sources: tokio::sync::Mutex::default(),
        tree: tokio::sync::Mutex::new(Tree::seen_by(witness)),
        watched: tokio::sync::Mutex::default(),
        drift: DriftCache::default(),
        figures: Figures::default(),
        heard: Heard::default(),
        fleet_seen: FleetCache::default(),
        forms,
        vault: Arc::new(vault),
        deltas: Deltas::default(),
    });
    Assembled { app, uploads, lock }
}

struct Opened {
    setup: Setup,
    store: Arc<Store>,
    blobs: Blobs,
    witness: Option<TreeHead>,
    vault: Vault,
    origin: String,
    /// The ledger's length.
    len: u64,
    forms: FormKey,
}

/// Blocks, as every use of the database does.
fn open(
    data_dir: &std::path::Path,
    database: Option<&Address>,
    bucket: Option<Bucket>,
    now: Timestamp,
) -> Result<Opened, ServerError> {
    let (home, lock) = setup::enter(data_dir)?;
    let origin = hex::encode(secret::random::<4>().map_err(SetupError::from)?);
    let common = match database {
        None => None,
        Some(address) => {
            let store = Arc::new(Store::connect(address)?);
            let mirror = Mirror::new(Arc::clone(&store), origin.clone());
            mirror.arrive(&home.repository()).map_err(SetupError::from)?;
            tracing::info!(database = %address, "this server shares its database with others");
            Some((store, mirror))
        }
    };
    let (store, mirror) = common.unzip();
    let is_alone = store.is_none();
    let setup = setup::furnish(home, lock, mirror, now)?;
    let store = match store {
        Some(store) => store,
        None => Arc::new(Store::open(&setup.home.database())?),
    };
    store.seal_with(seals::sealer(&setup.ledger));
    let witness = seals::witness(&setup, &store)?;
    let blobs = match bucket {
        Some(bucket) => Blobs::in_bucket(bucket),
        None => Blobs::in_folder(&setup.home.blobs())?,
    };
    let vault = match is_alone {
        true => Vault::new(setup.home.vault()),
        false => Vault::in_database(&setup.home.inputs_key(), &store)?,
    };
    let len = store.head()?.len;
    let forms = FormKey::fresh().map_err(SetupError::from)?;
    Ok(Opened { setup, store, blobs, witness, vault, origin, len, forms })
}

fn say_how_it_listens(home: &Home, address: SocketAddr, access: &Access, tls: Option<&Certificates>) {
    tracing::info!(%address, data_dir = %home.path().display(), "control plane listens");
    match access.local_trust() {
        true => tracing::warn!("callers on this machine need no token; --require-auth asks them for it"),
        false => tracing::info!(token = %home.token().display(), "operators need the token in this file"),
    }
    if let Some(certificates) = tls {
        let pin = certificates.pin().map(|pin| pin.to_string());
        let authority = pin.unwrap_or_else(|| "one that any computer believes".to_owned());
        tracing::info!(authority, names = certificates.names().join(", "), "speaks TLS");
    }
}

/// How TLS is spoken with whoever comes next: certificates are renewed meanwhile.
fn configured(app: &Arc<App>) -> door::Configure {
    let app = Arc::clone(app);
    Arc::new(move || {
        app.certificates.config((app.clock)()).map_err(|error| {
            let why = chain(&error);
            tracing::error!("no TLS: {why}");
            why
        })
    })
}

/// The address that clients on this machine use.
fn local_address(listening: SocketAddr, is_tls: bool) -> String {
    let mut address = listening;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    format!("{}://{address}", if is_tls { "https" } else { "http" })
}

/// The address that is listened on is a name of the control plane too.
fn with_address(mut tls: TlsConfig, listen: SocketAddr) -> TlsConfig {
    if !listen.ip().is_unspecified() {
        tls.names.push(listen.ip().to_string());
    }
    tls
}

/// Sends figures and spans to a collector until they are dropped.
fn tell(app: &Arc<App>, address: SocketAddr, collector: &Collector) -> (Pusher, Traced) {
    let resource = Resource { service: "edgeward-server", instance: address.to_string() };
    let traced = collector.trace(resource.clone());
    let (app, runtime) = (Arc::clone(app), tokio::runtime::Handle::current());
    let families = move || runtime.block_on(figures::families(&app)).unwrap_or_default();
    (collector.push(resource, families), traced)
}

fn tls_problem(error: &TlsError) -> Problem {
    match error {
        TlsError::Setup(error) => error.problem(),
        TlsError::Damaged { .. } => Problem::new("certificates", chain(error))
            .hint("Restore the folder 'keys' from a backup; devices would not believe a new authority."),
        TlsError::Public { .. } => Problem::new("certificates", chain(error))
            .hint("Give --tls-cert a PEM file with the certificate and its chain, and --tls-key its key."),
        _ => Problem::new("certificates", chain(error)),
    }
}

fn system_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Runs a control plane until `shutdown` is ready.
///
/// # Errors
/// As [`bind`] and [`Bound::serve`].
pub async fn run(
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    bind(config).await?.serve(shutdown).await
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with the authority to believe, if it speaks TLS on a certificate of its own.
    #[must_use]
    pub fn authority_file(&self) -> Option<&std::path::Path> {
        (self.app.is_tls && self.app.certificates.pin().is_some()).then(|| self.app.certificates.pem_file())
    }

    /// Its address for clients on this machine, such as `http://127.0.0.1:7700`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.app.address
    }

    #[cfg(test)]
    pub(crate) fn app(&self) -> Arc<App> {
        Arc::clone(&self.app)
    }

    /// Answers until `shutdown` is ready. Requests under way are finished, children are ended, and nothing that was
    /// acknowledged is lost.
    ///
    /// # Errors
    /// Connections cannot be accepted.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        let app = Arc::clone(&self.app);
        let reconciler = tokio::spawn(reconcile::run(Arc::clone(&app), self.tick, app.closing.subscribe()));
        replicas::take_part(&app);
        tokio::spawn(intake::run(Arc::clone(&app), self.uploads));
        tokio::spawn(deltas::catch_up(Arc::clone(&app)));
        let told = self.collector.map(|collector| tell(&app, self.address, &collector));
        let tracer = told.as_ref().map(|(_, traced)| traced.tracer());
        webhooks::tell(&app, self.webhooks);
        let ending = Arc::clone(&app);
        let gate = Gate::new(self.listener, CONNECTIONS_MAX, Patience::default());
        let door = match app.is_tls {
            true => door::Door::tls(gate, configured(&app), TLS_HINT),
            false => door::Door::Plain(gate),
        };
        let door = Door(door);
        let service = router(&app, tracer).into_make_service_with_connect_info::<Peer>();
        let graceful = axum::serve(door, service).with_graceful_shutdown(async move {
            shutdown.await;
            tracing::info!("ending");
            ending.closing.send_replace(true);
        });
        let mut closing = app.closing.subscribe();
        let overdue = async move {
            closed(&mut closing).await;
            tokio::time::sleep(DRAIN).await;
        };
        let served = tokio::select! {
            served = graceful => served.map_err(ServerError::Serve),
            () = overdue => Ok(()),
        };
        app.closing.send_replace(true);
        // A reconciler that panicked has said so already.
        let _ = reconciler.await;
        runs::stop(&app).await;
        // What was counted last is sent once more.
        let _ = tokio::task::spawn_blocking(move || drop(told)).await;
        served
    }
}
