//! What one rendering of the dashboard looks at: plain documents, read once, so that a page never contradicts itself.

use std::time::Duration;

use edgeward_api::device::ModelReport;
use edgeward_api::operator::{Device, Drift, Model, Rollout, Run, Version};
use edgeward_core::event::Project;
use edgeward_core::ledger::Entry;
use edgeward_core::{Alert, Digest, ModelName, Timestamp};

/// A device that was silent for longer is shown as away.
pub(crate) const AWAY_AFTER: Duration = Duration::from_secs(15);

/// Everything the overview shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// When it was read.
    pub(crate) now: Timestamp,
    /// Where this control plane listens, for the commands in empty states.
    pub(crate) address: String,
    pub(crate) projects: Vec<Project>,
    pub(crate) devices: Vec<Device>,
    pub(crate) models: Vec<Model>,
    /// The newest first.
    pub(crate) runs: Vec<Run>,
    /// The newest first.
    pub(crate) rollouts: Vec<Rollout>,
    /// The newest first.
    pub(crate) alerts: Vec<Alert>,
    /// Ledger entries, the newest first.
    pub(crate) entries: Vec<Entry>,
    /// Of the model that is plotted.
    pub(crate) drift: Option<(ModelName, Drift)>,
}

impl Snapshot {
    /// The version of `bundle`, if it is registered.
    pub(crate) fn version_of(&self, bundle: Digest) -> Option<(&ModelName, u64)> {
        self.models.iter().find_map(|model| {
            let version = model.versions.iter().find(|version| version.bundle == bundle)?;
            Some((&model.name, version.version))
        })
    }

    /// `v3` for people, or the start of the digest.
    pub(crate) fn bundle_label(&self, bundle: Digest) -> String {
        self.version_of(bundle).map_or_else(|| bundle.short(), |(_, version)| format!("v{version}"))
    }

    /// Whether the control plane heard of `device` lately.
    pub(crate) fn is_online(&self, device: &Device) -> bool {
        device.seen_at_ms.is_some_and(|seen| self.now.since(seen) < AWAY_AFTER)
    }

    /// Alerts about a bundle that some model has as its champion: the ones that still matter.
    pub(crate) fn open_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| {
            let champion = self.models.iter().find(|model| model.name == alert.model).and_then(champion);
            champion.is_some_and(|version| version.bundle == alert.bundle)
        })
    }

    /// Accuracy over the whole fleet, weighted by labels, with the number of labels.
    pub(crate) fn fleet_accuracy(&self) -> Option<(f64, u64)> {
        let reports = self.model_reports().filter_map(|seen| Some((seen.accuracy?, seen.accuracy_labels)));
        let (sum, labels) =
            reports.fold((0.0, 0), |(sum, labels), (accuracy, n)| (sum + accuracy * n as f64, labels + n));
        (labels > 0).then(|| (sum / labels as f64, labels))
    }

    /// Every model on every device.
    pub(crate) fn model_reports(&self) -> impl Iterator<Item = &ModelReport> {
        self.devices.iter().filter_map(|device| device.report.as_ref()).flat_map(|r| r.models.values())
    }
}

/// The version that `champion` names.
pub(crate) fn champion(model: &Model) -> Option<&Version> {
    let champion = model.aliases.get("champion")?;
    model.versions.iter().find(|version| version.version == *champion)
}
