//! What survives: the inbox, the records, their changes and what is proved about them, in one sled
//! tree, each transaction one atomic batch.
//!
//! Two roads lead in. [`Store::enqueue`] takes arrivals and comes back when they are on disk: only
//! it and [`Store::flush`] make a [`Durable`], and only with one can a callback be acknowledged.
//! [`Store::commit`] writes what a fetch led to. Many threads enqueue; one commits. Reading
//! (`read.rs`) never waits for either.
//!
//! The store decides nothing about records: who wins is said in `mirror/`. It reads no clock. It
//! does not go on after a failure of sled: it refuses every further write, and what lies on disk is
//! trusted again only by the next [`Store::open`]. This room is the only one that names sled.

mod bell;
mod commit;
mod desk;
mod documents;
mod down;
mod erase;
mod error;
mod examine;
mod explain;
pub mod file;
mod import;
mod index;
mod keys;
mod maintain;
mod numbers;
mod open;
pub mod outbox;
mod pack;
mod parts;
mod past;
mod place;
mod platform;
mod read;
mod rebuild;
mod room;
mod seed;
mod shed;
mod snapshot;
mod sync;
mod tombstones;
mod values;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::mirror::credits::Spending;
use crate::mirror::inbox::{Arrival, InboxItem, InboxSequence};
use crate::mirror::record::{Entry, FieldName, ModuleName, RecordId};
use crate::mirror::time::UpstreamTime;
use crate::vitals::{Crew, Mark};

pub use bell::{Bell, Ear};
pub use commit::{CHANGE_LIMIT, Change, Commit, Committed, QUARANTINE_LIMIT, Write};
pub use erase::erase;
pub use error::{EnqueueError, Healing, OpenError, StoreError};
pub use examine::{Counted, Examination, examine, examine_pair};
pub use explain::{ChangeOf, Explanation, Proof, SetAside, State};
pub use import::{Imported, import};
pub use index::{Index, Order, Phase};
pub use maintain::Maintenance;
pub use platform::{EVENTS_KEPT_LIMIT, EVENTS_WAITING_LIMIT};
pub use room::Room;
pub use seed::{Contents, Description, SeedError, Shape, Terms, write_seed};
pub use snapshot::SnapshotReport;
pub use tombstones::{TOMBSTONE_AGE, TOMBSTONE_LIMIT};
pub use values::Damage;
pub use walk::{Sight, Slice, Walked};

use desk::{Desk, Outcome, Ticket};
use down::{Down, Tops};
use index::Shelf;
use keys::Key;
use numbers::Numbers;
use pack::{Dictionaries, Packing, Unpacker};
use past::{Gap, Past, Range, Steps};
use place::Place;
use room::Runway;
use tombstones::Walk;

/// Ids that may wait at once. The planner holds each in about 150 bytes, so this is 3 MB; it is a
/// day of one callback every five seconds. A mass import beyond it is found by catch-up.
pub const INBOX_LIMIT: u64 = 20_000;

/// The store. Clones share it; it closes, and another process can open it, when the last is gone.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

/// Proof that everything enqueued or committed before it was made is on disk, past a power cut.
///
/// Only this room makes one, after a flush that ended in an fsync. It proves one acknowledgement:
/// it cannot be copied.
#[must_use = "this is the right to acknowledge"]
#[derive(Debug)]
pub struct Durable(());

/// What the store holds about an id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// What the mirror knows of it.
    pub entry: Entry,
    /// The sequence of the last change of it that a reader could see; when none could, the last
    /// sequence there was when it was first written.
    pub sequence: u64,
}

