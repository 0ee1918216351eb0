//! How a model fared over time: accuracy from labels and without them, how far its streams moved, and the evidence of the
//! fleet, each over one time axis with a mark for every alert, rollout and retraining.
//!
//! Every number that is drawn is also in a table, for those who cannot see the drawing.

use std::collections::BTreeMap;

use edgeward_api::operator::{Drift, DriftWindow};
use edgeward_core::event::RunOutcome;
use edgeward_core::ledger::Entry;
use edgeward_core::{Event, ModelName};
use maud::{Markup, html};

use super::figures::{clock, percent};
use super::layout::{empty, scroll};
use super::performance::metrics;
use super::plot::{Line, Lines, Mark, Unit};
use crate::heard::Evidence;

/// Streams drawn.
const STREAMS_MAX: usize = 4;
/// Windows in the table.
const TABLE_ROWS_MAX: usize = 12;
/// Marks drawn; older ones are left out.
const MARKS_MAX: usize = 24;
/// Index above which a stream is usually called changed.
const PSI_CHANGED: f64 = 0.25;
const CLASSES: [&str; STREAMS_MAX] = ["s0", "s1", "s2", "s3"];

fn middle(window: &DriftWindow) -> i64 {
    i64::midpoint(window.from_ms.0, window.to_ms.0)
}

/// In the order of time: windows of two versions overlap while devices change.
fn in_order(points: impl Iterator<Item = (i64, f64)>) -> Vec<(i64, f64)> {
    let mut points: Vec<(i64, f64)> = points.collect();
    points.sort_by_key(|point| point.0);
    points
}

fn span(drift: &Drift) -> Option<(i64, i64)> {
    let (first, last) = (drift.windows.first()?, drift.windows.last()?);
    (first.from_ms < last.to_ms).then_some((first.from_ms.0, last.to_ms.0))
}

fn accuracy(window: &DriftWindow) -> Option<f64> {
    (window.labelled > 0).then(|| window.correct as f64 / window.labelled as f64)
}

/// What happened to `model`, or to any, as far as `entries` tell.
pub(super) fn marks(entries: &[Entry], model: Option<&ModelName>) -> Vec<Mark> {
    let meant = |name: &ModelName| model.is_none_or(|model| model == name);
    let found = entries.iter().filter_map(|entry| {
        let (class, title) = match &entry.event {
            Event::AlertRaised(alert) if meant(&alert.model) => {
                ("alert", format!("{} on {}", alert.kind.as_str(), alert.device))
            }
            Event::RolloutStarted { model, version, .. } if meant(model) => {
                ("deploy", format!("rollout of v{version}"))
            }
            Event::RunFinished { project, outcome: RunOutcome::Passed { .. }, .. } => {
                ("retrain", format!("{project} was trained"))
            }
            _ => return None,
        };
        Some(Mark { at_ms: entry.at_ms.0, class, title: format!("{title} at {}", clock(entry.at_ms)) })
    });
    found.take(MARKS_MAX).collect()
}

/// Accuracy and drift over time, or what is still missing for them.
pub(super) fn over_time(drift: Option<&Drift>, marks: &[Mark]) -> Markup {
    let drawn = drift.and_then(|drift| Some((drift, span(drift)?)));
    let Some((drift, span)) = drawn else {
        return empty(
            "Nothing to plot yet.",
            &html! {
                "Devices send one profile per window of traffic. Send requests to a device's endpoint, then labels to "
                code { "/v1/feedback" } " for accuracy."
            },
        );
    };
    html! {
        figure.plot {
            h3 { "Accuracy of the fleet" }
            (scroll("Accuracy over time", &accuracy_chart(drift, span, marks)))
            h3 { "Population stability index, in nats beyond chance" }
            (scroll("Drift over time", &psi_chart(drift, span, marks)))
            (legend())
        }
        (table(drift))
        (metrics(drift))
    }
}

/// What the marks mean.
fn legend() -> Markup {
    html! {
        figcaption {
            span.key.alert { "alert" } span.key.deploy { "rollout" } span.key.retrain { "trained" }
        }
    }
}

