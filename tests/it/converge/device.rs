//! The device's clocks, on the same virtual time as upstream's but with their own origin and their
//! own idea of the date. Both are moved together, since time passes for everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crmirror::clock::Clock;
use crmirror::mirror::time::{Tick, UpstreamTime};

use crate::sim::{Clock as _, Moment, VirtualClock};

/// What a device shows: time since it was started, and a wall clock that may be decades off.
#[derive(Default)]
pub(super) struct Device {
    since_boot: AtomicU64,
    wall: AtomicI64,
}

impl Clock for Device {
    fn tick(&self) -> Tick {
        Tick::from_origin(Duration::from_millis(self.since_boot.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> UpstreamTime {
        UpstreamTime::from_unix(self.wall.load(Ordering::SeqCst).div_euclid(1_000))
    }
}

/// The time of a world.
#[derive(Clone)]
pub(super) struct Time {
    pub(super) upstream: Arc<VirtualClock>,
    pub(super) device: Arc<Device>,
}

impl Time {
    /// Upstream's clock shows `start`; the device's is not set.
    pub(super) fn starting(start: Moment) -> Time {
        Time { upstream: VirtualClock::starting(start), device: Arc::new(Device::default()) }
    }

    /// Time passes.
    pub(super) fn pass(&self, span: Duration) {
        let millis = span.as_millis() as u64;
        self.upstream.advance(span);
        self.device.since_boot.fetch_add(millis, Ordering::SeqCst);
        self.device.wall.fetch_add(millis as i64, Ordering::SeqCst);
    }

    /// Time passes until the device's monotonic clock shows `tick`, and a little more.
    pub(super) fn pass_until(&self, tick: Tick) {
        self.pass(tick.since(self.device.tick()) + Duration::from_millis(1));
    }

    /// The device is switched off and on: its monotonic clock begins anew.
    pub(super) fn boot(&self, shows: Duration) {
        self.device.since_boot.store(shows.as_millis() as u64, Ordering::SeqCst);
    }

    /// Somebody, or an empty battery, sets the device's wall clock.
    pub(super) fn set_wall(&self, unix: i64) {
        self.device.wall.store(unix * 1_000, Ordering::SeqCst);
    }

    /// Upstream's clock is set: forward or back by so many seconds.
    pub(super) fn jump_upstream(&self, seconds: i64) {
        self.upstream.set(Moment::from_millis(self.upstream.now().millis() + seconds * 1_000));
    }
}