struct Shared {
    db: sled::Db,
    desk: Desk,
    tails: Mutex<Tails>,
    shown: Shown,
    dictionaries: Arc<Dictionaries>,
    bell: Arc<Bell>,
    numbers: Numbers,
    failed: AtomicBool,
    crew: Crew,
    unreadable: AtomicU64,
    damaged: AtomicBool,
    /// Bytes that it took on disk when it was opened, or last found to be oversized or not.
    looked_at: AtomicU64,
    /// Held while a snapshot is taken: one at a time.
    snapshots: Mutex<()>,
    tombstones: Mutex<BTreeMap<ModuleName, Walk>>,
    tops: Tops,
    /// Held for a look or a change in memory, never while the disk is waited for.
    outbox: Mutex<outbox::Calls>,
    place: Place,
    runway: Runway,
    /// Held for as long as `db` is open: fields are dropped in the order in which they stand.
    _lock: File,
}

/// Where each numbered kind goes on, and what is counted. Whoever holds them may write.
#[derive(Default)]
struct Tails {
    last_inbox: InboxSequence,
    waiting: u64,
    last_change: u64,
    /// The oldest change kept; one more than the last when none is.
    oldest_change: u64,
    /// Numbers of changes up to this one may be given: it is kept that they were.
    reserved: u64,
    quarantined: BTreeMap<(ModuleName, RecordId), UpstreamTime>,
    packing: Packing,
    /// The number of the last event of the platform that was taken in, and how many wait.
    last_event: u64,
    events: u64,
    /// What the outbox held when the store was opened, until it is opened itself.
    outbox: outbox::Calls,
    indexes: Arc<Shelf>,
    /// The indexes that there should be, once somebody has said so.
    wanted: Option<BTreeMap<ModuleName, BTreeSet<Index>>>,
}

/// The counts as of the last write, for whoever wants to know them without waiting for a writer.
#[derive(Default)]
struct Shown {
    waiting: AtomicU64,
    last_change: AtomicU64,
    oldest_change: AtomicU64,
    quarantined: AtomicU64,
    indexes: Mutex<Arc<Shelf>>,
}

impl Store {
    /// Opens the store in `directory`, and makes what is missing. What a crash, a full disk or bit
    /// rot left behind does not keep it from opening: it is mended, or set aside and started
    /// empty, and the caller is told what was done.
    pub fn open(directory: &Path) -> Result<(Store, Vec<Healing>), OpenError> {
        let mut opened = open::open(directory)?;
        let numbers = opened.number()?;
        let outbox = Mutex::new(std::mem::take(&mut opened.tails.outbox));
        let shown = Shown::default();
        shown.publish(&opened.tails);
        let bell = Arc::new(Bell::new(opened.tails.last_change));
        let dictionaries = Arc::clone(&opened.tails.packing.dictionaries);
        let runway = Runway::behind(&opened.place.sled().join("db"));
        let shared = Shared {
            looked_at: AtomicU64::new(opened.place.size()),
            db: opened.db,
            desk: Desk::default(),
            tails: Mutex::new(opened.tails),
            shown,
            dictionaries,
            bell,
            numbers,
            failed: AtomicBool::new(false),
            // Whoever writes holds up all the others: one that does not come back is enough.
            crew: Crew::new(1),
            unreadable: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            snapshots: Mutex::default(),
            tombstones: Mutex::default(),
            tops: Tops::default(),
            outbox,
            place: opened.place,
            runway,
            _lock: opened.lock,
        };
        Ok((Store(Arc::new(shared)), opened.healings))
    }

    /// Puts arrivals at the end of the inbox, and comes back when they are on disk. They get
    /// consecutive numbers, and are seen by [`Store::inbox`] all at once.
    ///
    /// Threads that come at the same time share flushes: while one fsync runs, the arrivals of the
    /// others gather on the desk, and the next takes them all.
    pub fn enqueue(&self, arrivals: &[Arrival]) -> Result<(Durable, Vec<InboxItem>), EnqueueError> {
        let items = self.0.desk.pass(arrivals, |tickets| self.take_in(tickets))?;
        Ok((Durable(()), items))
    }

