//! What devices count becomes the evidence that a rollout's gates rest on.
//!
//! While a rollout is under way, every window that arrives is folded, once and in the order of arrival, into one
//! [`Comparison`] per gate: what devices with the rollout's bundle counted, against what devices with the bundle before
//! counted over the same time. What was folded is kept with the arrival it reaches, in one transaction, so that a crash
//! folds nothing twice.

use edgeward_api::device::{LATENCY_BOUNDS_US, Service};
use edgeward_core::rollout::{GateKind, GateObserved, RolloutPolicy, Tally};
use edgeward_core::{Digest, Timestamp};
use edgeward_monitor::{Comparison, Counts, ErrorSizes};
use edgeward_store::{ArrivedWindow, RolloutRow, StoreError, View, WINDOWS_PAGE_MAX};
use serde::{Deserialize, Serialize};

use super::ReconcileError;
use crate::app::{App, Decision};
use crate::members;

/// The share of the incumbent's requests that set what is slow.
const QUICK_SHARE: f64 = 0.99;
/// The share of the incumbent's errors that set which error of a regression is as good as a wrong answer.
const CLOSE_SHARE: f64 = 0.9;

type Latency = [u64; LATENCY_BOUNDS_US.len() + 1];

/// What was folded for one rollout.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// The rollout was let go on then, which began this anew.
    resumed_at_ms: Option<Timestamp>,
    accuracy: Comparison,
    failed: Comparison,
    slow: Comparison,
    /// Latencies of the incumbent up to the last block. They say what is slow in the next one.
    latency: Latency,
    /// Errors of the incumbent up to the last block. They say what is wrong in the next one.
    #[serde(default)]
    errors: ErrorSizes,
}

/// What one group counted in one block.
#[derive(Debug, Default)]
struct Block {
    labels: Counts,
    /// Of a regression: the sizes of errors, in place of labels.
    errors: ErrorSizes,
    requests: Counts,
    latency: Latency,
}

/// Folds what arrived for every rollout under way.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    if app.read(|view| Ok::<_, ReconcileError>(news(view)?.is_some())).await? {
        app.decide(|decision| fold_all(decision).map_err(ReconcileError::from)).await?;
    }
    Ok(())
}

/// Whether anything waits to be folded.
fn news(view: &View<'_>) -> Result<Option<()>, StoreError> {
    for row in view.rollouts_under_way()? {
        if compared(&row).is_none() {
            continue;
        }
        let (arrival, evidence) = of(view, &row)?;
        let is_new = evidence.is_none();
        if is_new || !view.windows_after(&row.model, arrival, 1)?.is_empty() {
            return Ok(Some(()));
        }
    }
    Ok(None)
}

/// The bundles that are compared once the first wave is open: the new one and the one before.
fn compared(row: &RolloutRow) -> Option<(Digest, Digest)> {
    row.wave.and(row.from).filter(|from| *from != row.bundle).map(|from| (row.bundle, from))
}

/// What was folded so far, and up to where; none that counts at the start and after the rollout was resumed.
pub(crate) fn of(view: &View<'_>, row: &RolloutRow) -> Result<(i64, Option<Evidence>), StoreError> {
    let Some((arrival, document)) = view.evidence(&row.id)? else {
        return Ok((view.latest_arrival()?, None));
    };
    let evidence: Option<Evidence> = serde_json::from_value(document).ok();
    let evidence = evidence.filter(|evidence| evidence.resumed_at_ms == row.resumed_at_ms);
    Ok((arrival, evidence))
}

fn fold_all(decision: &Decision<'_, '_>) -> Result<(), StoreError> {
    for row in decision.rollouts_under_way()? {
        if let Some(bundles) = compared(&row) {
            fold(decision, &row, bundles)?;
        }
    }
    Ok(())
}

fn fold(
    decision: &Decision<'_, '_>,
    row: &RolloutRow,
    (new, old): (Digest, Digest),
) -> Result<(), StoreError> {
    let (mut arrival, evidence) = of(decision, row)?;
    let mut evidence = evidence.unwrap_or_else(|| Evidence::new(row));
    let members = match &row.policy.group {
        Some(group) => Some(members::of(decision, group)?.unwrap_or_default()),
        None => None,
    };
    let counts =
        |window: &&ArrivedWindow| members.as_ref().is_none_or(|members| members.contains(&window.device));
    loop {
        let page = decision.windows_after(&row.model, arrival, WINDOWS_PAGE_MAX)?;
        let Some(last) = page.last() else { break };
        arrival = last.arrival;
        let group =
            |bundle: Digest| Block::of(page.iter().filter(counts).filter(|window| window.bundle == bundle));
        evidence.fold(&group(new), &group(old));
        if page.len() < WINDOWS_PAGE_MAX {
            break;
        }
    }
    match serde_json::to_value(&evidence) {
        Ok(document) => decision.put_evidence(&row.id, arrival, &document),
        // Numbers and lists of them are always writable.
        Err(_) => Ok(()),
    }
}

impl Block {
    fn of<'a>(windows: impl Iterator<Item = &'a ArrivedWindow>) -> Self {
        let mut block = Self::default();
        for window in windows {
            let service =
                window.service.clone().and_then(|service| serde_json::from_value::<Service>(service).ok());
            let errors = service.as_ref().map(|service| ErrorSizes::from(service.errors.clone()));
            match errors.filter(|errors| !errors.is_empty()) {
                Some(errors) => block.errors.merge(&errors),
                None => {
                    let wrong = window.labelled.saturating_sub(window.correct);
                    block.labels = block.labels.plus(Counts::new(window.labelled, wrong));
                }
            }
            let Some(service) = service else { continue };
            let requests = service.answered().saturating_add(service.failed);
            block.requests = block.requests.plus(Counts::new(requests, service.failed));
            add(&mut block.latency, &service.latency);
        }
        block
    }
}

