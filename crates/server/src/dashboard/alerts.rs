//! The alerts inbox: what raised each, whether it still matters, who has seen it, what came of it, and where to look for why.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_api::operator::{Acknowledgement, Model, RaisedAlert, Run};
use edgeward_core::event::Project;
use edgeward_core::{Alert, Role, Timestamp};
use edgeward_store::View;
use maud::{Markup, html};
use serde::Deserialize;

use super::figures::grouped;
use super::layout::{Place, Sheet, badge, card, done, empty, scroll, shown, when};
use super::plot::gauge;
use super::session::Viewer;
use super::snapshot::matters;
use super::words::{Tone, alert_title};
use crate::app::App;
use crate::failure::Failure;
use crate::listing;

/// Alerts on one page.
const PAGE: usize = 50;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It is about what serves, and nobody has said that they have seen it.
    Open,
    /// It is about what serves, and a person has seen it.
    Acknowledged,
    /// The model that it is about no longer serves, seen or not.
    Settled,
}

impl Stand {
    pub(crate) fn of(raised: &RaisedAlert, models: &[Model]) -> Self {
        match (matters(&raised.alert, models), &raised.acknowledged) {
            (false, _) => Self::Settled,
            (true, None) => Self::Open,
            (true, Some(_)) => Self::Acknowledged,
        }
    }

    pub(super) fn badge(self) -> Markup {
        match self {
            Self::Open => badge(Tone::Bad, "open"),
            Self::Acknowledged => badge(Tone::Work, "acknowledged"),
            Self::Settled => badge(Tone::Plain, "settled"),
        }
    }
}

/// The alerts that still matter, the newest first: those about a bundle that is some model's champion, acknowledged or not.
pub(super) fn unsettled(view: &View<'_>) -> Result<Vec<RaisedAlert>, Failure> {
    let alerts = listing::alerts(view)?;
    if alerts.is_empty() {
        return Ok(alerts);
    }
    let mut champions = Vec::new();
    for model in view.models()? {
        if let Some(version) = view.aliased(&model.name, "champion")? {
            champions.push((model.name, version.bundle));
        }
    }
    let matters = |raised: &RaisedAlert| {
        champions.iter().any(|(model, bundle)| *model == raised.alert.model && *bundle == raised.alert.bundle)
    };
    Ok(alerts.into_iter().filter(matters).collect())
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Those that a person has seen, rather than those that nobody has.
    #[serde(default)]
    acknowledged: bool,
    /// Every one, settled ones too.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    page: usize,
    /// What was done just before.
    #[serde(default)]
    done: Option<String>,
}

impl Asked {
    /// The stand of those that are meant; none for all.
    fn stand(&self) -> Option<Stand> {
        match (self.all, self.acknowledged) {
            (true, _) => None,
            (false, true) => Some(Stand::Acknowledged),
            (false, false) => Some(Stand::Open),
        }
    }
}

/// What the page shows.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) now: Timestamp,
    pub(super) alerts: Vec<RaisedAlert>,
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
                alerts: listing::alerts(view)?,
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
    let count =
        |stand| inbox.alerts.iter().filter(|raised| Stand::of(raised, &inbox.models) == stand).count();
    let here = inbox.asked.stand();
    let tabs = [
        ("/alerts", Some(Stand::Open), "Open ", count(Stand::Open)),
        ("/alerts?acknowledged=true", Some(Stand::Acknowledged), "Acknowledged ", count(Stand::Acknowledged)),
        ("/alerts?all=true", None, "All ", inbox.alerts.len()),
    ];
    let body = html! {
        h1 { "Alerts" }
        (done(inbox.asked.done.as_deref()))
        nav.tabs aria-label="Which alerts" {
            @for (path, stand, name, count) in tabs {
                a href=(path) aria-current=[(stand == here).then_some("true")] { (name) span.count { (count) } }
            }
        }
        (card("alerts", "Inbox", true, &list(viewer, inbox)))
        p.quiet {
            "An alert is open until somebody acknowledges it, which says that a person has seen it and changes nothing else: what it
            starts, it starts all the same. It is settled when the model that it is about no longer serves. The threshold follows from
            the false-alarm budget that the project states; see the guide on monitoring."
        }
    };
    Sheet::live("Alerts", Place::Alerts).page(viewer, &body)
}

