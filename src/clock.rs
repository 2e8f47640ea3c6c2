//! The only file that reads clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::mirror::time::{Tick, UpstreamTime};

/// Says what time it is on the device.
pub trait Clock: Send + Sync {
    /// Now, on a clock that only goes forward and goes on while the device is suspended.
    fn tick(&self) -> Tick;

    /// What the device's wall clock takes the time to be. It may be years off: it is used where
    /// upstream has never told its own time, and nowhere else.
    fn wall(&self) -> UpstreamTime;
}

/// The device's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceClock;

impl Clock for DeviceClock {
    fn tick(&self) -> Tick {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Tick::from_origin(positive(&time))
    }

    fn wall(&self) -> UpstreamTime {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        UpstreamTime::from_unix(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => seconds(since),
            Err(before) => -seconds(before.duration()),
        })
    }
}

fn positive(time: &rustix::time::Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}
