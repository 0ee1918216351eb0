//! Saying that an alert was seen.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use edgeward_api::operator::AcknowledgeRequest;
use maud::html;

use super::{Asking, Decided, Sent, to};
use crate::app::App;
use crate::dashboard::alerts::encoded;
use crate::dashboard::layout::Place;
use crate::dashboard::session::Viewer;
use crate::dashboard::words::alert_title;
use crate::extract::Document;
use crate::failure::Failure;
use crate::handlers::{TEXT_LEN_MAX, fleet};

/// Where those that were acknowledged are, where somebody was faster.
const BEFORE: &str = "/alerts?acknowledged=true&done=was-acknowledged-before";

pub(super) async fn ask(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let id = sent.alert;
    let of = id.clone();
    let row = app.read(move |view| Ok::<_, Failure>(view.alert(&of)?)).await?;
    let row = row.ok_or_else(|| fleet::unknown_alert(&id))?;
    if row.acknowledged.is_some() {
        return Ok(to(BEFORE));
    }
    let says = html! {
        p { b { (alert_title(&row.alert)) } ": " (row.alert.message) }
        p { "The ledger keeps who has seen it. It counts as open no more; what it starts, it starts all the same, and another alert
            stands open again." }
    };
    let fields = html! {
        input type="hidden" name="alert" value=(id);
        label for="note" { "Note, if you like" }
        textarea id="note" name="note" rows="2" maxlength=(TEXT_LEN_MAX) placeholder="It stands in the ledger for ever." {}
    };
    let back = format!("/alerts#alert-{}", encoded(&id));
    let asking = Asking {
        title: "Acknowledge the alert?",
        says,
        act: "Acknowledge it",
        fields,
        ..Asking::at(Place::Alerts, &uri, back, "Alerts")
    };
    Ok(asking.page(&viewer))
}

pub(super) async fn acknowledge(
    State(app): State<Arc<App>>,
    Decided { viewer, sent }: Decided,
) -> Result<Response, Failure> {
    let request = AcknowledgeRequest { alert: sent.alert, note: Some(sent.note) };
    let done = fleet::acknowledge(State(app), Extension(viewer.caller), Document(request)).await?.0;
    Ok(to(if done.already { BEFORE } else { "/alerts?done=acknowledged" }))
}
