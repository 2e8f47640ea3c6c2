//! The simulator's time: milliseconds since 1970, shown by a clock that a test moves or by the
//! machine's own.
//!
//! Upstream stamps records in whole seconds and callbacks in milliseconds; both come from here.
//! This is upstream's clock. What the device believes is no business of the simulator.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::{Offset, TimeZone};

/// A moment on upstream's clock, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(i64);

impl Moment {
    /// From seconds since 1970-01-01T00:00:00Z.
    pub const fn from_unix(seconds: i64) -> Moment {
        Moment(seconds * 1_000)
    }

    /// From milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Moment {
        Moment(millis)
    }

    /// Whole seconds since 1970: the granularity of every stamp in a record.
    pub const fn unix(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Milliseconds since 1970: the granularity of `server_time`.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The moment `span` later.
    pub fn after(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(span)))
    }

    /// How long after `earlier` this moment lies; zero when it does not.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As a `Date` header shows it.
    pub fn http_date(self) -> String {
        DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&timestamp(self.unix()))
            .expect("a date that a test can mean is printable")
    }
}

/// A stamp as records and channels carry it: whole seconds in the account's own offset.
pub fn stamp(unix: i64, offset_minutes: i32) -> String {
    let offset = Offset::from_seconds(offset_minutes * 60).expect("an offset is below a day");
    timestamp(unix).to_zoned(TimeZone::fixed(offset)).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn timestamp(unix: i64) -> Timestamp {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(unix.clamp(first, last)).expect("clamped to what a date can show")
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Shows upstream's time.
pub trait Clock: Send + Sync {
    /// What the clock shows.
    fn now(&self) -> Moment;
}

/// A clock that stands still until it is moved.
pub struct VirtualClock(AtomicI64);

impl VirtualClock {
    /// A clock that shows `start`, to be shared by the simulator and its test.
    pub fn starting(start: Moment) -> Arc<VirtualClock> {
        Arc::new(VirtualClock(AtomicI64::new(start.0)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(millis(span), Ordering::SeqCst);
    }

    /// Sets the clock, in either direction.
    pub fn set(&self, to: Moment) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }
}

/// The machine's clock, for the simulator behind a port.
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Moment(millis(since))
    }
}
