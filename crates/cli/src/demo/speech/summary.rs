//! The story in numbers: week by week, the devices beside a model that was never retrained.

use std::time::Duration;

use serde::Serialize;

use super::calendar::LAST_WEEKS;
use super::stream::Drift;

/// Heights of a chart's columns, from no accuracy to full.
const COLUMNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What one week measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Week {
    /// Words whose truth the system was never told.
    pub(super) measured: usize,
    /// Of those, the ones that devices recognised; one without an answer is not among them.
    pub(super) right: usize,
    /// Of those, the ones that the first model recognises.
    pub(super) right_static: usize,
}

/// A run that the system asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Retrain {
    /// The week after whose labels it was asked for.
    pub(crate) week: u32,
    /// Why, as the ledger has it.
    pub(crate) cause: String,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) weeks: Vec<Week>,
    pub(super) retrains: Vec<Retrain>,
    pub(super) alerts: usize,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) problems: Vec<String>,
    /// The first bundle, and the last that every device served.
    pub(super) first: String,
    pub(super) serving: String,
}

impl Week {
    pub(super) fn accuracy(self) -> f64 {
        self.right as f64 / self.measured.max(1) as f64
    }

    pub(super) fn accuracy_static(self) -> f64 {
        self.right_static as f64 / self.measured.max(1) as f64
    }
}

impl Seen {
    pub(super) fn beginning_with(bundle: &str) -> Self {
        Self {
            weeks: Vec::new(),
            retrains: Vec::new(),
            alerts: 0,
            requests: 0,
            failed: 0,
            problems: Vec::new(),
            first: bundle.to_owned(),
            serving: bundle.to_owned(),
        }
    }
}

/// The object that `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SpeechSummary {
    pub(crate) story: &'static str,
    pub(crate) devices: usize,
    /// Whether other accents arrived.
    pub(crate) drift: bool,
    /// Share of the words that measure that the first model recognises, by week.
    pub(crate) accuracy_static: Vec<f64>,
    /// Share of the same words that the devices recognised, by week.
    pub(crate) accuracy: Vec<f64>,
    /// Their means over the last four weeks.
    pub(crate) accuracy_static_last: f64,
    pub(crate) accuracy_last: f64,
    /// Words that each week is measured by.
    pub(crate) measured_per_week: usize,
    /// Runs that the system asked for, after the first one.
    pub(crate) retrains: usize,
    pub(crate) retrained: Vec<Retrain>,
    pub(crate) alerts: usize,
    pub(crate) requests: u64,
    pub(crate) failed_requests: u64,
    /// Why the first of them failed.
    pub(crate) problems: Vec<String>,
    pub(crate) model_first: String,
    pub(crate) model_last: String,
    pub(crate) ledger_verified: bool,
    pub(crate) seconds_total: f64,
}

/// The summary of a story that came to its end.
pub(super) fn summarise(
    seen: &Seen,
    devices: usize,
    drift: Drift,
    (ledger_verified, took): (bool, Duration),
) -> SpeechSummary {
    let by_week =
        |share: fn(Week) -> f64| -> Vec<f64> { seen.weeks.iter().map(|week| share(*week)).collect() };
    let (accuracy, accuracy_static) = (by_week(Week::accuracy), by_week(Week::accuracy_static));
    SpeechSummary {
        story: "speech",
        devices,
        drift: drift == Drift::Accents,
        accuracy_static_last: rounded(mean_of_last(&accuracy_static)),
        accuracy_last: rounded(mean_of_last(&accuracy)),
        accuracy_static: accuracy_static.into_iter().map(rounded).collect(),
        accuracy: accuracy.into_iter().map(rounded).collect(),
        measured_per_week: seen.weeks.iter().map(|week| week.measured).min().unwrap_or_default(),
        retrains: seen.retrains.len(),
        retrained: seen.retrains.clone(),
        alerts: seen.alerts,
        requests: seen.requests,
        failed_requests: seen.failed,
        problems: seen.problems.clone(),
        model_first: seen.first.clone(),
        model_last: seen.serving.clone(),
        ledger_verified,
        seconds_total: (took.as_secs_f64() * 10.0).round() / 10.0,
    }
}

