//! What a microphone's trouble looks like in numbers: silence, clipping, hum, another pitch.

use std::f64::consts::TAU;
use std::sync::OnceLock;

use super::{SummaryError, finished, moments, share};

/// Names of what [`audio`] gives, in order.
pub const AUDIO_FEATURES: [&str; 10] = [
    "energy",
    "peak",
    "zero_crossing_rate",
    "spectral_centroid",
    "spectral_bandwidth",
    "spectral_rolloff",
    "spectral_flatness",
    "silence_share",
    "clipped_share",
    "offset",
];

/// Samples of one spectrum; shorter sounds are padded with silence, longer ones averaged over frames.
pub const AUDIO_FRAME: usize = 512;
/// Most frames that are looked at, evenly spread over the sound: a sound of any length costs the same.
pub const AUDIO_FRAMES_MAX: usize = 4;
/// Size up to which a sample is silent, and from which it is clipped; full scale is 1.
const SILENT: f64 = 0.01;
const CLIPPED: f64 = 0.99;
/// Share of the power below the roll-off.
const ROLLOFF: f64 = 0.85;

/// The numbers of [`AUDIO_FEATURES`] for one sound of one channel, full scale -1 to 1.
///
/// `energy` is the root mean square; `zero_crossing_rate` the share of neighbours of opposite sign; `spectral_centroid`,
/// `spectral_bandwidth` and `spectral_rolloff` (85% of the power) are in the unit of `sample_rate`, from Hann windows of
/// [`AUDIO_FRAME`] samples (G. Peeters, "A large set of audio features", 2004); `spectral_flatness` is the geometric over
/// the arithmetic mean of the power: near 0 for a tone, near 1 for noise.
///
/// # Errors
/// There are no samples, or the rate is not above 0.
pub fn audio(samples: &[f32], sample_rate: f32) -> Result<[f32; AUDIO_FEATURES.len()], SummaryError> {
    if samples.is_empty() {
        return Err(SummaryError::Empty("samples"));
    }
    if sample_rate.is_nan() || sample_rate <= 0.0 {
        return Err(SummaryError::SampleRate);
    }
    let frames = frames(samples);
    let seen: Vec<f64> =
        frames.iter().flat_map(|frame| frame.iter()).map(|sample| f64::from(*sample)).collect();
    let wave = || seen.iter().copied();
    let (offset, _) = moments(wave());
    let energy = (wave().map(|sample| sample * sample).sum::<f64>() / seen.len() as f64).sqrt();
    let pairs = || frames.iter().flat_map(|frame| frame.windows(2));
    let crossings = pairs().filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count();
    let power = power(&frames);
    let spectrum = Spectrum::of(&power, f64::from(sample_rate) / AUDIO_FRAME as f64);
    Ok(finished([
        energy,
        wave().map(f64::abs).fold(0.0, f64::max),
        crossings as f64 / pairs().count().max(1) as f64,
        spectrum.centroid,
        spectrum.bandwidth,
        spectrum.rolloff,
        spectrum.flatness,
        share(wave(), |sample| sample.abs() <= SILENT),
        share(wave(), |sample| sample.abs() >= CLIPPED),
        offset,
    ]))
}

/// The parts that are looked at: the whole of a short sound, else frames, evenly spread.
fn frames(samples: &[f32]) -> Vec<&[f32]> {
    let last = samples.len().saturating_sub(AUDIO_FRAME);
    let count = samples.len().div_ceil(AUDIO_FRAME).min(AUDIO_FRAMES_MAX);
    let start = |frame: usize| if count > 1 { last * frame / (count - 1) } else { 0 };
    (0..count).map(|frame| &samples[start(frame)..samples.len().min(start(frame) + AUDIO_FRAME)]).collect()
}

/// Cosine and sine of every part of a turn; those of the first half turn the transform, the cosine windows a frame.
fn turns() -> &'static [(f64, f64); AUDIO_FRAME] {
    static TURNS: OnceLock<[(f64, f64); AUDIO_FRAME]> = OnceLock::new();
    let turn = |i: usize| {
        let (sin, cos) = (-TAU * i as f64 / AUDIO_FRAME as f64).sin_cos();
        (cos, sin)
    };
    TURNS.get_or_init(|| std::array::from_fn(turn))
}

/// Summed power of each frequency above 0. Two frames go through one transform, as real and imaginary part: the power of
/// both at a frequency is half that of the transform there and at its mirror image.
fn power(frames: &[&[f32]]) -> Vec<f64> {
    let (mut power, turns) = (vec![0.0; AUDIO_FRAME / 2], turns());
    for pair in frames.chunks(2) {
        let mut frame = [(0.0, 0.0); AUDIO_FRAME];
        let windowed = |(i, sample): (usize, &f32)| f64::from(*sample) * (0.5 - 0.5 * turns[i].0);
        let fill = |samples: &&[f32]| samples.iter().enumerate().map(windowed).collect::<Vec<f64>>();
        let [first, second] = [0, 1].map(|at| pair.get(at).map(fill).unwrap_or_default());
        frame.iter_mut().zip(first).for_each(|(value, sample)| value.0 = sample);
        frame.iter_mut().zip(second).for_each(|(value, sample)| value.1 = sample);
        transform(&mut frame, turns);
        let size = |k: usize| frame[k].0 * frame[k].0 + frame[k].1 * frame[k].1;
        for (k, sum) in (1..).zip(&mut power) {
            *sum += f64::midpoint(size(k), size(AUDIO_FRAME - k));
        }
    }
    power
}

