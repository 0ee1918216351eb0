//! How far a model's streams have moved, over the whole fleet: the devices' profiles are merged window by window and
//! held against the reference of the bundle that served.
//!
//! Merging is exact addition, so the answer does not depend on the order of arrival. A window is widened until it holds
//! [`SAMPLES_MIN`] samples, because an index over fewer shows their scatter and no drift.

mod overlay;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeward_api::operator::{Drift, DriftWindow, Metric};
use edgeward_core::{Digest, Manifest, ModelName, Timestamp};
use edgeward_monitor::{
    Estimate, Judged, MonitorConfig, Profile, Reference, SegmentedPerformance, Stream, StreamDrift,
    StreamKind,
};
use edgeward_store::{PROFILE_RETENTION, PROFILES_PAGE_MAX, ProfileRow, StoreError, View};

use crate::app::{App, blocking, lock};
use crate::failure::Failure;
use crate::reconcile::rollouts::CHAMPION;

pub(crate) use overlay::{Overlay, Overlays, overlays};

/// Most windows in one answer.
const WINDOWS_MAX: i64 = 60;
/// Shortest window.
const WINDOW_MS_MIN: i64 = 1000;
/// Fewest samples in a window, unless all of a bundle's windows together hold fewer.
const SAMPLES_MIN: u64 = 200;
/// How far back the answer reaches at most; less when the fleet sends more than one page of profiles in that time.
const SPAN: Duration = Duration::from_secs(24 * 3600);
/// Times the span may be shortened.
const SHORTENINGS_MAX: u32 = 6;
/// An answer younger than this is given again.
const FRESH: Duration = Duration::from_millis(1000);
/// Most references kept in memory.
const REFERENCES_MAX: usize = 32;
/// The file of a bundle that holds its reference.
const REFERENCE_PATH: &str = "reference.profile";
/// The file of a bundle that says how it is to be watched.
const MONITOR_PATH: &str = "monitor.json";

/// The quantile that a regression is taken to predict.
const MEDIAN: f64 = 0.5;
/// Error level of the ranges of metrics.
const ALPHA: f64 = 0.05;
/// Segments of a window that are named.
const SEGMENTS_MAX: usize = 5;

/// What a bundle's windows are held against.
#[derive(Debug)]
pub(crate) struct Yardstick {
    pub(crate) reference: Reference,
    /// How the bundle says it is to be watched.
    config: MonitorConfig,
    classes: Vec<String>,
}

impl Yardstick {
    fn new(reference: Reference, config: MonitorConfig) -> Self {
        let outputs = reference.streams().iter().skip(reference.features());
        let classes = outputs.filter_map(|stream| match stream.kind() {
            StreamKind::Categorical { classes } => Some(classes.clone()),
            StreamKind::Numeric(_) | StreamKind::Categories(_) => None,
        });
        let classes = classes.flatten().collect();
        Self { reference, config, classes }
    }
}

type References = BTreeMap<Digest, Option<Arc<Yardstick>>>;

/// Answers and references that were computed already.
#[derive(Debug, Default)]
pub(crate) struct DriftCache {
    references: Mutex<References>,
    answers: Mutex<BTreeMap<ModelName, (Timestamp, Arc<Drift>)>>,
}

/// The drift of `model`; none if it has no version.
pub(crate) async fn of_model(app: &App, model: &ModelName) -> Result<Option<Arc<Drift>>, Failure> {
    let now = app.now();
    let known = lock(&app.drift.answers).get(model).cloned();
    if let Some((_, drift)) = known.filter(|(at, _)| now.since(*at) < FRESH && now >= *at) {
        return Ok(Some(drift));
    }
    let name = model.clone();
    let Some((bundle, profiles)) = app.read(move |view| observed(view, &name, now)).await? else {
        return Ok(None);
    };
    let references = references(app, &profiles).await;
    let windows = blocking(move || Ok::<_, Failure>(windows(&profiles, &references))).await?;
    let drift = Arc::new(Drift { bundle, windows });
    lock(&app.drift.answers).insert(model.clone(), (now, Arc::clone(&drift)));
    Ok(Some(drift))
}

/// What devices counted with `bundle`, oldest first, as far back as profiles are kept and fit into one page.
pub(crate) async fn history(
    app: &App,
    model: &ModelName,
    bundle: Digest,
) -> Result<Vec<DriftWindow>, Failure> {
    let (now, of) = (app.now(), model.clone());
    let profiles = app
        .read(move |view| Ok::<_, Failure>(lately(view, &of, Some(bundle), (now, PROFILE_RETENTION))?))
        .await?;
    let references = references(app, &profiles).await;
    blocking(move || Ok::<_, Failure>(windows(&profiles, &references))).await
}

