//! Is the newcomer worse? Two groups that are counted side by side, and evidence that may be looked at any time.
//!
//! A [`Comparison`] takes blocks: so many observations of the newcomer of which so many were bad, and the same of the
//! incumbent. Against "the newcomer's rate is at most the incumbent's plus a margin" each block is worth the likelihood
//! ratio of an alternative to the point of the null that is nearest to it, weighted by the block's sizes. Within the null
//! that ratio has an expectation of at most one, whatever the rates are, and also where they change from block to block
//! or differ within one: only the groups' mean rates of the same block are compared. The product is therefore an
//! e-process, and it ever exceeds `1/a` with probability at most `a` (J. Ville, 1939). Sources: R. J. Turner, A. Ly,
//! P. D. Grünwald, "Generic E-variables for exact sequential k-sample tests" (2021), for the ratio; the average over the
//! block with which a change begins is that of A. Shiryaev.
//!
//! The same with the groups exchanged is evidence that the newcomer is worse by less than the margin.
//!
//! What is taken for granted: that what is counted, and when a block ends, does not depend on how good the answers were;
//! and that the groups differ by the model only. Devices that are dealt to the groups by a hash differ by chance; the
//! margin must be wider than that.
//!
//! Deliberately missing: averages of numbers, and more than two groups.

use serde::{Deserialize, Serialize};

use crate::budget::SECONDS_PER_YEAR;

/// Odds of a bad outcome, over the null's, that are looked for.
const WORSE_ODDS: [f64; 5] = [1.3, 2.0, 4.0, 10.0, 30.0];
/// Odds, over the incumbent's, of a newcomer that is fine.
const FINE_ODDS: [f64; 3] = [1.0, 0.8, 0.5];
/// What a rate is believed to be before anything was counted, and how many observations that is worth.
const PRIOR: Counts = Counts { n: 10, bad: 1 };
const RATE_MIN: f64 = 1e-7;
/// Halvings of the interval in which the nearest point of the null lies.
const HALVINGS: usize = 100;
/// Rates over the tolerated one that alarms are looked for at.
const ALARM_FACTORS: [f64; 6] = [3.0, 10.0, 1e2, 1e3, 1e4, 1e5];

/// How many were counted, and how many of them were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// All.
    pub n: u64,
    /// The bad ones among them.
    pub bad: u64,
}

impl Counts {
    /// `bad` of `n`; no more can be bad than were counted.
    #[must_use]
    pub fn new(n: u64, bad: u64) -> Self {
        Self { n, bad: bad.min(n) }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { n: self.n.saturating_add(other.n), bad: self.bad.saturating_add(other.bad) }
    }

    /// The share of the bad; none of nothing.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.n > 0).then(|| self.bad as f64 / self.n as f64)
    }

    fn guess(self) -> f64 {
        let seen = self.plus(PRIOR);
        clamped(seen.bad as f64 / seen.n as f64)
    }
}

/// Evidence for and against a newcomer, block by block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    margin: f64,
    blocks: u64,
    newcomer: Counts,
    incumbent: Counts,
    /// What waits for the other group's first observation.
    open: [Counts; 2],
    /// Logarithms of the statistics; an alternative before its first block has none.
    worse: [Option<f64>; WORSE_ODDS.len()],
    fine: [Option<f64>; FINE_ODDS.len()],
}

impl Comparison {
    /// A comparison that tolerates a rate that is higher by `margin`, 0 to 1.
    #[must_use]
    pub fn new(margin: f64) -> Self {
        let margin = if margin.is_finite() { margin.clamp(0.0, 1.0) } else { 1.0 };
        Self {
            margin,
            blocks: 0,
            newcomer: Counts::default(),
            incumbent: Counts::default(),
            open: [Counts::default(); 2],
            worse: [None; WORSE_ODDS.len()],
            fine: [None; FINE_ODDS.len()],
        }
    }

    /// The margin it tolerates.
    #[must_use]
    pub const fn margin(&self) -> f64 {
        self.margin
    }

