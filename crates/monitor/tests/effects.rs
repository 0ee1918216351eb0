//! Effect sizes are those of scipy and Evidently over the same cells (`oracle/effects.py` wrote what they say), are
//! zero on noise, and say in words what moved.

use edgeward_monitor::{Profile, Reference, Sample, StreamDrift, measure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const ORACLE: &str = include_str!("oracle/effects.csv");
const CLASSES: [&str; 3] = ["cat", "dog", "owl"];

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(' ').map(|number| number.parse().ok().expect("a number")).collect()
}

#[test]
fn values_are_those_of_scipy_and_evidently() {
    for (line, text) in ORACLE.lines().enumerate() {
        let fields: Vec<&str> = text.split(',').collect();
        let (p, q): (Vec<u64>, Vec<u64>) = (numbers(fields[0]), numbers(fields[1]));
        let positions: Vec<f64> = numbers(fields[2]);
        let expected: Vec<f64> = fields[3..].iter().map(|field| field.parse().expect("a number")).collect();
        let sd = deviation(&p, &positions);
        let found = [
            measure::psi(&p, &q),
            measure::hellinger(&p, &q),
            measure::jensen_shannon_distance(&p, &q),
            measure::kolmogorov_smirnov(&p, &q),
            measure::wasserstein(&p, &q, &positions),
            measure::wasserstein_normed(&p, &q, &positions, sd),
            measure::chi_square(&p, &q),
            measure::l_infinity(&p, &q),
        ];
        for (found, expected) in found.map(|found| found.expect("both sides have rows")).iter().zip(&expected)
        {
            let tolerance = 1e-9 * expected.abs().max(1.0) + 2e-8 * f64::from(*expected == 0.0);
            assert!((found - expected).abs() <= tolerance, "line {}: {found} {expected}", line + 1);
        }
        assert_eq!(expected.len(), found.len());
    }
}

fn deviation(counts: &[u64], positions: &[f64]) -> f64 {
    let n: f64 = counts.iter().map(|count| *count as f64).sum();
    let mean_of = |f: &dyn Fn(f64) -> f64| -> f64 {
        counts.iter().zip(positions).map(|(count, at)| *count as f64 * f(*at)).sum::<f64>() / n
    };
    let mean = mean_of(&|at| at);
    mean_of(&|at| (at - mean).powi(2)).sqrt()
}

/// Rows of a steady feature, one that moves by `shift`, a confidence, and classes.
fn rows(rng: &mut ChaCha8Rng, n: usize, shift: f32) -> Vec<([f32; 2], u32)> {
    let mut row = || {
        let [a, b] = [(); 2].map(|()| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0);
        ([a, b + shift], rng.random_range(0..3))
    };
    (0..n).map(|_| row()).collect()
}

fn samples(rows: &[([f32; 2], u32)]) -> impl Iterator<Item = Sample<'_>> {
    rows.iter().map(|(features, class)| Sample { features, predicted: Some(*class), confidence: Some(0.9) })
}

fn drifted(reference: &Reference, rows: &[([f32; 2], u32)]) -> Profile {
    let mut profile = Profile::new(reference);
    samples(rows).for_each(|sample| profile.observe(reference, &sample).expect("its own reference"));
    profile
}

fn reference(rng: &mut ChaCha8Rng) -> Reference {
    let names = ["steady", "moving"].map(str::to_owned);
    Reference::fit(&names, &CLASSES.map(str::to_owned), samples(&rows(rng, 5_000, 0.0))).expect("rows")
}

#[test]
fn noise_is_no_effect_and_a_move_is() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let reference = reference(&mut rng);
    let mut noisy = 0;
    for n in [50, 300, 1_000, 5_000].repeat(10) {
        let drift = drifted(&reference, &rows(&mut rng, n, 0.0)).drift(&reference).unwrap();
        noisy += drift.iter().filter(|stream| stream.effect > 0.0).count();
    }
    assert!(noisy <= 8, "{noisy} of 160");
    let profile = drifted(&reference, &rows(&mut rng, 1_000, 1.0));
    let drift: Vec<StreamDrift> = profile.drift(&reference).unwrap();
    assert!(drift[0].effect == 0.0 && drift[0].reasons.is_empty());
    assert!(drift[1].effect > 0.2 && drift[1].wasserstein_normed.unwrap() > 0.8);
    assert!(drift[1].reasons[0].starts_with("mean 1.0") || drift[1].reasons[0].starts_with("mean 0.9"));
    assert!(drift[1].reasons[0].contains("+1.0 sd"), "{:?}", drift[1].reasons);
    let blamed = profile.blame(&reference, &BTreeMap::new()).unwrap();
    assert_eq!(blamed.iter().map(|feature| &*feature.stream).collect::<Vec<_>>(), ["moving"]);
    assert!((blamed[0].share - 1.0).abs() < 1e-12);
}

#[test]
fn what_moved_is_said_in_words() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let reference = reference(&mut rng);
    let mut rows = rows(&mut rng, 1_000, 0.0);
    for (features, class) in &mut rows[..300] {
        features[0] = f32::NAN;
        features[1] = 40.0;
        *class = 7;
    }
    let drift = drifted(&reference, &rows).drift(&reference).unwrap();
    assert_eq!(drift[0].reasons.last().unwrap(), "30.0% missing, 0.0% in the reference");
    assert!(drift[1].reasons.iter().any(|reason| reason.starts_with("30.0% outside the reference's -")));
    assert!(
        drift[2].reasons.iter().any(|reason| reason.contains("a class that the reference does not know"))
    );
    assert_eq!((drift[0].missing, drift[1].outside, drift[2].outside), (300, 300, 300));
    // A third of the values lies half way to 40.
    assert!(drift[1].wasserstein.unwrap() > 5.0);
    // Missing values are no values: what is left has not moved.
    assert!(drift[0].kolmogorov_smirnov.unwrap() < 0.1);
}
