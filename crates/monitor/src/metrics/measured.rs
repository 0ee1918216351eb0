//! Metrics of regressions: mean absolute error, root mean squared error, quantile (pinball) loss.

use super::estimate::{Estimate, PerformanceReport};
use super::exact::ExactSum;
use super::read_count;
use super::sequence::{Interval, Moments, asymptotic};
use crate::codec::{DecodeError, Reader, Writer, ensure};

/// Residuals of one sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Side {
    sum: ExactSum,
    squares: ExactSum,
    fourth_powers: ExactSum,
}

impl Side {
    fn add(&mut self, size: f64) {
        let square = size * size;
        self.sum.add(size);
        self.squares.add(square);
        self.fourth_powers.add(square * square);
    }

    fn parts_mut(&mut self) -> [&mut ExactSum; 3] {
        [&mut self.sum, &mut self.squares, &mut self.fourth_powers]
    }

    const fn parts(&self) -> [&ExactSum; 3] {
        [&self.sum, &self.squares, &self.fourth_powers]
    }
}

/// What is counted of a regression's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Measured {
    n: u64,
    /// Truths above the prediction.
    under: Side,
    /// Truths below it.
    over: Side,
}

impl Measured {
    pub(super) const fn labels(&self) -> u64 {
        self.n
    }

    /// False if the residual's fourth power is no finite number.
    pub(super) fn observe(&mut self, predicted: f64, truth: f64) -> bool {
        let residual = truth - predicted;
        if !residual.powi(4).is_finite() {
            return false;
        }
        self.n += 1;
        let side = if residual > 0.0 { &mut self.under } else { &mut self.over };
        side.add(residual.abs());
        true
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        for (mine, theirs) in [(&mut self.under, &other.under), (&mut self.over, &other.over)] {
            mine.parts_mut().into_iter().zip(theirs.parts()).for_each(|(a, b)| a.merge(b));
        }
    }

    pub(super) fn report(&self, quantile: f64, alpha: f64, report: &mut PerformanceReport) {
        if self.n == 0 {
            return;
        }
        let n = self.n as f64;
        let tau = if (0.0..=1.0).contains(&quantile) { quantile } else { 0.5 };
        let sums = |under: f64, over: f64, power: usize| {
            let part = |side: &Side| side.parts()[power - 1].value();
            under.powi(power as i32) * part(&self.under) + over.powi(power as i32) * part(&self.over)
        };
        let mean = |under: f64, over: f64| {
            let moments = Moments { n: self.n, sum: sums(under, over, 1), squares: sums(under, over, 2) };
            (moments.sum / n, positive(asymptotic(moments, alpha)))
        };
        for (name, (value, interval)) in [("mae", mean(1.0, 1.0)), ("quantile_loss", mean(tau, 1.0 - tau))] {
            report.put(name, Estimate::of_unbounded(value, interval, self.n));
        }
        let squares = Moments { n: self.n, sum: sums(1.0, 1.0, 2), squares: sums_of_fourth(self) };
        let (low, high) = positive(asymptotic(squares, alpha));
        let rmse = (squares.sum / n).sqrt();
        report.put("rmse", Estimate::of_unbounded(rmse, (low.sqrt(), high.sqrt()), self.n));
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.varint(self.n);
        if self.n > 0 {
            [&self.under, &self.over].into_iter().flat_map(Side::parts).for_each(|sum| sum.write(w));
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut read = Self { n: read_count(r)?, ..Self::default() };
        if read.n > 0 {
            for side in [&mut read.under, &mut read.over] {
                for sum in side.parts_mut() {
                    *sum = ExactSum::read(r)?;
                    ensure(sum.value() >= 0.0, "sum")?;
                }
            }
        }
        Ok(read)
    }
}

fn sums_of_fourth(measured: &Measured) -> f64 {
    measured.under.fourth_powers.value() + measured.over.fourth_powers.value()
}

/// A loss is never negative.
const fn positive((low, high): Interval) -> Interval {
    (low.max(0.0), high)
}
