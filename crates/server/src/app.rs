//! What every handler and reconciler holds: the store, the blobs, the keys, and the signals between them.
//!
//! Reading and deciding run on threads for blocking work. A decision is one transaction: it sees the state it changes,
//! and after it is committed the reconcilers are woken and the watchers of the ledger are told its new length.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeward_core::{DeviceId, Digest, Event, Timestamp};
use edgeward_store::{Blobs, Store, StoreError, View, Writer};
use edgeward_trust::fleet::PublishError;
use tokio::sync::{Notify, broadcast, watch};

use crate::access::Access;
use crate::dashboard::{FleetCache, FormKey};
use crate::deltas::Deltas;
use crate::drift::DriftCache;
use crate::failure::{Failure, chain};
use crate::figures::Figures;
use crate::heard::Heard;
use crate::intake::Intake;
use crate::reconcile::checkpoints::Tree;
use crate::reconcile::fleet::Watched;
use crate::reconcile::rollouts::StartError;
use crate::reconcile::runs::Children;
use crate::reconcile::sources::Looks;
use crate::records::Vault;
use crate::replicas::News;
use crate::repository::{Repository, RepositoryError};
use crate::setup::{Home, LedgerSigner};
use crate::tls::Certificates;

/// Where the time comes from; tests bring their own.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The control plane.
pub(crate) struct App {
    pub(crate) store: Arc<Store>,
    pub(crate) blobs: Blobs,
    pub(crate) home: Home,
    pub(crate) ledger: Arc<LedgerSigner>,
    pub(crate) repository: Arc<Repository>,
    pub(crate) access: Access,
    pub(crate) certificates: Arc<Certificates>,
    /// Whether it listens under TLS.
    pub(crate) is_tls: bool,
    /// Where clients on this machine reach it, such as `http://127.0.0.1:7700`.
    pub(crate) address: String,
    pub(crate) runner_program: PathBuf,
    pub(crate) clock: Clock,
    /// Wakes the reconcilers.
    pub(crate) wake: Notify,
    /// Wakes them from their rest, too.
    pub(crate) hurry: Notify,
    /// Whether this server leads: its reconcilers run. One that is alone always does.
    pub(crate) lead: watch::Sender<bool>,
    /// What this server is called in what it announces to others of its database.
    pub(crate) origin: String,
    /// The ledger's length.
    pub(crate) ledger_len: watch::Sender<u64>,
    /// Generation of what the fleet was last told: devices that listen are told when it changes.
    pub(crate) generation: watch::Sender<u64>,
    /// Devices that are shut out, as it happens: their open streams end.
    pub(crate) shut_out: broadcast::Sender<DeviceId>,
    /// True once the server is to end: open streams end too.
    pub(crate) closing: watch::Sender<bool>,
    /// Reports and profiles on their way into the database.
    pub(crate) intake: Intake,
    pub(crate) children: tokio::sync::Mutex<Children>,
    pub(crate) sources: tokio::sync::Mutex<Looks>,
    pub(crate) tree: tokio::sync::Mutex<Tree>,
    pub(crate) watched: tokio::sync::Mutex<Watched>,
    pub(crate) drift: DriftCache,
    pub(crate) figures: Figures,
    /// What the devices' detectors said since this server started.
    pub(crate) heard: Heard,
    /// The fleet as the dashboard read it last.
    pub(crate) fleet_seen: FleetCache,
    /// Ties the dashboard's forms to local callers without a token.
    pub(crate) forms: FormKey,
    /// Keys of inputs that are kept for a time.
    pub(crate) vault: Arc<Vault>,
    pub(crate) deltas: Deltas,
}

/// A transaction in which events are decided.
pub(crate) struct Decision<'a, 'c> {
    writer: &'a Writer<'c>,
    now: Timestamp,
    appended: std::cell::Cell<u64>,
}

impl<'c> std::ops::Deref for Decision<'_, 'c> {
    type Target = Writer<'c>;

    fn deref(&self) -> &Writer<'c> {
        self.writer
    }
}

impl Decision<'_, '_> {
    /// Appends to the ledger.
    pub(crate) fn append(&self, event: Event) -> Result<(), StoreError> {
        let entry = self.writer.append(event, self.now)?;
        self.appended.set(entry.seq + 1);
        Ok(())
    }

    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }
}

