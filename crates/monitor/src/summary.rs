//! Inputs that are no table, as a few named numbers that a [`crate::Profile`] can count: images, sound, embeddings.
//!
//! Pure functions from pixels, samples or activations to numbers with names, always as many and in the same order, so
//! that a reference can be fitted on them and a device can profile them. What cannot be computed is
//! [`crate::MISSING_VALUE`], never a panic.
//! Deliberately missing: decoding of files, resampling, and any judgement of what a picture shows.

mod audio;
mod image;

pub use audio::{AUDIO_FEATURES, AUDIO_FRAME, AUDIO_FRAMES_MAX, audio};
pub use image::{IMAGE_FEATURES, IMAGE_PIXELS_MAX, ImageLayout, image};

/// An input whose size is not what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SummaryError {
    /// There is nothing to summarise.
    #[error("an input without {0}")]
    Empty(&'static str),
    /// The values are not as many as the shape says.
    #[error("{found} values, but the shape {width} x {height} x {channels} holds {expected}")]
    Shape {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Values per pixel.
        channels: usize,
        /// Values that the shape holds; 0 if they are more than can be counted.
        expected: usize,
        /// Values there are.
        found: usize,
    },
    /// A number of channels that says nothing about colours.
    #[error("{0} channels; an image has 1 (grey), 3 (RGB) or 4 (RGBA)")]
    Channels(usize),
    /// A sample rate that is no positive number.
    #[error("the sample rate must be above 0")]
    SampleRate,
}

/// Mean and standard deviation; NaN without values.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// The share of values that `is` holds for.
fn share<T>(values: impl Iterator<Item = T>, is: impl Fn(&T) -> bool) -> f64 {
    let (mut hits, mut n) = (0.0, 0.0);
    for value in values {
        n += 1.0;
        hits += f64::from(u8::from(is(&value)));
    }
    hits / n
}

/// Numbers as a profile takes them: what is not finite is missing.
fn finished<const N: usize>(values: [f64; N]) -> [f32; N] {
    values.map(|value| if value.is_finite() { value as f32 } else { crate::MISSING_VALUE })
}
