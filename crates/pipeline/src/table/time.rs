//! Is a text a date, a time of day, or both?
//!
//! Understood: `2020-04-20`, `2020/4/20`, `20.04.2020`, `4/20/20`, `2020-04`, `2020Q2`, `20 Apr 2020`, `Apr 20, 2020`; after
//! it, or alone, `14:30`, `14:30:05.123`, `2:30 PM`; an offset or `Z` behind. Deliberately missing: what instant it is.

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const TIME_BYTES_MAX: usize = 48;

/// Whether `text` is a time.
pub(super) fn is_time(text: &str) -> bool {
    let text = text.trim();
    if text.len() > TIME_BYTES_MAX || !text.is_ascii() || !text.contains(|c: char| c.is_ascii_digit()) {
        return false;
    }
    if is_clock(text) {
        return true;
    }
    let split = |(date, clock): (&str, &str)| is_date(date) && is_clock(clock.trim());
    is_date(text)
        || text.split_once('T').is_some_and(split)
        || text.match_indices(' ').any(|(at, _)| split((&text[..at], &text[at + 1..])))
}

fn is_date(text: &str) -> bool {
    ['-', '/', '.'].iter().any(|separator| parts(&text.split(*separator).collect::<Vec<_>>()))
        || parts(&text.split([' ', ',']).filter(|part| !part.is_empty()).collect::<Vec<_>>())
        || quarter(text)
}

fn quarter(text: &str) -> bool {
    let Some((year, quarter)) = text.split_once('Q') else { return false };
    is_year(year.trim_end_matches('-')) && matches!(quarter, "1" | "2" | "3" | "4")
}

/// Year, month and day in any usual order, or year and month.
fn parts(parts: &[&str]) -> bool {
    match *parts {
        [year, month] => is_year(year) && is_month(month),
        [a, b, c] => {
            is_year(a) && is_month(b) && is_day(c)
                || is_short_year(c) && (is_month(a) && is_day(b) || is_day(a) && is_month(b))
        }
        _ => false,
    }
}

fn within(text: &str, digits: std::ops::RangeInclusive<usize>, range: std::ops::RangeInclusive<u32>) -> bool {
    digits.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse().is_ok_and(|number| range.contains(&number))
}

fn is_year(text: &str) -> bool {
    within(text, 4..=4, 1..=9999)
}

fn is_short_year(text: &str) -> bool {
    is_year(text) || within(text, 2..=2, 0..=99)
}

fn is_day(text: &str) -> bool {
    within(text, 1..=2, 1..=31)
}

fn is_month(text: &str) -> bool {
    let named = || text.get(..3).is_some_and(|head| MONTHS.contains(&head.to_ascii_lowercase().as_str()));
    within(text, 1..=2, 1..=12) || text.bytes().all(|byte| byte.is_ascii_alphabetic()) && named()
}

/// `14:30`, with seconds, half of the day and offset if they are there.
fn is_clock(text: &str) -> bool {
    let text = text.strip_suffix('Z').unwrap_or_else(|| without_zone(text)).trim_end();
    let offset = text.rfind(['+', '-']).filter(|at| is_offset(&text[at + 1..]));
    let text = text[..offset.unwrap_or(text.len())].trim_end();
    let upper = text.to_ascii_uppercase();
    let text = upper.trim_end_matches("AM").trim_end_matches("PM").trim_end();
    let mut units = text.split(':');
    let whole = |unit: Option<&str>, max| unit.is_some_and(|unit| within(unit, 1..=2, 0..=max));
    whole(units.next(), 24)
        && whole(units.next(), 59)
        && units.next().is_none_or(is_second)
        && units.next().is_none()
}

/// The text without the name of a time zone, such as `CEST`.
fn without_zone(text: &str) -> &str {
    match text.rsplit_once(' ') {
        Some((clock, zone)) if is_zone(zone) => clock,
        _ => text,
    }
}

fn is_zone(zone: &str) -> bool {
    (3..=5).contains(&zone.len()) && zone.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_second(text: &str) -> bool {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    within(whole, 2..=2, 0..=60) && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_offset(text: &str) -> bool {
    let digits = text.replace(':', "");
    within(&digits, 2..=4, 0..=1500)
}

#[cfg(test)]
mod tests {
    use super::is_time;

    #[test]
    fn what_people_write_for_times() {
        for text in [
            "2020-04-20",
            "2020/4/20",
            "20.04.2020",
            "4/20/20",
            "04/20/2020",
            "2020-04",
            "2020Q2",
            "20 Apr 2020",
            "Apr 20, 2020",
            "20-Apr-2020",
            "2020-04-20T14:30",
            "2020-04-20 14:30:05",
            "2020-04-20T14:30:05.123456789Z",
            "2020-04-20 14:30:05+00:00",
            "2020-04-20T14:30:05-0700",
            "04/20/2020 2:30 PM",
            "2020-04-20 14:30:05 UTC",
            "2020-04-20 2:30 PM CEST",
            "14:30",
            "14:30:05",
        ] {
            assert!(is_time(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in
            ["", "-", "abc", "1", "20200420", "2020", "3.14", "1.2.3.4", "a-b-c", "99-99-9999", "2020-13-01"]
        {
            assert!(!is_time(text), "{text}");
        }
        assert!(!is_time(&"2".repeat(1000)) && !is_time("१४:३०") && !is_time("10:99") && !is_time("v1-2-3"));
    }
}
