//! Labels, pins, and shutting a device out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use edgeward_api::access::DeviceRevocation;
use edgeward_api::operator::{LabelsChange, PinRequest};
use edgeward_core::{DeviceId, ModelName};
use maud::html;

use super::{Asking, Decided, Sent, parse, to};
use crate::app::App;
use crate::dashboard::layout::Place;
use crate::dashboard::session::Viewer;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::handlers::{access, groups};
use crate::listing;

async fn check_known(app: &App, id: &DeviceId) -> Result<(), Failure> {
    let asked = id.clone();
    let known = app.read(move |view| Ok::<_, Failure>(view.device(&asked)?.is_some())).await?;
    match known {
        true => Ok(()),
        false => Err(Failure::not_found(format!("there is no device {id}"))),
    }
}

/// Asked of one device.
fn of<'a>(id: &'a DeviceId, uri: &'a Uri) -> Asking<'a> {
    Asking::at(Place::Fleet, uri, format!("/devices/{id}"), id.as_str())
}

/// Back to the device.
fn done(id: &DeviceId, what: &str) -> Response {
    to(&format!("/devices/{id}?done={what}"))
}

pub(super) async fn ask_label(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(id): Named<DeviceId>,
) -> Result<Response, Failure> {
    check_known(&app, &id).await?;
    let says = html! { p { "Groups follow labels: " b { (id) } " may enter or leave some, and then runs what the others there run. A label without a value is removed." } };
    let fields = html! {
        label for="key" { "Label" } input id="key" name="key" required maxlength="64" placeholder="site";
        label for="value" { "Value" } input id="value" name="value" maxlength="64" placeholder="berlin";
    };
    let asking = Asking { title: "Set a label", says, act: "Set it", fields, ..of(&id, &uri) };
    Ok(asking.page(&viewer))
}

pub(super) async fn label(
    State(app): State<Arc<App>>,
    Named(id): Named<DeviceId>,
    Decided { viewer, sent }: Decided,
) -> Result<Response, Failure> {
    let value = Some(sent.value.trim().to_owned()).filter(|value| !value.is_empty());
    let change = LabelsChange { labels: BTreeMap::from([(sent.key.trim().to_owned(), value)]) };
    groups::set_labels(State(app), Extension(viewer.caller), Named(id.clone()), Document(change))
        .await
        .map(drop)?;
    Ok(done(&id, "labelled"))
}

pub(super) async fn ask_pin(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(id): Named<DeviceId>,
) -> Result<Response, Failure> {
    check_known(&app, &id).await?;
    let models = app.read(|view| listing::models(view).map_err(Failure::from)).await?;
    let says = html! { p { b { (id) } " runs that version from now on, whatever is rolled out, until it is unpinned." } };
    let fields = html! {
        label for="target" { "Version" }
        select id="target" name="target" required {
            @for model in &models { @for version in model.versions.iter().rev() {
                option value=(format!("{} {}", model.name, version.version)) { (model.name) " v" (version.version) }
            } }
        }
    };
    let asking = Asking { title: "Pin a version", says, act: "Pin it", fields, ..of(&id, &uri) };
    Ok(asking.page(&viewer))
}

pub(super) async fn pin(
    State(app): State<Arc<App>>,
    Named(id): Named<DeviceId>,
    Decided { viewer, sent }: Decided,
) -> Result<Response, Failure> {
    let (model, target) = sent.target.split_once(' ').unwrap_or((sent.model.as_str(), sent.target.as_str()));
    let request = PinRequest { model: parse(model)?, target: Some(target.to_owned()) };
    groups::pin(State(app), Extension(viewer.caller), Named(id.clone()), Document(request))
        .await
        .map(drop)?;
    Ok(done(&id, "pinned"))
}

pub(super) async fn ask_unpin(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(id): Named<DeviceId>,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    check_known(&app, &id).await?;
    let model: ModelName = parse(&sent.model)?;
    let says = html! { p { b { (id) } " follows rollouts of " b { (model) } " again, and changes to what the others run." } };
    let fields = html! { input type="hidden" name="model" value=(model); };
    let asking = Asking { title: "Unpin it?", says, act: "Unpin it", fields, ..of(&id, &uri) };
    Ok(asking.page(&viewer))
}

pub(super) async fn unpin(
    State(app): State<Arc<App>>,
    Named(id): Named<DeviceId>,
    Decided { viewer, sent }: Decided,
) -> Result<Response, Failure> {
    let request = PinRequest { model: parse(&sent.model)?, target: None };
    groups::pin(State(app), Extension(viewer.caller), Named(id.clone()), Document(request))
        .await
        .map(drop)?;
    Ok(done(&id, "unpinned"))
}

pub(super) async fn ask_revoke(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(id): Named<DeviceId>,
) -> Result<Response, Failure> {
    check_known(&app, &id).await?;
    let says = html! { p { "What " b { (id) } " shows is refused from now on: it reports nothing, and fetches nothing. The model that it has goes on answering there. It may join again with a token that is made for it." } };
    let asking = Asking {
        title: "Shut it out?",
        says,
        act: "Shut it out",
        danger: true,
        cause: true,
        ..of(&id, &uri)
    };
    Ok(asking.page(&viewer))
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Named(id): Named<DeviceId>,
    Decided { viewer, sent }: Decided,
) -> Result<Response, Failure> {
    let cause = Document(DeviceRevocation { cause: sent.cause_or("by hand") });
    access::revoke_device(State(app), Extension(viewer.caller), Named(id.clone()), cause).await.map(drop)?;
    Ok(done(&id, "shut-out"))
}
