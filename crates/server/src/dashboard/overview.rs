//! The overview: the loop, what waits for a person, the fleet, one model over time, the models, and what happened last.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use edgeward_api::operator::{Model, Rollout};
use edgeward_core::Event;
use edgeward_core::shadow::ShadowOutcome;
use maud::{Markup, html};

use super::alerts::Stand;
use super::charts;
use super::figures::{ago, grouped, instant, metric, percent};
use super::fleet::Standing;
use super::layout::{Place, Sheet, card, card_of, empty, shown, tiles};
use super::picture::picture;
use super::plot::shares;
use super::session::Viewer;
use super::snapshot::{Snapshot, champion};
use super::stages::stages;
use super::words::{alert_title, happening, level};
use crate::app::App;
use crate::failure::Failure;

/// Ledger events on the timeline.
const TIMELINE_MAX: usize = 40;
/// Versions shown per model.
const VERSIONS_MAX: usize = 4;
/// Metrics shown per version.
const METRICS_MAX: usize = 3;

pub(super) async fn page(State(app): State<Arc<App>>, viewer: Viewer) -> Result<Response, Failure> {
    let seen = Snapshot::of(&app).await?;
    let page: Html<String> = shown(&render(&viewer, &seen));
    Ok(page.into_response())
}

pub(super) fn render(viewer: &Viewer, seen: &Snapshot) -> Markup {
    let body = html! {
        h1.hidden { "Overview" }
        (card_of("loop", "loop", "The loop", true, &the_loop(seen)))
        div.columns {
            div.column {
                (card_of("brief", "fleet", "Fleet", true, &fleet(seen)))
                (card("plot", &plotted(seen), true, &plot(seen)))
            }
            div.column {
                (card_of("models", "models", "Models", true, &models(seen)))
                (card_of("timeline", "timeline", "Timeline", true, &timeline(seen)))
            }
        }
    };
    Sheet::live("Overview", Place::Overview).page(viewer, &body)
}

fn the_loop(seen: &Snapshot) -> Markup {
    html! {
        (picture(&stages(seen), &seen.fleet))
        p.waits {
            @match waiting(seen).as_slice() {
                [] => @match advice(seen) { Some(advice) => (advice), None => span.quiet { "Nothing waits for you." } },
                [first, rest @ ..] => {
                    span.dot.warn aria-hidden="true" {} b { "Waits for you: " } (first)
                    @if !rest.is_empty() { span.quiet { " and " (rest.len()) " more" } }
                },
            }
        }
    }
}

/// What only a person can decide, the most pressing first.
fn waiting(seen: &Snapshot) -> Vec<Markup> {
    let under_way = || seen.rollouts.iter().filter(|rollout| rollout.outcome.is_none());
    let link = |rollout: &Rollout, what: &str| {
        html! {
            a href=(format!("/rollouts/{}", rollout.id)) { (what) " " (rollout.model) " v" (rollout.version) }
        }
    };
    let mut found: Vec<Markup> =
        under_way().filter(|one| one.paused).map(|one| link(one, "the paused rollout of")).collect();
    let asks = |one: &&Rollout| one.reasons.iter().any(|reason| reason.contains("waits for approval"));
    found.extend(under_way().filter(asks).map(|one| link(one, "approval of a wave of")));
    let by_hand = |name: &edgeward_core::ModelName| {
        seen.projects.iter().any(|project| project.model == *name && project.trigger.level == 0)
    };
    found.extend(seen.alerts_that_are(Stand::Open).filter(|alert| by_hand(&alert.model)).map(|alert| {
        html! {
            a href="/alerts" { (alert_title(alert)) }
        }
    }));
    let winner = seen.entries.iter().find_map(|entry| match &entry.event {
        Event::ShadowsJudged { model, outcome: ShadowOutcome::Winner(winner), .. } => Some((model, winner)),
        _ => None,
    });
    let asked = winner.filter(|(model, winner)| {
        let project = seen.projects.iter().find(|project| project.model == **model);
        let asks = project.and_then(|project| project.shadows.as_ref());
        let tried = seen.rollouts.iter().any(|rollout| rollout.bundle == winner.bundle);
        asks.is_some_and(|policy| policy.promote == edgeward_core::shadow::Promotion::Ask) && !tried
    });
    found.extend(asked.map(|(_, winner)| html! { a href="/shadows" { "promotion of " (winner.name) } }));
    found
}

/// What to do next, while something is missing.
fn advice(seen: &Snapshot) -> Option<Markup> {
    let token = html! { "make a join token with " code { "edgeward device token" } };
    if seen.projects.is_empty() && seen.models.is_empty() {
        return Some(html! {
            "Start with a model: run " code { "edgeward run --project DIR --server " (seen.address) }
            ", or watch the whole loop with " code { "edgeward demo" } "."
        });
    }
    if seen.fleet.devices.is_empty() {
        return Some(html! {
            "No device yet: " (token) ", then start " code { "edgeward agent --server " (seen.address) } "."
        });
    }
    None
}