/// The profiles of `span` up to `now`, or of less if they are more than a page.
fn lately(
    view: &View<'_>,
    model: &ModelName,
    bundle: Option<Digest>,
    (now, mut span): (Timestamp, Duration),
) -> Result<Vec<ProfileRow>, StoreError> {
    let mut profiles = view.profiles(model, bundle, (now - span, now + SPAN), PROFILES_PAGE_MAX)?;
    for _ in 0..SHORTENINGS_MAX {
        if profiles.len() < PROFILES_PAGE_MAX {
            break;
        }
        span /= 4;
        profiles = view.profiles(model, bundle, (now - span, now + SPAN), PROFILES_PAGE_MAX)?;
    }
    Ok(profiles)
}

/// The champion's bundle, or the newest, and what the fleet saw lately.
fn observed(
    view: &View<'_>,
    model: &ModelName,
    now: Timestamp,
) -> Result<Option<(Digest, Vec<ProfileRow>)>, Failure> {
    let version = match view.aliased(model, CHAMPION)? {
        Some(version) => Some(version),
        None => view.versions(model, 1)?.pop(),
    };
    let Some(version) = version else { return Ok(None) };
    let profiles = lately(view, model, None, (now, SPAN))?;
    Ok(Some((version.bundle, profiles)))
}

/// The references of the bundles that served. A bundle without a readable one still has its labels counted.
async fn references(app: &App, profiles: &[ProfileRow]) -> References {
    let mut found = References::new();
    for row in profiles {
        if let Entry::Vacant(place) = found.entry(row.bundle) {
            place.insert(reference(app, row.bundle).await);
        }
    }
    found
}

/// The yardstick of `bundle`; none without a readable reference.
pub(crate) async fn reference(app: &App, bundle: Digest) -> Option<Arc<Yardstick>> {
    if let Some(known) = lock(&app.drift.references).get(&bundle).cloned() {
        return known;
    }
    let reference = read_reference(app, bundle).await;
    let mut kept = lock(&app.drift.references);
    if kept.len() >= REFERENCES_MAX {
        kept.clear();
    }
    kept.insert(bundle, reference.clone());
    reference
}

async fn read_reference(app: &App, bundle: Digest) -> Option<Arc<Yardstick>> {
    let manifest = app.blobs.get(bundle).await.ok()?;
    let manifest = Manifest::parse(&manifest).ok()?;
    let bytes = file(app, &manifest, REFERENCE_PATH).await?;
    let reference = Reference::from_bytes(&bytes);
    let reference =
        reference.inspect_err(|error| tracing::warn!(%bundle, %error, "unreadable reference")).ok()?;
    let config = file(app, &manifest, MONITOR_PATH).await;
    let config = config.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    Some(Arc::new(Yardstick::new(reference, config)))
}

async fn file(app: &App, manifest: &Manifest, wanted: &str) -> Option<Vec<u8>> {
    let (_, file) = manifest.files.iter().find(|(path, _)| path.as_str() == wanted)?;
    Some(app.blobs.get(file.digest).await.ok()?.to_vec())
}

/// What was seen in one window, of one bundle.
struct Gathered {
    bundle: Digest,
    window: DriftWindow,
    profile: Option<Profile>,
    performance: SegmentedPerformance,
}

impl Gathered {
    fn of(row: &ProfileRow, profile: Option<Profile>) -> Self {
        let samples = profile.as_ref().map_or(0, Profile::n);
        let window = DriftWindow {
            from_ms: row.from_ms,
            to_ms: row.to_ms,
            samples,
            labelled: row.labelled,
            correct: row.correct,
            psi: BTreeMap::new(),
            metrics: BTreeMap::new(),
            segments: Vec::new(),
            estimated_accuracy: None,
        };
        let performance = row.performance.as_deref().map(SegmentedPerformance::from_bytes);
        let performance = performance.and_then(Result::ok).unwrap_or_default();
        Self { bundle: row.bundle, window, profile, performance }
    }

    fn join(&mut self, other: Self) {
        let (mine, theirs) = (&mut self.window, other.window);
        mine.from_ms = mine.from_ms.min(theirs.from_ms);
        mine.to_ms = mine.to_ms.max(theirs.to_ms);
        mine.labelled += theirs.labelled;
        mine.correct += theirs.correct;
        let merged = match (self.profile.take(), other.profile) {
            (Some(mine), Some(theirs)) => Some(mine.merge(&theirs).unwrap_or(mine)),
            (mine, theirs) => mine.or(theirs),
        };
        mine.samples = merged.as_ref().map_or(0, Profile::n);
        self.profile = merged;
        if let Ok(sum) = self.performance.merge(&other.performance) {
            self.performance = sum;
        }
    }

    fn finish(mut self, references: &References) -> DriftWindow {
        let Some(yardstick) = references.get(&self.bundle).and_then(Option::as_ref) else {
            return self.window;
        };
        let Yardstick { reference, config, classes } = yardstick.as_ref();
        if let Some(profile) = &self.profile {
            self.window.psi = psi(profile, reference);
            let estimated = config.calibration.as_ref().map(|c| c.estimate(reference, profile, ALPHA));
            self.window.estimated_accuracy = estimated.and_then(Result::ok).flatten().map(metric);
        }
        let report = self.performance.all().report(classes, MEDIAN, ALPHA);
        self.window.metrics = report.metrics.into_iter().map(|(name, found)| (name, metric(found))).collect();
        self.window.segments = lost(&self.performance, yardstick);
        self.window
    }
}

