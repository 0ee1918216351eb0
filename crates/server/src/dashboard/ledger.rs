//! The audit trail for people: entries page by page, by kind, whether the ledger is what was written, and the proof of one
//! entry.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_core::event::KINDS;
use edgeward_core::ledger::Entry;
use edgeward_core::{Digest, PredictionId, Timestamp};
use edgeward_store::RawEntry;
use maud::{Markup, html};
use serde::Deserialize;

use super::figures::{ago, grouped, instant};
use super::layout::{Place, Sheet, badge, card, crumbs, scroll, shown};
use super::session::Viewer;
use super::words::{Tone, happening};
use crate::app::{App, blocking};
use crate::audit::{Identity, Inclusion, Verified, own_witness, prove, verify};
use crate::failure::{Failure, chain};

/// Entries of one page.
const PAGE: usize = 50;
/// Newest predictions that are listed.
const PREDICTIONS_MAX: usize = 12;
/// One audit at a time: it reads the whole ledger.
static AUDIT: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Only entries of this kind; an empty one is none.
    kind: Option<String>,
    /// Only entries before this one.
    before: Option<u64>,
    /// Whether to check the whole ledger now.
    #[serde(default)]
    verify: bool,
}

/// What one page of the audit trail shows.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) now: Timestamp,
    pub(super) origin: String,
    /// Entries of the ledger.
    pub(super) len: u64,
    /// Entries that the latest signed checkpoint covers.
    pub(super) covered: u64,
    pub(super) kind: Option<String>,
    /// The newest first.
    pub(super) entries: Vec<Entry>,
    /// The newest first; some that were recorded lately.
    pub(super) predictions: Vec<PredictionId>,
    /// What an audit found, if one was asked for.
    pub(super) audit: Option<Result<Verified, String>>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let kind = asked.kind.filter(|kind| !kind.is_empty());
    let audit = match asked.verify {
        true => Some(audit(&app).await?),
        false => None,
    };
    let (now, origin) = (app.now(), app.ledger.keys.origin());
    let trail = app.read(move |view| {
        let raw = view.entries_before(asked.before, kind.as_deref(), PAGE)?;
        let entries = raw.iter().filter_map(|raw: &RawEntry| raw.parse().ok()).collect();
        Ok::<_, Failure>(Trail {
            now,
            origin,
            len: view.head()?.len,
            covered: view.latest_checkpoint()?.map_or(0, |latest| latest.size),
            kind,
            entries,
            predictions: view.newest_recorded(PREDICTIONS_MAX)?,
            audit,
        })
    });
    Ok(shown(&render(&viewer, &trail.await?)).into_response())
}

/// Checks the whole ledger as `edgeward audit verify` does.
async fn audit(app: &Arc<App>) -> Result<Result<Verified, String>, Failure> {
    let Ok(_one) = AUDIT.try_lock() else {
        return Err(Failure::busy("the ledger is being checked for somebody else"));
    };
    let (keys, identity) = (app.home.path().join("keys"), Identity::of(app.ledger.keys.clone()));
    let store = Arc::clone(&app.store);
    blocking(move || {
        let found = own_witness(&keys).and_then(|own| store.read(|view| verify(view, &identity, vec![own])));
        Ok(found.map_err(|fault| chain(&fault)))
    })
    .await
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(seq): Path<u64>,
) -> Result<Response, Failure> {
    let found = app.read(move |view| Ok::<_, Failure>(prove(view, seq)?)).await?;
    let found = found.ok_or_else(|| {
        Failure::not_found(format!("the ledger has no entry {seq}"))
            .hint("See /audit for how many there are.")
    })?;
    Ok(shown(&entry(&viewer, &found)).into_response())
}

pub(super) fn render(viewer: &Viewer, trail: &Trail) -> Markup {
    let body = html! {
        h1 { "Audit" }
        (card("state", "The ledger", false, &state(trail)))
        (card("entries", "Decisions", false, &html! { (filter(trail)) (entries(trail)) }))
        (card("predictions", "Why did it say that?", false, &predictions(trail)))
    };
    Sheet::still("Audit", Place::Audit).page(viewer, &body)
}

