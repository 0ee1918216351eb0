//! Samples from a change to its alarm, over those of the optimal test at the same run length:
//! `delay [arl=1e6] [rows=100000] [references=10] [runs=300] [seed=1]`.
//!
//! The detector's own run length on streams without change is measured first, over fresh references; CUSUM for the
//! very shift, which nobody knows beforehand, gets the threshold of Siegmund's approximation for that run length,
//! and its run length is measured too. Both then see the same changes from a quiet start. CUSUM is optimal for a
//! known shift: G. Moustakides, Annals of Statistics 14 (1986). ADWIN is [`classic::Adwin`], river's step by step.

mod random;

use edgeward_monitor::{DecayDetector, Detector, Reference, Sample, classic::Adwin};
use random::Random;

const SHIFTS: [f64; 8] = [0.15, 0.25, 0.35, 0.5, 0.7, 1.0, 2.0, 3.0];
/// Alarms that a run length is measured by, at most.
const ALARMS: usize = 60;
/// Values before a change, and most after it.
const QUIET: usize = 2_000;
const LONGEST: usize = 200_000;
const ERROR_RATES: [(f64, f64); 6] =
    [(0.02, 0.06), (0.05, 0.1), (0.1, 0.2), (0.2, 0.3), (0.2, 0.4), (0.03, 0.22)];

struct Plan {
    arl: f64,
    rows: usize,
    references: usize,
    runs: usize,
    seed: u64,
}

