//! A duration as people write it: a whole number and a unit, `ms`, `s`, `m`, `h`, `d` or `w`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest duration accepted.
pub(crate) const SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// A duration in a project file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The same in days; a day that has begun counts.
    pub(super) fn days(self) -> u32 {
        u32::try_from(self.0.as_secs().div_ceil(24 * 3600)).unwrap_or(u32::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let span = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?);
        (span <= SPAN_MAX).then_some(Self(span))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, unit_ms) =
            UNITS.iter().rev().find(|(_, unit_ms)| ms % unit_ms == 0 && ms >= *unit_ms).unwrap_or(&UNITS[1]);
        write!(f, "{}{unit}", ms / unit_ms)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const RULE: &str = "a duration is a whole number and ms, s, m, h, d or w, such as \"30s\" or \"7d\"";
        let text = String::deserialize(deserializer)
            .map_err(|error| serde::de::Error::custom(format!("{error}; {RULE}")))?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("'{text}' is no duration; {RULE}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        for (text, expected_ms) in [("30s", 30_000), ("10m", 600_000), ("7d", 604_800_000), ("250 ms", 250)] {
            assert_eq!(Span::parse(text).map(|span| span.0.as_millis()), Some(expected_ms), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5h", "10 parsecs", "99999999999w", "40000d"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_largest_whole_unit_is_shown() {
        for text in ["30s", "90s", "2h", "1w", "1500ms", "0s"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
    }
}
