//! Quantiles of the standard normal distribution.

/// The `p` quantile of the standard normal, to within 4.5e-4.
///
/// Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.23. Rank scores and confidence
/// levels need no more: validity of the detectors does not depend on it.
pub(crate) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    let t = (-2.0 * p.max(1e-300).ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    numerator / denominator - t
}

/// Logarithm of the gamma function of `x > 0`, to within 1e-10 of its size.
///
/// Source: Abramowitz and Stegun, 6.1.41 (Stirling), after shifting the argument beyond 10.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::{ln_gamma, quantile};

    #[test]
    fn the_gamma_function_continues_the_factorial() {
        let factorial = |n: u32| (1..=n).map(|k| f64::from(k).ln()).sum::<f64>();
        for n in [0, 1, 5, 20, 400] {
            let found = ln_gamma(f64::from(n) + 1.0);
            assert!((found - factorial(n)).abs() < 1e-10 * factorial(n).max(1.0), "{n}: {found}");
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-10);
    }

    #[test]
    fn agrees_with_tables() {
        for (p, expected) in [(0.5, 0.0), (0.975, 1.959_964), (0.001, -3.090_232), (1e-6, -4.753_424)] {
            assert!((quantile(p) - expected).abs() < 5e-4, "{p}");
        }
    }
}
