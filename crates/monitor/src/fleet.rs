//! One odd device, or another world? Evidence of many devices, pooled from the profiles they send.
//!
//! Every device, and several pools of devices, keeps an e-process: the product of its windows' likelihood ratios since a
//! change, averaged over when the change came, over alternatives and over streams. Under the reference each is a
//! non-negative supermartingale that begins at one, so it ever exceeds `1/a` with probability at most `a` (J. Ville,
//! 1939), at whatever time one looks.
//!
//! - **Sooner.** A pool multiplies what its devices saw under one alternative and one change time, so a shift too small
//!   for any of them adds up. This takes devices for independent of each other while nothing has changed.
//! - **The world changed** if the pool that lacks any one quarter of the devices (any half, from [`FLEET_LARGE`] devices
//!   on) still passes the threshold: no device, and none of those in one or two quarters, can raise it alone.
//! - **One device is odd** if its own e-process passes the threshold of the e-Benjamini-Hochberg procedure, which keeps
//!   the expected share of false ones among all that are named below its level *under any dependence*: R. Wang and
//!   A. Ramdas, "False discovery rate control with e-values", JRSS B 84 (2022). A device that was named no longer feeds
//!   the pools.
//! - **It is over**, for a device or for the world, once the evidence has fallen by six powers of ten from its most, or is
//!   gone. The e-processes concerned begin anew at one, so that saying it once more is as sure as it was the first time.
//!
//! Deliberately missing: streams of ordered references. What they judge is what a device's own past did not predict;
//! their counts are dependent over time, and no product of ratios holds for them.

use std::collections::BTreeMap;

use crate::alternative::{self, Alternative, Table};
use crate::profile::{Profile, ProfileError};
use crate::ratio;
use crate::reference::{Reference, Stream};

/// Most devices that are judged one by one; those that come later count in the pools only.
pub const MAX_FLEET_DEVICES: usize = 10_000;
/// Devices from which on the world's change must show without any half of the fleet.
pub const FLEET_LARGE: usize = 8;
/// Powers of ten by which evidence falls, where it does not end before, until what it said is over. A change that is still there
/// loses as much by chance about once in so many windows.
const OVER_LOG10: f64 = 6.0;
/// Parts that devices are dealt to in the order in which they appear.
const QUARTERS: usize = 4;

/// How sure to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetConfig {
    /// Probability of ever saying that the world changed when at most one quarter of the devices did.
    pub world_alpha: f64,
    /// Expected share of devices that are named odd and are not.
    pub false_discovery_rate: f64,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self { world_alpha: 0.01, false_discovery_rate: 0.05 }
    }
}

/// A change, and how strongly it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetChange {
    /// Stream that shows it most.
    pub stream: String,
    /// The change in words, as "higher values".
    pub change: String,
    /// Evidence, log10.
    pub log10_evidence: f64,
    /// Threshold it passed, log10.
    pub log10_threshold: f64,
}

/// What a fleet's profiles say.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetJudgement<D> {
    /// Devices that have sent a profile.
    pub devices: usize,
    /// Observations in all of them.
    pub samples: u64,
    /// Evidence of all devices together, log10.
    pub log10_evidence: f64,
    /// The device with the most evidence.
    pub leading: Option<D>,
    /// The change that many devices share.
    pub world: Option<FleetChange>,
    /// Devices that differ from the reference on their own, the oddest first.
    pub odd: Vec<(D, FleetChange)>,
    /// Devices that were odd and are not any more; they feed the pools again.
    pub recovered: Vec<D>,
    /// The world had changed, and is as the reference has it again.
    pub world_is_back: bool,
}

/// Names of the largest e-values that may be called discoveries at `level`: indices, largest first, and the base-ten
/// logarithm of the threshold they passed. `log10_e` holds base-ten logarithms of e-values.
///
/// The k largest, for the greatest k whose smallest is at least `n / (level k)`.
#[must_use]
pub fn e_benjamini_hochberg(log10_e: &[f64], level: f64) -> (Vec<usize>, f64) {
    let n = log10_e.len() as f64;
    let mut order: Vec<usize> = (0..log10_e.len()).collect();
    order.sort_by(|a, b| log10_e[*b].total_cmp(&log10_e[*a]));
    let bar = |k: usize| (n / (level * k as f64)).log10();
    let found = (1..=order.len()).rev().find(|k| log10_e[order[k - 1]] >= bar(*k)).unwrap_or(0);
    order.truncate(found);
    (order, bar(found.max(1)))
}

