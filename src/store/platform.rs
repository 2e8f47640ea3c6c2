//! What the platform told of the extension: a short queue of what was acknowledged, and the records
//! that it becomes.
//!
//! An event is numbered when it is taken in, and its record has that number. It leaves the queue in
//! the batch that writes the record and its change, so that no crash loses or doubles it. Both are
//! bounded: a queue that is full is told to the caller, and the oldest record gives way.

use std::ops::Bound::Included;
use std::sync::atomic::Ordering;

use super::commit::{Commit, Write, write_entries};
use super::down::{Down, Tops};
use super::keys::{self, Key};
use super::past::{Past, Range, Step};
use super::{Damage, Durable, EnqueueError, Store, StoreError, values};
use crate::mirror::platform::{Announced, Recorded};
use crate::mirror::record::{ChangeKind, Entry, ModuleName, RecordId};
use crate::mirror::time::UpstreamTime;

/// Events that may wait at once. The heart takes them within moments, or within the minutes of a
/// call that hangs; a person who sets up an extension makes a few in an hour.
pub const EVENTS_WAITING_LIMIT: u64 = 1_000;

/// Events that are kept as records: years of an extension's life, in some 100 KB.
pub const EVENTS_KEPT_LIMIT: u64 = 1_000;

/// Records that one commit removes at most; it adds one.
const REMOVED_AT_ONCE: usize = 10;

impl Store {
    /// Puts an event at the end of the queue, and comes back when it is on disk.
    pub fn enqueue_event(&self, event: &Announced) -> Result<Durable, EnqueueError> {
        let taken = self.write("enqueue an event", |db, tails| {
            if tails.events >= EVENTS_WAITING_LIMIT {
                return Ok(false);
            }
            let key = Key::Event(tails.last_event + 1).bytes();
            let value = values::write_plain(&key, event);
            // Not in a batch, and flushed here, as arrivals are: see `Store::take_in`.
            db.insert(key, value)?;
            db.flush()?;
            tails.last_event += 1;
            tails.events += 1;
            Ok(true)
        })?;
        if taken {
            Ok(Durable(()))
        } else {
            Err(EnqueueError::Full { waiting: EVENTS_WAITING_LIMIT })
        }
    }

    /// The event that has waited longest, and its number.
    pub fn next_event(&self) -> Result<Option<(u64, Announced)>, StoreError> {
        Ok(self.waiting_events(1)?.pop())
    }

    /// The events that have waited longest, at most `limit`, and their numbers. One that cannot be
    /// read is passed over.
    pub fn waiting_events(&self, limit: usize) -> Result<Vec<(u64, Announced)>, StoreError> {
        self.run("read the platform's queue", |db| {
            self.collect(&mut Past::kind(db, keys::EVENT), limit, |key, value| {
                match Key::parse(key) {
                    Some(Key::Event(number)) => Ok(Some((number, values::read_plain(key, value)?))),
                    _ => Err(Damage::Content),
                }
            })
        })
    }

    /// Writes the event of this number as a record and as a change, and takes it out of the queue.
    /// Not flushed: what a power cut takes back still waits.
    pub fn commit_event(&self, number: u64, event: &Recorded) -> Result<(), StoreError> {
        let record = event.record(number);
        let write =
            Write { id: record.id(), entry: Entry::Live(record), change: Some(ChangeKind::Upsert) };
        let commit = of_platform(event.time, vec![write]);
        let last = self.write_much("commit an event", commit.bytes(), 1, |db, tails| {
            let mut batch = sled::Batch::default();
            write_entries(db, tails, &mut batch, &commit)?;
            let key = Key::Event(number).bytes();
            if db.contains_key(&key)? {
                tails.events = tails.events.saturating_sub(1);
            }
            batch.remove(key);
            let surplus = records_through(number.saturating_sub(EVENTS_KEPT_LIMIT));
            for step in Past::new(db, surplus).take(REMOVED_AT_ONCE) {
                if let Step::Pair(key, _) = step? {
                    batch.remove(key);
                }
            }
            // As in `Store::commit`: said before it is done.
            self.0.shown.oldest_change.store(tails.oldest_change, Ordering::Release);
            db.apply_batch(batch)?;
            Ok(tails.last_change)
        })?;
        self.0.bell.ring(last);
        Ok(())
    }

