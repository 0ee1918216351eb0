//! Loops that make what is so into what should be.
//!
//! A reconciler takes no input: it reads the state, does what is missing, and may be stopped and begun again anywhere.
//! One loop drives all of them, woken by every change and by a timer.

pub(crate) mod champions;
pub(crate) mod checkpoints;
pub(crate) mod evidence;
pub(crate) mod fleet;
pub(crate) mod observe;
pub(crate) mod records;
pub(crate) mod rollouts;
pub(crate) mod runs;
pub(crate) mod shadows;
pub(crate) mod sources;
pub(crate) mod triggers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeward_store::{Fault, StoreError};
use edgeward_trust::note::NoteError;
use tokio::sync::watch;

use crate::app::{App, Stopped, closed};
use crate::failure::chain;
use crate::records::VaultError;
use crate::replicas::{deposed, leading};
use crate::repository::RepositoryError;
use crate::secret::NoRandomness;
use crate::setup::SetupError;

/// Changes that come this close together are looked at once.
const SETTLE: Duration = Duration::from_millis(15);

/// After a turn the reconcilers rest so many times as long as it took: however large the fleet and however much it sends,
/// they take no more than a tenth of one core. What a person asks ends a rest.
const REST_PER_WORK: u32 = 9;
/// Longest rest: a rollout that fails is not to wait for longer.
const REST_MAX: Duration = Duration::from_secs(5);

/// Why a reconciler did not get to its end; the next turn tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server is ending.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The repository could not be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A checkpoint could not be signed.
    #[error("signing a checkpoint of the ledger")]
    Note(#[from] NoteError),
    /// The ledger is damaged.
    #[error("reading the ledger")]
    Damaged(#[from] Fault),
    /// The ledger is not the one an earlier checkpoint was signed for.
    #[error(
        "the first {size} entries of the ledger are not those its signed checkpoint covers: history was rewritten"
    )]
    Rewritten {
        /// How many entries the checkpoint covers.
        size: u64,
    },
    /// The latest checkpoint could not be kept beside the keys.
    #[error(transparent)]
    Witness(#[from] SetupError),
    /// The keys of inputs cannot be dropped.
    #[error("erasing inputs whose time is over")]
    Vault(#[from] VaultError),
    /// No id could be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// A rollout could not be started.
    #[error("{0}")]
    Start(String),
    /// A champion of MLflow's registry cannot be read.
    #[error("looking for champions: {0}")]
    Champion(String),
    /// An id that is no name.
    #[error(transparent)]
    Name(#[from] edgeward_core::name::ParseNameError),
}

/// Every reconciler once, in the order in which one's work is the next one's cause.
pub(crate) async fn turn(app: &App) {
    let outcomes = [
        ("fleet", fleet::reconcile(app).await),
        ("sources", sources::reconcile(app).await),
        ("champions", champions::reconcile(app).await),
        ("triggers", triggers::reconcile(app).await),
        ("runs", runs::reconcile(app).await),
        ("evidence", evidence::reconcile(app).await),
        ("shadows", shadows::reconcile(app).await),
        ("rollouts", rollouts::reconcile(app).await),
        ("records", records::reconcile(app).await),
        ("checkpoints", checkpoints::reconcile(app).await),
    ];
    for (reconciler, outcome) in outcomes {
        match outcome {
            Ok(()) | Err(ReconcileError::Stopped(_)) => {}
            Err(error) => tracing::error!(reconciler, cause = %chain(&error), "will be tried again"),
        }
    }
}

/// Drives every reconciler while this server leads, until `closing`.
pub(crate) async fn run(app: Arc<App>, tick: Duration, mut closing: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            leading = leading(&app) => if leading.is_err() { return },
            () = closed(&mut closing) => return,
        }
        let began = Instant::now();
        turn(&app).await;
        let rest = (began.elapsed() * REST_PER_WORK).min(REST_MAX);
        tokio::select! {
            () = until_due(&app, tick, rest) => {}
            () = deposed(&app) => {
                // Whoever leads now carries the runs out.
                runs::stop(&app).await;
            }
            () = closed(&mut closing) => return,
        }
    }
}

/// Waits for a change or the timer, and then until `rest` is over. What a person asks does not wait for the rest: people ask
/// rarely, and a fleet waits for what they ask.
async fn until_due(app: &App, tick: Duration, rest: Duration) {
    let settle = SETTLE.min(tick);
    tokio::select! {
        () = app.wake.notified() => {}
        () = tokio::time::sleep(tick) => {}
        () = app.hurry.notified() => return tokio::time::sleep(settle).await,
    }
    tokio::select! {
        () = tokio::time::sleep(settle.max(rest)) => {}
        () = app.hurry.notified() => tokio::time::sleep(settle).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::Plant;

    /// Longer than any test may take.
    const LONG: Duration = Duration::from_secs(3600);

    fn ends_early(plant: &Plant, rest: Duration) -> bool {
        plant.runtime.block_on(async {
            tokio::select! {
                () = until_due(&plant.app, LONG, rest) => true,
                () = tokio::time::sleep(SETTLE * 20) => false,
            }
        })
    }

    #[test]
    fn a_change_waits_for_the_rest_and_what_a_person_asks_does_not() {
        let plant = Plant::still();
        assert!(!ends_early(&plant, Duration::ZERO), "nothing has changed");
        plant.app.wake.notify_one();
        assert!(!ends_early(&plant, LONG), "the rest is not over");
        plant.app.wake.notify_one();
        plant.app.hurry.notify_one();
        let (app, tick) = (&plant.app, LONG);
        plant.runtime.block_on(until_due(app, tick, LONG));
    }
}
