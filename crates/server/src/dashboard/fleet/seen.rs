//! The fleet as pages see it: of each device what is counted, filtered and coloured, read once and kept for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edgeward_api::device::{ModelReport, Report};
use edgeward_api::operator::{Device, Model, RaisedAlert};
use edgeward_core::{DeviceId, Digest, GroupName, ModelName, Timestamp};
use edgeward_store::View;

use crate::app::{App, lock};
use crate::dashboard::alerts;
use crate::dashboard::snapshot::champion;
use crate::failure::Failure;
use crate::listing;

/// A device that was silent for longer is away, unless it reports more rarely than that.
const AWAY_AFTER: Duration = Duration::from_secs(15);
/// So many of its own intervals of silence make a device away.
const AWAY_INTERVALS: u32 = 3;
/// No device is waited for longer.
const AWAY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// A fleet this large is read at most once in [`FRESH`].
const LARGE: usize = 500;
const FRESH: Duration = Duration::from_secs(1);

/// How a device stands: the most pressing of what can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It reports, and nothing is wrong.
    Fine,
    /// It is about to change its model.
    Updating,
    /// It raised an alarm about the model that it runs.
    Alarmed,
    /// It will not run what it should, or does not believe the repository.
    Refusing,
    /// It was not heard of lately.
    Away,
    /// It has joined and was never heard of.
    Silent,
    /// It is shut out.
    Revoked,
}

impl Standing {
    pub(crate) const ALL: [Self; 7] =
        [Self::Fine, Self::Updating, Self::Alarmed, Self::Refusing, Self::Away, Self::Silent, Self::Revoked];

    /// The word in addresses and on screens, and the class of its colour.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Updating => "updating",
            Self::Alarmed => "alarmed",
            Self::Refusing => "refusing",
            Self::Away => "away",
            Self::Silent => "silent",
            Self::Revoked => "revoked",
        }
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.word() == word)
    }

    /// Whether the control plane hears of it.
    pub(crate) const fn reports(self) -> bool {
        matches!(self, Self::Fine | Self::Updating | Self::Alarmed | Self::Refusing)
    }
}

/// One model on one device.
#[derive(Clone, Debug)]
pub(crate) struct SeenModel {
    pub(crate) name: ModelName,
    pub(crate) active: Option<Digest>,
    pub(crate) phase: String,
    /// The bundle that it refused last.
    pub(crate) refused: Option<Digest>,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) accuracy: Option<f64>,
    pub(crate) labels: u64,
    /// The stream with the most evidence of change, log10.
    pub(crate) evidence: Option<(String, f64)>,
    pub(crate) threshold: Option<f64>,
}

impl SeenModel {
    fn of(name: &ModelName, said: &ModelReport) -> Self {
        let most = said.evidence.iter().max_by(|a, b| a.1.total_cmp(b.1));
        Self {
            name: name.clone(),
            active: said.active,
            phase: said.phase.clone(),
            refused: said.refused.last().map(|refused| refused.bundle),
            requests: said.requests,
            failed: said.requests_failed,
            accuracy: said.accuracy,
            labels: said.accuracy_labels,
            evidence: most.map(|(stream, evidence)| (stream.clone(), *evidence)),
            threshold: said.log10_threshold,
        }
    }

    /// Its evidence as a part of what raises an alarm.
    pub(crate) fn share(&self) -> Option<f64> {
        let (_, evidence) = self.evidence.as_ref()?;
        let threshold = self.threshold.filter(|threshold| *threshold > 0.0)?;
        Some(evidence / threshold).filter(|share| share.is_finite())
    }
}

/// One device.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: DeviceId,
    pub(crate) seen_at_ms: Option<Timestamp>,
    pub(crate) standing: Standing,
    pub(crate) models: Vec<SeenModel>,
}

/// A group and who is in it.
#[derive(Clone, Debug)]
pub(crate) struct Grouped {
    pub(crate) name: GroupName,
    pub(crate) expression: String,
    /// Places in [`Fleet::devices`].
    pub(crate) members: Vec<usize>,
}

/// What is known beside the reports.
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) models: &'a [Model],
    /// Alerts that still matter, acknowledged or not: how a device stands does not follow from who has seen it.
    pub(crate) unsettled: &'a [RaisedAlert],
    /// Bundles of rollouts under way.
    pub(crate) coming: &'a [Digest],
}

/// Everything the pages of the fleet look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) now: Timestamp,
    /// By id.
    pub(crate) devices: Vec<Seen>,
    /// By name.
    pub(crate) groups: Vec<Grouped>,
    /// The version of each registered bundle.
    names: BTreeMap<Digest, (ModelName, u64)>,
}