pub(super) fn accuracy_chart(drift: &Drift, span_ms: (i64, i64), marks: &[Mark]) -> Markup {
    let labelled = drift.windows.iter().filter_map(|window| Some((middle(window), accuracy(window)?)));
    let estimate = |window: &DriftWindow| Some((middle(window), window.estimated_accuracy.as_ref()?.value));
    let lines = [
        Line { name: "from labels".into(), class: "accuracy", points: in_order(labelled) },
        Line {
            name: "estimated".into(),
            class: "estimate",
            points: in_order(drift.windows.iter().filter_map(estimate)),
        },
    ];
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    let low = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(1.0, f64::min);
    let told = match lines.first().and_then(|line| Some((line, line.points.last()?))) {
        Some((line, (_, last))) => format!("Accuracy {}: {} now", line.name, percent(*last)),
        None => "Accuracy: no labels yet".to_owned(),
    };
    html! {
        (Lines {
            says: told, unit: Unit::Share, lines: &lines, limit: None, marks, span_ms,
            range: (if low < 0.5 { 0.0 } else { 0.5 }, 1.0),
        }.draw())
        @if lines.is_empty() { p.quiet { "No labels yet, and nothing to estimate accuracy from." } }
    }
}

/// The streams that moved most, the farthest first.
fn psi_lines(drift: &Drift) -> Vec<Line> {
    let mut peaks = BTreeMap::<&str, f64>::new();
    for (stream, psi) in drift.windows.iter().flat_map(|window| &window.psi) {
        let peak = peaks.entry(stream).or_default();
        *peak = peak.max(*psi);
    }
    let mut peaks: Vec<(&str, f64)> = peaks.into_iter().collect();
    peaks.sort_by(|a, b| b.1.total_cmp(&a.1));
    let line = |((stream, _), class): ((&str, f64), &&'static str)| Line {
        name: stream.to_owned(),
        class,
        points: in_order(drift.windows.iter().filter_map(|w| Some((middle(w), *w.psi.get(stream)?)))),
    };
    peaks.into_iter().zip(&CLASSES).map(line).collect()
}

pub(super) fn psi_chart(drift: &Drift, span_ms: (i64, i64), marks: &[Mark]) -> Markup {
    let lines = psi_lines(drift);
    let first = lines.first().and_then(|line| Some((line, line.points.last()?)));
    let told = first.map(|(line, (_, psi))| format!("{} moved most: index {psi:.2} now", line.name));
    Lines {
        says: told.unwrap_or_else(|| "No stream was counted".to_owned()),
        unit: Unit::Plain,
        lines: &lines,
        limit: Some((PSI_CHANGED, "usually called changed")),
        marks,
        span_ms,
        range: (0.0, 2.0 * PSI_CHANGED),
    }
    .draw()
}

/// The largest evidence of change that any device has, stream by stream, against the threshold at which it is an alert.
pub(super) fn evidence_chart(found: &Evidence, marks: &[Mark]) -> Markup {
    let lines = found.streams.iter().zip(&CLASSES).map(|((stream, points), class)| Line {
        name: stream.clone(),
        class,
        // Less than one is no evidence of change, however little it is.
        points: points.iter().map(|(at, evidence)| (at.0, evidence.max(0.0))).collect(),
    });
    let lines: Vec<Line> = lines.collect();
    let now = lines.first().and_then(|line| Some((line, line.points.last()?)));
    let told = now.map(|(line, (_, last))| format!("{} has the most evidence: 10^{last:.1} now", line.name));
    Lines {
        says: format!("{}; the alert is at 10^{:.1}", told.unwrap_or_default(), found.log10_threshold),
        unit: Unit::Power,
        lines: &lines,
        limit: Some((found.log10_threshold, "threshold of the alert")),
        marks,
        span_ms: found.span_ms,
        range: (0.0, found.log10_threshold * 1.15),
    }
    .draw()
}

fn table(drift: &Drift) -> Markup {
    let streams: Vec<String> = psi_lines(drift).into_iter().map(|line| line.name).collect();
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Until" } th.n scope="col" { "Samples" } th.n scope="col" { "Accuracy" }
                @for stream in &streams { th.n scope="col" { (stream) } } } }
            tbody { @for window in drift.windows.iter().rev().take(TABLE_ROWS_MAX) { tr {
                th scope="row" { (clock(window.to_ms)) }
                td.n { (window.samples) }
                td.n { @match accuracy(window) { Some(share) => (percent(share)), None => "–" } }
                @for stream in &streams {
                    td.n { @match window.psi.get(stream) { Some(psi) => (format!("{psi:.2}")), None => "–" } }
                }
            } } }
        }
    };
    html! { details.data { summary { "The numbers" } (scroll("The plotted numbers", &rows)) } }
}
