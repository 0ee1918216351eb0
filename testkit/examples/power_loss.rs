//! Power failures in great number: `cargo run --release -p edgeward-testkit --example power_loss -- [CUTS [SEED]]`.
//!
//! Prints how many there were, after how many a device was driven on until it ran what was wanted, and the violations:
//! for the agent's code, and for a device that updates in place, which must be caught. Ends with 1 otherwise.

use std::process::ExitCode;

use edgeward_testkit::power::{Manner, cut};

const CUTS: u64 = 10_000_000;
/// Different outcomes of the same power failure.
const CRASHES: u64 = 64;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map_while(|argument| argument.parse().ok());
    let (cuts, seed) = (numbers.next().unwrap_or(CUTS), numbers.next().unwrap_or(1));
    let careful = cut(Manner::Careful, seed, CRASHES, cuts);
    println!(
        "agent: {} cuts, {} driven on, {} violations",
        careful.cuts, careful.converged, careful.violations
    );
    careful.examples.iter().for_each(|why| println!("    {why}"));
    let full = cut(Manner::CarefulOnFullDisk, seed, CRASHES, cuts);
    println!(
        "agent on a disk that others fill: {} cuts, {} driven on, {} violations",
        full.cuts, full.converged, full.violations
    );
    full.examples.iter().for_each(|why| println!("    {why}"));
    let naive = cut(Manner::InPlace, seed, CRASHES, (cuts / 10).max(1000));
    println!("in place: {} cuts, {} violations", naive.cuts, naive.violations);
    if careful.violations + full.violations == 0 && naive.violations > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