    /// Takes in what lies on the desk, with one flush. Not in a batch: sled brings the head of each
    /// batch to disk on its own, with an fsync of its own, and ids of which a crash leaves a part
    /// are merely fetched without having been acknowledged. The flush is part of the write: one
    /// that met a commit half-way would split that in the same manner.
    fn take_in(&self, tickets: &[Ticket]) -> Vec<Outcome> {
        let taken = self.write("enqueue", |db, tails| {
            let mut outcomes = Vec::new();
            for ticket in tickets {
                if tails.waiting.saturating_add(ticket.arrivals.len() as u64) > INBOX_LIMIT {
                    outcomes.push(Err(EnqueueError::Full { waiting: tails.waiting }));
                    continue;
                }
                let items = tails.number(ticket.arrivals.iter().cloned());
                for item in &items {
                    let (key, value) = kept(item);
                    db.insert(key, value)?;
                }
                outcomes.push(Ok(items));
            }
            if outcomes.iter().any(Result::is_ok) {
                db.flush()?;
            }
            Ok(outcomes)
        });
        taken.unwrap_or_else(|error| tickets.iter().map(|_| Err(error.clone().into())).collect())
    }

    /// Brings everything written so far to disk.
    pub fn flush(&self) -> Result<Durable, StoreError> {
        self.check("flush")?;
        self.run("flush", |db| db.flush())?;
        Ok(Durable(()))
    }

    /// Keeps the field names of a module, in place of those kept before. Not flushed: they can be
    /// asked for again.
    pub fn set_fields(&self, module: &ModuleName, fields: &[FieldName]) -> Result<(), StoreError> {
        let key = Key::Fields(module.clone()).bytes();
        let value = values::write_plain(&key, &fields);
        self.write("write field names", |db, _| db.insert(key, value).map(|_| ()))
    }

    /// Keeps what was spent, in place of what was kept before. Not flushed: a power cut forgives a
    /// few credits at most.
    pub fn set_spending(&self, spending: &Spending) -> Result<(), StoreError> {
        self.keep_spending(&Key::Spending, spending)
    }

    /// The same for the calls of Books.
    pub fn set_books_spending(&self, spending: &Spending) -> Result<(), StoreError> {
        self.keep_spending(&Key::BooksSpending, spending)
    }

    fn keep_spending(&self, key: &Key, spending: &Spending) -> Result<(), StoreError> {
        let key = key.bytes();
        let value = values::write_plain(&key, spending);
        self.write("write credits", |db, _| db.insert(key, value).map(|_| ()))
    }

    /// How many ids wait in the inbox.
    pub fn waiting(&self) -> u64 {
        self.0.shown.waiting.load(Ordering::Acquire)
    }

    /// The sequence of the newest change; 0 before the first.
    pub fn last_sequence(&self) -> u64 {
        self.0.shown.last_change.load(Ordering::Acquire)
    }

    /// The sequence of the oldest change that is kept; one more than the newest when none is.
    pub fn oldest_change(&self) -> u64 {
        self.0.shown.oldest_change.load(Ordering::Acquire)
    }

