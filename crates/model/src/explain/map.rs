//! Maps of what matters in an image or a spectrogram.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{ExplainError, Rows};

/// Images that are shown to the model at once.
const BATCH_IMAGES: usize = 16;

/// Chance that a cell of a random mask is shown.
const SHOWN: f64 = 0.5;

/// How a row's numbers are an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLayout {
    /// Lines; the frequencies or the times of a spectrogram.
    pub height: usize,
    /// Points per line.
    pub width: usize,
    /// Numbers per point.
    pub channels: usize,
    /// Whether a point's channels stand side by side rather than each channel in a plane of its own.
    pub channels_last: bool,
}

impl ImageLayout {
    fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    fn index(self, y: usize, x: usize, channel: usize) -> usize {
        if self.channels_last {
            (y * self.width + x) * self.channels + channel
        } else {
            (channel * self.height + y) * self.width + x
        }
    }
}

/// How much each point matters.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Lines.
    pub height: usize,
    /// Points per line.
    pub width: usize,
    /// Line by line; positive where the point speaks for the output.
    pub values: Vec<f64>,
    /// The output without anything hidden.
    pub answer: f64,
    /// How many images the model was asked about.
    pub evaluations: usize,
}

/// How much the output falls when a patch is hidden: at each point the mean over the patches that cover it (Zeiler and
/// Fergus 2014).
///
/// Patches of `patch` by `patch` points are moved by `stride` and filled with `hidden`, an image of what is usual (its mean
/// over data, say).
///
/// # Errors
/// An image, patch or output that does not fit, or a model that does not answer.
pub fn occlusion<E>(
    function: impl FnMut(&Rows) -> Result<Vec<f64>, E>,
    image: &[f64],
    hidden: &[f64],
    layout: ImageLayout,
    patch: usize,
    stride: usize,
    output: usize,
) -> Result<HeatMap, ExplainError<E>> {
    if patch == 0 || stride == 0 || stride > patch {
        return Err(ExplainError::question("a patch has at least one point, and moves by 1 to its size"));
    }
    let mut model = Viewer::new(function, image, hidden, layout, output)?;
    let answer = model.answer()?;
    let starts = |size: usize| {
        (0..size.saturating_sub(patch) + stride).step_by(stride).take_while(move |&at| at < size)
    };
    let places: Vec<(usize, usize)> =
        starts(layout.height).flat_map(|y| starts(layout.width).map(move |x| (y, x))).collect();
    let shown = |&(top, left): &(usize, usize)| {
        let inside =
            move |y: usize, x: usize| (top..top + patch).contains(&y) && (left..left + patch).contains(&x);
        points(layout).map(move |(y, x)| if inside(y, x) { 0.0 } else { 1.0 }).collect::<Vec<f64>>()
    };
    let mut sums = vec![0.0; layout.height * layout.width];
    let mut counts = vec![0.0_f64; sums.len()];
    for chunk in places.chunks(BATCH_IMAGES) {
        let masks: Vec<Vec<f64>> = chunk.iter().map(shown).collect();
        for (mask, seen) in masks.iter().zip(model.see(&masks)?) {
            for (at, _) in mask.iter().enumerate().filter(|(_, shown)| **shown == 0.0) {
                sums[at] += answer - seen;
                counts[at] += 1.0;
            }
        }
    }
    let values = sums.iter().zip(&counts).map(|(sum, count)| sum / count.max(1.0)).collect();
    Ok(HeatMap { height: layout.height, width: layout.width, values, answer, evaluations: model.evaluations })
}

/// How much more the model says when a point is shown, over random smooth masks (RISE, Petsiuk et al. 2018): the mean
/// output weighted by how much each mask shows of the point, less the mean output over all masks.
///
/// A mask is a grid of `cells` by `cells` points, each shown with probability one half, enlarged bilinearly with a random
/// shift. `go_on` is asked before each further batch of masks.
///
/// # Errors
/// An image, grid or output that does not fit, or a model that does not answer.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a choice of its own, and the order follows `occlusion`"
)]
pub fn rise<E>(
    function: impl FnMut(&Rows) -> Result<Vec<f64>, E>,
    image: &[f64],
    hidden: &[f64],
    layout: ImageLayout,
    cells: usize,
    masks: usize,
    output: usize,
    seed: u64,
    mut go_on: impl FnMut() -> bool,
) -> Result<HeatMap, ExplainError<E>> {
    if cells == 0 || masks == 0 {
        return Err(ExplainError::question("a map needs at least one cell and one mask"));
    }
    let mut model = Viewer::new(function, image, hidden, layout, output)?;
    let answer = model.answer()?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut weighted = vec![0.0; layout.height * layout.width];
    let (mut shown, mut total, mut made) = (vec![0.0; weighted.len()], 0.0, 0);
    while made < masks && (made == 0 || go_on()) {
        let count = BATCH_IMAGES.min(masks - made);
        let batch: Vec<Vec<f64>> = (0..count).map(|_| random_mask(layout, cells, &mut random)).collect();
        for (mask, seen) in batch.iter().zip(model.see(&batch)?) {
            total += seen;
            for ((weighted, shown), mask) in weighted.iter_mut().zip(&mut shown).zip(mask) {
                *weighted += seen * mask;
                *shown += mask;
            }
        }
        made += count;
    }
    let mean = total / made as f64;
    let value = |(weighted, shown): (&f64, &f64)| if *shown > 0.0 { weighted / shown - mean } else { 0.0 };
    let values = weighted.iter().zip(&shown).map(value).collect();
    Ok(HeatMap { height: layout.height, width: layout.width, values, answer, evaluations: model.evaluations })
}

