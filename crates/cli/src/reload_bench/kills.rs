//! The agent is killed (signal 9) at random moments of its updates and started again, and every answer that its endpoint
//! gives is held against what that version must answer.
//!
//! Times are random, from a seed, between nothing and one and a half times what an undisturbed update takes. After its
//! kills each update must come to serve. A bundle whose trial was cut off three times is given up by design, so an update
//! is killed at most twice.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::Value;

use super::device::{Device, Way};
use super::load::{Sender, Unanswered};
use super::model::OUTPUT;
use super::plane::{Expected, Plane};
use super::{PATIENCE, START_PATIENCE, ms};
use crate::args::ReloadBenchArgs;
use crate::output::{Explain, Failure, Outcome, Output, note};

/// Most kills of one update.
const KILLS_PER_UPDATE_MAX: u32 = 2;
/// Shortest span over which the moments of kills are spread.
const SPREAD_MIN: Duration = Duration::from_millis(300);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(3);
/// How far an answer's numbers may be from what they must be.
const TOLERANCE: f64 = 1e-5;

/// What came of it.
#[derive(Serialize)]
struct Kills {
    kills: u32,
    seed: u64,
    /// Updates during which they fell; each came to serve.
    updates: u32,
    /// Answers, each of them checked.
    answers: u64,
    /// Answers of a version that was never published, or with other numbers than that version gives.
    wrong_answers: u64,
    /// Replies that were no answers, though somebody was there.
    refusals: u64,
    /// The last of either.
    #[serde(skip_serializing_if = "String::is_empty")]
    last_fault: String,
    /// Longest time from the last kill of an update to its first answer.
    longest_to_serving_ms: f64,
}

#[derive(Default)]
struct Heard {
    now: Option<String>,
    answers: u64,
    wrong: u64,
    refusals: u64,
    last_fault: String,
}

/// Asks without end.
struct Asker {
    heard: Arc<Mutex<Heard>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn run(args: &ReloadBenchArgs, kills: u32, dir: &Path, plane: &Plane, out: Output) -> Outcome {
    note(&format!("{kills} kills, seed {}", args.seed));
    let poll = Duration::from_millis(args.poll_ms);
    let device = Device::start(&dir.join("kills"), plane, Way::Serve, poll, true)?;
    let first = plane.publish_next()?;
    let asker =
        Asker::start(device.app_address(), plane.expected()).explain("system", "starting a thread")?;
    asker.wait_for(&first, &device)?;
    plane.settle(&first, START_PATIENCE)?;
    let report = series(args, kills, plane, &device, &asker)?;
    device.end();
    out.document(&report, words)?;
    match report.wrong_answers + report.refusals {
        0 => Ok(()),
        faults => Err(Failure::new("reload", format!("{faults} faults; the last: {}", report.last_fault))),
    }
}

fn series(
    args: &ReloadBenchArgs,
    kills: u32,
    plane: &Plane,
    device: &Device,
    asker: &Asker,
) -> Result<Kills, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let (mut killed, mut updates, mut longest) = (0, 0, Duration::ZERO);
    let mut spread = undisturbed(plane, device, asker)?.mul_f64(1.5).max(SPREAD_MIN);
    while killed < kills {
        let version = plane.publish_next()?;
        for _ in 0..rng.random_range(1..=KILLS_PER_UPDATE_MAX).min(kills - killed) {
            thread::sleep(spread.mul_f64(rng.random_range(0.0..1.0)));
            device.cut()?;
            killed += 1;
        }
        let cut = Instant::now();
        asker.wait_for(&version, device)?;
        longest = longest.max(cut.elapsed());
        plane.settle(&version, START_PATIENCE)?;
        updates += 1;
        if updates % 50 == 0 {
            note(&format!("{killed} kills"));
            spread = undisturbed(plane, device, asker)?.mul_f64(1.5).max(SPREAD_MIN);
        }
    }
    let heard = lock(&asker.heard);
    Ok(Kills {
        kills: killed,
        seed: args.seed,
        updates,
        answers: heard.answers,
        wrong_answers: heard.wrong,
        refusals: heard.refusals,
        last_fault: heard.last_fault.clone(),
        longest_to_serving_ms: ms(longest),
    })
}

