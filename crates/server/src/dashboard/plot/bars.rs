//! Two distributions over one axis, evidence against a threshold, and shares of a whole.

use maud::{Markup, html};

use super::scale::{Scale, ticks};
use super::{Unit, px};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 168.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 416.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 146.0;
/// Bars from which on not each is named.
const NAMED_MAX: usize = 8;

/// The share of the reference and of now in one bar.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bar {
    /// What it stands for.
    pub(crate) label: String,
    pub(crate) reference: f64,
    pub(crate) current: f64,
}

/// Both distributions: the reference as wide bars, what is seen now as narrow ones before them.
pub(crate) fn histogram(name: &str, bars: &[Bar]) -> Markup {
    let top = bars.iter().map(|bar| bar.reference.max(bar.current)).fold(0.05, f64::max);
    let y = Scale { from: 0.0, to: top, start: BOTTOM, end: TOP };
    let step = (RIGHT - LEFT) / bars.len().max(1) as f64;
    let gap = (step * 0.08).min(2.0);
    html! {
        svg.chart.histogram viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(says(name, bars)) {
            @for value in ticks(0.0, top, 3) {
                line.grid x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y.at(value))) y2=(px(y.at(value))) {}
                text x=(px(LEFT - 6.0)) y=(px(y.at(value) + 4.0)) text-anchor="end" { (Unit::Share.write(value)) }
            }
            @for (index, bar) in bars.iter().enumerate() {
                @let x = LEFT + step * index as f64;
                g {
                    title { (bar.label) ": " (Unit::Share.write(bar.reference)) " in the reference, " (Unit::Share.write(bar.current)) " now" }
                    rect.reference x=(px(x + gap)) y=(px(y.at(bar.reference))) width=(px(step - 2.0 * gap)) height=(px(BOTTOM - y.at(bar.reference))) {}
                    rect.current x=(px(x + step * 0.28)) y=(px(y.at(bar.current))) width=(px(step * 0.44)) height=(px(BOTTOM - y.at(bar.current))) {}
                }
            }
            line.axis x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(BOTTOM)) y2=(px(BOTTOM)) {}
            (ends(bars, step))
        }
    }
}

/// The names of the bars: each of few, the first and the last of many.
fn ends(bars: &[Bar], step: f64) -> Markup {
    let letters = (step / 6.5).max(1.0) as usize;
    let short = |label: &str| label.chars().take(letters).collect::<String>();
    html! {
        @if bars.len() <= NAMED_MAX {
            @for (index, bar) in bars.iter().enumerate() {
                text x=(px(LEFT + step * (index as f64 + 0.5))) y=(px(BOTTOM + 16.0)) text-anchor="middle" { (short(&bar.label)) }
            }
        } @else if let (Some(first), Some(last)) = (bars.first(), bars.last()) {
            text x=(px(LEFT)) y=(px(BOTTOM + 16.0)) { (first.label) }
            text x=(px(RIGHT)) y=(px(BOTTOM + 16.0)) text-anchor="end" { (last.label) }
        }
    }
}

/// The bars that differ most, in words.
fn says(name: &str, bars: &[Bar]) -> String {
    let apart = |bar: &&Bar| (bar.current - bar.reference).abs();
    let most = bars.iter().max_by(|a, b| apart(a).total_cmp(&apart(b)));
    let told = most.map(|bar| {
        let (past, now) = (Unit::Share.write(bar.reference), Unit::Share.write(bar.current));
        format!("; the largest difference is at {}: {past} in the reference, {now} now", bar.label)
    });
    format!("Distribution of {name} in the reference and now{}", told.unwrap_or_default())
}

/// Evidence, log10, against the threshold at which it is an alarm.
pub(crate) fn gauge(evidence: f64, threshold: f64) -> Markup {
    let share = if threshold > 0.0 { (evidence / threshold).clamp(0.0, 1.25) } else { 0.0 };
    let share = if share.is_nan() { 0.0 } else { share };
    let tone = match share {
        share if share >= 1.0 => "bad",
        share if share >= 0.6 => "warn",
        _ => "fine",
    };
    let text = format!("10^{evidence:.1} against no change; the alarm is at 10^{threshold:.1}");
    html! {
        svg.gauge viewBox="0 0 125 10" role="img" aria-label=(text) {
            title { (text) }
            rect.rest x="0" y="2" width="125" height="6" rx="3" {}
            rect class=(tone) x="0" y="2" width=(px(100.0 * share)) height="6" rx="3" {}
            line.threshold x1="100" x2="100" y1="0" y2="10" {}
        }
    }
}

/// Shares of a whole, side by side: the class, the name and the count of each.
pub(crate) fn shares(what: &str, parts: &[(&'static str, &str, u64)]) -> Markup {
    let all: u64 = parts.iter().map(|(_, _, count)| count).sum();
    let told: Vec<String> =
        parts.iter().filter(|part| part.2 > 0).map(|(_, name, count)| format!("{count} {name}")).collect();
    let mut from = 0.0;
    let placed = parts.iter().filter(|part| part.2 > 0).map(|(class, name, count)| {
        let width = 100.0 * *count as f64 / all.max(1) as f64;
        let at = from;
        from += width;
        (class, name, count, at, width)
    });
    html! {
        svg.shares viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=(format!("{what}: {}", told.join(", "))) {
            rect.rest x="0" y="0" width="100" height="6" {}
            @for (class, name, count, at, width) in placed {
                rect class=(class) x=(format!("{at:.2}")) y="0" width=(format!("{width:.2}")) height="6" { title { (count) " " (name) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_says_where_both_differ_most() {
        let bar = |label: &str, reference, current| Bar { label: label.into(), reference, current };
        let drawn =
            histogram("<price>", &[bar("0 to 1", 0.25, 0.25), bar("1 to 2", 0.75, 0.5), bar("", 0.0, 0.25)])
                .0;
        assert!(drawn.contains("Distribution of &lt;price&gt;"));
        assert!(drawn.contains("75\u{202f}% in the reference, 50\u{202f}% now"));
        assert_eq!(drawn.matches("rect class=\"current\"").count(), 3);
        assert!(histogram("nothing", &[]).0.contains("<svg"));
    }

    #[test]
    fn a_gauge_has_its_threshold_where_the_alarm_is() {
        for (evidence, tone) in [(0.0, "fine"), (6.0, "warn"), (9.0, "bad"), (f64::INFINITY, "bad")] {
            let drawn = gauge(evidence, 9.0).0;
            assert!(
                drawn.contains(&format!("rect class=\"{tone}\"")) && !drawn.contains("width=\"NaN"),
                "{drawn}"
            );
        }
        assert!(gauge(1.0, 0.0).0.contains("width=\"0\""));
    }

    #[test]
    fn shares_fill_the_whole() {
        let drawn = shares("Devices", &[("good", "fine", 3), ("bad", "away", 0), ("warn", "odd", 1)]).0;
        assert!(drawn.contains("aria-label=\"Devices: 3 fine, 1 odd\"") && drawn.contains("width=\"75.00\""));
    }
}
