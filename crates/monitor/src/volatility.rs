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
/// Twice the log-likelihood that a moving variance must gain: little, for one that is overlooked costs false
/// alarms and one too many only delay. Chi-square with two degrees of freedom exceeds it in 0.7% of streams.
const GAIN_MIN: f64 = 10.0;

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
    if wanders || least + GAIN_MIN < deviance(Volatility::NONE) { best } else { Volatility::NONE }
}
