//! Labels from a change to its alarm on the errors of real models, ours over ADWIN:
//! `error_streams file=STREAMS [arl=1e6] [runs=200] [seed=1]`; `error_streams.py` beside it makes the streams and runs this.
//!
//! A run draws labels from a model's errors before the change, then from those after it, with replacement. Runs in which a
//! detector had alarmed before the change count as its false alarms and are not timed.

use std::path::Path;

use edgeward_monitor::{DecayDetector, classic::Adwin};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Labels before a change, and most after it.
const QUIET: usize = 2_000;
const LONGEST: usize = 50_000;

struct Stream {
    name: String,
    held: u64,
    accuracy: f64,
    before: Vec<bool>,
    after: Vec<bool>,
}

impl Stream {
    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let wrong = |key: &str| -> Option<Vec<bool>> {
            value[key].as_array()?.iter().map(|bit| Some(bit.as_u64()? == 1)).collect()
        };
        let (held, held_wrong) = (value["held"].as_u64()?, value["held_wrong"].as_f64()?);
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            held,
            accuracy: 1.0 - held_wrong / held as f64,
            before: wrong("before")?,
            after: wrong("after")?,
        })
    }
}

/// What a detector did over all runs.
#[derive(Default)]
struct Found {
    false_alarms: usize,
    labels: usize,
    timed: usize,
}

impl Found {
    fn mean(&self) -> f64 {
        self.labels as f64 / self.timed.max(1) as f64
    }
}

fn rate(wrong: &[bool]) -> f64 {
    wrong.iter().filter(|wrong| **wrong).count() as f64 / wrong.len().max(1) as f64
}

fn draw(random: &mut ChaCha8Rng, wrong: &[bool]) -> bool {
    wrong[random.random_range(0..wrong.len())]
}

/// Plays one stream to a fresh detector in every run; `observe` takes whether a prediction was wrong.
fn play<D>(
    stream: &Stream,
    (runs, seed): (usize, u64),
    fresh: impl Fn() -> D,
    observe: impl Fn(&mut D, bool) -> bool,
) -> Found {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Found::default();
    for _ in 0..runs {
        let mut detector = fresh();
        let early = (0..QUIET).filter(|_| observe(&mut detector, draw(&mut random, &stream.before))).count();
        if early > 0 {
            found.false_alarms += 1;
            continue;
        }
        let after = (1..=LONGEST).find(|_| observe(&mut detector, draw(&mut random, &stream.after)));
        found.labels += after.unwrap_or(LONGEST);
        found.timed += 1;
    }
    found
}

fn report(stream: &Stream, arl: f64, (runs, seed): (usize, u64)) -> Option<f64> {
    let (before, after) = (rate(&stream.before), rate(&stream.after));
    let decay = || DecayDetector::new(stream.accuracy, stream.held, arl);
    if after <= decay().null_error() {
        println!(
            "{:<46} {before:.3} -> {after:.3}: within the baseline's confidence, no decay to find",
            stream.name
        );
        return None;
    }
    let ours = play(stream, (runs, seed), decay, |detector, wrong| detector.observe(!wrong).is_some());
    let adwin = play(stream, (runs, seed), Adwin::default, |detector, wrong| {
        detector.observe(f64::from(u8::from(wrong)))
    });
    let ratio = ours.mean() / adwin.mean();
    println!(
        "{:<46} {before:.3} -> {after:.3}: {:>7.1} labels, ADWIN {:>7.1}, ratio {ratio:.2}; false alarms {}, {}",
        stream.name,
        ours.mean(),
        adwin.mean(),
        ours.false_alarms,
        adwin.false_alarms
    );
    Some(ratio)
}

fn main() {
    let given =
        |key: &str| std::env::args().find_map(|a| Some(a.strip_prefix(key)?.strip_prefix('=')?.to_owned()));
    let number = |key: &str, default: f64| given(key).and_then(|value| value.parse().ok()).unwrap_or(default);
    let Some(path) = given("file") else {
        println!("no streams given: run python3 crates/monitor/benches/error_streams.py");
        return;
    };
    let text = std::fs::read_to_string(Path::new(&path)).expect("the file of streams is readable");
    let (arl, runs, seed) = (number("arl", 1e6), number("runs", 200.0) as usize, number("seed", 1.0) as u64);
    let streams = text.lines().map(|line| Stream::parse(line).expect("a line is a stream"));
    let ratios: Vec<f64> = streams.filter_map(|stream| report(&stream, arl, (runs, seed))).collect();
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    println!("{} streams with a decay, worst ratio {worst:.2}", ratios.len());
}
