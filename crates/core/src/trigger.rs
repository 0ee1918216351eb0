//! When to retrain, decided from alerts, labels, the clock and wishes.
//!
//! A retraining policy is trigger + data + action. [`plan`] is pure and asks for at most one run at a time; asking
//! again while that run is under way asks for nothing. At level 0 it only ever notifies.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Moments of the calendar, in UTC.
    Cron {
        /// Five fields: minute, hour, day of the month, month, day of the week.
        cron: String,
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
    /// For the text of each [`Trigger::Cron`] of the policy, its first moment after the last run began; none before the
    /// first run.
    pub cron_next_ms: BTreeMap<String, Timestamp>,
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
        Trigger::Cron { cron } => on_cron(cron, observed, now),
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

fn on_cron(cron: &str, observed: &Observed, now: Timestamp) -> Firing {
    match observed.cron_next_ms.get(cron) {
        Some(next) if *next <= now => Firing::Fires(format!("the schedule \"{cron}\"")),
        Some(next) => {
            Firing::Quiet(format!("{} s until the next moment of \"{cron}\"", next.since(now).as_secs()))
        }
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

    #[test]
    fn a_moment_of_the_calendar_starts_one_run() {
        let cron = "30 2 * * *".to_owned();
        let nightly = TriggerPolicy { triggers: vec![Trigger::Cron { cron: cron.clone() }], ..policy() };
        let at = |next_s: i64| Observed {
            alerts: Vec::new(),
            cron_next_ms: BTreeMap::from([(cron.clone(), Timestamp(next_s * 1000))]),
            ..decayed()
        };
        assert!(!starts(&nightly, &at(9000), 8999));
        assert!(starts(&nightly, &at(9000), 9000));
        let before_the_first = Observed { alerts: Vec::new(), ..decayed() };
        assert!(!starts(&nightly, &before_the_first, 9000));
        let reasons = plan(&nightly, &at(9000), Timestamp(8_990_000)).reasons;
        assert_eq!(reasons, ["10 s until the next moment of \"30 2 * * *\""]);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        const HOUR_MS: i64 = 3_600_000;

        fn trigger() -> impl Strategy<Value = Trigger> {
            let kinds = || BTreeSet::from([AlertKind::Decay]);
            prop_oneof![
                (0_u64..300).prop_map(move |labels_min| Trigger::Alert { kinds: kinds(), labels_min }),
                (1_u64..300).prop_map(|count| Trigger::NewSamples { count }),
                (1_u64..200)
                    .prop_map(|hours| Trigger::Schedule { every_ms: Duration::from_secs(hours * 3600) }),
                Just(Trigger::Cron { cron: "0 3 * * *".to_owned() }),
            ]
        }

        fn policy() -> impl Strategy<Value = TriggerPolicy> {
            (0_u8..=2, proptest::collection::vec(trigger(), 0..4), 0_u64..48, 0_usize..6).prop_map(
                |(level, triggers, hours, runs_per_week_max)| TriggerPolicy {
                    level,
                    triggers,
                    cooldown_ms: Duration::from_secs(hours * 3600),
                    runs_per_week_max,
                },
            )
        }

        /// What happens in one hour: labels that come, whether the model is alerted about, how long a run would take.
        fn hours() -> impl Strategy<Value = Vec<(u64, bool, i64)>> {
            proptest::collection::vec((0_u64..40, any::<bool>(), 0_i64..30), 1..400)
        }

        /// Lives through the hours as the control plane does; when each run began and ended.
        fn live(policy: &TriggerPolicy, hours: &[(u64, bool, i64)]) -> Vec<(i64, i64)> {
            let champion = Digest::of(b"champion");
            let mut runs: Vec<(i64, i64)> = Vec::new();
            let mut labels_new = 0;
            for (hour, (labels, alerted, takes)) in hours.iter().enumerate() {
                let now = hour as i64 * HOUR_MS;
                labels_new += labels;
                let running = runs.last().is_some_and(|(_, ended)| *ended > now);
                let last_start = runs.last().map(|(began, _)| *began);
                let next_night = last_start.map(|at| (at / HOUR_MS / 24 * 24 + 27) * HOUR_MS);
                let observed = Observed {
                    champion: Some(champion),
                    alerts: alerted.then(|| alert(champion)).into_iter().collect(),
                    labels_new,
                    run_starts_ms: runs.iter().map(|(began, _)| Timestamp(*began)).collect(),
                    cron_next_ms: next_night
                        .map(|at| ("0 3 * * *".to_owned(), Timestamp(at)))
                        .into_iter()
                        .collect(),
                    last_run_ended_ms: runs.last().filter(|_| !running).map(|(_, ended)| Timestamp(*ended)),
                    running,
                    rolling_out: false,
                };
                let plan = plan(policy, &observed, Timestamp(now));
                assert!(plan.start.is_none() || plan.reasons == [plan.start.clone().unwrap_or_default()]);
                assert!(!plan.reasons.is_empty() || policy.triggers.is_empty(), "silence has reasons");
                if plan.start.is_some() {
                    runs.push((now, now + takes * HOUR_MS));
                    labels_new = 0;
                }
            }
            runs
        }

        proptest! {
            #[test]
            fn runs_keep_apart_and_within_the_budget(policy in policy(), hours in hours()) {
                let runs = live(&policy, &hours);
                prop_assert!(policy.level > 0 || runs.is_empty());
                for pair in runs.windows(2) {
                    let rested = pair[1].0 - pair[0].1;
                    prop_assert!(rested >= 0 && rested as u128 >= policy.cooldown_ms.as_millis());
                }
                for (began, _) in &runs {
                    let week = WEEK.as_millis() as i64;
                    let recent = runs.iter().filter(|(other, _)| (0..week).contains(&(began - other))).count();
                    prop_assert!(recent <= policy.runs_per_week_max);
                }
            }

            #[test]
            fn a_higher_hurdle_never_starts_more(hours in hours(), few in 1_u64..200, more in 0_u64..200) {
                let on = |count| TriggerPolicy {
                    level: 1,
                    triggers: vec![Trigger::NewSamples { count }],
                    cooldown_ms: Duration::ZERO,
                    runs_per_week_max: usize::MAX,
                };
                let at_once: Vec<_> = hours.iter().map(|(labels, alerted, _)| (*labels, *alerted, 0)).collect();
                prop_assert!(live(&on(few + more), &at_once).len() <= live(&on(few), &at_once).len());
            }
        }
    }
}
