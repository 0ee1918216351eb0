//! Moments of the calendar as cron writes them, in UTC: minute, hour, day of the month, month, day of the week.

use chrono::DateTime;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::Timestamp;

/// Longest text, in bytes.
pub const CRON_BYTES_MAX: usize = 200;

/// A text that names no moments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no schedule of five fields (minute, hour, day of the month, month, day of the week): {why}"
)]
pub struct CronError {
    text: String,
    why: String,
}

/// Whether `text` is a schedule.
///
/// # Errors
/// It is not; what is wrong with it.
pub fn check(text: &str) -> Result<(), CronError> {
    parse(text).map(|_| ())
}

/// The first moment of the schedule `text` after `time`; none if there is none.
///
/// # Errors
/// It is no schedule.
pub fn next_after(text: &str, time: Timestamp) -> Result<Option<Timestamp>, CronError> {
    let cron = parse(text)?;
    let Some(from) = DateTime::from_timestamp_millis(time.0) else { return Ok(None) };
    // A moment that never comes, as a 30th of February, is none.
    Ok(cron.find_next_occurrence(&from, false).ok().map(|next| Timestamp(next.timestamp_millis())))
}

fn parse(text: &str) -> Result<Cron, CronError> {
    let refused = |why: String| CronError { text: text.chars().take(CRON_BYTES_MAX).collect(), why };
    if text.len() > CRON_BYTES_MAX {
        return Err(refused(format!("longer than {CRON_BYTES_MAX} bytes")));
    }
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(refused(format!("it has {fields} fields")));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-28 was a Wednesday.
    const WEDNESDAY: i64 = 1_709_078_400_000;
    const MINUTE: i64 = 60_000;
    const DAY: i64 = 24 * 60 * MINUTE;

    fn next(text: &str, from: i64) -> i64 {
        next_after(text, Timestamp(WEDNESDAY + from)).unwrap().unwrap().0 - WEDNESDAY
    }

    #[test]
    fn the_next_moment_is_the_first_after() {
        assert_eq!(next("30 2 * * *", 0), 150 * MINUTE);
        assert_eq!(next("30 2 * * *", 150 * MINUTE), DAY + 150 * MINUTE, "never the same moment again");
        assert_eq!(next("0 0 29 2 *", 0), DAY, "2024 is a leap year");
        assert_eq!(next("0 12 * * 1", 0), 5 * DAY + 720 * MINUTE);
        assert_eq!(next("*/15 * * * *", MINUTE), 15 * MINUTE);
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, why) in [
            ("", "0 fields"),
            ("0 3 * *", "4 fields"),
            ("0 3 * * * UTC", "6 fields"),
            ("61 3 * * *", "'61 3 * * *'"),
        ] {
            let refused = check(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(check(&"* ".repeat(200)).unwrap_err().to_string().contains("longer"));
    }
}
