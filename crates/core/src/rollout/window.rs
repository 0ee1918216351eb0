//! When waves may open: hours of the day, on all or some days of the week, in UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Timestamp;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_PER_DAY: u16 = 24 * 60;
const MS_PER_MINUTE: i64 = 60_000;
/// 1 January 1970 was a Thursday.
const FIRST_DAY: i64 = 3;

/// Hours such as `22:00-04:00` or `sat,sun 08:00-18:00`. The days are those on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// One bit per day, Monday first.
    days: u8,
    from_minute: u16,
    to_minute: u16,
}

/// A text that is no [`Window`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no window: write hours in UTC such as 22:00-04:00, or days before them: sat,sun 08:00-18:00"
)]
pub struct ParseWindowError {
    text: String,
}

impl Window {
    /// Whether it is open at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        let minutes = now.0.div_euclid(MS_PER_MINUTE);
        let day = minutes.div_euclid(i64::from(MINUTES_PER_DAY));
        let minute = minutes.rem_euclid(i64::from(MINUTES_PER_DAY)) as u16;
        let began = |day: i64| self.days >> (day + FIRST_DAY).rem_euclid(7) & 1 == 1;
        if self.from_minute < self.to_minute {
            return began(day) && (self.from_minute..self.to_minute).contains(&minute);
        }
        (began(day) && minute >= self.from_minute) || (began(day - 1) && minute < self.to_minute)
    }
}

impl FromStr for Window {
    type Err = ParseWindowError;

    fn from_str(text: &str) -> Result<Self, ParseWindowError> {
        let parsed = match text.trim().rsplit_once(' ') {
            Some((days, hours)) => days_of(days.trim()).zip(hours_of(hours)),
            None => hours_of(text.trim()).map(|hours| (0x7f, hours)),
        };
        let (days, (from_minute, to_minute)) =
            parsed.ok_or_else(|| ParseWindowError { text: text.chars().take(80).collect() })?;
        Ok(Self { days, from_minute, to_minute })
    }
}

fn days_of(text: &str) -> Option<u8> {
    let place = |name: &str| DAYS.iter().position(|day| *day == name);
    text.split(',').try_fold(0u8, |days, part| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last) = (place(first)?, place(last)?);
        let count = (last + 7 - first) % 7 + 1;
        Some((first..first + count).fold(days, |days, day| days | 1 << (day % 7)))
    })
}

fn hours_of(text: &str) -> Option<(u16, u16)> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let (hour, minute): (u16, u16) = match digits(hour) && digits(minute) {
            true => (hour.parse().ok()?, minute.parse().ok()?),
            false => return None,
        };
        (minute < 60 && hour * 60 + minute <= MINUTES_PER_DAY).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from != to && from < MINUTES_PER_DAY).then_some((from, to))
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0x7f {
            let named = DAYS.iter().enumerate().filter(|(day, _)| self.days >> day & 1 == 1);
            let names: Vec<&str> = named.map(|(_, name)| *name).collect();
            write!(f, "{} ", names.join(","))?;
        }
        let Self { from_minute: from, to_minute: to, .. } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26 is a Thursday.
    const THURSDAY: i64 = 1_795_651_200_000;

    fn check(window: &str, day: i64, clock: &str, open: bool) {
        let (hour, minute) = clock.split_once(':').unwrap();
        let minutes = day * 1440 + hour.parse::<i64>().unwrap() * 60 + minute.parse::<i64>().unwrap();
        let now = Timestamp(THURSDAY + minutes * MS_PER_MINUTE);
        assert_eq!(window.parse::<Window>().unwrap().is_open(now), open, "{window} at day {day} {clock}");
    }

    #[test]
    fn hours_of_the_day_and_over_midnight() {
        check("08:00-18:00", 0, "08:00", true);
        check("08:00-18:00", 0, "17:59", true);
        check("08:00-18:00", 0, "18:00", false);
        check("22:00-04:00", 0, "23:00", true);
        check("22:00-04:00", 1, "03:59", true);
        check("22:00-04:00", 0, "12:00", false);
        check("00:00-24:00", 0, "23:59", true);
    }

    #[test]
    fn days_are_those_on_which_it_begins() {
        check("thu 22:00-04:00", 0, "23:00", true);
        check("thu 22:00-04:00", 1, "01:00", true);
        check("thu 22:00-04:00", 0, "01:00", false);
        check("sat,sun 08:00-18:00", 2, "10:00", true);
        check("sat,sun 08:00-18:00", 4, "10:00", false);
        check("fri-mon 08:00-18:00", 4, "10:00", true);
        check("fri-mon 08:00-18:00", 5, "10:00", false);
    }

    #[test]
    fn it_reads_as_it_is_written_and_nothing_else_does() {
        for text in ["22:00-04:00", "sat,sun 08:00-18:00", "mon,tue,wed 00:30-24:00"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "22-4",
            "22:00-22:00",
            "25:00-26:00",
            "24:00-01:00",
            "noon",
            "day 08:00-09:00",
            "+8:00-09:00",
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
    }
}
