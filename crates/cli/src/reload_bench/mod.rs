//! `edgeward reload-bench`: what each way of reloading a model costs the app that serves it.
//!
//! A real control plane, a real agent and a real app, each a process of its own; a load generator asks the app at a
//! constant rate all the while. For each way of arriving (poll, push) and of activating (restart, reboot hook, watch),
//! new versions are published one after the other, and what the app's clients notice is measured.
//!
//! The reboot hook ends every process of the device at once and starts the agent again, as a boot would; the time that
//! firmware and kernel take comes on top of it.
//!
//! [`swaps`] measures swaps one right after the other and what they leave in memory; [`kills`] ends the agent without
//! warning amid updates and checks every answer.

mod device;
mod kills;
mod load;
mod model;
mod plane;
mod swaps;

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::device::{Device, Way};
use self::load::{Load, Seen};
use self::plane::Plane;
use crate::args::ReloadBenchArgs;
use crate::output::{Explain, Failure, Outcome, Output, note};
use crate::supervisor::Supervisor;

/// Quiet time before each publication, in which the latency before it is measured.
const QUIET: Duration = Duration::from_secs(2);
/// How long after the new version first serves still counts as during.
const AFTER: Duration = Duration::from_secs(1);
/// How long a version may take to serve beyond one poll interval.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may take to be there.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How unimportant what runs elsewhere is here, on the scale of `nice`.
const NICENESS_ELSEWHERE: i32 = 19;

/// How a version arrives at the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Arrival {
    /// The agent asks every so often.
    Poll,
    /// The agent is told.
    Push,
}

/// What one way costs.
#[derive(Serialize)]
struct Row {
    arrival: Arrival,
    activation: &'static str,
    /// Median time from asking for the rollout to the first answer of the new version.
    publish_to_serving_ms: f64,
    /// Longest time between two answers while a version took over.
    max_gap_ms: f64,
    requests: u64,
    failed_requests: u64,
    p99_before_ms: f64,
    p99_during_ms: f64,
}

pub(crate) fn run(args: &ReloadBenchArgs, out: Output) -> Outcome {
    let (dir, _temporary) = folder(args.data.as_deref())?;
    let mut supervisor = supervisor_elsewhere().explain("system", "starting the supervisor")?;
    let plane = Plane::start(&dir, &supervisor, args)?;
    let ways = ways(args.only.as_deref());
    let outcome = match (args.swaps, args.kills) {
        (Some(swaps), _) => swaps::run(args, swaps, &dir, &plane, &ways, out),
        (None, Some(kills)) => kills::run(args, kills, &dir, &plane, out),
        (None, None) => ways
            .into_iter()
            .try_for_each(|(arrival, way)| out.document(&measure(args, &dir, &plane, arrival, way)?, words)),
    };
    supervisor.end();
    outcome
}

