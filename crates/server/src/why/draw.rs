//! Bars and heat maps as SVG, with colours in attributes: pages that allow no style of their own show them, too.

use maud::{Markup, html};

use super::map::{Kind, Picture};

const FOR: &str = "#b5482a";
const AGAINST: &str = "#2f6f9f";
/// Weaker points are left blank.
const BLANK: f64 = 0.02;
/// A sound's only line is drawn this high, in points.
const SOUND_HEIGHT: usize = 6;
/// Largest side of a picture, in pixels.
const SIDE_PX: usize = 320;

/// A bar of a share of the whole width, to the right or of the other colour.
pub(super) fn bar(share: f64, is_for: bool) -> Markup {
    let width = format!("{:.1}", 100.0 * share.clamp(0.0, 1.0));
    let colour = if is_for { FOR } else { AGAINST };
    html! {
        svg width="100%" height="14" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect x="0" y="1" width=(width) height="12" fill=(colour) {}
        }
    }
}

/// What was seen, and beside it what mattered of it for `output`.
pub(super) fn picture(picture: &Picture, output: &str) -> Markup {
    let largest = picture.mattered.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let shade = |value: f64| {
        let grey = 255.0 * (1.0 - value.clamp(0.0, 1.0));
        (format!("rgb({0},{0},{0})", grey.round()), 1.0)
    };
    let heat = |value: f64| {
        let share = if largest > 0.0 { (value / largest).abs() } else { 0.0 };
        ((if value > 0.0 { FOR } else { AGAINST }).to_owned(), share)
    };
    html! {
        figure {
            (grid(picture, &picture.seen, &format!("What it saw: {}", what(picture)), shade))
            " "
            (grid(picture, &picture.mattered, &summary(picture, output), heat))
            figcaption { (summary(picture, output)) }
        }
    }
}

/// What a picture is, in words.
pub(super) fn what(picture: &Picture) -> String {
    let [lines, points] = picture.of;
    match picture.kind {
        Kind::Image => format!("an image of {lines} x {points} points"),
        Kind::Spectrogram => format!("a spectrogram or table of {lines} lines with {points} points each"),
        Kind::Sound => format!("a sound of {points} values"),
    }
}

/// Where it mattered most, in words.
fn summary(picture: &Picture, output: &str) -> String {
    let [lines, points] = picture.of;
    let most =
        (0..picture.mattered.len()).max_by(|a, b| picture.mattered[*a].total_cmp(&picture.mattered[*b]));
    let Some(most) = most.filter(|most| picture.mattered[*most] > 0.0) else {
        return format!("no part of the input spoke for '{output}'");
    };
    let line = most / picture.width * lines / picture.height;
    let point = most % picture.width * points / picture.width;
    let red = "red speaks for it, blue against it";
    match picture.kind {
        Kind::Sound => format!("'{output}' rests most on what is about value {point} of {points}; {red}"),
        _ => format!("'{output}' rests most on what is about line {line}, point {point}; {red}"),
    }
}

fn grid(picture: &Picture, values: &[f64], label: &str, colour: impl Fn(f64) -> (String, f64)) -> Markup {
    let tall = if picture.kind == Kind::Sound { SOUND_HEIGHT } else { 1 };
    let (height, width) = (picture.height * tall, picture.width);
    let scale = (SIDE_PX / height.max(width).max(1)).max(1);
    html! {
        svg role="img" aria-label=(label) width=(width * scale) height=(height * scale)
            viewBox=(format!("0 0 {width} {height}")) shape-rendering="crispEdges" {
            rect x="0" y="0" width=(width) height=(height) fill="#ffffff" stroke="#999999" stroke-width="0.05" {}
            @for (at, value) in values.iter().enumerate() {
                @let (fill, opacity) = colour(*value);
                @if opacity > BLANK {
                    rect x=(at % width) y=(at / width * tall) width="1" height=(tall) fill=(fill)
                        fill-opacity=[(opacity < 1.0).then(|| format!("{opacity:.2}"))] {}
                }
            }
        }
    }
}
