//! The demo's result: what the load generator measured on live answers, in numbers and in words.
//!
//! Pure: a traffic log and the marks of the story go in. Every accuracy is over answers to `measure` images, whose
//! labels the system never sees.

use std::time::Duration;

use serde::Serialize;

use super::traffic::{Answer, Log, Pool};

/// How far around a swap the longest gap is looked for.
const SWAP_SURROUNDINGS: Duration = Duration::from_secs(1);

/// What happened when, on the traffic's clock.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    /// The first alert about the old model after that.
    pub(crate) alert: Duration,
    /// Which device raised it, by index.
    pub(crate) alert_device: usize,
    /// How many samples its monitor had seen by then.
    pub(crate) alert_sample: u64,
    /// What it rested on.
    pub(crate) alert_signal: String,
    /// Every device answered with the new bundle.
    pub(crate) deployed: Duration,
    /// The bundle before.
    pub(crate) before: String,
    /// The bundle after.
    pub(crate) after: String,
}

/// What the traffic does not know.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    pub(crate) story: String,
    pub(crate) ledger_verified: bool,
    pub(crate) restarts: u32,
    pub(crate) retrains: usize,
    pub(crate) false_alarms: usize,
    pub(crate) seconds_total: f64,
}

/// The object that `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) story: String,
    pub(crate) devices: usize,
    pub(crate) accuracy_before: f64,
    pub(crate) accuracy_decayed: f64,
    pub(crate) accuracy_after: f64,
    pub(crate) requests: u64,
    pub(crate) failed_requests: u64,
    pub(crate) detected_after_samples: u64,
    /// The signal that came first: `decay`, which needs labels, or a kind and its stream.
    pub(crate) detected_by: String,
    pub(crate) seconds_alert_to_deployed: f64,
    pub(crate) swap_max_gap_ms: f64,
    pub(crate) model_before: String,
    pub(crate) model_after: String,
    pub(crate) ledger_verified: bool,
    pub(crate) retried_requests: u64,
    pub(crate) restarts: u32,
    pub(crate) retrains: usize,
    pub(crate) false_alarms: usize,
    pub(crate) seconds_total: f64,
    #[serde(skip)]
    pub(crate) measured: Measured,
}

/// How many answers each accuracy is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) before: usize,
    pub(crate) decayed: usize,
    pub(crate) after: usize,
}

/// The summary of a story that came to its end. None if a phase has no measured answer.
pub(crate) fn summarise(log: &Log, marks: &Marks, circumstances: Circumstances) -> Option<Summary> {
    let version = |version: &str| log.versions.iter().position(|known| known == version);
    let (before, after) = (version(&marks.before)?, version(&marks.after)?);
    let known = accuracy(log, |answer| !answer.after_arrival && answer.version == before)?;
    let decayed = accuracy(log, |answer| answer.after_arrival && answer.version == before)?;
    let recovered = accuracy(log, |answer| answer.at >= marks.deployed)?;
    let total = log.total();
    let Circumstances { story, ledger_verified, restarts, retrains, false_alarms, seconds_total } =
        circumstances;
    Some(Summary {
        story,
        devices: log.counts.len(),
        accuracy_before: known.0,
        accuracy_decayed: decayed.0,
        accuracy_after: recovered.0,
        requests: total.requests,
        failed_requests: total.failed,
        detected_after_samples: detected_after(log, marks),
        detected_by: marks.alert_signal.clone(),
        seconds_alert_to_deployed: rounded(marks.deployed.saturating_sub(marks.alert).as_secs_f64(), 2),
        swap_max_gap_ms: rounded(swap_gap(log, before, after).as_secs_f64() * 1000.0, 1),
        model_before: marks.before.clone(),
        model_after: marks.after.clone(),
        ledger_verified,
        retried_requests: total.retried,
        restarts,
        retrains,
        false_alarms,
        seconds_total: rounded(seconds_total, 1),
        measured: Measured { before: known.1, decayed: decayed.1, after: recovered.1 },
    })
}

