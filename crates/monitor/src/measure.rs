//! Distances between two histograms over the same cells: effect sizes, never p-values.
//!
//! Each function takes two slices of counts of equal length; a shorter one is read as padded with zeros.
//! Counts are normalised to frequencies. If either side is empty the result is `None`.
//! Names and values are those of scipy and Evidently over the same cells (`tests/effects.rs`).
//! Deliberately missing: significance. Sequential evidence is the detector's business.

/// Frequency that an empty cell is given where a logarithm needs one.
pub const PSI_FLOOR: f64 = 1e-4;
/// A side whose smallest frequency is not above [`PSI_FLOOR`] has its empty cells filled with this part of it.
const PSI_FLOOR_PART: f64 = 1e-6;
/// Spread by which [`wasserstein_normed`] divides where the reference has none.
pub const NORM_FLOOR: f64 = 1e-3;

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

/// Population stability index `sum (q - p) ln(q / p)`, with empty cells filled as Evidently fills them; cells that
/// both sides lack say nothing.
///
/// Source: S. Kullback, Information Theory and Statistics (1959), the symmetric divergence J.
#[must_use]
pub fn psi(reference: &[u64], current: &[u64]) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = frequencies(reference, current)?.filter(|(p, q)| p + q > 0.0).collect();
    let (p_fill, q_fill) = (fill(pairs.iter().map(|(p, _)| *p)), fill(pairs.iter().map(|(_, q)| *q)));
    let filled = |value: f64, fill: f64| if value > 0.0 { value } else { fill };
    let pairs = pairs.into_iter().map(|(p, q)| (filled(p, p_fill), filled(q, q_fill)));
    Some(pairs.map(|(p, q)| (q - p) * (q / p).ln()).sum())
}

/// What stands in an empty cell: [`PSI_FLOOR`], or much less than the smallest frequency if that is as small.
fn fill(frequencies: impl Iterator<Item = f64>) -> f64 {
    let smallest = frequencies.filter(|p| *p > 0.0).fold(f64::INFINITY, f64::min);
    if smallest <= PSI_FLOOR { smallest * PSI_FLOOR_PART } else { PSI_FLOOR }
}

/// Jensen-Shannon divergence in nats; 0 to `ln 2`.
///
/// Source: J. Lin, IEEE Trans. Information Theory 37 (1991).
#[must_use]
pub fn jensen_shannon_divergence(reference: &[u64], current: &[u64]) -> Option<f64> {
    let part = |a: f64, m: f64| if a > 0.0 { a * (a / m).ln() } else { 0.0 };
    let divergence: f64 = frequencies(reference, current)?
        .map(|(p, q)| f64::midpoint(part(p, f64::midpoint(p, q)), part(q, f64::midpoint(p, q))))
        .sum();
    Some(divergence.max(0.0))
}

/// Jensen-Shannon distance: square root of the divergence in nats; 0 to `sqrt(ln 2)`.
///
/// Source: D. Endres and J. Schindelin, IEEE Trans. Information Theory 49 (2003). Equals
/// `scipy.spatial.distance.jensenshannon` at its default base.
#[must_use]
pub fn jensen_shannon_distance(reference: &[u64], current: &[u64]) -> Option<f64> {
    jensen_shannon_divergence(reference, current).map(f64::sqrt)
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
    let (reference, current) = (within(reference, positions), within(current, positions));
    let (mut gap, mut area) = (0.0, 0.0);
    for ((p, q), step) in frequencies(reference, current)?.zip(positions.windows(2)) {
        gap += p - q;
        area += f64::abs(gap) * (step[1] - step[0]);
    }
    Some(area)
}

/// The cells that have a position.
fn within<'a>(counts: &'a [u64], positions: &[f64]) -> &'a [u64] {
    &counts[..counts.len().min(positions.len())]
}

/// [`wasserstein`] in standard deviations of the reference: a number without a unit.
///
/// Evidently never divides by less than 0.001, whatever the unit; here only a spread of 0 counts as [`NORM_FLOOR`].
#[must_use]
pub fn wasserstein_normed(reference: &[u64], current: &[u64], positions: &[f64], sd: f64) -> Option<f64> {
    Some(wasserstein(reference, current, positions)? / if sd > 0.0 { sd } else { NORM_FLOOR })
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
        check(jensen_shannon_distance(&[1, 0], &[0, 1]), 2.0f64.ln().sqrt());
        check(jensen_shannon_divergence(&[1, 0], &[0, 1]), 2.0f64.ln());
        check(wasserstein_normed(&P, &Q, &[0.0, 1.0, 3.0], 0.5), 0.2);
        check(wasserstein_normed(&P, &Q, &[0.0, 1.0, 3.0], 0.0), 100.0);
    }

    #[test]
    fn equal_shapes_are_at_distance_zero_and_empty_ones_have_none() {
        let scaled: Vec<u64> = P.iter().map(|c| c * 7).collect();
        for measure in [psi, jensen_shannon_distance, kolmogorov_smirnov, hellinger, chi_square, l_infinity] {
            assert!(measure(&P, &scaled).unwrap().abs() < 1e-6);
            assert_eq!(measure(&P, &[0, 0, 0]), None);
            assert_eq!(measure(&[], &Q), None);
        }
    }

    #[test]
    fn a_never_seen_cell_stays_finite() {
        check(psi(&[100, 0], &[50, 50]), -0.5 * 0.5f64.ln() + (0.5 - 1e-4) * (0.5f64 / 1e-4).ln());
        let rare: f64 = 1.0 / 20_001.0;
        let expected =
            (0.5 - 20_000.0 * rare) * (0.5 / (20_000.0 * rare)).ln() + (0.5 - rare) * (0.5 / rare).ln();
        check(psi(&[20_000, 1], &[50, 50]), expected);
        check(psi(&[100, 0, 7], &[100, 0, 7]), 0.0);
        check(kolmogorov_smirnov(&[100, 0], &[0, 7]), 1.0);
    }

    #[test]
    fn cells_without_a_position_move_nothing() {
        check(wasserstein(&[1, 1, 90], &[1, 1, 7], &[0.0, 1.0]), 0.0);
        assert_eq!(wasserstein(&[0, 0, 90], &[1, 1, 7], &[0.0, 1.0]), None);
    }
}