/// Logarithms of the ratios of one stream's alternatives, by cell.
#[derive(Debug, Clone)]
struct Ratios {
    logs: Vec<f64>,
    alternatives: Vec<Alternative>,
    /// Where its statistics begin.
    start: usize,
}

impl Ratios {
    fn of(table: &Table, start: usize) -> Self {
        let width = table.alternatives.len();
        let rows = table.codes.chunks_exact(table.lanes);
        let logs = rows.flat_map(|row| row[..width].iter().map(|code| f64::from(ratio::decode(*code)).ln()));
        Self { logs: logs.collect(), alternatives: table.alternatives.clone(), start }
    }

    /// Adds the log likelihood ratio of `counts` to each alternative's.
    fn add(&self, counts: &[u64], sums: &mut [f64]) {
        let width = self.alternatives.len();
        let sums = &mut sums[self.start..self.start + width];
        for (count, logs) in counts.iter().zip(self.logs.chunks_exact(width)).filter(|(count, _)| **count > 0)
        {
            sums.iter_mut().zip(logs).for_each(|(sum, log)| *sum += *count as f64 * log);
        }
    }
}

/// An e-process over windows: logarithms of the statistics that began at some window, and their number.
#[derive(Debug, Clone)]
struct Pool {
    logs: Vec<f64>,
    windows: f64,
}

impl Pool {
    fn new(width: usize) -> Self {
        Self { logs: vec![f64::NEG_INFINITY; width], windows: 0.0 }
    }

    /// One window: the change may begin with it, with prior probability `1 / ((t + 1)(t + 2))`.
    fn step(&mut self, ratios: &[f64]) {
        let weight = -((self.windows + 1.0) * (self.windows + 2.0)).ln();
        for (log, ratio) in self.logs.iter_mut().zip(ratios) {
            *log = ln_sum(*log, weight) + ratio;
        }
        self.windows += 1.0;
    }

    /// Base-ten logarithm of the average over `weights`, the change that has not come yet included.
    fn log10(&self, weights: &[f64]) -> f64 {
        let begun = self.logs.iter().zip(weights).map(|(log, weight)| log + weight.ln());
        let yet = -(self.windows + 1.0).ln();
        begun.fold(yet, ln_sum) / std::f64::consts::LN_10
    }

    /// Whether what was said at evidence of at most `most` is over; keeps the most.
    fn is_over(&self, weights: &[f64], most: &mut f64) -> bool {
        let log10 = self.log10(weights);
        *most = most.max(log10);
        log10 <= (*most - OVER_LOG10).max(0.0)
    }

    fn begin_anew(&mut self) {
        *self = Self::new(self.logs.len());
    }

    fn leading(&self) -> Option<usize> {
        (0..self.logs.len()).max_by(|a, b| self.logs[*a].total_cmp(&self.logs[*b]))
    }
}

