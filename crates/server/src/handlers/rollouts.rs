//! Rollouts: what is under way and what became of the others.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_api::operator::{Rollout, Rollouts};
use edgeward_api::{Problem, routes};
use edgeward_core::event::RolloutOutcome;
use edgeward_core::{Event, RolloutId};

use crate::app::App;
use crate::extract::Named;
use crate::failure::Failure;
use crate::listing;

/// The rollouts.
#[utoipa::path(get, path = routes::ROLLOUTS, responses((status = 200, body = Rollouts)))]
pub(crate) async fn rollouts(State(app): State<Arc<App>>) -> Result<Json<Rollouts>, Failure> {
    let rollouts = app.read(|view| listing::rollouts(view).map_err(Failure::from)).await?;
    Ok(Json(Rollouts { rollouts }))
}

/// Takes a rollout back: the fleet returns to what it ran before. A rollout that has ended stays as it is.
#[utoipa::path(post, path = routes::ROLLOUT_ABORT, params(("rollout" = String, Path, description = "The rollout's id")),
    responses((status = 200, body = Rollout), (status = 404, body = Problem)))]
pub(crate) async fn abort(
    State(app): State<Arc<App>>,
    Named(rollout): Named<RolloutId>,
) -> Result<Json<Rollout>, Failure> {
    let row = app.decide(move |decision| {
        let known = decision.rollout(&rollout)?;
        let known = known.ok_or_else(|| Failure::not_found(format!("there is no rollout {rollout}")))?;
        if known.outcome.is_none() {
            let (outcome, reasons) =
                (RolloutOutcome::RolledBack, vec!["taken back by an operator".to_owned()]);
            decision.append(Event::RolloutFinished { rollout: rollout.clone(), outcome, reasons })?;
        }
        Ok::<_, Failure>(decision.rollout(&rollout)?.unwrap_or(known))
    });
    Ok(Json(listing::rollout(row.await?)))
}