fn predictions(trail: &Trail) -> Markup {
    html! {
        form.line method="get" action="/predictions" {
            label for="id" { "Prediction" }
            input id="id" name="id" required placeholder="prediction_id of the answer" size="38";
            button type="submit" { "Explain" }
        }
        @if !trail.predictions.is_empty() {
            p.quiet { "Recorded lately; looking at one is an event:" }
            ul.plain { @for id in &trail.predictions { li { a href=(format!("/predictions/{id}")) { code { (id) } } } } }
        }
    }
}

fn state(trail: &Trail) -> Markup {
    html! {
        p { code { (trail.origin) } }
        p {
            (grouped(trail.len)) " entries, " (grouped(trail.covered)) " of them under a signed checkpoint. "
            a.button href="/audit?verify=true" { "Check all of it now" }
        }
        @match &trail.audit {
            None => {},
            Some(Ok(verified)) => p role="status" {
                (badge(Tone::Good, "Verified")) ": " (grouped(verified.entries)) " entries follow from one another, each with its seal; "
                (verified.checkpoints) " checkpoints and " (verified.witnesses) " that witnesses saw agree; "
                (grouped(verified.records)) " records of predictions are those whose roots they have."
            },
            Some(Err(fault)) => p.bad role="alert" { (badge(Tone::Bad, "Not verified")) ": " (fault) },
        }
    }
}

fn filter(trail: &Trail) -> Markup {
    html! {
        form.line method="get" action="/audit" {
            label for="kind" { "Kind" }
            select id="kind" name="kind" {
                option value="" { "all" }
                @for kind in KINDS {
                    option value=(kind) selected[trail.kind.as_deref() == Some(kind)] { (kind.replace('_', " ")) }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

fn entries(trail: &Trail) -> Markup {
    if trail.entries.is_empty() {
        return html! { p.empty { "No such entry." } };
    }
    let oldest = trail.entries.last().map(|entry| entry.seq).filter(|seq| *seq > 0);
    let kind = trail.kind.as_ref().map_or_else(String::new, |kind| format!("&kind={kind}"));
    let rows = html! {
        table {
            thead { tr {
                th scope="col" { "Entry" } th scope="col" { "What" } th scope="col" { "Why" } th.n scope="col" { "When" }
            } }
            tbody { @for entry in &trail.entries {
                @let told = happening(&entry.event);
                tr {
                    th scope="row" { a href=(format!("/audit/{}", entry.seq)) { (entry.seq) } }
                    td { span class=(format!("dot {}", told.tone.class())) aria-hidden="true" {} (told.title) }
                    td.wrap.quiet { (told.detail) }
                    td.n { time datetime=(instant(entry.at_ms)) title=(instant(entry.at_ms)) { (ago(entry.at_ms, trail.now)) } }
                }
            } }
        }
    };
    html! {
        (scroll("Decisions, newest first", &rows))
        @if trail.entries.len() >= PAGE {
            @if let Some(oldest) = oldest {
                p { a href=(format!("/audit?before={oldest}{kind}")) rel="next" { "Earlier" } }
            }
        }
    }
}

pub(super) fn entry(viewer: &Viewer, found: &Inclusion) -> Markup {
    let title = format!("Entry {}", found.index);
    let said: Option<Entry> = serde_json::from_str(found.entry.get()).ok();
    let body = html! {
        (crumbs(&[("/audit", "Audit")], &title))
        h1 { (title) }
        @if let Some(entry) = &said {
            @let told = happening(&entry.event);
            (card("what", "What", false, &html! {
                p { b { (told.title) } ", " time datetime=(instant(entry.at_ms)) { (instant(entry.at_ms)) } }
                p.quiet { (told.detail) }
            }))
        }
        (card("hashed", "As it is hashed", false, &html! { pre { (found.entry.get()) } }))
        (card("proof", "Proof", false, &proof(found)))
    };
    Sheet::still(&title, Place::Audit).page(viewer, &body)
}

fn proof(found: &Inclusion) -> Markup {
    let Some(note) = &found.checkpoint else {
        return html! { p.quiet { "No signed checkpoint covers it yet; the next one will within seconds." } };
    };
    html! {
        p { "It is in the tree of this signed checkpoint:" }
        pre { (note) }
        @if found.proof.is_empty() {
            p { "It is the only entry that the checkpoint covers." }
        } @else {
            p { "By these hashes (RFC 9162, section 2.1.3):" }
            ol { @for hash in &found.proof { li { code { (Digest::hex(hash)) } } } }
        }
    }
}
