//! Fuzzes every parser: `cargo run --release -p edgeward-testkit --example fuzz -- [EXECUTIONS [SEED [TARGET]]]`.
//!
//! Prints how many inputs came how far, the slowest, and the most memory held; ends with 1 if anything was found. What
//! was found lies in `target/fuzz`. `-- feed TARGET FILE` tries one file.

use std::path::Path;
use std::process::ExitCode;

use edgeward_testkit::fuzz::target::TARGETS;
use edgeward_testkit::fuzz::{Plan, peak_memory_bytes, run};

const EXECUTIONS: u64 = 1_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [feed, target, file] = &arguments[..]
        && feed == "feed"
    {
        return feed_one(target, Path::new(file));
    }
    let number = |at: usize, default| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let (Some(executions), Some(seed)) = (number(0, EXECUTIONS), number(1, 1)) else {
        eprintln!("usage: fuzz [EXECUTIONS [SEED [TARGET]]] | fuzz feed TARGET FILE");
        return ExitCode::from(2);
    };
    let wanted = |name: &str| arguments.get(2).is_none_or(|only| only == name);
    match fuzz(executions, seed, &wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("writing to target/fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn fuzz(executions: u64, seed: u64, wanted: &dyn Fn(&str) -> bool) -> std::io::Result<usize> {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let findings = workspace.join("target/fuzz");
    // A panic is caught and counted; its message is enough.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let chosen: Vec<_> = TARGETS.into_iter().filter(|target| wanted(target.name)).collect();
    let shares: u64 = chosen.iter().map(|target| u64::from(target.share)).sum();
    let (mut found, mut total) = (0, 0);
    println!("{:<12} {:>12} {:>8} {:>10}  reached", "target", "executions", "found", "slowest ms");
    for target in &chosen {
        let plan = Plan {
            executions: executions * u64::from(target.share) / shares.max(1),
            seed,
            workspace,
            findings: &findings,
        };
        let outcome = run(target, &plan)?;
        let slowest = outcome.slowest.as_millis();
        let (count, finds) = (outcome.executions, outcome.findings.len());
        println!("{:<12} {count:>12} {finds:>8} {slowest:>10}  {:?}", target.name, outcome.reached);
        outcome.findings.iter().take(10).for_each(|path| println!("    {}", path.display()));
        (found, total) = (found + finds, total + count);
    }
    let peak =
        peak_memory_bytes().map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    println!("{total} executions with seed {seed}, {found} findings, peak memory {peak}");
    Ok(found)
}

fn feed_one(target: &str, file: &Path) -> ExitCode {
    let Some(target) = TARGETS.into_iter().find(|known| known.name == target) else {
        eprintln!("no such target: {target}");
        return ExitCode::from(2);
    };
    match std::fs::read(file) {
        Ok(bytes) => {
            println!(
                "{}: reached {}, peak memory {:?}",
                target.name,
                (target.feed)(&bytes),
                peak_memory_bytes()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("reading {}: {error}", file.display());
            ExitCode::from(2)
        }
    }
}
