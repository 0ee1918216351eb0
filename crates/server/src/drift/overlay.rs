//! Each stream's distribution in the reference and as the fleet saw it lately, cell by cell as the monitor counts.

use edgeward_core::{Digest, ModelName, Timestamp};
use edgeward_monitor::{Profile, Stream, StreamDrift, StreamProfile};
use edgeward_store::ProfileRow;

use super::{SPAN, Yardstick, lately, psi_of_chance, reference};
use crate::app::{App, blocking};
use crate::failure::Failure;
use crate::reconcile::rollouts::CHAMPION;

/// So many of the latest samples are what "now" means, or all there are.
const SAMPLES: u64 = 2_000;
/// Classes that have a bar of their own.
const CLASSES_MAX: usize = 12;
/// Cells of a stream of numbers before its bins: missing, minus infinity, below.
const BEFORE_BINS: usize = 3;
/// Cells of a stream of classes before its classes: missing, unseen.
const BEFORE_CLASSES: usize = 2;

/// The streams of one bundle.
#[derive(Clone, Debug)]
pub(crate) struct Overlays {
    pub(crate) bundle: Digest,
    pub(crate) samples: u64,
    pub(crate) from_ms: Timestamp,
    pub(crate) to_ms: Timestamp,
    /// The farthest moved first.
    pub(crate) streams: Vec<Overlay>,
}

/// One stream.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// A feature rather than what the model made of them.
    pub(crate) is_feature: bool,
    pub(crate) drift: StreamDrift,
    /// Beyond what chance alone gives, in nats.
    pub(crate) psi: Option<f64>,
    /// Label, share in the reference and share now.
    pub(crate) bars: Vec<(String, f64, f64)>,
    /// Share without a value, in the reference and now.
    pub(crate) missing: (f64, f64),
}

/// What the fleet saw lately with the champion of `model`; none if there is no champion, or no reference of it.
pub(crate) async fn overlays(app: &App, model: &ModelName) -> Result<Option<Overlays>, Failure> {
    let (of, now) = (model.clone(), app.now());
    let found = app
        .read(move |view| {
            let champion = match view.aliased(&of, CHAMPION)? {
                Some(version) => Some(version),
                None => view.versions(&of, 1)?.pop(),
            };
            let Some(champion) = champion else { return Ok::<_, Failure>(None) };
            let profiles = lately(view, &of, Some(champion.bundle), (now, SPAN))?;
            Ok(Some((champion.bundle, profiles)))
        })
        .await?;
    let Some((bundle, profiles)) = found else { return Ok(None) };
    let Some(yardstick) = reference(app, bundle).await else { return Ok(None) };
    blocking(move || Ok::<_, Failure>(Some(of_profiles(bundle, &profiles, &yardstick)))).await
}

fn of_profiles(bundle: Digest, profiles: &[ProfileRow], yardstick: &Yardstick) -> Overlays {
    let reference = &yardstick.reference;
    let mut seen = Profile::new(reference);
    let (from_ms, to_ms) = (Timestamp(0), Timestamp(0));
    let mut overlays = Overlays { bundle, samples: 0, from_ms, to_ms, streams: Vec::new() };
    for row in profiles.iter().rev() {
        if seen.n() >= SAMPLES {
            break;
        }
        let merged = Profile::from_bytes(&row.profile).ok().and_then(|profile| seen.merge(&profile).ok());
        let Some(merged) = merged else { continue };
        seen = merged;
        overlays.to_ms = overlays.to_ms.max(row.to_ms);
        let is_first = overlays.from_ms == Timestamp(0);
        overlays.from_ms = if is_first { row.from_ms } else { overlays.from_ms.min(row.from_ms) };
    }
    overlays.samples = seen.n();
    let drifts = seen.drift(reference).unwrap_or_default();
    let parts = drifts.into_iter().zip(reference.streams()).zip(seen.streams()).enumerate();
    overlays.streams = parts
        .map(|(place, ((drift, stream), now))| overlay(place < reference.features(), drift, stream, now))
        .collect();
    overlays.streams.sort_by(|a, b| b.drift.effect.total_cmp(&a.drift.effect));
    overlays
}

