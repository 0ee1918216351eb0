//! How fast a monitor counts and judges, and what it holds in memory.
//!
//! Prints one line per path: nanoseconds per row, million values per second on one core, and bytes per
//! numeric feature. The best of several repetitions is shown, for other work may share the machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use edgeward_monitor::{Detector, Monitor, MonitorConfig, Profile, Reference, Rows, Sample};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const FEATURES: usize = 20;
const REFERENCE_ROWS: usize = 10_000;
const ROWS: usize = 20_000;
const REPETITIONS: usize = 60;

/// Standard normal rows, one after the other: G. Box and M. Muller (1958).
fn rows(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let mut normal = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..n * FEATURES).map(|_| normal() as f32).collect()
}

fn sample(features: &[f32]) -> Sample<'_> {
    Sample { features, predicted: None, confidence: None }
}

fn report(name: &str, mut pass: impl FnMut()) {
    let mut best_s = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        pass();
        best_s = best_s.min(start.elapsed().as_secs_f64());
    }
    let values = (ROWS * FEATURES) as f64;
    println!(
        "{name:<28} {:>8.1} ns/row {:>8.1} M values/s",
        best_s * 1e9 / ROWS as f64,
        values / best_s / 1e6
    );
}

fn main() {
    let names: Vec<String> = (0..FEATURES).map(|i| format!("f{i}")).collect();
    let fitted = rows(1, REFERENCE_ROWS);
    let reference = Reference::fit(&names, &[], fitted.chunks_exact(FEATURES).map(sample));
    let reference = Arc::new(reference.expect("the rows are valid"));
    let data = rows(2, ROWS);
    let mut monitor =
        Monitor::new(Arc::clone(&reference), MonitorConfig::default()).expect("the configuration is valid");

    report("monitor, row by row", || {
        for row in data.chunks_exact(FEATURES) {
            black_box(monitor.observe(&sample(row)));
        }
    });
    report("monitor, in blocks", || {
        black_box(monitor.observe_rows(&Rows::of_features(&data, FEATURES)));
    });
    let mut detector = Detector::new(&reference, 1e9);
    report("detector only, row by row", || {
        for row in data.chunks_exact(FEATURES) {
            black_box(detector.observe(&reference, &sample(row)));
        }
    });
    let mut profile = Profile::new(&reference);
    report("profile only, row by row", || {
        for row in data.chunks_exact(FEATURES) {
            profile.observe(&reference, &sample(row)).expect("the reference is its own");
        }
    });
    let memory = monitor.memory();
    let streams = reference.streams().len();
    println!(
        "bytes per numeric stream: {} hot, {} per device, {} shared by all monitors of the reference",
        memory.hot_bytes / streams,
        memory.device_bytes / streams,
        memory.shared_bytes / streams
    );
}
