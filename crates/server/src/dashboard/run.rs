//! Pipeline runs, and one of them: its stages as a graph, what its gates said, and its log.

mod graph;
mod log;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_api::operator::{GateVerdict, Run, SourceStatus};
use edgeward_core::event::{Project, RunOutcome, Runner};
use edgeward_core::source::short;
use edgeward_core::{ModelName, Role, RunId, Timestamp};
use maud::{Markup, html};

use super::Done;
use super::figures::span;
use super::layout::{Place, Sheet, badge, card, crumbs, done, empty, scroll, shown, tiles, when};
use super::session::Viewer;
use super::words::{Tone, level};
use crate::app::{App, blocking};
use crate::failure::Failure;
use crate::handlers::sources;
use crate::listing;
use log::Log;

/// Runs that are listed.
const RUNS_MAX: usize = 100;
/// Lines of the log's end that are shown.
const LINES_MAX: usize = 400;

pub(super) async fn list(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Done>,
) -> Result<Response, Failure> {
    let now = app.now();
    let (runs, projects) =
        app.read(|view| Ok::<_, Failure>((listing::runs(view)?, view.projects()?))).await?;
    let sources = sources::sources(State(Arc::clone(&app))).await?.0.sources;
    Ok(shown(&render_list(&viewer, (&runs, &projects, &sources), now, asked.done.as_deref())).into_response())
}

pub(super) fn render_list(
    viewer: &Viewer,
    (runs, projects, sources): (&[Run], &[Project], &[SourceStatus]),
    now: Timestamp,
    just_done: Option<&str>,
) -> Markup {
    let body = html! {
        h1 { "Runs" }
        (done(just_done))
        (card("projects", "Projects", true, &project_list(viewer, projects, sources, now)))
        (card("runs", "Runs", true, &html! {
            @if runs.is_empty() { (empty("No run yet.", &html! { "Start one with " code { "edgeward run --project DIR --server URL" } ", or let a trigger do it." })) }
            @else { (table(&runs[..runs.len().min(RUNS_MAX)], now)) }
        }))
    };
    Sheet::live("Runs", Place::Runs).page(viewer, &body)
}

fn project_list(viewer: &Viewer, projects: &[Project], sources: &[SourceStatus], now: Timestamp) -> Markup {
    let rows = html! {
        table.top-aligned {
            thead { tr { th scope="col" { "Project" } th scope="col" { "Model" } th scope="col" { "Level" } th scope="col" { "Repository" } th scope="col" { "Do" } } }
            tbody { @for project in projects { tr {
                @let source = sources.iter().find(|source| source.project == project.name);
                th scope="row" { (project.name) }
                td { a href=(format!("/models/{}", project.model)) { (project.model) } }
                td.wrap { (level(project.trigger.level)) }
                td.wrap { @match source { Some(source) => (source_told(source, now)), None => span.quiet { "none: " code { (project.path) } } } }
                td { @if viewer.may(Role::Operator) {
                    a.button href=(format!("/projects/{}/run", project.name)) { "Run" span.hidden { " " (project.name) } }
                    @if source.is_some() { " " a.button href=(format!("/projects/{}/check", project.name)) { "Look" span.hidden { " at the repository of " (project.name) } } }
                } }
            } } }
        }
    };
    html! {
        @if projects.is_empty() { (empty("No project is registered.", &html! { code { "edgeward run --server" } " registers the project that it runs." })) }
        @else { (scroll("Projects", &rows)) }
    }
}

fn source_told(source: &SourceStatus, now: Timestamp) -> Markup {
    html! {
        code { (source.git) } " " (source.branch)
        @if let Some(commit) = &source.commit { ", in use " code { (short(commit)) } }
        p.quiet { (source.state) @if let Some(at) = source.looked_at_ms { "; looked at " (when(at, now)) } }
        @if let Some(error) = &source.error { p.bad { (error) } }
    }
}

fn standing(run: &Run) -> Markup {
    match &run.outcome {
        None => badge(Tone::Work, "under way"),
        Some(RunOutcome::Passed { .. }) => badge(Tone::Good, "passed"),
        Some(RunOutcome::Refused { .. }) => badge(Tone::Warn, "refused"),
        Some(RunOutcome::Failed { .. }) => badge(Tone::Bad, "failed"),
    }
}

fn table(runs: &[Run], now: Timestamp) -> Markup {
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Run" } th scope="col" { "Project" } th scope="col" { "State" } th.n scope="col" { "Gates" } th.n scope="col" { "Took" } th scope="col" { "Why" } th.n scope="col" { "Began" } } }
            tbody { @for run in runs { tr {
                th scope="row" { a href=(format!("/runs/{}", run.id)) { (run.id) } }
                td { (run.project) }
                td { (standing(run)) }
                td.n { (run.gates.iter().filter(|gate| gate.passed).count()) " of " (run.gates.len()) }
                td.n { (took(run, now)) }
                td.wrap.quiet { (run.cause) }
                td.n { (when(run.requested_at_ms, now)) }
            } } }
        }
    };
    scroll("Runs, newest first", &rows)
}

