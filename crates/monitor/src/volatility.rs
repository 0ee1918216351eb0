//! A variance that moves: GARCH(1,1), so that calm and stormy times do not look like drift.
//!
//! `v[t] = v (1 - shock - memory) + shock * e[t-1]^2 + memory * v[t-1]`, with `v` the variance of the reference.
//! Source: T. Bollerslev, Journal of Econometrics 31 (1986). Fitted by Gaussian quasi-likelihood over a grid:
//! its optimum is flat, and a device needs no third digit. A shock counts at most [`SHOCK_MAX`] deviations, so
//! that one impossible value does not blind the monitor.

/// Largest residual, in its own standard deviations, that moves the variance.
const SHOCK_MAX: f64 = 4.0;
const SHOCKS: [f64; 8] = [0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45];
const PERSISTENCES: [f64; 10] = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.997, 0.999];
const WANDERING_PERSISTENCE: f64 = 0.997;
/// Twice the log-likelihood that a moving variance must gain.
const GAIN_MIN: f64 = 5.0;
/// Windows of lags over which sizes of residuals must correlate, and by how many standard errors of the sum over
/// one of them: likelihood alone takes the heavy tail of independent values for a moving variance, ranks do not.
const CLUSTER_LAGS: [usize; 4] = [3, 10, 30, 100];
const CLUSTER_DEVIATIONS: f64 = 2.6;

/// How the variance moves, over a long-run variance of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Volatility {
    pub(crate) shock: f64,
    pub(crate) memory: f64,
}

impl Volatility {
    /// A variance that stays.
    pub(crate) const NONE: Self = Self { shock: 0.0, memory: 0.0 };

    /// The next variance after a residual `z`, in long-run deviations, at variance `now`.
    pub(crate) fn next(self, now: f64, z: f64) -> f64 {
        let shock = (z * z).min(SHOCK_MAX * SHOCK_MAX * now);
        1.0 - self.shock - self.memory + self.shock * shock + self.memory * now
    }

    /// Twice the negative log-likelihood of `residuals`, in long-run deviations.
    fn deviance(self, residuals: &[f64]) -> f64 {
        let mut variance = 1.0f64;
        let mut deviance = 0.0;
        for z in residuals {
            deviance += variance.ln() + (z * z).min(SHOCK_MAX * SHOCK_MAX * variance) / variance;
            variance = self.next(variance, *z);
        }
        deviance
    }
}

/// The volatility of residuals of variance 1; [`Volatility::NONE`] unless one that moves explains them better.
///
/// A stream without a level (`wanders`) has no scale of its own either: its variance always moves, and hardly
/// returns.
pub(crate) fn fit(residuals: &[f64], wanders: bool) -> Volatility {
    let least_kept = if wanders { WANDERING_PERSISTENCE } else { 0.0 };
    let deviance = |v: Volatility| v.deviance(residuals);
    let grid = SHOCKS.iter().flat_map(|shock| PERSISTENCES.iter().map(move |kept| (*shock, *kept)));
    let grid = grid.filter(|(shock, kept)| shock <= kept && *kept >= least_kept);
    let scored = grid.map(|(shock, kept)| Volatility { shock, memory: kept - shock });
    let scored = scored.map(|v| (v, deviance(v)));
    let Some((best, least)) = scored.min_by(|a, b| a.1.total_cmp(&b.1)) else { return Volatility::NONE };
    let moves = || least + GAIN_MIN < deviance(Volatility::NONE) && sizes_cluster(residuals);
    if wanders || moves() { best } else { Volatility::NONE }
}

/// Whether large residuals follow large ones and small ones small ones, by the ranks of their sizes.
fn sizes_cluster(residuals: &[f64]) -> bool {
    let sizes: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
    let ranks = centred_ranks(&sizes);
    let n = ranks.len() as f64;
    let energy: f64 = ranks.iter().map(|r| r * r).sum();
    let correlation = |lag: usize| {
        let pairs = ranks.get(lag..).unwrap_or_default().iter().zip(&ranks);
        pairs.map(|(now, then)| now * then).sum::<f64>() / energy
    };
    let correlations: Vec<f64> = (1..=CLUSTER_LAGS[CLUSTER_LAGS.len() - 1]).map(correlation).collect();
    let deviations = |lags: &usize| {
        let lags = (*lags).min(ranks.len() / 4);
        correlations[..lags].iter().sum::<f64>() * (n / lags.max(1) as f64).sqrt()
    };
    energy > 0.0 && CLUSTER_LAGS.iter().map(deviations).fold(0.0, f64::max) > CLUSTER_DEVIATIONS
}

/// Mid-ranks of finite values less their mean, in parts of their number: between -1/2 and 1/2.
pub(crate) fn centred_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = (below as f64 + tied.len() as f64 / 2.0) / values.len() as f64 - 0.5;
        tied.iter().for_each(|i| ranks[*i] = rank);
        below += tied.len();
    }
    ranks
}
