//! Two models on the same rows: how much better the second is, and how sure that is.
//!
//! Rows on which both are right, or both wrong, say nothing about which is better; what is left is far less noise than two
//! accuracies measured apart.

use crate::measure::{Prediction, Z95};
use crate::project::TaskKind;

/// What both models said about the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Bout {
    /// What they predict.
    pub task: TaskKind,
    /// The truth of each row.
    pub labels: Vec<String>,
    /// What the model that serves said.
    pub incumbent: Vec<Prediction>,
    /// What the candidate said.
    pub candidate: Vec<Prediction>,
    /// Columns by which the rows are told apart.
    pub slices: Vec<SliceColumn>,
}

/// Which part of the data each row belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceColumn {
    /// The column.
    pub name: String,
    /// The part that each row is in.
    pub parts: Vec<String>,
}

/// How much better the candidate is, with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// As measured; positive if the candidate is better.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Rows.
    pub rows: u64,
}

/// On how many rows only one of the two did well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discord {
    /// Rows.
    pub rows: u64,
    /// Only the candidate was right, or its error is smaller.
    pub wins: u64,
    /// Only the incumbent was right, or its error is smaller.
    pub losses: u64,
}

impl Bout {
    /// Rows on which both were asked.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.labels.len() as u64
    }

    /// The losses of both on each row: 0 or 1 of a class, the squared error of a number. A number that is none is infinitely
    /// wrong.
    fn losses(&self) -> impl Iterator<Item = (f64, f64)> {
        let both = self.incumbent.iter().zip(&self.candidate).zip(&self.labels);
        both.map(|((old, new), label)| (self.loss(old, label), self.loss(new, label)))
    }

    fn loss(&self, said: &Prediction, label: &String) -> f64 {
        match self.task {
            TaskKind::Classification => f64::from(u8::from(said.label.as_ref() != Some(label))),
            TaskKind::Regression => {
                let error = said.value.unwrap_or(f64::NAN) - label.parse::<f64>().unwrap_or(f64::NAN);
                if error.is_finite() { error * error } else { f64::INFINITY }
            }
        }
    }

    /// Accuracy of the candidate less that of the incumbent. The interval is that of A. Agresti and Y. Min, "Simple
    /// improved confidence intervals for comparing matched proportions" (2005): half a row more in each of the four cells.
    #[must_use]
    pub fn accuracy_gain(&self) -> Difference {
        let Discord { rows, wins, losses } = self.discord(|_| true);
        let (n, b, c) = (rows as f64 + 2.0, wins as f64 + 0.5, losses as f64 + 0.5);
        let (centre, spread) = ((b - c) / n, ((b + c) - (b - c) * (b - c) / n).max(0.0).sqrt() / n);
        let value = if rows == 0 { 0.0 } else { (wins as f64 - losses as f64) / rows as f64 };
        let interval = |end: f64| (centre + end * Z95 * spread).clamp(-1.0, 1.0);
        Difference { value, low: interval(-1.0).min(value), high: interval(1.0).max(value), rows }
    }

    /// By how much the candidate's mean squared error is below `1 + max` squared times the incumbent's, as a share of
    /// the latter, with the interval of the mean of paired differences. None if either is infinitely wrong or the incumbent
    /// makes no error.
    #[must_use]
    pub fn squared_error_gain(&self, max: f64) -> Option<Difference> {
        let tolerated = (1.0 + max) * (1.0 + max);
        let gains: Vec<f64> = self.losses().map(|(old, new)| tolerated * old - new).collect();
        let n = gains.len() as f64;
        let scale = self.losses().map(|(old, _)| tolerated * old).sum::<f64>() / n;
        let mean = gains.iter().sum::<f64>() / n;
        let variance =
            gains.iter().map(|gain| (gain - mean) * (gain - mean)).sum::<f64>() / (n - 1.0).max(1.0);
        let half = Z95 * (variance / n).sqrt();
        let share = |value: f64| value / scale;
        let found = Difference {
            value: share(mean),
            low: share(mean - half),
            high: share(mean + half),
            rows: self.rows(),
        };
        [found.value, found.low, found.high].iter().all(|value| value.is_finite()).then_some(found)
    }

    /// Rows among those of `is_in` on which one did better.
    pub fn discord(&self, is_in: impl Fn(usize) -> bool) -> Discord {
        let chosen = self.losses().enumerate().filter(|(row, _)| is_in(*row));
        chosen.fold(Discord::default(), |sum, (_, (old, new))| Discord {
            rows: sum.rows + 1,
            wins: sum.wins + u64::from(new < old),
            losses: sum.losses + u64::from(new > old),
        })
    }
}

