//! The transaction: what one observation led to, written whole or not at all.
//!
//! Records, their changes, what indexes say of them, the ledger, and the inbox items that are
//! thereby settled go into one batch. Whether a record is to be written, and whether a reader is to
//! hear of it, has been decided before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::Included;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::keys::Key;
use super::past::{Past, Step};
use super::read::{self, FIRST_ID, LAST_ID};
use super::{Store, StoreError, Tails, index, parts, values};
use crate::mirror::gather::Gather;
use crate::mirror::inbox::{Arrival, InboxItem, InboxSequence, Quarantined};
use crate::mirror::ledger::Ledger;
use crate::mirror::record::{ChangeKind, Entry, ModuleName, RecordId};
use crate::mirror::road::{How, Road, Stretches, road_at, stretches};
use crate::mirror::time::UpstreamTime;

/// Changes that are kept for readers of `/changes`; older ones give way. About 150 bytes each: 15
/// MB of data, some 50 MB on disk as sled keeps it, and weeks of changes for a reader that was
/// away.
pub const CHANGE_LIMIT: u64 = 100_000;

/// Changes that are kept under one key: those of a commit together, since a key for each costs more
/// than the records themselves, in bytes that are written and in segments that sled has to clean.
/// So few that the value stays in sled's log.
const CHANGES_A_KEY: usize = 200;

/// Keys of old changes that one commit removes. It adds fewer; only a store that was written under
/// a larger limit has so many to remove, and spread over commits, none of them takes long.
const KEYS_TRIMMED: usize = 100;

/// Records that are kept set aside. More than a person looks through; the oldest gives way.
pub const QUARANTINE_LIMIT: usize = 1_000;

/// What one observation of a module led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The module of everything that is written, settled and released.
    pub module: ModuleName,
    /// When (upstream) it was observed; the time of its changes.
    pub time: UpstreamTime,
    /// Entries to write, in this order.
    pub writes: Vec<Write>,
    /// The module's ledger from now on.
    pub ledger: Ledger,
    /// Inbox items that need no more fetching. Those that are gone already are passed over.
    pub settled: Vec<InboxSequence>,
    /// Ids that are to be fetched. They are taken in even beyond [`super::INBOX_LIMIT`]: whoever
    /// scans asks for no further page while the inbox is that full.
    pub arrivals: Vec<Arrival>,
    /// Records to set aside.
    pub set_aside: Vec<Quarantined>,
    /// Records that are set aside no longer, if they were.
    pub released: Vec<RecordId>,
    /// How the records came to be seen.
    pub how: How,
}

impl Commit {
    /// A commit of what was observed of a module then, which so far changes nothing; it leaves the
    /// ledger of a module that has not been looked at yet.
    pub fn new(module: ModuleName, time: UpstreamTime) -> Commit {
        Commit {
            module,
            time,
            writes: Vec::new(),
            ledger: Ledger::default(),
            settled: Vec::new(),
            arrivals: Vec::new(),
            set_aside: Vec::new(),
            released: Vec::new(),
            how: How::Untold,
        }
    }

    /// About how much is written: the records, of which one can be as large as a reply.
    pub(super) fn bytes(&self) -> u64 {
        self.writes.iter().filter_map(Write::json).map(|json| json.len() as u64).sum()
    }
}

/// An entry to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The id it is written under; of a live record, its own.
    pub id: RecordId,
    /// What the mirror knows of it from now on.
    pub entry: Entry,
    /// What a reader is told; `None` when there is nothing new to see. The entry keeps its sequence
    /// then.
    pub change: Option<ChangeKind>,
}

impl Write {
    /// The text of a live record.
    fn json(&self) -> Option<&str> {
        match &self.entry {
            Entry::Live(record) => Some(record.json()),
            Entry::Tombstone { .. } => None,
        }
    }
}

/// What a commit gave out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The sequence of the newest change.
    pub last_sequence: u64,
    /// The arrivals under their numbers.
    pub arrived: Vec<InboxItem>,
}

/// One committed alteration of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its number on this device.
    pub sequence: u64,
    /// The module of the record.
    pub module: ModuleName,
    /// The record.
    pub id: RecordId,
    /// What happened to it.
    pub kind: ChangeKind,
    /// When (upstream) it was observed.
    pub time: UpstreamTime,
}

