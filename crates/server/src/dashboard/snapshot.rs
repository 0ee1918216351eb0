//! What one rendering of the overview looks at: plain documents, read once, so that a page never contradicts itself.

use std::sync::Arc;

use edgeward_api::operator::{Drift, Model, RaisedAlert, Rollout, Run, Version};
use edgeward_core::event::Project;
use edgeward_core::ledger::Entry;
use edgeward_core::{Alert, ModelName, Timestamp};

use super::alerts::Stand;
use super::fleet::{self, Fleet};
use crate::app::App;
use crate::failure::Failure;
use crate::handlers::audit;
use crate::listing;

/// Ledger entries read for the timeline and the marks of charts.
const ENTRIES_MAX: usize = 200;

/// Everything the overview shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// When it was read.
    pub(crate) now: Timestamp,
    /// Where this control plane listens, for the commands in empty states.
    pub(crate) address: String,
    pub(crate) projects: Vec<Project>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) models: Vec<Model>,
    /// The newest first.
    pub(crate) runs: Vec<Run>,
    /// The newest first.
    pub(crate) rollouts: Vec<Rollout>,
    /// The newest first.
    pub(crate) alerts: Vec<RaisedAlert>,
    /// Ledger entries, the newest first.
    pub(crate) entries: Vec<Entry>,
    /// Of the model that is plotted.
    pub(crate) drift: Option<(ModelName, Drift)>,
}

impl Snapshot {
    /// Reads everything.
    pub(super) async fn of(app: &App) -> Result<Self, Failure> {
        let (now, address, fleet) = (app.now(), app.address.clone(), fleet::fleet(app).await?);
        let mut seen = app
            .read(move |view| {
                Ok::<_, Failure>(Self {
                    now,
                    address,
                    fleet,
                    projects: view.projects()?,
                    models: listing::models(view)?,
                    runs: listing::runs(view)?,
                    rollouts: listing::rollouts(view)?,
                    alerts: listing::alerts(view)?,
                    entries: audit::newest(view, ENTRIES_MAX)?,
                    drift: None,
                })
            })
            .await?;
        let newest = seen.models.iter().max_by_key(|model| model.versions.last().map(|v| v.registered_at_ms));
        if let Some(model) = newest.map(|model| model.name.clone()) {
            let drift = crate::drift::of_model(app, &model).await?;
            seen.drift = drift.map(|drift| (model, (*drift).clone()));
        }
        Ok(seen)
    }

    /// Alerts that stand so.
    pub(crate) fn alerts_that_are(&self, stand: Stand) -> impl Iterator<Item = &Alert> {
        let meant = self.alerts.iter().filter(move |raised| Stand::of(raised, &self.models) == stand);
        meant.map(|raised| &raised.alert)
    }
}

/// Whether an alert is about what serves now: the alarm of a model that was replaced is settled.
pub(crate) fn matters(alert: &Alert, models: &[Model]) -> bool {
    let champion = models.iter().find(|model| model.name == alert.model).and_then(champion);
    champion.is_some_and(|version| version.bundle == alert.bundle)
}

/// The version that `champion` names.
pub(crate) fn champion(model: &Model) -> Option<&Version> {
    let champion = model.aliases.get("champion")?;
    model.versions.iter().find(|version| version.version == *champion)
}
