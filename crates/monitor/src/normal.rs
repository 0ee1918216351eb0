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

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn agrees_with_tables() {
        for (p, expected) in [(0.5, 0.0), (0.975, 1.959_964), (0.001, -3.090_232), (1e-6, -4.753_424)] {
            assert!((quantile(p) - expected).abs() < 5e-4, "{p}");
        }
    }
}
