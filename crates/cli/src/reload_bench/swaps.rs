//! Swaps one right after the other, while the app is asked all the while: failures, latency, and what is left in memory.
//!
//! Three versions follow each other in a circle, so that each has to be fetched again: a device keeps two. They are made
//! before anything is measured. Before every tenth of the swaps there is a quiet time, in which the latency before is
//! measured; everything else counts as during.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::device::{Device, Way};
use super::load::{Load, Seen};
use super::plane::Plane;
use super::{Arrival, PATIENCE, QUIET, START_PATIENCE, longest_gap, ms, p99, wait_for};
use crate::args::ReloadBenchArgs;
use crate::output::{Explain, Failure, Outcome, Output, note};

/// Versions that follow each other.
const VERSIONS: u32 = 3;
/// Between two looks at what answers.
const LOOK: Duration = Duration::from_millis(2);

/// What a series of swaps costs.
#[derive(Serialize)]
struct Series {
    arrival: Arrival,
    activation: &'static str,
    swaps: u32,
    /// Median time from asking for the rollout to the first answer of the new version.
    publish_to_serving_ms: f64,
    max_gap_ms: f64,
    requests: u64,
    failed_requests: u64,
    p99_before_ms: f64,
    p99_during_ms: f64,
    /// Median memory of the app after each swap in the second tenth of the swaps, and in the last.
    rss_second_tenth_bytes: u64,
    rss_last_tenth_bytes: u64,
    rss_ratio: f64,
    /// The same of the agent.
    agent_rss_second_tenth_bytes: u64,
    agent_rss_last_tenth_bytes: u64,
    agent_rss_ratio: f64,
}

#[derive(Default)]
struct Measured {
    /// From asking for a version to its first answer.
    swaps: Vec<(Instant, Instant)>,
    quiet: Vec<(Instant, Instant)>,
    app_bytes: Vec<u64>,
    agent_bytes: Vec<u64>,
}

pub(super) fn run(
    args: &ReloadBenchArgs,
    swaps: u32,
    dir: &Path,
    plane: &Plane,
    ways: &[(Arrival, Way)],
    out: Output,
) -> Outcome {
    (0..VERSIONS).try_for_each(|number| plane.register(number))?;
    let watched = ways.iter().filter(|(_, way)| *way == Way::Watch);
    for (arrival, way) in watched {
        out.document(&series(args, swaps, dir, plane, (*arrival, *way))?, words)?;
    }
    Ok(())
}

fn series(
    args: &ReloadBenchArgs,
    swaps: u32,
    dir: &Path,
    plane: &Plane,
    (arrival, way): (Arrival, Way),
) -> Result<Series, Failure> {
    let name = format!("{arrival:?}-{}", way.as_str()).to_lowercase();
    note(&format!("{name}: {swaps} swaps"));
    let poll = Duration::from_millis(args.poll_ms);
    let device = Device::start(&dir.join(&name), plane, way, poll, arrival == Arrival::Push)?;
    let first = plane.publish(1)?;
    let load = Load::start(device.app_address(), args.rate).explain("system", "starting a thread")?;
    wait_for(&load, &first.bundle.hex(), START_PATIENCE + poll, &device)?;
    plane.settle_rollout(&first.id, START_PATIENCE + poll)?;
    let mut measured = Measured::default();
    for n in 0..swaps {
        if n % (swaps / 10) == 0 {
            let began = Instant::now();
            thread::sleep(QUIET);
            measured.quiet.push((began, Instant::now()));
        }
        let published = Instant::now();
        let rollout = plane.publish(u64::from((n + 1) % VERSIONS + 1))?;
        let served = wait_until(&load, &rollout.bundle.hex(), PATIENCE + poll, &device)?;
        measured.swaps.push((published, served));
        plane.settle_rollout(&rollout.id, START_PATIENCE + poll)?;
        let (app, agent) = device.resident_bytes();
        measured.app_bytes.extend(app);
        measured.agent_bytes.extend(agent);
    }
    let seen = load.end();
    device.end();
    Ok(row(arrival, way, &seen, &measured))
}

fn wait_until(load: &Load, version: &str, patience: Duration, device: &Device) -> Result<Instant, Failure> {
    let deadline = Instant::now() + patience;
    while load.serving().is_none_or(|serving| &*serving != version) {
        device.look()?;
        if Instant::now() >= deadline {
            let words = format!(
                "version {version} did not serve within {} s: {}",
                patience.as_secs(),
                load.last_failure()
            );
            let hint = format!("see {}", device.log().display());
            return Err(Failure::new("reload", words).hint(hint));
        }
        thread::sleep(LOOK);
    }
    Ok(Instant::now())
}