impl Difference {
    /// About how many rows it takes until the lower end is above `-margin`, if things stay as measured; none if more rows
    /// would not show it.
    #[must_use]
    pub fn rows_needed(&self, margin: f64) -> Option<u64> {
        let (room, half) = (self.value + margin, self.value - self.low);
        (room > 0.0).then(|| (self.rows as f64 * (half / room).powi(2)).ceil() as u64)
    }
}

impl Discord {
    /// How probable at least so many losses are among the rows on which the two differ, if neither is better: the exact
    /// sign test, one-sided (Q. McNemar, 1947, for classes).
    #[must_use]
    pub fn p_worse(&self) -> f64 {
        let n = self.wins + self.losses;
        let ln_half = -(n as f64) * std::f64::consts::LN_2;
        let mut ln_choose = 0.0;
        let mut sum = 0.0;
        // From all losses downwards: C(n, n), C(n, n - 1), ...
        for losses in (self.losses..=n).rev() {
            sum += f64::exp(ln_choose + ln_half);
            ln_choose += (losses as f64).ln() - ((n - losses + 1) as f64).ln();
        }
        sum.min(1.0)
    }

    /// Share of the rows that the candidate lost more than it won.
    #[must_use]
    pub fn drop(&self) -> f64 {
        (self.losses as f64 - self.wins as f64) / self.rows.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-4
    }

    fn said(label: &str) -> Prediction {
        Prediction { label: Some(label.to_owned()), ..Prediction::default() }
    }

    /// Rows on which both are right, only the candidate, only the incumbent, neither.
    fn bout(counts: [usize; 4]) -> Bout {
        let cells = [("a", "a"), ("b", "a"), ("a", "b"), ("b", "b")];
        let rows: Vec<(&str, &str)> =
            cells.iter().zip(counts).flat_map(|(cell, count)| std::iter::repeat_n(*cell, count)).collect();
        Bout {
            task: TaskKind::Classification,
            labels: vec!["a".to_owned(); rows.len()],
            incumbent: rows.iter().map(|(old, _)| said(old)).collect(),
            candidate: rows.iter().map(|(_, new)| said(new)).collect(),
            slices: Vec::new(),
        }
    }

    #[test]
    fn matched_proportions_are_compared_as_in_the_textbook() {
        // Agresti, Categorical Data Analysis, table 11.1: 794, 150, 86, 570; 944 against 880 of 1600. Wald gives
        // 0.040 +- 0.0187; half a row more in each cell changes the third place only.
        let gain = bout([794, 150, 86, 570]).accuracy_gain();
        assert!(near(gain.value, 0.04) && near(gain.low, 0.0212) && near(gain.high, 0.0586), "{gain:?}");
        let nothing = bout([20, 0, 0, 0]).accuracy_gain();
        assert!(
            nothing.low < -0.05 && nothing.high > 0.05,
            "no difference in few rows proves little: {nothing:?}"
        );
    }

    #[test]
    fn the_sign_test_is_exact() {
        let check = |wins, losses, p: f64| {
            let found = Discord { rows: 100, wins, losses }.p_worse();
            assert!((found - p).abs() < 1e-9, "{wins} {losses}: {found}");
        };
        check(0, 0, 1.0);
        check(0, 5, 1.0 / 32.0);
        check(2, 8, 56.0 / 1024.0);
        check(8, 2, 1013.0 / 1024.0);
        let many = Discord { rows: 100_000, wins: 40_000, losses: 60_000 }.p_worse();
        assert!(many < 1e-100);
    }

    #[test]
    fn rows_that_would_show_it_follow_from_the_interval() {
        let gain = Difference { value: 0.0, low: -0.04, high: 0.04, rows: 100 };
        assert_eq!(gain.rows_needed(0.02), Some(400));
        assert_eq!(Difference { value: -0.03, ..gain }.rows_needed(0.02), None);
    }

    #[test]
    fn squared_errors_are_compared_row_by_row() {
        let value = |value| Prediction { value: Some(value), ..Prediction::default() };
        let bout = |new: f64| Bout {
            task: TaskKind::Regression,
            labels: (0..50).map(|n| n.to_string()).collect(),
            incumbent: (0..50).map(|n| value(f64::from(n) + 1.0)).collect(),
            candidate: (0..50).map(|n| value(f64::from(n) + new)).collect(),
            slices: Vec::new(),
        };
        assert!(near(bout(1.0).squared_error_gain(0.0).unwrap().value, 0.0));
        assert!(near(bout(0.5).squared_error_gain(0.0).unwrap().low, 0.75));
        assert!(bout(1.2).squared_error_gain(0.1).unwrap().high < 0.0);
        assert!(bout(f64::NAN).squared_error_gain(0.1).is_none());
        assert_eq!(bout(2.0).discord(|row| row < 10), Discord { rows: 10, wins: 0, losses: 10 });
    }
}
