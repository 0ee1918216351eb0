//! Who leads among the servers of one database, and what they tell each other.
//!
//! The leader holds an advisory lock on a connection of its own: when its process or its machine dies, the connection ends
//! and with it the lock, and the next server that asks has it. The same connection hears what transactions announce.

use std::time::Duration;

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;

use super::Address;
use super::pool::{LEAD_LOCK, channel, close, connect};
use crate::engine::SqlError;
use crate::error::StoreError;

/// A server's place among those of its database.
pub struct Seat {
    address: Address,
    scope: i32,
    client: Option<Client>,
    leads: bool,
}

/// What a server heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whether it leads now.
    pub leads: bool,
    /// What was announced, in order; this server's own news are among them.
    pub news: Vec<String>,
    /// The connection is new, so that news may have been missed.
    pub is_new: bool,
}

impl Seat {
    pub(super) const fn new(address: Address, scope: i32) -> Self {
        Self { address, scope, client: None, leads: false }
    }

    /// Takes the lead if nobody has it, and waits for news, at most for `patience`.
    ///
    /// # Errors
    /// The database is away: this server does not lead then, and asks again at the next call.
    pub fn wait(&mut self, patience: Duration) -> Result<Heard, StoreError> {
        let heard = self.heard(patience);
        heard.map_err(|error| {
            self.leave();
            StoreError::sql(&self.address.to_string(), "hearing of the other servers", error)
        })
    }

    fn heard(&mut self, patience: Duration) -> Result<Heard, SqlError> {
        let is_new = self.client.is_none();
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let mut client = connect(&self.address)?;
                client.batch_execute(&format!("LISTEN {}", channel(self.scope)))?;
                client
            }
        };
        let client = self.client.insert(client);
        let ask = match self.leads {
            // The lock is this connection's until it ends; whether it has is all there is to ask.
            true => "SELECT true".to_owned(),
            false => format!("SELECT pg_try_advisory_lock({LEAD_LOCK}, {})", self.scope),
        };
        self.leads = client.query_one(ask.as_str(), &[])?.try_get(0)?;
        let patience = if is_new { Duration::ZERO } else { patience };
        let mut news = Vec::new();
        let mut notifications = client.notifications();
        let first = notifications.timeout_iter(patience).next()?;
        if let Some(first) = first {
            news.push(first.payload().to_owned());
            let mut others = notifications.iter();
            while let Some(next) = others.next()? {
                news.push(next.payload().to_owned());
            }
        }
        Ok(Heard { leads: self.leads, news, is_new })
    }

    /// Gives the lead to whoever asks next.
    pub fn leave(&mut self) {
        self.leads = false;
        if let Some(client) = self.client.take() {
            close(client);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}
