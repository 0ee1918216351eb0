//! Rollouts: what is under way, what became of the others, and what people decide about them.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use edgeward_api::operator::{Rollout, RolloutDevices, RolloutGate, RolloutStatus, RolloutWish, Rollouts};
use edgeward_api::{Problem, routes};
use edgeward_core::event::RolloutOutcome;
use edgeward_core::rollout::{self, Observed};
use edgeward_core::{Event, RolloutId, Timestamp};
use edgeward_store::{RolloutRow, View};

use super::check_text;
use crate::access::Caller;
use crate::app::{App, Decision};
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::listing;
use crate::reconcile::observe::observed;

/// The rollouts.
#[utoipa::path(get, path = routes::ROLLOUTS, responses((status = 200, body = Rollouts)))]
pub(crate) async fn rollouts(State(app): State<Arc<App>>) -> Result<Json<Rollouts>, Failure> {
    let rollouts = app.read(|view| listing::rollouts(view).map_err(Failure::from)).await?;
    Ok(Json(Rollouts { rollouts }))
}

fn known(view: &View<'_>, rollout: &RolloutId) -> Result<RolloutRow, Failure> {
    let known = view.rollout(rollout)?;
    known.ok_or_else(|| Failure::not_found(format!("there is no rollout {rollout}")))
}

/// One rollout with its gates and devices.
#[utoipa::path(get, path = routes::ROLLOUT, params(("rollout" = String, Path, description = "The rollout's id")),
    responses((status = 200, body = RolloutStatus), (status = 404, body = Problem)))]
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    Named(rollout): Named<RolloutId>,
) -> Result<Json<RolloutStatus>, Failure> {
    let now = app.now();
    app.read(move |view| {
        let row = known(view, &rollout)?;
        let seen = observed(view, &row, now)?;
        Ok(Json(status_of(row, &seen, now)))
    })
    .await
}

fn status_of(row: RolloutRow, seen: &Observed, now: Timestamp) -> RolloutStatus {
    let (policy, gates) = (&row.policy, &row.policy.gates);
    let says = |evidence: &rollout::GateObserved| RolloutGate {
        verdict: gates.judge(evidence),
        log10_fail: gates.log10_fail(),
        says: gates.explain(evidence),
        evidence: evidence.clone(),
    };
    let waits = match row.outcome {
        None => rollout::plan(policy, seen, now).reasons,
        Some(_) => Vec::new(),
    };
    RolloutStatus {
        gates: seen.gates.iter().map(says).collect(),
        devices: counted(&row, seen, now),
        now: waits,
        rollout: listing::rollout(row),
    }
}

/// All devices, and then those of each kind of hardware that tells.
fn counted(row: &RolloutRow, seen: &Observed, now: Timestamp) -> Vec<RolloutDevices> {
    let mut counts = vec![RolloutDevices::default()];
    for device in &seen.devices {
        let place =
            counts.iter().position(|count| count.hardware.is_some() && count.hardware == device.hardware);
        let place = place.or_else(|| {
            counts.push(RolloutDevices {
                hardware: Some(device.hardware.clone()?),
                ..RolloutDevices::default()
            });
            Some(counts.len() - 1)
        });
        let reached = row.wave.is_some_and(|wave| device.bucket <= wave.limit);
        for count in std::iter::once(0).chain(place) {
            let count = &mut counts[count];
            count.all += 1;
            count.reached += usize::from(reached);
            count.running += usize::from(device.running_since_ms.is_some());
            count.failed += usize::from(device.failure.is_some());
            count.away += usize::from(reached && now.since(device.seen_at_ms) >= row.policy.offline_ms);
        }
    }
    counts[1..].sort_by(|a, b| a.hardware.cmp(&b.hardware));
    counts
}

/// Does what a person wishes of a rollout that is under way.
async fn wish(
    app: &App,
    rollout: RolloutId,
    wish: &RolloutWish,
    decide: impl FnOnce(&Decision<'_, '_>, &RolloutRow) -> Result<Option<Event>, Failure> + Send + 'static,
) -> Result<Json<Rollout>, Failure> {
    check_text("cause", &wish.cause)?;
    let row = app.decide_now(move |decision| {
        let row = known(decision, &rollout)?;
        if let Some(event) = decide(decision, &row)? {
            decision.append(event)?;
        }
        known(decision, &rollout)
    });
    Ok(Json(listing::rollout(row.await?)))
}

