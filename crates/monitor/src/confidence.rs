//! How far the truth may be from a finite reference: Kullback-Leibler confidence regions.
//!
//! The region is `{q : KL(p || q) <= radius}` around the reference's frequencies `p`, with
//! `radius = z^2 / 2n` (the empirical-likelihood limit). It lets `q` put mass on cells that the reference
//! never saw: about `radius` in all, which is the familiar rule of three when `z^2/2 = 3`.
//!
//! Source: A. Owen, Empirical Likelihood (2001); the maximisation is that of O. Cappé et al.,
//! "Kullback-Leibler upper confidence bounds", Annals of Statistics 41 (2013).

const BISECTIONS: usize = 44;

/// Radius of the region at `z` standard normal deviations for `n` rows.
pub(crate) fn radius(z: f64, n: u64) -> f64 {
    z * z / (2.0 * n.max(1) as f64)
}

/// `KL(p || q)` of two Bernoulli distributions, in nats.
fn bernoulli_divergence(p: f64, q: f64) -> f64 {
    let term = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

/// The largest probability within `radius` of the observed frequency `p`.
pub(crate) fn bernoulli_upper(p: f64, radius: f64) -> f64 {
    let (mut low, mut high) = (p, 1.0);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if bernoulli_divergence(p, middle) > radius {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The smallest probability within `radius` of the observed frequency `p`.
pub(crate) fn bernoulli_lower(p: f64, radius: f64) -> f64 {
    1.0 - bernoulli_upper(1.0 - p, radius)
}

/// The largest mean of `values` under any distribution within `radius` of `p`.
///
/// `p` sums to one and may hold zeros; `values` are finite. The result errs upwards.
pub(crate) fn largest_mean(p: &[f64], values: &[f64], radius: f64) -> f64 {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bottom = values.iter().copied().fold(f64::INFINITY, f64::min);
    let span = top - bottom;
    if span <= 1e-12 * top.abs() {
        return top;
    }
    let spread = |log_gap: f64| Spread::at(p, values, top, span * log_gap.exp());
    let (mut low, mut high) = (-27.0, 20.0);
    if spread(low).divergence < radius {
        return spread(low).mean_with_unseen(radius, top);
    }
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if spread(middle).divergence > radius {
            low = middle;
        } else {
            high = middle;
        }
    }
    spread(low).mean
}

/// The distribution `q_j` proportional to `p_j / (top + gap - value_j)`: its divergence from `p` and its mean.
struct Spread {
    divergence: f64,
    mean: f64,
}

impl Spread {
    fn at(p: &[f64], values: &[f64], top: f64, gap: f64) -> Self {
        let (mut logs, mut total, mut weighted) = (0.0, 0.0, 0.0);
        for (&p, &value) in p.iter().zip(values).filter(|(p, _)| **p > 0.0) {
            let distance = (top - value) + gap;
            logs += p * distance.ln();
            total += p / distance;
            weighted += p * value / distance;
        }
        Self { divergence: logs + total.ln(), mean: weighted / total }
    }

    /// Spends what is left of `radius` on a cell of value `top` that `p` never saw.
    fn mean_with_unseen(&self, radius: f64, top: f64) -> f64 {
        let unseen = 1.0 - (self.divergence - radius).exp();
        unseen * top + (1.0 - unseen) * self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_seen_is_bounded_by_the_rule_of_three() {
        let upper = bernoulli_upper(0.0, 3.0 / 500.0);
        assert!((upper - (1.0 - (-3.0f64 / 500.0).exp())).abs() < 1e-9);
    }

    #[test]
    fn an_indicator_reduces_to_the_bernoulli_bound() {
        for p in [0.0, 0.01, 0.3, 0.9] {
            let mean = largest_mean(&[1.0 - p, p], &[0.0, 1.0], 0.02);
            assert!((mean - bernoulli_upper(p, 0.02)).abs() < 1e-6, "{p}: {mean}");
        }
    }

    #[test]
    fn the_bound_is_not_beaten_by_any_distribution_of_the_region() {
        let p: [f64; 4] = [0.5, 0.3, 0.2, 0.0];
        let values = [1.0, 4.0, 0.5, 9.0];
        let radius = 0.01;
        let bound = largest_mean(&p, &values, radius);
        let mut best = 0.0f64;
        for i in 0..60 {
            for j in 0..60 {
                for k in 0..40 {
                    let q =
                        [0.4 + f64::from(i) * 0.003, 0.2 + f64::from(j) * 0.003, 0.0, f64::from(k) * 0.0005];
                    let q = [q[0], q[1], 1.0 - q[0] - q[1] - q[3], q[3]];
                    let divergence: f64 =
                        p.iter().zip(q).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q).ln()).sum();
                    if divergence <= radius {
                        best = best.max(q.iter().zip(values).map(|(q, v)| q * v).sum());
                    }
                }
            }
        }
        assert!(best <= bound + 1e-9 && best > bound - 0.02, "{best} {bound}");
    }
}
