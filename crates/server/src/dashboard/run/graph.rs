//! The stages of a run as a graph: what candidates share on one line, and below it a line for each of them.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::log::{Step, Went};
use crate::dashboard::layout::scroll;

const STEP: f64 = 128.0;
const BOX: (f64, f64) = (108.0, 44.0);
const ROW: f64 = 66.0;
const LEFT: f64 = 8.0;
const TOP: f64 = 26.0;

struct Placed<'a> {
    step: &'a Step,
    x: f64,
    y: f64,
    /// Where the line from the stage before it comes from.
    from: Option<(f64, f64)>,
}

/// The graph, and the same as a list for those who cannot see it.
pub(super) fn graph(steps: &[Step]) -> Markup {
    let (placed, branches) = placed(steps);
    let width = placed.iter().map(|one| one.x).fold(0.0, f64::max) + BOX.0 + LEFT;
    let height = placed.iter().map(|one| one.y).fold(0.0, f64::max) + BOX.1 + 10.0;
    let drawing = html! {
        svg.graph viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img" aria-label=(told(steps)) {
            @for one in &placed {
                @if let Some((x, y)) = one.from {
                    @let (to_x, to_y) = (one.x, one.y + BOX.1 / 2.0);
                    path.edge d=(format!("M{x} {y}C{0} {y} {0} {to_y} {to_x} {to_y}", f64::midpoint(x, to_x))) {}
                }
            }
            @for (name, y) in &branches { text.branch x=(LEFT) y=(y) { (name) } }
            @for one in &placed { (drawn(one)) }
        }
    };
    scroll("Stages of the run", &drawing)
}

fn drawn(one: &Placed<'_>) -> Markup {
    let (class, word) = match &one.step.went {
        Went::Cached => ("cached", "nothing new".to_owned()),
        Went::Working => ("live", "at work".to_owned()),
        Went::Done(millis) => ("done", time(*millis)),
    };
    html! {
        g class=(format!("stage {class}")) {
            rect x=(one.x) y=(one.y) width=(BOX.0) height=(BOX.1) rx="8" {}
            text.name x=(one.x + BOX.0 / 2.0) y=(one.y + 19.0) text-anchor="middle" { (one.step.name.chars().take(15).collect::<String>()) }
            text.detail x=(one.x + BOX.0 / 2.0) y=(one.y + 34.0) text-anchor="middle" { (word) }
        }
    }
}

fn placed(steps: &[Step]) -> (Vec<Placed<'_>>, Vec<(&str, f64)>) {
    let mut placed: Vec<Placed<'_>> = Vec::new();
    let mut rows = BTreeMap::<&str, usize>::new();
    let mut branches = Vec::new();
    let mut last = BTreeMap::<&str, (f64, f64)>::new();
    let mut columns = BTreeMap::<&str, usize>::new();
    for step in steps {
        let branch = step.branch.as_str();
        let row = match (branch.is_empty(), rows.get(branch)) {
            (true, _) => 0,
            (false, Some(row)) => *row,
            (false, None) => {
                let row = rows.len() + 1;
                rows.insert(branch, row);
                branches.push((branch, TOP + ROW * row as f64 - 6.0));
                let shared = columns.get("").copied().unwrap_or(0);
                columns.insert(branch, shared);
                row
            }
        };
        let column = columns.entry(branch).or_default();
        let (x, y) = (LEFT + STEP * *column as f64, TOP + ROW * row as f64);
        *column += 1;
        let from = last.get(branch).or_else(|| last.get("")).copied();
        placed.push(Placed { step, x, y, from });
        last.insert(branch, (x + BOX.0, y + BOX.1 / 2.0));
    }
    (placed, branches)
}

fn told(steps: &[Step]) -> String {
    let one = |step: &Step| {
        let name = if step.branch.is_empty() {
            step.name.clone()
        } else {
            format!("{} of {}", step.name, step.branch)
        };
        match &step.went {
            Went::Cached => format!("{name}: nothing new"),
            Went::Working => format!("{name}: at work"),
            Went::Done(millis) => format!("{name}: done in {}", time(*millis)),
        }
    };
    format!("Stages in order: {}", steps.iter().map(one).collect::<Vec<_>>().join("; "))
}

fn time(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis}\u{202f}ms"),
        1_000..100_000 => format!("{:.1}\u{202f}s", millis as f64 / 1000.0),
        _ => format!("{}\u{202f}s", millis / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_have_lines_of_their_own() {
        let step = |branch: &str, name: &str| Step {
            branch: branch.into(),
            name: name.into(),
            went: Went::Done(1500),
        };
        let steps =
            [step("", "snapshot"), step("recent", "train"), step("all", "train"), step("recent", "convert")];
        let (placed, branches) = placed(&steps);
        assert_eq!(branches.iter().map(|branch| branch.0).collect::<Vec<_>>(), ["recent", "all"]);
        assert!(placed[1].y < placed[2].y && placed[1].x == placed[2].x);
        assert_eq!(placed[2].from, placed[1].from, "both come from what they share");
        assert_eq!(placed[3].from, Some((placed[1].x + BOX.0, placed[1].y + BOX.1 / 2.0)));
        let drawing = graph(&steps).0;
        assert!(drawing.contains("train of recent: done in 1.5") && !drawing.contains("NaN"));
    }
}
