//! Distances between two histograms over the same cells: effect sizes, never p-values.
//!
//! Each function takes two slices of counts of equal length; a shorter one is read as padded with zeros.
//! Counts are normalised to frequencies. If either side is empty the result is `None`.
//! Deliberately missing: significance. Sequential evidence is the detector's business.

/// Frequency that an empty cell is given where a logarithm needs one (the usual choice for PSI).
pub const PSI_FLOOR: f64 = 1e-4;

fn frequencies<'a>(
    reference: &'a [u64],
    current: &'a [u64],
) -> Option<impl Iterator<Item = (f64, f64)> + 'a> {
    let total = |counts: &[u64]| counts.iter().map(|c| *c as f64).sum::<f64>();
    let (n, m) = (total(reference), total(current));
    let cells = reference.len().max(current.len());
    let at = |counts: &'a [u64], i: usize| counts.get(i).map_or(0.0, |c| *c as f64);
    (n > 0.0 && m > 0.0).then(|| (0..cells).map(move |i| (at(reference, i) / n, at(current, i) / m)))
}

/// Population stability index `sum (q - p) ln(q / p)`, frequencies floored at [`PSI_FLOOR`].
///
/// Source: S. Kullback, Information Theory and Statistics (1959), the symmetric divergence J.
#[must_use]
pub fn psi(reference: &[u64], current: &[u64]) -> Option<f64> {
    let pairs = frequencies(reference, current)?.filter(|(p, q)| p + q > 0.0);
    Some(pairs.map(|(p, q)| (p.max(PSI_FLOOR), q.max(PSI_FLOOR))).map(|(p, q)| (q - p) * (q / p).ln()).sum())
}

/// Jensen-Shannon distance: square root of the divergence in nats; 0 to `sqrt(ln 2)`.
///
/// Source: D. Endres and J. Schindelin, IEEE Trans. Information Theory 49 (2003). Equals
/// `scipy.spatial.distance.jensenshannon` at its default base.
#[must_use]
pub fn jensen_shannon(reference: &[u64], current: &[u64]) -> Option<f64> {
    let part = |a: f64, m: f64| if a > 0.0 { a * (a / m).ln() } else { 0.0 };
    let divergence: f64 = frequencies(reference, current)?
        .map(|(p, q)| f64::midpoint(part(p, f64::midpoint(p, q)), part(q, f64::midpoint(p, q))))
        .sum();
    Some(divergence.max(0.0).sqrt())
}

/// Kolmogorov-Smirnov distance: the largest gap between the two cumulative histograms; 0 to 1.
///
/// Source: N. Smirnov, Annals of Mathematical Statistics 19 (1948). Exact at cell edges only.
#[must_use]
pub fn kolmogorov_smirnov(reference: &[u64], current: &[u64]) -> Option<f64> {
    let mut gap = 0.0;
    let mut largest = 0.0f64;
    for (p, q) in frequencies(reference, current)? {
        gap += p - q;
        largest = largest.max(f64::abs(gap));
    }
    Some(largest)
}

/// First Wasserstein distance with cell `i` at `positions[i]` (ascending), in the positions' unit.
///
/// Source: C. Villani, Topics in Optimal Transportation (2003), 2.18: the area between the cumulative
/// distributions. Cells beyond the positions are ignored.
#[must_use]
pub fn wasserstein(reference: &[u64], current: &[u64], positions: &[f64]) -> Option<f64> {
    let mut gap = 0.0;
    let mut area = 0.0;
    for ((p, q), step) in frequencies(reference, current)?.zip(positions.windows(2)) {
        gap += p - q;
        area += f64::abs(gap) * (step[1] - step[0]);
    }
    Some(area)
}

/// Hellinger distance `sqrt(1 - sum sqrt(p q))`; 0 to 1.
///
/// Source: E. Hellinger, Journal für die reine und angewandte Mathematik 136 (1909).
#[must_use]
pub fn hellinger(reference: &[u64], current: &[u64]) -> Option<f64> {
    let affinity: f64 = frequencies(reference, current)?.map(|(p, q)| (p * q).sqrt()).sum();
    Some((1.0 - affinity).max(0.0).sqrt())
}

/// Two-sample chi-square statistic over the cells that either side has seen.
///
/// Source: K. Pearson (1911), homogeneity of two samples; equals `scipy.stats.chi2_contingency` without
/// continuity correction.
#[must_use]
pub fn chi_square(reference: &[u64], current: &[u64]) -> Option<f64> {
    let n: f64 = reference.iter().map(|c| *c as f64).sum();
    let m: f64 = current.iter().map(|c| *c as f64).sum();
    let scale = n * m;
    let sum: f64 = frequencies(reference, current)?
        .filter(|(p, q)| p + q > 0.0)
        .map(|(p, q)| (p - q) * (p - q) / (n * p + m * q))
        .sum();
    Some(scale * sum)
}

/// Largest difference of a frequency; 0 to 1.
#[must_use]
pub fn l_infinity(reference: &[u64], current: &[u64]) -> Option<f64> {
    Some(frequencies(reference, current)?.map(|(p, q)| f64::abs(p - q)).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [u64; 3] = [50, 30, 20];
    const Q: [u64; 3] = [20, 20, 10];

    fn check(found: Option<f64>, expected: f64) {
        assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?} {expected}");
    }

    #[test]
    fn hand_computed_values() {
        check(psi(&P, &Q), -0.1 * 0.8f64.ln() + 0.1 * (4.0f64 / 3.0).ln());
        check(kolmogorov_smirnov(&P, &Q), 0.1);
        check(wasserstein(&P, &Q, &[0.0, 1.0, 3.0]), 0.1);
        check(l_infinity(&P, &Q), 0.1);
        check(hellinger(&P, &Q), (1.0 - (0.2f64.sqrt() + 0.12f64.sqrt() + 0.2)).sqrt());
        // Expected counts: 140/3, 70/3 | 100/3, 50/3 | 20, 10.
        check(chi_square(&P, &Q), 5.0 / 21.0 + 10.0 / 21.0 + 1.0 / 3.0 + 2.0 / 3.0);
        check(jensen_shannon(&[1, 0], &[0, 1]), 2.0f64.ln().sqrt());
    }

    #[test]
    fn equal_shapes_are_at_distance_zero_and_empty_ones_have_none() {
        let scaled: Vec<u64> = P.iter().map(|c| c * 7).collect();
        for measure in [psi, jensen_shannon, kolmogorov_smirnov, hellinger, chi_square, l_infinity] {
            assert!(measure(&P, &scaled).unwrap().abs() < 1e-6);
            assert_eq!(measure(&P, &[0, 0, 0]), None);
            assert_eq!(measure(&[], &Q), None);
        }
    }

    #[test]
    fn a_never_seen_cell_stays_finite() {
        check(psi(&[100, 0], &[50, 50]), -0.5 * 0.5f64.ln() + (0.5 - 1e-4) * (0.5f64 / 1e-4).ln());
        check(kolmogorov_smirnov(&[100, 0], &[0, 7]), 1.0);
    }
}
