//! The loop as one picture: nine stages on a track, and the fleet inside it, a dot or a part of one for each device.
//!
//! Drawn twice, for wide and for narrow screens; the style sheet shows one of them.

use maud::{Markup, html};

use super::fleet::{Fleet, Standing};
use super::stages::{Stage, State};

/// Dots at most; a larger fleet has several devices in each.
const DOTS_MAX: usize = 168;
const DOT_COLUMNS: usize = 42;
/// Distance and size of dots, and of those of a small fleet.
const DOTS: (f64, f64) = (13.0, 4.4);
const LARGE_DOTS: (f64, f64) = (23.0, 7.5);
/// Letters of a detail that fit on each picture.
const WIDE_LETTERS: usize = 24;
const NARROW_LETTERS: usize = 19;

/// The picture.
pub(super) fn picture(stages: &[Stage; 9], fleet: &Fleet) -> Markup {
    html! {
        div.picture {
            (wide(stages, fleet))
            (narrow(stages))
        }
    }
}

fn wide(stages: &[Stage; 9], fleet: &Fleet) -> Markup {
    const TOP: f64 = 64.0;
    const BOTTOM: f64 = 262.0;
    let place = |index: usize| match index {
        0..5 => (134.0 + 215.0 * index as f64, TOP),
        _ => (887.0 - 215.0 * (index - 5) as f64, BOTTOM),
    };
    html! {
        svg.loop.wide viewBox="0 0 1128 318" role="group" aria-label="The loop, stage by stage" {
            path.track d="M134 64H994a99 99 0 0 1 0 198H134a99 99 0 0 1 0 -198Z" {}
            @for (index, stage) in stages.iter().enumerate() {
                @if stage.state == State::Live { path.flow d=(way(index)) {} }
            }
            @for (index, stage) in stages.iter().enumerate() {
                @let (x, y) = place(index);
                @let (name, detail) = if index < 5 { (y - 36.0, y - 19.0) } else { (y + 30.0, y + 47.0) };
                (node(stage, (x, y), (x, name), (x, detail), "middle", WIDE_LETTERS))
            }
            (dots(fleet))
        }
    }
}

/// The part of the track that leads to a stage of the wide picture.
fn way(index: usize) -> String {
    match index {
        0 => "M242 262H134a99 99 0 0 1 0 -198".to_owned(),
        1..5 => format!("M{} 64H{}", 134 + 215 * (index - 1), 134 + 215 * index),
        5 => "M994 64a99 99 0 0 1 0 198H887".to_owned(),
        _ => format!("M{} 262H{}", 887 - 215 * (index - 6), 887 - 215 * (index - 5)),
    }
}

fn narrow(stages: &[Stage; 9]) -> Markup {
    let place = |index: usize| match index {
        0..5 => (20.0, 40.0 + 66.0 * index as f64),
        _ => (300.0, 304.0 - 88.0 * (index - 5) as f64 + 0.0),
    };
    html! {
        svg.loop.narrow viewBox="0 0 320 344" role="group" aria-label="The loop, stage by stage" {
            path.track d="M20 40V304a20 20 0 0 0 20 20H280a20 20 0 0 0 20 -20V40a20 20 0 0 0 -20 -20H40a20 20 0 0 0 -20 20Z" {}
            @for (index, stage) in stages.iter().enumerate() {
                @let (x, y) = place(index);
                @let (at, anchor) = if index < 5 { (x + 18.0, "start") } else { (x - 18.0, "end") };
                (node(stage, (x, y), (at, y - 1.0), (at, y + 14.0), anchor, NARROW_LETTERS))
            }
        }
    }
}

type Point = (f64, f64);

fn node(stage: &Stage, at: Point, name: Point, detail: Point, anchor: &str, letters: usize) -> Markup {
    let label = format!("{} ({}): {}", stage.name, stage.state.word(), stage.detail);
    html! {
        a href=(stage.path()) class=(format!("stage {}", stage.state.class())) aria-label=(label) {
            title { (label) }
            circle.halo cx=(at.0) cy=(at.1) r="13" {}
            circle.core cx=(at.0) cy=(at.1) r="7" {}
            @match stage.state {
                State::Done => path.sign d=(format!("M{} {}l2.4 2.6 4.2-5", at.0 - 3.3, at.1 + 0.2)) {},
                State::Alarm => path.sign d=(format!("M{0} {1}v3.8m0 2v.4", at.0, at.1 - 3.4)) {},
                _ => {},
            }
            text.name x=(name.0) y=(name.1) text-anchor=(anchor) { (stage.name) }
            text.detail x=(detail.0) y=(detail.1) text-anchor=(anchor) { (cut(&stage.detail, letters)) }
        }
    }
}

fn cut(text: &str, letters: usize) -> String {
    match text.chars().count() > letters {
        true => text.chars().take(letters - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// The fleet inside the track.
fn dots(fleet: &Fleet) -> Markup {
    let total = fleet.devices.len();
    let each = total.div_ceil(DOTS_MAX).max(1);
    let worst = |devices: &[super::fleet::Seen]| devices.iter().map(|device| device.standing).max();
    let dots: Vec<Standing> = fleet.devices.chunks(each).filter_map(worst).collect();
    let (step, radius) = if total <= DOT_COLUMNS / 2 { LARGE_DOTS } else { DOTS };
    let columns = dots.len().clamp(1, DOT_COLUMNS);
    let rows = dots.len().div_ceil(DOT_COLUMNS);
    let (left, top) = (564.0 - step * (columns as f64 - 1.0) / 2.0, 150.0 - step * rows as f64 / 2.0);
    let reporting = fleet.count(Standing::reports);
    let caption = match (total, each) {
        (0, _) => "No device has joined yet".to_owned(),
        (_, 1) => format!("{reporting} of {total} devices report"),
        _ => format!("{reporting} of {total} devices report; a dot is {each} of them, as the worst stands"),
    };
    html! {
        g.dots aria-hidden="true" {
            @for (index, standing) in dots.iter().enumerate() {
                circle class=(standing.word()) r=(radius)
                    cx=(left + step * (index % DOT_COLUMNS) as f64)
                    cy=(top + step * (index / DOT_COLUMNS) as f64) {}
            }
        }
        text.caption x="564" y=(top + step * rows as f64 + 14.0) text-anchor="middle" { (caption) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_details_are_cut_and_kept_whole_in_the_label() {
        assert_eq!(cut("waiting", 19), "waiting");
        assert_eq!(cut("a very long detail of a stage", 19).chars().count(), 19);
        let stage =
            Stage { name: "Train", state: State::Alarm, detail: "<the last run failed at once>".into() };
        let drawn = node(&stage, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), "middle", 10).0;
        assert!(drawn.contains("&lt;the last run failed at once&gt;") && drawn.contains("&lt;the last…"));
    }
}