fn add(sum: &mut Latency, more: &Latency) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
}

fn total(latency: &[u64]) -> u64 {
    latency.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

impl Evidence {
    fn new(row: &RolloutRow) -> Self {
        let margin = |gate| Comparison::new(row.policy.gates.margin(gate));
        Self {
            resumed_at_ms: row.resumed_at_ms,
            accuracy: margin(GateKind::Accuracy),
            failed: margin(GateKind::FailedRequests),
            slow: margin(GateKind::SlowRequests),
            latency: Latency::default(),
            errors: ErrorSizes::default(),
        }
    }

    fn fold(&mut self, new: &Block, old: &Block) {
        self.accuracy.observe(new.labels, old.labels);
        if let Some(close) = self.errors.quantile_step(CLOSE_SHARE) {
            let far = |block: &Block| Counts::new(block.errors.total(), block.errors.above(close));
            self.accuracy.observe(far(new), far(old));
        }
        self.errors.merge(&old.errors);
        self.failed.observe(new.requests, old.requests);
        if let Some(bound) = self.slow_from() {
            let slow = |block: &Block| Counts::new(total(&block.latency), total(&block.latency[bound..]));
            self.slow.observe(slow(new), slow(old));
        }
        add(&mut self.latency, &old.latency);
    }

    /// Index of the first count of slow requests. It follows from earlier blocks only: chosen from the block that it
    /// judges, it would favour the side that set it.
    fn slow_from(&self) -> Option<usize> {
        let all = total(&self.latency);
        let is_enough = |last: &usize| total(&self.latency[..=*last]) as f64 >= QUICK_SHARE * all as f64;
        (all > 0).then(|| (0..self.latency.len()).find(is_enough).unwrap_or(self.latency.len() - 1) + 1)
    }

    /// What the gates see.
    pub(crate) fn observed(&self, policy: &RolloutPolicy) -> Vec<GateObserved> {
        let bar = policy.gates.log10_pass();
        let seen = |(gate, comparison): (GateKind, &Comparison)| GateObserved {
            gate,
            newcomer: tally(comparison.newcomer()),
            incumbent: tally(comparison.incumbent()),
            log10_worse: comparison.log10_worse(),
            log10_fine: Some(comparison.log10_fine()),
            more: comparison.more_until_fine(bar),
        };
        let gates = [
            (GateKind::Accuracy, &self.accuracy),
            (GateKind::FailedRequests, &self.failed),
            (GateKind::SlowRequests, &self.slow),
        ];
        gates.into_iter().map(seen).collect()
    }
}

fn tally(counts: Counts) -> Tally {
    Tally { n: counts.n, bad: counts.bad }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_what_is_beyond_the_bound_of_99_in_100_so_far() {
        let mut latency = Latency::default();
        (latency[2], latency[3], latency[7]) = (900, 95, 5);
        let mut evidence = comparing();
        let old = Block { latency, ..Block::default() };
        evidence.fold(&Block::default(), &old);
        assert_eq!((evidence.slow_from(), evidence.slow.incumbent().n), (Some(4), 0));
        let mut slower = Latency::default();
        slower[4] = 1000;
        evidence.fold(&Block { latency: slower, ..Block::default() }, &old);
        assert_eq!(
            (evidence.slow.newcomer(), evidence.slow.incumbent()),
            (Counts::new(1000, 1000), Counts::new(1000, 5))
        );
        assert!(evidence.slow.log10_worse() > 10.0);
    }

    fn comparing() -> Evidence {
        let comparison = || Comparison::new(0.02);
        Evidence {
            resumed_at_ms: None,
            accuracy: comparison(),
            failed: comparison(),
            slow: comparison(),
            latency: Latency::default(),
            errors: ErrorSizes::default(),
        }
    }

    /// A window whose labels came with errors of these sizes.
    fn off_by(size: f64, labels: u64) -> ArrivedWindow {
        let mut errors = ErrorSizes::default();
        (1..=labels).for_each(|n| errors.observe(size * n as f64 / labels as f64));
        let service = Service { errors: errors.into(), ..Service::default() };
        ArrivedWindow {
            arrival: 1,
            device: edgeward_core::DeviceId::new("d").unwrap(),
            bundle: Digest::of(b"b"),
            labelled: labels,
            correct: 0,
            service: Some(serde_json::to_value(service).unwrap()),
        }
    }

    #[test]
    fn a_regression_is_wrong_where_it_errs_more_than_nine_in_ten_of_the_one_before() {
        let fold = |newcomer: f64| {
            let mut evidence = comparing();
            for _ in 0..20 {
                let [new, old] = [newcomer, 1.0].map(|size| Block::of([off_by(size, 50)].iter()));
                evidence.fold(&new, &old);
            }
            evidence.accuracy
        };
        let same = fold(1.0);
        assert_eq!((same.newcomer(), same.newcomer().n), (same.incumbent(), 19 * 50));
        assert!(same.log10_worse() < 0.0);
        assert!(fold(0.5).log10_fine() > 2.0, "a better one is shown to be fine");
        let worse = fold(3.0);
        assert!(worse.log10_worse() > 10.0, "{worse:?}");
    }
}
