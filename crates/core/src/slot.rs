//! The device's update decision: two slots, one of them active, and what to do next.
//!
//! [`step`] takes the persisted state and one event and returns the next state with the effects to carry out. It only
//! computes; whoever calls it persists the state *before* acting on the effects, so that a crash between any two
//! system calls loses at most work that is then done again. The invariants, each a test:
//! - a slot becomes active only after its bundle was verified and passed its golden test on this device;
//! - the slot a device falls back to is never touched before the new one is committed;
//! - attempts are counted only in probation: a healthy device never falls back, however often it restarts;
//! - a bundle that was refused is not fetched again;
//! - bytes that were damaged on the way or on the disk are never held against the bundle: it is tried again a few times,
//!   then rarely, but never refused for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::as_ms;
use crate::{Digest, Timestamp};

/// Most refused bundles a device remembers; the oldest is forgotten first.
pub const REFUSED_MAX: usize = 8;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotId {
    /// The first.
    A,
    /// The second.
    B,
}

impl SlotId {
    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`: the folder's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// How patient a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotPolicy {
    /// How long a new bundle must serve without fault before it is committed.
    #[serde(with = "as_ms")]
    pub probation_ms: Duration,
    /// Starts within probation before the bundle is blamed and dropped.
    pub probation_starts_max: u32,
    /// Wait after the first failed fetch; doubled with each further one.
    #[serde(with = "as_ms")]
    pub retry_ms: Duration,
    /// Longest wait between two fetches.
    #[serde(with = "as_ms")]
    pub retry_ms_max: Duration,
    /// Damaged fetches in a row before a long wait.
    pub damaged_max: u32,
    /// That wait, after which as many more are made.
    #[serde(with = "as_ms")]
    pub damaged_rest_ms: Duration,
}

impl Default for SlotPolicy {
    fn default() -> Self {
        Self {
            probation_ms: Duration::from_secs(60),
            probation_starts_max: 3,
            retry_ms: Duration::from_secs(1),
            retry_ms_max: Duration::from_secs(300),
            damaged_max: 4,
            damaged_rest_ms: Duration::from_secs(3600),
        }
    }
}

/// What a device remembers about one model. Persisted after every step.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What serves now.
    pub active: Option<Installed>,
    /// What served before, kept as the way back while the active bundle is in probation, and after it until the slot
    /// is needed.
    pub previous: Option<Installed>,
    /// What is going on.
    pub phase: Phase,
    /// Bundles this device will not run, with the reason; the newest last.
    pub refused: Vec<Refused>,
}

impl State {
    /// When a tick will next change something by the passing of time alone; none if nothing waits.
    #[must_use]
    pub const fn due_ms(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Probation { until_ms, .. } => Some(until_ms),
            _ => None,
        }
    }
}

/// A verified bundle in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Where.
    pub slot: SlotId,
    /// What.
    pub bundle: Digest,
}

/// A bundle that this device refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The bundle.
    pub bundle: Digest,
    /// Why.
    pub reason: String,
}

/// What is going on.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// A bundle is fetched, verified and tested in the idle slot.
    Staging {
        /// Into which slot.
        slot: SlotId,
        /// Which bundle.
        bundle: Digest,
        /// Failed fetches so far.
        failures: u32,
        /// How many of the last ones brought damaged bytes.
        #[serde(default, skip_serializing_if = "is_zero")]
        damaged: u32,
        /// Not before this time; none while an attempt is under way.
        retry_at_ms: Option<Timestamp>,
    },
    /// The new bundle serves and is watched.
    Probation {
        /// When it is committed.
        until_ms: Timestamp,
        /// Starts of the agent since it was activated.
        starts: u32,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The trusted desired state names this bundle, or none, for the device.
    Desired(Option<Digest>),
    /// Staging of `bundle` ended.
    Staged {
        /// Which bundle.
        bundle: Digest,
        /// How.
        outcome: StageOutcome,
    },
    /// The active bundle cannot serve: it does not load, or its app does not come back.
    Unhealthy {
        /// Why.
        reason: String,
    },
    /// The active bundle's files have changed on the disk since they were verified: no fault of the bundle.
    Damaged {
        /// Where and how.
        reason: String,
    },
    /// Another model needs room: a way back that was kept beyond its probation is given up.
    MakeRoom,
    /// The agent started.
    Started,
    /// Time passed.
    Tick,
}

/// How staging ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageOutcome {
    /// Fetched, verified, and its golden test passed.
    Ready,
    /// Could not be fetched; worth another try.
    Unreachable(String),
    /// There is no room for it; worth another try, once there is.
    NoRoom(String),
    /// What came, or what lies on the disk, is not what was signed; other bytes may be right.
    Damaged(String),
    /// What was signed is wrong, cannot run here or gives wrong answers: never worth another try.
    Refused(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Empty `slot`, fetch `bundle` into it, verify it, run its golden test; then report [`Input::Staged`].
    Stage {
        /// Into which slot.
        slot: SlotId,
        /// Which bundle.
        bundle: Digest,
    },
    /// Serve the bundle in this slot from the next request on.
    Activate(Installed),
    /// Stop serving the model: there is nothing good to serve.
    Deactivate,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Persist this first.
    pub state: State,
    /// Then do these, in order.
    pub effects: Vec<Effect>,
    /// Why, for people.
    pub reasons: Vec<String>,
}

impl Step {
    const fn stay(state: State) -> Self {
        Self { state, effects: Vec::new(), reasons: Vec::new() }
    }

    fn because(mut self, reason: impl Into<String>) -> Self {
        self.reasons.push(reason.into());
        self
    }

    fn then(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }
}

impl State {
    /// Why this device refused `bundle`, if it did.
    #[must_use]
    pub fn refusal(&self, bundle: Digest) -> Option<&str> {
        self.refused.iter().find(|refused| refused.bundle == bundle).map(|refused| refused.reason.as_str())
    }

    fn refuse(&mut self, bundle: Digest, reason: String) {
        self.refused.retain(|refused| refused.bundle != bundle);
        self.refused.push(Refused { bundle, reason });
        let excess = self.refused.len().saturating_sub(REFUSED_MAX);
        self.refused.drain(..excess);
    }

    fn blame(&mut self, bundle: Digest, reason: &str, blame: Blame) {
        if blame == Blame::Bundle {
            self.refuse(bundle, reason.to_owned());
        }
    }

    fn runs(&self, bundle: Digest) -> bool {
        self.active.is_some_and(|active| active.bundle == bundle)
    }

    fn idle_slot(&self) -> SlotId {
        self.active.map_or(SlotId::A, |active| active.slot.other())
    }
}

/// What to do about `input`, at `now`.
#[must_use]
pub fn step(policy: &SlotPolicy, state: State, input: Input, now: Timestamp) -> Step {
    match input {
        Input::Desired(None) => Step::stay(state),
        Input::Desired(Some(bundle)) => on_desired(state, bundle, policy, now),
        Input::Staged { bundle, outcome } => on_staged(policy, state, bundle, outcome, now),
        Input::Unhealthy { reason } => on_unhealthy(state, &reason, Blame::Bundle),
        Input::Damaged { reason } => on_unhealthy(state, &reason, Blame::Disk),
        Input::MakeRoom => make_room(state),
        Input::Started => on_started(policy, state),
        Input::Tick => on_tick(policy, state, now),
    }
}

fn on_desired(state: State, bundle: Digest, policy: &SlotPolicy, now: Timestamp) -> Step {
    if state.runs(bundle) {
        return abandon_staging(state);
    }
    if let Some(reason) = state.refusal(bundle) {
        let reason = format!("{bundle:?} was refused before: {reason}");
        return abandon_staging(state).because(reason);
    }
    match state.phase {
        Phase::Staging { bundle: staging, .. } if staging == bundle => Step::stay(state),
        Phase::Probation { .. } => leave_probation_for(state, bundle, policy, now),
        Phase::Idle | Phase::Staging { .. } => stage_or_return(state, bundle, policy, now),
    }
}

/// A wish that arrives in probation: going back is always allowed, going on waits for the verdict.
fn leave_probation_for(state: State, bundle: Digest, policy: &SlotPolicy, now: Timestamp) -> Step {
    if state.previous.is_some_and(|previous| previous.bundle == bundle) {
        return stage_or_return(state, bundle, policy, now);
    }
    Step::stay(state).because(format!("{bundle:?} waits until the active bundle's probation ends"))
}

fn stage_or_return(mut state: State, bundle: Digest, policy: &SlotPolicy, now: Timestamp) -> Step {
    if let Some(previous) = state.previous.filter(|previous| previous.bundle == bundle) {
        return activate(state, previous, policy, now)
            .because(format!("{bundle:?} is still in slot {}", previous.slot.as_str()));
    }
    let slot = state.idle_slot();
    state.previous = None;
    state.phase = Phase::Staging { slot, bundle, failures: 0, damaged: 0, retry_at_ms: None };
    Step::stay(state)
        .then(Effect::Stage { slot, bundle })
        .because(format!("{bundle:?} is wanted: staging it into slot {}", slot.as_str()))
}

fn abandon_staging(mut state: State) -> Step {
    if let Phase::Staging { bundle, .. } = state.phase {
        state.phase = Phase::Idle;
        return Step::stay(state).because(format!("{bundle:?} is no longer wanted"));
    }
    Step::stay(state)
}

fn on_staged(
    policy: &SlotPolicy,
    mut state: State,
    bundle: Digest,
    outcome: StageOutcome,
    now: Timestamp,
) -> Step {
    let Phase::Staging { slot, bundle: staging, failures, damaged, .. } = state.phase else {
        return Step::stay(state).because(format!("{bundle:?} was staged too late"));
    };
    if staging != bundle {
        return Step::stay(state).because(format!("{bundle:?} was staged too late"));
    }
    match outcome {
        StageOutcome::Ready => activate(state, Installed { slot, bundle }, policy, now)
            .because(format!("{bundle:?} is verified and answers as it should")),
        StageOutcome::Unreachable(reason) | StageOutcome::NoRoom(reason) => {
            let wait = retry_wait(policy, failures);
            let failures = failures.saturating_add(1);
            state.phase = Phase::Staging { slot, bundle, failures, damaged, retry_at_ms: Some(now + wait) };
            Step::stay(state).because(format!("{reason}; next try in {} ms", wait.as_millis()))
        }
        StageOutcome::Damaged(reason) => {
            let rests = damaged.saturating_add(1) >= policy.damaged_max;
            let wait = if rests { policy.damaged_rest_ms } else { retry_wait(policy, damaged) };
            let damaged = if rests { 0 } else { damaged.saturating_add(1) };
            state.phase = Phase::Staging { slot, bundle, failures, damaged, retry_at_ms: Some(now + wait) };
            Step::stay(state).because(format!("{reason}; next try in {} ms", wait.as_millis()))
        }
        StageOutcome::Refused(reason) => {
            state.phase = Phase::Idle;
            state.refuse(bundle, reason.clone());
            Step::stay(state).because(format!("{bundle:?} refused: {reason}"))
        }
    }
}

fn retry_wait(policy: &SlotPolicy, failures: u32) -> Duration {
    policy.retry_ms.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(policy.retry_ms_max)
}

fn activate(mut state: State, installed: Installed, policy: &SlotPolicy, now: Timestamp) -> Step {
    let proven = state.previous == Some(installed) || state.active.is_none();
    state.previous = state.active.take();
    state.active = Some(installed);
    state.phase = match proven {
        true => Phase::Idle,
        false => Phase::Probation { until_ms: now + policy.probation_ms, starts: 0 },
    };
    Step::stay(state).then(Effect::Activate(installed))
}

/// Whose fault it is that the active bundle cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Bundle,
    Disk,
}

fn on_unhealthy(state: State, reason: &str, blame: Blame) -> Step {
    match (&state.phase, state.active) {
        (_, None) => Step::stay(state),
        (Phase::Probation { .. }, Some(_)) => fall_back(state, reason, blame),
        (_, Some(_)) if state.previous.is_some() => fall_back(state, reason, blame),
        (_, Some(active)) => give_up(state, active, reason, blame),
    }
}

fn fall_back(mut state: State, reason: &str, blame: Blame) -> Step {
    let Some(failed) = state.active.take() else { return Step::stay(state) };
    let Some(previous) = state.previous.take() else { return give_up(state, failed, reason, blame) };
    state.active = Some(previous);
    state.phase = Phase::Idle;
    state.blame(failed.bundle, reason, blame);
    Step::stay(state)
        .then(Effect::Activate(previous))
        .because(format!("{:?} dropped, back to {:?}: {reason}", failed.bundle, previous.bundle))
}

fn give_up(mut state: State, failed: Installed, reason: &str, blame: Blame) -> Step {
    state.active = None;
    state.phase = Phase::Idle;
    state.blame(failed.bundle, reason, blame);
    Step::stay(state)
        .then(Effect::Deactivate)
        .because(format!("{:?} dropped, nothing to go back to: {reason}", failed.bundle))
}

/// What serves stays, and so does the way back while it may be needed.
fn make_room(mut state: State) -> Step {
    match (&state.phase, state.previous.take()) {
        (Phase::Idle, Some(previous)) => Step::stay(state)
            .because(format!("{:?}, kept as a way back, is given up for room", previous.bundle)),
        (_, previous) => Step::stay(State { previous, ..state }),
    }
}

fn on_started(policy: &SlotPolicy, mut state: State) -> Step {
    match state.phase {
        Phase::Probation { until_ms, starts } => {
            let starts = starts.saturating_add(1);
            if starts > policy.probation_starts_max && state.previous.is_some() {
                return fall_back(state, &format!("{starts} starts within its probation"), Blame::Bundle);
            }
            state.phase = Phase::Probation { until_ms, starts };
            serve_active(state)
        }
        Phase::Staging { slot, bundle, failures, damaged, .. } => {
            state.phase = Phase::Staging { slot, bundle, failures, damaged, retry_at_ms: None };
            serve_active(state)
                .then(Effect::Stage { slot, bundle })
                .because(format!("{bundle:?} was being staged when the agent stopped: staging again"))
        }
        Phase::Idle => serve_active(state),
    }
}

fn serve_active(state: State) -> Step {
    match state.active {
        Some(active) => Step::stay(state).then(Effect::Activate(active)),
        None => Step::stay(state),
    }
}

/// A deadline farther away than it was ever set means that the clock was set back: it is then drawn near again, for
/// otherwise nothing would happen until the clock has caught up.
fn on_tick(policy: &SlotPolicy, mut state: State, now: Timestamp) -> Step {
    match state.phase {
        Phase::Probation { until_ms, .. } if now >= until_ms => {
            state.phase = Phase::Idle;
            Step::stay(state).because("probation passed: committed")
        }
        Phase::Probation { until_ms, starts } if until_ms > now + policy.probation_ms => {
            state.phase = Phase::Probation { until_ms: now + policy.probation_ms, starts };
            Step::stay(state).because("the clock was set back: probation begins anew")
        }
        Phase::Staging { slot, bundle, failures, damaged, retry_at_ms: Some(at) }
            if now >= at || at > now + policy.retry_ms_max.max(policy.damaged_rest_ms) =>
        {
            state.phase = Phase::Staging { slot, bundle, failures, damaged, retry_at_ms: None };
            Step::stay(state).then(Effect::Stage { slot, bundle })
        }
        _ => Step::stay(state),
    }
}

#[cfg(test)]
mod tests;