    /// The newest event that was recorded, and its number.
    pub fn newest_event(&self) -> Result<Option<(u64, Recorded)>, StoreError> {
        let newest = self.live_page(&ModuleName::platform(), None, true, 0, 1)?;
        let newest = newest.first();
        Ok(newest.and_then(|record| Some((record.id().number(), Recorded::of(record)?))))
    }
}

/// Where the numbers of events ended, and how many wait.
pub(super) fn survey(db: &sled::Db) -> sled::Result<(u64, u64)> {
    let (mut last, mut waiting) = (0, 0);
    for step in Past::kind(db, keys::EVENT) {
        if let Step::Pair(key, _) = step? {
            if let Some(Key::Event(number)) = Key::parse(&key) {
                (last, waiting) = (number, waiting + 1);
            }
        }
    }
    let tops = Tops::default();
    let mut recorded = Down::new(db, &tops, records_through(u64::MAX));
    if let Some(Step::Pair(key, _)) = recorded.next().transpose()? {
        last = last.max(keys::id_at_end(&key).map_or(0, RecordId::number));
    }
    Ok((last, waiting))
}

/// All keys of recorded events up to this number.
fn records_through(last: u64) -> Range {
    let key = |number| Key::Record(ModuleName::platform(), RecordId::new(number)).bytes();
    (Included(key(0)), Included(key(last)))
}

/// A commit of the platform's own module. There is no ledger of it: nothing is to be proved.
fn of_platform(time: UpstreamTime, writes: Vec<Write>) -> Commit {
    Commit { writes, ..Commit::new(ModuleName::platform(), time) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::platform::{Event, OrgId};

    fn announced(event: Event) -> Announced {
        Announced { event, org: OrgId::parse("387238").unwrap(), heard: None }
    }

    fn record_next(store: &Store) -> Option<(u64, Event)> {
        let (number, Announced { event, org, .. }) = store.next_event().unwrap()?;
        let time = UpstreamTime::from_unix(1_800_000_000);
        store.commit_event(number, &Recorded { event, org, time }).unwrap();
        Some((number, event))
    }

    /// A place that is removed again.
    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let name = format!("crmirror-platform-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&path);
            Directory(path)
        }

        fn open(&self) -> Store {
            let (store, healings) = Store::open(&self.0).unwrap();
            assert!(healings.is_empty(), "{healings:?}");
            store
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn events_leave_the_queue_in_order_and_have_numbers_of_their_own() {
        let directory = Directory::new("order");
        let store = directory.open();
        assert_eq!(store.next_event().unwrap(), None);
        for event in Event::ALL {
            let _ = store.enqueue_event(&announced(event)).unwrap();
        }
        assert_eq!(record_next(&store), Some((1, Event::Install)));
        drop(store);
        let store = directory.open();
        let rest: Vec<_> = std::iter::from_fn(|| record_next(&store)).collect();
        assert_eq!(rest, (2..).zip(Event::ALL[1..].iter().copied()).collect::<Vec<_>>());
        drop(store);
        let store = directory.open();
        let _ = store.enqueue_event(&announced(Event::Update)).unwrap();
        assert_eq!(record_next(&store), Some((9, Event::Update)), "no number is given twice");
        assert_eq!(store.newest_event().unwrap().unwrap().0, 9);
        let changes = store.changes(0, 100).unwrap();
        let ids: Vec<u64> = changes.iter().map(|change| change.id.number()).collect();
        assert_eq!(ids, (1..=9).collect::<Vec<_>>());
        assert!(changes.iter().all(|change| change.module.is_platform()));
    }

    #[test]
    fn both_the_queue_and_the_records_are_bounded() {
        let directory = Directory::new("bounds");
        let store = directory.open();
        for _ in 0..EVENTS_WAITING_LIMIT {
            let _ = store.enqueue_event(&announced(Event::Update)).unwrap();
        }
        let refused = store.enqueue_event(&announced(Event::Update)).unwrap_err();
        assert_eq!(refused, EnqueueError::Full { waiting: EVENTS_WAITING_LIMIT });
        while record_next(&store).is_some() {}
        for _ in 0..5 {
            let _ = store.enqueue_event(&announced(Event::Install)).unwrap();
            assert!(record_next(&store).is_some());
        }
        let platform = ModuleName::platform();
        let kept = store.live_page(&platform, None, false, 0, 2_000).unwrap();
        assert_eq!(kept.len() as u64, EVENTS_KEPT_LIMIT);
        assert_eq!(kept[0].id(), RecordId::new(6), "the oldest gave way");
    }
}