/// `ln(e^a + e^b)`.
fn ln_sum(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[derive(Debug, Clone)]
struct Member {
    quarter: usize,
    pool: Pool,
    /// The most evidence since it was named; none if it is not.
    named: Option<f64>,
}

/// Watches the devices that run one bundle.
#[derive(Debug, Clone)]
pub struct FleetWatch<D> {
    config: FleetConfig,
    empty: Profile,
    names: Vec<String>,
    ratios: Vec<Option<Ratios>>,
    changes: Vec<(usize, String)>,
    weights: Vec<f64>,
    all: Pool,
    /// The quarters that each pool lacks, and the pool.
    partial: Vec<(Vec<usize>, Pool)>,
    /// The most evidence of all together since the world was said to have changed; none if it was not.
    changed: Option<f64>,
    members: BTreeMap<D, Member>,
    crowd: usize,
    samples: u64,
}

impl<D: Ord + Clone> FleetWatch<D> {
    /// A watch over devices whose profiles are of `reference`.
    #[must_use]
    pub fn new(reference: &Reference, config: FleetConfig) -> Self {
        let ratios = ratios(reference);
        let active = ratios.iter().flatten().count().max(1) as f64;
        let (mut changes, mut weights) = (Vec::new(), Vec::new());
        for (i, (ratios, stream)) in ratios.iter().zip(reference.streams()).enumerate() {
            for alternative in ratios.iter().flat_map(|ratios| &ratios.alternatives) {
                changes.push((i, alternative.describe(stream)));
            }
            let width = ratios.as_ref().map_or(0, |ratios| ratios.alternatives.len());
            weights.extend(std::iter::repeat_n(1.0 / (active * width as f64), width));
        }
        let pool = Pool::new(weights.len());
        let ones = (0..QUARTERS).map(|quarter| vec![quarter]);
        let pairs = (0..QUARTERS).flat_map(|a| (0..a).map(move |b| vec![b, a]));
        Self {
            config,
            empty: Profile::new(reference),
            names: reference.streams().iter().map(|stream| stream.name().to_owned()).collect(),
            partial: ones.chain(pairs).map(|lacks| (lacks, pool.clone())).collect(),
            ratios,
            changes,
            weights,
            all: pool,
            changed: None,
            members: BTreeMap::new(),
            crowd: 0,
            samples: 0,
        }
    }

    /// Takes one window of one device.
    ///
    /// # Errors
    /// The profile is of another reference.
    pub fn observe(&mut self, device: &D, profile: &Profile) -> Result<(), ProfileError> {
        // Merging with an empty profile of the reference proves that the shapes agree.
        self.empty.merge(profile)?;
        if profile.n() == 0 {
            return Ok(());
        }
        let ratios = self.window(profile);
        self.samples = self.samples.saturating_add(profile.n());
        let quarter = self.join(device, &ratios);
        let Some(quarter) = quarter else { return Ok(()) };
        self.all.step(&ratios);
        let holding = self.partial.iter_mut().filter(|(lacks, _)| !lacks.contains(&quarter));
        holding.for_each(|(_, pool)| pool.step(&ratios));
        Ok(())
    }

    /// Log likelihood ratios of one window, by alternative.
    fn window(&self, profile: &Profile) -> Vec<f64> {
        let mut sums = vec![0.0; self.weights.len()];
        for (ratios, stream) in self.ratios.iter().zip(profile.streams()) {
            if let Some(ratios) = ratios {
                ratios.add(&stream.counts(), &mut sums);
            }
        }
        sums
    }

    /// The device's own step; its quarter, unless it was named odd before.
    fn join(&mut self, device: &D, ratios: &[f64]) -> Option<usize> {
        let quarter = self.members.len() % QUARTERS;
        if !self.members.contains_key(device) && self.members.len() >= MAX_FLEET_DEVICES {
            self.crowd += 1;
            return Some(self.crowd % QUARTERS);
        }
        let fresh = || Member { quarter, pool: Pool::new(ratios.len()), named: None };
        let member = self.members.entry(device.clone()).or_insert_with(fresh);
        member.pool.step(ratios);
        member.named.is_none().then_some(member.quarter)
    }

    /// What the profiles so far say. A device that is named here no longer feeds the pools.
    pub fn judge(&mut self) -> FleetJudgement<D> {
        let (recovered, world_is_back) = (self.recovered(), self.world_is_back());
        let own: Vec<(D, f64)> =
            self.members.iter().map(|(device, member)| (device.clone(), self.log10(&member.pool))).collect();
        let leading = own.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(device, _)| device.clone());
        let evidence: Vec<f64> = own.iter().map(|(_, log10)| *log10).collect();
        let (found, log10_threshold) = e_benjamini_hochberg(&evidence, self.config.false_discovery_rate);
        let odd = found.into_iter().filter_map(|i| {
            let (device, log10) = &own[i];
            Some((device.clone(), self.change(&self.members[device].pool, *log10, log10_threshold)?))
        });
        let odd: Vec<(D, FleetChange)> = odd.collect();
        for (device, change) in &odd {
            let most = change.log10_evidence;
            self.members
                .entry(device.clone())
                .and_modify(|member| member.named = member.named.or(Some(most)));
        }
        let (world, log10_evidence) = (self.world(), self.log10(&self.all));
        if world.is_some() {
            self.changed.get_or_insert(log10_evidence);
        }
        FleetJudgement {
            devices: self.members.len(),
            samples: self.samples,
            log10_evidence,
            leading,
            world,
            odd,
            recovered,
            world_is_back,
        }
    }

    /// Those of the named devices for which it is over; they begin anew.
    fn recovered(&mut self) -> Vec<D> {
        let mut recovered = Vec::new();
        for (device, member) in &mut self.members {
            let over = member.named.as_mut().is_some_and(|most| member.pool.is_over(&self.weights, most));
            if over {
                member.named = None;
                member.pool.begin_anew();
                recovered.push(device.clone());
            }
        }
        recovered
    }

    /// Whether it is over for the world; the pools then begin anew.
    fn world_is_back(&mut self) -> bool {
        let over = self.changed.as_mut().is_some_and(|most| self.all.is_over(&self.weights, most));
        if over {
            self.changed = None;
            self.all.begin_anew();
            self.partial.iter_mut().for_each(|(_, pool)| pool.begin_anew());
        }
        over
    }

    fn log10(&self, pool: &Pool) -> f64 {
        pool.log10(&self.weights)
    }

    fn change(&self, pool: &Pool, log10_evidence: f64, log10_threshold: f64) -> Option<FleetChange> {
        let (stream, change) = &self.changes[pool.leading()?];
        let (stream, change) = (self.names[*stream].clone(), change.clone());
        Some(FleetChange { stream, change, log10_evidence, log10_threshold })
    }

    /// The weakest of the pools that lack one quarter, or two where there are many devices.
    fn world(&self) -> Option<FleetChange> {
        if self.members.len() < 2 {
            return None;
        }
        let lacking = if self.members.len() >= FLEET_LARGE { 2 } else { 1 };
        let pools = self.partial.iter().filter(|(lacks, _)| lacks.len() == lacking);
        let weakest = pools.map(|(_, pool)| self.log10(pool)).min_by(f64::total_cmp)?;
        // Two rules share the probability: one for small fleets and one for large ones.
        let log10_threshold = (2.0 / self.config.world_alpha).log10();
        let change = || self.change(&self.all, weakest, log10_threshold);
        (weakest >= log10_threshold).then(change).flatten()
    }
}