/// The share of right answers, rounded to 4 digits, among measuring images that `of` picks; and how many there are.
fn accuracy(log: &Log, of: impl Fn(&Answer) -> bool) -> Option<(f64, usize)> {
    let measured = log.answers.iter().filter(|answer| answer.pool == Pool::Measure && of(answer));
    let (right, all) =
        measured.fold((0_usize, 0), |(right, all), answer| (right + usize::from(answer.is_correct), all + 1));
    (all > 0).then(|| (rounded(right as f64 / all as f64, 4), all))
}

/// Samples of the alerting device from the first new digit it was sent to the alert. Its monitor counts samples since
/// its process started; if it was started anew in between, the answers until the alert are counted instead.
fn detected_after(log: &Log, marks: &Marks) -> u64 {
    let own = || log.answers.iter().filter(|answer| answer.device == marks.alert_device);
    let earlier = own().take_while(|answer| !answer.is_new).count() as u64;
    match marks.alert_sample.checked_sub(earlier) {
        Some(samples) if samples > 0 => samples,
        _ => (own().filter(|answer| answer.at <= marks.alert).count() as u64).saturating_sub(earlier),
    }
}

/// The longest time between two consecutive answers of one device around its change of bundle.
fn swap_gap(log: &Log, before: usize, after: usize) -> Duration {
    (0..log.counts.len()).map(|device| swap_gap_of(log, device, before, after)).max().unwrap_or_default()
}