fn row(arrival: Arrival, way: Way, seen: &[Seen], measured: &Measured) -> Series {
    let mut to_serving: Vec<f64> =
        measured.swaps.iter().map(|(published, served)| ms(served.duration_since(*published))).collect();
    to_serving.sort_by(f64::total_cmp);
    let within = |seen: &Seen, spans: &[(Instant, Instant)]| {
        spans.iter().any(|(from, to)| seen.due >= *from && seen.done <= *to)
    };
    let began = measured.swaps.first().map(|(published, _)| *published);
    let is_during = |seen: &&Seen| began.is_some_and(|at| seen.done >= at) && !within(seen, &measured.quiet);
    let ended = measured.swaps.last().map(|(_, served)| *served);
    let gap = began.zip(ended).map(|(from, to)| longest_gap(seen, from, to)).unwrap_or_default();
    let (app, agent) = (tenths(&measured.app_bytes), tenths(&measured.agent_bytes));
    Series {
        arrival,
        activation: way.as_str(),
        swaps: u32::try_from(measured.swaps.len()).unwrap_or(u32::MAX),
        publish_to_serving_ms: to_serving.get(to_serving.len() / 2).copied().unwrap_or(f64::NAN),
        max_gap_ms: ms(gap),
        requests: seen.len() as u64,
        failed_requests: seen.iter().filter(|seen| seen.version.is_none()).count() as u64,
        p99_before_ms: p99(seen.iter().filter(|seen| within(seen, &measured.quiet))),
        p99_during_ms: p99(seen.iter().filter(is_during)),
        rss_second_tenth_bytes: app.0,
        rss_last_tenth_bytes: app.1,
        rss_ratio: ratio(app),
        agent_rss_second_tenth_bytes: agent.0,
        agent_rss_last_tenth_bytes: agent.1,
        agent_rss_ratio: ratio(agent),
    }
}

/// Median of the second tenth, and of the last.
fn tenths(bytes: &[u64]) -> (u64, u64) {
    let tenth = bytes.len() / 10;
    let median = |part: &[u64]| {
        let mut sorted = part.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    };
    (median(&bytes[tenth..tenth * 2]), median(&bytes[bytes.len() - tenth..]))
}

fn ratio((second, last): (u64, u64)) -> f64 {
    (last as f64 / second as f64 * 1e4).round() / 1e4
}

fn words(row: &Series) -> String {
    let arrival = format!("{:?}", row.arrival).to_lowercase();
    format!(
        "{arrival:<5} {:<6} {} swaps   serving after {:.1} ms   gap {:.1} ms   failed {} of {}   p99 {:.2} -> {:.2} ms   \
         memory x {:.3} ({:.1} MB)   agent x {:.3} ({:.1} MB)",
        row.activation,
        row.swaps,
        row.publish_to_serving_ms,
        row.max_gap_ms,
        row.failed_requests,
        row.requests,
        row.p99_before_ms,
        row.p99_during_ms,
        row.rss_ratio,
        row.rss_last_tenth_bytes as f64 / 1e6,
        row.agent_rss_ratio,
        row.agent_rss_last_tenth_bytes as f64 / 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_compared_between_the_second_tenth_and_the_last() {
        let bytes: Vec<u64> = (0..100).collect();
        assert_eq!(tenths(&bytes), (15, 95));
        assert_eq!(tenths(&[]), (0, 0));
        assert_eq!(ratio((200, 203)), 1.015);
    }

    #[test]
    fn what_is_not_quiet_counts_as_during() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let answer =
            |due: u64, took: u64| Seen { due: at(due), done: at(due + took), version: Some("1".into()) };
        let mut seen: Vec<Seen> = (0..100).map(|n| answer(n * 10, 1)).collect();
        seen.extend((100..200).map(|n| answer(n * 10, 3)));
        let measured = Measured {
            swaps: vec![(at(1000), at(1500))],
            quiet: vec![(at(0), at(1000))],
            app_bytes: vec![7; 10],
            agent_bytes: vec![9; 10],
        };
        let row = row(Arrival::Push, Way::Watch, &seen, &measured);
        assert_eq!((row.p99_before_ms, row.p99_during_ms, row.failed_requests), (1.0, 3.0, 0));
        assert_eq!((row.publish_to_serving_ms, row.rss_ratio, row.rss_last_tenth_bytes), (500.0, 1.0, 7));
    }
}
