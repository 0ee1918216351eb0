//! The story in numbers: when the device spoke, what was held back, and what the outlier would have done to the model.

use std::time::Duration;

use edgeward_core::Alert;
use edgeward_core::alert::AlertKind;
use serde::Serialize;

use super::days::Day;
use super::desk::{Answer, Record};

/// What happened.
pub(super) struct Seen {
    pub(super) desks: Vec<Record>,
    pub(super) alerts: Vec<Alert>,
    /// Before and after the retraining.
    pub(super) bundles: (String, String),
    /// What a model that learned from the outlier predicts, by day.
    pub(super) with_outlier: Vec<(String, f64)>,
    pub(super) quarantined: usize,
    pub(super) negative_day: &'static str,
    pub(super) retrained_on: &'static str,
}

/// The object that `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OilSummary {
    pub(crate) story: &'static str,
    pub(crate) devices: usize,
    /// The day of the first outlier alert, and its price.
    pub(crate) alert_date: Option<String>,
    pub(crate) alert_value: Option<f64>,
    /// Whether every device raised it on the sample that carried the price.
    pub(crate) alert_on_same_sample: bool,
    /// What the first device said.
    pub(crate) alert_message: Option<String>,
    /// Powers of ten by which the evidence passed its threshold.
    pub(crate) alert_severity: Option<f64>,
    /// Alerts about days before it: false alarms, all devices together.
    pub(crate) alarms_before: usize,
    /// Alerts about days after it.
    pub(crate) alarms_after: usize,
    /// Samples that were held back until the person decided.
    pub(crate) quarantined: usize,
    /// Mean absolute errors in US dollars over the days from the retraining on.
    pub(crate) mae_with_outlier: f64,
    pub(crate) mae_without_outlier: f64,
    pub(crate) mae_persistence: f64,
    /// Days that these errors are over.
    pub(crate) days_measured: usize,
    pub(crate) requests: u64,
    pub(crate) failed_requests: u64,
    pub(crate) model_before: String,
    pub(crate) model_after: String,
    pub(crate) ledger_verified: bool,
    pub(crate) seconds_total: f64,
}

/// The summary of a story that came to its end.
pub(super) fn summarise(seen: &Seen, days: &[Day], (ledger_verified, took): (bool, Duration)) -> OilSummary {
    let place = |alert: &Alert| day_of(seen, alert).map(|date| date.cmp(seen.negative_day));
    let count = |order| seen.alerts.iter().filter(|alert| place(alert) == Some(order)).count();
    let of_day =
        |alert: &&Alert| alert.kind == AlertKind::Outlier && place(alert) == Some(std::cmp::Ordering::Equal);
    let first = seen.alerts.iter().find(of_day);
    let spoke =
        |device: usize| seen.alerts.iter().filter(of_day).any(|alert| device_of(alert) == Some(device));
    let measured: Vec<&Answer> = seen.desks.first().map_or_else(Vec::new, |record| {
        record.answers.iter().filter(|answer| answer.date.as_str() >= seen.retrained_on).collect()
    });
    let without = measured.iter().filter(|answer| answer.bundle == seen.bundles.1);
    let error = |predictions: &mut dyn Iterator<Item = (&str, f64)>| mae(days, predictions);
    let (without, days_measured) = error(&mut without.map(|answer| (answer.date.as_str(), answer.predicted)));
    let (with, _) = error(&mut seen.with_outlier.iter().map(|(date, predicted)| (date.as_str(), *predicted)));
    let later = days.iter().filter(|day| day.date.as_str() >= seen.retrained_on);
    let (persistence, _) = error(&mut later.map(|day| (day.date.as_str(), f64::from(day.price))));
    OilSummary {
        story: "oil",
        devices: seen.desks.len(),
        alert_date: first.and_then(|alert| day_of(seen, alert)).map(str::to_owned),
        alert_value: first.and_then(|alert| price_of(days, day_of(seen, alert)?)),
        alert_on_same_sample: (0..seen.desks.len()).all(spoke),
        alert_message: first.map(|alert| alert.message.clone()),
        alert_severity: first.map(|alert| rounded(alert.log10_evidence - alert.log10_threshold)),
        alarms_before: count(std::cmp::Ordering::Less),
        alarms_after: count(std::cmp::Ordering::Greater),
        quarantined: seen.quarantined,
        mae_with_outlier: rounded(with),
        mae_without_outlier: rounded(without),
        mae_persistence: rounded(persistence),
        days_measured,
        requests: seen.desks.iter().map(|record| record.requests).sum(),
        failed_requests: seen.desks.iter().map(|record| record.failed).sum(),
        model_before: seen.bundles.0.clone(),
        model_after: seen.bundles.1.clone(),
        ledger_verified,
        seconds_total: (took.as_secs_f64() * 10.0).round() / 10.0,
    }
}

/// Devices are called `desk-1`, `desk-2` and so on.
fn device_of(alert: &Alert) -> Option<usize> {
    let number: usize = alert.device.as_str().rsplit('-').next()?.parse().ok()?;
    number.checked_sub(1)
}

/// The day whose sample an alert is about: samples are counted per bundle.
fn day_of<'s>(seen: &'s Seen, alert: &Alert) -> Option<&'s str> {
    let bundle = alert.bundle.hex();
    let mut own = seen.desks.get(device_of(alert)?)?.answers.iter().filter(|answer| answer.bundle == bundle);
    let at = usize::try_from(alert.sample).ok()?.checked_sub(1)?;
    own.nth(at).map(|answer| answer.date.as_str())
}

