//! Charts as SVG: pure functions of plain numbers. Each has axes with units and says in words what it shows.

mod bars;
mod intervals;
mod lines;
mod scale;

pub(super) use bars::{Bar, gauge, histogram, shares};
pub(super) use intervals::{Interval, intervals};
pub(super) use lines::{Line, Lines, Mark};

/// How numbers of an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A share, as percent.
    Share,
    /// As it is.
    Plain,
    /// The exponent of a power of ten.
    Power,
}

impl Unit {
    pub(super) fn write(self, value: f64) -> String {
        let plain = |value: f64| {
            let text = format!("{value:.3}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        };
        match self {
            Self::Share => format!("{}\u{202f}%", plain((value * 1000.0).round() / 10.0)),
            Self::Plain => plain(value),
            // Adding nothing makes of -0 what people write.
            Self::Power => format!("10^{}", plain((value * 10.0).round() / 10.0 + 0.0)),
        }
    }
}

/// A coordinate, short.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_an_axis_are_short() {
        assert_eq!(Unit::Share.write(0.5), "50\u{202f}%");
        assert_eq!(Unit::Share.write(0.975), "97.5\u{202f}%");
        assert_eq!([Unit::Plain.write(0.25), Unit::Plain.write(1200.0)], ["0.25", "1200"]);
        assert_eq!([Unit::Power.write(9.46), Unit::Power.write(-0.01)], ["10^9.5", "10^0"]);
        assert_eq!([px(3.0), px(3.24)], ["3", "3.2"]);
    }
}
