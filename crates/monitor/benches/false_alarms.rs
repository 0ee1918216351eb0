//! False alarms on streams without change, over those that the budget allows:
//! `false_alarms [samples=2e7] [arl=1e5] [rows=1000,10000] [seed=1] [references=40] [NAME...]`.
//!
//! Each line draws fresh references of one null and plays each a stream of the same null, as `backtest` does.
//! The ratio's interval is a 95% bootstrap over references, for
//! the alarms of one reference come together; without an alarm its upper end is the rule of three.

mod nulls;
mod random;

use std::sync::Arc;

use edgeward_monitor::{AlarmKind, Budget, Monitor, MonitorConfig, Reference, Rows, Sample, Seasons};
use nulls::{DEPENDENT, INDEPENDENT, Null, Stream};
use random::Random;

const CHUNK: usize = 1 << 13;
const RESAMPLES: usize = 2_000;

/// What is measured.
struct Plan {
    samples: f64,
    arl: f64,
    rows: Vec<usize>,
    seed: u64,
    references: usize,
    nulls: Vec<Null>,
}

impl Plan {
    fn of_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
        let given = |key: &str| arguments.iter().find_map(|a| a.strip_prefix(key)?.strip_prefix('='));
        let number = |key: &str, default: f64| given(key).and_then(|v| v.parse().ok()).unwrap_or(default);
        let rows = given("rows").unwrap_or("1000,10000").split(',').filter_map(|v| v.parse().ok());
        let known = INDEPENDENT.into_iter().chain(DEPENDENT);
        let named: Vec<&String> = arguments.iter().filter(|a| !a.contains('=')).collect();
        Self {
            samples: number("samples", 2e7),
            arl: number("arl", 1e5),
            rows: rows.collect(),
            seed: number("seed", 1.0) as u64,
            references: number("references", 40.0) as usize,
            nulls: known.filter(|null| named.is_empty() || named.iter().any(|n| *n == null.name)).collect(),
        }
    }

    /// Alarms of one fresh reference: drift, outliers.
    fn alarms(&self, null: Null, rows: usize, index: u64) -> [usize; 2] {
        let mut stream = Stream::new(null, self.seed << 32 | index);
        let fitted: Vec<f32> = (0..rows).map(|_| stream.next()).collect();
        let each =
            fitted.chunks_exact(1).map(|features| Sample { features, predicted: None, confidence: None });
        let reference = Reference::fit_ordered(&["x".to_owned()], &[], each, &Seasons::default());
        let config = MonitorConfig { budget: Budget::of_arl(self.arl), ..MonitorConfig::default() };
        let reference = Arc::new(reference.expect("the rows are valid"));
        let mut monitor = Monitor::new(reference, config).expect("the budget is positive");
        monitor.prime(&Rows::of_features(&fitted, 1));
        let (mut values, mut counts) = (vec![0.0; CHUNK], [0, 0]);
        for _ in 0..self.chunks() {
            values.iter_mut().for_each(|value| *value = stream.next());
            for alarm in monitor.observe_rows(&Rows::of_features(&values, 1)) {
                counts[usize::from(alarm.kind == AlarmKind::Outlier)] += 1;
            }
        }
        counts
    }

    fn chunks(&self) -> usize {
        ((self.samples / self.references as f64) as usize).div_ceil(CHUNK)
    }

    fn report(&self, null: Null, rows: usize) {
        let counts: Vec<[usize; 2]> =
            (0..self.references as u64).map(|index| self.alarms(null, rows, index)).collect();
        let played = (self.chunks() * CHUNK * self.references) as f64;
        let budgeted = played / self.arl;
        let [drifts, outliers] = [0, 1].map(|kind| counts.iter().map(|c| c[kind]).sum::<usize>());
        let (low, high) = interval(&counts.iter().map(|c| c[0] + c[1]).collect::<Vec<_>>());
        let high = if drifts + outliers == 0 { 3.0 } else { high };
        println!(
            "{:<18} {rows:>7} rows, {played:.0e} samples, run length {:.0e}: {drifts:>5} drifts, {outliers:>4} outliers, \
             observed/budgeted {:.3} [{:.3}, {:.3}], references with alarms {}/{}",
            null.name,
            self.arl,
            (drifts + outliers) as f64 / budgeted,
            low / budgeted,
            high / budgeted,
            counts.iter().filter(|c| c[0] + c[1] > 0).count(),
            self.references,
        );
    }
}

/// 95% bootstrap interval of a sum.
fn interval(counts: &[usize]) -> (f64, f64) {
    let mut random = Random::new(7);
    let mut draw = || (0..counts.len()).map(|_| counts[random.next() as usize % counts.len()]).sum::<usize>();
    let mut sums: Vec<usize> = (0..RESAMPLES).map(|_| draw()).collect();
    sums.sort_unstable();
    let at = |share: f64| sums[(share * RESAMPLES as f64) as usize] as f64;
    (at(0.025), at(0.975))
}

fn main() {
    let plan = Plan::of_arguments();
    for null in plan.nulls.iter().copied() {
        plan.rows.iter().for_each(|rows| plan.report(null, *rows));
    }
}