impl Fleet {
    pub(crate) fn of(devices: &[Device], context: &Context<'_>) -> Self {
        let versions = context.models.iter().flat_map(|model| {
            model.versions.iter().map(|version| (version.bundle, (model.name.clone(), version.version)))
        });
        let champions = context.models.iter().filter_map(champion).map(|version| version.bundle);
        let wanted: BTreeSet<Digest> = champions.chain(context.coming.iter().copied()).collect();
        let alarmed: BTreeSet<(&DeviceId, &ModelName)> =
            context.unsettled.iter().map(|raised| (&raised.alert.device, &raised.alert.model)).collect();
        let seen = |device: &Device| {
            let models = device.report.iter().flat_map(|report| &report.models);
            Seen {
                id: device.id.clone(),
                seen_at_ms: device.seen_at_ms,
                standing: standing(device, context.now, &wanted, |model| {
                    alarmed.contains(&(&device.id, model))
                }),
                models: models.map(|(name, said)| SeenModel::of(name, said)).collect(),
            }
        };
        Self {
            now: context.now,
            devices: devices.iter().map(seen).collect(),
            groups: Vec::new(),
            names: versions.collect(),
        }
    }

    /// The version of `bundle`, if it is registered.
    pub(crate) fn version_of(&self, bundle: Digest) -> Option<&(ModelName, u64)> {
        self.names.get(&bundle)
    }

    /// `v3` for people, or the start of the digest.
    pub(crate) fn label(&self, bundle: Digest) -> String {
        self.version_of(bundle).map_or_else(|| bundle.short(), |(_, version)| format!("v{version}"))
    }

    pub(crate) fn count(&self, is_meant: impl Fn(Standing) -> bool) -> usize {
        self.devices.iter().filter(|device| is_meant(device.standing)).count()
    }

    /// Every model on every device.
    pub(crate) fn models(&self) -> impl Iterator<Item = &SeenModel> {
        self.devices.iter().flat_map(|device| &device.models)
    }

    /// Accuracy over all devices, weighted by labels, with the number of labels.
    pub(crate) fn accuracy(&self) -> Option<(f64, u64)> {
        let told = self.models().filter_map(|model| Some((model.accuracy?, model.labels)));
        let (sum, labels) =
            told.fold((0.0, 0), |(sum, labels), (accuracy, n)| (sum + accuracy * n as f64, labels + n));
        (labels > 0).then(|| (sum / labels as f64, labels))
    }
}

fn standing(
    device: &Device,
    now: Timestamp,
    wanted: &BTreeSet<Digest>,
    is_alarmed: impl Fn(&ModelName) -> bool,
) -> Standing {
    if device.revoked_at_ms.is_some() {
        return Standing::Revoked;
    }
    let (Some(report), Some(seen)) = (&device.report, device.seen_at_ms) else { return Standing::Silent };
    if now.since(seen) >= away_after(report) {
        return Standing::Away;
    }
    let refuses = |said: &ModelReport| said.refused.iter().any(|one| wanted.contains(&one.bundle));
    if report.repository.is_some() || report.models.values().any(refuses) {
        return Standing::Refusing;
    }
    let over = |said: &ModelReport| {
        said.log10_threshold.is_some_and(|bar| said.evidence.values().any(|evidence| *evidence >= bar))
    };
    if report.models.iter().any(|(model, said)| over(said) || is_alarmed(model)) {
        return Standing::Alarmed;
    }
    match report.models.values().any(|said| said.phase != "idle") {
        true => Standing::Updating,
        false => Standing::Fine,
    }
}

/// How long a device may be silent: a few of its own intervals.
fn away_after(report: &Report) -> Duration {
    let reports = u32::try_from(report.seq.max(1)).unwrap_or(u32::MAX);
    let interval = report.at_ms.since(report.session_started_at_ms) / reports;
    interval.saturating_mul(AWAY_INTERVALS).clamp(AWAY_AFTER, AWAY_AFTER_MAX)
}

/// The fleet as it was read last.
#[derive(Debug, Default)]
pub(crate) struct FleetCache(Mutex<Option<(Instant, Arc<Fleet>)>>);

/// The fleet now; a large one as it was a moment ago.
pub(crate) async fn fleet(app: &App) -> Result<Arc<Fleet>, Failure> {
    let known = lock(&app.fleet_seen.0).clone();
    let is_fresh = |(at, fleet): &(Instant, Arc<Fleet>)| fleet.devices.len() >= LARGE && at.elapsed() < FRESH;
    if let Some((_, fleet)) = known.filter(is_fresh) {
        return Ok(fleet);
    }
    let now = app.now();
    let fleet = Arc::new(app.read(move |view| read(view, now)).await?);
    *lock(&app.fleet_seen.0) = Some((Instant::now(), Arc::clone(&fleet)));
    Ok(fleet)
}

fn read(view: &View<'_>, now: Timestamp) -> Result<Fleet, Failure> {
    let (devices, models) = (listing::devices(view)?, listing::models(view)?);
    let coming: Vec<Digest> = view.rollouts_under_way()?.into_iter().map(|row| row.bundle).collect();
    let unsettled = alerts::unsettled(view)?;
    let context = Context { now, models: &models, unsettled: &unsettled, coming: &coming };
    let mut fleet = Fleet::of(&devices, &context);
    let labels = view.labels()?;
    for (name, expression) in view.groups()? {
        let is_in = |(_, device): &(usize, &Seen)| {
            labels.get(&device.id).is_some_and(|labels| expression.includes(labels))
        };
        let members = fleet.devices.iter().enumerate().filter(is_in).map(|(place, _)| place).collect();
        fleet.groups.push(Grouped { name, expression: expression.to_string(), members });
    }
    Ok(fleet)
}