/// How much of each point is shown, line by line.
fn random_mask(layout: ImageLayout, cells: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    let side = cells + 1;
    let grid: Vec<f64> =
        (0..side * side).map(|_| if random.random::<f64>() < SHOWN { 1.0 } else { 0.0 }).collect();
    let shift: [f64; 2] = [random.random(), random.random()];
    let place = |at: usize, size: usize, shift: f64| {
        // In cells; the shift moves the grid by up to one cell, so the last whole cell is `cells`.
        let at = (at as f64 + shift * size as f64 / cells as f64) * cells as f64 / size as f64;
        let at = at.min(cells as f64 - 1e-9);
        (at as usize, at.fract())
    };
    points(layout)
        .map(|(y, x)| {
            let ((row, down), (column, right)) =
                (place(y, layout.height, shift[0]), place(x, layout.width, shift[1]));
            let cell = |dy: usize, dx: usize| grid[(row + dy) * side + column + dx];
            let upper = cell(0, 0) * (1.0 - right) + cell(0, 1) * right;
            let lower = cell(1, 0) * (1.0 - right) + cell(1, 1) * right;
            upper * (1.0 - down) + lower * down
        })
        .collect()
}

fn points(layout: ImageLayout) -> impl Iterator<Item = (usize, usize)> {
    (0..layout.height).flat_map(move |y| (0..layout.width).map(move |x| (y, x)))
}

/// The model with an image of which parts are hidden.
struct Viewer<'a, F> {
    function: F,
    image: &'a [f64],
    hidden: &'a [f64],
    layout: ImageLayout,
    output: usize,
    evaluations: usize,
}

impl<'a, E, F: FnMut(&Rows) -> Result<Vec<f64>, E>> Viewer<'a, F> {
    fn new(
        function: F,
        image: &'a [f64],
        hidden: &'a [f64],
        layout: ImageLayout,
        output: usize,
    ) -> Result<Self, ExplainError<E>> {
        let expected = layout.len();
        if expected == 0 || image.len() != expected || hidden.len() != expected {
            let ImageLayout { height, width, channels, .. } = layout;
            return Err(ExplainError::question(format!(
                "an image of {height} x {width} points with {channels} channels has {expected} numbers, but the image \
                 has {} and what hides it {}",
                image.len(),
                hidden.len()
            )));
        }
        Ok(Self { function, image, hidden, layout, output, evaluations: 0 })
    }

    fn answer(&mut self) -> Result<f64, ExplainError<E>> {
        let all = vec![1.0; self.layout.height * self.layout.width];
        Ok(self.see(&[all])?[0])
    }

    /// The output for the image under each mask.
    fn see(&mut self, masks: &[Vec<f64>]) -> Result<Vec<f64>, ExplainError<E>> {
        let mut values = Vec::with_capacity(masks.len() * self.image.len());
        for mask in masks {
            let start = values.len();
            values.extend_from_slice(self.hidden);
            for ((y, x), shown) in points(self.layout).zip(mask) {
                for channel in 0..self.layout.channels {
                    let at = self.layout.index(y, x, channel);
                    values[start + at] = self.hidden[at] * (1.0 - shown) + self.image[at] * shown;
                }
            }
        }
        let rows = Rows { values, width: self.image.len() };
        let answers = (self.function)(&rows).map_err(ExplainError::Model)?;
        self.evaluations += masks.len();
        let outputs = answers.len() / masks.len();
        if self.output >= outputs {
            let output = self.output;
            return Err(ExplainError::question(format!(
                "there is no output {output}: the model has {outputs}"
            )));
        }
        Ok(answers.chunks_exact(outputs).map(|line| line[self.output]).collect())
    }
}
