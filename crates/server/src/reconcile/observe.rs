//! What the planner of rollouts sees: every device, the gates' evidence, and the alarms.

use std::collections::BTreeSet;

use edgeward_core::rollout::{DeviceObserved, GateKind, GateObserved, Observed, Tally};
use edgeward_core::{Alert, Bucket, DeviceId, Digest, Timestamp};
use edgeward_monitor::{SECONDS_PER_YEAR, log10_alarming};
use edgeward_store::{DeviceState, ROWS_PAGE_MAX, RolloutRow, StoreError, View};

use super::evidence;
use crate::members;

/// Starts of an agent with one bundle, within one rollout, that are no longer anybody's doing.
const STARTS_MAX: u64 = 3;

/// Everything the planner asks about a rollout.
pub(crate) fn observed(view: &View<'_>, row: &RolloutRow, now: Timestamp) -> Result<Observed, StoreError> {
    let states = states(view, row)?;
    let mut gates = Vec::new();
    if let Some(from) = row.from.filter(|from| *from != row.bundle && row.wave.is_some()) {
        if let (_, Some(evidence)) = evidence::of(view, row)? {
            gates.extend(evidence.observed(&row.policy));
        }
        gates.push(alarms(view, row, from, &states, now)?);
    }
    Ok(Observed {
        gates,
        start_at_ms: row.start_at_ms,
        waves_approved: row.waves_approved,
        paused: row.paused,
        ..Observed::new(row.bundle, row.wave, states.into_iter().map(|state| observe(row, state)).collect())
    })
}

/// The devices that a rollout is for: those of its group, without those that are pinned.
fn states(view: &View<'_>, row: &RolloutRow) -> Result<Vec<DeviceState>, StoreError> {
    let mut states = view.device_states(&row.model)?;
    if let Some(group) = &row.policy.group {
        let members = members::of(view, group)?.unwrap_or_default();
        states.retain(|state| members.contains(&state.device));
    }
    let pins = view.pins(&row.model)?;
    states.retain(|state| !pins.contains_key(&state.device));
    Ok(states)
}

fn observe(row: &RolloutRow, state: DeviceState) -> DeviceObserved {
    let runs_it = state.bundle == Some(row.bundle);
    let refused = state.refused.into_iter().find(|refused| refused.bundle == row.bundle);
    let loops = runs_it && state.starts >= STARTS_MAX;
    let looping = || format!("its agent started {} times since it runs the bundle", state.starts);
    DeviceObserved {
        bucket: Bucket::of(&row.id, &state.device),
        seen_at_ms: state.seen_at_ms,
        running_since_ms: state.since_ms.filter(|_| runs_it),
        hardware: state.hardware,
        failure: refused.map(|refused| refused.reason).or_else(|| loops.then(looping)),
        device: state.device,
    }
}

/// Devices that raised an alarm about the new bundle, against the time that devices watched it. What devices with the
/// bundle before raise over the same time is nothing unusual either: the world may change for both.
fn alarms(
    view: &View<'_>,
    row: &RolloutRow,
    from: Digest,
    states: &[DeviceState],
    now: Timestamp,
) -> Result<GateObserved, StoreError> {
    let alerts = view.alerts(Some(&row.model), ROWS_PAGE_MAX)?;
    let began = row.resumed_at_ms.unwrap_or(row.started_at_ms);
    let is_first = is_first_rollout(view, row)?;
    let newcomer = Watched::of(row.bundle, &alerts, states, began, now, is_first);
    let incumbent = Watched::of(from, &alerts, states, began, now, false);
    let usual = match incumbent.devices {
        0 => 0.0,
        devices => (devices as f64 + 1.0) * SECONDS_PER_YEAR / incumbent.seconds.max(1.0),
    };
    let tolerated = row.policy.gates.alarms_per_device_year.max(usual);
    Ok(GateObserved {
        gate: GateKind::Alarms,
        newcomer: newcomer.tally(),
        incumbent: incumbent.tally(),
        log10_worse: log10_alarming(newcomer.devices, newcomer.seconds, tolerated),
        log10_fine: None,
        more: None,
    })
}

/// Whether nobody tried the bundle before. Then every alarm about it counts, whenever a device's clock says it was.
fn is_first_rollout(view: &View<'_>, row: &RolloutRow) -> Result<bool, StoreError> {
    let rollouts = view.rollouts(Some(&row.model), ROWS_PAGE_MAX)?;
    let is_fresh = row.resumed_at_ms.is_none();
    Ok(is_fresh && !rollouts.iter().any(|other| other.bundle == row.bundle && other.id != row.id))
}

/// How long devices watched one bundle, and how many raised an alarm about it.
struct Watched {
    running: u64,
    seconds: f64,
    devices: u64,
}

impl Watched {
    fn of(
        bundle: Digest,
        alerts: &[Alert],
        states: &[DeviceState],
        began: Timestamp,
        now: Timestamp,
        at_any_time: bool,
    ) -> Self {
        let running = || states.iter().filter(|state| state.bundle == Some(bundle));
        let watched = |state: &DeviceState| now.since(state.since_ms.unwrap_or(now).max(began)).as_secs_f64();
        let counts = |alert: &&Alert| {
            alert.bundle == bundle && !alert.kind.is_of_fleet() && (at_any_time || alert.at_ms >= began)
        };
        let raised: BTreeSet<&DeviceId> = alerts.iter().filter(counts).map(|alert| &alert.device).collect();
        Self {
            running: running().count() as u64,
            seconds: running().map(watched).sum(),
            devices: raised.len() as u64,
        }
    }

    fn tally(&self) -> Tally {
        Tally { n: self.running.max(self.devices), bad: self.devices }
    }
}