fn price_of(days: &[Day], date: &str) -> Option<f64> {
    let day = days.iter().find(|day| day.date == date)?;
    day.price.to_string().parse().ok()
}

/// The mean absolute error of predictions, each made on a day about the next, and how many have a next day.
fn mae(days: &[Day], predictions: &mut dyn Iterator<Item = (&str, f64)>) -> (f64, usize) {
    let error = |(date, predicted): (&str, f64)| {
        let pair = days.windows(2).find(|pair| pair[0].date == date)?;
        Some((predicted - f64::from(pair[1].price)).abs())
    };
    let errors: Vec<f64> = predictions.filter_map(error).collect();
    (errors.iter().sum::<f64>() / errors.len().max(1) as f64, errors.len())
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl OilSummary {
    /// The summary for people: each number with how it was measured.
    pub(crate) fn words(&self) -> String {
        let date = self.alert_date.as_deref().unwrap_or("never");
        let ledger = if self.ledger_verified {
            "verified: hash chain, tree and signed checkpoints agree"
        } else {
            "NOT VERIFIED"
        };
        let lines = [
            format!("April 2020 on {} device(s), in {:.0} s.", self.devices, self.seconds_total),
            format!(
                "  the alert             {date}, {:.2} USD, on the sample itself: {}",
                self.alert_value.unwrap_or(f64::NAN),
                self.alert_on_same_sample
            ),
            format!("  what it said          {}", self.alert_message.as_deref().unwrap_or("-")),
            format!("  alarms before, after  {} and {}", self.alarms_before, self.alarms_after),
            format!("  held back             {} samples, until a person decided", self.quarantined),
            format!(
                "  error with it         {:>6.2} USD a day, had the outlier been learned from ({} days)",
                self.mae_with_outlier, self.days_measured
            ),
            format!(
                "  error without it      {:>6.2} USD a day, the model that was deployed",
                self.mae_without_outlier
            ),
            format!(
                "  error of persistence  {:>6.2} USD a day, tomorrow taken to be like today",
                self.mae_persistence
            ),
            format!("  failed requests       {} of {}", self.failed_requests, self.requests),
            format!("  ledger                {ledger}"),
        ];
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use edgeward_core::{DeviceId, Digest, ModelName, Timestamp};

    use super::*;
    use crate::demo::oil::days::april;

    fn alert(sample: u64, bundle: Digest, device: &str) -> Alert {
        Alert {
            id: format!("{device}-{sample}"),
            kind: AlertKind::Outlier,
            device: DeviceId::new(device).unwrap(),
            model: ModelName::new("oil-price").unwrap(),
            bundle,
            at_ms: Timestamp(0),
            stream: Some("price".into()),
            sample,
            change_sample: Some(sample),
            log10_evidence: 9.5,
            log10_threshold: 8.0,
            message: "'price' has the value -36.98".into(),
        }
    }

    fn seen(alerts: Vec<Alert>) -> Seen {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let answer = |day: &Day| Answer {
            date: day.date.clone(),
            bundle: if day.date.as_str() < "2020-04-21" { old.hex() } else { new.hex() },
            predicted: f64::from(day.price) + 1.0,
        };
        let answers: Vec<Answer> = april().unwrap().iter().map(answer).collect();
        Seen {
            desks: vec![Record { answers, requests: 20, failed: 0 }],
            alerts,
            bundles: (old.hex(), new.hex()),
            with_outlier: vec![("2020-04-21".into(), 3.64)],
            quarantined: 3,
            negative_day: "2020-04-20",
            retrained_on: "2020-04-21",
        }
    }

    fn summary(alerts: Vec<Alert>) -> OilSummary {
        summarise(&seen(alerts), &april().unwrap(), (true, Duration::from_secs(9)))
    }

    #[test]
    fn alerts_are_told_by_the_day_of_their_sample() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let found = summary(vec![alert(3, old, "desk-1"), alert(12, old, "desk-1"), alert(1, new, "desk-1")]);
        assert_eq!((found.alert_date.as_deref(), found.alert_value), (Some("2020-04-20"), Some(-36.98)));
        assert_eq!((found.alarms_before, found.alarms_after, found.alert_severity), (1, 1, Some(1.5)));
        assert!(found.alert_on_same_sample && found.words().contains("-36.98 USD"));
        assert!(!summary(vec![alert(13, old, "desk-1")]).alert_on_same_sample);
    }

    #[test]
    fn errors_are_of_the_days_after_the_retraining() {
        let found = summary(Vec::new());
        assert_eq!((found.mae_with_outlier, found.days_measured), (10.0, 7));
        assert_eq!(found.mae_persistence, 2.566);
        assert!(found.mae_without_outlier > 0.5 && found.mae_without_outlier < 4.0);
    }

    #[test]
    fn the_json_has_the_promised_keys() {
        let json = serde_json::to_value(summary(Vec::new())).unwrap();
        for key in [
            "story",
            "devices",
            "alert_date",
            "alert_value",
            "alert_on_same_sample",
            "alarms_before",
            "alarms_after",
            "quarantined",
            "mae_with_outlier",
            "mae_without_outlier",
            "mae_persistence",
            "requests",
            "failed_requests",
            "ledger_verified",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