fn ratios(reference: &Reference) -> Vec<Option<Ratios>> {
    let judged = |stream: &Stream| !stream.is_silent() && stream.verification().is_none();
    let watched = reference.streams().iter().filter(|stream| judged(stream)).count();
    let mut start = 0;
    let each = reference.streams().iter().map(|stream| {
        let table = if judged(stream) { alternative::table(stream, stream.worth(), watched) } else { None };
        let ratios = Ratios::of(&table?, start);
        start += ratios.alternatives.len();
        Some(ratios)
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_procedure_is_that_of_wang_and_ramdas() {
        let logs = |e: &[f64]| e.iter().map(|e| e.log10()).collect::<Vec<_>>();
        // 4 / (0.1 k): 40, 20, 13.3, 10.
        let (found, bar) = e_benjamini_hochberg(&logs(&[12.0, 1.0, 25.0, 21.0]), 0.1);
        assert_eq!(found, [2, 3]);
        assert!((10f64.powf(bar) - 20.0).abs() < 1e-9);
        let (found, _) = e_benjamini_hochberg(&logs(&[12.0, 13.5, 25.0, 14.0]), 0.1);
        assert_eq!(found, [2, 3, 1, 0]);
        let (found, bar) = e_benjamini_hochberg(&logs(&[12.0, 1.0, 39.0, 1.0]), 0.1);
        assert!(found.is_empty() && (10f64.powf(bar) - 40.0).abs() < 1e-9);
        assert!(e_benjamini_hochberg(&[], 0.1).0.is_empty());
    }

    #[test]
    fn a_pool_begins_at_one_and_averages_over_the_change_time() {
        let mut pool = Pool::new(2);
        assert_eq!(pool.log10(&[0.5, 0.5]), 0.0);
        pool.step(&[2f64.ln(), 0.0]);
        // Half a chance that the change came: 1/2 (2 + 1) / 2 + 1/2.
        assert!((10f64.powf(pool.log10(&[0.5, 0.5])) - 1.25).abs() < 1e-12);
        pool.step(&[2f64.ln(), 0.0]);
        // (1/2 * 4 + 1/6 * 2 + 1/2 + 1/6) / 2 + 1/3.
        assert!((10f64.powf(pool.log10(&[0.5, 0.5])) - (3.0 / 2.0 + 1.0 / 3.0)).abs() < 1e-12);
        assert_eq!(pool.leading(), Some(0));
    }
}
