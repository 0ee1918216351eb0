//! An alert: a detector's verdict on a device, or the control plane's on the fleet, as the control plane keeps it.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Digest, ModelName, Timestamp};

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Inputs, predictions or confidence left the reference distribution.
    Drift,
    /// The error rate, from labels, rose above the model's own.
    Decay,
    /// One value that the reference makes impossible.
    Outlier,
    /// Many devices left the reference distribution together: the control plane's verdict on the fleet.
    WorldChanged,
    /// One device left the reference distribution and the others did not: the control plane's verdict, too.
    OddDevice,
}

impl AlertKind {
    /// The word used in files, labels and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Decay => "decay",
            Self::Outlier => "outlier",
            Self::WorldChanged => "world_changed",
            Self::OddDevice => "odd_device",
        }
    }

    /// Whether it is about where devices stand in the fleet, and so says nothing for or against a bundle.
    #[must_use]
    pub const fn is_of_fleet(self) -> bool {
        matches!(self, Self::WorldChanged | Self::OddDevice)
    }
}

/// One alert. Raising the same id again changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Unique: made by the device.
    pub id: String,
    /// What was noticed.
    pub kind: AlertKind,
    /// Where; of [`AlertKind::WorldChanged`], the device that shows it most.
    pub device: DeviceId,
    /// On which model.
    pub model: ModelName,
    /// Which bundle was running.
    pub bundle: Digest,
    /// When, by the device's clock.
    pub at_ms: Timestamp,
    /// The feature, prediction or confidence stream that drove it; none for decay.
    pub stream: Option<String>,
    /// How many samples the monitor had seen; of a verdict on the fleet, all its devices.
    pub sample: u64,
    /// The sample at which the change is estimated to have begun.
    pub change_sample: Option<u64>,
    /// Evidence against "no change", log10.
    pub log10_evidence: f64,
    /// The threshold the evidence crossed, log10; it follows from the false-alarm budget.
    pub log10_threshold: f64,
    /// One sentence for people.
    pub message: String,
}