    /// What was counted of the newcomer.
    #[must_use]
    pub const fn newcomer(&self) -> Counts {
        self.newcomer.plus(self.open[0])
    }

    /// What was counted of the incumbent.
    #[must_use]
    pub const fn incumbent(&self) -> Counts {
        self.incumbent.plus(self.open[1])
    }

    /// Takes what was counted since the last block. Where one group was silent, the other's counts wait for it.
    pub fn observe(&mut self, newcomer: Counts, incumbent: Counts) {
        self.open = [self.open[0].plus(newcomer), self.open[1].plus(incumbent)];
        let [new, old] = self.open;
        if new.n == 0 || old.n == 0 {
            return;
        }
        let base = self.incumbent.guess();
        let weight = -((self.blocks as f64 + 1.0) * (self.blocks as f64 + 2.0)).ln();
        let bar = clamped(base + self.margin);
        for (log, odds) in self.worse.iter_mut().zip(WORSE_ODDS) {
            let gain = log_ratio((new, at_odds(bar, odds)), (old, base), self.margin);
            *log = Some(ln_sum(*log, weight) + gain);
        }
        for (log, odds) in self.fine.iter_mut().zip(FINE_ODDS) {
            let gain = log_ratio((old, base), (new, at_odds(base, odds)), -self.margin);
            *log = Some(ln_sum(*log, weight) + gain);
        }
        self.newcomer = self.newcomer.plus(new);
        self.incumbent = self.incumbent.plus(old);
        self.blocks += 1;
        self.open = [Counts::default(); 2];
    }

    /// Evidence, log10, that the newcomer's rate is higher than the incumbent's by more than the margin.
    #[must_use]
    pub fn log10_worse(&self) -> f64 {
        log10_mean(&self.worse, self.blocks)
    }

    /// Evidence, log10, that the newcomer's rate is higher than the incumbent's by less than the margin.
    #[must_use]
    pub fn log10_fine(&self) -> f64 {
        log10_mean(&self.fine, self.blocks)
    }

    /// How many more observations of the newcomer it takes, as things go, until the evidence that it is fine passes
    /// `log10_bar`; none if they lead nowhere or nothing was counted yet.
    #[must_use]
    pub fn more_until_fine(&self, log10_bar: f64) -> Option<u64> {
        let (new, old) = (self.newcomer, self.incumbent);
        if new.n == 0 || old.n == 0 {
            return None;
        }
        // As large a share of incumbents as so far, at the rates that were seen, in one block.
        let (base, rate) = (old.guess(), new.guess());
        let size = Counts { n: 1000, bad: (rate * 1000.0).round() as u64 };
        let other = (1000.0 * old.n as f64 / new.n as f64).clamp(1.0, 1e6);
        let other = Counts { n: other as u64, bad: (base * other).round() as u64 };
        let gain = FINE_ODDS
            .map(|odds| log_ratio((other, base), (size, at_odds(base, odds)), -self.margin))
            .into_iter()
            .fold(f64::NEG_INFINITY, f64::max);
        let missing = (log10_bar - self.log10_fine()) * std::f64::consts::LN_10;
        let more = missing / (gain / 1000.0);
        (gain > 0.0 && more.is_finite()).then_some(more.max(0.0).ceil() as u64)
    }
}

/// Evidence, log10, that devices raise alarms more often than `tolerated_per_year`: `alarms` in `device_seconds` of
/// watching together. A likelihood ratio of a Poisson process, averaged over rates that are higher: an e-process, so it
/// may be looked at any time.
#[must_use]
pub fn log10_alarming(alarms: u64, device_seconds: f64, tolerated_per_year: f64) -> f64 {
    let expected = tolerated_per_year * device_seconds.max(0.0) / SECONDS_PER_YEAR;
    if !expected.is_finite() || tolerated_per_year <= 0.0 {
        return 0.0;
    }
    let logs = ALARM_FACTORS.map(|factor: f64| alarms as f64 * factor.ln() - (factor - 1.0) * expected);
    let sum = logs.into_iter().fold(None, |sum, log| Some(ln_sum(sum, log)));
    sum.map_or(0.0, |sum| (sum - (ALARM_FACTORS.len() as f64).ln()) / std::f64::consts::LN_10)
}

