//! One prediction: what `edgeward why --html` shows. That somebody looked is in the ledger.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use edgeward_core::PredictionId;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::layout::{Place, Sheet, card, crumbs, shown};
use super::session::Viewer;
use crate::app::App;
use crate::failure::Failure;
use crate::why::{self, Why};

/// Which row of the request.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    #[serde(default)]
    row: usize,
}

/// Which prediction somebody typed.
#[derive(Debug, Deserialize)]
pub(super) struct Typed {
    id: String,
}

/// From what was typed to its page.
pub(super) async fn look_up(Query(typed): Query<Typed>) -> Result<Response, Failure> {
    let id = parse(typed.id.trim())?;
    Ok(Redirect::to(&format!("/predictions/{id}")).into_response())
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(id): Path<String>,
    Query(Row { row }): Query<Row>,
) -> Result<Response, Failure> {
    let id = PredictionId(parse(&id)?);
    let why = why::why(&app, id, row, None, viewer.caller.name()).await?;
    Ok(shown(&render(&viewer, &why)).into_response())
}

fn parse(id: &str) -> Result<Uuid, Failure> {
    id.parse().map_err(|error| {
        Failure::invalid(format!("'{id}' is no prediction's id: {error}"))
            .hint("It stands in the device's answer as prediction_id.")
    })
}

pub(super) fn render(viewer: &Viewer, why: &Why) -> Markup {
    let title = format!("Why prediction {}?", why.record.prediction);
    let body = html! {
        (crumbs(&[("/audit", "Audit")], "Prediction"))
        h1 { (title) }
        (card("why", "Why", false, &html! { div.report { (why::body(why)) } }))
    };
    Sheet::still(&title, Place::Audit).page(viewer, &body)
}