impl App {
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Runs queries on one snapshot.
    pub(crate) async fn read<T: Send + 'static, E: From<StoreError> + From<Stopped> + Send + 'static>(
        &self,
        query: impl FnOnce(&View<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let store = Arc::clone(&self.store);
        blocking(move || store.read(query)).await
    }

    /// Runs queries and changes in one transaction and tells everyone concerned. An error drops every change.
    pub(crate) async fn decide<T: Send + 'static, E: From<StoreError> + From<Stopped> + Send + 'static>(
        &self,
        change: impl FnOnce(&Decision<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        self.decide_and_say(News::Changed, change).await
    }

    async fn decide_and_say<T: Send + 'static, E: From<StoreError> + From<Stopped> + Send + 'static>(
        &self,
        news: News,
        change: impl FnOnce(&Decision<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (store, now, news) = (Arc::clone(&self.store), self.now(), news.said_by(&self.origin));
        let (outcome, len) = blocking(move || {
            store.write(|writer| {
                let decision = Decision { writer, now, appended: std::cell::Cell::new(0) };
                let outcome = change(&decision)?;
                let len = decision.appended.get();
                if len > 0 {
                    writer.announce(&news)?;
                }
                Ok::<_, E>((outcome, len))
            })
        })
        .await?;
        if len > 0 {
            self.saw_length(len);
            self.wake.notify_one();
        }
        Ok(outcome)
    }

    /// Tells whoever watches the ledger that it is this long.
    pub(crate) fn saw_length(&self, len: u64) {
        self.ledger_len.send_if_modified(|known| {
            let newer = len > *known;
            *known = len.max(*known);
            newer
        });
    }

    /// Tells the devices that listen which generation of the desired state is the newest.
    pub(crate) fn saw_generation(&self) {
        let generation = self.repository.desired().map_or(0, |desired| desired.generation);
        self.generation.send_if_modified(|known| std::mem::replace(known, generation) != generation);
    }

    /// Whether this server leads now.
    pub(crate) fn leads(&self) -> bool {
        *self.lead.borrow()
    }

    /// Tells the other servers of the database.
    pub(crate) async fn tell(&self, news: News) -> Result<(), Failure> {
        let (store, news) = (Arc::clone(&self.store), news.said_by(&self.origin));
        blocking(move || store.write(|writer| Ok::<_, Failure>(writer.announce(&news)?))).await
    }

    /// As [`App::decide`], for what a person asks and devices wait for: the reconcilers take it up without resting first.
    pub(crate) async fn decide_now<
        T: Send + 'static,
        E: From<StoreError> + From<Stopped> + Send + 'static,
    >(
        &self,
        change: impl FnOnce(&Decision<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let outcome = self.decide_and_say(News::Hurry, change).await?;
        self.hurry.notify_one();
        Ok(outcome)
    }

    /// The device whose credential has this digest.
    pub(crate) async fn device_of(&self, credential: Digest) -> Result<Option<DeviceId>, Failure> {
        self.read(move |view| Ok(view.device_by_credential(credential)?)).await
    }
}

/// A task was stopped before it could answer: the server is shutting down, or the task panicked.
#[derive(Debug, thiserror::Error)]
#[error("the work was stopped before it was done")]
pub struct Stopped;

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static, E: From<Stopped> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Stopped.into()),
    }
}

impl From<Stopped> for Failure {
    fn from(error: Stopped) -> Self {
        Self::unavailable("answering", &error)
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        match &error {
            RepositoryError::Publish(PublishError::Stale { .. }) => Self::conflict(chain(&error)),
            RepositoryError::Publish(PublishError::Refused(_) | PublishError::Unfit(_)) => {
                Self::invalid(chain(&error)).hint("Sign it with this fleet's releases key.")
            }
            RepositoryError::Behind => Self::conflict(chain(&error)),
            _ => Self::unavailable("using the repository", &error),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => error.into(),
            StartError::Randomness(error) => Self::unavailable("making an id", &error),
            StartError::Name(error) => Self::internal("making an id", &error),
            StartError::NoGroup(_) => Self::not_found(error.to_string()).hint("See edgeward group ls."),
            StartError::LargeGroup { .. } => Self::invalid(error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused { reason, .. } => Self::conflict(reason),
            StoreError::Conflict { .. } => Self::conflict(error.to_string()),
            StoreError::Sql { .. } => Self::unavailable("using the database", &error),
            _ => Self::internal("using the database", &error),
        }
    }
}

/// A panic while a lock was held leaves a cache that is only a cache.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the server is to end.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    // A sender that is gone says the same.
    let _ = closing.wait_for(|closing| *closing).await;
}
