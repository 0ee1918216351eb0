//! The ledger: its entries page by page, as they are written, and its signed checkpoint.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use edgeward_api::device::CheckpointSince;
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{Checkpoint, Events};
use edgeward_api::{Problem, routes};
use edgeward_core::ledger::Entry;
use edgeward_store::{Fault, RawEntry, View};
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::watch;

use crate::app::{App, closed};
use crate::extract::Asked;
use crate::failure::Failure;
use crate::reconcile::checkpoints;

/// Most entries sent to a watcher between two looks at the ledger.
const STREAM_PAGE_MAX: usize = 100;
/// An idle stream sends a comment this often, so that both sides notice a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which page of the ledger.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// The first sequence number wanted.
    #[serde(default)]
    from: u64,
    /// Most entries to return.
    #[serde(default = "page")]
    limit: usize,
}

const fn page() -> usize {
    PAGE_MAX
}

/// The ledger's entries from a sequence number on.
#[utoipa::path(get, path = routes::EVENTS, params(EventsQuery), responses((status = 200, body = Events)))]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<EventsQuery>,
) -> Result<Json<Events>, Failure> {
    let limit = asked.limit.clamp(1, PAGE_MAX);
    let entries = app.read(move |view| entries(view, asked.from, limit)).await?;
    Ok(Json(Events { entries }))
}

fn entries(view: &View<'_>, from: u64, limit: usize) -> Result<Vec<Entry>, Failure> {
    let raw = view.entries(from, limit)?;
    raw.iter().map(RawEntry::parse).collect::<Result<_, Fault>>().map_err(|fault| damaged(&fault))
}

fn damaged(fault: &Fault) -> Failure {
    Failure::internal("reading the ledger", fault)
}

/// The newest entries, the newest first.
pub(crate) fn newest(view: &View<'_>, limit: usize) -> Result<Vec<Entry>, Failure> {
    let from = view.head()?.len.saturating_sub(limit as u64);
    let mut entries = entries(view, from, limit)?;
    entries.reverse();
    Ok(entries)
}

/// Entries as they are written. With `Last-Event-ID`, everything after that entry comes first; otherwise only what is
/// new.
#[utoipa::path(get, path = routes::EVENTS_STREAM,
    params(("Last-Event-ID" = Option<u64>, Header, description = "The last sequence number seen")),
    responses((status = 200, content_type = "text/event-stream", description = "Events named `entry`")))]
pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let (lengths, closing) = (app.ledger_len.subscribe(), app.closing.subscribe());
    let seen =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|id| id.parse().ok());
    let next = match seen {
        Some(seen) => u64::saturating_add(seen, 1),
        None => app.read(|view| view.head().map_err(Failure::from)).await?.len,
    };
    let watcher = Watcher { app, next, ready: Vec::new().into_iter(), lengths, closing };
    let events = futures_util::stream::unfold(watcher, |mut watcher| async move {
        watcher.next().await.map(|event| (Ok(event), watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Follows the ledger, which is the truth: a signal only says that there is something to read.
struct Watcher {
    app: Arc<App>,
    next: u64,
    ready: std::vec::IntoIter<RawEntry>,
    lengths: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
}

impl Watcher {
    /// None when the server ends or the ledger cannot be read; the client then comes back and resumes.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(entry) = self.ready.next() {
                self.next = entry.seq + 1;
                let text = String::from_utf8(entry.bytes).ok()?;
                return Some(Event::default().event("entry").id(entry.seq.to_string()).data(text));
            }
            self.lengths.mark_unchanged();
            let from = self.next;
            let page = self.app.read(move |view| view.entries(from, STREAM_PAGE_MAX).map_err(Failure::from));
            let page = page.await.ok()?;
            if !page.is_empty() {
                self.ready = page.into_iter();
                continue;
            }
            tokio::select! {
                changed = self.lengths.changed() => changed.ok()?,
                () = closed(&mut self.closing) => return None,
            }
        }
    }
}

/// Which checkpoint was seen.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SinceQuery {
    /// Entries that the checkpoint covers which the caller saw last; 0 if none.
    since: u64,
}

/// The latest signed checkpoint, and proof that it continues the one that the caller saw.
#[utoipa::path(get, path = routes::CHECKPOINT_SINCE, params(SinceQuery),
    responses((status = 200, body = CheckpointSince), (status = 503, body = Problem)))]
pub(crate) async fn checkpoint_since(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<SinceQuery>,
) -> Result<Json<CheckpointSince>, Failure> {
    let found = checkpoints::since(&app, asked.since).await;
    let (latest, consistency) =
        found.map_err(|error| Failure::unavailable("proving that the ledger only grew", &error))?;
    Ok(Json(CheckpointSince { note: latest.note, consistency }))
}

/// A signed checkpoint that covers every entry written so far.
#[utoipa::path(get, path = routes::CHECKPOINT, responses((status = 200, body = Checkpoint), (status = 503, body = Problem)))]
pub(crate) async fn checkpoint(State(app): State<Arc<App>>) -> Result<Json<Checkpoint>, Failure> {
    let made = checkpoints::sign_now(&app).await;
    let made = made.map_err(|error| Failure::unavailable("signing a checkpoint", &error))?;
    Ok(Json(Checkpoint { size: made.size, note: made.note }))
}
