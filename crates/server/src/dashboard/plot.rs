//! One plot: the fleet's accuracy above, the population stability index of the streams that moved most below, over one
//! time axis with a mark for each alert and each deployment.
//!
//! Two panels share the time axis and never a value axis. Every number is also in the table that follows the drawing,
//! for those who cannot see it.

use edgeward_api::operator::{Drift, DriftWindow};
use edgeward_core::{Event, Timestamp};
use maud::{Markup, html};

use super::figures::{clock, percent};
use super::performance::metrics;
use super::snapshot::Snapshot;

/// Streams drawn.
const STREAMS_MAX: usize = 4;
/// Windows in the table for screen readers.
const TABLE_ROWS_MAX: usize = 12;
/// Marks drawn; older ones are left out.
const MARKS_MAX: usize = 24;
/// Index above which a stream is usually called changed.
const PSI_CHANGED: f64 = 0.25;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 628.0;
const ACCURACY: Panel = Panel { top: 18.0, bottom: 118.0 };
const PSI: Panel = Panel { top: 150.0, bottom: 270.0 };
const HEIGHT: f64 = 300.0;

#[derive(Clone, Copy)]
struct Panel {
    top: f64,
    bottom: f64,
}

impl Panel {
    /// The height of `value` on an axis from `low` to `high`.
    fn y(self, value: f64, low: f64, high: f64) -> f64 {
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        self.bottom - share * (self.bottom - self.top)
    }
}

/// The shared time axis.
#[derive(Clone, Copy)]
struct Axis {
    from: Timestamp,
    to: Timestamp,
}

impl Axis {
    fn of(windows: &[DriftWindow]) -> Option<Self> {
        let (first, last) = (windows.first()?, windows.last()?);
        (first.from_ms < last.to_ms).then_some(Self { from: first.from_ms, to: last.to_ms })
    }

    fn x(self, at: Timestamp) -> f64 {
        let share = (at.0 - self.from.0) as f64 / (self.to.0 - self.from.0) as f64;
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn contains(self, at: Timestamp) -> bool {
        (self.from..=self.to).contains(&at)
    }
}

fn middle(window: &DriftWindow) -> Timestamp {
    Timestamp(i64::midpoint(window.from_ms.0, window.to_ms.0))
}

/// A line that is drawn: its name and its points.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    points: Vec<(Timestamp, f64)>,
}

fn accuracy_line(drift: &Drift) -> Vec<(Timestamp, f64)> {
    let labelled = drift.windows.iter().filter(|window| window.labelled > 0);
    labelled.map(|window| (middle(window), window.correct as f64 / window.labelled as f64)).collect()
}

/// The streams that moved most, the farthest first.
fn psi_lines(drift: &Drift) -> Vec<Line> {
    let mut peaks: Vec<(&str, f64)> = Vec::new();
    let seen = drift.windows.iter().flat_map(|window| &window.psi);
    let mut by_stream = std::collections::BTreeMap::<&str, f64>::new();
    for (stream, psi) in seen {
        let peak = by_stream.entry(stream).or_default();
        *peak = peak.max(*psi);
    }
    peaks.extend(by_stream);
    peaks.sort_by(|a, b| b.1.total_cmp(&a.1));
    let line = |(stream, _): &(&str, f64)| Line {
        name: (*stream).to_owned(),
        points: drift.windows.iter().filter_map(|w| Some((middle(w), *w.psi.get(*stream)?))).collect(),
    };
    peaks.iter().take(STREAMS_MAX).map(line).collect()
}

/// What happened at a moment of the time axis.
struct Mark {
    at: Timestamp,
    class: &'static str,
    title: String,
}