fn under_way(row: &RolloutRow) -> Result<(), Failure> {
    match row.outcome {
        None => Ok(()),
        Some(_) => Err(Failure::conflict(format!("rollout {} has ended", row.id))
            .hint("See what became of it with 'edgeward rollout status'.")),
    }
}

fn or_by_hand(cause: String) -> String {
    if cause.is_empty() { "by hand".to_owned() } else { cause }
}

/// Stops a rollout for now: no further wave opens. One that is stopped stays so.
#[utoipa::path(post, path = routes::ROLLOUT_PAUSE, params(("rollout" = String, Path, description = "The rollout's id")),
    request_body = RolloutWish,
    responses((status = 200, body = Rollout), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(rollout): Named<RolloutId>,
    Document(asked): Document<RolloutWish>,
) -> Result<Json<Rollout>, Failure> {
    let (by, cause) = (caller.name(), or_by_hand(asked.cause.clone()));
    wish(&app, rollout, &asked, move |_, row| {
        under_way(row)?;
        let rollout = row.id.clone();
        let reasons = vec![format!("paused by {by}: {cause}")];
        Ok((!row.paused).then_some(Event::RolloutPaused { rollout, by: Some(by), reasons }))
    })
    .await
}

/// Lets a paused rollout go on. What its gates held against it so far is forgotten.
#[utoipa::path(post, path = routes::ROLLOUT_RESUME, params(("rollout" = String, Path, description = "The rollout's id")),
    request_body = RolloutWish,
    responses((status = 200, body = Rollout), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(rollout): Named<RolloutId>,
    Document(asked): Document<RolloutWish>,
) -> Result<Json<Rollout>, Failure> {
    let (by, cause) = (caller.name(), or_by_hand(asked.cause.clone()));
    wish(&app, rollout, &asked, move |_, row| {
        under_way(row)?;
        let (rollout, cause) = (row.id.clone(), format!("resumed by {by}: {cause}"));
        Ok(row.paused.then_some(Event::RolloutResumed { rollout, by, cause }))
    })
    .await
}

/// Agrees that the wave that comes next opens, as soon as nothing else stands against it.
#[utoipa::path(post, path = routes::ROLLOUT_APPROVE, params(("rollout" = String, Path, description = "The rollout's id")),
    request_body = RolloutWish,
    responses((status = 200, body = Rollout), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(rollout): Named<RolloutId>,
    Document(asked): Document<RolloutWish>,
) -> Result<Json<Rollout>, Failure> {
    let (by, cause) = (caller.name(), or_by_hand(asked.cause.clone()));
    wish(&app, rollout, &asked, move |decision, row| {
        under_way(row)?;
        let next = rollout::next_wave(&row.policy, &observed(decision, row, decision.now())?);
        let Some(next) = next else {
            return Err(Failure::conflict(format!("rollout {} has no further wave to approve", row.id)));
        };
        let (rollout, cause) = (row.id.clone(), format!("wave {} approved by {by}: {cause}", next + 1));
        let is_new = row.waves_approved <= next;
        Ok(is_new.then_some(Event::RolloutApproved { rollout, waves: next + 1, by, cause }))
    })
    .await
}

/// Takes a rollout back: the fleet returns to what it ran before. A rollout that has ended stays as it is.
#[utoipa::path(post, path = routes::ROLLOUT_ABORT, params(("rollout" = String, Path, description = "The rollout's id")),
    request_body = RolloutWish, responses((status = 200, body = Rollout), (status = 404, body = Problem)))]
pub(crate) async fn abort(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Named(rollout): Named<RolloutId>,
    Document(asked): Document<RolloutWish>,
) -> Result<Json<Rollout>, Failure> {
    let reason = format!("taken back by {}: {}", caller.name(), or_by_hand(asked.cause.clone()));
    wish(&app, rollout, &asked, move |_, row| {
        let (rollout, outcome, reasons) = (row.id.clone(), RolloutOutcome::RolledBack, vec![reason]);
        Ok(row.outcome.is_none().then_some(Event::RolloutFinished { rollout, outcome, reasons }))
    })
    .await
}
