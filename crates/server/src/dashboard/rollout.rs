//! Rollouts, and one of them: its waves, what its gates say of the evidence, its devices, its history, and what a person may
//! decide.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{Rollout, RolloutDevices, RolloutGate, RolloutStatus};
use edgeward_core::event::RolloutOutcome;
use edgeward_core::ledger::Entry;
use edgeward_core::rollout::{Approval, RolloutPolicy, Tally, Verdict, WaveSize};
use edgeward_core::{Digest, Role, RolloutId, Timestamp};
use maud::{Markup, html};

use super::Done;
use super::device::entries as ledger_table;
use super::figures::{grouped, percent, span};
use super::layout::{Place, Sheet, badge, card, crumbs, done, empty, scroll, shown, tiles, when};
use super::model::about;
use super::plot::shares;
use super::session::Viewer;
use super::words::Tone;
use crate::app::App;
use crate::extract::Named;
use crate::failure::Failure;
use crate::handlers::rollouts;
use crate::listing;

/// Entries of its history.
const ENTRIES_MAX: usize = 60;

pub(super) async fn list(State(app): State<Arc<App>>, viewer: Viewer) -> Result<Response, Failure> {
    let now = app.now();
    let found = app.read(|view| listing::rollouts(view).map_err(Failure::from)).await?;
    Ok(shown(&render_list(&viewer, &found, now)).into_response())
}

pub(super) fn render_list(viewer: &Viewer, found: &[Rollout], now: Timestamp) -> Markup {
    let (going, ended): (Vec<Rollout>, Vec<Rollout>) =
        found.iter().cloned().partition(|one| one.outcome.is_none());
    let body = html! {
        h1 { "Rollouts" }
        (card("going", "Under way", true, &html! {
            @if going.is_empty() { (empty("None is under way.", &html! { "One starts when a run passes its gates, or by hand from a model's page." })) }
            @else { (table(&going, now)) }
        }))
        (card("ended", &format!("Ended (the latest {PAGE_MAX} at most)"), true, &html! {
            @if ended.is_empty() { p.quiet { "None yet." } } @else { (table(&ended, now)) }
        }))
    };
    Sheet::live("Rollouts", Place::Rollouts).page(viewer, &body)
}

/// How a rollout stands, in a word with its colour.
pub(super) fn standing(rollout: &Rollout) -> Markup {
    match rollout.outcome {
        Some(RolloutOutcome::Completed) => badge(Tone::Good, "completed"),
        Some(RolloutOutcome::RolledBack) => badge(Tone::Bad, "rolled back"),
        Some(RolloutOutcome::Superseded) => badge(Tone::Plain, "superseded"),
        None if rollout.paused => badge(Tone::Warn, "paused"),
        None => badge(Tone::Work, "under way"),
    }
}

/// Rollouts, one a row.
pub(super) fn table(found: &[Rollout], now: Timestamp) -> Markup {
    if found.is_empty() {
        return html! { p.quiet { "None yet." } };
    }
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Rollout" } th scope="col" { "Version" } th scope="col" { "For" } th scope="col" { "State" } th scope="col" { "Wave" } th scope="col" { "Last reason" } th.n scope="col" { "Began" } } }
            tbody { @for one in found { tr {
                th scope="row" { a href=(format!("/rollouts/{}", one.id)) { (one.id) } }
                td { a href=(format!("/models/{}/{}", one.model, one.version)) { (one.model) " v" (one.version) } }
                td { @match &one.group { Some(group) => (group), None => "everybody" } }
                td { (standing(one)) }
                td { @match one.wave { Some(wave) => (wave + 1), None => "–" } }
                td.wrap.quiet { (one.reasons.last().map_or("", String::as_str)) }
                td.n { (when(one.started_at_ms, now)) }
            } } }
        }
    };
    scroll("Rollouts, newest first", &rows)
}

/// What the page of one rollout shows.
pub(super) struct Told {
    pub(super) now: Timestamp,
    pub(super) status: RolloutStatus,
    pub(super) policy: RolloutPolicy,
    pub(super) from: Option<Digest>,
    pub(super) cause: String,
    /// The newest first.
    pub(super) entries: Vec<Entry>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(rollout): Path<String>,
    Query(asked): Query<Done>,
) -> Result<Response, Failure> {
    let id: RolloutId = super::parse(&rollout)?;
    let status = rollouts::status(State(Arc::clone(&app)), Named(id.clone())).await?.0;
    let (row, entries) = app
        .read(move |view| Ok::<_, Failure>((view.rollout(&id)?, about(view, id.as_str(), ENTRIES_MAX)?)))
        .await?;
    let row = row.ok_or_else(|| Failure::not_found("the rollout is gone"))?;
    let told = Told { now: app.now(), status, policy: row.policy, from: row.from, cause: row.cause, entries };
    Ok(shown(&render(&viewer, &told, asked.done.as_deref())).into_response())
}