fn metric(Estimate { value, low, high, n, assumes, .. }: Estimate) -> Metric {
    let finite = |end: f64| if end.is_finite() { end } else { f64::MAX.copysign(end) };
    Metric { value, low: finite(low), high: finite(high), n, assumes }
}

/// Segments whose accuracy is certainly below that of the evaluation, or of the whole if none is known.
fn lost(performance: &SegmentedPerformance, yardstick: &Yardstick) -> Vec<String> {
    let evaluated = yardstick.config.baseline_accuracy.map(|(accuracy, _)| accuracy);
    let whole = || performance.all().accuracy().map(|(accuracy, _)| accuracy);
    let Some(baseline) = evaluated.or_else(whole) else { return Vec::new() };
    let judged = Judged { metric: "accuracy", classes: &yardstick.classes, quantile: MEDIAN, alpha: ALPHA };
    let losses = performance.losses(judged, |_| Some(baseline));
    losses.into_iter().filter(|loss| loss.certain).take(SEGMENTS_MAX).map(|loss| loss.reason).collect()
}

/// Each stream's population stability index beyond chance, in nats.
fn psi(profile: &Profile, reference: &Reference) -> BTreeMap<String, f64> {
    let Ok(drifts) = profile.drift(reference) else { return BTreeMap::new() };
    let beyond = |(drift, stream): (StreamDrift, &Stream)| {
        let excess = drift.psi? - psi_of_chance(&stream.counts(), drift.n);
        Some((drift.stream, excess.max(0.0)))
    };
    drifts.into_iter().zip(reference.streams()).filter_map(beyond).collect()
}

/// The index that two samples of one and the same distribution have on average: (k - 1)(1/N + 1/M) for k occupied cells
/// and sample sizes N and M. Source: B. Yurdakul, "Statistical Properties of Population Stability Index" (2018).
/// Without it, a small reference looks as if it had drifted from the first sample on.
fn psi_of_chance(reference: &[u64], samples: u64) -> f64 {
    let occupied = reference.iter().filter(|count| **count > 0).count();
    let rows: u64 = reference.iter().sum();
    (occupied as f64 - 1.0).max(0.0) * (1.0 / rows.max(1) as f64 + 1.0 / samples.max(1) as f64)
}

/// The windows, oldest first.
fn windows(profiles: &[ProfileRow], references: &References) -> Vec<DriftWindow> {
    let (Some(first), Some(last)) = (profiles.first(), profiles.last()) else { return Vec::new() };
    let width = ((last.to_ms.0 - first.to_ms.0) / WINDOWS_MAX + 1).max(WINDOW_MS_MIN);
    let mut cells = BTreeMap::<(Digest, i64), Gathered>::new();
    for row in profiles {
        let reference = references.get(&row.bundle).and_then(Option::as_ref);
        let profile = Profile::from_bytes(&row.profile).ok();
        let fits = |profile: &Profile| {
            reference.is_none_or(|known| known.reference.fingerprint() == profile.fingerprint())
        };
        let gathered = Gathered::of(row, profile.filter(fits));
        match cells.entry((row.bundle, (row.to_ms.0 - first.to_ms.0) / width)) {
            Entry::Vacant(place) => drop(place.insert(gathered)),
            Entry::Occupied(mut place) => place.get_mut().join(gathered),
        }
    }
    let mut windows: Vec<_> = widen(cells).into_iter().map(|cell| cell.finish(references)).collect();
    windows.sort_by_key(|window| (window.to_ms, window.from_ms));
    windows
}

/// Joins neighbours of one bundle until each holds enough; a rest that does not joins the one before it.
fn widen(cells: BTreeMap<(Digest, i64), Gathered>) -> Vec<Gathered> {
    let mut wide: Vec<Gathered> = Vec::new();
    for cell in cells.into_values() {
        match wide.last_mut() {
            Some(open) if open.bundle == cell.bundle && open.window.samples < SAMPLES_MIN => open.join(cell),
            _ => wide.push(cell),
        }
    }
    let mut settled: Vec<Gathered> = Vec::new();
    for cell in wide {
        match settled.last_mut() {
            Some(before) if before.bundle == cell.bundle && cell.window.samples < SAMPLES_MIN => {
                before.join(cell);
            }
            _ => settled.push(cell),
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_weighs_more_the_fewer_the_samples() {
        let reference = [10, 0, 10, 10, 10];
        assert!((psi_of_chance(&reference, 60) - 3.0 * (1.0 / 40.0 + 1.0 / 60.0)).abs() < 1e-12);
        assert!(psi_of_chance(&reference, 60) > psi_of_chance(&reference, 6000));
        assert_eq!(psi_of_chance(&[7], 60), 0.0);
        assert_eq!(psi_of_chance(&[], 0), 0.0);
    }
}
