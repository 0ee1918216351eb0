//! The alerts inbox: what raised each, whether it still matters, what came of it, and where to look for why.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{Model, Run};
use edgeward_core::event::Project;
use edgeward_core::{Alert, Timestamp};
use edgeward_store::View;
use maud::{Markup, html};
use serde::Deserialize;

use super::figures::grouped;
use super::layout::{Place, Sheet, badge, card, empty, scroll, shown, when};
use super::plot::gauge;
use super::session::Viewer;
use super::snapshot::is_open;
use super::words::{Tone, alert_title};
use crate::app::App;
use crate::failure::Failure;
use crate::listing;

/// Alerts on one page.
const PAGE: usize = 50;

/// The alerts that still matter, the newest first: those about a bundle that is some model's champion.
pub(super) fn open(view: &View<'_>) -> Result<Vec<Alert>, Failure> {
    let alerts = view.alerts(None, PAGE_MAX)?;
    if alerts.is_empty() {
        return Ok(alerts);
    }
    let mut champions = Vec::new();
    for model in view.models()? {
        if let Some(version) = view.aliased(&model.name, "champion")? {
            champions.push((model.name, version.bundle));
        }
    }
    let matters = |alert: &Alert| {
        champions.iter().any(|(model, bundle)| *model == alert.model && *bundle == alert.bundle)
    };
    Ok(alerts.into_iter().filter(matters).collect())
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Settled ones, too.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    page: usize,
}

/// What the page shows.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) now: Timestamp,
    pub(super) alerts: Vec<Alert>,
    pub(super) models: Vec<Model>,
    pub(super) projects: Vec<Project>,
    pub(super) runs: Vec<Run>,
    pub(super) asked: Asked,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let now = app.now();
    let inbox = app
        .read(move |view| {
            Ok::<_, Failure>(Inbox {
                now,
                alerts: view.alerts(None, PAGE_MAX)?,
                models: listing::models(view)?,
                projects: view.projects()?,
                runs: listing::runs(view)?,
                asked,
            })
        })
        .await?;
    Ok(shown(&render(&viewer, &inbox)).into_response())
}

pub(super) fn render(viewer: &Viewer, inbox: &Inbox) -> Markup {
    let open = inbox.alerts.iter().filter(|alert| is_open(alert, &inbox.models)).count();
    let body = html! {
        h1 { "Alerts" }
        nav.tabs aria-label="Which alerts" {
            a href="/alerts" aria-current=[(!inbox.asked.all).then_some("true")] { "Open " span.count { (open) } }
            a href="/alerts?all=true" aria-current=[inbox.asked.all.then_some("true")] { "All " span.count { (inbox.alerts.len()) } }
        }
        (card("alerts", "Inbox", true, &list(inbox)))
        p.quiet {
            "An alert is settled when the model that it is about no longer serves. The threshold follows from the false-alarm
            budget that the project states; see the guide on monitoring."
        }
    };
    Sheet::live("Alerts", Place::Alerts).page(viewer, &body)
}

fn list(inbox: &Inbox) -> Markup {
    let meant = |alert: &&Alert| inbox.asked.all || is_open(alert, &inbox.models);
    let meant: Vec<&Alert> = inbox.alerts.iter().filter(meant).collect();
    let page: Vec<&&Alert> = meant.iter().skip(inbox.asked.page * PAGE).take(PAGE).collect();
    if page.is_empty() {
        return empty(
            "No alert.",
            &html! { "Detectors raise one when their evidence passes the threshold, or at once when a value is impossible." },
        );
    }
    let more = meant.len() > (inbox.asked.page + 1) * PAGE;
    let rows = html! {
        table.top-aligned {
            thead { tr {
                th scope="col" { "Alert" } th scope="col" { "State" } th scope="col" { "Evidence" }
                th scope="col" { "What came of it" } th.n scope="col" { "Raised" }
            } }
            tbody { @for alert in page { (row(inbox, alert)) } }
        }
    };
    html! {
        (scroll("Alerts, newest first", &rows))
        @if more {
            p { a rel="next" href=(format!("/alerts?all={}&page={}", inbox.asked.all, inbox.asked.page + 1)) { "Earlier" } }
        }
    }
}

fn row(inbox: &Inbox, alert: &Alert) -> Markup {
    let drift = match &alert.stream {
        Some(stream) => format!("/models/{}/drift?stream={}", alert.model, encoded(stream)),
        None => format!("/models/{}", alert.model),
    };
    html! {
        tr id=(format!("alert-{}", encoded(&alert.id))) {
            th.wrap scope="row" {
                b { (alert_title(alert)) }
                p.quiet { (alert.message) }
                p { a href=(drift) { "Why" span.hidden { ": " (alert_title(alert)) } } " · "
                    a href=(format!("/devices/{}", alert.device)) { (alert.device) } " · "
                    a href=(format!("/models/{}", alert.model)) { (alert.model) } }
            }
            td { @if is_open(alert, &inbox.models) { (badge(Tone::Bad, "open")) } @else { (badge(Tone::Plain, "settled")) } }
            td { (gauge(alert.log10_evidence, alert.log10_threshold)) p.quiet { "after " (grouped(alert.sample)) " samples" } }
            td.wrap { (outcome(inbox, alert)) }
            td.n { (when(alert.at_ms, inbox.now)) }
        }
    }
}

/// The run that the alert started, or what stands in its place.
fn outcome(inbox: &Inbox, alert: &Alert) -> Markup {
    let named = format!("{} alert from {}", alert.kind.as_str(), alert.device);
    let run = inbox
        .runs
        .iter()
        .rev()
        .find(|run| run.requested_at_ms >= alert.at_ms && run.cause.starts_with(&named));
    let project = inbox.projects.iter().find(|project| project.model == alert.model);
    html! {
        @match (run, project) {
            (Some(run), _) => {
                a href=(format!("/runs/{}", run.id)) { "A run was started" }
                @if run.outcome.is_none() { " and is under way" }
            },
            (None, Some(project)) if project.trigger.level == 0 && is_open(alert, &inbox.models) => {
                "Level 0 only notifies. " a href=(format!("/projects/{}/run", project.name)) { "Start a run" }
            },
            (None, Some(_)) if is_open(alert, &inbox.models) => "Waits for its trigger: fresh labels, or the end of what is under way",
            _ if is_open(alert, &inbox.models) => span.quiet { "Nothing yet" },
            _ => span.quiet { "Another version serves now" },
        }
    }
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_fits_into_an_address() {
        assert_eq!(encoded("a-b.c_d~9"), "a-b.c_d~9");
        assert_eq!(encoded("<é &>"), "%3C%C3%A9%20%26%3E");
    }
}
