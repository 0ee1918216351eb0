//! Groups: one of them, making or changing one, and removing it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use edgeward_api::operator::{Group, GroupRequest};
use edgeward_core::{GroupName, Role};
use maud::html;

use super::{Asking, Decided, Sent, parse, to};
use crate::app::App;
use crate::dashboard::Done;
use crate::dashboard::alerts::encoded;
use crate::dashboard::figures::grouped;
use crate::dashboard::layout::{Place, Sheet, card, crumbs, done, shown};
use crate::dashboard::session::Viewer;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::handlers::groups;

/// Members that are named.
const NAMED_MAX: usize = 50;

async fn known(app: &Arc<App>, name: &GroupName) -> Result<Group, Failure> {
    let groups = groups::groups(State(Arc::clone(app))).await?.0.groups;
    let found = groups.into_iter().find(|group| group.group == *name);
    found.ok_or_else(|| Failure::not_found(format!("there is no group {name}")))
}

pub(in crate::dashboard) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Named(name): Named<GroupName>,
    Query(asked): Query<Done>,
) -> Result<Response, Failure> {
    let group = known(&app, &name).await?;
    let members = html! {
        p { code { (group.expression) } }
        p { (grouped(group.devices.len() as u64)) " devices. " a href=(format!("/fleet?group={}", group.group)) { "How they fare" } }
        ul.columns-list { @for device in group.devices.iter().take(NAMED_MAX) { li { a href=(format!("/devices/{device}")) { (device) } } } }
    };
    let body = html! {
        (crumbs(&[("/fleet", "Fleet")], group.group.as_str()))
        div.heading { h1 { "Group " (group.group) }
            @if viewer.may(Role::Operator) { p.actions {
                a.button href=(format!("/fleet/make-group?group={}&expression={}", group.group, encoded(&group.expression))) { "Change" }
                a.button.danger href=(format!("/groups/{}/remove", group.group)) { "Remove" }
            } }
        }
        (done(asked.done.as_deref()))
        (card("members", "Who is in it", true, &members))
    };
    let title = format!("Group {}", group.group);
    Ok(shown(&Sheet::live(&title, Place::Fleet).page(&viewer, &body)).into_response())
}

pub(super) async fn ask_make(viewer: Viewer, uri: Uri, Query(sent): Query<Sent>) -> Response {
    let asking = Asking {
        title: "A group of devices",
        says: html! { p { "Who is in it follows from labels, now and later. A rollout may be for one group; its devices then run what completed there." } },
        act: "Save the group",
        fields: html! {
            label for="group" { "Name" } input id="group" name="group" required maxlength="64" value=(sent.group);
            label for="expression" { "Who is in it" }
            input id="expression" name="expression" required value=(sent.expression) placeholder="hardware=jetson and site in (berlin, paris) and not canary";
        },
        ..Asking::at(Place::Fleet, &uri, "/fleet", "Fleet")
    };
    asking.page(&viewer)
}

pub(super) async fn make(
    State(app): State<Arc<App>>,
    Decided { viewer, sent }: Decided,
) -> Result<Response, Failure> {
    let request = GroupRequest { group: parse(&sent.group)?, expression: sent.expression };
    let group = groups::make_group(State(app), Extension(viewer.caller), Document(request)).await?;
    Ok(to(&format!("/groups/{}?done=saved", group.0.group)))
}

pub(super) async fn ask_remove(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(name): Named<GroupName>,
) -> Result<Response, Failure> {
    let group = known(&app, &name).await?;
    let asking = Asking {
        title: "Remove the group?",
        says: html! { p { "The " (grouped(group.devices.len() as u64)) " devices of " b { (group.group) } " run what the others run. The devices stay." } },
        act: "Remove it",
        danger: true,
        ..Asking::at(Place::Fleet, &uri, format!("/groups/{}", group.group), group.group.as_str())
    };
    Ok(asking.page(&viewer))
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    name: Named<GroupName>,
    Decided { viewer, .. }: Decided,
) -> Result<Response, Failure> {
    groups::remove_group(State(app), Extension(viewer.caller), name).await.map(drop)?;
    Ok(to("/fleet?done=removed"))
}
