//! What an agent or an endpoint is told when it starts, and why it may not start.

use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeward_api::client::Roots;
use edgeward_api::otlp::Collector;
use edgeward_core::slot::SlotPolicy;
use edgeward_core::{DeviceId, ModelName, Timestamp};
use edgeward_model::Engines;

use crate::activation::ActivationConfig;
use crate::address::Address;
use crate::brain::RestoreError;
use crate::courtesy::Courtesy;
use crate::door::{DoorError, Speech};
use crate::durable::DurableError;
use crate::identity::IdentityError;
use crate::nudge::Nudges;
use crate::platform::Hardware;
use crate::repository::REFRESH_TIMEOUT;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How an agent runs.
#[derive(Clone)]
pub struct AgentConfig {
    /// The control plane, such as `http://127.0.0.1:7700`.
    pub server: String,
    /// Where it reads the repository and files of bundles instead of at the control plane, such as
    /// `https://mirror.example/fleet`.
    pub repository: Option<String>,
    /// Needed once, to enrol; another one than that lets the device join again.
    pub join_token: Option<String>,
    /// Whom to believe under TLS where neither the join token nor the identity says so.
    pub roots: Option<Roots>,
    /// Everything the agent keeps.
    pub data_dir: PathBuf,
    /// The name it would like.
    pub name: DeviceId,
    /// Where it serves predictions, over HTTP and gRPC alike; port 0 takes a free one. The first is the one it tells.
    pub listen: Vec<Address>,
    /// How it speaks there.
    pub speech: Speech,
    /// Where its metrics are sent, beside being there to be scraped.
    pub collector: Option<Collector>,
    /// How often it asks whether the repository has news.
    pub poll: Duration,
    /// How often it uploads a window.
    pub upload: Duration,
    /// Longest time that the files of one look at the repository may take together.
    pub refresh_timeout: Duration,
    /// Where it hears of news between two polls.
    pub nudges: Nudges,
    /// Most bytes per second that bundles may take of the link; none is no limit.
    pub bandwidth_bytes_per_second: Option<NonZeroU64>,
    /// Most bytes that the data folder may take for bundles to be fetched into it; none is no limit but the disk's.
    pub disk_quota_bytes: Option<NonZeroU64>,
    /// When bundles may be fetched and activated.
    pub courtesy: Arc<Courtesy>,
    /// What makes an activated bundle serve.
    pub activation: ActivationConfig,
    /// How patient it is with new bundles; the desired state overrides the probation.
    pub slots: SlotPolicy,
    /// What runs models.
    pub engines: Arc<Engines>,
    /// What the device has besides.
    pub hardware: Hardware,
    /// Most rows of waiting requests that are computed together; 1 computes each by itself.
    pub batch_rows: usize,
    /// What the time is by the device's clock.
    pub clock: Clock,
}

impl AgentConfig {
    /// A configuration with the usual intervals: a poll each second, an upload each two.
    #[must_use]
    pub fn new(
        server: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        name: DeviceId,
        listen: impl Into<Vec<Address>>,
    ) -> Self {
        Self {
            server: server.into(),
            repository: None,
            join_token: None,
            roots: None,
            data_dir: data_dir.into(),
            name,
            listen: listen.into(),
            speech: Speech::default(),
            collector: None,
            poll: Duration::from_secs(1),
            upload: Duration::from_secs(2),
            refresh_timeout: REFRESH_TIMEOUT,
            nudges: Nudges::default(),
            bandwidth_bytes_per_second: None,
            disk_quota_bytes: None,
            courtesy: Arc::default(),
            activation: ActivationConfig::default(),
            slots: SlotPolicy::default(),
            engines: Arc::new(Engines::embedded()),
            hardware: Hardware::default(),
            batch_rows: 1,
            clock: Arc::new(system_clock),
        }
    }
}

/// The time by the system's clock.
#[must_use]
pub fn system_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// What a bare endpoint serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A bundle's folder or an ONNX file.
    Path(PathBuf),
    /// What the agent with this data folder activates.
    Active(PathBuf),
}

/// How a bare endpoint runs.
#[derive(Clone)]
pub struct ServeConfig {
    /// What it serves.
    pub source: Source,
    /// The model's name in URLs; by default the bundle's, or the file's. Needed to follow an agent.
    pub name: Option<ModelName>,
    /// Where it serves predictions, over HTTP and gRPC alike; port 0 takes a free one. The first is the one it tells.
    pub listen: Vec<Address>,
    /// How it speaks there.
    pub speech: Speech,
    /// Where its metrics are sent, beside being there to be scraped.
    pub collector: Option<Collector>,
    /// What runs models.
    pub engines: Arc<Engines>,
    /// What the device has besides.
    pub hardware: Hardware,
    /// Most rows of waiting requests that are computed together; 1 computes each by itself.
    pub batch_rows: usize,
}

/// Why an agent does not run. Each says what failed, why, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data folder cannot be used.
    #[error("using the data folder {}; give --data a folder this user may write", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent uses the data folder.
    #[error(
        "another agent already runs on the data folder {}; stop it, or give this one its own --data",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("listening on {address} (give --listen a free address, or port 0 for any free port)")]
    Listen {
        /// The address.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The way in to the endpoint is open to others, or shut.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// What makes bundles serve is not said well enough.
    #[error("{0}")]
    Activation(&'static str),
    /// The device has no identity and cannot get one.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The device enrolled but its state is gone.
    #[error(
        "{} has an identity but no state; restore it from a backup, or remove it and enrol again with a new join token",
        path.display()
    )]
    StateMissing {
        /// The data folder.
        path: PathBuf,
    },
    /// The state on the disk cannot be used.
    #[error("reading the device's state")]
    State(#[source] serde_json::Error),
    /// The state belongs to another device or program.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DurableError),
    /// The bundle or model file cannot be served.
    #[error("serving {}: {reason}", path.display())]
    Model {
        /// The bundle or file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The endpoint stopped by itself.
    #[error("the endpoint stopped")]
    Endpoint(#[source] io::Error),
}

impl AgentError {
    pub(crate) fn data_dir(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::DataDir { path: path.to_owned(), source }
    }
}
