//! Streams without change, for measuring false alarms: independent ones, and ones whose values follow from each
//! other. Each is stationary, or cyclic, or (`walk`) has a level that wanders by design.

use std::f64::consts::TAU;

use crate::random::Random;

/// Distributions that only nulls need.
impl Random {
    fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Student's t.
    fn student(&mut self, freedom: u32) -> f64 {
        let squares: f64 = (0..freedom).map(|_| self.normal().powi(2)).sum();
        self.normal() / (squares / f64::from(freedom)).sqrt()
    }

    /// Poisson, by D. Knuth's products.
    fn poisson(&mut self, mean: f64) -> f64 {
        let limit = (-mean).exp();
        let (mut product, mut count) = (self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }
}

/// What a stream remembers: four numbers, the time, and a few past shocks.
struct Memory {
    random: Random,
    state: [f64; 4],
    time: u64,
    shocks: [f64; 64],
}

impl Memory {
    fn cycle(&self, period: f64) -> f64 {
        (TAU * self.time as f64 / period).sin()
    }

    /// First-order autoregression of `shock`.
    fn follow(&mut self, coefficient: f64, shock: f64) -> f64 {
        self.state[0] = coefficient * self.state[0] + shock;
        self.state[0]
    }

    /// A variance that moves, times `shock` of variance one.
    fn garch(&mut self, (shock_weight, memory): (f64, f64), shock: f64) -> f64 {
        let last = self.state[2];
        let variance = 1.0 - shock_weight - memory + shock_weight * last * last + memory * self.state[1];
        self.state[1] = variance;
        self.state[2] = variance.sqrt() * shock;
        self.state[2]
    }

    /// Fractionally integrated noise of order `d`, cut after 64 terms.
    fn long_memory(&mut self, d: f64) -> f64 {
        self.shocks.rotate_right(1);
        self.shocks[0] = self.random.normal();
        let (mut weight, mut sum) = (1.0, 0.0);
        for (lag, shock) in self.shocks.iter().enumerate() {
            sum += weight * shock;
            weight *= (lag as f64 + d) / (lag as f64 + 1.0);
        }
        sum
    }
}

/// One null: its name, and its next value.
#[derive(Clone, Copy)]
pub(crate) struct Null {
    pub(crate) name: &'static str,
    next: fn(&mut Memory) -> f64,
}

/// A stream of one null.
pub(crate) struct Stream {
    null: Null,
    memory: Memory,
}

const START_UP: usize = 1_000;

impl Stream {
    pub(crate) fn new(null: Null, seed: u64) -> Self {
        let mut random = Random::new(seed);
        random = Random::new(random.next());
        let memory = Memory { random, state: [0.0, 1.0, 0.0, 0.0], time: 0, shocks: [0.0; 64] };
        let mut stream = Self { null, memory };
        for _ in 0..START_UP {
            stream.next();
        }
        stream
    }