/// The changes of a commit as they are kept. Their numbers follow one another, and the last is in
/// the key: so whoever looks for what comes after a number finds the key that holds it.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptChanges {
    module: ModuleName,
    time: UpstreamTime,
    records: Vec<(RecordId, ChangeKind)>,
    /// How each came to be seen; empty where it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roads: Stretches,
}

impl KeptChanges {
    /// None, of this module: where it ends the numbers go on.
    pub(super) fn none(module: ModuleName) -> KeptChanges {
        let time = UpstreamTime::EPOCH;
        KeptChanges { module, time, records: Vec::new(), roads: Stretches::new() }
    }

    /// The same, for a device that has them of another one's store.
    pub(super) fn seeded(self, taken: UpstreamTime) -> KeptChanges {
        let road = Road::Seed { taken };
        KeptChanges { roads: stretches(self.records.iter().map(|_| Some(road))), ..self }
    }

    /// Whose records changed.
    pub(super) fn module(&self) -> &ModuleName {
        &self.module
    }

    /// How the record of this number came to be seen, if this is the number of the last.
    pub(super) fn road(&self, sequence: u64, last: u64) -> Option<Road> {
        let place = sequence.checked_sub(self.first(last))?;
        road_at(&self.roads, usize::try_from(place).ok()?)
    }

    /// The number of the first, if this is the number of the last.
    pub(super) fn first(&self, last: u64) -> u64 {
        last.saturating_add(1).saturating_sub(self.records.len() as u64)
    }

    /// The changes above `since`.
    pub(super) fn after(self, since: u64, last: u64) -> impl Iterator<Item = Change> {
        let numbered = (self.first(last)..=last).zip(self.records);
        let (module, time) = (self.module, self.time);
        numbered.filter(move |(sequence, _)| *sequence > since).map(
            move |(sequence, (id, kind))| Change {
                sequence,
                module: module.clone(),
                id,
                kind,
                time,
            },
        )
    }
}

impl Store {
    /// Writes a commit, whole or not at all, for readers and for a start after a crash alike.
    ///
    /// It is not flushed, and need not be: the inbox items that led to it leave in the same batch,
    /// so a power cut takes both or neither, and what it takes is fetched again. The batches that
    /// follow can share the fsync of the next [`Store::enqueue`].
    pub fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let changes = commit.writes.iter().filter(|write| write.change.is_some()).count() as u64;
        let committed = self.write_much("commit", commit.bytes(), changes, |db, tails| {
            let mut batch = sled::Batch::default();
            self.review_packing(db, tails, &mut batch, &commit)?;
            write_entries(db, tails, &mut batch, &commit)?;
            settle(db, tails, &mut batch, &commit.settled)?;
            tails.set_aside(&mut batch, &commit);
            index::follow(db, tails, &mut batch, &commit)?;
            let ledger = index::ledger(tails, &commit.module, &commit.ledger);
            batch.insert(Key::Ledger(commit.module).bytes(), ledger);
            let arrived = tails.take_in(&mut batch, commit.arrivals.into_iter());
            // Said before it is done, or a reader would pass over what has just gone.
            self.0.shown.oldest_change.store(tails.oldest_change, Ordering::Release);
            db.apply_batch(batch)?;
            Ok(Committed { last_sequence: tails.last_change, arrived })
        })?;
        self.0.bell.ring(committed.last_sequence);
        Ok(committed)
    }

    /// Makes a dictionary for the module's records if it is time to.
    fn review_packing(
        &self,
        db: &sled::Db,
        tails: &mut Tails,
        batch: &mut sled::Batch,
        commit: &Commit,
    ) -> sled::Result<()> {
        let records: Vec<&str> = commit.writes.iter().filter_map(Write::json).collect();
        let module = &commit.module;
        let kept = tails.packing.review(module, &records, tails.last_change, |limit| {
            let range = read::records(module, Included(FIRST_ID), Included(LAST_ID));
            self.live(&mut Past::new(db, range), 0, limit)
        })?;
        if let Some((key, value)) = kept {
            batch.insert(key, value);
        }
        Ok(())
    }
}

