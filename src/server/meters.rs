//! What is measured while the daemon works: how long things take, and how callbacks fared.
//!
//! Whoever does the work adds one number and goes on; nobody waits for whoever looks. It reads no
//! clock, and knows nothing of the text that `metrics` makes of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::mirror::gather::Gather;
use crate::mirror::inbox::{InboxItem, InboxSequence};
use crate::mirror::time::Tick;

use super::gate::Teller;

/// Ends of the buckets for what waits for the disk, in microseconds: a good SSD flushes below a
/// millisecond, a card in tens of them, and one that tidies itself up takes seconds.
const DISK: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];
/// For reads out of the mirror: tens of microseconds for a record, milliseconds for a page, and the
/// rest for a slow board under load.
const READ: &[u64] = &[
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
];
/// For calls upstream: a good line takes a tenth of a second, a satellite one or two, and after a
/// minute the transport gives up.
const CALL: &[u64] = &[
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    30_000_000, 60_000_000,
];
/// From an acknowledged callback to a record that can be read: one call and one commit when all is
/// well, an outage when it is not.
const ROAD: &[u64] = &[
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
];

/// Acknowledged ids whose way into the mirror is timed at once. A burst has more: those are left
/// out of the measurement, not of the mirror.
const ROADS_LIMIT: usize = 1_024;

/// Everything that is measured.
#[derive(Debug)]
pub struct Meters {
    /// From a callback's being read whole to its being on disk; only of those acknowledged.
    pub acknowledgement: Histogram,
    /// A Zoho-shaped read, from the request to its reply.
    pub read: Histogram,
    /// A call upstream that was answered, with whatever status.
    pub answered_call: Histogram,
    /// A call upstream that brought no answer.
    pub unanswered_call: Histogram,
    /// A transaction of the store.
    pub commit: Histogram,
    /// From a callback's acknowledgement to the commit of the record that it named.
    pub readable: Histogram,
    /// The gates, by the name of their door; told once, when all are open.
    pub doors: OnceLock<Vec<(&'static str, Teller)>>,
    on_the_road: Mutex<VecDeque<(InboxSequence, Tick)>>,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            acknowledgement: Histogram::new(DISK),
            read: Histogram::new(READ),
            answered_call: Histogram::new(CALL),
            unanswered_call: Histogram::new(CALL),
            commit: Histogram::new(DISK),
            readable: Histogram::new(ROAD),
            doors: OnceLock::new(),
            on_the_road: Mutex::default(),
        }
    }
}

impl Meters {
    /// These ids are on disk, and acknowledged at this tick.
    pub fn set_out(&self, items: &[InboxItem], now: Tick) {
        let mut roads = self.on_the_road.lock().unwrap_or_else(PoisonError::into_inner);
        let room = ROADS_LIMIT - roads.len();
        roads.extend(items.iter().take(room).map(|item| (item.sequence, now)));
    }

    /// What these items asked for can be read from this tick on.
    pub fn arrive(&self, settled: &[InboxSequence], now: Tick) {
        for since in self.take_off(settled) {
            self.readable.add(now.since(since));
        }
    }

    /// What these items asked for has been set aside: nobody reads it.
    pub fn give_up(&self, settled: &[InboxSequence]) {
        self.take_off(settled);
    }

    /// Takes these off the road; when they set out.
    fn take_off(&self, settled: &[InboxSequence]) -> Vec<Tick> {
        let settled: BTreeSet<&InboxSequence> = settled.iter().gather();
        let mut roads = self.on_the_road.lock().unwrap_or_else(PoisonError::into_inner);
        let (there, still): (VecDeque<_>, _) =
            std::mem::take(&mut *roads).into_iter().partition(|(each, _)| settled.contains(each));
        *roads = still;
        there.into_iter().map(|(_, since)| since).collect()
    }
}

/// How often something took how long, in buckets of fixed ends.
#[derive(Debug)]
pub struct Histogram {
    /// Ends of the buckets, in microseconds; what took exactly so long is inside.
    ends: &'static [u64],
    /// One for each bucket, and one for what took longer than all.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Each bucket's end, and how many took no longer.
    pub buckets: Vec<(Duration, u64)>,
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub sum: Duration,
}

impl Histogram {
    fn new(ends: &'static [u64]) -> Histogram {
        let counts = (0..=ends.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { ends, counts, nanoseconds: AtomicU64::new(0) }
    }

    /// One more, which took so long.
    pub fn add(&self, took: Duration) {
        let bucket = self.ends.partition_point(|end| Duration::from_micros(*end) < took);
        self.counts[bucket].fetch_add(1, Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// As it is now. The count is that of its buckets, so that they always agree.
    pub fn show(&self) -> Shown {
        let mut count = 0;
        let mut reached = self.counts.iter().map(|each| {
            count += each.load(Relaxed);
            count
        });
        let ends = self.ends.iter().map(|end| Duration::from_micros(*end));
        let buckets = ends.zip(reached.by_ref()).collect();
        let count = reached.last().unwrap_or_default();
        Shown { buckets, count, sum: Duration::from_nanos(self.nanoseconds.load(Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::inbox::{Arrival, Reason};
    use crate::mirror::record::{ModuleName, RecordId};

    #[test]
    fn each_measurement_is_in_its_bucket_and_in_all_above() {
        let histogram = Histogram::new(&[10, 100]);
        assert_eq!(histogram.show().count, 0);
        for micros in [10, 11, 100, 101] {
            histogram.add(Duration::from_micros(micros));
        }
        histogram.add(Duration::MAX);
        let shown = histogram.show();
        let at = |micros, count| (Duration::from_micros(micros), count);
        assert_eq!(shown.buckets, [at(10, 1), at(100, 3)]);
        assert_eq!(shown.count, 5);
    }

    #[test]
    fn all_ends_rise() {
        for ends in [DISK, READ, CALL, ROAD] {
            assert!(ends.windows(2).all(|two| two[0] < two[1]), "{ends:?}");
        }
    }

    #[test]
    fn the_road_is_timed_from_acknowledgement_to_commit_and_never_fills() {
        let meters = Meters::default();
        let tick = |seconds| Tick::from_origin(Duration::from_secs(seconds));
        let item = |sequence| InboxItem {
            sequence,
            arrival: Arrival::new(
                ModuleName::parse("Leads").unwrap(),
                RecordId::new(7),
                Reason::Touched,
            ),
        };
        meters.set_out(&[item(1), item(2)], tick(10));
        meters.arrive(&[2, 9], tick(13));
        assert_eq!(meters.readable.show().sum, Duration::from_secs(3));
        let many: Vec<InboxItem> = (3..3 + 2 * ROADS_LIMIT as u64).map(item).collect();
        meters.set_out(&many, tick(20));
        meters.set_out(&many, tick(20));
        assert_eq!(meters.on_the_road.lock().unwrap().len(), ROADS_LIMIT);
        meters.give_up(&[1, 3]);
        meters.arrive(&[1], tick(21));
        assert_eq!(meters.readable.show().count, 1);
        meters.arrive(&[4], tick(21));
        assert_eq!(meters.readable.show().count, 2);
    }
}
