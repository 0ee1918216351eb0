//! Profiles become verdicts on the fleet: the world changed, or one device is odd.
//!
//! The evidence is in memory, folded from the stored profiles in the order of their arrival; after a start it is folded
//! again from the latest [`REFOLDED_MAX`]. A verdict has an id that follows from what it is about, so it is raised once
//! per bundle and stream, or device, however often it is reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgeward_core::alert::AlertKind;
use edgeward_core::{Alert, DeviceId, Digest, Event, ModelName, Timestamp};
use edgeward_monitor::{
    FLEET_LARGE, FleetChange, FleetConfig, FleetJudgement, FleetWatch, Profile, Reference,
};
use edgeward_store::ArrivedProfile;

use super::ReconcileError;
use crate::app::{App, blocking};
use crate::drift::{self, Yardstick};

/// Profiles that are read at once.
const PAGE: usize = 1_000;
/// Pages in one turn; the rest waits for the next.
const PAGES_PER_TURN: usize = 20;
/// Latest profiles that are folded again after a start.
const REFOLDED_MAX: i64 = 50_000;
/// Most bundles under watch; beyond it, the one that was heard of least recently is forgotten.
const WATCHES_MAX: usize = 16;

type Key = (ModelName, Digest);

/// The bundles under watch.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The last profile that was folded; none before the first turn.
    arrival: Option<i64>,
    watches: BTreeMap<Key, Watch>,
}

#[derive(Debug)]
struct Watch {
    fleet: FleetWatch<DeviceId>,
    /// The last profile it was given.
    arrival: i64,
    /// Whether the world was said to have changed: single devices are not held against the old reference then.
    said: bool,
}

/// Folds the profiles that arrived and raises what they show.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    let mut watched = app.watched.lock().await;
    for _ in 0..PAGES_PER_TURN {
        let after = watched.arrival;
        let (after, page) = app
            .read(move |view| {
                let after = match after {
                    Some(after) => after,
                    None => (view.latest_arrival()? - REFOLDED_MAX).max(0),
                };
                Ok::<_, ReconcileError>((after, view.profiles_after(after, PAGE)?))
            })
            .await?;
        watched.arrival = Some(after);
        if page.is_empty() {
            break;
        }
        let alerts = take(app, &mut watched, page).await?;
        raise(app, alerts).await?;
    }
    Ok(())
}

/// Folds one page on a thread for such work. If that ends early, everything is folded again.
async fn take(
    app: &App,
    watched: &mut Watched,
    page: Vec<ArrivedProfile>,
) -> Result<Vec<Alert>, ReconcileError> {
    let mut references = BTreeMap::new();
    for arrived in &page {
        let key = (arrived.model.clone(), arrived.row.bundle);
        if !watched.watches.contains_key(&key) && !references.contains_key(&key) {
            references.insert(key, drift::reference(app, arrived.row.bundle).await);
        }
    }
    let (mut taken, now) = (std::mem::take(watched), app.now());
    let (taken, alerts) = blocking(move || {
        let alerts = taken.fold(&page, &references, now);
        Ok::<_, ReconcileError>((taken, alerts))
    })
    .await?;
    *watched = taken;
    Ok(alerts)
}

async fn raise(app: &App, alerts: Vec<Alert>) -> Result<(), ReconcileError> {
    if alerts.is_empty() {
        return Ok(());
    }
    app.decide(move |decision| {
        for alert in alerts {
            if !decision.has_alert(&alert.id)? {
                tracing::warn!(model = %alert.model, kind = alert.kind.as_str(), "{}", alert.message);
                decision.append(Event::AlertRaised(alert))?;
            }
        }
        Ok(())
    })
    .await
}

