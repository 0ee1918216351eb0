//! The models, and one of them: its aliases and versions, how it fares, and what starts its next run.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_api::operator::{Drift, Model, Rollout};
use edgeward_core::event::Project;
use edgeward_core::ledger::Entry;
use edgeward_core::trigger::Trigger;
use edgeward_core::{ModelName, Role, Timestamp};
use edgeward_store::{RawEntry, View};
use maud::{Markup, html};

use super::Done;
use super::charts;
use super::device::entries as ledger_table;
use super::figures::{grouped, metric, span};
use super::fleet::{Fleet, fleet};
use super::layout::{Place, Sheet, badge, card, crumbs, done, empty, scroll, shown, tiles, when};
use super::session::Viewer;
use super::snapshot::champion;
use super::words::{Tone, level};
use crate::app::App;
use crate::extract::Named;
use crate::failure::Failure;
use crate::listing;

/// Entries that are shown, and searched for marks.
const ENTRIES_MAX: usize = 30;
const MARKED_MAX: usize = 200;
/// Metrics that have a column.
const METRICS_MAX: usize = 4;

pub(super) async fn list(State(app): State<Arc<App>>, viewer: Viewer) -> Result<Response, Failure> {
    let now = app.now();
    let (models, projects) =
        app.read(|view| Ok::<_, Failure>((listing::models(view)?, view.projects()?))).await?;
    Ok(shown(&render_list(&viewer, &models, &projects, now)).into_response())
}

pub(super) fn render_list(viewer: &Viewer, models: &[Model], projects: &[Project], now: Timestamp) -> Markup {
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Model" } th scope="col" { "Champion" } th.n scope="col" { "Versions" } th scope="col" { "Project" } th.n scope="col" { "Newest" } } }
            tbody { @for model in models { tr {
                th scope="row" { a href=(format!("/models/{}", model.name)) { (model.name) } }
                td { @match champion(model) {
                    Some(version) => a href=(format!("/models/{}/{}", model.name, version.version)) { "v" (version.version) },
                    None => span.quiet { "none yet" },
                } }
                td.n { (model.versions.len()) }
                td { @match projects.iter().find(|project| project.model == model.name) {
                    Some(project) => { (project.name) ", level " (project.trigger.level) },
                    None => span.quiet { "none" },
                } }
                td.n { @match model.versions.last() { Some(version) => (when(version.registered_at_ms, now)), None => "–" } }
            } } }
        }
    };
    let body = html! {
        h1 { "Models" }
        (card("models", "Registry", true, &html! {
            @if models.is_empty() { (empty("No model is registered.", &html! { "A run that passes its gates registers one: " code { "edgeward run --server" } "." })) }
            @else { (scroll("Models", &rows)) }
        }))
    };
    Sheet::live("Models", Place::Models).page(viewer, &body)
}

/// What the page of one model shows.
pub(super) struct Told {
    pub(super) now: Timestamp,
    pub(super) model: Model,
    pub(super) project: Option<Project>,
    pub(super) rollouts: Vec<Rollout>,
    /// About the model, the newest first.
    pub(super) entries: Vec<Entry>,
    /// All, for the marks of the charts.
    pub(super) marked: Vec<Entry>,
    pub(super) held: usize,
    pub(super) drift: Option<Arc<Drift>>,
    pub(super) fleet: Arc<Fleet>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Named(name): Named<ModelName>,
    Query(asked): Query<Done>,
) -> Result<Response, Failure> {
    let told = told(&app, &name).await?;
    Ok(shown(&render(&viewer, &told, asked.done.as_deref())).into_response())
}

async fn told(app: &App, name: &ModelName) -> Result<Told, Failure> {
    let (now, fleet, of) = (app.now(), fleet(app).await?, name.clone());
    let mut told = app.read(move |view| read(view, &of, now, fleet)).await?;
    told.drift = crate::drift::of_model(app, name).await?;
    Ok(told)
}

/// One model by its name.
pub(super) fn known(view: &View<'_>, name: &ModelName) -> Result<Model, Failure> {
    let models = listing::models(view)?;
    models.into_iter().find(|model| model.name == *name).ok_or_else(|| {
        Failure::not_found(format!("there is no model {name}"))
            .hint("The page of models lists those there are.")
    })
}

/// The newest entries that hold `word`.
pub(super) fn about(view: &View<'_>, word: &str, limit: usize) -> Result<Vec<Entry>, Failure> {
    let raw = view.newest_about(&format!("\"{word}\""), limit)?;
    Ok(raw.iter().filter_map(|raw: &RawEntry| raw.parse().ok()).collect())
}