    /// What is rung when there are changes.
    pub fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.0.bell)
    }

    /// How many records are set aside.
    pub fn quarantined_count(&self) -> u64 {
        self.0.shown.quarantined.load(Ordering::Acquire)
    }

    /// An error when an operation has failed, so that the store takes no more writes.
    pub fn healthy(&self) -> Result<(), StoreError> {
        self.check("go on")
    }

    /// Whether an operation has failed, so that the store takes no more writes.
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Whether a page of the store was found damaged. What can be read goes on to be served; the
    /// next start carries it into a new store, and has the rest fetched. The daemon had better end
    /// and be started again.
    pub fn damaged(&self) -> bool {
        self.0.damaged.load(Ordering::Acquire)
    }

    /// What is being done with sled, and how much has been.
    pub fn mark(&self) -> Mark {
        self.0.crew.mark()
    }

    /// Bytes that the store takes on disk.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.run("measure itself", |db| db.size_on_disk())
    }

    /// All keys within these bounds, from the lowest up or from the highest down.
    fn way(&self, range: Range, descending: bool) -> Box<Steps<'_>> {
        match descending {
            true => Box::new(Down::new(&self.0.db, &self.0.tops, range)),
            false => Box::new(Past::new(&self.0.db, range)),
        }
    }

    /// What reads the values of records.
    fn unpacker(&self) -> Unpacker<'_> {
        Unpacker::new(&self.0.dictionaries)
    }

    /// Does one small write, alone.
    fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&sled::Db, &mut Tails) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        self.write_much(operation, 0, 0, work)
    }

    /// Does one write of about so many bytes and changes, alone. The counts are shown once it has
    /// succeeded, so that none runs ahead of what can be read.
    fn write_much<T>(
        &self,
        operation: &'static str,
        bytes: u64,
        changes: u64,
        work: impl FnOnce(&sled::Db, &mut Tails) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        let mut tails = self.0.tails.lock().expect("panics of a write are caught below");
        self.check(operation)?;
        self.reserve(operation, &mut tails, changes)?;
        self.check_room(bytes)?;
        let done = self.run(operation, |db| work(db, &mut tails))?;
        self.0.shown.publish(&tails);
        Ok(done)
    }

    /// Refuses to write after a failure: what sled holds in memory and what is on disk may differ,
    /// and an fsync that failed once succeeds the second time without having written.
    fn check(&self, operation: &'static str) -> Result<(), StoreError> {
        if !self.has_failed() {
            return Ok(());
        }
        Err(self.failure(operation, "an earlier operation on it failed".into()))
    }

    /// Does one thing with sled. Its errors and panics are alike: both end the store's use.
    fn run<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        let _at_work = self.0.crew.begin();
        let cause = match catch_unwind(AssertUnwindSafe(|| work(&self.0.db))) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => {
                if past::is_damage(&error) {
                    self.condemn(&error.to_string());
                }
                error.to_string()
            }
            Err(panic) => open::panic_text(&*panic),
        };
        self.0.failed.store(true, Ordering::Release);
        Err(self.failure(operation, cause))
    }

    /// Keys cannot be read for a damaged page.
    fn found_damage(&self, gap: &Gap) {
        self.0.unreadable.fetch_add(1, Ordering::Relaxed);
        let (from, through) = (read::describe(&gap.from), read::describe(&gap.through));
        self.condemn(&format!("what lies from {from} through {through}: {}", gap.cause));
    }

    fn condemn(&self, cause: &str) {
        if !self.0.damaged.swap(true, Ordering::AcqRel) {
            log::error!("the store is damaged: {cause}; it is made anew at the next start");
            self.0.place.condemn(cause);
        }
    }

    fn failure(&self, operation: &'static str, cause: String) -> StoreError {
        StoreError::Failed { operation, path: self.0.place.sled(), cause }
    }
}

impl Tails {
    /// Gives arrivals their numbers and adds them to the batch.
    fn take_in(
        &mut self,
        batch: &mut sled::Batch,
        arrivals: impl Iterator<Item = Arrival>,
    ) -> Vec<InboxItem> {
        let items = self.number(arrivals);
        for (key, value) in items.iter().map(kept) {
            batch.insert(key, value);
        }
        items
    }

    /// Gives arrivals their numbers.
    fn number(&mut self, arrivals: impl Iterator<Item = Arrival>) -> Vec<InboxItem> {
        let items: Vec<InboxItem> = (self.last_inbox + 1..)
            .zip(arrivals)
            .map(|(sequence, arrival)| InboxItem { sequence, arrival })
            .collect();
        self.last_inbox += items.len() as u64;
        self.waiting += items.len() as u64;
        items
    }
}

/// An inbox item as it is kept.
fn kept(item: &InboxItem) -> (Vec<u8>, Vec<u8>) {
    let key = Key::Inbox(item.sequence).bytes();
    let value = values::write_plain(&key, &item.arrival);
    (key, value)
}

impl Shown {
    fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.indexes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, tails: &Tails) {
        self.waiting.store(tails.waiting, Ordering::Release);
        self.oldest_change.store(tails.oldest_change, Ordering::Release);
        self.last_change.store(tails.last_change, Ordering::Release);
        self.quarantined.store(tails.quarantined.len() as u64, Ordering::Release);
        *self.indexes.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&tails.indexes);
    }
}
