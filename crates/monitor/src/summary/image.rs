//! What a camera's trouble looks like in numbers: too dark, too bright, out of focus, without colour.

use serde::{Deserialize, Serialize};

use super::{SummaryError, finished, moments, share};

/// Names of what [`image`] gives, in order.
pub const IMAGE_FEATURES: [&str; 11] = [
    "brightness",
    "contrast",
    "sharpness",
    "saturation",
    "red",
    "green",
    "blue",
    "entropy",
    "dark_share",
    "bright_share",
    "edge_share",
];

/// Luma at or below which a pixel is dark, and at or above which it is bright.
const DARK: f64 = 0.05;
const BRIGHT: f64 = 0.95;
/// Change of luma from pixel to pixel that makes an edge.
const EDGE: f64 = 0.1;
/// Pixels up to which an image is looked at in full. Of a larger one it is tiles, evenly spread, as many as make about so
/// many pixels: neighbours stay neighbours, and an image of any size costs the same.
pub const IMAGE_PIXELS_MAX: usize = 784;
/// Tiles along each side of a large image, and pixels along each side of a tile.
const TILES: usize = 4;
const TILE: usize = 7;
/// Bins of the luma for its entropy.
const ENTROPY_BINS: usize = 32;

/// How an image lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ImageLayout {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values per pixel: 1 grey, 3 RGB, 4 RGBA (the last is ignored).
    pub channels: usize,
    /// Whether each channel's plane follows the other (CHW) rather than each pixel's values (HWC).
    pub planar: bool,
    /// The value of white: 255 for bytes, 1 for fractions.
    pub white: f32,
}

impl ImageLayout {
    fn check(&self, found: usize) -> Result<(), SummaryError> {
        let Self { width, height, channels, .. } = *self;
        if !matches!(channels, 1 | 3 | 4) {
            return Err(SummaryError::Channels(channels));
        }
        let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels)).unwrap_or(0);
        if expected == 0 {
            return Err(SummaryError::Empty("pixels"));
        }
        let shape = SummaryError::Shape { width, height, channels, expected, found };
        if found == expected { Ok(()) } else { Err(shape) }
    }

    /// The pixels that are looked at, tile after tile, and the width and size of a tile.
    fn looked_at(&self) -> (Vec<usize>, usize, usize) {
        let (width, height) = (self.width, self.height);
        if width * height <= IMAGE_PIXELS_MAX {
            return ((0..width * height).collect(), width, width * height);
        }
        let (across, down) = (TILE.min(width), TILE.min(height));
        let start = |tile: usize, whole: usize, part: usize| (whole - part) * tile / (TILES - 1);
        let tiles = (0..TILES * TILES)
            .map(|tile| start(tile / TILES, height, down) * width + start(tile % TILES, width, across));
        let pixels = tiles
            .flat_map(|first| (0..down).flat_map(move |y| (0..across).map(move |x| first + y * width + x)));
        (pixels.collect(), across, across * down)
    }

    /// Red, green and blue of pixel `i`, white being 1 after multiplication.
    fn rgb(&self, values: &[f32], i: usize, per_white: f64) -> [f64; 3] {
        let pixels = self.width * self.height;
        let at =
            |channel: usize| if self.planar { channel * pixels + i } else { i * self.channels + channel };
        let colour = |channel: usize| f64::from(values[at(channel)]) * per_white;
        if self.channels == 1 { [colour(0); 3] } else { [0, 1, 2].map(colour) }
    }
}

/// The numbers of [`IMAGE_FEATURES`] for one image.
///
/// `brightness` and `contrast` are mean and standard deviation of the luma (ITU-R BT.601), 0 to 1; `sharpness` the
/// variance of its Laplacian (J. Pech-Pacheco et al., 2000), small where focus is lost; `saturation` the mean of
/// `(max - min) / max` over the channels; `entropy` that of the luma in 32 bins, bits; `edge_share` the share of pixels
/// whose luma differs from the next one's by a tenth. Images of more than [`IMAGE_PIXELS_MAX`] pixels are judged by parts.
///
/// # Errors
/// The values are not an image of that layout.
pub fn image(values: &[f32], layout: ImageLayout) -> Result<[f32; IMAGE_FEATURES.len()], SummaryError> {
    layout.check(values.len())?;
    let (pixels, width, size) = layout.looked_at();
    let per_white = 1.0 / f64::from(layout.white);
    let colours: Vec<[f64; 3]> = pixels.into_iter().map(|i| layout.rgb(values, i, per_white)).collect();
    let luma: Vec<f64> = colours.iter().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b).collect();
    let mean_of = |channel: usize| moments(colours.iter().map(move |colour| colour[channel])).0;
    let (brightness, contrast) = moments(luma.iter().copied());
    let saturation = moments(colours.iter().map(saturation)).0;
    Ok(finished([
        brightness,
        contrast,
        sharpness(&luma, width, size),
        saturation,
        mean_of(0),
        mean_of(1),
        mean_of(2),
        entropy(&luma),
        share(luma.iter(), |luma| **luma <= DARK),
        share(luma.iter(), |luma| **luma >= BRIGHT),
        edge_share(&luma, width),
    ]))
}

fn saturation(&[r, g, b]: &[f64; 3]) -> f64 {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most > 0.0 { (most - least) / most } else { 0.0 }
}

