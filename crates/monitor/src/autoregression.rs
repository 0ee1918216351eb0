//! Linear prediction of a series from its own past: AR(p) by least squares, and seasonal lags.
//!
//! A series whose level wanders, as prices do, is predicted by its changes alone: a regression on levels would
//! expect it to come back to where the reference happened to be. The order is the one of least BIC up to [`ORDER_MAX`]. A seasonal lag joins when the residuals still
//! correlate at it and BIC falls. Rows with a missing value among their lags are left out of the fit.
//!
//! Sources: H. Mann and A. Wald, Econometrica 11 (1943), for least squares; G. Schwarz, Annals of Statistics 6
//! (1978), for BIC; D. Dickey and W. Fuller, Econometrica 49 (1981), for the test of a wandering level. Deliberately missing: moving averages (a longer autoregression stands in for them) and
//! trends.

/// Highest order of the autoregression without seasons.
pub(crate) const ORDER_MAX: usize = 12;
/// Longest seasonal lag: a week of five-minute samples.
pub const SEASON_MAX: usize = 2_016;
/// Most seasonal lags of one stream.
pub(crate) const SEASONS: usize = 4;
/// Fewer rows than this are not fitted.
pub(crate) const ROWS_MIN: usize = 100;
/// Of a longer series only its last part is fitted.
pub(crate) const ROWS_MAX: usize = 32_768;
/// Residual correlation, in standard errors, at which a seasonal lag is tried: the maximum of 2,000 normals
/// rarely exceeds it.
const SEASON_DEVIATIONS: f64 = 5.0;
const RIDGE: f64 = 1e-9;
/// Sum of the coefficients beyond which a level wanders; of those fitted on changes it is 1.
const WANDERING: f64 = 0.999;
/// Log-likelihood ratio for "a level to return to" below which a level is taken to wander. Dickey and Fuller's F is
/// half of it: its 1% quantile is 6.43, and a walk that is taken for a level costs alarms for as long as it is
/// away, so far fewer than one in a hundred may be, also of walks whose variance moves. An AR(.95) shows its level in some
/// 1,250 rows.
const LEVEL_GAIN_MIN: f64 = 32.0;

/// `x[t] = intercept + sum coefficient * x[t - lag]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) intercept: f64,
    pub(crate) terms: Vec<(usize, f64)>,
    /// Residual variance.
    pub(crate) variance: f64,
}

impl Prediction {
    /// The same of levels, if this is one of changes.
    fn of_levels(&self) -> Self {
        let mut terms = vec![(1, 1.0)];
        for (lag, coefficient) in &self.terms {
            for (lag, part) in [(*lag, *coefficient), (*lag + 1, -coefficient)] {
                match terms.iter_mut().find(|(known, _)| *known == lag) {
                    Some((_, sum)) => *sum += part,
                    None => terms.push((lag, part)),
                }
            }
        }
        Self { terms, ..self.clone() }
    }

    /// Whether the stream has no level to return to, so that its support says nothing about tomorrow.
    pub(crate) fn wanders(&self) -> bool {
        self.persistence() > WANDERING
    }

    /// How much of a lasting shift the prediction follows.
    pub(crate) fn persistence(&self) -> f64 {
        self.terms.iter().map(|(_, coefficient)| coefficient).sum()
    }

    /// Largest lag; 0 without terms.
    pub(crate) fn reach(&self) -> usize {
        self.terms.iter().map(|(lag, _)| *lag).max().unwrap_or(0)
    }

    /// Residuals of `series`, NaN where a value or lag is missing.
    pub(crate) fn residuals(&self, series: &[f64]) -> Vec<f64> {
        let reach = self.reach();
        let at = |t: usize| {
            let predicted = self.terms.iter().map(|(lag, c)| c * series[t - lag]).sum::<f64>();
            series[t] - self.intercept - predicted
        };
        (0..series.len()).map(|t| if t < reach { f64::NAN } else { at(t) }).collect()
    }
}

