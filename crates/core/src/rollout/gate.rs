//! What a gate says of the evidence: pass, fail, or not enough data yet.

use serde::{Deserialize, Serialize};

use super::Gates;

/// What is compared between the devices with the newer bundle and those with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// Wrong answers among those that labels came for; of a regression, those that are off by more than nine in ten of the
    /// incumbent's.
    Accuracy,
    /// Requests that failed.
    FailedRequests,
    /// Requests that took longer than 99 in 100 of the incumbent's.
    SlowRequests,
    /// Devices that raised an alarm about the bundle.
    Alarms,
}

impl GateKind {
    /// All of them. They share the error rate equally.
    pub const ALL: [Self; 4] = [Self::Accuracy, Self::FailedRequests, Self::SlowRequests, Self::Alarms];

    /// The word used in files and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::FailedRequests => "failed_requests",
            Self::SlowRequests => "slow_requests",
            Self::Alarms => "alarms",
        }
    }

    const fn unit(self) -> (&'static str, &'static str) {
        match self {
            Self::Accuracy => ("labelled answers", "wrong"),
            Self::FailedRequests => ("requests", "failed"),
            Self::SlowRequests => ("requests", "slow"),
            Self::Alarms => ("devices", "with an alarm"),
        }
    }
}

/// How many were counted, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All.
    pub n: u64,
    /// The bad ones among them.
    pub bad: u64,
}

/// The evidence of one gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateObserved {
    /// Which.
    pub gate: GateKind,
    /// What was counted of the newer bundle.
    pub newcomer: Tally,
    /// What was counted of the one before, over the same time.
    pub incumbent: Tally,
    /// Evidence that the newer one is worse by more than is tolerated, log10 of an e-value.
    pub log10_worse: f64,
    /// Evidence that it is not, log10 of an e-value; none where that is never asked.
    pub log10_fine: Option<f64>,
    /// About how many more of the newcomer it takes until that is shown.
    pub more: Option<u64>,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The newer bundle is not worse by more than is tolerated.
    Pass,
    /// It is.
    Fail,
    /// Not enough data yet.
    Undecided {
        /// About how many more are needed, as things go.
        more: Option<u64>,
    },
}

impl Gates {
    /// Evidence, log10, at which a gate fails: the gates share [`Gates::alpha`].
    #[must_use]
    pub fn log10_fail(&self) -> f64 {
        (GateKind::ALL.len() as f64 / self.alpha).log10()
    }

    /// Evidence, log10, at which a gate passes.
    #[must_use]
    pub fn log10_pass(&self) -> f64 {
        -self.alpha.log10()
    }

    /// How much larger the share of bad ones may be.
    #[must_use]
    pub const fn margin(&self, gate: GateKind) -> f64 {
        match gate {
            GateKind::Accuracy => self.accuracy_drop_max,
            GateKind::FailedRequests => self.failed_requests_max,
            GateKind::SlowRequests => self.slow_requests_max,
            GateKind::Alarms => 0.0,
        }
    }

    /// What a gate says of its evidence.
    #[must_use]
    pub fn judge(&self, seen: &GateObserved) -> Verdict {
        if seen.log10_worse >= self.log10_fail() {
            return Verdict::Fail;
        }
        match seen.log10_fine {
            Some(fine) if fine >= self.log10_pass() => Verdict::Pass,
            _ => Verdict::Undecided { more: seen.more },
        }
    }

    /// The verdict with what it rests on, for people.
    #[must_use]
    pub fn explain(&self, seen: &GateObserved) -> String {
        let (unit, bad) = seen.gate.unit();
        let GateObserved { newcomer, incumbent, .. } = seen;
        let counts = format!(
            "{} of {} {unit} {bad}, {} of {} with the one before",
            newcomer.bad, newcomer.n, incumbent.bad, incumbent.n
        );
        let name = seen.gate.as_str();
        match self.judge(seen) {
            Verdict::Fail => format!(
                "{name}: fail: {counts} (evidence 10^{:.1} of {}, threshold 10^{:.1})",
                seen.log10_worse,
                self.accusation(seen.gate),
                self.log10_fail()
            ),
            Verdict::Pass => format!("{name}: pass: {counts}"),
            Verdict::Undecided { more: Some(more) } => {
                format!("{name}: not enough data yet (needs about {more} more {unit}): {counts}")
            }
            Verdict::Undecided { more: None } => format!("{name}: not enough data yet: {counts}"),
        }
    }

    fn accusation(&self, gate: GateKind) -> String {
        match gate {
            GateKind::Alarms => format!("more than {} a device and year", self.alarms_per_device_year),
            _ => format!("more than {} % worse", (self.margin(gate) * 10_000.0).round() / 100.0),
        }
    }
}
