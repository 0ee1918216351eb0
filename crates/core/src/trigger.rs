//! When to retrain, decided from alerts, labels, the clock and wishes.
//!
//! A retraining policy is trigger + data + action. [`plan`] is pure and asks for at most one run at a time; asking
//! again while that run is under way asks for nothing. At level 0 it only ever notifies.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::AlertKind;
use crate::time::as_ms;
use crate::{Alert, Digest, Timestamp};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// When a project retrains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerPolicy {
    /// 0 notifies, 1 retrains, 2 also follows the pipeline's source.
    pub level: u8,
    /// Any of these starts a run.
    pub triggers: Vec<Trigger>,
    /// Least time between the end of one run and the start of the next.
    #[serde(with = "as_ms")]
    pub cooldown_ms: Duration,
    /// Most runs in any seven days.
    pub runs_per_week_max: usize,
}

impl Default for TriggerPolicy {
    fn default() -> Self {
        Self { level: 0, triggers: Vec::new(), cooldown_ms: Duration::from_secs(3600), runs_per_week_max: 7 }
    }
}

/// One reason to retrain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// An alert of one of these kinds about the model that is serving, once enough fresh labels are there to learn from.
    Alert {
        /// Which kinds.
        kinds: BTreeSet<AlertKind>,
        /// New labelled samples needed before training is worth it.
        labels_min: u64,
    },
    /// So many new labelled samples since the last run.
    NewSamples {
        /// How many.
        count: u64,
    },
    /// So much time since the last run.
    Schedule {
        /// How much.
        #[serde(with = "as_ms")]
        every_ms: Duration,
    },
}

/// What is known about one project.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The bundle that serves now.
    pub champion: Option<Digest>,
    /// Alerts, any order, any bundle.
    pub alerts: Vec<Alert>,
    /// Labelled samples captured since the last run began.
    pub labels_new: u64,
    /// Start times of earlier runs, any order.
    pub run_starts_ms: Vec<Timestamp>,
    /// When the last run ended; none while one is under way or before the first.
    pub last_run_ended_ms: Option<Timestamp>,
    /// A run is under way.
    pub running: bool,
    /// A rollout of the project's model is under way.
    pub rolling_out: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Why to start a run now; none to wait.
    pub start: Option<String>,
    /// Why, or why not, for people.
    pub reasons: Vec<String>,
}

impl Plan {
    fn wait(reason: impl Into<String>) -> Self {
        Self { start: None, reasons: vec![reason.into()] }
    }
}

enum Firing {
    Fires(String),
    Quiet(String),
}

/// Whether to start a run, at `now`.
#[must_use]
pub fn plan(policy: &TriggerPolicy, observed: &Observed, now: Timestamp) -> Plan {
    let mut quiet = Vec::new();
    let mut cause = None;
    for trigger in &policy.triggers {
        match fires(trigger, observed, now) {
            Firing::Fires(why) => {
                cause = Some(why);
                break;
            }
            Firing::Quiet(why) => quiet.push(why),
        }
    }
    let Some(cause) = cause else { return Plan { start: None, reasons: quiet } };
    match hindrance(policy, observed, now) {
        Some(why) => Plan::wait(format!("{cause}, but {why}")),
        None => Plan { start: Some(cause.clone()), reasons: vec![cause] },
    }
}

fn fires(trigger: &Trigger, observed: &Observed, now: Timestamp) -> Firing {
    match trigger {
        Trigger::Alert { kinds, labels_min } => on_alert(kinds, *labels_min, observed),
        Trigger::NewSamples { count } if observed.labels_new >= *count => {
            Firing::Fires(format!("{} new labelled samples", observed.labels_new))
        }
        Trigger::NewSamples { count } => {
            Firing::Quiet(format!("{} of {count} new labelled samples", observed.labels_new))
        }
        Trigger::Schedule { every_ms } => on_schedule(*every_ms, observed, now),
    }
}

fn on_alert(kinds: &BTreeSet<AlertKind>, labels_min: u64, observed: &Observed) -> Firing {
    let current = |alert: &&Alert| Some(alert.bundle) == observed.champion && kinds.contains(&alert.kind);
    let Some(alert) = observed.alerts.iter().filter(current).min_by_key(|alert| alert.at_ms) else {
        return Firing::Quiet("no alert about the model that serves".to_owned());
    };
    let cause = format!("{} alert from {}: {}", alert.kind.as_str(), alert.device, alert.message);
    match observed.labels_new >= labels_min {
        true => Firing::Fires(cause),
        false => {
            Firing::Quiet(format!("{cause}; waiting for labels, {} of {labels_min}", observed.labels_new))
        }
    }
}

