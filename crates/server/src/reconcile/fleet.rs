//! Profiles become verdicts on the fleet: the world changed, or one device is odd.
//!
//! The evidence is in memory, folded from the stored profiles in the order of their arrival; after a start it is folded
//! again from the latest [`REFOLDED_MAX`]. A verdict has an id that follows from what it is about, so it is raised once
//! per bundle and stream, or device, however often it is reached. Where what it said was over meanwhile, it is another
//! occurrence with an id of its own: that somebody has seen the first says nothing of it. Only an occurrence whose end lies
//! before what is folded again is missed.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgeward_core::alert::AlertKind;
use edgeward_core::{Alert, DeviceId, Digest, Event, ModelName, Timestamp};
use edgeward_monitor::{
    FLEET_LARGE, FleetChange, FleetConfig, FleetJudgement, FleetWatch, Profile, Reference,
};
use edgeward_store::{ArrivedProfile, StoreError, View};

use super::ReconcileError;
use crate::app::{App, blocking};
use crate::drift::{self, Yardstick};

/// Profiles that are read at once.
const PAGE: usize = 1_000;
/// Pages in one turn; the rest waits for the next.
const PAGES_PER_TURN: usize = 20;
/// Latest profiles that are folded again after a start.
const REFOLDED_MAX: i64 = 50_000;
/// What ids begin with, by kind.
const WORLD: &str = "world";
const ODD: &str = "odd";
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
    /// When that was.
    heard_at_ms: Timestamp,
    /// Whether the world was said to have changed: single devices are not held against the old reference then.
    said: bool,
    /// When the last change of the world was over.
    back_at_ms: Option<Timestamp>,
    /// When a device was odd no more.
    recovered_at_ms: BTreeMap<DeviceId, Timestamp>,
}

/// What is to be raised, unless it was.
#[derive(Debug)]
struct Verdict {
    kind: &'static str,
    /// What it is about.
    about: String,
    /// When what it said the last time was over; none if it was not.
    over_at_ms: Option<Timestamp>,
    /// The alert, but for its id.
    alert: Alert,
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
        let verdicts = take(app, &mut watched, page).await?;
        raise(app, verdicts).await?;
    }
    Ok(())
}

/// Folds one page on a thread for such work. If that ends early, everything is folded again.
async fn take(
    app: &App,
    watched: &mut Watched,
    page: Vec<ArrivedProfile>,
) -> Result<Vec<Verdict>, ReconcileError> {
    let mut references = BTreeMap::new();
    for arrived in &page {
        let key = (arrived.model.clone(), arrived.row.bundle);
        if !watched.watches.contains_key(&key) && !references.contains_key(&key) {
            references.insert(key, drift::reference(app, arrived.row.bundle).await);
        }
    }
    let (mut taken, now) = (std::mem::take(watched), app.now());
    let (taken, verdicts) = blocking(move || {
        let verdicts = taken.fold(&page, &references, now);
        Ok::<_, ReconcileError>((taken, verdicts))
    })
    .await?;
    *watched = taken;
    Ok(verdicts)
}

async fn raise(app: &App, verdicts: Vec<Verdict>) -> Result<(), ReconcileError> {
    if verdicts.is_empty() {
        return Ok(());
    }
    app.decide(move |decision| {
        for verdict in verdicts {
            if let Some(id) = verdict.fresh_id(decision)? {
                let alert = Alert { id, ..verdict.alert };
                tracing::warn!(model = %alert.model, kind = alert.kind.as_str(), "{}", alert.message);
                decision.append(Event::AlertRaised(alert))?;
            }
        }
        Ok(())
    })
    .await
}

/// Whether an id is one that verdicts have: no device may take it, and silence what is said of the fleet.
pub(crate) fn is_of_verdict(id: &str) -> bool {
    let rest = [WORLD, ODD].into_iter().find_map(|kind| id.strip_prefix(kind));
    rest.is_some_and(|rest| rest.starts_with(['-', '#']))
}

impl Verdict {
    fn id(&self, occurrence: u64) -> String {
        let (kind, about) = (self.kind, &self.about);
        match occurrence {
            1 => format!("{kind}-{about}"),
            // Not at the end, where it might be a part of a name.
            later => format!("{kind}#{later}-{about}"),
        }
    }

    /// The id under which it is raised; none if it was raised, and has not been over since.
    fn fresh_id(&self, view: &View<'_>) -> Result<Option<String>, StoreError> {
        let (mut occurrence, mut raised_at_ms) = (1, None);
        loop {
            let id = self.id(occurrence);
            match view.alert(&id)? {
                Some(row) => raised_at_ms = Some(row.alert.at_ms),
                None => return Ok((raised_at_ms.is_none() || raised_at_ms < self.over_at_ms).then_some(id)),
            }
            occurrence += 1;
        }
    }
}

impl Watched {
    fn fold(
        &mut self,
        page: &[ArrivedProfile],
        references: &BTreeMap<Key, Option<Arc<Yardstick>>>,
        now: Timestamp,
    ) -> Vec<Verdict> {
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
                (watch.arrival, watch.heard_at_ms) = (arrived.arrival, arrived.received_at_ms);
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
            self.watches.insert(key.clone(), Watch::of(fleet));
        }
        self.watches.get_mut(key)
    }

    fn judge(&mut self, key: &Key, now: Timestamp) -> Vec<Verdict> {
        let Some(watch) = self.watches.get_mut(key) else { return Vec::new() };
        let judgement = watch.fleet.judge();
        let over = judgement.recovered.iter().map(|device| (device.clone(), watch.heard_at_ms));
        watch.recovered_at_ms.extend(over);
        if judgement.world_is_back {
            (watch.said, watch.back_at_ms) = (false, Some(watch.heard_at_ms));
        }
        watch.said |= judgement.world.is_some();
        watch.verdicts(key, &judgement, now)
    }
}

impl Watch {
    const fn of(fleet: FleetWatch<DeviceId>) -> Self {
        Self {
            fleet,
            arrival: 0,
            heard_at_ms: Timestamp(0),
            said: false,
            back_at_ms: None,
            recovered_at_ms: BTreeMap::new(),
        }
    }

    /// What a judgement amounts to.
    fn verdicts(&self, key: &Key, judgement: &FleetJudgement<DeviceId>, now: Timestamp) -> Vec<Verdict> {
        let bundle = key.1.hex();
        let verdict = |kind, about, over_at_ms: Option<Timestamp>, of, device, change| {
            // Never before the end of the last one, whatever the clock does: an occurrence is raised once.
            let at = over_at_ms.map_or(now, |over| now.max(over));
            Verdict { kind, about, over_at_ms, alert: alert(of, key, (device, change), judgement, at) }
        };
        if let (Some(change), Some(device)) = (&judgement.world, &judgement.leading) {
            let about = format!("{bundle}-{}", change.stream);
            return vec![verdict(WORLD, about, self.back_at_ms, AlertKind::WorldChanged, device, change)];
        }
        if self.said {
            return Vec::new();
        }
        let odd = judgement.odd.iter().map(|(device, change)| {
            let over = self.recovered_at_ms.get(device).copied();
            verdict(ODD, format!("{bundle}-{device}"), over, AlertKind::OddDevice, device, change)
        });
        odd.collect()
    }
}

/// An alert without an id.
fn alert(
    kind: AlertKind,
    (model, bundle): &Key,
    (device, change): (&DeviceId, &FleetChange),
    judgement: &FleetJudgement<DeviceId>,
    now: Timestamp,
) -> Alert {
    Alert {
        id: String::new(),
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
