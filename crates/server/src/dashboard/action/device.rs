//! Labels, pins, and shutting a device out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use edgeward_api::access::DeviceRevocation;
use edgeward_api::operator::{LabelsChange, PinRequest};
use edgeward_core::{DeviceId, ModelName};
use maud::{Markup, html};

use super::{Asking, Sent, check, parse, to};
use crate::app::App;
use crate::dashboard::layout::{Place, shown};
use crate::dashboard::session::Viewer;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::handlers::{access, groups};
use crate::listing;

async fn known(app: &App, device: &str) -> Result<DeviceId, Failure> {
    let id: DeviceId = parse(device)?;
    let asked = id.clone();
    let known = app.read(move |view| Ok::<_, Failure>(view.device(&asked)?.is_some())).await?;
    match known {
        true => Ok(id),
        false => Err(Failure::not_found(format!("there is no device {id}"))),
    }
}

fn asked(
    viewer: &Viewer,
    uri: &Uri,
    device: &DeviceId,
    about: (&str, &str, Markup, Markup),
    danger: bool,
) -> Response {
    let (title, act, says, fields) = about;
    let back = format!("/devices/{device}");
    let asking = Asking {
        place: Place::Fleet,
        title,
        says,
        act,
        danger,
        path: uri.path(),
        back: (&back, device.as_str()),
        fields,
        cause: danger,
    };
    shown(&asking.page(viewer)).into_response()
}

pub(super) async fn ask_label(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
) -> Result<Response, Failure> {
    let id = known(&app, &device).await?;
    let says = html! { p { "Groups follow labels: " b { (id) } " may enter or leave some, and then runs what the others there run. A label without a value is removed." } };
    let fields = html! {
        label for="key" { "Label" } input id="key" name="key" required maxlength="64" placeholder="site";
        label for="value" { "Value" } input id="value" name="value" maxlength="64" placeholder="berlin";
    };
    Ok(asked(&viewer, &uri, &id, ("Set a label", "Set it", says, fields), false))
}

pub(super) async fn label(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    check(&viewer, &uri, &sent)?;
    let value = Some(sent.value.trim().to_owned()).filter(|value| !value.is_empty());
    let change = LabelsChange { labels: BTreeMap::from([(sent.key.trim().to_owned(), value)]) };
    groups::set_labels(State(app), Extension(viewer.caller), Named(parse(&device)?), Document(change))
        .await
        .map(drop)?;
    Ok(to(&format!("/devices/{device}?done=labelled")))
}

pub(super) async fn ask_pin(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
) -> Result<Response, Failure> {
    let id = known(&app, &device).await?;
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
    Ok(asked(&viewer, &uri, &id, ("Pin a version", "Pin it", says, fields), false))
}

pub(super) async fn pin(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    check(&viewer, &uri, &sent)?;
    let (model, target) = sent.target.split_once(' ').unwrap_or((sent.model.as_str(), sent.target.as_str()));
    let request = PinRequest { model: parse(model)?, target: Some(target.to_owned()) };
    groups::pin(State(app), Extension(viewer.caller), Named(parse(&device)?), Document(request))
        .await
        .map(drop)?;
    Ok(to(&format!("/devices/{device}?done=pinned")))
}

pub(super) async fn ask_unpin(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let (id, model) = (known(&app, &device).await?, parse::<ModelName>(&sent.model)?);
    let says = html! { p { b { (id) } " follows rollouts of " b { (model) } " again, and changes to what the others run." } };
    let fields = html! { input type="hidden" name="model" value=(model); };
    Ok(asked(&viewer, &uri, &id, ("Unpin it?", "Unpin it", says, fields), false))
}

pub(super) async fn unpin(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    check(&viewer, &uri, &sent)?;
    let request = PinRequest { model: parse(&sent.model)?, target: None };
    groups::pin(State(app), Extension(viewer.caller), Named(parse(&device)?), Document(request))
        .await
        .map(drop)?;
    Ok(to(&format!("/devices/{device}?done=unpinned")))
}

pub(super) async fn ask_revoke(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
) -> Result<Response, Failure> {
    let id = known(&app, &device).await?;
    let says = html! { p { "What " b { (id) } " shows is refused from now on: it reports nothing, and fetches nothing. The model that it has goes on answering there. It may join again with a token that is made for it." } };
    Ok(asked(&viewer, &uri, &id, ("Shut it out?", "Shut it out", says, html! {}), true))
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(device): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    check(&viewer, &uri, &sent)?;
    let cause = Document(DeviceRevocation { cause: sent.cause_or("by hand") });
    access::revoke_device(State(app), Extension(viewer.caller), Named(parse(&device)?), cause)
        .await
        .map(drop)?;
    Ok(to(&format!("/devices/{device}?done=shut-out")))
}