fn list(viewer: &Viewer, inbox: &Inbox) -> Markup {
    let stand = inbox.asked.stand();
    let meant = |raised: &&RaisedAlert| stand.is_none_or(|stand| Stand::of(raised, &inbox.models) == stand);
    let meant: Vec<&RaisedAlert> = inbox.alerts.iter().filter(meant).collect();
    let page: Vec<&&RaisedAlert> = meant.iter().skip(inbox.asked.page * PAGE).take(PAGE).collect();
    if page.is_empty() {
        return nothing(stand);
    }
    let more = meant.len() > (inbox.asked.page + 1) * PAGE;
    let rows = html! {
        table.top-aligned {
            thead { tr {
                th scope="col" { "Alert" } th scope="col" { "State" } th scope="col" { "Evidence" }
                th scope="col" { "What came of it" } th.n scope="col" { "Raised" }
            } }
            tbody { @for raised in page { (row(viewer, inbox, raised)) } }
        }
    };
    let Asked { all, acknowledged, page, .. } = inbox.asked;
    html! {
        (scroll("Alerts, newest first", &rows))
        @if more {
            p { a rel="next" href=(format!("/alerts?all={all}&acknowledged={acknowledged}&page={}", page + 1)) { "Earlier" } }
        }
    }
}

fn nothing(stand: Option<Stand>) -> Markup {
    match stand {
        Some(Stand::Acknowledged) => empty(
            "No acknowledged alert.",
            &html! { "One stands here from when a person acknowledges it until another version serves." },
        ),
        Some(_) => empty(
            "No open alert.",
            &html! { "Detectors raise one when their evidence passes the threshold, or at once when a value is impossible." },
        ),
        None => empty("No alert.", &html! { "No detector has raised one yet." }),
    }
}

fn row(viewer: &Viewer, inbox: &Inbox, raised: &RaisedAlert) -> Markup {
    let alert = &raised.alert;
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
            td.wrap { (state(viewer, inbox, raised)) }
            td { (gauge(alert.log10_evidence, alert.log10_threshold)) p.quiet { "after " (grouped(alert.sample)) " samples" } }
            td.wrap { (outcome(inbox, alert)) }
            td.n { (when(alert.at_ms, inbox.now)) }
        }
    }
}

/// How it stands and who has seen it, or the way to say so.
fn state(viewer: &Viewer, inbox: &Inbox, raised: &RaisedAlert) -> Markup {
    let stand = Stand::of(raised, &inbox.models);
    html! {
        (stand.badge())
        @match &raised.acknowledged {
            Some(seen) => (seen_by(seen, stand, inbox.now)),
            None if stand == Stand::Open && viewer.may(Role::Operator) => p {
                a.button href=(format!("/alerts/acknowledge?alert={}", encoded(&raised.alert.id))) {
                    "Acknowledge" span.hidden { ": " (alert_title(&raised.alert)) }
                }
            },
            None => {},
        }
    }
}

/// Who has seen it, when, and what they said; the badge beside it may say that it is acknowledged.
pub(super) fn seen_by(seen: &Acknowledgement, stand: Stand, now: Timestamp) -> Markup {
    html! {
        p.quiet {
            @if stand == Stand::Settled { "acknowledged " } "by " (seen.by) ", " (when(seen.at_ms, now))
            @if let Some(note) = &seen.note { ": “" (note) "”" }
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
            (None, Some(project)) if project.trigger.level == 0 && matters(alert, &inbox.models) => {
                "Level 0 only notifies. " a href=(format!("/projects/{}/run", project.name)) { "Start a run" }
            },
            (None, Some(_)) if matters(alert, &inbox.models) => "Waits for its trigger: fresh labels, or the end of what is under way",
            _ if matters(alert, &inbox.models) => span.quiet { "Nothing yet" },
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
