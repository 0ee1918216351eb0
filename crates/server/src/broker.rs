//! Telling an MQTT broker that what the fleet should run has changed.
//!
//! The generation is published, retained, whenever it changes and whenever the broker is reached anew, so that devices
//! that subscribe later hear of it too. A broker that is away costs devices no more than their polls' interval.

use std::sync::Arc;
use std::time::Duration;

use edgeward_api::broker::{Broker, BrokerError};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Packet, QoS};
use tokio::sync::watch;

use crate::app::{App, closed};
use crate::failure::chain;

/// Publications that may wait for the broker; when it comes back it is told the latest in any case.
const WAITING_MAX: usize = 16;
/// Wait before a broker that is away is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Publishes generations until the control plane ends.
pub(crate) fn announce(app: &Arc<App>, broker: &Broker) -> Result<(), BrokerError> {
    let (client, events) = AsyncClient::new(broker.options("server")?, WAITING_MAX);
    let announcer =
        Announcer { client, topic: broker.topic().to_owned(), generations: app.generation.subscribe() };
    let mut closing = app.closing.subscribe();
    let name = broker.to_string();
    tracing::info!(broker = name, "nudges go to the broker too");
    tokio::spawn(async move {
        tokio::select! {
            () = closed(&mut closing) => {}
            () = announcer.clone().keep_connected(events, &name) => {}
            () = announcer.tell_changes() => {}
        }
    });
    Ok(())
}

#[derive(Clone)]
struct Announcer {
    client: AsyncClient,
    topic: String,
    generations: watch::Receiver<u64>,
}

impl Announcer {
    /// Tells each change as it comes.
    async fn tell_changes(mut self) {
        while self.generations.changed().await.is_ok() {
            let generation = *self.generations.borrow_and_update();
            self.tell(generation);
        }
    }

    /// Does the connection's work, and tells the latest generation whenever there is a new one.
    async fn keep_connected(self, mut events: EventLoop, broker: &str) {
        let mut trouble = None;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if trouble.take().is_some() {
                        tracing::info!(broker, "the broker answers");
                    }
                    self.tell(*self.generations.borrow());
                }
                Ok(_) => {}
                Err(error) => {
                    say(&mut trouble, broker, &error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// A full queue means that the broker is away; it is told when it comes back.
    fn tell(&self, generation: u64) {
        if generation > 0 {
            let told = self.client.try_publish(&self.topic, QoS::AtLeastOnce, true, generation.to_string());
            if let Err(error) = told {
                tracing::debug!("generation {generation} is not told: {error}");
            }
        }
    }
}

/// Once for each kind of trouble.
fn say(trouble: &mut Option<String>, broker: &str, error: &ConnectionError) {
    let said = chain(error);
    if trouble.as_ref() != Some(&said) {
        tracing::warn!(broker, "no nudges by way of the broker: {said}; devices hear of news at their polls");
        *trouble = Some(said);
    }
}