/// Fourier transform in place (J. Cooley and J. Tukey, 1965).
fn transform(values: &mut [(f64, f64); AUDIO_FRAME], turns: &[(f64, f64); AUDIO_FRAME]) {
    let bits = AUDIO_FRAME.trailing_zeros();
    for i in 0..AUDIO_FRAME {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            values.swap(i, j);
        }
    }
    for half in (0..bits).map(|bit| 1 << bit) {
        let step = AUDIO_FRAME / (2 * half);
        for pair in values.chunks_exact_mut(2 * half) {
            let (even, odd) = pair.split_at_mut(half);
            for (k, (a, b)) in even.iter_mut().zip(odd).enumerate() {
                let (cos, sin) = turns[k * step];
                let turned = (b.0 * cos - b.1 * sin, b.0 * sin + b.1 * cos);
                *b = (a.0 - turned.0, a.1 - turned.1);
                *a = (a.0 + turned.0, a.1 + turned.1);
            }
        }
    }
}

/// The shape of a power spectrum; NaN where there is no power.
struct Spectrum {
    centroid: f64,
    bandwidth: f64,
    rolloff: f64,
    flatness: f64,
}

impl Spectrum {
    fn of(power: &[f64], step: f64) -> Self {
        let total: f64 = power.iter().sum();
        let frequency = |i: usize| (i + 1) as f64 * step;
        let mean_of = |f: &dyn Fn(f64) -> f64| {
            power.iter().enumerate().map(|(i, power)| power * f(frequency(i))).sum::<f64>() / total
        };
        let centroid = mean_of(&|frequency| frequency);
        let bandwidth = mean_of(&|frequency| (frequency - centroid).powi(2)).sqrt();
        let mut passed = 0.0;
        let rolloff = power.iter().position(|power| {
            passed += power;
            passed >= ROLLOFF * total
        });
        let n = power.len() as f64;
        let geometric = (power.iter().map(|power| power.ln()).sum::<f64>() / n).exp();
        Self {
            centroid,
            bandwidth,
            rolloff: rolloff.map_or(f64::NAN, frequency),
            flatness: geometric / (total / n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f32 = 16_000.0;

    fn tone(frequency: f64, size: f64) -> Vec<f32> {
        (0..4_096)
            .map(|i| (size * (TAU * frequency * f64::from(i) / f64::from(RATE) + 0.1).sin()) as f32)
            .collect()
    }

    fn get(values: &[f32; 10], name: &str) -> f32 {
        values[AUDIO_FEATURES.iter().position(|feature| *feature == name).unwrap()]
    }

    #[test]
    fn a_tone_is_where_it_is() {
        let values = audio(&tone(1_000.0, 0.5), RATE).unwrap();
        assert!((get(&values, "spectral_centroid") - 1_000.0).abs() < 5.0, "{values:?}");
        assert!((get(&values, "spectral_rolloff") - 1_000.0).abs() < 40.0, "{values:?}");
        assert!(get(&values, "spectral_bandwidth") < 60.0 && get(&values, "spectral_flatness") < 1e-3);
        assert!(
            (get(&values, "energy") - 0.353_55).abs() < 1e-3 && (get(&values, "peak") - 0.5).abs() < 0.01
        );
        assert!((get(&values, "zero_crossing_rate") - 0.125).abs() < 1e-3, "{values:?}");
        let high = audio(&tone(4_000.0, 2.0), RATE).unwrap();
        assert!(get(&high, "spectral_centroid") > 3_900.0 && get(&high, "clipped_share") > 0.4);
    }

    #[test]
    fn noise_is_flat_and_silence_has_no_spectrum() {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let noise: Vec<f32> = (0..8_192).map(|_| noise()).collect();
        let values = audio(&noise, RATE).unwrap();
        assert!(get(&values, "spectral_flatness") > 0.8, "{values:?}");
        assert!((get(&values, "spectral_centroid") - 4_000.0).abs() < 300.0, "{values:?}");
        let silence = audio(&[0.0; 100], RATE).unwrap();
        assert!(get(&silence, "spectral_centroid").is_nan() && get(&silence, "silence_share") == 1.0);
        assert_eq!(get(&silence, "energy"), 0.0);
    }

    #[test]
    fn two_frames_in_one_transform_have_the_power_of_each() {
        let (low, high) = (&tone(700.0, 0.3)[..AUDIO_FRAME], &tone(5_100.0, 0.6)[..AUDIO_FRAME]);
        let (both, one, other) = (power(&[low, high]), power(&[low]), power(&[high]));
        for ((both, one), other) in both.iter().zip(one).zip(other) {
            assert!((both - one - other).abs() < 1e-6 * (one + other + 1.0), "{both} {one} {other}");
        }
    }

    #[test]
    fn long_sounds_are_judged_by_frames_from_end_to_end() {
        let long = vec![0.25; 1 << 20];
        assert_eq!(frames(&long).len(), AUDIO_FRAMES_MAX);
        assert_eq!(frames(&long).last().unwrap().as_ptr_range().end, long.as_ptr_range().end);
        assert_eq!(get(&audio(&long, RATE).unwrap(), "offset"), 0.25);
        for n in [1, 511, 512, 513, 1_024, 1_500] {
            let seen: usize = frames(&long[..n]).iter().map(|frame| frame.len()).sum();
            assert!(seen >= n && seen <= n + AUDIO_FRAME, "{n}: {seen}");
        }
    }

    #[test]
    fn what_is_no_sound_is_refused_or_missing() {
        assert_eq!(audio(&[], RATE), Err(SummaryError::Empty("samples")));
        assert_eq!(audio(&[0.1], 0.0), Err(SummaryError::SampleRate));
        assert_eq!(audio(&[0.1], f32::NAN), Err(SummaryError::SampleRate));
        assert!(audio(&[0.1], RATE).unwrap()[0] > 0.0);
        assert!(get(&audio(&[f32::NAN, 0.5], RATE).unwrap(), "energy").is_nan());
    }
}
