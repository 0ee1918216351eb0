//! What every page stands in: the document, the bar of places, and the few shapes that pages share.

use axum::response::Html;
use edgeward_core::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets::{Asset, ICON, MARK, SCRIPT, STYLE};
use super::figures::{ago, instant};
use super::session::Viewer;
use super::words::Tone;

/// Milliseconds between two looks of a live page, where nothing is said otherwise.
pub(super) const LOOK_MS: u32 = 2000;

/// Where in the dashboard a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Fleet,
    Models,
    Rollouts,
    Runs,
    Shadows,
    Alerts,
    Audit,
}

impl Place {
    const ALL: [Self; 8] = [
        Self::Overview,
        Self::Fleet,
        Self::Models,
        Self::Rollouts,
        Self::Runs,
        Self::Shadows,
        Self::Alerts,
        Self::Audit,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Fleet => "Fleet",
            Self::Models => "Models",
            Self::Rollouts => "Rollouts",
            Self::Runs => "Runs",
            Self::Shadows => "Shadows",
            Self::Alerts => "Alerts",
            Self::Audit => "Audit",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Fleet => "/fleet",
            Self::Models => "/models",
            Self::Rollouts => "/rollouts",
            Self::Runs => "/runs",
            Self::Shadows => "/shadows",
            Self::Alerts => "/alerts",
            Self::Audit => "/audit",
        }
    }
}

/// A page: its title, its place, and whether it follows what happens.
pub(super) struct Sheet<'a> {
    pub(super) title: &'a str,
    pub(super) place: Place,
    /// Milliseconds between two looks; none for a page that stands still.
    pub(super) look_ms: Option<u32>,
}

impl<'a> Sheet<'a> {
    /// A page that follows what happens.
    pub(super) const fn live(title: &'a str, place: Place) -> Self {
        Self { title, place, look_ms: Some(LOOK_MS) }
    }

    /// A page that stands still.
    pub(super) const fn still(title: &'a str, place: Place) -> Self {
        Self { title, place, look_ms: None }
    }

    /// The whole page.
    pub(super) fn page(&self, viewer: &Viewer, body: &Markup) -> Markup {
        let body = html! {
            a.skip href="#main" { "Skip to content" }
            header.top {
                (wordmark())
                (places(self.place, viewer.alerts_open))
                (person(viewer, self.look_ms.is_some()))
            }
            main id="main" tabindex="-1" data-look=[self.look_ms] { (body) }
            footer {
                "Edgeward " (env!("CARGO_PKG_VERSION")) " · " a href="/openapi.json" { "API" } " · times in UTC"
            }
            p.unreached id="away" role="alert" hidden {
                "The control plane cannot be reached. What you see is as it was; it is asked again every few seconds."
            }
        };
        document(self.title, &body, true)
    }
}

/// A page without places: the door, and what went wrong.
pub(super) fn bare(title: &str, body: &Markup) -> Markup {
    document(title, body, false)
}

pub(super) fn shown(markup: &Markup) -> Html<String> {
    Html(markup.0.clone())
}

fn document(title: &str, body: &Markup, script: bool) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Edgeward" }
                link rel="icon" href=(address(&ICON)) type="image/svg+xml";
                link rel="stylesheet" href=(address(&STYLE));
                @if script { script src=(address(&SCRIPT)) defer {} }
            }
            body { (body) }
        }
    }
}

fn address(asset: &Asset) -> String {
    format!("/assets/{}?v={}", asset.name, asset.tag())
}

pub(super) fn wordmark() -> Markup {
    html! {
        a.wordmark href="/" aria-label="Edgeward, overview" {
            span.mark aria-hidden="true" { (PreEscaped(MARK)) }
            span { "Edgeward" }
        }
    }
}

fn places(here: Place, alerts_open: usize) -> Markup {
    html! {
        nav.places aria-label="Pages" {
            @for place in Place::ALL {
                a href=(place.path()) aria-current=[(place == here).then_some("page")] {
                    (place.name())
                    @if place == Place::Alerts && alerts_open > 0 {
                        " " span.count { (alerts_open) span.hidden { " open" } }
                    }
                }
            }
        }
    }
}

fn person(viewer: &Viewer, live: bool) -> Markup {
    html! {
        div.person {
            @if live { p.pulse id="live" role="status" { span.dot aria-hidden="true" {} span { "Live" } } }
            @if viewer.signed_in {
                form method="post" action="/sign-out" {
                    (viewer.form_field("/sign-out"))
                    button.plain type="submit" title=(format!("{}, {}", viewer.caller.name(), viewer.role)) { "Sign out" }
                }
            }
        }
    }
}

/// Where a page is below its place.
pub(super) fn crumbs(steps: &[(&str, &str)], here: &str) -> Markup {
    html! {
        nav.crumbs aria-label="Breadcrumb" {
            ol {
                @for (path, name) in steps { li { a href=(path) { (name) } } }
                li aria-current="page" { (here) }
            }
        }
    }
}

/// A part of a page. One with `live` is rendered again as things happen.
pub(super) fn card(id: &str, heading: &str, live: bool, body: &Markup) -> Markup {
    card_of("", id, heading, live, body)
}

/// The same with further classes.
pub(super) fn card_of(classes: &str, id: &str, heading: &str, live: bool, body: &Markup) -> Markup {
    let named = format!("{id}-heading");
    html! {
        section class=(format!("card {classes}")) aria-labelledby=(named) {
            h2 id=(named) { (heading) }
            div id=(id) data-live[live] { (body) }
        }
    }
}

/// A table, or a drawing, that is wider than a narrow screen.
pub(super) fn scroll(label: &str, body: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (body) } }
}

/// What stands where there is nothing yet, and what to do about it.
pub(super) fn empty(what: &str, next: &Markup) -> Markup {
    html! { p.empty { strong { (what) } " " (next) } }
}

/// When, for people, with the moment for programs.
pub(super) fn when(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(instant(at)) title=(instant(at)) { (ago(at, now)) } }
}

/// A word with a colour and a sign.
pub(super) fn badge(tone: Tone, word: &str) -> Markup {
    html! { span class=(format!("badge {}", tone.class())) { span.dot aria-hidden="true" {} (word) } }
}

/// Figures with their names, in one row.
pub(super) fn tiles(figures: &[(&str, Markup)]) -> Markup {
    html! {
        dl.figures { @for (name, figure) in figures { div { dt { (name) } dd { (figure) } } } }
    }
}

/// What was done just before, where `?done=` says so.
pub(super) fn done(word: Option<&str>) -> Markup {
    let said =
        word.filter(|word| word.len() <= 40 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
    html! {
        @if let Some(word) = said { p.did role="status" { "Done: " (word.replace('-', " ")) ". It is in the ledger." } }
    }
}
