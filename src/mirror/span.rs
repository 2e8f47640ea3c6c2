//! Spans of time as people write them: `30s`, `15m`, `24h`, `7d`.
//!
//! In the configuration, on the command line and in a request alike. What cannot be read is refused
//! with what to write instead.

use std::time::Duration;

/// Longest duration that can be written: more is a typing error, and sums stay far from overflow.
pub const LONGEST_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// `30s`, `15m`, `24h`, `7d`: a whole number above zero and a unit; else what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.len() - usize::from(text.ends_with(['s', 'm', 'h', 'd']));
    let (number, unit) = text.split_at(unit_at);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(not_a_duration(text)),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_duration(text));
    }
    // Digits alone fail to parse only when there are too many of them.
    let seconds = number.parse().unwrap_or(u64::MAX).saturating_mul(unit);
    match Duration::from_secs(seconds) {
        Duration::ZERO => Err(format!("{} is no time at all; write more", shown(text))),
        span if span > LONGEST_DURATION => Err(format!(
            "{} is too long; write at most {}",
            shown(text),
            duration_text(LONGEST_DURATION)
        )),
        span => Ok(span),
    }
}

fn not_a_duration(text: &str) -> String {
    format!("{} is not a duration; write for example 30s, 15m, 24h or 7d", shown(text))
}

/// A duration as it would be written.
pub fn duration_text(span: Duration) -> String {
    let seconds = span.as_secs();
    [(24 * 60 * 60, 'd'), (60 * 60, 'h'), (60, 'm')]
        .into_iter()
        .find(|(unit, _)| seconds % unit == 0)
        .map_or_else(
            || format!("{seconds}s"),
            |(unit, letter)| format!("{}{letter}", seconds / unit),
        )
}

/// Longest piece of a value that a message repeats.
const SHOWN_LIMIT: usize = 60;

/// A value as a message shows it: in quotes, on one line, not longer than a line.
pub fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN_LIMIT).collect();
    let dots = if start.len() < text.len() { "…" } else { "" };
    format!("'{}{dots}'", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        let check = |text: &str, seconds: u64, written: &str| {
            let span = duration(text).unwrap_or_else(|what| panic!("{text}: {what}"));
            assert_eq!(
                (span.as_secs(), duration_text(span).as_str()),
                (seconds, written),
                "{text}"
            );
        };
        check("1s", 1, "1s");
        check("30s", 30, "30s");
        check("90s", 90, "90s");
        check("60s", 60, "1m");
        check("15m", 900, "15m");
        check("24h", 86_400, "1d");
        check("36h", 129_600, "36h");
        check("7d", 604_800, "7d");
        check("007d", 604_800, "7d");
        check("366d", 31_622_400, "366d");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "", "s", "15", "15 m", " 15m", "15M", "15min", "1.5h", "-1h", "+1h", "1h30m", "1w",
            "ms", "٣s",
        ] {
            assert_eq!(duration(text).unwrap_err(), not_a_duration(text));
        }
        for text in ["367d", "18446744073709551615d", "99999999999999999999999s"] {
            assert!(duration(text).unwrap_err().contains("is too long"), "{text}");
        }
        assert!(duration("0h").is_err());
    }

    #[test]
    fn a_value_is_shown_on_one_line() {
        assert_eq!(shown("a\n\u{1b}[31mb"), r"'a\n\u{1b}[31mb'");
        assert_eq!(shown(&"x".repeat(61)), format!("'{}…'", "x".repeat(60)));
    }
}
