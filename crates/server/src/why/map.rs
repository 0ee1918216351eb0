//! What mattered in an image, a spectrogram or a sound, point by point.
//!
//! The layout is that of the bundle's monitor, or else follows from the shape of the model's only input. The map is by random
//! masks (RISE); what they hide is filled with the mean of the golden test's inputs.

use edgeward_model::SessionError;
use edgeward_model::explain::{HeatMap, ImageLayout, Rows, SessionFunction, rise};
use edgeward_monitor::InputView;
use serde::Serialize;

/// Cells along each side of a mask, at most.
const CELLS_MAX: usize = 8;
/// Pieces of time in which a sound is hidden.
const SOUND_CELLS: usize = 24;
/// Masks that are tried, if there is time.
const MASKS: usize = 1024;
/// Points along each side of what is told; larger inputs are told by the means of their parts.
const TOLD_MAX: usize = 48;
/// Most channels of an image by its shape alone.
const CHANNELS_MAX: usize = 4;

/// What an input is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An image.
    Image,
    /// Two axes without a colour: a spectrogram, most often.
    Spectrogram,
    /// One axis, which is time.
    Sound,
}

/// What mattered, and what was seen, on the same grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picture {
    /// What it is.
    pub kind: Kind,
    /// Points of the input: lines, and points in each.
    pub of: [usize; 2],
    /// Lines that are told.
    pub height: usize,
    /// Points of each.
    pub width: usize,
    /// Line by line: positive where the point spoke for the output.
    pub mattered: Vec<f64>,
    /// Line by line: what was seen, 0 for the least and 1 for the most; the mean of the channels, or how loud it was.
    pub seen: Vec<f64>,
}

/// How a row's numbers are a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pictured {
    kind: Kind,
    layout: ImageLayout,
}

impl Pictured {
    /// The layout of `function`'s rows; none if they are no picture.
    pub(super) fn of(function: &SessionFunction<'_>, view: InputView) -> Option<Self> {
        let layout =
            |height, width, channels, channels_last| ImageLayout { height, width, channels, channels_last };
        let found = match (view, function.shape()?) {
            (InputView::Image(one), _) => {
                let layout = layout(one.height, one.width, one.channels, !one.planar);
                Self { kind: Kind::Image, layout }
            }
            (InputView::Audio { .. }, _) => {
                Self { kind: Kind::Sound, layout: layout(1, function.width(), 1, true) }
            }
            (InputView::Columns, &[height, width]) => {
                Self { kind: Kind::Spectrogram, layout: layout(height, width, 1, true) }
            }
            (InputView::Columns, &[channels, height, width]) if channels <= CHANNELS_MAX => {
                let kind = if channels == 1 { Kind::Spectrogram } else { Kind::Image };
                Self { kind, layout: layout(height, width, channels, false) }
            }
            (InputView::Columns, &[height, width, channels]) if channels <= CHANNELS_MAX => {
                let kind = if channels == 1 { Kind::Spectrogram } else { Kind::Image };
                Self { kind, layout: layout(height, width, channels, true) }
            }
            _ => return None,
        };
        let ImageLayout { height, width, channels, .. } = found.layout;
        // A single line of numbers is a table, whatever its shape.
        let is_flat = found.kind == Kind::Spectrogram && (height < 2 || width < 2);
        (height * width * channels == function.width() && !is_flat).then_some(found)
    }

    /// What mattered for `output` in `row`, against the mean of `usual`; and how many images the model was asked about.
    pub(super) fn explain(
        self,
        call: impl FnMut(&Rows) -> Result<Vec<f64>, SessionError>,
        row: &[f64],
        usual: &Rows,
        (output, seed): (usize, u64),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(Picture, usize), String> {
        let mut hidden = vec![0.0; row.len()];
        for one in usual.iter() {
            hidden.iter_mut().zip(one).for_each(|(mean, value)| *mean += value / usual.len() as f64);
        }
        let ImageLayout { height, width, .. } = self.layout;
        let cells = match self.kind {
            Kind::Sound => SOUND_CELLS.min(width),
            _ => (height.max(width) / 2).clamp(1, CELLS_MAX),
        };
        let map = rise(call, row, &hidden, self.layout, cells, MASKS, output, seed, go_on);
        let map = map.map_err(|error| error.to_string())?;
        Ok((self.picture(&map, row), map.evaluations))
    }

    fn picture(self, map: &HeatMap, row: &[f64]) -> Picture {
        let ImageLayout { height: lines, width: points, channels, channels_last } = self.layout;
        let at = |y: usize, x: usize, channel: usize| match channels_last {
            true => row[(y * points + x) * channels + channel],
            false => row[(channel * lines + y) * points + x],
        };
        let seen = |y: usize, x: usize| {
            let sum: f64 = (0..channels.min(3)).map(|channel| at(y, x, channel)).sum();
            if self.kind == Kind::Sound { sum.abs() } else { sum }
        };
        let grid = Grid { lines, points };
        let (height, width) = (grid.height(), grid.width());
        let mattered = grid.means(|y, x| map.values[y * points + x]);
        let seen = scaled(&grid.means(seen));
        Picture { kind: self.kind, of: [lines, points], height, width, mattered, seen }
    }
}

/// Points, and the coarser ones that are told.
#[derive(Clone, Copy)]
struct Grid {
    lines: usize,
    points: usize,
}

impl Grid {
    fn height(self) -> usize {
        self.lines.min(TOLD_MAX)
    }

