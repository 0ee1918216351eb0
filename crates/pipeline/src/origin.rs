//! Where each row is from: when it was, and whom or what it is about.
//!
//! A split by time or by group, a window of days and the order of rows rest on it. Neither is a feature: no model learns
//! from them.

use edgeward_core::{Dataset, Timestamp};
use serde::{Deserialize, Serialize};

/// Numbers from here on are milliseconds; as seconds they would be the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;

/// Labelled rows, and where they are from as far as the project asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Features and labels.
    pub table: Dataset,
    /// Where each is from.
    pub origins: Origins,
}

/// Where rows are from, in their order. A part that the project does not ask for is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origins {
    /// When each was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<Timestamp>>,
    /// Whom or what each is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// Where one row is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// When it was.
    pub time: Option<Timestamp>,
    /// Whom or what it is about.
    pub group: Option<&'a str>,
}

impl Origins {
    /// No row yet.
    #[must_use]
    pub fn asking(times: bool, groups: bool) -> Self {
        Self { times: times.then(Vec::new), groups: groups.then(Vec::new) }
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub const fn is_unasked(&self) -> bool {
        self.times.is_none() && self.groups.is_none()
    }

    /// Adds a row; what is asked for and not known counts as the beginning of time, or as nobody's.
    pub fn push(&mut self, origin: Origin<'_>) {
        if let Some(times) = &mut self.times {
            times.push(origin.time.unwrap_or(Timestamp(0)));
        }
        if let Some(groups) = &mut self.groups {
            groups.push(origin.group.unwrap_or_default().to_owned());
        }
    }

    /// Those of the rows at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            times: self.times.as_ref().map(|times| indices.iter().map(|row| times[*row]).collect()),
            groups: self
                .groups
                .as_ref()
                .map(|groups| indices.iter().map(|row| groups[*row].clone()).collect()),
        }
    }

    /// `rows` from the oldest to the newest: by their times, else as they stand.
    #[must_use]
    pub fn in_time(&self, rows: &[usize]) -> Vec<usize> {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        if let Some(times) = &self.times {
            rows.sort_by_key(|row| times[*row]);
        }
        rows
    }
}

impl Rows {
    /// Nothing yet, with these parts of [`Origins`].
    #[must_use]
    pub fn asking(times: bool, groups: bool) -> Self {
        Self { table: Dataset::default(), origins: Origins::asking(times, groups) }
    }

    /// The rows at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self { table: self.table.select(indices), origins: self.origins.select(indices) }
    }
}

impl From<Dataset> for Rows {
    fn from(table: Dataset) -> Self {
        Self { table, origins: Origins::default() }
    }
}

/// The moment that `text` names; none if it is none. A number is Unix time in seconds, from 10^11 on in milliseconds.
/// `2026-01-31`, `2026-01-31 14:30`, with seconds and their parts, with `T` between, with `Z` or an offset behind:
/// without one it is UTC.
#[must_use]
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let ms = if number.abs() >= MILLISECONDS_FROM { number } else { number * 1000.0 };
        return (ms.is_finite() && ms.abs() < 1e16).then_some(Timestamp(ms.round() as i64));
    }
    let in_utc = |civil: jiff::civil::DateTime| jiff::tz::Offset::UTC.to_timestamp(civil).ok();
    let instant = text.parse::<jiff::Timestamp>().ok();
    let civil = || text.parse::<jiff::civil::DateTime>().ok().and_then(in_utc);
    instant.or_else(civil).map(|instant| Timestamp(instant.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (text, ms) in [
            ("0", 0),
            ("1700000000", 1_700_000_000_000),
            ("1700000000.25", 1_700_000_000_250),
            ("1700000000000", 1_700_000_000_000),
            ("1970-01-02", 86_400_000),
            ("1970-01-02 00:00:01", 86_401_000),
            ("1970-01-02T00:00", 86_400_000),
            ("1970-01-02T01:00:00+01:00", 86_400_000),
            (" 1970-01-01T00:00:00.5Z ", 500),
        ] {
            assert_eq!(moment(text), Some(Timestamp(ms)), "{text}");
        }
        for text in ["", "yesterday", "NaN", "inf", "1e300", "2026-13-01", "31.01.2026"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_kept() {
        let mut origins = Origins::asking(true, false);
        for ms in [30, 10, 20] {
            origins.push(Origin { time: Some(Timestamp(ms)), group: Some("a") });
        }
        assert_eq!(origins.groups, None);
        assert_eq!(origins.in_time(&[0, 1, 2]), [1, 2, 0]);
        assert_eq!(origins.select(&[2]).times, Some(vec![Timestamp(20)]));
        assert_eq!(Origins::default().in_time(&[2, 0]), [0, 2]);
    }
}