fn overlay(is_feature: bool, drift: StreamDrift, stream: &Stream, now: &StreamProfile) -> Overlay {
    let (past, seen) = (stream.counts(), now.counts());
    let beyond = |psi: f64| (psi - psi_of_chance(&past, drift.n)).max(0.0);
    let bars = match stream.numeric() {
        Some(numeric) => numbers(numeric.bins.edges(), numeric.bins.support(), &past, &seen),
        None => classes(stream.names().unwrap_or_default(), &past, &seen),
    };
    let missing = |counts: &[u64]| share(counts.first().copied().unwrap_or(0), counts);
    Overlay { is_feature, psi: drift.psi.map(beyond), bars, missing: (missing(&past), missing(&seen)), drift }
}

fn share(count: u64, counts: &[u64]) -> f64 {
    count as f64 / counts.iter().sum::<u64>().max(1) as f64
}

/// The bins, and what lies below and above them where there is any.
fn numbers(edges: &[f32], support: (f32, f32), past: &[u64], now: &[u64]) -> Vec<(String, f64, f64)> {
    let ends: Vec<f32> = [support.0].into_iter().chain(edges.iter().copied()).chain([support.1]).collect();
    let at = |counts: &[u64], cell: usize| share(counts.get(cell).copied().unwrap_or(0), counts);
    let bar = |label: String, cell: usize| (label, at(past, cell), at(now, cell));
    let beside = |label: &str, cell: usize| Some(bar(label.to_owned(), cell)).filter(|(_, p, n)| p + n > 0.0);
    let below = beside("below", BEFORE_BINS - 1);
    let above = beside("above", past.len().saturating_sub(2));
    let bins = ends
        .windows(2)
        .enumerate()
        .map(|(index, pair)| bar(format!("{} to {}", number(pair[0]), number(pair[1])), BEFORE_BINS + index));
    below.into_iter().chain(bins).chain(above).collect()
}

/// The most frequent classes, the others together, and what the reference does not name.
fn classes(names: &[String], past: &[u64], now: &[u64]) -> Vec<(String, f64, f64)> {
    let at = |counts: &[u64], cell: usize| share(counts.get(cell).copied().unwrap_or(0), counts);
    let mut bars: Vec<(String, f64, f64)> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            (name.clone(), at(past, BEFORE_CLASSES + index), at(now, BEFORE_CLASSES + index))
        })
        .collect();
    if bars.len() > CLASSES_MAX {
        bars.sort_by(|a, b| (b.1 + b.2).total_cmp(&(a.1 + a.2)));
        let rest = bars.split_off(CLASSES_MAX - 1);
        let sum = rest.iter().fold((0.0, 0.0), |sum, (_, past, now)| (sum.0 + past, sum.1 + now));
        bars.push((format!("{} others", rest.len()), sum.0, sum.1));
    }
    let unseen = at(now, BEFORE_CLASSES - 1);
    bars.extend((unseen > 0.0).then(|| ("unseen".to_owned(), at(past, BEFORE_CLASSES - 1), unseen)));
    bars
}

fn number(value: f32) -> String {
    match value.abs() {
        size if size >= 1e5 || (size > 0.0 && size < 1e-2) => format!("{value:.1e}"),
        _ => {
            let text = format!("{value:.2}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_the_cells_of_the_monitor() {
        let (past, now) = ([0, 0, 0, 5, 5, 0, 0], [2, 0, 1, 0, 4, 3, 0]);
        let bars = numbers(&[1.0], (0.0, 2.5), &past, &now);
        let labels: Vec<&str> = bars.iter().map(|bar| bar.0.as_str()).collect();
        assert_eq!(labels, ["below", "0 to 1", "1 to 2.5", "above"]);
        assert_eq!((bars[1].1, bars[1].2, bars[3].2), (0.5, 0.0, 0.3));
    }

    #[test]
    fn many_classes_are_put_together_and_unseen_ones_are_told() {
        let names: Vec<String> = (0..20).map(|class| class.to_string()).collect();
        let past: Vec<u64> = [0, 0].into_iter().chain((0..20).map(|class| 40 - class)).collect();
        let now: Vec<u64> = [0, 7].into_iter().chain((0..20).map(|_| 1)).collect();
        let bars = classes(&names, &past, &now);
        assert_eq!(bars.len(), CLASSES_MAX + 1);
        assert_eq!((bars[11].0.as_str(), bars[12].0.as_str()), ("9 others", "unseen"));
        let sum: f64 = bars.iter().map(|bar| bar.2).sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }
}
