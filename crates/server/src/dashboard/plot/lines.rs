//! Lines over time, with limits and with marks for what happened.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::scale::{Scale, moments, ticks};
use super::{Unit, px};

const WIDTH: f64 = 740.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 584.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 160.0;
/// Least distance of two names at the right end.
const NAME_HEIGHT: f64 = 14.0;
/// Longest name at the right end, in letters.
const NAME_MAX: usize = 12;
const TICKS_X: i64 = 5;
const TICKS_Y: usize = 4;

/// One line: its name and its points, by milliseconds, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) class: &'static str,
    pub(crate) points: Vec<(i64, f64)>,
}

/// What happened at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at_ms: i64,
    /// `alert`, `deploy` or `retrain`.
    pub(crate) class: &'static str,
    pub(crate) title: String,
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'a> {
    /// What it shows, for those who cannot see it.
    pub(crate) says: String,
    pub(crate) unit: Unit,
    pub(crate) lines: &'a [Line],
    /// A value from which something counts as changed, and its name.
    pub(crate) limit: Option<(f64, &'a str)>,
    pub(crate) marks: &'a [Mark],
    /// The time that is shown.
    pub(crate) span_ms: (i64, i64),
    /// The values that are shown at least.
    pub(crate) range: (f64, f64),
}

impl Lines<'_> {
    /// The drawing.
    pub(crate) fn draw(&self) -> Markup {
        let (x, y) = (self.x(), self.y());
        html! {
            svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.says) {
                @for value in ticks(y.from, y.to, TICKS_Y) {
                    line.grid x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y.at(value))) y2=(px(y.at(value))) {}
                    text x=(px(LEFT - 7.0)) y=(px(y.at(value) + 4.0)) text-anchor="end" { (self.unit.write(value)) }
                }
                @for (at, name) in moments(self.span_ms.0, self.span_ms.1, TICKS_X) {
                    line.tick x1=(px(x.at(at as f64))) x2=(px(x.at(at as f64))) y1=(px(BOTTOM)) y2=(px(BOTTOM + 4.0)) {}
                    text x=(px(x.at(at as f64))) y=(px(BOTTOM + 18.0)) text-anchor="middle" { (name) }
                }
                line.axis x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(BOTTOM)) y2=(px(BOTTOM)) {}
                @if let Some((value, name)) = self.limit {
                    line.limit x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y.at(value))) y2=(px(y.at(value))) {}
                    text.limit x=(px(LEFT + 4.0)) y=(px(y.at(value) - 4.0)) { (name) }
                }
                (self.happened(x))
                @for line in self.lines {
                    path class=(format!("line {}", line.class)) d=(path(line, x, y)) {}
                    @if let [only] = line.points.as_slice() {
                        circle class=(format!("point {}", line.class)) cx=(px(x.at(only.0 as f64))) cy=(px(y.at(only.1))) r="3" {}
                    }
                }
                (self.names(y))
            }
        }
    }

    fn x(&self) -> Scale {
        Scale { from: self.span_ms.0 as f64, to: self.span_ms.1 as f64, start: LEFT, end: RIGHT }
    }

    fn y(&self) -> Scale {
        let values = || self.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let limit = self.limit.map(|(value, _)| value);
        let finite = || values().chain(limit).filter(|value| value.is_finite());
        let low = finite().fold(self.range.0, f64::min);
        let high = finite().fold(self.range.1, f64::max);
        Scale { from: low, to: if high > low { high } else { low + 1.0 }, start: BOTTOM, end: TOP }
    }

    fn happened(&self, x: Scale) -> Markup {
        let (from, to) = self.span_ms;
        html! {
            @for mark in self.marks.iter().filter(|mark| (from..=to).contains(&mark.at_ms)) {
                @let at = px(x.at(mark.at_ms as f64));
                line class=(format!("mark {}", mark.class)) x1=(at) x2=(at) y1=(px(TOP)) y2=(px(BOTTOM)) {
                    title { (mark.title) }
                }
            }
        }
    }

    /// Each line's name at the height where it ends, a line of text apart from the others.
    fn names(&self, y: Scale) -> Markup {
        let ends = self.lines.iter().map(|line| line.points.last().map_or(BOTTOM, |(_, last)| y.at(*last)));
        let heights = spread(ends.collect());
        html! {
            @for (line, height) in self.lines.iter().zip(heights) {
                @if let Some((_, last)) = line.points.last() {
                    text class=(format!("name {}", line.class)) x=(px(RIGHT + 7.0)) y=(px(height + 4.0)) {
                        (shortened(&line.name)) " " (self.unit.write(*last))
                        title { (line.name) }
                    }
                }
            }
        }
    }
}

fn shortened(name: &str) -> String {
    match name.chars().count() > NAME_MAX {
        true => name.chars().take(NAME_MAX - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

fn path(line: &Line, x: Scale, y: Scale) -> String {
    let mut text = String::new();
    for (index, (at, value)) in line.points.iter().enumerate() {
        let step = if index == 0 { 'M' } else { 'L' };
        let _ = write!(text, "{step}{} {}", px(x.at(*at as f64)), px(y.at(*value)));
    }
    text
}

/// Heights at least a line of text apart, in the order given, and none below the axis if they fit.
fn spread(mut wanted: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*b].total_cmp(&wanted[*a]));
    let mut lowest = BOTTOM;
    for index in order {
        wanted[index] = wanted[index].min(lowest);
        lowest = wanted[index] - NAME_HEIGHT;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart<'a>(lines: &'a [Line], marks: &'a [Mark]) -> Lines<'a> {
        Lines {
            says: "accuracy now 90 %".into(),
            unit: Unit::Share,
            lines,
            limit: Some((0.25, "changed")),
            marks,
            span_ms: (0, 60_000),
            range: (0.0, 1.0),
        }
    }

    #[test]
    fn a_chart_has_axes_names_and_words() {
        let lines = [Line { name: "<accuracy>".into(), class: "s0", points: vec![(0, 0.5), (60_000, 0.9)] }];
        let marks = [
            Mark { at_ms: 30_000, class: "alert", title: "drift on <d1>".into() },
            Mark { at_ms: 90_000, class: "deploy", title: "later".into() },
        ];
        let drawn = chart(&lines, &marks).draw().0;
        assert!(drawn.contains("role=\"img\" aria-label=\"accuracy now 90 %\""));
        assert!(drawn.contains("&lt;accuracy&gt; 90\u{202f}%") && drawn.contains(">changed</text>"));
        assert!(
            drawn.contains("drift on &lt;d1&gt;") && !drawn.contains("later"),
            "only what is in the span"
        );
        assert!(drawn.contains(">50\u{202f}%</text>") && drawn.contains(">00:00:30</text>"));
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        let odd = vec![(0, f64::NAN), (1, f64::INFINITY), (2, 0.5), (3, f64::NEG_INFINITY)];
        let lines = [Line { name: "odd".into(), class: "s0", points: odd }, Line::default()];
        let drawn = Lines { span_ms: (5, 5), limit: None, ..chart(&lines, &[]) }.draw().0;
        let numbers = drawn.split("title").next().unwrap();
        assert!(
            !numbers.contains(" d=\"MNaN") && !numbers.contains("\"NaN") && !numbers.contains("\"inf"),
            "{numbers}"
        );
    }

    #[test]
    fn names_never_overlap() {
        let mut heights = spread(vec![159.0, 158.0, 160.0, 40.0]);
        heights.sort_by(f64::total_cmp);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= NAME_HEIGHT), "{heights:?}");
        assert!(heights.iter().all(|height| *height <= BOTTOM));
    }
}