fn clamped(rate: f64) -> f64 {
    rate.clamp(RATE_MIN, 1.0 - RATE_MIN)
}

fn at_odds(rate: f64, odds: f64) -> f64 {
    clamped(rate * odds / (1.0 - rate + rate * odds))
}

/// Log likelihood ratio of two groups with the rates given beside them, against the nearest pair of rates of which the
/// first is the second plus `margin`. Nothing if the pair given does not lie beyond that line.
fn log_ratio((first, a): (Counts, f64), (second, b): (Counts, f64), margin: f64) -> f64 {
    if a <= b + margin {
        return 0.0;
    }
    let (low, high) = (f64::max(0.0, -margin), f64::min(1.0, 1.0 - margin));
    let Some(x) = nearest((first.n as f64, a), (second.n as f64, b), margin, (low, high)) else { return 0.0 };
    one(first, a, x + margin) + one(second, b, x)
}

/// Where the divergence from the line `(x + margin, x)`, a convex function of `x`, is least.
fn nearest(
    (n, a): (f64, f64),
    (m, b): (f64, f64),
    margin: f64,
    (mut low, mut high): (f64, f64),
) -> Option<f64> {
    let slope = |x: f64| {
        let y = x + margin;
        n * (y - a) / (y * (1.0 - y)) + m * (x - b) / (x * (1.0 - x))
    };
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    let x = f64::midpoint(low, high);
    let inside = |rate: f64| rate > 0.0 && rate < 1.0;
    (inside(x) && inside(x + margin)).then_some(x)
}

fn one(counts: Counts, rate: f64, null: f64) -> f64 {
    counts.bad as f64 * (rate / null).ln()
        + (counts.n - counts.bad) as f64 * ((1.0 - rate) / (1.0 - null)).ln()
}

/// The mean of the statistics, with the weight that no change has taken yet.
fn log10_mean(logs: &[Option<f64>], blocks: u64) -> f64 {
    let unspent = -(blocks as f64 + 1.0).ln();
    let sum = logs.iter().flatten().fold(None, |sum, log| Some(ln_sum(sum, *log)));
    let mean = sum.map(|sum| sum - (logs.len() as f64).ln());
    ln_sum(mean, unspent) / std::f64::consts::LN_10
}

