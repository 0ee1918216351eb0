//! Numbers and times as people read them.

use std::time::Duration;

use edgeward_core::Timestamp;

/// `97.1 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}\u{202f}%", share * 100.0)
}

/// `12 345`, in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `912 B`, `34.5 kB`, `1.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let scaled = |unit: f64, name: &str| format!("{:.1}\u{202f}{name}", count as f64 / unit);
    match count {
        0..1_000 => format!("{count}\u{202f}B"),
        1_000..1_000_000 => scaled(1e3, "kB"),
        1_000_000..1_000_000_000 => scaled(1e6, "MB"),
        _ => scaled(1e9, "GB"),
    }
}

/// `4 s`, `3 min`, `2 h`, `5 d`.
pub(crate) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "now".to_owned(),
        s @ 1..60 => format!("{s}\u{202f}s"),
        s @ 60..3600 => format!("{}\u{202f}min", s / 60),
        s @ 3600..86_400 => format!("{}\u{202f}h", s / 3600),
        s => format!("{}\u{202f}d", s / 86_400),
    }
}

/// `4 s ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    match span(now.since(then)) {
        text if text == "now" => "just now".to_owned(),
        text => format!("{text} ago"),
    }
}

/// RFC 3339, in UTC.
pub(crate) fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}

/// `14:05:09`, in UTC.
pub(crate) fn clock(at: Timestamp) -> String {
    let text = instant(at);
    text.split_once('T').map_or_else(|| text.clone(), |(_, time)| time.trim_end_matches('Z').to_owned())
}

/// A metric: up to four significant digits.
pub(crate) fn metric(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if (0.001..1000.0).contains(&v) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(percent(0.9712), "97.1\u{202f}%");
        let plain = |number| grouped(number).replace('\u{202f}', " ");
        assert_eq!([plain(7), plain(1_000), plain(1_234_567)], ["7", "1 000", "1 234 567"]);
        assert_eq!(
            [bytes(912), bytes(34_512), bytes(1_200_000)].map(|b| b.replace('\u{202f}', " ")),
            ["912 B", "34.5 kB", "1.2 MB"]
        );
        assert_eq!(ago(Timestamp(0), Timestamp(61_000)), "1\u{202f}min ago");
        assert_eq!(ago(Timestamp(5), Timestamp(0)), "just now");
        assert_eq!(instant(Timestamp(1_700_000_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(clock(Timestamp(1_700_000_000_000)), "22:13:20");
        assert_eq!([metric(0.97), metric(0.0), metric(12345.0)], ["0.97", "0", "1.234e4"]);
    }
}