fn marks(seen: &Snapshot, axis: Axis) -> Vec<Mark> {
    let mark = |at: Timestamp, class, title| axis.contains(at).then_some(Mark { at, class, title });
    let events = seen.entries.iter().filter_map(|entry| match &entry.event {
        Event::AlertRaised(alert) => {
            mark(entry.at_ms, "mark alert", format!("{} on {}", alert.kind.as_str(), alert.device))
        }
        Event::RolloutStarted { version, .. } => {
            mark(entry.at_ms, "mark deploy", format!("rollout of v{version}"))
        }
        _ => None,
    });
    events.take(MARKS_MAX).collect()
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (index, (x, y)) in points.enumerate() {
        let _ = write!(text, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
    }
    text
}

/// Label heights at least a line apart, in the order given.
fn spread(mut wanted: Vec<f64>, panel: Panel) -> Vec<f64> {
    const LINE: f64 = 14.0;
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut lowest = panel.top;
    for index in order {
        wanted[index] = wanted[index].max(lowest);
        lowest = wanted[index] + LINE;
    }
    wanted
}

/// The plot, or what is still missing for it.
pub(crate) fn plot(seen: &Snapshot) -> Markup {
    let drawn = seen.drift.as_ref().and_then(|(_, drift)| Some((drift, Axis::of(&drift.windows)?)));
    let Some((drift, axis)) = drawn else {
        return html! {
            p.empty {
                strong { "Nothing to plot yet." }
                " Devices send one profile per window of traffic. Send requests to a device's endpoint, then labels to "
                code { "/v1/feedback" } " for accuracy."
            }
        };
    };
    html! {
        figure.plot {
            div.scroll tabindex="0" role="region" aria-label="Plot" { svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(summary(drift)) {
                (accuracy_panel(drift, axis))
                (psi_panel(drift, axis))
                @for mark in marks(seen, axis) {
                    line class=(mark.class) x1=(one(axis.x(mark.at))) x2=(one(axis.x(mark.at)))
                        y1=(ACCURACY.top) y2=(PSI.bottom) { title { (mark.title) " at " (clock(mark.at)) } }
                }
                text.axis x=(LEFT) y=(HEIGHT - 8.0) { (clock(axis.from)) }
                text.axis x=(RIGHT) y=(HEIGHT - 8.0) text-anchor="end" { (clock(axis.to)) " UTC" }
            } }
            figcaption {
                span.key.alert { "alert" } span.key.deploy { "rollout" }
                span.note { "Index above " (PSI_CHANGED) ": the stream has changed." }
            }
        }
        (table(drift))
        (metrics(drift))
    }
}

fn one(value: f64) -> String {
    format!("{value:.1}")
}

fn grid(y: f64, label: &str) -> Markup {
    html! {
        line.grid x1=(LEFT) x2=(RIGHT) y1=(one(y)) y2=(one(y)) {}
        text.axis x=(LEFT - 6.0) y=(one(y + 4.0)) text-anchor="end" { (label) }
    }
}

fn accuracy_panel(drift: &Drift, axis: Axis) -> Markup {
    let points = accuracy_line(drift);
    let worst = points.iter().map(|(_, accuracy)| *accuracy).fold(1.0, f64::min);
    let low = if worst < 0.5 { 0.0 } else { 0.5 };
    let y = |value| ACCURACY.y(value, low, 1.0);
    html! {
        text.panel x=(LEFT) y=(ACCURACY.top - 6.0) { "Accuracy of the fleet, from labels" }
        (grid(y(1.0), "100"))
        (grid(y(f64::midpoint(low, 1.0)), if low > 0.0 { "75" } else { "50" }))
        (grid(y(low), if low > 0.0 { "50" } else { "0" }))
        @if let Some((_, last)) = points.last() {
            path.line.accuracy d=(path(points.iter().map(|(at, value)| (axis.x(*at), y(*value))))) {}
            text.direct.accuracy x=(RIGHT + 6.0) y=(one(y(*last) + 4.0)) { (percent(*last)) }
        } @else {
            text.axis x=(LEFT + 8.0) y=(f64::midpoint(ACCURACY.top, ACCURACY.bottom)) { "no labels yet" }
        }
    }
}

fn psi_panel(drift: &Drift, axis: Axis) -> Markup {
    let lines = psi_lines(drift);
    let peak =
        lines.iter().flat_map(|line| &line.points).map(|(_, psi)| *psi).fold(2.0 * PSI_CHANGED, f64::max);
    let y = |value| PSI.y(value, 0.0, peak);
    let ends = lines.iter().map(|line| line.points.last().map_or(PSI.bottom, |(_, psi)| y(*psi))).collect();
    let labels = spread(ends, PSI);
    html! {
        text.panel x=(LEFT) y=(PSI.top - 6.0) { "Population stability index beyond chance, the streams that moved most" }
        (grid(y(0.0), "0"))
        (grid(y(peak), &format!("{peak:.1}")))
        line.limit x1=(LEFT) x2=(RIGHT) y1=(one(y(PSI_CHANGED))) y2=(one(y(PSI_CHANGED))) {}
        @for (index, line) in lines.iter().enumerate() {
            path class=(format!("line s{index}")) d=(path(line.points.iter().map(|(at, v)| (axis.x(*at), y(*v))))) {}
            text class=(format!("direct s{index}")) x=(RIGHT + 6.0) y=(one(labels[index] + 4.0)) {
                (line.name.chars().take(13).collect::<String>())
                title { (line.name) }
            }
        }
    }
}

fn summary(drift: &Drift) -> String {
    let accuracy = accuracy_line(drift).last().map(|(_, value)| format!("accuracy now {}", percent(*value)));
    let moved = psi_lines(drift).first().and_then(|line| {
        line.points.last().map(|(_, psi)| format!("{} moved most, index {psi:.2}", line.name))
    });
    [accuracy, moved].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn table(drift: &Drift) -> Markup {
    let streams: Vec<String> = psi_lines(drift).into_iter().map(|line| line.name).collect();
    html! {
        details.data {
            summary { "The numbers" }
            div.scroll tabindex="0" role="region" aria-label="The plotted numbers" {
                table {
                    thead { tr { th scope="col" { "Until" } th.n scope="col" { "Samples" } th.n scope="col" { "Accuracy" }
                        @for stream in &streams { th.n scope="col" { (stream) } } } }
                    tbody { @for window in drift.windows.iter().rev().take(TABLE_ROWS_MAX) { tr {
                        td { (clock(window.to_ms)) }
                        td.n { (window.samples) }
                        td.n { @if window.labelled > 0 { (percent(window.correct as f64 / window.labelled as f64)) } @else { "–" } }
                        @for stream in &streams {
                            td.n { @if let Some(psi) = window.psi.get(stream) { (format!("{psi:.2}")) } @else { "–" } }
                        }
                    } } }
                }
            }
        }
    }
}