impl Watched {
    fn fold(
        &mut self,
        page: &[ArrivedProfile],
        references: &BTreeMap<Key, Option<Arc<Yardstick>>>,
        now: Timestamp,
    ) -> Vec<Alert> {
        let mut touched = BTreeMap::new();
        for arrived in page {
            self.arrival = Some(arrived.arrival);
            let key = (arrived.model.clone(), arrived.row.bundle);
            let known = references.get(&key).and_then(Option::as_deref).map(|yardstick| &yardstick.reference);
            let Some(watch) = self.watch(&key, known) else { continue };
            let profile = Profile::from_bytes(&arrived.row.profile).ok();
            // A profile of another reference, or none at all, says nothing here; the handler refused unreadable ones.
            let fits =
                profile.is_some_and(|profile| watch.fleet.observe(&arrived.row.device, &profile).is_ok());
            if fits {
                watch.arrival = arrived.arrival;
                touched.insert(key, ());
            }
        }
        touched.into_keys().flat_map(|key| self.judge(&key, now)).collect()
    }

    fn watch(&mut self, key: &Key, reference: Option<&Reference>) -> Option<&mut Watch> {
        if !self.watches.contains_key(key) {
            let fleet = FleetWatch::new(reference?, FleetConfig::default());
            let oldest = self.watches.iter().min_by_key(|(_, watch)| watch.arrival);
            let oldest = oldest.map(|(key, _)| key.clone()).filter(|_| self.watches.len() >= WATCHES_MAX);
            if let Some(oldest) = oldest {
                self.watches.remove(&oldest);
            }
            self.watches.insert(key.clone(), Watch { fleet, arrival: 0, said: false });
        }
        self.watches.get_mut(key)
    }

    fn judge(&mut self, key: &Key, now: Timestamp) -> Vec<Alert> {
        let Some(watch) = self.watches.get_mut(key) else { return Vec::new() };
        let judgement = watch.fleet.judge();
        watch.said |= judgement.world.is_some();
        verdicts(key, &judgement, watch.said, now)
    }
}

/// The alerts that a judgement amounts to.
fn verdicts(key: &Key, judgement: &FleetJudgement<DeviceId>, said: bool, now: Timestamp) -> Vec<Alert> {
    if let (Some(change), Some(device)) = (&judgement.world, &judgement.leading) {
        let id = format!("world-{}-{}", key.1.hex(), change.stream);
        return vec![alert(id, AlertKind::WorldChanged, key, (device, change), judgement, now)];
    }
    if said {
        return Vec::new();
    }
    let odd = judgement.odd.iter().map(|(device, change)| {
        let id = format!("odd-{}-{device}", key.1.hex());
        alert(id, AlertKind::OddDevice, key, (device, change), judgement, now)
    });
    odd.collect()
}

fn alert(
    id: String,
    kind: AlertKind,
    (model, bundle): &Key,
    (device, change): (&DeviceId, &FleetChange),
    judgement: &FleetJudgement<DeviceId>,
    now: Timestamp,
) -> Alert {
    Alert {
        id,
        kind,
        device: device.clone(),
        model: model.clone(),
        bundle: *bundle,
        at_ms: now,
        stream: Some(change.stream.clone()),
        sample: judgement.samples,
        change_sample: None,
        log10_evidence: change.log10_evidence,
        log10_threshold: change.log10_threshold,
        message: message(kind, device, change, judgement.devices),
    }
}

fn message(kind: AlertKind, device: &DeviceId, change: &FleetChange, devices: usize) -> String {
    let FleetChange { stream, change, log10_evidence, log10_threshold } = change;
    let evidence = format!("(evidence 10^{log10_evidence:.1}, threshold 10^{log10_threshold:.1})");
    if kind == AlertKind::OddDevice {
        return format!(
            "{device} is odd: '{stream}' has {change}, and {devices} devices together do not {evidence}"
        );
    }
    let part = if devices >= FLEET_LARGE { "half" } else { "quarter" };
    format!(
        "the world changed: '{stream}' has {change} on {devices} devices, whichever {part} is left out {evidence}"
    )
}
