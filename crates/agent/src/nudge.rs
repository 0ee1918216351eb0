//! Being told that there is news.
//!
//! One thread holds a stream of the control plane open, or a subscription at an MQTT broker, on which it is told "look
//! now". A nudge has no authority: what it leads to is the same signed poll as ever, only sooner. What breaks is opened
//! again, ever more slowly; meanwhile polls go on at their own pace, so a lost nudge costs no more than one interval.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edgeward_api::Client;
use edgeward_api::broker::Broker;
use edgeward_sdk::chain;
use rumqttc::{Event, Packet, QoS, SubscribeReasonCode};

/// Wait before a stream that broke is opened again; doubled each time.
const REOPEN: Duration = Duration::from_millis(500);
/// Longest such wait.
const REOPEN_MAX: Duration = Duration::from_secs(60);
/// A stream that lived this long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// Most bytes of one line; a longer one is no nudge.
const LINE_BYTES_MAX: u64 = 4096;

/// Requests to the broker that may wait: the one subscription.
const REQUESTS_MAX: usize = 4;

/// Where a device hears of news between two polls.
#[derive(Clone, Debug, Default)]
pub enum Nudges {
    /// Nowhere: news waits for the next poll.
    Off,
    /// On a stream that the control plane holds open.
    #[default]
    Stream,
    /// From an MQTT broker.
    Broker(Box<Broker>),
}

/// Why nothing is heard any more.
type Silence = Box<dyn std::error::Error + Send + Sync>;

/// Listens until `stop` is set; `nudge` is called for each word that there is news, and once whenever listening begins,
/// because what was said before it was not heard.
pub fn listen(nudges: Nudges, client: Client, stop: Arc<AtomicBool>, nudge: impl FnMut() + Send + 'static) {
    let mut nudge = nudge;
    thread::spawn(move || {
        let mut failures = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let heard = match &nudges {
                Nudges::Off => return,
                Nudges::Stream => {
                    client.nudges().map(|stream| follow(stream, &stop, &mut nudge)).map_err(Silence::from)
                }
                Nudges::Broker(broker) => subscribe(broker, &stop, &mut nudge),
            };
            if let Err(error) = heard {
                tracing::debug!("no nudges: {}", chain(&*error));
            }
            failures = if began.elapsed() > GOOD { 0 } else { failures.saturating_add(1) };
            sleep(reopen_wait(failures), &stop);
        }
    });
}

/// Reads events until the stream ends.
fn follow(stream: impl Read, stop: &AtomicBool, nudge: &mut impl FnMut()) {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    nudge();
    while !stop.load(Ordering::Relaxed) {
        line.clear();
        let read = Read::take(&mut lines, LINE_BYTES_MAX).read_line(&mut line);
        match read {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        if line.starts_with("data:") {
            nudge();
        }
    }
}

/// Takes what is published to the topic until the broker is gone. A retained message makes the beginning a nudge too, but
/// there is none before the first rollout, so the beginning counts by itself.
fn subscribe(broker: &Broker, stop: &AtomicBool, nudge: &mut impl FnMut()) -> Result<(), Silence> {
    let (client, mut connection) = rumqttc::Client::new(broker.options("agent")?, REQUESTS_MAX);
    client.try_subscribe(broker.topic(), QoS::AtLeastOnce)?;
    while !stop.load(Ordering::Relaxed) {
        let Ok(event) = connection.recv() else { return Ok(()) };
        match event? {
            Event::Incoming(Packet::SubAck(answer)) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(format!("{broker} does not let this device subscribe").into());
                }
                nudge();
            }
            Event::Incoming(Packet::Publish(_)) => nudge(),
            _ => {}
        }
    }
    Ok(())
}

/// Doubling, and spread by up to a fifth either way so that a fleet does not return as one.
fn reopen_wait(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    crate::control::spread(REOPEN.saturating_mul(factor).min(REOPEN_MAX))
}

fn sleep(span: Duration, stop: &AtomicBool) {
    let until = Instant::now() + span;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50).min(span));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(stream: &str) -> u32 {
        let mut nudges = 0;
        follow(stream.as_bytes(), &AtomicBool::new(false), &mut || nudges += 1);
        nudges
    }

    #[test]
    fn each_event_is_a_nudge_and_so_is_the_beginning() {
        assert_eq!(count(""), 1);
        assert_eq!(count("event: desired\ndata: 7\n\n: still here\n\nevent: desired\ndata: 8\n\n"), 3);
        assert_eq!(count(&format!("{}\n", "x".repeat(100_000))), 1);
    }

    #[test]
    fn a_stream_that_keeps_breaking_is_opened_ever_more_rarely() {
        assert!(reopen_wait(1) < REOPEN * 2);
        assert!(reopen_wait(30) > REOPEN_MAX / 2 && reopen_wait(u32::MAX) <= REOPEN_MAX * 2);
    }
}