fn swap_gap_of(log: &Log, device: usize, before: usize, after: usize) -> Duration {
    let own: Vec<&Answer> = log.answers.iter().filter(|answer| answer.device == device).collect();
    let swap = own.windows(2).find(|pair| pair[0].version == before && pair[1].version == after);
    let Some(swapped_at) = swap.map(|pair| pair[1].at) else { return Duration::ZERO };
    let near = |pair: &&[&Answer]| {
        pair[1].at >= swapped_at.saturating_sub(SWAP_SURROUNDINGS)
            && pair[0].at <= swapped_at + SWAP_SURROUNDINGS
    };
    own.windows(2).filter(near).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default()
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

impl Summary {
    /// The summary for people: each number with how it was measured.
    pub(crate) fn words(&self) -> String {
        let Measured { before, decayed, after } = self.measured;
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let short = |bundle: &str| bundle.chars().take(12).collect::<String>();
        let ledger = match self.ledger_verified {
            true => "verified: hash chain, tree and signed checkpoints agree",
            false => "NOT VERIFIED",
        };
        let mut lines = vec![
            format!("The loop closed in {:.0} s on {} devices.", self.seconds_total, self.devices),
            format!(
                "  accuracy, digits 0-7        {:>6}  {before} live answers to images kept out of all training",
                percent(self.accuracy_before)
            ),
            format!(
                "  accuracy, 8 and 9 appear    {:>6}  {decayed} live answers of the old model, from their arrival until each swap",
                percent(self.accuracy_decayed)
            ),
            format!(
                "  accuracy, retrained         {:>6}  {after} live answers after every device ran the new model",
                percent(self.accuracy_after)
            ),
            format!(
                "  failed requests             {:>6}  of {} at a constant rate; failed = no valid answer in 10 s",
                self.failed_requests, self.requests
            ),
            format!(
                "  noticed after               {:>6}  samples of the first device to alert, from the first new digit it saw",
                self.detected_after_samples
            ),
            format!("  the first signal            {}", self.detected_by),
            format!(
                "  alert to all devices        {:>6}  seconds, from the alert to the last device's first answer of the new model",
                self.seconds_alert_to_deployed
            ),
            format!(
                "  longest gap at a swap       {:>6}  ms between two answers of one device, within 1 s of its swap",
                self.swap_max_gap_ms
            ),
            format!(
                "  model                       {} -> {}",
                short(&self.model_before),
                short(&self.model_after)
            ),
            format!("  ledger                      {ledger}"),
        ];
        if self.restarts > 0 {
            lines.push(format!(
                "  processes started again     {:>6}  and {} requests tried again meanwhile",
                self.restarts, self.retried_requests
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::traffic::Count;

    const BEFORE: usize = 0;
    const AFTER: usize = 1;

    fn answer(device: usize, at_ms: u64, version: usize, is_correct: bool) -> Answer {
        Answer {
            device,
            at: Duration::from_millis(at_ms),
            version,
            pool: Pool::Measure,
            after_arrival: at_ms >= 1000,
            is_new: at_ms >= 1000,
            is_correct,
        }
    }

    /// One device: right until 1 s, half right until 2 s, right on the new bundle from then on.
    fn log() -> Log {
        let old = (0..20).map(|n| answer(0, n * 100, BEFORE, n < 10 || n % 2 == 0));
        let new = (0..10).map(|n| answer(0, 2050 + n * 100, AFTER, true));
        Log {
            answers: old.chain(new).collect(),
            counts: vec![Count { requests: 31, failed: 1, retried: 2 }],
            versions: vec!["old".into(), "new".into()],
            problems: Vec::new(),
        }
    }

    fn marks() -> Marks {
        Marks {
            alert: Duration::from_millis(1500),
            alert_device: 0,
            alert_sample: 16,
            alert_signal: "decay".into(),
            deployed: Duration::from_millis(2050),
            before: "old".into(),
            after: "new".into(),
        }
    }

    fn circumstances() -> Circumstances {
        Circumstances {
            story: "robots".into(),
            ledger_verified: true,
            restarts: 0,
            retrains: 1,
            false_alarms: 0,
            seconds_total: 3.25,
        }
    }

    #[test]
    fn each_phase_has_its_own_accuracy() {
        let summary = summarise(&log(), &marks(), circumstances()).unwrap();
        assert_eq!(summary.accuracy_before, 1.0);
        assert_eq!(summary.accuracy_decayed, 0.5);
        assert_eq!(summary.accuracy_after, 1.0);
        assert_eq!(summary.measured, Measured { before: 10, decayed: 10, after: 10 });
        assert_eq!((summary.requests, summary.failed_requests, summary.retried_requests), (31, 1, 2));
        assert_eq!(summary.seconds_alert_to_deployed, 0.55);
    }

    #[test]
    fn images_whose_labels_were_handed_in_do_not_measure() {
        let mut log = log();
        for answer in log.answers.iter_mut().filter(|answer| !answer.is_correct) {
            answer.pool = Pool::Field;
        }
        assert_eq!(summarise(&log, &marks(), circumstances()).unwrap().accuracy_decayed, 1.0);
    }

    #[test]
    fn the_gap_is_looked_for_around_the_swap_only() {
        let mut log = log();
        assert_eq!(swap_gap(&log, BEFORE, AFTER), Duration::from_millis(150));
        log.answers.retain(|answer| !(200..700).contains(&answer.at.as_millis()));
        assert_eq!(swap_gap(&log, BEFORE, AFTER), Duration::from_millis(150));
        log.answers.retain(|answer| !(1500..1900).contains(&answer.at.as_millis()));
        assert_eq!(swap_gap(&log, BEFORE, AFTER), Duration::from_millis(500));
    }

    #[test]
    fn detection_is_counted_from_the_first_new_digit() {
        assert_eq!(detected_after(&log(), &marks()), 6);
        let restarted = Marks { alert_sample: 3, ..marks() };
        assert_eq!(detected_after(&log(), &restarted), 6);
    }

    #[test]
    fn a_phase_without_answers_has_no_summary() {
        let mut log = log();
        log.answers.retain(|answer| answer.version == BEFORE);
        assert_eq!(summarise(&log, &marks(), circumstances()), None);
    }

    #[test]
    fn the_json_has_the_promised_keys() {
        let summary = summarise(&log(), &marks(), circumstances()).unwrap();
        let json = serde_json::to_value(&summary).unwrap();
        for key in [
            "story",
            "devices",
            "accuracy_before",
            "accuracy_decayed",
            "accuracy_after",
            "requests",
            "failed_requests",
            "detected_after_samples",
            "detected_by",
            "seconds_alert_to_deployed",
            "swap_max_gap_ms",
            "model_before",
            "model_after",
            "ledger_verified",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert!(summary.words().contains("50.0%"));
    }
}
