//! False alarms on streams without change, over those that the budget allows: `false_alarms [SAMPLES] [ARL] [dependent]`.
//! Dependent streams get a tenth of the samples at a tenth of the run length.
//!
//! Each line draws fresh references of one size and plays each a stream of the same distribution. The ratio's
//! interval is a 95% bootstrap over references, for the alarms of one reference come together; without an alarm
//! its upper end is the rule of three. Independent values are uniform: a detector of ranks sees no difference
//! between continuous distributions.

use std::sync::Arc;

use edgeward_monitor::{Budget, Monitor, MonitorConfig, Reference, Rows, Sample, Seasons};

const CHUNK: usize = 1 << 16;
const RESAMPLES: usize = 2_000;

/// Sebastiano Vigna's SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// A stream without change.
#[derive(Clone, Copy)]
enum Null {
    Independent,
    /// Student's t with three degrees of freedom: no fourth moment.
    HeavyTails,
    Autoregressive(f64),
    MovingAverage,
    DailyWeekly,
    Garch,
}

struct Stream {
    null: Null,
    random: Random,
    state: [f64; 2],
    time: u64,
}

impl Stream {
    fn new(null: Null, seed: u64) -> Self {
        let mut stream = Self { null, random: Random(seed << 20), state: [0.0, 1.0], time: 0 };
        for _ in 0..1_000 {
            stream.next();
        }
        stream
    }

    fn next(&mut self) -> f32 {
        self.time += 1;
        if matches!(self.null, Null::Independent) {
            return self.random.uniform() as f32;
        }
        let shock = self.random.normal();
        let [last, variance] = self.state;
        let turn = |period: f64| (std::f64::consts::TAU * self.time as f64 / period).sin();
        let value = match self.null {
            Null::Independent => 0.0,
            Null::HeavyTails => {
                let squares: f64 = (0..3).map(|_| self.random.normal().powi(2)).sum();
                return (shock / (squares / 3.0).sqrt()) as f32;
            }
            Null::Autoregressive(phi) => phi * last + shock,
            Null::MovingAverage => shock + 0.8 * last,
            Null::DailyWeekly => 0.5 * last + shock,
            Null::Garch => {
                self.state[1] = 0.05 + 0.1 * last * last + 0.85 * variance;
                self.state[1].sqrt() * shock
            }
        };
        self.state[0] = if matches!(self.null, Null::MovingAverage) { shock } else { value };
        let cycles =
            if matches!(self.null, Null::DailyWeekly) { 3.0 * turn(24.0) + 2.0 * turn(168.0) } else { 0.0 };
        (value + cycles) as f32
    }
}

/// Alarms of one fresh reference of `rows` rows over `samples` samples.
fn alarms(null: Null, rows: usize, samples: usize, arl: f64, seed: u64) -> usize {
    let mut stream = Stream::new(null, seed);
    let fitted: Vec<f32> = (0..rows).map(|_| stream.next()).collect();
    let name = ["x".to_owned()];
    let each = fitted.chunks_exact(1).map(|features| Sample { features, predicted: None, confidence: None });
    let reference = match null {
        Null::Independent | Null::HeavyTails => Reference::fit(&name, &[], each),
        _ => Reference::fit_ordered(&name, &[], each, &Seasons { lags: vec![24, 168], find: true }),
    };
    let reference = Arc::new(reference.expect("the rows are valid"));
    let config = MonitorConfig { budget: Budget::of_arl(arl), ..MonitorConfig::default() };
    let mut monitor = Monitor::new(reference, config).expect("the budget is positive");
    monitor.prime(&Rows::of_features(&fitted, 1));
    let mut values = vec![0.0; CHUNK];
    let mut count = 0;
    for _ in 0..samples.div_ceil(CHUNK) {
        values.iter_mut().for_each(|value| *value = stream.next());
        count += monitor.observe_rows(&Rows::of_features(&values, 1)).len();
    }
    count
}

fn report(name: &str, null: Null, rows: usize, samples: usize, arl: f64) {
    let references = 40;
    let each = (samples / references).next_multiple_of(CHUNK);
    let counts: Vec<usize> =
        (0..references as u64).map(|seed| alarms(null, rows, each, arl, seed + 1)).collect();
    let budgeted = (each * references) as f64 / arl;
    let total: usize = counts.iter().sum();
    let mut random = Random(7);
    let mut draw = || (0..references).map(|_| counts[random.next() as usize % references]).sum::<usize>();
    let mut resampled: Vec<usize> = (0..RESAMPLES).map(|_| draw()).collect();
    resampled.sort_unstable();
    let at = |share: f64| resampled[(share * RESAMPLES as f64) as usize] as f64 / budgeted;
    let upper = if total == 0 { 3.0 / budgeted } else { at(0.975) };
    println!(
        "{name:<14} {rows:>7} rows, {:.0e} samples, run length {arl:.0e}: {total:>5} alarms, observed/budgeted {:.3} [{:.3}, {upper:.3}], worst reference {}",
        (each * references) as f64,
        total as f64 / budgeted,
        at(0.025),
        counts.iter().max().unwrap_or(&0),
    );
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<f64>().ok());
    let samples = numbers.next().unwrap_or(2e7);
    let arl = numbers.next().unwrap_or(1e5);
    let all = !std::env::args().any(|argument| argument == "dependent");
    for rows in [1_000, 10_000, 100_000].into_iter().filter(|_| all) {
        report("independent", Null::Independent, rows, samples as usize, arl);
        report("heavy tails", Null::HeavyTails, rows, samples as usize / 20, arl / 10.0);
    }
    for rows in [1_000, 10_000] {
        let dependent = samples as usize / 10;
        report("AR(.7)", Null::Autoregressive(0.7), rows, dependent, arl / 10.0);
        report("AR(.95)", Null::Autoregressive(0.95), rows, dependent, arl / 10.0);
        report("MA(.8)", Null::MovingAverage, rows, dependent, arl / 10.0);
        report("daily+weekly", Null::DailyWeekly, rows, dependent, arl / 10.0);
        report("GARCH", Null::Garch, rows, dependent, arl / 10.0);
    }
}