/// The prediction of `series` (NaN where missing) by BIC, with the seasonal lags of `seasons` and, if wished,
/// those found; none if there is nothing to fit on or the series is constant.
pub(crate) fn fit(series: &[f64], seasons: &[usize], find_seasons: bool) -> Option<Prediction> {
    let series = &series[series.len().saturating_sub(ROWS_MAX)..];
    let search = Search { seasons, find_seasons };
    let levels = search.fit(series, true)?;
    let changes: Vec<f64> = series.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if gain_of_a_level(&levels, &changes) >= LEVEL_GAIN_MIN {
        return Some(levels);
    }
    Some(search.fit(&changes, false).map_or(levels, |wandering| wandering.of_levels()))
}

/// Twice the log-likelihood that a level to return to gains over changes that follow from as many changes before:
/// with one lag less, those are the same prediction without a level.
fn gain_of_a_level(levels: &Prediction, changes: &[f64]) -> f64 {
    let mut lags: Vec<usize> = levels.terms.iter().map(|(lag, _)| *lag).collect();
    let order = lags.iter().enumerate().take_while(|(i, lag)| **lag == i + 1).count();
    if order > 0 {
        lags.remove(order - 1);
    }
    let reach = lags.iter().copied().max().unwrap_or(0);
    let nested = Data { series: changes, intercept: false }.least_squares(&lags, reach);
    nested.map_or(f64::INFINITY, |(nested, rows)| rows as f64 * (nested.variance / levels.variance).ln())
}

/// Lags to try beyond the short ones.
#[derive(Clone, Copy)]
struct Search<'a> {
    seasons: &'a [usize],
    find_seasons: bool,
}

impl Search<'_> {
    fn fit(self, series: &[f64], intercept: bool) -> Option<Prediction> {
        let data = Data { series, intercept };
        let orders = (0..=ORDER_MAX).map(|order| (1..=order).collect::<Vec<_>>());
        let mut best = data.least_bic(orders, ORDER_MAX)?;
        let tried = self.seasons.iter().copied().filter(|lag| (1..=SEASON_MAX).contains(lag)).take(SEASONS);
        for lag in tried {
            best = data.with_lag(best, lag);
        }
        for _ in 0..if self.find_seasons { SEASONS } else { 0 } {
            let Some(lag) = correlated_lag(&best.residuals(series)) else { break };
            let before = best.terms.len();
            best = data.with_lag(best, lag);
            if best.terms.len() == before {
                break;
            }
        }
        Some(best)
    }
}

/// A series to fit on.
#[derive(Clone, Copy)]
struct Data<'a> {
    series: &'a [f64],
    intercept: bool,
}