fn ln_sum(a: Option<f64>, b: f64) -> f64 {
    let Some(a) = a else { return b };
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    high + (low - high).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    const ALPHA: f64 = 0.01;

    fn bernoulli(random: &mut ChaCha8Rng, n: u64, rate: f64) -> Counts {
        let bad = (0..n).filter(|_| f64::from(random.next_u32()) / f64::from(u32::MAX) < rate).count();
        Counts::new(n, bad as u64)
    }

    /// Blocks until the newcomer is found worse; none within `blocks`.
    fn found(
        seed: u64,
        margin: f64,
        rates: impl Fn(u64) -> (f64, f64),
        (n, m): (u64, u64),
        blocks: u64,
    ) -> Option<u64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut comparison = Comparison::new(margin);
        (0..blocks).find(|block| {
            let (new, old) = rates(*block);
            let pair = (bernoulli(&mut random, n, new), bernoulli(&mut random, m, old));
            comparison.observe(pair.0, pair.1);
            comparison.log10_worse() >= -ALPHA.log10()
        })
    }

    #[test]
    fn an_equal_newcomer_is_taken_for_worse_as_rarely_as_stated() {
        // At the very edge of the null, small and large groups, and a day that is hard for both.
        for (margin, sizes) in [(0.0, (3, 30)), (0.02, (20, 20)), (0.0, (200, 1))] {
            let day = |block: u64| {
                let rate = if block % 20 < 10 { 0.05 } else { 0.3 };
                (rate + margin, rate)
            };
            let false_ones =
                (0..1_000).filter(|seed| found(*seed, margin, day, sizes, 100).is_some()).count();
            assert!(false_ones <= 10, "{false_ones} of 1000 at {ALPHA}, margin {margin}, {sizes:?}");
        }
    }

    #[test]
    fn a_worse_newcomer_is_found_soon_even_if_it_was_good_at_first() {
        let check = |rates: fn(u64) -> (f64, f64), labels_max: u64| {
            let delays: Vec<u64> =
                (0..50).map(|seed| found(seed, 0.02, rates, (5, 45), 2_000).unwrap()).collect();
            let mean = delays.iter().sum::<u64>() * 5 / 50;
            assert!(mean <= labels_max, "{mean} labels, at most {labels_max} wanted");
        };
        check(|_| (0.5, 0.03), 40);
        check(|_| (0.15, 0.03), 200);
        check(|block| if block < 100 { (0.03, 0.03) } else { (0.5, 0.03) }, 600);
    }

    #[test]
    fn a_newcomer_that_is_fine_is_shown_to_be_and_one_that_is_not_never() {
        let shown = |seed: u64, new: f64| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut comparison = Comparison::new(0.05);
            (0..200).find(|_| {
                let pair = (bernoulli(&mut random, 10, new), bernoulli(&mut random, 40, 0.05));
                comparison.observe(pair.0, pair.1);
                comparison.log10_fine() >= -ALPHA.log10()
            })
        };
        let (mut fine, mut wrong) = (0, 0);
        for seed in 0..200 {
            fine += usize::from(shown(seed, 0.05).is_some());
            wrong += usize::from(shown(seed, 0.1).is_some());
        }
        assert!(fine >= 190, "{fine} of 200");
        assert!(wrong <= 2, "{wrong} of 200");
    }

    #[test]
    fn what_is_still_needed_is_about_what_it_takes() {
        let mut comparison = Comparison::new(0.05);
        assert_eq!(comparison.more_until_fine(2.0), None);
        let block = (Counts::new(100, 3), Counts::new(100, 3));
        comparison.observe(block.0, block.1);
        let needed = comparison.more_until_fine(2.0).unwrap();
        let mut taken = 0;
        while comparison.log10_fine() < 2.0 {
            comparison.observe(block.0, block.1);
            taken += 100;
        }
        assert!(needed > 0 && (taken / 4..taken * 4).contains(&needed), "{needed} said, {taken} taken");
    }

    #[test]
    fn one_group_alone_is_no_evidence_and_nonsense_says_nothing() {
        let mut comparison = Comparison::new(f64::NAN);
        comparison.observe(Counts::new(5, 9), Counts::default());
        assert_eq!((comparison.newcomer(), comparison.log10_worse()), (Counts { n: 5, bad: 5 }, 0.0));
        comparison.observe(Counts::default(), Counts::new(u64::MAX, 3));
        comparison.observe(Counts::new(u64::MAX, u64::MAX), Counts::new(1, 0));
        assert!(comparison.log10_worse().is_finite() && comparison.log10_fine().is_finite());
        let mut even = Comparison::new(0.0);
        even.observe(Counts::new(3, 3), Counts::new(3, 3));
        let text = serde_json::to_string(&even).unwrap();
        assert_eq!(serde_json::from_str::<Comparison>(&text).unwrap(), even);
    }

    #[test]
    fn alarms_count_against_the_time_that_was_watched() {
        let minute = 60.0;
        assert!(log10_alarming(1, minute, 1.0) > 2.0, "{}", log10_alarming(1, minute, 1.0));
        assert!(log10_alarming(0, minute, 1.0) <= 0.0);
        // Twenty thousand devices for an hour: two false alarms are to be expected.
        let fleet = 20_000.0 * 3600.0;
        assert!(log10_alarming(4, fleet, 1.0) < 2.0 && log10_alarming(12, fleet, 1.0) > 2.0);
        assert_eq!(log10_alarming(9, f64::NAN, 1.0).max(0.0), log10_alarming(9, 0.0, 1.0));
        assert_eq!(log10_alarming(9, minute, 0.0), 0.0);
    }
}
