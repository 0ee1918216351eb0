//! The overview: the whole page, and each live part of it alone; and what every page stands in.

use edgeward_api::device::ModelReport;
use edgeward_api::operator::{Device, Model};
use edgeward_core::ModelName;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets::{Asset, ICON, SCRIPT, STYLE};
use super::figures::{ago, grouped, instant, metric, percent};
use super::plot::plot;
use super::snapshot::{Snapshot, champion};
use super::stages::stages;
use super::words::{happening, level};

/// Ledger events on the timeline.
const TIMELINE_MAX: usize = 40;
/// Versions shown per model.
const VERSIONS_MAX: usize = 4;
/// Metrics shown per version.
const METRICS_MAX: usize = 3;

/// A part of the page that is rendered again when something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Loop,
    Fleet,
    Drift,
    Models,
    Timeline,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Loop, Self::Fleet, Self::Drift, Self::Models, Self::Timeline];

    /// The last segment of its path, and its element's id.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Fleet => "fleet",
            Self::Drift => "drift",
            Self::Models => "models",
            Self::Timeline => "timeline",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Loop => "The loop",
            Self::Fleet => "Fleet",
            Self::Drift => "Drift",
            Self::Models => "Models",
            Self::Timeline => "Timeline",
        }
    }

    /// What stands below its heading.
    pub(crate) fn render(self, seen: &Snapshot) -> Markup {
        match self {
            Self::Loop => strip(seen),
            Self::Fleet => fleet(seen),
            Self::Drift => plot(seen),
            Self::Models => models(seen),
            Self::Timeline => timeline(seen),
        }
    }
}

/// The overview.
pub(crate) fn overview(seen: &Snapshot) -> Markup {
    let body = html! {
        a.skip href="#main" { "Skip to content" }
        header.top {
            (wordmark())
            p.pulse id="live" role="status" { span.dot aria-hidden="true" {} span { "Live" } }
        }
        main id="main" {
            h1.hidden { "Overview" }
            (section(Part::Loop, seen))
            div.columns {
                div.column { (section(Part::Fleet, seen)) (section(Part::Drift, seen)) }
                div.column { (section(Part::Models, seen)) (section(Part::Timeline, seen)) }
            }
        }
        footer {
            "Edgeward " (env!("CARGO_PKG_VERSION")) " · " a href="/audit" { "Audit" } " · " a href="/openapi.json" { "API" }
            " · times in UTC"
        }
    };
    document("Overview", &body, true)
}

/// What someone without a credential sees.
pub(crate) fn sign_in(refused: bool) -> Markup {
    let body = html! {
        main.door id="main" {
            (wordmark())
            h1 { "Operator token" }
            @if refused { p.refused role="alert" { "That is not this control plane's token." } }
            p { "Any operator token will do. The first is in the file " code { "operator.token" } " in the control plane's data folder." }
            form method="post" action="/sign-in" {
                label for="token" { "Token" }
                input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
                button type="submit" { "Open the dashboard" }
            }
        }
    };
    document("Sign in", &body, false)
}

pub(super) fn document(title: &str, body: &Markup, live: bool) -> Markup {
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
                @if live { script src=(address(&SCRIPT)) defer {} }
            }
            body { (body) }
        }
    }
}

/// A page beside the overview.
pub(super) fn frame(body: &Markup) -> Markup {
    html! {
        a.skip href="#main" { "Skip to content" }
        header.top { (wordmark()) (places()) }
        main id="main" .sheet { (body) }
        footer { "Edgeward " (env!("CARGO_PKG_VERSION")) " · times in UTC" }
    }
}

fn places() -> Markup {
    html! { nav aria-label="Pages" { a href="/" { "Overview" } " · " a href="/audit" { "Audit" } } }
}

fn address(asset: &Asset) -> String {
    format!("/assets/{}?v={}", asset.name, asset.tag())
}

fn wordmark() -> Markup {
    html! {
        a.wordmark href="/" aria-label="Edgeward, overview" {
            span.mark aria-hidden="true" { (PreEscaped(super::assets::MARK)) }
            span { "Edgeward" }
        }
    }
}

fn section(part: Part, seen: &Snapshot) -> Markup {
    let (name, heading) = (part.name(), format!("{}-heading", part.name()));
    html! {
        section class=(format!("card {name}")) aria-labelledby=(heading) {
            h2 id=(heading) { (part.heading()) }
            div id=(name) data-part=(name) { (part.render(seen)) }
        }
    }
}

fn strip(seen: &Snapshot) -> Markup {
    html! {
        ol.strip {
            @for stage in stages(seen) {
                li class=(stage.state.class()) {
                    span.name { span.dot aria-hidden="true" {} (stage.name) }
                    span.hidden { " (" (stage.state.word()) ") " }
                    span.detail title=(stage.detail) { (stage.detail) }
                }
            }
        }
        @if let Some(advice) = advice(seen) { (advice) }
    }
}

/// What to do next, while something is missing.
fn advice(seen: &Snapshot) -> Option<Markup> {
    let token = html! { "make a join token with " code { "edgeward token" } };
    if seen.projects.is_empty() && seen.models.is_empty() {
        return Some(html! { p.advice {
            "Start with a model: run " code { "edgeward run --project DIR --server " (seen.address) }
            ", or watch the whole loop with " code { "edgeward demo" } "."
        } });
    }
    if seen.devices.is_empty() {
        return Some(html! { p.advice {
            "No device yet: " (token) ", then start " code { "edgeward agent --server " (seen.address) } "."
        } });
    }
    None
}