fn took(run: &Run, now: Timestamp) -> String {
    match run.finished_at_ms.unwrap_or(now).since(run.requested_at_ms) {
        time if time.as_secs() == 0 => "under 1\u{202f}s".to_owned(),
        time => span(time),
    }
}

/// What the page of one run shows.
pub(super) struct Told {
    pub(super) now: Timestamp,
    pub(super) run: Run,
    pub(super) runner: Runner,
    /// Model and version that it made.
    pub(super) made: Vec<(ModelName, u64)>,
    /// None if it was carried out elsewhere.
    pub(super) log: Option<Log>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(run): Path<String>,
    Query(asked): Query<Done>,
) -> Result<Response, Failure> {
    let id: RunId = super::parse(&run)?;
    let (of, now) = (id.clone(), app.now());
    let found = app
        .read(move |view| {
            let Some(row) = view.run(&of)? else { return Ok::<_, Failure>(None) };
            let models = listing::models(view)?;
            let made = models.into_iter().flat_map(|model| {
                let its = model.versions.into_iter().filter(|version| version.run == of);
                its.map(|version| (model.name.clone(), version.version)).collect::<Vec<_>>()
            });
            Ok(Some((row, made.collect())))
        })
        .await?;
    let (row, made) = found.ok_or_else(|| Failure::not_found(format!("there is no run {id}")))?;
    let path = app.home.runs().join(format!("{id}.log"));
    let log = blocking(move || Ok::<_, Failure>(Log::read(&path))).await?;
    let told = Told { now, runner: row.runner, run: listing::run(row), made, log };
    Ok(shown(&render(&viewer, &told, asked.done.as_deref())).into_response())
}

pub(super) fn render(viewer: &Viewer, told: &Told, just_done: Option<&str>) -> Markup {
    let title = format!("Run of {}", told.run.project);
    let body = html! {
        (crumbs(&[("/runs", "Runs")], told.run.id.as_str()))
        div.heading { h1 { (title) }
            @if viewer.may(Role::Operator) && told.run.outcome.is_some() {
                p.actions { a.button href=(format!("/projects/{}/run", told.run.project)) { "Run it again" } }
            }
        }
        (done(just_done))
        (card("state", "State", true, &state(told)))
        (card("stages", "Stages", true, &stages(told)))
        (card("gates", "Gates", true, &gates(&told.run.gates)))
        (card("log", "Log", true, &log_told(told)))
    };
    Sheet::live(&title, Place::Runs).page(viewer, &body)
}

fn state(told: &Told) -> Markup {
    let run = &told.run;
    html! {
        (tiles(&[
            ("State", standing(run)),
            ("Took", html! { (took(run, told.now)) }),
            ("Began", when(run.requested_at_ms, told.now)),
            ("Made", html! { @if told.made.is_empty() { "nothing yet" } @for (model, version) in &told.made { a href=(format!("/models/{model}/{version}")) { (model) " v" (version) } " " } }),
        ]))
        p { (run.cause) }
        @if let Some(commit) = &run.commit { p { "On trial: commit " code { (short(commit)) } } }
        @match &run.outcome {
            Some(RunOutcome::Refused { reason } | RunOutcome::Failed { reason }) => p.bad { (reason) },
            _ => {},
        }
        p.quiet { @match told.runner { Runner::ControlPlane => "Carried out by the control plane.", Runner::Caller => "Carried out elsewhere, by whoever announced it." } }
    }
}

fn stages(told: &Told) -> Markup {
    let steps = told.log.as_ref().map_or(&[][..], |log| &log.steps);
    html! {
        @if steps.is_empty() {
            (empty("No stage was heard of.", &html! { "Stages are read from the log of a run that the control plane carries out; " code { "edgeward log" } " tells those of a run that was carried out elsewhere." }))
        } @else { (graph::graph(steps)) }
    }
}

fn gates(gates: &[GateVerdict]) -> Markup {
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Gate" } th scope="col" { "Verdict" } th scope="col" { "Why" } } }
            tbody { @for gate in gates { tr {
                th scope="row" { (gate.gate) }
                td { (badge(if gate.passed { Tone::Good } else { Tone::Bad }, if gate.passed { "passed" } else { "refused" })) }
                td.wrap { (gate.reason) }
            } } }
        }
    };
    html! { @if gates.is_empty() { p.quiet { "None has spoken yet." } } @else { (scroll("Gates", &rows)) } }
}

fn log_told(told: &Told) -> Markup {
    html! {
        @match &told.log {
            None => p.quiet { "There is no log of it here." },
            Some(log) => {
                @let from = log.lines.len().saturating_sub(LINES_MAX);
                @if from > 0 { p.quiet { (from) " earlier lines are in the control plane's data folder." } }
                pre.log tabindex="0" role="region" aria-label="The end of the log" { (log.lines[from..].join("\n")) }
            },
        }
    }
}
