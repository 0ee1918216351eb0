//! What the detectors of the devices say, over time: of each model the largest evidence of each stream, as reports bring it.
//!
//! Kept in memory, by this server and since it started: at most [`POINTS_MAX`] points per model, whose width doubles when they
//! are full, so that a day and a minute both fit. Nothing is decided from it; alerts come from the devices themselves.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use edgeward_api::device::{ModelReport, Report};
use edgeward_core::{ModelName, Timestamp};

use crate::app::lock;

/// Points of one model.
const POINTS_MAX: usize = 240;
/// Streams of one model that are followed.
const STREAMS_MAX: usize = 32;
/// Models that are followed.
const MODELS_MAX: usize = 256;
/// Width of a point at first.
const WIDTH: Duration = Duration::from_secs(2);

/// One moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Point {
    at_ms: Timestamp,
    /// The largest evidence of any device, log10, by stream.
    streams: BTreeMap<String, f64>,
    threshold: f64,
}

impl Point {
    /// Keeps the larger evidence of each stream, and the later threshold.
    fn join<'a>(&mut self, streams: impl Iterator<Item = (&'a String, &'a f64)>, threshold: f64) {
        for (stream, evidence) in streams {
            match self.streams.get_mut(stream) {
                Some(most) => *most = most.max(*evidence),
                None => drop(self.streams.insert(stream.clone(), *evidence)),
            }
        }
        self.threshold = threshold;
    }
}

#[derive(Debug, Default)]
struct Track {
    points: Vec<Point>,
    width_ms: i64,
}

impl Track {
    fn hear(&mut self, now: Timestamp, said: &ModelReport) {
        let Some(threshold) = said.log10_threshold.filter(|threshold| threshold.is_finite()) else { return };
        if self.width_ms == 0 {
            self.width_ms = WIDTH.as_millis() as i64;
        }
        let at_ms = Timestamp(now.0.div_euclid(self.width_ms) * self.width_ms);
        let finite = said.evidence.iter().filter(|(_, evidence)| evidence.is_finite()).take(STREAMS_MAX);
        match self.points.last_mut() {
            Some(last) if last.at_ms >= at_ms => last.join(finite, threshold),
            _ => {
                let mut point = Point { at_ms, ..Point::default() };
                point.join(finite, threshold);
                self.points.push(point);
            }
        }
        if self.points.len() > POINTS_MAX {
            self.coarsen();
        }
    }

    /// Joins each two neighbours.
    fn coarsen(&mut self) {
        self.width_ms *= 2;
        let mut points = std::mem::take(&mut self.points).into_iter();
        while let Some(mut first) = points.next() {
            if let Some(second) = points.next() {
                first.join(second.streams.iter(), second.threshold);
            }
            self.points.push(first);
        }
    }
}

/// All that was heard, by model.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<BTreeMap<ModelName, Track>>);

/// What was heard of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    /// Points by stream, those with the most evidence first.
    pub(crate) streams: Vec<(String, Vec<(Timestamp, f64)>)>,
    /// The latest threshold of a device, log10.
    pub(crate) log10_threshold: f64,
    pub(crate) span_ms: (i64, i64),
}

impl Heard {
    /// Takes note of a report that arrived.
    pub(crate) fn hear(&self, now: Timestamp, report: &Report) {
        let mut tracks = lock(&self.0);
        for (model, said) in &report.models {
            if let Some(track) = tracks.get_mut(model) {
                track.hear(now, said);
            } else if tracks.len() < MODELS_MAX {
                tracks.entry(model.clone()).or_default().hear(now, said);
            }
        }
    }

    /// What was heard of `model`; none if that is nothing.
    pub(crate) fn of(&self, model: &ModelName) -> Option<Evidence> {
        let tracks = lock(&self.0);
        let track = tracks.get(model)?;
        let (first, last) = (track.points.first()?, track.points.last()?);
        let mut streams = BTreeMap::<&String, Vec<(Timestamp, f64)>>::new();
        for point in &track.points {
            for (stream, evidence) in &point.streams {
                streams.entry(stream).or_default().push((point.at_ms, *evidence));
            }
        }
        let most = |points: &[(Timestamp, f64)]| points.iter().map(|(_, e)| *e).fold(f64::MIN, f64::max);
        let mut streams: Vec<(String, Vec<(Timestamp, f64)>)> =
            streams.into_iter().map(|(stream, points)| (stream.clone(), points)).collect();
        streams.sort_by(|a, b| most(&b.1).total_cmp(&most(&a.1)));
        let span_ms = (first.at_ms.0, last.at_ms.0 + track.width_ms);
        Some(Evidence { streams, log10_threshold: last.threshold, span_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::{START, model, report};

    #[test]
    fn the_largest_evidence_of_a_moment_is_kept_however_long_it_goes_on() {
        let heard = Heard::default();
        assert_eq!(heard.of(&model()), None);
        for second in 0..100_000_i64 {
            heard.hear(Timestamp(START + second * 1000), &report(1, None));
        }
        let found = heard.of(&model()).unwrap();
        assert_eq!((found.streams.len(), found.log10_threshold), (1, 9.0));
        let (stream, points) = &found.streams[0];
        assert_eq!(stream, "prediction");
        assert!((POINTS_MAX / 2..=POINTS_MAX).contains(&points.len()), "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
        assert!(points.iter().all(|(_, evidence)| *evidence == 1.5));
        assert!(found.span_ms.1 - found.span_ms.0 >= 99_000_000);
    }

    #[test]
    fn a_clock_that_steps_back_adds_to_the_last_point() {
        let heard = Heard::default();
        heard.hear(Timestamp(START), &report(1, None));
        heard.hear(Timestamp(START - 60_000), &report(2, None));
        assert_eq!(heard.of(&model()).unwrap().streams[0].1.len(), 1);
    }
}
