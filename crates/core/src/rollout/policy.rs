//! Waves, patience, gates, consent and times of a rollout.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{WaveSize, Window};
use crate::GroupName;
use crate::time::as_ms;

/// What a rollout follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPolicy {
    /// How many devices each wave reaches, growing; the whole fleet is always the last.
    pub waves: Vec<WaveSize>,
    /// How long every device of a wave must run the bundle before the next wave opens.
    #[serde(with = "as_ms")]
    pub bake_ms: Duration,
    /// Devices that may refuse or drop the bundle before the rollout fails.
    pub failures_max: usize,
    /// A device not heard of for this long is not waited for.
    #[serde(with = "as_ms")]
    pub offline_ms: Duration,
    /// How long a device watches the bundle before it counts as good.
    #[serde(with = "as_ms")]
    pub probation_ms: Duration,
    /// What the bundle must not do worse than the one before.
    #[serde(default)]
    pub gates: Gates,
    /// What becomes of a rollout that fails.
    #[serde(default)]
    pub on_fail: OnFail,
    /// Which waves wait for a person.
    #[serde(default)]
    pub approval: Approval,
    /// When waves may open; at any time if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The group whose devices it is for; everybody if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            waves: vec![WaveSize::Devices(1), WaveSize::Percent(10), WaveSize::Percent(100)],
            bake_ms: Duration::from_secs(600),
            failures_max: 0,
            offline_ms: Duration::from_secs(300),
            probation_ms: Duration::from_secs(60),
            gates: Gates::default(),
            on_fail: OnFail::default(),
            approval: Approval::default(),
            window: None,
            group: None,
        }
    }
}

/// What becomes of a rollout that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// The devices go back to what they ran before.
    #[default]
    RollBack,
    /// The devices keep what they run, no further wave opens, and a person decides.
    Pause,
}

/// Which waves wait for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// None.
    #[default]
    None,
    /// The first only.
    First,
    /// Each of them.
    Each,
}

impl Approval {
    /// Whether the wave of this index may not open before somebody agreed.
    #[must_use]
    pub const fn is_needed_for(self, index: usize) -> bool {
        match self {
            Self::None => false,
            Self::First => index == 0,
            Self::Each => true,
        }
    }
}

/// What the devices with the newer bundle must not do worse than those with the one before, while both serve.
///
/// Shares are differences of shares: with `accuracy_drop_max = 0.02` a newcomer that errs in 7 of 100 answers is as good
/// as an incumbent that errs in 5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// Probability that a bundle that is not worse fails any of the gates, however often they are looked at.
    pub alpha: f64,
    /// How much larger the share of wrong answers may be, by the labels that arrive.
    pub accuracy_drop_max: f64,
    /// How much larger the share of requests that fail may be.
    pub failed_requests_max: f64,
    /// How much larger the share of requests may be that take longer than 99 in 100 of the incumbent's.
    pub slow_requests_max: f64,
    /// Alarms (drift, decay, outliers) of one device in one year that are nothing unusual.
    pub alarms_per_device_year: f64,
    /// Labels of the newer bundle that a further wave waits for.
    pub labels_min: u64,
    /// Whether a further wave waits until labels prove that accuracy did not drop by more than the share given.
    pub proof: bool,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            accuracy_drop_max: 0.02,
            failed_requests_max: 0.005,
            slow_requests_max: 0.02,
            alarms_per_device_year: 1.0,
            labels_min: 0,
            proof: false,
        }
    }
}