pub(super) fn write_entries(
    db: &sled::Db,
    tails: &mut Tails,
    batch: &mut sled::Batch,
    commit: &Commit,
) -> sled::Result<()> {
    let mut changes = Vec::new();
    // The last of several writes of a record is the one that stays.
    let mut last: BTreeMap<RecordId, (u64, &Entry)> = BTreeMap::new();
    for write in &commit.writes {
        let sequence = match (write.change, last.get(&write.id)) {
            (Some(kind), _) => {
                changes.push((write.id, kind));
                tails.last_change + changes.len() as u64
            }
            (None, Some((sequence, _))) => *sequence,
            (None, None) => {
                let key = Key::Record(commit.module.clone(), write.id).bytes();
                let stored = parts::read(db, &key)?;
                let kept = stored.as_ref().map(|value| values::read_kept(&key, value));
                match kept {
                    Some(Ok((sequence, _))) => sequence,
                    Some(Err(_)) | None => tails.last_change + changes.len() as u64,
                }
            }
        };
        last.insert(write.id, (sequence, &write.entry));
    }
    for (id, (sequence, entry)) in last {
        let key = Key::Record(commit.module.clone(), id).bytes();
        let value = tails.packing.write(&key, &commit.module, entry, sequence);
        parts::replace(db, batch, key, value)?;
    }
    tails.add_changes(batch, commit, &changes);
    tails.trim_changes(db, batch)
}

fn settle(
    db: &sled::Db,
    tails: &mut Tails,
    batch: &mut sled::Batch,
    settled: &[InboxSequence],
) -> sled::Result<()> {
    let settled: BTreeSet<&InboxSequence> = settled.iter().gather();
    for sequence in settled {
        let key = Key::Inbox(*sequence).bytes();
        if db.contains_key(&key)? {
            batch.remove(key);
            tails.waiting = tails.waiting.saturating_sub(1);
        }
    }
    Ok(())
}

fn plain<T: Serialize>(batch: &mut sled::Batch, key: &Key, content: &T) {
    let key = key.bytes();
    let value = values::write_plain(&key, content);
    batch.insert(key, value);
}

impl Tails {
    fn add_changes(
        &mut self,
        batch: &mut sled::Batch,
        commit: &Commit,
        changes: &[(RecordId, ChangeKind)],
    ) {
        for records in changes.chunks(CHANGES_A_KEY) {
            self.last_change += records.len() as u64;
            let (module, time) = (commit.module.clone(), commit.time);
            let roads = stretches(records.iter().map(|(id, _)| commit.how.road(*id)));
            let kept = KeptChanges { module, time, records: records.to_vec(), roads };
            plain(batch, &Key::Change(self.last_change), &kept);
        }
    }

    /// Removes the oldest changes, as far as all under their key are beyond the limit. The newest
    /// always stays: a start goes on from its number.
    fn trim_changes(&mut self, db: &sled::Db, batch: &mut sled::Batch) -> sled::Result<()> {
        let through = self.last_change.saturating_sub(CHANGE_LIMIT);
        if self.oldest_change > through {
            return Ok(());
        }
        let (lowest, highest) = Key::changes_from(0).into_inner();
        let oldest = Past::new(db, (Included(lowest), Included(highest)));
        for step in oldest.take(KEYS_TRIMMED) {
            let Step::Pair(key, _) = step? else { continue };
            match Key::parse(&key) {
                Some(Key::Change(sequence)) if sequence <= through => {
                    batch.remove(key);
                    self.oldest_change = sequence + 1;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, batch: &mut sled::Batch, commit: &Commit) {
        for id in &commit.released {
            if self.quarantined.remove(&(commit.module.clone(), *id)).is_some() {
                batch.remove(Key::Quarantined(commit.module.clone(), *id).bytes());
            }
        }
        for record in &commit.set_aside {
            self.quarantined.insert((record.module.clone(), record.id), record.since);
            plain(batch, &Key::Quarantined(record.module.clone(), record.id), record);
        }
        while self.quarantined.len() > QUARANTINE_LIMIT {
            let oldest = self.quarantined.iter().min_by_key(|(_, since)| **since);
            let Some(((module, id), _)) = oldest.map(|(name, since)| (name.clone(), *since)) else {
                break;
            };
            log::warn!("the quarantine is full: {module}/{id}, the oldest in it, is forgotten");
            batch.remove(Key::Quarantined(module.clone(), id).bytes());
            self.quarantined.remove(&(module, id));
        }
    }
}
