//! Shadows: how each candidate stands beside its champion, now and when its comparison ended.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_api::operator::{Shadow, ShadowTest, ShadowTests};
use edgeward_api::routes;
use edgeward_monitor::{PairedLosses, Selection};
use edgeward_store::{ShadowTestRow, StoreError, View};

use crate::app::App;
use crate::failure::Failure;
use crate::reconcile::shadows::{Counted, counted, reasons, selection_policy};

/// Most comparisons that are listed.
const TESTS_MAX: usize = 20;

/// The comparisons of shadows with their champions, the newest first.
#[utoipa::path(get, path = routes::SHADOWS, responses((status = 200, body = ShadowTests)))]
pub(crate) async fn shadows(State(app): State<Arc<App>>) -> Result<Json<ShadowTests>, Failure> {
    let tests = app.read(|view| tests(view).map_err(Failure::from)).await?;
    Ok(Json(ShadowTests { tests }))
}

fn tests(view: &View<'_>) -> Result<Vec<ShadowTest>, StoreError> {
    let rows = view.shadow_tests(None, TESTS_MAX)?;
    rows.into_iter().map(|row| Ok(shown(&row, &counted(view, &row)?))).collect()
}

fn shown(row: &ShadowTestRow, counted: &Counted) -> ShadowTest {
    let nothing = PairedLosses::new(row.candidates.len());
    let losses = counted.losses.as_ref().or(nothing.as_ref());
    let selection = losses.map(|losses| Selection::of(losses, selection_policy(&row.policy)));
    let standings = selection.iter().flat_map(|selection| &selection.standings);
    let shadows = standings.filter_map(|standing| {
        let candidate = row.candidates.get(standing.candidate)?;
        let count = counted.candidates.get(standing.candidate)?;
        let share = |sum: f64| (count.answered > 0).then(|| sum / count.answered as f64);
        Some(Shadow {
            name: candidate.name.clone(),
            version: candidate.version,
            bundle: candidate.bundle,
            staged: count.staged,
            answered: count.answered,
            agreement: share(count.agreed as f64),
            confidence: share(count.confidence_micros as f64 / 1e6),
            loss: standing.loss,
            range: standing.range,
            log10_evidence: standing.log10_evidence,
        })
    });
    ShadowTest {
        run: row.run.clone(),
        model: row.model.clone(),
        champion: row.champion,
        started_at_ms: row.started_at_ms,
        finished_at_ms: row.finished_at_ms,
        policy: row.policy.clone(),
        outcome: row.outcome.clone(),
        reasons: match (&row.outcome, &selection) {
            (None, Some(selection)) => reasons(row, selection),
            _ => row.reasons.clone(),
        },
        devices: counted.devices,
        mirrored: counted.mirrored,
        dropped: counted.dropped,
        labels: selection.as_ref().map_or(0, |selection| selection.labels),
        champion_loss: selection.as_ref().and_then(|selection| selection.champion_loss),
        log10_bar: selection.as_ref().map_or(0.0, |selection| selection.log10_bar),
        shadows: shadows.collect(),
    }
}
