//! Ranges side by side around zero: how much better or worse each of several may be.

use maud::{Markup, html};

use super::scale::{Scale, ticks};
use super::{Unit, px};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 12.0;
const ROW: f64 = 30.0;

/// One range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) name: String,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Whether it is told apart from the others.
    pub(crate) leads: bool,
}

/// The ranges, one below the other, over one axis; `better` says what lies to the right of zero.
pub(crate) fn intervals(better: &str, margin: f64, ranges: &[Interval]) -> Markup {
    let ends = || ranges.iter().flat_map(|range| [range.low, range.high]).filter(|end| end.is_finite());
    let reach = ends().map(f64::abs).fold((2.0 * margin).max(0.05), f64::max).min(1.0);
    let x = Scale { from: -reach, to: reach, start: LEFT, end: RIGHT };
    let bottom = TOP + ROW * ranges.len() as f64;
    let height = bottom + 40.0;
    let told: Vec<String> = ranges
        .iter()
        .map(|range| {
            format!("{}: {} to {}", range.name, Unit::Share.write(range.low), Unit::Share.write(range.high))
        })
        .collect();
    html! {
        svg.chart.intervals viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(format!("{better}. {}", told.join("; "))) {
            @for value in ticks(-reach, reach, 6) {
                line.grid x1=(px(x.at(value))) x2=(px(x.at(value))) y1=(px(TOP)) y2=(px(bottom)) {}
                text x=(px(x.at(value))) y=(px(bottom + 16.0)) text-anchor="middle" { (Unit::Share.write(value)) }
            }
            line.zero x1=(px(x.at(0.0))) x2=(px(x.at(0.0))) y1=(px(TOP)) y2=(px(bottom)) {}
            line.limit x1=(px(x.at(margin))) x2=(px(x.at(margin))) y1=(px(TOP)) y2=(px(bottom)) { title { "the margin" } }
            @for (index, range) in ranges.iter().enumerate() {
                @let y = TOP + ROW * (index as f64 + 0.5);
                text.name x=(px(LEFT - 12.0)) y=(px(y + 4.0)) text-anchor="end" { (range.name.chars().take(20).collect::<String>()) title { (range.name) } }
                line class=(if range.leads { "range leads" } else { "range" }) x1=(px(x.at(range.low))) x2=(px(x.at(range.high))) y1=(px(y)) y2=(px(y)) {
                    title { (told[index]) }
                }
                @for end in [range.low, range.high] {
                    line class=(if range.leads { "range leads" } else { "range" }) x1=(px(x.at(end))) x2=(px(x.at(end))) y1=(px(y - 5.0)) y2=(px(y + 5.0)) {}
                }
            }
            text x=(px(RIGHT)) y=(px(bottom + 34.0)) text-anchor="end" { (better) " →" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stand_around_zero_and_are_told() {
        let one = |name: &str, low, high| Interval { name: name.into(), low, high, leads: low > 0.0 };
        let drawn = intervals("fewer wrong", 0.02, &[one("<recent>", 0.01, 0.09), one("all", -1.0, 1.0)]).0;
        assert!(drawn.contains("&lt;recent&gt;: 1\u{202f}% to 9\u{202f}%") && drawn.contains("range leads"));
        assert!(!drawn.contains("NaN") && drawn.contains("fewer wrong →"));
    }
}
