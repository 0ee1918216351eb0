//! One device: what it says of itself, each model on it with every stream's evidence, why it did what it did, and what a person
//! may do about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_api::device::{ModelReport, Report};
use edgeward_api::operator::{Model, RaisedAlert};
use edgeward_core::group::Labels;
use edgeward_core::ledger::Entry;
use edgeward_core::{DeviceId, Digest, GroupName, ModelName, Role, Timestamp};
use edgeward_store::{RawEntry, View};
use maud::{Markup, html};

use super::figures::{grouped, percent};
use super::fleet::{Context, Fleet, Standing};
use super::layout::{Place, Sheet, card, crumbs, done, empty, scroll, shown, tiles, when};
use super::plot::gauge;
use super::session::Viewer;
use super::words::{alert_title, capital, happening};
use super::{Done, alerts};
use crate::app::App;
use crate::extract::Named;
use crate::failure::Failure;
use crate::listing;

/// Entries of the ledger that are shown.
const ENTRIES_MAX: usize = 30;
/// Alerts that are shown.
const ALERTS_MAX: usize = 20;

/// What the page shows.
pub(super) struct Told {
    pub(super) now: Timestamp,
    pub(super) id: DeviceId,
    pub(super) enrolled_at_ms: Timestamp,
    pub(super) standing: Standing,
    pub(super) seen_at_ms: Option<Timestamp>,
    pub(super) report: Option<Report>,
    pub(super) labels: Labels,
    pub(super) groups: Vec<GroupName>,
    pub(super) pins: BTreeMap<ModelName, Digest>,
    pub(super) alerts: Vec<RaisedAlert>,
    pub(super) models: Vec<Model>,
    /// The newest first.
    pub(super) entries: Vec<Entry>,
    /// For the names of versions.
    pub(super) fleet: Fleet,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Named(id): Named<DeviceId>,
    Query(asked): Query<Done>,
) -> Result<Response, Failure> {
    let now = app.now();
    let told = app.read(move |view| read(view, id, now)).await?;
    Ok(shown(&render(&viewer, &told, asked.done.as_deref())).into_response())
}

fn read(view: &View<'_>, id: DeviceId, now: Timestamp) -> Result<Told, Failure> {
    let row = view.device(&id)?.ok_or_else(|| {
        Failure::not_found(format!("there is no device {id}")).hint("The fleet's page lists those there are.")
    })?;
    let device = listing::device(row);
    let (models, unsettled) = (listing::models(view)?, alerts::unsettled(view)?);
    let coming: Vec<Digest> = view.rollouts_under_way()?.into_iter().map(|row| row.bundle).collect();
    let context = Context { now, models: &models, unsettled: &unsettled, coming: &coming };
    let fleet = Fleet::of(std::slice::from_ref(&device), &context);
    let mut pins = BTreeMap::new();
    for model in &models {
        if let Some(bundle) = view.pins(&model.name)?.remove(&id) {
            pins.insert(model.name.clone(), bundle);
        }
    }
    let labels = view.labels()?.remove(&id).unwrap_or_default();
    let member = |(name, expression): (GroupName, edgeward_core::group::Expression)| {
        expression.includes(&labels).then_some(name)
    };
    let mentioned = view.newest_about(&format!("\"{id}\""), ENTRIES_MAX)?;
    Ok(Told {
        now,
        enrolled_at_ms: device.enrolled_at_ms,
        standing: fleet.devices.first().map_or(Standing::Silent, |device| device.standing),
        seen_at_ms: device.seen_at_ms,
        groups: view.groups()?.into_iter().filter_map(member).collect(),
        alerts: listing::alerts(view)?
            .into_iter()
            .filter(|raised| raised.alert.device == id)
            .take(ALERTS_MAX)
            .collect(),
        entries: mentioned.iter().filter_map(|raw: &RawEntry| raw.parse().ok()).collect(),
        report: device.report,
        id,
        labels,
        pins,
        models,
        fleet,
    })
}

pub(super) fn render(viewer: &Viewer, told: &Told, just_done: Option<&str>) -> Markup {
    let path = format!("/devices/{}", told.id);
    let body = html! {
        (crumbs(&[("/fleet", "Fleet")], told.id.as_str()))
        div.heading { h1 { (told.id) } (actions(viewer, told, &path)) }
        (done(just_done))
        (card("state", "State", true, &state(told)))
        @if let Some(report) = &told.report {
            @for (model, said) in &report.models {
                (card(&format!("model-{model}"), &format!("Model {model}"), true, &model_told(told, model, said)))
            }
        }
        div.halves {
            (card("labels", "Labels and groups", true, &labels(told)))
            (card("alerts", "Its alerts", true, &alerts_of(told)))
        }
        (card("history", "What the ledger says of it", true, &history(told)))
    };
    Sheet::live(told.id.as_str(), Place::Fleet).page(viewer, &body)
}

fn actions(viewer: &Viewer, told: &Told, path: &str) -> Markup {
    html! {
        @if viewer.may(Role::Operator) && told.standing != Standing::Revoked {
            p.actions {
                a.button href=(format!("{path}/labels")) { "Set a label" }
                a.button href=(format!("{path}/pin")) { "Pin a version" }
                @for model in told.pins.keys() { a.button href=(format!("{path}/unpin?model={model}")) { "Unpin " (model) } }
                a.button.danger href=(format!("{path}/revoke")) { "Shut out" }
            }
        }
    }
}

