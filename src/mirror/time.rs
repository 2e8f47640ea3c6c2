//! Two kinds of time that never meet.
//!
//! [`Tick`] is ours: monotonic, counted from an arbitrary origin, good for waiting.
//! [`UpstreamTime`] is theirs: what upstream writes into records and replies. The device's wall
//! clock decides nothing: a board without a clock battery boots in 1970. What upstream's clock
//! shows *now* is carried by [`UpstreamClock`], from the `Date` of its last reply and the ticks
//! since then.
//!
//! This file is not a clock. Nothing here knows what time it is.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// A moment on the device's own monotonic clock (time spent suspended included).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Tick(Duration);

impl Tick {
    /// The clock's origin.
    pub const ORIGIN: Tick = Tick(Duration::ZERO);

    /// The tick that lies `since_origin` after the clock's origin.
    pub fn from_origin(since_origin: Duration) -> Tick {
        Tick(since_origin)
    }

    /// The time since the clock's origin.
    pub fn since_origin(self) -> Duration {
        self.0
    }

    /// The tick that lies `wait` later.
    pub fn after(self, wait: Duration) -> Tick {
        Tick(self.0.saturating_add(wait))
    }

    /// How long after `earlier` this tick lies; zero when it does not.
    pub fn since(self, earlier: Tick) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment on upstream's clock, in whole seconds: the granularity of `Modified_Time`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamTime(i64);

impl UpstreamTime {
    /// The earliest moment that upstream can mean.
    pub const EPOCH: UpstreamTime = UpstreamTime(0);

    /// From seconds since 1970-01-01T00:00:00Z; seconds outside of what a date can show are
    /// brought to the nearest that can.
    pub fn from_unix(seconds: i64) -> UpstreamTime {
        UpstreamTime(seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second()))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// Reads upstream's own form, ISO 8601 with an offset (`2019-07-25T15:26:49+05:30`).
    /// Fractions of a second are cut off.
    pub fn parse(text: &str) -> Option<UpstreamTime> {
        let time: Timestamp = text.parse().ok()?;
        Some(UpstreamTime(time.as_nanosecond().div_euclid(1_000_000_000) as i64))
    }

    /// Reads the `Date` of an HTTP reply (`Sun, 06 Nov 1994 08:49:37 GMT`).
    pub fn parse_http_date(text: &str) -> Option<UpstreamTime> {
        let time = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(UpstreamTime(time.as_second()))
    }

    /// The moment as HTTP writes it in `Date`.
    pub fn to_http_date(self) -> String {
        let time = Timestamp::from_second(self.0);
        let text = time
            .and_then(|time| rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time));
        text.unwrap_or_default()
    }

    /// The moment `span` later.
    pub fn after(self, span: Duration) -> UpstreamTime {
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        UpstreamTime::from_unix(self.0.saturating_add(seconds))
    }

    /// The moment `span` earlier.
    pub fn before(self, span: Duration) -> UpstreamTime {
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        UpstreamTime::from_unix(self.0.saturating_sub(seconds))
    }

    /// How long after `earlier` this moment lies; zero when it does not.
    pub fn since(self, earlier: UpstreamTime) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// ISO 8601 with a numeric offset and no fraction of a second, as upstream wants to read it
/// (`2026-11-21T08:44:00+00:00`). Fractions in `channel_expiry` are refused upstream (facts §1.2).
impl fmt::Display for UpstreamTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_second(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{}+00:00", TimeZone::UTC.to_datetime(time))
    }
}

impl fmt::Debug for UpstreamTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for UpstreamTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for UpstreamTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        UpstreamTime::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("'{text}' is not an ISO 8601 time")))
    }
}

/// What upstream's clock shows, carried from its last reply by our ticks.
///
/// The estimate errs to the past: by the reply's way back and by the fraction of a second that
/// `Date` leaves out. A renewal asked for from it comes early, never late.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamClock {
    shown: UpstreamTime,
    at: Tick,
}

impl UpstreamClock {
    /// Upstream's clock showed `shown` when ours showed `at`.
    pub fn seen(shown: UpstreamTime, at: Tick) -> UpstreamClock {
        UpstreamClock { shown, at }
    }

    /// What upstream's clock shows at `now`.
    pub fn at(&self, now: Tick) -> UpstreamTime {
        self.shown.after(now.since(self.at))
    }

    /// The tick at which upstream's clock shows `moment`; `now` when that is in the past.
    pub fn tick_of(&self, moment: UpstreamTime, now: Tick) -> Tick {
        now.after(moment.since(self.at(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_time_is_read_with_any_offset_and_written_with_one() {
        let check = |text: &str, written: &str| {
            assert_eq!(UpstreamTime::parse(text).map(|t| t.to_string()).as_deref(), Some(written));
        };
        check("2019-07-25T15:26:49+05:30", "2019-07-25T09:56:49+00:00");
        check("2023-08-02T16:59:50-11:00", "2023-08-03T03:59:50+00:00");
        check("2026-11-21T08:44:00.999Z", "2026-11-21T08:44:00+00:00");
        check("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59+00:00");
        check("2040-01-19T03:14:08+00:00", "2040-01-19T03:14:08+00:00");
        assert_eq!(UpstreamTime::parse("yesterday"), None);
        assert_eq!(UpstreamTime::parse("2019-07-25T15:26:49"), None, "an offset is needed");
    }

    #[test]
    fn the_date_of_a_reply_is_read_and_written() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        let date = UpstreamTime::parse_http_date(text).unwrap();
        assert_eq!((date.unix(), date.to_http_date().as_str()), (784_111_777, text));
        assert_eq!(UpstreamTime::parse_http_date("tomorrow"), None);
    }

    #[test]
    fn upstream_clock_is_carried_by_ticks() {
        let start = Tick::from_origin(Duration::from_secs(5));
        let clock = UpstreamClock::seen(UpstreamTime::from_unix(1_000), start);
        let later = start.after(Duration::from_secs(60));
        assert_eq!(clock.at(later), UpstreamTime::from_unix(1_060));
        let due = clock.tick_of(UpstreamTime::from_unix(1_100), later);
        assert_eq!(due.since(later), Duration::from_secs(40));
        assert_eq!(clock.tick_of(UpstreamTime::EPOCH, later), later);
    }
}
