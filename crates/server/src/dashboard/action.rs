//! What a person decides: a page that says what will happen and asks, and a form that is sent from nowhere else.
//!
//! Each action is the API's own handler, called with what the form holds: there is no second way to do anything. The routes
//! stand under the same roles as those of the API.

mod alert;
mod device;
mod group;
mod model;
mod project;
mod rollout;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, FromRequest, FromRequestParts as _, Request};
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use edgeward_core::Role;
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{Place, Sheet, crumbs, shown};
use super::parse;
use super::session::Viewer;
use crate::app::App;
use crate::failure::Failure;

pub(super) use group::page as group_page;
pub(super) use model::held as held_page;

/// The actions by the role that they need.
pub(super) fn routes() -> [(Role, Router<Arc<App>>); 2] {
    let operator = Router::new()
        .route("/rollouts/{rollout}/pause", get(rollout::ask).post(rollout::act))
        .route("/rollouts/{rollout}/resume", get(rollout::ask).post(rollout::act))
        .route("/rollouts/{rollout}/abort", get(rollout::ask).post(rollout::act))
        .route("/models/{model}/rollout", get(model::ask_rollout).post(model::start_rollout))
        .route("/models/{model}/held", get(held_page).post(model::judge))
        .route("/projects/{project}/run", get(project::ask_run).post(project::run))
        .route("/projects/{project}/check", get(project::ask_check).post(project::check))
        .route("/alerts/acknowledge", get(alert::ask).post(alert::acknowledge))
        .route("/devices/{device}/labels", get(device::ask_label).post(device::label))
        .route("/devices/{device}/pin", get(device::ask_pin).post(device::pin))
        .route("/devices/{device}/unpin", get(device::ask_unpin).post(device::unpin))
        .route("/devices/{device}/revoke", get(device::ask_revoke).post(device::revoke))
        // Beside the groups: below them, it would hide one of that name.
        .route("/fleet/make-group", get(group::ask_make).post(group::make))
        .route("/groups/{group}/remove", get(group::ask_remove).post(group::remove));
    let approver = Router::new().route("/rollouts/{rollout}/approve", get(rollout::ask).post(rollout::act));
    [(Role::Operator, operator), (Role::Approver, approver)]
}

/// What a form holds; each action takes what it needs of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Sent {
    form: String,
    cause: String,
    model: String,
    target: String,
    key: String,
    value: String,
    group: String,
    expression: String,
    waves: String,
    approval: String,
    verdict: String,
    alert: String,
    note: String,
}

impl Sent {
    /// The cause that the ledger keeps.
    fn cause_or(&self, otherwise: &str) -> String {
        let cause = self.cause.trim();
        if cause.is_empty() { otherwise.to_owned() } else { cause.to_owned() }
    }
}

/// What a person decided, in a form of their own session that was made for this very address. Nothing else is taken from a form
/// here, so no action can forget to look.
struct Decided {
    viewer: Viewer,
    sent: Sent,
}

impl FromRequest<Arc<App>> for Decided {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let viewer = Viewer::from_request_parts(&mut parts, app).await.map_err(Failure::into_response)?;
        let path = parts.uri.path().to_owned();
        let form = Form::<Sent>::from_request(Request::from_parts(parts, body), app).await;
        let Form(sent) = form.map_err(IntoResponse::into_response)?;
        viewer.forms.check(&path, &sent.form, viewer.now).map_err(Failure::into_response)?;
        Ok(Self { viewer, sent })
    }
}

impl Decided {
    /// The cause with who gave it, for events that do not say that themselves.
    fn cause(&self) -> String {
        format!("{} (by {})", self.sent.cause_or("by hand"), self.viewer.caller.name())
    }
}

/// What is asked before something is done.
struct Asking<'a> {
    place: Place,
    title: &'a str,
    /// What will happen.
    says: Markup,
    /// What the button says.
    act: &'a str,
    /// It takes something away.
    danger: bool,
    /// Where the form is sent, and where it was asked for.
    path: &'a str,
    back: (String, &'a str),
    /// Further fields.
    fields: Markup,
    /// Whether the ledger keeps a cause.
    cause: bool,
}

impl<'a> Asking<'a> {
    /// Nothing in particular yet, to be sent to where it was asked.
    fn at(place: Place, uri: &'a Uri, back: impl Into<String>, name: &'a str) -> Self {
        Self {
            place,
            title: "",
            says: html! {},
            act: "",
            danger: false,
            path: uri.path(),
            back: (back.into(), name),
            fields: html! {},
            cause: false,
        }
    }

    fn page(&self, viewer: &Viewer) -> Response {
        let (back, name) = (self.back.0.as_str(), self.back.1);
        let body = html! {
            (crumbs(&[(back, name)], self.title))
            h1 { (self.title) }
            section.card.ask aria-label="What will happen" {
                (self.says)
                form.fields method="post" action=(self.path) {
                    (viewer.form_field(self.path))
                    (self.fields)
                    @if self.cause {
                        label for="cause" { "Why" }
                        textarea id="cause" name="cause" rows="2" maxlength="2000" placeholder="It stands in the ledger for ever." {}
                    }
                    p.actions {
                        button.primary.danger[self.danger] type="submit" { (self.act) }
                        a.button href=(back) { "Leave it" }
                    }
                }
            }
        };
        shown(&Sheet::still(self.title, self.place).page(viewer, &body)).into_response()
    }
}

fn to(path: &str) -> Response {
    Redirect::to(path).into_response()
}