/// A supervisor whose processes step back on these cores: the control plane, which stands for one on another machine.
fn supervisor_elsewhere() -> io::Result<Supervisor> {
    let start = || {
        edgeward_agent::step_back(NICENESS_ELSEWHERE);
        Supervisor::new(|text| note(&text))
    };
    // What a thread starts inherits its priority.
    thread::scope(|scope| scope.spawn(start).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

fn ways(only: Option<&str>) -> Vec<(Arrival, Way)> {
    let all = [Arrival::Poll, Arrival::Push]
        .into_iter()
        .flat_map(|arrival| [Way::Restart, Way::RebootHook, Way::Watch].map(|way| (arrival, way)));
    let name = |(arrival, way): &(Arrival, Way)| format!("{arrival:?} {}", way.as_str()).to_lowercase();
    all.filter(|pair| only.is_none_or(|word| name(pair).contains(&word.to_lowercase()))).collect()
}

fn folder(given: Option<&std::path::Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let Some(dir) = given else {
        let dir = tempfile::tempdir().explain("folder", "making a temporary folder")?;
        return Ok((dir.path().to_owned(), Some(dir)));
    };
    std::fs::create_dir_all(dir).explain("folder", format_args!("making {}", dir.display()))?;
    let dir = std::path::absolute(dir).explain("folder", "finding the folder")?;
    let mut entries = std::fs::read_dir(&dir).explain("folder", "reading the folder")?;
    match entries.next() {
        None => Ok((dir, None)),
        Some(_) => Err(Failure::usage(format!("{} is not empty; name a new folder", dir.display()))),
    }
}

fn measure(
    args: &ReloadBenchArgs,
    dir: &std::path::Path,
    plane: &Plane,
    arrival: Arrival,
    way: Way,
) -> Result<Row, Failure> {
    let name = format!("{arrival:?}-{}", way.as_str()).to_lowercase();
    note(&format!("{name}: {} x", args.repeats));
    let poll = Duration::from_millis(args.poll_ms);
    let device = Device::start(&dir.join(&name), plane, way, poll, arrival == Arrival::Push)?;
    let mut version = plane.publish_next()?;
    let load = Load::start(device.app_address(), args.rate).explain("system", "starting a thread")?;
    wait_for(&load, &version, START_PATIENCE + poll, &device)?;
    let mut samples = Vec::new();
    for round in 0..args.repeats {
        plane.settle(&version, START_PATIENCE + poll)?;
        thread::sleep(QUIET + phase(round, args.repeats, poll));
        let published = Instant::now();
        version = plane.publish_next()?;
        let served = wait_for(&load, &version, PATIENCE + poll, &device)?;
        thread::sleep(AFTER);
        samples.push((published, served));
    }
    let seen = load.end();
    plane.settle(&version, START_PATIENCE + poll)?;
    device.end();
    Ok(row(arrival, way, &seen, &samples))
}

/// Publications are spread evenly over the poll interval, so that their mean is that of a publication at any time.
fn phase(round: u32, repeats: u32, poll: Duration) -> Duration {
    poll.mul_f64(f64::from(round) / f64::from(repeats))
}

fn wait_for(load: &Load, version: &str, patience: Duration, device: &Device) -> Result<Instant, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(at) = load.first_answer_of(version) {
            return Ok(at);
        }
        device.look()?;
        if Instant::now() >= deadline {
            return Err(Failure::new(
                "reload",
                format!(
                    "version {version} did not serve within {} s: {}",
                    patience.as_secs(),
                    load.last_failure()
                ),
            )
            .hint(format!("see {}", device.log().display())));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn row(arrival: Arrival, way: Way, seen: &[Seen], samples: &[(Instant, Instant)]) -> Row {
    let mut to_serving: Vec<f64> =
        samples.iter().map(|(published, served)| ms(served.duration_since(*published))).collect();
    to_serving.sort_by(f64::total_cmp);
    let is_before = |seen: &&Seen| samples.iter().any(|(at, _)| seen.due < *at && seen.due + QUIET >= *at);
    let is_during =
        |seen: &&Seen| samples.iter().any(|(from, to)| seen.due >= *from && seen.due <= *to + AFTER);
    let gaps = samples.iter().map(|(from, to)| longest_gap(seen, *from, *to + AFTER));
    Row {
        arrival,
        activation: way.as_str(),
        publish_to_serving_ms: to_serving[to_serving.len() / 2],
        max_gap_ms: gaps.map(ms).fold(0.0, f64::max),
        requests: seen.len() as u64,
        failed_requests: seen.iter().filter(|seen| seen.version.is_none()).count() as u64,
        p99_before_ms: p99(seen.iter().filter(is_before)),
        p99_during_ms: p99(seen.iter().filter(is_during)),
    }
}

/// Longest time between two answers of which at least one lies between `from` and `to`.
fn longest_gap(seen: &[Seen], from: Instant, to: Instant) -> Duration {
    let answers: Vec<Instant> =
        seen.iter().filter(|seen| seen.version.is_some()).map(|seen| seen.done).collect();
    let pairs = answers.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
    pairs.map(|pair| pair[1].duration_since(pair[0])).max().unwrap_or_default()
}

/// 99th percentile (nearest rank) of the time from when a request was due to its answer.
fn p99<'a>(seen: impl Iterator<Item = &'a Seen>) -> f64 {
    let answered = seen.filter(|seen| seen.version.is_some());
    let mut times: Vec<f64> = answered.map(|seen| ms(seen.done.duration_since(seen.due))).collect();
    times.sort_by(f64::total_cmp);
    let rank = (times.len() * 99).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn ms(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

fn words(row: &Row) -> String {
    let arrival = format!("{:?}", row.arrival).to_lowercase();
    format!(
        "{arrival:<5} {:<12} serving after {:>9.1} ms   gap {:>8.1} ms   failed {:>5} of {:>6}   p99 {:>6.2} -> {:>6.2} ms",
        row.activation,
        row.publish_to_serving_ms,
        row.max_gap_ms,
        row.failed_requests,
        row.requests,
        row.p99_before_ms,
        row.p99_during_ms,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_failures_and_percentiles_are_what_clients_notice() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let answer = |due: u64, took: u64, version: Option<&str>| Seen {
            due: at(due),
            done: at(due + took),
            version: version.map(Into::into),
        };
        let mut seen: Vec<Seen> = (0..100).map(|n| answer(n * 10, 1, Some("1"))).collect();
        seen.extend((100..150).map(|n| answer(n * 10, 0, None)));
        seen.extend((150..300).map(|n| answer(n * 10, 2, Some("2"))));
        let row = row(Arrival::Poll, Way::Watch, &seen, &[(at(995), at(1502))]);
        assert_eq!((row.requests, row.failed_requests), (300, 50));
        assert_eq!(row.max_gap_ms, 511.0);
        assert_eq!((row.p99_before_ms, row.p99_during_ms), (1.0, 2.0));
        assert_eq!(row.publish_to_serving_ms, 507.0);
    }

    #[test]
    fn ways_are_picked_by_a_word() {
        assert_eq!(ways(None).len(), 6);
        assert_eq!(ways(Some("push")).len(), 3);
        assert_eq!(ways(Some("push watch")), [(Arrival::Push, Way::Watch)]);
    }
}
