//! Telling other systems what happened: every entry of the ledger as a CloudEvent, alerts in the shape of Alertmanager's.
//!
//! Each webhook has its own place in the ledger, which is kept in the database and moves on once the other side has taken
//! an entry, or a page of entries held nothing for it: whatever is away misses nothing, and may be told an entry twice after a
//! crash, under the same id. One that is new begins with what happens from then on. Only the server that leads tells. Bodies
//! are signed as the Standard Webhooks specification has it, if there is a secret.

mod alertmanager;
mod cloudevents;

use std::sync::Arc;
use std::time::Duration;

use edgeward_api::client::{Poster, Tls};
use edgeward_core::envelope::Base64;
use edgeward_core::ledger::Entry;
use edgeward_core::{Digest, Timestamp};
use edgeward_store::StoreError;
use ring::hmac;

use crate::app::{App, blocking, closed};
use crate::failure::{Failure, chain};
use crate::replicas::{deposed, leading};

/// Entries that are read at once.
const PAGE: usize = 100;
/// The first wait after a failure; each further one is twice as long.
const RETRY: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Somebody who wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// What, and in which shape.
    pub shape: Shape,
    /// The key of the signatures.
    pub secret: Option<Vec<u8>>,
}

/// What a webhook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Alerts, rollouts that ended badly and runs that failed, as Alertmanager (version 4) posts them.
    Alertmanager,
    /// Every entry of the ledger, as a structured CloudEvent 1.0.
    CloudEvents,
}

/// What is posted.
struct Letter {
    content_type: &'static str,
    body: Vec<u8>,
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// What is to be said of `entry`; nothing about most, for Alertmanager.
    fn letter(self, entry: &Entry, address: &str) -> Option<Letter> {
        match self {
            Self::Alertmanager => alertmanager::letter(entry, address),
            Self::CloudEvents => Some(cloudevents::letter(entry, address)),
        }
    }
}

/// Tells every webhook, each on a task of its own, until the server ends.
pub(crate) fn tell(app: &Arc<App>, webhooks: Vec<Webhook>) {
    for webhook in webhooks {
        let app = Arc::clone(app);
        tokio::spawn(async move {
            let mut closing = app.closing.subscribe();
            let teller = Teller::new(Arc::clone(&app), webhook);
            tokio::select! {
                () = closed(&mut closing) => {}
                () = teller.run() => {}
            }
        });
    }
}

struct Teller {
    app: Arc<App>,
    webhook: Webhook,
    poster: Arc<Poster>,
    /// Where its place is kept.
    place: String,
}

impl Teller {
    fn new(app: Arc<App>, webhook: Webhook) -> Self {
        let poster = Arc::new(Poster::new(&webhook.url, Vec::new(), Tls::default()));
        let who = Digest::of(format!("{} {}", webhook.shape.name(), webhook.url).as_bytes());
        Self { app, webhook, poster, place: format!("webhooks/{}", who.hex()) }
    }

    async fn run(&self) {
        let mut wait = RETRY;
        loop {
            if leading(&self.app).await.is_err() {
                return;
            }
            let told = tokio::select! {
                told = self.tell_what_is_new() => told,
                () = deposed(&self.app) => continue,
            };
            match told {
                Ok(()) => wait = RETRY,
                Err(error) => {
                    tracing::warn!(webhook = self.webhook.url, cause = %error, "will be told again in {wait:?}");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Tells what came after its place, then waits for more.
    async fn tell_what_is_new(&self) -> Result<(), String> {
        let mut length = self.app.ledger_len.subscribe();
        let mut at = self.place().await.map_err(|failure| failure.error().to_owned())?;
        loop {
            let page = self.page(at).await.map_err(|failure| failure.error().to_owned())?;
            let mut kept = at;
            for entry in &page {
                let is_told = self.post(entry).await?;
                at = entry.seq + 1;
                if is_told {
                    self.keep(at).await.map_err(|failure| failure.error().to_owned())?;
                    kept = at;
                }
            }
            if kept < at {
                self.keep(at).await.map_err(|failure| failure.error().to_owned())?;
            }
            if page.len() < PAGE {
                length.wait_for(|length| *length > at).await.map_err(|error| error.to_string())?;
            }
        }
    }

    async fn page(&self, from: u64) -> Result<Vec<Entry>, Failure> {
        let raw = self.app.read(move |view| Ok::<_, Failure>(view.entries(from, PAGE)?)).await?;
        let parse = |raw: &edgeward_store::RawEntry| {
            raw.parse().map_err(|fault| Failure::unavailable("reading the ledger", &fault))
        };
        raw.iter().map(parse).collect()
    }

    /// The place that is kept; of one that is new, the end of the ledger.
    async fn place(&self) -> Result<u64, Failure> {
        let path = self.place.clone();
        let kept = self.app.read(move |view| {
            let kept = view.kept_file(&path)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
            Ok::<(Option<u64>, u64), Failure>((kept, view.head()?.len))
        });
        match kept.await? {
            (Some(place), _) => Ok(place),
            (None, end) => self.keep(end).await.map(|()| end),
        }
    }

    async fn keep(&self, place: u64) -> Result<(), Failure> {
        let (store, path) = (Arc::clone(&self.app.store), self.place.clone());
        blocking(move || {
            let written: Result<(), StoreError> =
                store.write(|writer| writer.put_kept_file(&path, place.to_string().as_bytes()));
            written.map_err(Failure::from)
        })
        .await
    }

    /// Whether there was anything to say of `entry`; if so, it was said.
    async fn post(&self, entry: &Entry) -> Result<bool, String> {
        let Some(letter) = self.webhook.shape.letter(entry, &self.app.address) else { return Ok(false) };
        let headers = self
            .webhook
            .secret
            .as_ref()
            .map(|secret| signed(secret, entry.seq, self.app.now(), &letter.body));
        let poster = Arc::clone(&self.poster);
        let posted = tokio::task::spawn_blocking(move || {
            poster.post(letter.content_type, &headers.unwrap_or_default(), &letter.body)
        });
        posted.await.map_err(|error| error.to_string())?.map_err(|error| chain(&error))?;
        Ok(true)
    }
}

/// The headers of a signed body. Source: Standard Webhooks 1.0, symmetric signatures.
fn signed(secret: &[u8], seq: u64, now: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
    let (id, seconds) = (format!("entry-{seq}"), now.0.div_euclid(1000).to_string());
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    [id.as_bytes(), b".", seconds.as_bytes(), b".", body].iter().for_each(|part| context.update(part));
    let signature = format!("v1,{}", Base64(context.sign().as_ref().to_vec()));
    vec![("webhook-id", id), ("webhook-timestamp", seconds), ("webhook-signature", signature)]
}