fn read(view: &View<'_>, name: &ModelName, now: Timestamp, fleet: Arc<Fleet>) -> Result<Told, Failure> {
    let entries = about(view, name.as_str(), MARKED_MAX)?;
    Ok(Told {
        now,
        model: known(view, name)?,
        project: view.projects()?.into_iter().find(|project| project.model == *name),
        rollouts: view.rollouts(Some(name), ENTRIES_MAX)?.into_iter().map(listing::rollout).collect(),
        marked: crate::handlers::audit::newest(view, MARKED_MAX)?,
        entries: entries.into_iter().take(ENTRIES_MAX).collect(),
        held: view.held_samples(name, edgeward_api::limits::PAGE_MAX)?.len(),
        drift: None,
        fleet,
    })
}

pub(super) fn render(viewer: &Viewer, told: &Told, just_done: Option<&str>) -> Markup {
    let name = &told.model.name;
    let marks = charts::marks(&told.marked, Some(name));
    let body = html! {
        (crumbs(&[("/models", "Models")], name.as_str()))
        div.heading { h1 { (name) } (actions(viewer, told)) }
        (done(just_done))
        (card("state", "State", true, &state(told)))
        (card("time", "Over time", true, &html! {
            (charts::over_time(told.drift.as_deref(), &marks))
            p.more { a href=(format!("/models/{name}/drift")) { "Feature by feature, and the evidence of the detectors" } }
        }))
        (card("versions", "Versions", true, &versions(told)))
        (card("rollouts", "Rollouts", true, &super::rollout::table(&told.rollouts, told.now)))
        (card("history", "What the ledger says of it", true, &ledger_table(&told.entries, told.now)))
    };
    Sheet::live(name.as_str(), Place::Models).page(viewer, &body)
}

fn actions(viewer: &Viewer, told: &Told) -> Markup {
    let name = &told.model.name;
    html! {
        @if viewer.may(Role::Operator) {
            p.actions {
                @if let Some(project) = &told.project { a.button href=(format!("/projects/{}/run", project.name)) { "Start a run" } }
                a.button href=(format!("/models/{name}/rollout")) { "Roll a version out" }
                a.button href=(format!("/models/{name}/held")) { "Held samples" @if told.held > 0 { " (" (told.held) ")" } }
            }
        }
    }
}

fn state(told: &Told) -> Markup {
    let name = &told.model.name;
    let running = told.fleet.models().filter(|model| model.name == *name && model.active.is_some()).count();
    html! {
        (tiles(&[
            ("Champion", html! { @match champion(&told.model) { Some(version) => a href=(format!("/models/{name}/{}", version.version)) { "v" (version.version) }, None => "none yet" } }),
            ("Versions", html! { (told.model.versions.len()) }),
            ("Devices", html! { (grouped(running as u64)) }),
            ("Held samples", html! { (told.held) }),
        ]))
        @if let Some(project) = &told.project {
            p { "Project " b { (project.name) } ", " (level(project.trigger.level)) "." }
            @if project.trigger.triggers.is_empty() { p.quiet { "Nothing starts a run by itself." } }
            @else { ul.plain.quiet { @for trigger in &project.trigger.triggers { li { "A run starts " (trigger_told(trigger)) "." } } } }
        } @else {
            p.quiet { "No project makes it: its versions come from elsewhere." }
        }
    }
}

fn trigger_told(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Alert { kinds, labels_min } => {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            format!("on an alert ({}) once {labels_min} new labels are there", kinds.join(", "))
        }
        Trigger::NewSamples { count } => format!("after {count} new labelled samples"),
        Trigger::Schedule { every_ms } => format!("every {}", span(*every_ms)),
        Trigger::Cron { cron } => format!("at \"{cron}\" (UTC)"),
    }
}

fn versions(told: &Told) -> Markup {
    let model = &told.model;
    let names: Vec<&String> = model.versions.iter().rev().flat_map(|version| version.metrics.keys()).fold(
        Vec::new(),
        |mut names, name| {
            if names.len() < METRICS_MAX && !names.contains(&name) {
                names.push(name);
            }
            names
        },
    );
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Version" } th scope="col" { "Aliases" } @for name in &names { th.n scope="col" { (name) } }
                th scope="col" { "Run" } th scope="col" { "Bundle" } th.n scope="col" { "Devices" } th.n scope="col" { "Registered" } } }
            tbody { @for version in model.versions.iter().rev() { tr {
                @let devices = told.fleet.models().filter(|one| one.active == Some(version.bundle)).count();
                th scope="row" { a href=(format!("/models/{}/{}", model.name, version.version)) { "v" (version.version) } }
                td { @for (alias, _) in model.aliases.iter().filter(|(_, v)| **v == version.version) { span.alias { (alias) } " " } }
                @for name in &names { td.n { @match version.metrics.get(*name) { Some(value) => (metric(*value)), None => "–" } } }
                td { a href=(format!("/runs/{}", version.run)) { (version.run) } }
                td { code title=(version.bundle) { (version.bundle.short()) } }
                td.n { (grouped(devices as u64)) }
                td.n { (when(version.registered_at_ms, told.now)) }
            } } }
        }
    };
    html! {
        @if model.versions.is_empty() { (badge(Tone::Plain, "no version yet")) } @else { (scroll("Versions, newest first", &rows)) }
    }
}
