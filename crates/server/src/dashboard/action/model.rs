//! Rolling a version out, which promotes a shadow too, and deciding about samples that are held back.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use edgeward_api::operator::{PolicyChanges, QuarantineDecision, RolloutRequest};
use edgeward_core::event::SampleVerdict;
use edgeward_core::rollout::{Approval, WaveSize};
use edgeward_core::{GroupName, ModelName};
use maud::{Markup, html};

use super::{Asking, Decided, Sent, parse, to};
use crate::app::App;
use crate::dashboard::Done;
use crate::dashboard::layout::{Place, Sheet, card, crumbs, done, empty, scroll, shown, when};
use crate::dashboard::session::Viewer;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::handlers::{models, quarantine};
use crate::listing;

pub(super) async fn ask_rollout(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(name): Named<ModelName>,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let of = name.clone();
    let (versions, groups) = app
        .read(move |view| {
            Ok::<_, Failure>((
                listing::versions(view, &of)?,
                view.groups()?.into_keys().collect::<Vec<GroupName>>(),
            ))
        })
        .await?;
    if versions.is_empty() {
        return Err(Failure::not_found(format!("there is no model {name} with a version")));
    }
    let asking = Asking {
        title: "Roll a version out?",
        says: html! { p { "Devices run it wave by wave, as its project says, unless something else is given here. A rollout of " b { (name) } " that is under way for the same devices is superseded. Devices that run it as a shadow have it already." } },
        act: "Start the rollout",
        fields: rollout_fields(&versions, &groups, &sent),
        cause: true,
        ..Asking::at(Place::Models, &uri, format!("/models/{name}"), name.as_str())
    };
    Ok(asking.page(&viewer))
}

fn rollout_fields(versions: &[edgeward_api::operator::Version], groups: &[GroupName], sent: &Sent) -> Markup {
    html! {
        label for="target" { "Version" }
        select id="target" name="target" {
            @for version in versions.iter().rev() {
                option value=(version.version) selected[sent.target == version.version.to_string()] { "v" (version.version) " (" (version.bundle.short()) ")" }
            }
        }
        label for="group" { "For" }
        select id="group" name="group" {
            option value="" { "as the project says" }
            @for group in groups { option value=(group) { "group " (group) } }
        }
        label for="waves" { "Waves" }
        input id="waves" name="waves" placeholder="as the project says; such as 1, 10%, 100%";
        label for="approval" { "Approval" }
        select id="approval" name="approval" {
            option value="" { "as the project says" }
            option value="none" { "no wave waits for a person" }
            option value="first" { "the first wave waits for a person" }
            option value="each" { "each wave waits for a person" }
        }
    }
}

/// What a rollout does differently from its project.
fn changes(sent: &Sent) -> Result<PolicyChanges, Failure> {
    let waves = sent.waves.split(',').map(str::trim).filter(|wave| !wave.is_empty());
    let waves: Vec<WaveSize> = waves.map(parse).collect::<Result<_, _>>()?;
    let approval = match sent.approval.as_str() {
        "" => None,
        "none" => Some(Approval::None),
        "first" => Some(Approval::First),
        "each" => Some(Approval::Each),
        other => return Err(Failure::invalid(format!("'{other}' is no kind of approval"))),
    };
    let group = match sent.group.as_str() {
        "" => None,
        group => Some(parse(group)?),
    };
    Ok(PolicyChanges {
        waves: (!waves.is_empty()).then_some(waves),
        approval,
        group,
        ..PolicyChanges::default()
    })
}

pub(super) async fn start_rollout(
    State(app): State<Arc<App>>,
    model: Named<ModelName>,
    decided: Decided,
) -> Result<Response, Failure> {
    let sent = &decided.sent;
    let request = RolloutRequest {
        target: Some(sent.target.trim().to_owned()).filter(|target| !target.is_empty()),
        cause: decided.cause(),
        changes: changes(sent)?,
        ..RolloutRequest::default()
    };
    let rollout = models::start_rollout(State(app), model, Document(request)).await?;
    Ok(to(&format!("/rollouts/{}?done=started", rollout.0.id)))
}

/// The samples of a model that are held back from training until a person decides.
pub(in crate::dashboard) async fn held(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(name): Named<ModelName>,
    Query(asked): Query<Done>,
) -> Result<Response, Failure> {
    let now = app.now();
    let samples = quarantine::held(State(app), Named(name.clone())).await?.0.held;
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Prediction" } th scope="col" { "Device" } th scope="col" { "Why it is held" } th scope="col" { "Answer" } th scope="col" { "Truth" } th.n scope="col" { "When" } } }
            tbody { @for one in &samples { tr {
                th scope="row" { code { (one.sample.prediction) } }
                td { a href=(format!("/devices/{}", one.device)) { (one.device) } }
                td.wrap { (one.sample.suspicion.as_deref().unwrap_or("–")) }
                td { (one.sample.predicted.as_deref().unwrap_or("–")) }
                td { (one.sample.label.as_deref().unwrap_or("–")) }
                td.n { (when(one.sample.at_ms, now)) }
            } } }
        }
    };
    let list = html! {
        @if samples.is_empty() { (empty("Nothing is held back.", &html! { "A sample with a value that the reference makes impossible waits here, and no training sees it before." })) }
        @else { (scroll("Samples that are held back", &rows)) }
    };
    let back = format!("/models/{name}");
    let body = html! {
        (crumbs(&[("/models", "Models"), (&back, name.as_str())], "Held samples"))
        h1 { "Samples held back from training" }
        (done(asked.done.as_deref()))
        (card("held", "Waiting for a person", true, &list))
        @if !samples.is_empty() { (verdicts(&viewer, uri.path(), samples.len())) }
    };
    Ok(shown(&Sheet::live("Held samples", Place::Models).page(&viewer, &body)).into_response())
}

fn verdicts(viewer: &Viewer, path: &str, count: usize) -> Markup {
    html! {
        section.card.ask aria-label="Decide" {
            p { "The decision is about all " (count) " of them. Single ones: " code { "edgeward sample release MODEL PREDICTION" } "." }
            form.fields method="post" action=(path) {
                (viewer.form_field(path))
                label for="cause" { "Why" }
                textarea id="cause" name="cause" rows="2" maxlength="2000" required placeholder="It stands in the ledger for ever." {}
                p.actions {
                    button.primary type="submit" name="verdict" value="released" { "Let training have them" }
                    button.primary.danger type="submit" name="verdict" value="discarded" { "Keep them out for good" }
                }
            }
        }
    }
}

pub(super) async fn judge(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
    decided: Decided,
) -> Result<Response, Failure> {
    let verdict = match decided.sent.verdict.as_str() {
        "released" => SampleVerdict::Released,
        "discarded" => SampleVerdict::Discarded,
        other => return Err(Failure::invalid(format!("'{other}' is no verdict"))),
    };
    let decision = QuarantineDecision { predictions: Vec::new(), verdict, cause: decided.cause() };
    let then = format!("/models/{model}/held?done=decided");
    quarantine::decide(State(app), Named(model), Document(decision)).await.map(drop)?;
    Ok(to(&then))
}