fn fleet(seen: &Snapshot) -> Markup {
    if seen.devices.is_empty() {
        return html! { p.empty {
            strong { "No device has joined." }
            " Start " code { "edgeward agent --server " (seen.address) " --join-token TOKEN" } " on one."
        } };
    }
    let online = seen.devices.iter().filter(|device| seen.is_online(device)).count();
    let requests: u64 = seen.model_reports().map(|report| report.requests).sum();
    let failed: u64 = seen.model_reports().map(|report| report.requests_failed).sum();
    html! {
        dl.figures {
            div { dt { "Online" } dd { (online) small { " of " (seen.devices.len()) } } }
            div { dt { "Requests" } dd { (grouped(requests)) } }
            div { dt { "Failed" } dd class=(if failed > 0 { "bad" } else { "" }) { (grouped(failed)) } }
            div { dt { "Accuracy" } dd {
                @match seen.fleet_accuracy() { Some((accuracy, _)) => (percent(accuracy)), None => "–" }
            } }
        }
        div.scroll tabindex="0" role="region" aria-label="Devices" {
            table {
                thead { tr {
                    th scope="col" { "Device" } th scope="col" { "Runs" } th scope="col" { "Phase" }
                    th.n scope="col" { "Requests" } th.n scope="col" { "Accuracy" } th scope="col" { "Evidence" }
                    th.n scope="col" { "Seen" }
                } }
                tbody { @for device in &seen.devices { (device_rows(seen, device)) } }
            }
        }
    }
}

fn device_rows(seen: &Snapshot, device: &Device) -> Markup {
    let online = seen.is_online(device);
    let name = html! {
        span class=(if online { "dot on" } else { "dot off" }) aria-hidden="true" {}
        (device.id)
        @if !online { span.hidden { " (away)" } }
    };
    let last = html! {
        @match device.seen_at_ms {
            Some(at) => time datetime=(instant(at)) title=(instant(at)) { (ago(at, seen.now)) },
            None => "never",
        }
    };
    let models: Vec<_> = device.report.iter().flat_map(|report| &report.models).collect();
    html! {
        @if models.is_empty() {
            tr { th scope="row" { (name) } td colspan="5" .quiet { "waiting for a model" } td.n { (last) } }
        }
        @for (model, report) in models {
            tr { th scope="row" { (name) } (model_cells(seen, device, model, report)) td.n { (last) } }
        }
    }
}

fn model_cells(seen: &Snapshot, device: &Device, model: &ModelName, report: &ModelReport) -> Markup {
    let alarmed = seen.open_alerts().any(|alert| alert.device == device.id && alert.model == *model);
    html! {
        td {
            @match report.active {
                Some(bundle) => span.version title=(bundle) { (model) " " b { (seen.bundle_label(bundle)) } },
                None => span.quiet { (model) ", none yet" },
            }
        }
        td { span class=(format!("phase {}", report.phase)) { (report.phase) }
            @if let Some(refused) = report.refused.last() {
                span.refused title=(refused.reason) { "refused " (seen.bundle_label(refused.bundle)) }
            }
        }
        td.n title=(format!("{} bytes came for its models since the agent started", grouped(report.received_bytes))) {
            (grouped(report.requests))
            @if report.requests_failed > 0 { span.bad { " " (grouped(report.requests_failed)) " failed" } } }
        td.n.warn[alarmed] {
            @match report.accuracy { Some(accuracy) => (percent(accuracy)), None => "–" }
        }
        td { (evidence(report)) }
    }
}

/// The stream with the most evidence of change, against the threshold of the false-alarm budget.
fn evidence(report: &ModelReport) -> Markup {
    let most = report.evidence.iter().max_by(|a, b| a.1.total_cmp(b.1));
    let (Some((stream, value)), Some(threshold)) = (most, report.log10_threshold) else {
        return html! { span.quiet { "–" } };
    };
    let text = format!("10^{value:.1} against no change in {stream}; the alarm is at 10^{threshold:.1}");
    html! {
        meter min="0" max=(format!("{threshold:.2}")) low=(format!("{:.2}", threshold * 0.6))
            high=(format!("{:.2}", threshold * 0.9)) optimum="0" value=(format!("{:.2}", value.clamp(0.0, threshold)))
            title=(text) { (text) }
    }
}

fn models(seen: &Snapshot) -> Markup {
    html! {
        @if seen.models.is_empty() {
            p.empty { strong { "No model is registered." } " A run that passes its gates registers one." }
        }
        @for model in &seen.models { (model_card(seen, model)) }
    }
}

fn model_card(seen: &Snapshot, model: &Model) -> Markup {
    let project = seen.projects.iter().find(|project| project.model == model.name);
    let serving = champion(model).map(|version| version.version);
    html! {
        article.model {
            h3 { (model.name) }
            @if let Some(project) = project { p.quiet { "Project " (project.name) ", " (level(project.trigger.level)) } }
            ul.versions {
                @for version in model.versions.iter().rev().take(VERSIONS_MAX) {
                    li class=(if serving == Some(version.version) { "serving" } else { "" }) {
                        span.v { "v" (version.version) }
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
            p.empty { strong { "Nothing has happened yet." } " Every decision will be listed here." }
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