fn on_schedule(every: Duration, observed: &Observed, now: Timestamp) -> Firing {
    match observed.run_starts_ms.iter().max() {
        Some(last) if now.since(*last) < every => {
            let left = every.saturating_sub(now.since(*last));
            Firing::Quiet(format!("{} s until the scheduled run", left.as_secs()))
        }
        Some(_) => Firing::Fires("the schedule".to_owned()),
        None => Firing::Quiet("the schedule begins with the first run".to_owned()),
    }
}

/// What stands in the way of a run, if anything does.
fn hindrance(policy: &TriggerPolicy, observed: &Observed, now: Timestamp) -> Option<String> {
    if policy.level == 0 {
        return Some("level 0 only notifies: start a run by hand".to_owned());
    }
    if observed.running {
        return Some("a run is under way".to_owned());
    }
    if observed.rolling_out {
        return Some("a rollout is under way".to_owned());
    }
    let rested = observed.last_run_ended_ms.map_or(policy.cooldown_ms, |ended| now.since(ended));
    if rested < policy.cooldown_ms {
        return Some(format!("{} s of cool-down are left", (policy.cooldown_ms - rested).as_secs()));
    }
    let this_week = observed.run_starts_ms.iter().filter(|start| now.since(**start) < WEEK).count();
    (this_week >= policy.runs_per_week_max).then(|| format!("this week's {this_week} runs are used up"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceId, ModelName};

    fn alert(bundle: Digest) -> Alert {
        Alert {
            id: "a1".into(),
            kind: AlertKind::Decay,
            device: DeviceId::new("d1").unwrap(),
            model: ModelName::new("digits").unwrap(),
            bundle,
            at_ms: Timestamp(0),
            stream: None,
            sample: 900,
            change_sample: Some(850),
            log10_evidence: 9.1,
            log10_threshold: 9.0,
            message: "error rate rose".into(),
        }
    }

    fn policy() -> TriggerPolicy {
        let kinds = BTreeSet::from([AlertKind::Decay, AlertKind::Drift]);
        TriggerPolicy {
            level: 1,
            triggers: vec![Trigger::Alert { kinds, labels_min: 100 }],
            cooldown_ms: Duration::from_secs(10),
            runs_per_week_max: 2,
        }
    }

    fn decayed() -> Observed {
        let champion = Digest::of(b"champion");
        Observed {
            champion: Some(champion),
            alerts: vec![alert(champion)],
            labels_new: 100,
            run_starts_ms: vec![Timestamp(0)],
            last_run_ended_ms: Some(Timestamp(0)),
            ..Observed::default()
        }
    }

    fn starts(policy: &TriggerPolicy, observed: &Observed, now_s: i64) -> bool {
        plan(policy, observed, Timestamp(now_s * 1000)).start.is_some()
    }

    #[test]
    fn an_alert_with_enough_labels_starts_a_run() {
        assert!(starts(&policy(), &decayed(), 20));
    }

    #[test]
    fn an_alert_waits_for_labels() {
        let few = Observed { labels_new: 99, ..decayed() };
        let plan = plan(&policy(), &few, Timestamp(20_000));
        assert_eq!(plan.start, None);
        assert!(plan.reasons[0].ends_with("waiting for labels, 99 of 100"), "{:?}", plan.reasons);
    }

    #[test]
    fn an_alert_about_an_older_model_is_settled() {
        let replaced = Observed { champion: Some(Digest::of(b"newer")), ..decayed() };
        assert!(!starts(&policy(), &replaced, 20));
    }

    #[test]
    fn level_0_only_notifies() {
        let manual = TriggerPolicy { level: 0, ..policy() };
        let plan = plan(&manual, &decayed(), Timestamp(20_000));
        assert_eq!(plan.start, None);
        assert!(plan.reasons[0].contains("level 0"), "{:?}", plan.reasons);
    }

    #[test]
    fn one_thing_at_a_time_with_rest_and_a_budget() {
        assert!(!starts(&policy(), &Observed { running: true, ..decayed() }, 20));
        assert!(!starts(&policy(), &Observed { rolling_out: true, ..decayed() }, 20));
        assert!(!starts(&policy(), &decayed(), 9));
        let busy = Observed { run_starts_ms: vec![Timestamp(0), Timestamp(1)], ..decayed() };
        assert!(!starts(&policy(), &busy, 20));
        assert!(starts(&policy(), &busy, 8 * 24 * 3600));
    }

    #[test]
    fn samples_and_schedule_fire_on_their_own() {
        let on = |trigger| TriggerPolicy { triggers: vec![trigger], ..policy() };
        let quiet = Observed { alerts: Vec::new(), ..decayed() };
        assert!(starts(&on(Trigger::NewSamples { count: 100 }), &quiet, 20));
        assert!(!starts(&on(Trigger::NewSamples { count: 101 }), &quiet, 20));
        let daily = on(Trigger::Schedule { every_ms: Duration::from_secs(86_400) });
        assert!(!starts(&daily, &quiet, 86_399));
        assert!(starts(&daily, &quiet, 86_400));
    }
}
