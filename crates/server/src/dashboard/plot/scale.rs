//! Where numbers and moments stand on an axis, and which of them are named.

use edgeward_core::Timestamp;

use crate::dashboard::figures::{clock, instant};

/// Steps of a time axis, in seconds.
const STEPS_S: [i64; 17] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/// Maps `from..=to` onto `start..=end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) start: f64,
    pub(super) end: f64,
}

impl Scale {
    /// Values outside stand at the ends, and so does anything that is no number.
    pub(super) fn at(self, value: f64) -> f64 {
        let width = self.to - self.from;
        let share = if width > 0.0 { (value - self.from) / width } else { 0.0 };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.start + share * (self.end - self.start)
    }
}

/// Round numbers within `low..=high`, about `wanted` of them.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let width = high - low;
    if !(width.is_finite() && width > 0.0) {
        return vec![low];
    }
    let raw = width / wanted.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|step| step * power >= raw).unwrap_or(10.0) * power;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

/// Round moments within `from..=to`, about `wanted` of them, each with its name.
pub(super) fn moments(from: i64, to: i64, wanted: i64) -> Vec<(i64, String)> {
    let raw = (to - from).max(1) / 1000 / wanted.max(1);
    let days = raw / 86_400 + 1;
    let step_s = STEPS_S.into_iter().find(|step| *step >= raw).unwrap_or(days * 86_400);
    let step = step_s * 1000;
    let first = from.div_euclid(step) * step;
    let all = (0..).map(|n| first + n * step).skip_while(|at| *at < from).take_while(|at| *at <= to);
    all.map(|at| (at, moment(at, step_s))).collect()
}

fn moment(at: i64, step_s: i64) -> String {
    let text = if step_s >= 86_400 { instant(Timestamp(at)) } else { clock(Timestamp(at)) };
    let shown = match step_s {
        86_400.. => text.get(5..10),
        60.. => text.get(..5),
        _ => text.get(..8),
    };
    shown.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 1.0, 4), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(0.0, 7.0, 3), [0.0, 2.5, 5.0]);
        assert_eq!(ticks(3.0, 3.0, 3), [3.0]);
        assert_eq!(ticks(f64::NAN, 3.0, 3).len(), 1);
    }

    #[test]
    fn moments_are_round_and_named_by_their_step() {
        let named = |from, to| moments(from, to, 4).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(named(0, 4_000), ["00:00:00", "00:00:01", "00:00:02", "00:00:03", "00:00:04"]);
        assert_eq!(named(0, 3_600_000), ["00:00", "00:30", "01:00"]);
        assert_eq!(named(0, 8 * 86_400_000), ["01-01", "01-04", "01-07"]);
    }

    #[test]
    fn nothing_leaves_the_drawing() {
        let scale = Scale { from: 0.0, to: 2.0, start: 100.0, end: 0.0 };
        assert_eq!([scale.at(1.0), scale.at(9.0), scale.at(f64::NAN)], [50.0, 0.0, 100.0]);
        assert_eq!(Scale { to: 0.0, ..scale }.at(1.0), 100.0);
    }
}
