//! Times as TUF writes them: UTC to the second, `2026-11-26T09:00:00Z`, and nothing else.

use edgeward_core::Timestamp;
use serde::{Deserialize, Deserializer, Serializer};

const DAY_S: i64 = 86_400;
/// The last second of the year 9999: what four digits can say.
const LAST_S: i64 = 253_402_300_799;

/// Reads a time; none if the text is not exactly one.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if separators.iter().any(|(at, byte)| bytes[*at] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_i64, |sum, byte| match byte {
            b'0'..=b'9' => Some(sum * 10 + i64::from(byte - b'0')),
            _ => None,
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_time = hour < 24 && minute < 60 && second < 60;
    if !is_time || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let seconds = days_before(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    Some(Timestamp(seconds * 1000))
}

/// Writes a time, to the second below it; one outside the years 1970 to 9999 becomes the nearest in them.
#[must_use]
pub fn format(at: Timestamp) -> String {
    let seconds = at.0.div_euclid(1000).clamp(0, LAST_S);
    let (year, month, day) = date_of(seconds / DAY_S);
    let rest = seconds % DAY_S;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01; years are counted from March, so that the leap day is a year's last.
const fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    shifted * 365 + shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400) + of_year
        - 719_468
}

/// The date that many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1, 1) <= days {
        month += 1;
    }
    (year, month, days - days_before(year, month, 1) + 1)
}

/// Writes a time as text.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*at))
}

/// Reads a time from text.
///
/// # Errors
/// The text is not a time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom("a time must look like 2026-11-26T09:00:00Z");
    parse(&text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-26T09:00:00Z", 1_795_683_600),
            ("9999-12-31T23:59:59Z", LAST_S),
        ] {
            assert_eq!(parse(text), Some(Timestamp(seconds * 1000)), "{text}");
            assert_eq!(format(Timestamp(seconds * 1000 + 999)), text);
        }
        assert_eq!(format(Timestamp(i64::MIN)), "1970-01-01T00:00:00Z");
        assert_eq!(format(Timestamp(i64::MAX)), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2026-11-26",
            "2026-11-26T09:00:00",
            "2026-11-26T09:00:00+00:00",
            "2026-11-26t09:00:00z",
            "2026-11-26T09:00:00.5Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "+026-01-01T00:00:00Z",
            "20é6-01-01T00:00:0Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0..=LAST_S) {
            prop_assert_eq!(parse(&format(Timestamp(seconds * 1000))), Some(Timestamp(seconds * 1000)));
        }

        #[test]
        fn random_text_never_panics(text in ".{0,24}") {
            let _ = parse(&text);
        }
    }
}