impl Data<'_> {
    /// `best` with one lag more if BIC falls over the same rows.
    fn with_lag(self, best: Prediction, lag: usize) -> Prediction {
        let lags: Vec<usize> = best.terms.iter().map(|(lag, _)| *lag).collect();
        let reach = lag.max(best.reach());
        if lags.contains(&lag) || self.series.len() < reach + ROWS_MIN {
            return best;
        }
        let joined = lags.iter().copied().chain([lag]).collect();
        self.least_bic([lags, joined].into_iter(), reach).unwrap_or(best)
    }

    /// The lags of least BIC, all compared over the rows after `reach`.
    fn least_bic(self, candidates: impl Iterator<Item = Vec<usize>>, reach: usize) -> Option<Prediction> {
        let scored = candidates.filter_map(|lags| {
            let (prediction, rows) = self.least_squares(&lags, reach)?;
            let n = rows as f64;
            let bic = n * prediction.variance.ln() + (lags.len() as f64 + 1.0) * n.ln();
            Some((prediction, bic))
        });
        scored.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(prediction, _)| prediction)
    }

    /// Least squares over the rows after `reach` whose values are all known, and how many those are.
    fn least_squares(self, lags: &[usize], reach: usize) -> Option<(Prediction, usize)> {
        let series = self.series;
        let width = lags.len() + 1;
        if series.len() < reach + ROWS_MIN {
            return None;
        }
        let known: Vec<f64> = series.iter().copied().filter(|x| x.is_finite()).collect();
        let mean = if self.intercept { known.iter().sum::<f64>() / known.len().max(1) as f64 } else { 0.0 };
        let scale =
            (known.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / known.len().max(1) as f64).sqrt();
        if !scale.is_finite() || scale <= f64::from(f32::EPSILON) * mean.abs().max(1e-30) {
            return None;
        }
        let standard = |t: usize| (series[t] - mean) / scale;
        let mut gram = vec![vec![0.0; width + 1]; width];
        let (mut rows, mut energy) = (0, 0.0);
        let mut row = vec![0.0; width + 1];
        for t in reach..series.len() {
            row[0] = f64::from(u8::from(self.intercept));
            lags.iter().zip(&mut row[1..]).for_each(|(lag, cell)| *cell = standard(t - lag));
            row[width] = standard(t);
            if row.iter().all(|x| x.is_finite()) {
                accumulate(&mut gram, &row);
                energy += row[width] * row[width];
                rows += 1;
            }
        }
        if rows < ROWS_MIN.max(4 * width) {
            return None;
        }
        let targets: Vec<f64> = gram.iter().map(|row| row[width]).collect();
        let solution = solve(gram, RIDGE * rows as f64)?;
        let explained: f64 = solution.iter().zip(&targets).map(|(c, t)| c * t).sum();
        let variance = ((energy - explained) / rows as f64).max(1e-12) * scale * scale;
        let slopes = &solution[1..];
        let intercept = solution[0] * scale + mean * (1.0 - slopes.iter().sum::<f64>());
        let terms = lags.iter().copied().zip(slopes.iter().copied()).collect();
        Some((Prediction { intercept, terms, variance }, rows))
    }
}

/// The lag beyond the short ones at which residuals correlate most, if they do.
fn correlated_lag(residuals: &[f64]) -> Option<usize> {
    let known: Vec<f64> = residuals.iter().map(|r| if r.is_finite() { *r } else { 0.0 }).collect();
    let energy: f64 = known.iter().map(|r| r * r).sum();
    let correlation = |lag: usize| {
        let pairs = known[lag..].iter().zip(&known);
        pairs.map(|(now, then)| now * then).sum::<f64>() / energy
    };
    let longest = SEASON_MAX.min(residuals.len() / 4);
    let scored = (ORDER_MAX + 1..=longest).map(|lag| (lag, correlation(lag).abs()));
    let (lag, size) = scored.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (size * (known.len() as f64).sqrt() > SEASON_DEVIATIONS).then_some(lag)
}

/// Adds the products of one row to the upper triangle and the right-hand side.
fn accumulate(gram: &mut [Vec<f64>], row: &[f64]) {
    for (i, line) in gram.iter_mut().enumerate() {
        for (cell, x) in line[i..].iter_mut().zip(&row[i..]) {
            *cell += row[i] * x;
        }
    }
}

/// Solves a symmetric system, given by its upper triangle and right-hand side, by elimination.
fn solve(mut system: Vec<Vec<f64>>, ridge: f64) -> Option<Vec<f64>> {
    let width = system.len();
    (0..width).for_each(|i| system[i][i] += ridge);
    for i in 0..width {
        let pivot = system[i].clone();
        if pivot[i] <= 0.0 || !pivot[i].is_finite() {
            return None;
        }
        for (k, line) in system.iter_mut().enumerate().skip(i + 1) {
            let factor = pivot[k] / pivot[i];
            (k..=width).for_each(|j| line[j] -= factor * pivot[j]);
        }
    }
    let mut solution = vec![0.0; width];
    for i in (0..width).rev() {
        let rest: f64 = (i + 1..width).map(|k| system[i][k] * solution[k]).sum();
        solution[i] = (system[i][width] - rest) / system[i][i];
    }
    solution.iter().all(|c| c.is_finite()).then_some(solution)
}