fn mean_of_last(by_week: &[f64]) -> f64 {
    let last = &by_week[by_week.len().saturating_sub(LAST_WEEKS)..];
    last.iter().sum::<f64>() / last.len().max(1) as f64
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// A column per week.
fn chart(by_week: &[f64]) -> String {
    let column = |share: &f64| {
        let height = (share.clamp(0.0, 1.0) * (COLUMNS.len() - 1) as f64).round();
        COLUMNS[height as usize]
    };
    by_week.iter().map(column).collect()
}

impl SpeechSummary {
    /// The summary for people: each number with how it was measured.
    pub(crate) fn words(&self) -> String {
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let accents = match self.drift {
            true => "in which other accents arrive",
            false => "in one and the same accent",
        };
        let ledger = match self.ledger_verified {
            true => "verified: hash chain, tree and signed checkpoints agree",
            false => "NOT VERIFIED",
        };
        let mut lines = vec![
            format!(
                "26 weeks {accents}, on {} device(s), in {:.0} s; {} words a week measure.",
                self.devices, self.seconds_total, self.measured_per_week
            ),
            format!(
                "  retrained when needed   {}  {:>6} over the last {LAST_WEEKS} weeks",
                chart(&self.accuracy),
                percent(self.accuracy_last)
            ),
            format!(
                "  never retrained         {}  {:>6} of the same words, by the first model",
                chart(&self.accuracy_static),
                percent(self.accuracy_static_last)
            ),
            format!(
                "  retrainings             {}, each asked for by the system's own trigger",
                self.retrains
            ),
        ];
        // What moved most beside it stands in the ledger and in the JSON.
        let cause = |retrain: &Retrain| retrain.cause.split("; ").next().unwrap_or_default().to_owned();
        let retrained =
            |retrain: &Retrain| format!("    after week {:2}         {}", retrain.week, cause(retrain));
        lines.extend(self.retrained.iter().map(retrained));
        lines.extend([
            format!("  failed requests         {} of {}", self.failed_requests, self.requests),
            format!("  ledger                  {ledger}"),
        ]);
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let week = |right, right_static| Week { measured: 10, right, right_static };
        let weeks = [(10, 10), (9, 9), (8, 4), (9, 3), (9, 2), (10, 3)];
        Seen {
            weeks: weeks.iter().map(|(right, right_static)| week(*right, *right_static)).collect(),
            retrains: vec![Retrain { week: 3, cause: "decay alert from speaker-1: …".into() }],
            requests: 150,
            ..Seen::beginning_with("b1")
        }
    }

    fn summary() -> SpeechSummary {
        summarise(&seen(), 2, Drift::Accents, (true, Duration::from_secs(90)))
    }

    #[test]
    fn the_end_is_the_mean_of_the_last_weeks() {
        let summary = summary();
        assert_eq!((summary.accuracy_last, summary.accuracy_static_last), (0.9, 0.3));
        assert_eq!(summary.accuracy_static, [1.0, 0.9, 0.4, 0.3, 0.2, 0.3]);
        assert_eq!((summary.measured_per_week, summary.retrains, summary.failed_requests), (10, 1, 0));
    }

    #[test]
    fn people_see_every_week_and_every_cause() {
        let words = summary().words();
        assert!(words.contains("█▇▇▇▇█") && words.contains("█▇▄▃▂▃"), "{words}");
        assert!(words.contains(" 90.0% over") && words.contains(" 30.0% of the same"), "{words}");
        assert!(words.contains("after week  3") && words.contains("decay alert"), "{words}");
        assert_eq!(chart(&[0.0, 0.5, 1.0]), "▁▅█");
    }

    #[test]
    fn the_json_has_the_promised_keys() {
        let json = serde_json::to_value(summary()).unwrap();
        for key in [
            "accuracy_static",
            "accuracy",
            "accuracy_static_last",
            "accuracy_last",
            "retrains",
            "failed_requests",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
