//! Log-mel features: how loud a sound is, by pitch and time, as the ear tells pitches apart.
//!
//! The power spectrum of overlapping windows (Hann) is gathered by triangular filters whose centres are evenly spaced on
//! the mel scale, 2595 log10(1 + f / 700); the logarithm is averaged over a few windows, and the mean over the whole sound
//! is taken off, so that distance from the microphone matters little.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{FftError, RealFftPlanner, RealToComplex};

use super::words::RATE_HZ;

/// Samples of a sound that features are made of.
pub(super) const CLIP_SAMPLES: usize = 5600;
/// Windows of samples, and between their beginnings.
const WINDOW: usize = 256;
const HOP: usize = 128;
const FILTERS: usize = 16;
const LOWEST_HZ: f32 = 100.0;
const HIGHEST_HZ: f32 = 3800.0;
/// Windows whose mean is one feature.
const WINDOWS_PER_BIN: usize = 3;
const BINS: usize = ((CLIP_SAMPLES - WINDOW) / HOP + 1) / WINDOWS_PER_BIN;
/// Numbers of one sound.
pub(super) const FEATURES: usize = FILTERS * BINS;
/// Added to power: the logarithm of silence is a number.
const FLOOR: f32 = 1e-4;
/// Features are whole multiples of one part in so many, far finer than noise.
const GRAIN: f32 = 64.0;

/// What turns sounds into features.
pub(super) struct LogMel {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// The weight of each frequency, for each filter.
    filters: Vec<Vec<f32>>,
    framed: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
}

impl LogMel {
    pub(super) fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(WINDOW);
        let (framed, spectrum) = (fft.make_input_vec(), fft.make_output_vec());
        Self { fft, window: hann(), filters: filters(), framed, spectrum }
    }

    /// The features of the first [`CLIP_SAMPLES`] of a sound, by time and, within a time, from low to high.
    pub(super) fn features(&mut self, sound: &[f32]) -> Result<Vec<f32>, FftError> {
        let mut features = vec![0.0; FEATURES];
        let windows = sound.windows(WINDOW).step_by(HOP).take(BINS * WINDOWS_PER_BIN);
        for (at, samples) in windows.enumerate() {
            let bin = at / WINDOWS_PER_BIN * FILTERS;
            self.add(samples, &mut features[bin..bin + FILTERS])?;
        }
        let mean = features.iter().sum::<f32>() / FEATURES as f32;
        for feature in &mut features {
            *feature = ((*feature - mean) * GRAIN / WINDOWS_PER_BIN as f32).round() / GRAIN;
        }
        Ok(features)
    }

    /// Adds the logarithms of one window's filters.
    fn add(&mut self, samples: &[f32], to: &mut [f32]) -> Result<(), FftError> {
        for ((framed, sample), weight) in self.framed.iter_mut().zip(samples).zip(&self.window) {
            *framed = sample * weight;
        }
        self.fft.process(&mut self.framed, &mut self.spectrum)?;
        for (feature, filter) in to.iter_mut().zip(&self.filters) {
            let power: f32 =
                self.spectrum.iter().zip(filter).map(|(part, weight)| part.norm_sqr() * weight).sum();
            *feature += (power + FLOOR).ln();
        }
        Ok(())
    }
}

/// What the features are called.
pub(super) fn names() -> Vec<String> {
    (0..BINS).flat_map(|bin| (0..FILTERS).map(move |filter| format!("t{bin}_mel{filter}"))).collect()
}

fn hann() -> Vec<f32> {
    let turn = std::f32::consts::TAU / (WINDOW - 1) as f32;
    (0..WINDOW).map(|at| 0.5 - 0.5 * (turn * at as f32).cos()).collect()
}

fn filters() -> Vec<Vec<f32>> {
    let (low, high) = (mel(LOWEST_HZ), mel(HIGHEST_HZ));
    let edge = |at: usize| hz(low + (high - low) * at as f32 / (FILTERS + 1) as f32);
    let filter = |at: usize| {
        let (from, centre, to) = (edge(at), edge(at + 1), edge(at + 2));
        let weight = |bin: usize| {
            let frequency = (bin * RATE_HZ) as f32 / WINDOW as f32;
            ((frequency - from) / (centre - from)).min((to - frequency) / (to - centre)).max(0.0)
        };
        (0..=WINDOW / 2).map(weight).collect()
    };
    (0..FILTERS).map(filter).collect()
}

fn mel(hz: f32) -> f32 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

fn hz(mel: f32) -> f32 {
    700.0 * (10_f32.powf(mel / 2595.0) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, loud: f32) -> Vec<f32> {
        let turn = std::f32::consts::TAU * hz / RATE_HZ as f32;
        (0..CLIP_SAMPLES).map(|at| loud * (turn * at as f32).sin()).collect()
    }

    fn loudest(features: &[f32]) -> usize {
        (0..FILTERS).max_by(|one, other| features[*one].total_cmp(&features[*other])).unwrap()
    }

    #[test]
    fn a_tone_is_loudest_in_the_filter_around_it() {
        let mut logmel = LogMel::new();
        let (low, high) = (mel(LOWEST_HZ), mel(HIGHEST_HZ));
        for filter in 1..FILTERS {
            let centre = hz(low + (high - low) * (filter + 1) as f32 / (FILTERS + 1) as f32);
            let features = logmel.features(&tone(centre, 0.5)).unwrap();
            assert_eq!(loudest(&features), filter, "{centre} Hz");
        }
    }

    #[test]
    fn the_spectrum_is_the_one_of_the_definition() {
        let sound: Vec<f32> = (0..CLIP_SAMPLES).map(|at| ((at * at) as f32 * 0.003).sin() * 0.3).collect();
        let mut sums = vec![0.0; FILTERS];
        LogMel::new().add(&sound[..WINDOW], &mut sums).unwrap();
        for (filter, found) in filters().iter().zip(sums) {
            let mut power = 0.0_f64;
            for (bin, weight) in filter.iter().enumerate() {
                let (mut re, mut im) = (0.0_f64, 0.0_f64);
                for (at, sample) in sound[..WINDOW].iter().enumerate() {
                    let turn = std::f64::consts::TAU * (bin * at) as f64 / WINDOW as f64;
                    let value = f64::from(sample * hann()[at]);
                    re += value * turn.cos();
                    im -= value * turn.sin();
                }
                power += (re * re + im * im) * f64::from(*weight);
            }
            let expect = (power + f64::from(FLOOR)).ln();
            assert!((expect - f64::from(found)).abs() < 1e-3, "{expect} and {found}");
        }
    }

    #[test]
    fn loudness_alone_changes_little_and_every_sound_has_numbers() {
        let mut logmel = LogMel::new();
        let (soft, loud) =
            (logmel.features(&tone(700.0, 0.2)).unwrap(), logmel.features(&tone(700.0, 0.8)).unwrap());
        assert_eq!(loudest(&soft), loudest(&loud));
        for sound in [Vec::new(), vec![0.0; CLIP_SAMPLES], tone(300.0, 1.0), vec![1.0; 3 * CLIP_SAMPLES]] {
            let features = logmel.features(&sound).unwrap();
            assert_eq!(features.len(), names().len());
            assert!(features.iter().all(|feature| feature.is_finite()));
        }
    }
}
