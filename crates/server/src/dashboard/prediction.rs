//! One prediction: what `edgeward why --html` shows. That somebody looked is in the ledger.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use edgeward_core::PredictionId;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::html as shown;
use super::page::{document, frame};
use crate::access::Caller;
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
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(Row { row }): Query<Row>,
) -> Result<Response, Failure> {
    let id = PredictionId(parse(&id)?);
    let why = why::why(&app, id, row, None, caller.name()).await?;
    Ok(shown(&render(&why)).into_response())
}

fn parse(id: &str) -> Result<Uuid, Failure> {
    id.parse().map_err(|error| {
        Failure::invalid(format!("'{id}' is no prediction's id: {error}"))
            .hint("It stands in the device's answer as prediction_id.")
    })
}

pub(super) fn render(why: &Why) -> Markup {
    let title = format!("Why prediction {}?", why.record.prediction);
    let body = html! {
        h1 { (title) }
        section.card.report aria-label="Why" { (why::body(why)) }
        p { a href="/audit" { "The ledger" } }
    };
    document(&title, &frame(&body), false)
}