/// How long an update takes that nothing disturbs.
fn undisturbed(plane: &Plane, device: &Device, asker: &Asker) -> Result<Duration, Failure> {
    let began = Instant::now();
    let version = plane.publish_next()?;
    asker.wait_for(&version, device)?;
    let took = began.elapsed();
    plane.settle(&version, START_PATIENCE)?;
    Ok(took)
}

impl Asker {
    fn start(address: &str, expected: Expected) -> std::io::Result<Self> {
        let (heard, stop): (Arc<Mutex<Heard>>, Arc<AtomicBool>) = Default::default();
        let sender = Sender::new(address);
        let (writes, ends) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = thread::Builder::new().name("asks".to_owned()).spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let answer = sender.answer();
                lock(&writes).push(answer, &expected);
                thread::sleep(PAUSE);
            }
        })?;
        Ok(Self { heard, stop, thread: Some(thread) })
    }

    fn wait_for(&self, version: &str, device: &Device) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while lock(&self.heard).now.as_deref() != Some(version) {
            device.look()?;
            if Instant::now() >= deadline {
                let words = format!("version {version} did not serve within {} s", PATIENCE.as_secs());
                return Err(Failure::new("reload", words).hint(format!("see {}", device.log().display())));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Heard {
    fn push(&mut self, answer: Result<Value, Unanswered>, expected: &Expected) {
        match answer {
            Err(Unanswered::Unreachable(_)) => {}
            // Before the first model nothing serves, which is no fault.
            Err(Unanswered::Refused(_)) if self.now.is_none() => {}
            Err(Unanswered::Refused(why)) => {
                self.refusals += 1;
                self.last_fault = why;
            }
            Ok(answer) => match check(&answer, expected) {
                Ok(version) => {
                    self.answers += 1;
                    self.now = Some(version);
                }
                Err(why) => {
                    self.wrong += 1;
                    self.last_fault = why;
                }
            },
        }
    }
}

/// The version that answered, if it may and said what it must.
fn check(answer: &Value, expected: &Expected) -> Result<String, String> {
    let version = answer["model_version"].as_str().ok_or("an answer without a version")?;
    let expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
    let right = expected.get(version).ok_or_else(|| format!("{version} was never made"))?;
    let outputs = answer["outputs"].as_array().ok_or("an answer without outputs")?;
    let output = outputs.iter().find(|output| output["name"] == OUTPUT).ok_or("an output is missing")?;
    let found: Vec<f64> = output["data"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let near = |(found, right): (&f64, &f32)| (found - f64::from(*right)).abs() <= TOLERANCE;
    match found.len() == right.len() && found.iter().zip(right).all(near) {
        true => Ok(version.to_owned()),
        false => Err(format!("{version} answered {found:?} instead of {right:?}")),
    }
}

fn lock(heard: &Mutex<Heard>) -> std::sync::MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn words(report: &Kills) -> String {
    format!(
        "{} kills during {} updates: {} answers, {} wrong, {} refusals; serving again within {:.0} ms",
        report.kills,
        report.updates,
        report.answers,
        report.wrong_answers,
        report.refusals,
        report.longest_to_serving_ms
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_of_the_wrong_version_or_with_wrong_numbers_is_a_fault() {
        let expected = Expected::default();
        expected.lock().unwrap().insert("v".to_owned(), vec![0.25, 0.75]);
        let answer = |version: &str, data: &[f64]| {
            check(&json!({"model_version": version, "outputs": [{"name": OUTPUT, "data": data}]}), &expected)
        };
        assert_eq!(answer("v", &[0.25, 0.75]), Ok("v".to_owned()));
        assert!(answer("w", &[0.25, 0.75]).is_err());
        assert!(answer("v", &[0.75, 0.25]).is_err());
        assert!(answer("v", &[0.25]).is_err());
        assert!(check(&json!({}), &expected).is_err());
    }
}