    fn width(self) -> usize {
        self.points.min(TOLD_MAX)
    }

    /// The mean of each part.
    fn means(self, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let (height, width) = (self.height(), self.width());
        let part = |at: usize, of: usize, told: usize| at * of / told..(at + 1) * of / told;
        let mean = |line: usize, point: usize| {
            let (ys, xs) = (part(line, self.lines, height), part(point, self.points, width));
            let count = (ys.len() * xs.len()) as f64;
            ys.flat_map(|y| xs.clone().map(move |x| (y, x))).map(|(y, x)| value(y, x)).sum::<f64>() / count
        };
        (0..height)
            .flat_map(|line| (0..width).map(move |point| (line, point)))
            .map(|(y, x)| mean(y, x))
            .collect()
    }
}

/// From 0 to 1; all 0 where nothing differs.
fn scaled(values: &[f64]) -> Vec<f64> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        finite().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let span = high - low;
    values
        .iter()
        .map(|value| if span > 0.0 && value.is_finite() { (value - low) / span } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_told_by_the_means_of_their_parts() {
        let grid = Grid { lines: 96, points: 50 };
        assert_eq!((grid.height(), grid.width()), (48, 48));
        let means = grid.means(|y, _| y as f64);
        assert_eq!(means.len(), 48 * 48);
        assert!((means[0] - 0.5).abs() < 1e-12 && (means[48 * 48 - 1] - 94.5).abs() < 1e-12);
        let small = Grid { lines: 1, points: 3 };
        assert_eq!(small.means(|_, x| x as f64), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn what_was_seen_is_between_nothing_and_one() {
        assert_eq!(scaled(&[-2.0, 0.0, 2.0]), [0.0, 0.5, 1.0]);
        assert_eq!(scaled(&[3.0, 3.0]), [0.0, 0.0]);
        assert_eq!(scaled(&[f64::NAN, 1.0, 2.0]), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_map_finds_the_corner_that_decides() {
        let pictured = Pictured {
            kind: Kind::Image,
            layout: ImageLayout { height: 12, width: 12, channels: 1, channels_last: true },
        };
        // The model looks at the upper left quarter only.
        let looks = |rows: &Rows| -> Result<Vec<f64>, SessionError> {
            let corner = |row: &[f64]| -> f64 {
                (0..6).flat_map(|y| (0..6).map(move |x| (y, x))).map(|(y, x)| row[y * 12 + x]).sum()
            };
            Ok(rows.iter().map(|row| corner(row) / 36.0).collect())
        };
        let usual = Rows::new(vec![0.0; 144], 144).unwrap();
        let (picture, evaluations) =
            pictured.explain(looks, &[1.0; 144], &usual, (0, 7), &mut || true).unwrap();
        assert_eq!((picture.of, evaluations), ([12, 12], MASKS + 1));
        let mean = |ys: std::ops::Range<usize>| {
            let part: Vec<f64> = ys
                .clone()
                .flat_map(|y| ys.clone().map(move |x| (y, x)))
                .map(|(y, x)| picture.mattered[y * 12 + x])
                .collect();
            part.iter().sum::<f64>() / part.len() as f64
        };
        assert!(mean(0..6) > 5.0 * mean(6..12).abs(), "{} {}", mean(0..6), mean(6..12));
        let mut batches = 3;
        let mut go_on = || {
            batches -= 1;
            batches > 0
        };
        let (_, few) = pictured.explain(looks, &[1.0; 144], &usual, (0, 7), &mut go_on).unwrap();
        assert!(few < 100, "{few}");
    }
}
