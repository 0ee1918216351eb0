//! A seeded mutation fuzzer over every parser, for the stable toolchain and any machine.
//!
//! Inputs are real files, changed blindly or in keeping with their form ([`mutate`]); an input that comes further than
//! its parent joins a bounded pool and is changed in turn. The same seed gives the same inputs in the same order. Each
//! input is written to a file before it is tried, so that one that ends the process is not lost.
//!
//! Deliberately missing: coverage feedback; how far an input came stands in for it.

pub mod corpus;
pub mod mutate;
pub mod target;
pub mod wire;

use std::fs;
use std::io::{self, Seek as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use mutate::mutated;
use target::Target;

/// Most inputs kept to begin from.
pub const POOL_MAX: usize = 2048;
/// An input that takes longer is kept as slow.
pub const SLOW: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Inputs to try.
    pub executions: u64,
    /// Seed of all randomness.
    pub seed: u64,
    /// Root of the workspace.
    pub workspace: &'a Path,
    /// Folder for findings and for the input under trial.
    pub findings: &'a Path,
}

/// What came of one target.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Inputs tried.
    pub executions: u64,
    /// How many came how far.
    pub reached: [u64; 8],
    /// The longest one took.
    pub slowest: Duration,
    /// Inputs on which it panicked or took longer than [`SLOW`].
    pub findings: Vec<PathBuf>,
}

/// Tries `plan.executions` inputs on `target`.
///
/// # Errors
/// A finding or the input under trial cannot be written.
pub fn run(target: &Target, plan: &Plan<'_>) -> io::Result<Outcome> {
    fs::create_dir_all(plan.findings)?;
    let mut pool = corpus::of(target, plan.workspace);
    let (seeds, mut rng) = (pool.len(), ChaCha8Rng::seed_from_u64(plan.seed));
    let mut trial = fs::File::create(plan.findings.join(format!("{}.trial", target.name)))?;
    let mut outcome =
        Outcome { executions: 0, reached: [0; 8], slowest: Duration::ZERO, findings: Vec::new() };
    let mut furthest = [0_usize; 8];
    while outcome.executions < plan.executions {
        let parent = rng.random_range(0..pool.len());
        let other = rng.random_range(0..pool.len());
        let input = mutated(&pool[parent], &pool[other], target.form, &mut rng);
        trial.rewind()?;
        trial.write_all(&input)?;
        trial.set_len(input.len() as u64)?;
        let begun = Instant::now();
        let fed = catch_unwind(AssertUnwindSafe(|| (target.feed)(&input)));
        let took = begun.elapsed();
        outcome.executions += 1;
        outcome.slowest = outcome.slowest.max(took);
        match fed {
            Ok(level) => {
                let level = usize::from(level.min(7));
                outcome.reached[level] += 1;
                // Rare levels are worth more: what comes far is changed further.
                furthest[level] += 1;
                if level > 0 && furthest[level].is_power_of_two() {
                    keep(&mut pool, seeds, input.clone(), &mut rng);
                }
                if took > SLOW {
                    outcome.findings.push(save(plan, target, "slow", outcome.executions, &input)?);
                }
            }
            Err(_) => outcome.findings.push(save(plan, target, "panic", outcome.executions, &input)?),
        }
    }
    Ok(outcome)
}

/// Adds an input to the pool, in place of an earlier find once it is full; the real files stay.
fn keep(pool: &mut Vec<Vec<u8>>, seeds: usize, input: Vec<u8>, rng: &mut ChaCha8Rng) {
    match pool.len() < POOL_MAX.max(seeds + 1) {
        true => pool.push(input),
        false => {
            let place = rng.random_range(seeds..pool.len());
            pool[place] = input;
        }
    }
}

fn save(plan: &Plan<'_>, target: &Target, what: &str, number: u64, input: &[u8]) -> io::Result<PathBuf> {
    let path = plan.findings.join(format!("{}-{what}-{}-{number}", target.name, plan.seed));
    fs::write(&path, input)?;
    Ok(path)
}

/// The most memory the process has held, in bytes, where the system tells.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}