pub(super) fn render(viewer: &Viewer, told: &Told, just_done: Option<&str>) -> Markup {
    let one = &told.status.rollout;
    let title = format!("Rollout of {} v{}", one.model, one.version);
    let body = html! {
        (crumbs(&[("/rollouts", "Rollouts")], one.id.as_str()))
        div.heading { h1 { (title) } (actions(viewer, one)) }
        (done(just_done))
        (card("state", "State", true, &state(told)))
        (card("waves", "Waves", true, &waves(told)))
        (card("gates", "Gates", true, &gates(told)))
        (card("devices", "Devices", true, &devices(&told.status.devices)))
        (card("history", "History", true, &ledger_table(&told.entries, told.now)))
    };
    Sheet::live(&title, Place::Rollouts).page(viewer, &body)
}

fn actions(viewer: &Viewer, one: &Rollout) -> Markup {
    let path = |verb: &str| format!("/rollouts/{}/{verb}", one.id);
    html! {
        @if one.outcome.is_none() {
            p.actions {
                @if viewer.may(Role::Approver) { a.button.primary href=(path("approve")) { "Approve the next wave" } }
                @if viewer.may(Role::Operator) {
                    @if one.paused { a.button href=(path("resume")) { "Let it go on" } }
                    @else { a.button href=(path("pause")) { "Pause" } }
                    a.button.danger href=(path("abort")) { "Take it back" }
                }
                @if !viewer.may(Role::Operator) { span.quiet { "Deciding needs the role operator; approving, approver." } }
            }
        }
    }
}

fn state(told: &Told) -> Markup {
    let one = &told.status.rollout;
    html! {
        (tiles(&[
            ("State", standing(one)),
            ("Wave", html! { @match one.wave { Some(wave) => { (wave + 1) small { " of " (wave_count(told)) } }, None => "before the first" } }),
            ("For", html! { @match &one.group { Some(group) => a href=(format!("/groups/{group}")) { (group) }, None => "everybody" } }),
            ("Began", when(one.started_at_ms, told.now)),
        ]))
        p { a href=(format!("/models/{}/{}", one.model, one.version)) { (one.model) " v" (one.version) } ", bundle " code { (one.bundle.short()) }
            @if let Some(from) = told.from { ", in place of " code { (from.short()) } } ". " (told.cause) }
        @for reason in told.status.now.iter().chain(&one.reasons) { p.reason { (reason) } }
        @if let Some(at) = one.finished_at_ms { p.quiet { "Ended " (when(at, told.now)) "." } }
    }
}

fn wave_count(told: &Told) -> usize {
    let planned = told.policy.waves.len();
    told.status.rollout.wave.map_or(planned, |wave| planned.max(wave + 1))
}

fn waves(told: &Told) -> Markup {
    let (one, policy) = (&told.status.rollout, &told.policy);
    let all = told.status.devices.first().map_or(0, |devices| devices.all);
    let ends_with_all = policy.waves.last() == Some(&WaveSize::Percent(100));
    let mut sizes: Vec<(String, usize)> = policy.waves.iter().map(|size| sized(*size, all)).collect();
    if !ends_with_all {
        sizes.push(("everybody".to_owned(), all));
    }
    html! {
        ol.waves {
            @for (index, (name, count)) in sizes.iter().enumerate() {
                @let (class, word) = wave_state(one, index);
                li class=(class) {
                    span.n { (index + 1) }
                    b { (name) }
                    span.quiet { (grouped(*count as u64)) @if *count == 1 { " device in all" } @else { " devices in all" } }
                    span.word { (word) }
                    @if policy.approval.is_needed_for(index) {
                        span.quiet { @if one.waves_approved > index { "approved" } @else { "needs approval" } }
                    }
                }
            }
        }
        dl.facts {
            dt { "Bake time" } dd { (span(policy.bake_ms)) }
            dt { "Probation on each device" } dd { (span(policy.probation_ms)) }
            dt { "Failures tolerated" } dd { (policy.failures_max) }
            dt { "Approval" } dd { @match policy.approval { Approval::None => "no wave waits for a person", Approval::First => "the first wave", Approval::Each => "each wave" } }
            dt { "Window" } dd { @match policy.window { Some(window) => { (window) " (UTC)" }, None => "at any time" } }
            dt { "If it fails" } dd { @match policy.on_fail { edgeward_core::rollout::OnFail::RollBack => "devices go back", edgeward_core::rollout::OnFail::Pause => "it pauses and asks" } }
        }
    }
}