fn fleet(seen: &Snapshot) -> Markup {
    let fleet = &seen.fleet;
    if fleet.devices.is_empty() {
        return empty(
            "No device has joined.",
            &html! {
                "Start " code { "edgeward agent --server " (seen.address) " --join-token TOKEN" } " on one."
            },
        );
    }
    let requests: u64 = fleet.models().map(|model| model.requests).sum();
    let failed: u64 = fleet.models().map(|model| model.failed).sum();
    let parts = Standing::ALL
        .map(|standing| (standing.word(), standing.word(), fleet.count(|one| one == standing) as u64));
    html! {
        (tiles(&[
            ("Reporting", html! { (grouped(fleet.count(Standing::reports) as u64)) small { " of " (grouped(fleet.devices.len() as u64)) } }),
            ("Requests", html! { (grouped(requests)) }),
            ("Failed", html! { span.bad[failed > 0] { (grouped(failed)) } }),
            ("Accuracy", html! { @match fleet.accuracy() { Some((share, _)) => (percent(share)), None => "–" } }),
        ]))
        (shares("Devices", &parts))
        p.legend {
            @for (class, name, count) in parts.iter().filter(|part| part.2 > 0) {
                a href=(format!("/fleet?standing={name}")) { span class=(format!("dot {class}")) aria-hidden="true" {} (grouped(*count)) " " (name) }
            }
        }
    }
}

fn plotted(seen: &Snapshot) -> String {
    seen.drift.as_ref().map_or_else(|| "Over time".to_owned(), |(model, _)| format!("{model} over time"))
}

fn plot(seen: &Snapshot) -> Markup {
    let model = seen.drift.as_ref().map(|(model, _)| model);
    html! {
        (charts::over_time(seen.drift.as_ref().map(|(_, drift)| drift), &charts::marks(&seen.entries, model)))
        @if let Some(model) = model { p.more { a href=(format!("/models/{model}/drift")) { "Feature by feature" } } }
    }
}

fn models(seen: &Snapshot) -> Markup {
    html! {
        @if seen.models.is_empty() {
            (empty("No model is registered.", &html! { "A run that passes its gates registers one." }))
        } @else {
            div.hold tabindex="0" role="region" aria-label="Models and their versions" {
                @for model in &seen.models { (model_card(seen, model)) }
            }
        }
    }
}

fn model_card(seen: &Snapshot, model: &Model) -> Markup {
    let project = seen.projects.iter().find(|project| project.model == model.name);
    let serving = champion(model).map(|version| version.version);
    html! {
        article.model {
            h3 { a href=(format!("/models/{}", model.name)) { (model.name) } }
            @if let Some(project) = project { p.quiet { "Project " (project.name) ", " (level(project.trigger.level)) } }
            ul.versions {
                @for version in model.versions.iter().rev().take(VERSIONS_MAX) {
                    li class=(if serving == Some(version.version) { "serving" } else { "" }) {
                        a.v href=(format!("/models/{}/{}", model.name, version.version)) { "v" (version.version) }
                        span.names {
                            @for (alias, _) in model.aliases.iter().filter(|(_, v)| **v == version.version) {
                                span.alias { (alias) }
                            }
                        }
                        span.metrics {
                            @for (name, value) in version.metrics.iter().take(METRICS_MAX) {
                                span { (name) " " b { (metric(*value)) } }
                            }
                        }
                        code title=(version.bundle) { (version.bundle.short()) }
                    }
                }
            }
            @if model.versions.len() > VERSIONS_MAX {
                p.quiet { (model.versions.len() - VERSIONS_MAX) " earlier" }
            }
        }
    }
}

fn timeline(seen: &Snapshot) -> Markup {
    html! {
        @if seen.entries.is_empty() {
            (empty("Nothing has happened yet.", &html! { "Every decision will be listed here." }))
        } @else {
            ol.timeline reversed tabindex="0" aria-label="Decisions, newest first" {
                @for entry in seen.entries.iter().take(TIMELINE_MAX) {
                    @let told = happening(&entry.event);
                    li class=(told.tone.class()) {
                        span.dot aria-hidden="true" {}
                        p.title { (told.title) }
                        time datetime=(instant(entry.at_ms)) title=(instant(entry.at_ms)) { (ago(entry.at_ms, seen.now)) }
                        @if !told.detail.is_empty() { p.detail { (told.detail) } }
                    }
                }
            }
        }
    }
}