    pub(crate) fn next(&mut self) -> f32 {
        self.memory.time += 1;
        (self.null.next)(&mut self.memory) as f32
    }
}

const fn null(name: &'static str, next: fn(&mut Memory) -> f64) -> Null {
    Null { name, next }
}

/// Values that do not follow from each other.
pub(crate) const INDEPENDENT: [Null; 18] = [
    null("uniform", |m| m.random.uniform()),
    null("normal", |m| m.random.normal()),
    null("student-3", |m| m.random.student(3)),
    null("student-2", |m| m.random.student(2)),
    null("cauchy", |m| m.random.student(1)),
    null("laplace", |m| m.random.exponential() - m.random.exponential()),
    null("exponential", |m| m.random.exponential()),
    null("lognormal", |m| m.random.normal().exp()),
    null("pareto-2.5", |m| m.random.uniform().powf(-1.0 / 2.5)),
    null("weibull-.5", |m| m.random.exponential().powi(2)),
    null("contaminated", |m| m.random.normal() * if m.random.chance(0.01) { 10.0 } else { 1.0 }),
    null("poisson-3", |m| m.random.poisson(3.0)),
    null("poisson-.02", |m| m.random.poisson(0.02)),
    null("coin-.3", |m| f64::from(u8::from(m.random.chance(0.3)))),
    null("five levels", |m| (5.0 * m.random.uniform().powi(2)).floor()),
    null("rounded", |m| (m.random.normal() * 2.0).round() / 2.0),
    null("zero-inflated", |m| if m.random.chance(0.9) { 0.0 } else { m.random.exponential() }),
    null("tenth missing", |m| if m.random.chance(0.1) { f64::NAN } else { m.random.normal() }),
];

/// Values that follow from each other.
pub(crate) const DEPENDENT: [Null; 24] =
    [
        null("AR(.5)", |m| {
            let shock = m.random.normal();
            m.follow(0.5, shock)
        }),
        null("AR(.7)", |m| {
            let shock = m.random.normal();
            m.follow(0.7, shock)
        }),
        null("AR(.95)", |m| {
            let shock = m.random.normal();
            m.follow(0.95, shock)
        }),
        null("AR(.7) student-4", |m| {
            let shock = m.random.student(4);
            m.follow(0.7, shock)
        }),
        null("AR(2) swinging", |m| {
            let value = 1.2 * m.state[0] - 0.7 * m.state[1] + m.random.normal();
            m.state[1] = m.state[0];
            m.state[0] = value;
            value
        }),
        null("exp of AR(.8)", |m| {
            let shock = m.random.normal() * 0.6;
            m.follow(0.8, shock).exp()
        }),
        null("rounded AR(.9)", |m| {
            let shock = m.random.normal();
            m.follow(0.9, shock).round()
        }),
        null("MA(.8)", |m| {
            let shock = m.random.normal();
            let value = shock + 0.8 * m.state[0];
            m.state[0] = shock;
            value
        }),
        null("MA of 10", |m| {
            m.shocks.rotate_right(1);
            m.shocks[0] = m.random.normal();
            m.shocks[..10].iter().sum()
        }),
        null("daily+weekly", |m| {
            let shock = m.random.normal();
            3.0 * m.cycle(24.0) + 2.0 * m.cycle(168.0) + m.follow(0.5, shock)
        }),
        null("daily noise", |m| m.random.normal() * (1.0 + 0.8 * m.cycle(24.0))),
        null("daily square", |m| {
            let shock = m.random.normal();
            if m.time % 24 < 8 { 4.0 + m.follow(0.3, shock) } else { m.follow(0.3, shock) }
        }),
        null("weekdays", |m| {
            if m.time % 7 < 5 { 10.0 + m.random.normal() } else { 4.0 + 0.5 * m.random.normal() }
        }),
        null("daily counts", |m| {
            let rate = 6.0 + 5.0 * m.cycle(24.0);
            m.random.poisson(rate)
        }),
        null("GARCH", |m| {
            let shock = m.random.normal();
            m.garch((0.1, 0.85), shock)
        }),
        null("GARCH student-5", |m| {
            let shock = m.random.student(5) / (5.0f64 / 3.0).sqrt();
            m.garch((0.08, 0.9), shock)
        }),
        null("moving spread", |m| {
            let shock = 0.2 * m.random.normal();
            (m.follow(0.97, shock) / 2.0).exp() * m.random.normal()
        }),
        null("sticky coin", |m| {
            if m.random.chance(0.03) {
                m.state[0] = 1.0 - m.state[0];
            }
            m.state[0]
        }),
        null("two levels", |m| {
            if m.random.chance(0.02) {
                m.state[0] = 3.0 - m.state[0];
            }
            m.state[0] + m.random.normal()
        }),
        null("counts that follow", |m| {
            let kept = (0..m.state[0] as u32).filter(|_| m.random.chance(0.8)).count();
            m.state[0] = kept as f64 + m.random.poisson(1.0);
            m.state[0]
        }),
        null("long memory .3", |m| m.long_memory(0.3)),
        null("bursts missing", |m| {
            if m.random.chance(if m.state[0] > 0.5 { 0.1 } else { 0.01 }) {
                m.state[0] = 1.0 - m.state[0];
            }
            if m.state[0] > 0.5 { f64::NAN } else { m.random.normal() }
        }),
        null("walk", |m| {
            let shock = m.random.normal();
            m.follow(1.0, shock)
        }),
        null("GARCH walk", |m| {
            let shock = m.random.student(6) / 1.5f64.sqrt();
            let step = m.garch((0.08, 0.9), shock);
            m.follow(1.0, step)
        }),
    ];