/// Variance of the four-neighbour Laplacian over inner pixels of tiles of `size` pixels; 0 for tiles that have none.
fn sharpness(luma: &[f64], width: usize, size: usize) -> f64 {
    let height = size / width;
    if width < 3 || height < 3 {
        return 0.0;
    }
    let inner = || (1..height - 1).flat_map(|y| (1..width - 1).map(move |x| y * width + x));
    let of_tile = |tile: &[f64]| -> Vec<f64> {
        let laplacian =
            |i: usize| tile[i - width] + tile[i + width] + tile[i - 1] + tile[i + 1] - 4.0 * tile[i];
        inner().map(laplacian).collect()
    };
    let laplacian: Vec<f64> = luma.chunks_exact(size).flat_map(of_tile).collect();
    let (_, deviation) = moments(laplacian.iter().copied());
    deviation * deviation
}

fn entropy(luma: &[f64]) -> f64 {
    let mut counts = [0u32; ENTROPY_BINS];
    for luma in luma {
        counts[((luma * ENTROPY_BINS as f64) as usize).min(ENTROPY_BINS - 1)] += 1;
    }
    let shares = counts.iter().map(|count| f64::from(*count) / luma.len() as f64);
    shares.filter(|share| *share > 0.0).map(|share| -share * share.log2()).sum()
}

fn edge_share(luma: &[f64], width: usize) -> f64 {
    if width < 2 {
        return 0.0;
    }
    let pairs = luma.chunks_exact(width).flat_map(|row| row.windows(2));
    share(pairs, |pair| (pair[0] - pair[1]).abs() >= EDGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize) -> ImageLayout {
        ImageLayout { width, height, channels: 1, planar: false, white: 255.0 }
    }

    fn get(values: &[f32; 11], name: &str) -> f32 {
        values[IMAGE_FEATURES.iter().position(|feature| *feature == name).unwrap()]
    }

    #[test]
    fn a_chessboard_is_sharp_and_a_grey_wall_is_not() {
        let board: Vec<f32> = (0..64).map(|i| if (i % 8 + i / 8) % 2 == 0 { 255.0 } else { 0.0 }).collect();
        let board = image(&board, grey(8, 8)).unwrap();
        let wall = image(&[127.5; 64], grey(8, 8)).unwrap();
        assert_eq!((get(&board, "brightness"), get(&board, "contrast")), (0.5, 0.5));
        assert_eq!((get(&board, "sharpness"), get(&board, "edge_share")), (16.0, 1.0));
        assert_eq!(
            (get(&board, "dark_share"), get(&board, "bright_share"), get(&board, "entropy")),
            (0.5, 0.5, 1.0)
        );
        assert_eq!(
            (get(&wall, "brightness"), get(&wall, "contrast"), get(&wall, "sharpness")),
            (0.5, 0.0, 0.0)
        );
        assert_eq!((get(&wall, "entropy"), get(&wall, "saturation")), (0.0, 0.0));
    }

    #[test]
    fn large_images_are_judged_by_parts_of_them() {
        let large = |width: usize, height: usize, pixel: &dyn Fn(usize, usize) -> f32| {
            let values: Vec<f32> = (0..width * height).map(|i| pixel(i % width, i / width)).collect();
            image(&values, grey(width, height)).unwrap()
        };
        let board = |x: usize, y: usize| if (x + y).is_multiple_of(2) { 255.0 } else { 0.0 };
        for (width, height) in [(224, 224), (2_000, 3), (3, 2_000), (33, 33)] {
            let (sharp, flat) = (large(width, height, &board), large(width, height, &|_, _| 128.0));
            assert!((get(&sharp, "brightness") - 0.5).abs() < 0.05, "{width} x {height}: {sharp:?}");
            assert!(
                get(&sharp, "sharpness") > 10.0 && get(&sharp, "edge_share") == 1.0,
                "{width} x {height}"
            );
            assert_eq!((get(&flat, "sharpness"), get(&flat, "edge_share")), (0.0, 0.0));
        }
        let dusk = large(200, 200, &|_, y| if y < 100 { 255.0 } else { 0.0 });
        assert_eq!((get(&dusk, "bright_share"), get(&dusk, "dark_share")), (0.5, 0.5));
        let (pixels, ..) = grey(4_000, 3_000).looked_at();
        assert!(pixels.len() <= IMAGE_PIXELS_MAX && pixels.last() == Some(&(4_000 * 3_000 - 1)));
    }

    #[test]
    fn colours_are_found_in_either_layout() {
        let packed = ImageLayout { width: 2, height: 1, channels: 3, planar: false, white: 1.0 };
        let planar = ImageLayout { planar: true, ..packed };
        let first = image(&[1.0, 0.0, 0.0, 0.5, 0.5, 0.5], packed).unwrap();
        assert_eq!(first, image(&[1.0, 0.5, 0.0, 0.5, 0.0, 0.5], planar).unwrap());
        assert_eq!((get(&first, "red"), get(&first, "green"), get(&first, "saturation")), (0.75, 0.25, 0.5));
    }

    #[test]
    fn what_is_no_image_is_refused_or_missing() {
        assert_eq!(image(&[], grey(0, 4)), Err(SummaryError::Empty("pixels")));
        assert_eq!(
            image(&[0.0; 8], ImageLayout { channels: 2, ..grey(2, 2) }),
            Err(SummaryError::Channels(2))
        );
        assert!(matches!(
            image(&[0.0; 3], grey(2, 2)),
            Err(SummaryError::Shape { expected: 4, found: 3, .. })
        ));
        assert_eq!(image(&[0.0; 3], grey(usize::MAX, 3)), Err(SummaryError::Empty("pixels")));
        let odd = image(&[f32::NAN, 1.0, 1.0, f32::INFINITY], grey(2, 2)).unwrap();
        assert!(get(&odd, "brightness").is_nan() && get(&odd, "dark_share") >= 0.0);
        assert!(image(&[1.0], ImageLayout { white: 0.0, ..grey(1, 1) }).unwrap()[0].is_nan());
    }
}
