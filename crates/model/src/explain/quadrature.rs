//! Gauss-Legendre quadrature on [0, 1].

/// Points and weights that integrate every polynomial of degree `2 count - 1` over [0, 1] exactly.
///
/// The points are the roots of the Legendre polynomial, found by Newton's method from the usual cosine guess.
pub(super) fn gauss_legendre(count: usize) -> Vec<(f64, f64)> {
    let size = count as f64;
    (0..count)
        .map(|at| {
            let mut root = (std::f64::consts::PI * (at as f64 + 0.75) / (size + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (value, derivative) = legendre(count, root);
                slope = derivative;
                let step = value / derivative;
                root -= step;
                if step.abs() < 1e-15 {
                    break;
                }
            }
            (f64::midpoint(1.0, root), 1.0 / ((1.0 - root * root) * slope * slope))
        })
        .collect()
}

/// The Legendre polynomial of this degree and its derivative at `x`, |x| < 1.
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for n in 2..=degree {
        let n = n as f64;
        (before, value) = (value, ((2.0 * n - 1.0) * x * value - (n - 1.0) * before) / n);
    }
    (value, degree as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::gauss_legendre;

    #[test]
    fn polynomials_up_to_the_degree_are_integrated_exactly() {
        for count in 1..=32 {
            let points = gauss_legendre(count);
            for degree in 0..2 * count as i32 {
                let found: f64 = points.iter().map(|(at, weight)| weight * at.powi(degree)).sum();
                let expected = 1.0 / f64::from(degree + 1);
                assert!((found - expected).abs() < 1e-13, "{count} points, degree {degree}: {found}");
            }
        }
    }
}