fn plan() -> Plan {
    let given = |key: &str, default: f64| {
        let found = std::env::args().find_map(|a| a.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        found.unwrap_or(default)
    };
    Plan {
        arl: given("arl", 1e6),
        rows: given("rows", 1e5) as usize,
        references: given("references", 10.0) as usize,
        runs: given("runs", 300.0) as usize,
        seed: given("seed", 1.0) as u64,
    }
}

fn reference(rows: usize, random: &mut Random) -> Reference {
    let values: Vec<[f32; 1]> = (0..rows).map(|_| [random.normal() as f32]).collect();
    let samples = values.iter().map(|features| Sample { features, predicted: None, confidence: None });
    Reference::fit(&["x".to_owned()], &[], samples).expect("the rows are valid")
}

/// Values until `alarms` of `next`, which says whether a value raised one; at most `longest`.
fn until(longest: usize, mut next: impl FnMut() -> bool) -> Option<usize> {
    (1..=longest).find(|_| next())
}

/// Mean run length from the time that a number of first alarms took together.
fn run_length(longest: usize, mut first_alarm: impl FnMut() -> Option<usize>) -> (f64, usize) {
    let (mut total, mut alarms) = (0usize, 0);
    while alarms < ALARMS && total < longest {
        let found = first_alarm();
        total += found.unwrap_or(longest);
        alarms += usize::from(found.is_some());
    }
    (total as f64 / alarms.max(1) as f64, alarms)
}

fn observe(detector: &mut Detector, reference: &Reference, value: f64) -> bool {
    let features = [value as f32];
    detector.observe(reference, &Sample { features: &features, predicted: None, confidence: None }).is_some()
}

/// Page's CUSUM for a shift of `shift` deviations.
struct Cusum {
    shift: f64,
    threshold: f64,
    sum: f64,
}

impl Cusum {
    /// D. Siegmund's corrected approximation, Sequential Analysis (1985), 2.5.
    fn of_run_length(shift: f64, arl: f64) -> Self {
        let length = |b: f64| (b.exp() - b - 1.0) / (shift * shift / 2.0);
        let corrected = (0..60_000).map(|i| f64::from(i) * 1e-3).find(|b| length(*b) >= arl).unwrap_or(60.0);
        Self { shift, threshold: (corrected - 1.166 * shift).max(0.0), sum: 0.0 }
    }

    fn observe(&mut self, value: f64) -> bool {
        self.sum = (self.sum + self.shift * value - self.shift * self.shift / 2.0).max(0.0);
        let over = self.sum >= self.threshold;
        self.sum = if over { 0.0 } else { self.sum };
        over
    }
}

/// Mean delays from a fresh start and after [`QUIET`] values, over references and runs.
fn mean_delay(plan: &Plan, references: &[Reference], (shift, sd): (f64, f64), quiet: usize) -> f64 {
    let mut random = Random::new(plan.seed ^ 0x1357);
    let mut total = 0;
    for run in 0..plan.runs {
        let reference = &references[run % references.len()];
        let mut detector = Detector::new(reference, plan.arl);
        for _ in 0..quiet {
            observe(&mut detector, reference, random.normal());
        }
        let changed = || observe(&mut detector, reference, shift + sd * random.normal());
        total += until(LONGEST, changed).unwrap_or(LONGEST);
    }
    total as f64 / plan.runs as f64
}

fn cusum_delay(plan: &Plan, shift: f64, arl: f64, quiet: usize) -> f64 {
    let mut random = Random::new(plan.seed ^ 0x2468);
    let delay = |_| {
        let mut cusum = Cusum::of_run_length(shift, arl);
        (0..quiet).for_each(|_| {
            cusum.observe(random.normal());
        });
        until(LONGEST, || cusum.observe(shift + random.normal())).unwrap_or(LONGEST)
    };
    (0..plan.runs).map(delay).sum::<usize>() as f64 / plan.runs as f64
}

/// Mean delay of ADWIN after [`QUIET`] values; those that it never found count as the longest.
fn adwin_delay(plan: &Plan, mut value: impl FnMut(&mut Random, bool) -> f64) -> f64 {
    let mut random = Random::new(plan.seed ^ 0x9999);
    let delay = |_| {
        let mut adwin = Adwin::default();
        (0..QUIET).for_each(|_| {
            adwin.observe(value(&mut random, false));
        });
        until(LONGEST / 10, || adwin.observe(value(&mut random, true))).unwrap_or(LONGEST / 10)
    };
    let runs = plan.runs.min(200);
    (0..runs).map(delay).sum::<usize>() as f64 / runs as f64
}

fn shifts(plan: &Plan, references: &[Reference], arl: f64) {
    for shift in SHIFTS {
        let mut random = Random::new(plan.seed ^ 0x7777);
        let mut cusum = Cusum::of_run_length(shift, arl);
        let (verified, alarms) = run_length((arl * 60.0) as usize, || {
            until((arl * 20.0) as usize, || cusum.observe(random.normal()))
        });
        let [fresh, warm] = [0, QUIET].map(|quiet| mean_delay(plan, references, (shift, 1.0), quiet));
        let [best, best_warm] = [0, QUIET].map(|quiet| cusum_delay(plan, shift, arl, quiet));
        let adwin = adwin_delay(plan, |random, after| random.normal() + if after { shift } else { 0.0 });
        println!(
            "shift {shift:>4}: {fresh:>7.1} samples, CUSUM {best:>7.1} (run length {verified:.2e}, {alarms} alarms), ratio {:.2}; \
             after {QUIET} quiet ones {warm:.1} / {best_warm:.1} = {:.2}; ADWIN {adwin:.1}, ratio {:.2}",
            fresh / best,
            warm / best_warm,
            warm / adwin,
        );
    }
    for sd in [2f64.sqrt(), 2.0] {
        println!("spread x {sd:.2}: {:.1} samples", mean_delay(plan, references, (0.0, sd), 0));
    }
}

fn error_rates(plan: &Plan) {
    for (before, after) in ERROR_RATES {
        let mut random = Random::new(plan.seed ^ 0x4444);
        let delay = |_| {
            let mut detector = DecayDetector::new(1.0 - before, plan.rows as u64, plan.arl);
            for _ in 0..QUIET {
                detector.observe(random.uniform() >= before);
            }
            until(LONGEST, || detector.observe(random.uniform() >= after).is_some()).unwrap_or(LONGEST)
        };
        let ours = (0..plan.runs).map(delay).sum::<usize>() as f64 / plan.runs as f64;
        let adwin = adwin_delay(plan, |random, changed| {
            f64::from(u8::from(random.uniform() < if changed { after } else { before }))
        });
        println!("errors {before} -> {after}: {ours:.1} labels, ADWIN {adwin:.1}, ratio {:.2}", ours / adwin);
    }
}

fn main() {
    let plan = plan();
    let mut random = Random::new(plan.seed);
    let references: Vec<Reference> =
        (0..plan.references).map(|_| reference(plan.rows, &mut random)).collect();
    let mut which = 0;
    let (arl, alarms) = run_length((plan.arl * 300.0) as usize, || {
        let reference = &references[which % references.len()];
        which += 1;
        let mut detector = Detector::new(reference, plan.arl);
        until((plan.arl * 100.0) as usize, || observe(&mut detector, reference, random.normal()))
    });
    println!(
        "{} rows, threshold {:.0e}: measured run length {arl:.2e} ({alarms} alarms)",
        plan.rows, plan.arl
    );
    shifts(&plan, &references, arl);
    error_rates(&plan);
}