fn sized(size: WaveSize, all: usize) -> (String, usize) {
    match size {
        WaveSize::Devices(1) => ("1 device".to_owned(), all.min(1)),
        WaveSize::Devices(count) => (format!("{count} devices"), (count as usize).min(all)),
        WaveSize::Percent(share) => (format!("{share}\u{202f}%"), (all * usize::from(share)).div_ceil(100)),
    }
}

fn wave_state(one: &Rollout, index: usize) -> (&'static str, &'static str) {
    match (one.wave, one.outcome) {
        (_, Some(RolloutOutcome::RolledBack)) if one.wave.is_some_and(|wave| index <= wave) => {
            ("back", "taken back")
        }
        (_, Some(RolloutOutcome::Completed)) => ("done", "done"),
        (Some(open), _) if index < open => ("done", "done"),
        (Some(open), None) if index == open => ("live", "open"),
        (Some(open), Some(_)) if index == open => ("done", "was open"),
        _ => ("waiting", "not open"),
    }
}

fn gates(told: &Told) -> Markup {
    if told.status.gates.is_empty() {
        return html! { p.quiet { "They are held against the version before, once the first wave is open. Here there is none to compare with, or it has not begun." } };
    }
    let rows = html! {
        table.top-aligned {
            thead { tr { th scope="col" { "Gate" } th scope="col" { "Verdict" } th.n scope="col" { "New version" } th.n scope="col" { "Version before" } th scope="col" { "Evidence against it" } th scope="col" { "In words" } } }
            tbody { @for gate in &told.status.gates { (gate_row(gate)) } }
        }
    };
    html! {
        (scroll("Gates", &rows))
        p.quiet { "A gate fails when the evidence that the new version is worse passes its threshold, at whatever time one looks." }
    }
}

fn gate_row(gate: &RolloutGate) -> Markup {
    let (tone, word) = match gate.verdict {
        Verdict::Pass => (Tone::Good, "pass"),
        Verdict::Fail => (Tone::Bad, "fail"),
        Verdict::Undecided { .. } => (Tone::Plain, "not enough data"),
    };
    let evidence = &gate.evidence;
    html! {
        tr {
            th scope="row" { (evidence.gate.as_str().replace('_', " ")) }
            td { (badge(tone, word)) }
            td.n { (tally(evidence.newcomer)) }
            td.n { (tally(evidence.incumbent)) }
            td { (super::plot::gauge(evidence.log10_worse, gate.log10_fail)) p.quiet { "10^" (format!("{:.1}", evidence.log10_worse)) " of 10^" (format!("{:.1}", gate.log10_fail)) } }
            td.wrap.quiet { (gate.says) }
        }
    }
}

fn tally(tally: Tally) -> Markup {
    html! {
        (grouped(tally.bad)) " of " (grouped(tally.n))
        @if tally.n > 0 { p.quiet { (percent(tally.bad as f64 / tally.n as f64)) } }
    }
}

fn devices(counts: &[RolloutDevices]) -> Markup {
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Hardware" } th scope="col" { "How far" } th.n scope="col" { "All" } th.n scope="col" { "Reached" } th.n scope="col" { "Run it" } th.n scope="col" { "Failed" } th.n scope="col" { "Away" } } }
            tbody { @for count in counts { tr {
                @let name = count.hardware.as_deref().unwrap_or("all");
                th scope="row" { (name) }
                td { (progress(name, count)) }
                td.n { (grouped(count.all as u64)) } td.n { (grouped(count.reached as u64)) } td.n { (grouped(count.running as u64)) }
                td.n { span.bad[count.failed > 0] { (grouped(count.failed as u64)) } } td.n { (grouped(count.away as u64)) }
            } } }
        }
    };
    scroll("Devices by hardware", &rows)
}

fn progress(name: &str, count: &RolloutDevices) -> Markup {
    let waiting = count.reached.saturating_sub(count.running + count.failed);
    let beyond = count.all.saturating_sub(count.running + count.failed + waiting);
    shares(
        name,
        &[
            ("fine", "run it", count.running as u64),
            ("refusing", "failed", count.failed as u64),
            ("updating", "reached and not there yet", waiting as u64),
            ("silent", "not reached", beyond as u64),
        ],
    )
}