fn state(told: &Told) -> Markup {
    let report = told.report.as_ref();
    html! {
        (tiles(&[
            ("Standing", html! { (capital(told.standing.word())) }),
            ("Seen", html! { @match told.seen_at_ms { Some(at) => (when(at, told.now)), None => "never" } }),
            ("Joined", when(told.enrolled_at_ms, told.now)),
            ("Follows", html! { @match report.and_then(|report| report.generation) { Some(generation) => { "generation " (generation) }, None => "–" } }),
        ]))
        @if let Some(report) = report {
            dl.facts {
                dt { "Endpoint" } dd { code { (report.endpoint) } }
                dt { "Agent" } dd { (report.agent_version) ", process " (report.pid) }
                @for (fact, value) in &report.facts { dt { (fact) } dd { (value) } }
            }
            @if report.clock_unsure { p.warn { "Its clock stands before a time that it has proof of." } }
            @if let Some(trouble) = &report.repository { p.bad role="alert" { "It does not act on the repository (" (trouble.name) "): " (trouble.reason) } }
            @if let Some(fault) = report.ledger.as_ref().and_then(|seen| seen.fault.as_ref()) { p.bad role="alert" { "As a witness of the ledger: " (fault) } }
        } @else {
            (empty("It has not reported yet.", &html! { "It does so once its agent runs and reaches this control plane." }))
        }
    }
}

fn model_told(told: &Told, model: &ModelName, said: &ModelReport) -> Markup {
    html! {
        (tiles(&[
            ("Runs", html! { @match said.active { Some(bundle) => span title=(bundle) { (told.fleet.label(bundle)) }, None => "nothing yet" } }),
            ("Phase", html! { (said.phase) }),
            ("Requests", html! { (grouped(said.requests)) @if said.requests_failed > 0 { small.bad { " " (grouped(said.requests_failed)) " failed" } } }),
            ("Accuracy", html! { @match said.accuracy { Some(share) => { (percent(share)) small { " of " (said.accuracy_labels) " labels" } }, None => "–" } }),
        ]))
        p.quiet {
            (grouped(said.swaps)) " swaps and " (grouped(said.received_bytes)) " bytes for its bundles since the agent started."
            @if let Some(bundle) = told.pins.get(model) { " " b { "Pinned to " (told.fleet.label(*bundle)) "." } }
        }
        (evidence(model, said))
        @for refused in &said.refused { p.bad { "It will not run " (told.fleet.label(refused.bundle)) ": " (refused.reason) } }
        @if !said.reasons.is_empty() {
            h3 { "What it decided last" }
            ol.reasons { @for reason in said.reasons.iter().rev() { li { (reason) } } }
        }
    }
}

/// Each stream against the threshold of the device's detector.
fn evidence(model: &ModelName, said: &ModelReport) -> Markup {
    let Some(threshold) = said.log10_threshold else {
        return html! { p.quiet { "Its monitor has counted nothing yet." } };
    };
    let mut streams: Vec<(&String, f64)> =
        said.evidence.iter().map(|(stream, evidence)| (stream, *evidence)).collect();
    streams.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = streams.len().min(12);
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Stream" } th.n scope="col" { "Evidence of change" } th.n scope="col" { "Threshold" } th scope="col" { "Together" } } }
            tbody { @for (stream, evidence) in streams.iter().take(shown) { tr {
                th scope="row" { a href=(format!("/models/{model}/drift?stream={}", alerts::encoded(stream))) { (stream) } }
                td.n { "10^" (format!("{evidence:.1}")) }
                td.n { "10^" (format!("{threshold:.1}")) }
                td { (gauge(*evidence, threshold)) }
            } } }
        }
    };
    html! {
        @if shown > 0 { (scroll("Evidence by stream", &rows)) }
        @if streams.len() > shown { p.quiet { (streams.len() - shown) " more streams have less." } }
    }
}

fn labels(told: &Told) -> Markup {
    html! {
        @if told.labels.is_empty() { p.quiet { "No labels." } }
        @else { dl.facts { @for (key, value) in &told.labels { dt { (key) } dd { (value) } } } }
        p { "In " @if told.groups.is_empty() { "no group" } @else {
            @for (index, group) in told.groups.iter().enumerate() {
                @if index > 0 { ", " }
                a href=(format!("/groups/{group}")) { (group) }
            }
        } "." }
    }
}

fn alerts_of(told: &Told) -> Markup {
    html! {
        @if told.alerts.is_empty() { p.quiet { "None." } }
        ul.plain { @for raised in &told.alerts { li {
            @let stand = alerts::Stand::of(raised, &told.models);
            (stand.badge()) " "
            (alert_title(&raised.alert)) " " span.quiet { (when(raised.alert.at_ms, told.now)) }
            p.quiet { (raised.alert.message) }
            @if let Some(seen) = &raised.acknowledged { (alerts::seen_by(seen, stand, told.now)) }
        } } }
    }
}

fn history(told: &Told) -> Markup {
    entries(&told.entries, told.now)
}

/// Entries of the ledger, the newest first.
pub(super) fn entries(entries: &[Entry], now: Timestamp) -> Markup {
    if entries.is_empty() {
        return html! { p.quiet { "Nothing yet." } };
    }
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Entry" } th scope="col" { "What" } th scope="col" { "Why" } th.n scope="col" { "When" } } }
            tbody { @for entry in entries {
                @let said = happening(&entry.event);
                tr {
                    th scope="row" { a href=(format!("/audit/{}", entry.seq)) { (entry.seq) } }
                    td { span class=(format!("dot {}", said.tone.class())) aria-hidden="true" {} (said.title) }
                    td.wrap.quiet { (said.detail) }
                    td.n { (when(entry.at_ms, now)) }
                }
            } }
        }
    };
    scroll("Decisions, newest first", &rows)
}
