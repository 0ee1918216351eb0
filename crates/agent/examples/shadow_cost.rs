//! What shadows cost production: the same paced requests alone and with three candidates beside the champion, in turns, in one
//! process.
//!
//!     cargo run --release -p edgeward-agent --example shadow_cost -- [MODEL_MS] [SECONDS] [PER_SECOND]
//!
//! Each candidate is as large as the champion. A request is answered by the champion and, in every other block, copied to the
//! candidates, which answer when nothing else wants the processor. What is printed is how long production's answers took.

#![expect(clippy::unwrap_used, reason = "an example ends where a step fails")]

mod network;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use edgeward_agent::shadow::{ShadowBench, ShadowSet};
use edgeward_core::shadow::Shadows;
use edgeward_core::{ModelName, RunId};
use edgeward_model::onnx;
use edgeward_sdk::Loaded;
use network::{load, network, row, units_of_speed};

/// Candidates beside the champion.
const SHADOWS: u64 = 3;
/// Requests of one block.
const ASKED: usize = 200;
/// What a copied request takes of the queue.
const REQUEST_BYTES: usize = 64 * 4;

fn main() {
    let argument = |at, usual| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (model_ms, seconds, rate): (f64, f64, f64) =
        (argument(1, 1.0), argument(2, 30.0), argument(3, 100.0));
    let units = units_of_speed(model_ms);
    let champion = load(&onnx::encode(&network(units, 0)));
    let candidates = (1..=SHADOWS).map(|seed| Arc::new(load(&onnx::encode(&network(units, seed)))));
    let (model, bench) = (ModelName::new("bench").unwrap(), ShadowBench::default());
    let candidates: Vec<Arc<Loaded>> = candidates.collect();
    let bundles = candidates.iter().map(|loaded| loaded.bundle()).collect();
    let shadows = Shadows { run: RunId::new("run-1").unwrap(), champion: champion.bundle(), bundles };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let began = Instant::now();
    let mut turn = 0;
    while began.elapsed().as_secs_f64() < seconds {
        let with = turn % 2 == 1;
        if with {
            bench.begin(&model, ShadowSet::new(shadows.clone(), candidates.clone(), None));
        }
        let took = block(&champion, &model, with.then_some(&bench), Duration::from_secs_f64(1.0 / rate));
        if with {
            let report = bench.report(&model).unwrap();
            print_dropped(&report);
            bench.end(&model);
            beside.extend(took);
        } else {
            alone.extend(took);
        }
        turn += 1;
    }
    let [alone, beside] = [alone, beside].map(quantiles);
    println!("champion alone:          median {:.3} ms, p99 {:.3} ms", alone[0], alone[1]);
    println!("{SHADOWS} shadows beside it:     median {:.3} ms, p99 {:.3} ms", beside[0], beside[1]);
    println!("ratio:                   median {:.3}, p99 {:.3}", beside[0] / alone[0], beside[1] / alone[1]);
}

fn print_dropped(report: &edgeward_api::device::ShadowReport) {
    if report.dropped > 0 {
        println!("{} of {} copies found no room", report.dropped, report.mirrored + report.dropped);
    }
}

/// The time of each answer of so many requests, one every `pace`.
fn block(champion: &Loaded, model: &ModelName, bench: Option<&ShadowBench>, pace: Duration) -> Vec<f64> {
    let began = Instant::now();
    (0..ASKED)
        .map(|at| {
            let due = pace * u32::try_from(at).unwrap_or(u32::MAX);
            thread::sleep(due.saturating_sub(began.elapsed()));
            let asked = Instant::now();
            let ticket = bench.and_then(|bench| bench.ticket(model, champion.bundle(), REQUEST_BYTES));
            let copy = ticket.is_some().then(row);
            let answer = champion.infer(row()).unwrap();
            if let (Some(bench), Some(ticket), Some(inputs)) = (bench, ticket, copy) {
                bench.mirror(ticket.of(inputs, &answer));
            }
            asked.elapsed().as_secs_f64() * 1e3
        })
        .collect()
}

fn quantiles(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|share| times[((times.len() - 1) as f64 * share) as usize])
}
