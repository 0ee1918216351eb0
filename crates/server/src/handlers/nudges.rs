//! Telling devices that the desired state has changed, so that they need not wait for their next poll.
//!
//! A nudge says only "look now" and carries no authority. A stream ends by itself after a while: a connection that died
//! without a word is so found out, and a device that is far behind is told again when it comes back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use edgeward_api::limits::STREAM_TIMEOUT_S;
use edgeward_api::routes;
use edgeward_core::DeviceId;
use futures_util::Stream;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::access::Caller;
use crate::app::{App, closed};

/// An idle stream sends a comment this often, so that what lies between keeps it open.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// How long one stream lasts: well below what a client waits.
const LIFE: Duration = Duration::from_secs(STREAM_TIMEOUT_S * 4 / 5);

/// "Look now", once for each change of what the fleet should run.
#[utoipa::path(get, path = routes::NUDGES,
    responses((status = 200, content_type = "text/event-stream", description = "Events named `desired`; the data is its generation")))]
pub(crate) async fn nudges(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let listener = Listener {
        generations: app.generation.subscribe(),
        shut_out: app.shut_out.subscribe(),
        caller,
        closing: app.closing.subscribe(),
        until: Instant::now() + LIFE,
    };
    let events = futures_util::stream::unfold(listener, |mut listener| async move {
        let generation = listener.next().await?;
        let event = Event::default().event("desired").data(generation.to_string());
        Some((Ok(event), listener))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Listener {
    generations: watch::Receiver<u64>,
    shut_out: broadcast::Receiver<DeviceId>,
    caller: Caller,
    closing: watch::Receiver<bool>,
    until: Instant,
}

impl Listener {
    /// The next generation; none when the stream or the server ends.
    async fn next(&mut self) -> Option<u64> {
        tokio::select! {
            changed = self.generations.changed() => changed.ok()?,
            () = closed(&mut self.closing) => return None,
            () = is_shut_out(&mut self.shut_out, &self.caller) => return None,
            () = tokio::time::sleep_until(self.until) => return None,
        }
        Some(*self.generations.borrow_and_update())
    }
}

/// Waits until the caller is shut out, or until so many were that this cannot be told.
async fn is_shut_out(shut_out: &mut broadcast::Receiver<DeviceId>, caller: &Caller) {
    while let Ok(device) = shut_out.recv().await {
        if *caller == Caller::Device(device) {
            return;
        }
    }
}
