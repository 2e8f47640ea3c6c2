//! Making a store anew beside the old one, and putting it in its place.
//!
//! From the old store itself, key by key past what cannot be read; or from a snapshot. The new
//! store is whole on disk, and has been opened, before anything is renamed. A crash leads to a
//! good store wherever it comes:
//!
//! ```text
//! made beside   mirror.sled  mirror.sled.new                  the next start begins anew
//! old renamed                mirror.sled.new  mirror.sled.old the next start goes on
//! new renamed   mirror.sled                   mirror.sled.old the next start tidies up
//! tidied up     mirror.sled
//! ```
//! Which of this is done, and when, is said in `open.rs`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::keys::{
    CHANGE, DICTIONARY, DOCUMENT, EVENT, FIELDS, INBOX, Key, LEDGER, OUTBOX, QUARANTINED, RECORD,
};
use super::open::{FORMAT, Failure, attempt_at, has_format, judge, open_sled};
use super::pack::{Dictionaries, Unpacker};
use super::past::{Gap, Past, Step};
use super::place::{Place, unwritable};
use super::{parts, snapshot, values};
use crate::mirror::ledger::Ledger;
use crate::mirror::record::ModuleName;

/// The kinds that are taken over, in the order in which they are. Parts of records come with the
/// records.
const KINDS: [u8; 10] =
    [OUTBOX, INBOX, EVENT, LEDGER, FIELDS, DOCUMENT, QUARANTINED, DICTIONARY, RECORD, CHANGE];

/// Bytes that are written to the new store at once.
const BATCH: usize = 1 << 20;

/// Batches after which they are brought to disk: sled can let go of a page only then.
const FLUSH_EVERY: u32 = 8;

/// What was taken over into a new store.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Taken {
    /// Entries that were.
    pub(super) kept: u64,
    /// Values that could not be read, and stretches of keys behind which there may be any number.
    pub(super) unreadable: u64,
}

/// Which ledgers a new store has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Those of the old one, scans in progress included.
    Whole,
    /// What they say is complete; a catch-up goes on from there.
    UpToSnapshot,
    /// None: every module is listed anew, for what was lost may be anything.
    Withdrawn,
}

/// Makes a new store from what can be read of the old one. Where nothing is lost and `trusted`, the
/// ledgers stay as they are. Otherwise records that it lacks are looked for in the newest snapshot:
/// an old record is better than none, until the listing that follows has found the new one.
pub(super) fn salvage(place: &Place, trusted: bool) -> Result<Taken, Failure> {
    let old = open_sled(&place.sled())?;
    // Without its format it is still worth a look; a newer crmirror's store is not ours to mend.
    match has_format(&place.sled(), &old) {
        Ok(_) | Err(Failure::Unreadable(_)) => {}
        Err(failure) => return Err(failure),
    }
    let mut new = New::create(place)?;
    let mut gaps = Vec::new();
    for kind in KINDS {
        for step in Past::kind(&old, kind) {
            match step.map_err(|error| judge(&place.sled(), error))? {
                Step::Pair(key, value) => new.take(&key, &value)?,
                Step::Gap(gap) => gaps.push(gap),
            }
        }
    }
    if new.taken.kept == 0 {
        return Err(Failure::Unreadable("nothing in it can be read".into()));
    }
    new.taken.unreadable += gaps.len() as u64;
    let whole = trusted && new.taken.unreadable == 0;
    if !whole {
        fill(place, &gaps, &mut new)?;
    }
    drop(old);
    new.finish(if whole { Proof::Whole } else { Proof::Withdrawn })
}

/// Makes a new store from the newest snapshot that can be read; `None` when none can.
pub(super) fn restore(place: &Place) -> Result<Option<(Taken, PathBuf)>, Failure> {
    let Some(path) = newest(place) else { return Ok(None) };
    let mut new = New::create(place)?;
    for_each_in_newest(place, |key, value| new.take(&key, &value))?;
    Ok(Some((new.finish(Proof::UpToSnapshot)?, path)))
}

fn fill(place: &Place, gaps: &[Gap], new: &mut New<'_>) -> Result<(), Failure> {
    // What is written can be asked for.
    new.write()?;
    for_each_in_newest(place, |key, value| {
        let hidden = is_of_records(&key) || gaps.iter().any(|gap| gap.holds(&key));
        if hidden && !new.contains(&key)? { new.take(&key, &value) } else { Ok(()) }
    })
}

/// Puts records of the newest snapshot into a store that sled made the best of, where it has none.
pub(super) fn fill_in_place(place: &Place, db: &sled::Db) -> Result<(), Failure> {
    let judged = |error| judge(&place.sled(), error);
    for_each_in_newest(place, |key, value| {
        if is_of_records(&key) && !db.contains_key(&key).map_err(judged)? {
            let mut batch = sled::Batch::default();
            parts::divide(key, value, |key, value| batch.insert(key, value));
            db.apply_batch(batch).map_err(judged)?;
        }
        Ok(())
    })
}

/// Whether it is a record, or what records are packed with.
fn is_of_records(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(RECORD | DICTIONARY)))
}

/// Hands over what is in the newest snapshot that can be read, if there is one.
fn for_each_in_newest(
    place: &Place,
    mut take: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(path) = newest(place) else { return Ok(()) };
    let mut failure = None;
    let read = snapshot::read(&path, |key, value| {
        take(key, value).map_err(|stopped| {
            failure = Some(stopped);
            io::Error::other("it cannot be taken over")
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => read.map(|_| ()).map_err(|error| Failure::Unreadable(error.to_string())),
    }
}

/// The newest snapshot that can be read to its end: nothing is believed of one before.
fn newest(place: &Place) -> Option<PathBuf> {
    let listed = snapshot::list(&place.snapshots()).unwrap_or_default();
    listed.into_iter().map(|listed| listed.path).find(|path| {
        let read = snapshot::read(path, |_, _| Ok(()));
        if let Err(error) = &read {
            log::warn!("the snapshot {} cannot be used: {error}", path.display());
        }
        read.is_ok()
    })
}

/// A store in the making.
pub(super) struct New<'a> {
    place: &'a Place,
    db: sled::Db,
    batch: sled::Batch,
    batched: usize,
    unflushed: u32,
    ledgers: BTreeMap<ModuleName, Ledger>,
    counts: BTreeMap<ModuleName, u64>,
    dictionaries: Dictionaries,
    taken: Taken,
}

impl<'a> New<'a> {
    pub(super) fn create(place: &'a Place) -> Result<New<'a>, Failure> {
        place.remove_new()?;
        let db = open_sled(&place.new_sled())?;
        Ok(New {
            place,
            db,
            batch: sled::Batch::default(),
            batched: 0,
            unflushed: 0,
            ledgers: BTreeMap::new(),
            counts: BTreeMap::new(),
            dictionaries: Dictionaries::default(),
            taken: Taken::default(),
        })
    }

    /// Takes over one entry, if it can be read.
    pub(super) fn take(&mut self, bytes: &[u8], value: &[u8]) -> Result<(), Failure> {
        let (Some(key), Ok(())) = (Key::parse(bytes), values::check(bytes, value)) else {
            self.taken.unreadable += 1;
            return Ok(());
        };
        match &key {
            // Written at the end, when it is known what they may say.
            Key::Ledger(module) => {
                match values::read_plain(bytes, value) {
                    Ok(ledger) => drop(self.ledgers.insert(module.clone(), ledger)),
                    Err(_) => self.taken.unreadable += 1,
                }
                return Ok(());
            }
            Key::Record(module, _) => {
                let Ok(live) = Unpacker::new(&self.dictionaries).is_live(bytes, value) else {
                    self.taken.unreadable += 1;
                    return Ok(());
                };
                *self.counts.entry(module.clone()).or_default() += u64::from(live);
            }
            Key::Dictionary(..) => {
                if self.dictionaries.learn(bytes, value).is_err() {
                    self.taken.unreadable += 1;
                    return Ok(());
                }
            }
            // Indexes are built anew.
            Key::Format | Key::Term(..) | Key::Gone(..) | Key::Modified(..) | Key::Indexes(_) => {
                return Ok(());
            }
            // They came with their record, and are made anew.
            Key::Part(..) => return Ok(()),
            Key::Change(_)
            | Key::Event(_)
            | Key::Inbox(_)
            | Key::Fields(_)
            | Key::Document(..)
            | Key::Outbox(..)
            | Key::Quarantined(..)
            | Key::Spending
            | Key::BooksSpending
            | Key::Runs => {}
        }
        self.taken.kept += 1;
        self.put(bytes.to_vec(), value.to_vec())
    }

    /// Whether something is written under this key.
    fn contains(&self, key: &[u8]) -> Result<bool, Failure> {
        self.db.contains_key(key).map_err(|error| judge(&self.place.new_sled(), error))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Failure> {
        self.batched += key.len() + value.len();
        parts::divide(key, value, |key, value| self.batch.insert(key, value));
        if self.batched >= BATCH { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Failure> {
        let path = self.place.new_sled();
        if self.place.is_full()? {
            return Err(unwritable(&path, io::ErrorKind::StorageFull.into()).into());
        }
        self.batched = 0;
        let batch = std::mem::take(&mut self.batch);
        self.db.apply_batch(batch).map_err(|error| judge(&path, error))?;
        self.unflushed += 1;
        if self.unflushed < FLUSH_EVERY {
            return Ok(());
        }
        self.unflushed = 0;
        self.db.flush().map(|_| ()).map_err(|error| judge(&path, error))
    }

    /// Writes the ledgers and brings everything to disk; then the store is opened once, as a start
    /// would, before anybody relies on it.
    pub(super) fn finish(mut self, proof: Proof) -> Result<Taken, Failure> {
        for module in self.counts.keys() {
            self.ledgers.entry(module.clone()).or_default();
        }
        for (module, ledger) in std::mem::take(&mut self.ledgers) {
            let records = self.counts.get(&module).copied().unwrap_or(0);
            let ledger = match proof {
                Proof::Whole => Ledger { records, ..ledger },
                Proof::UpToSnapshot => Ledger { records, scan: None, ..ledger },
                Proof::Withdrawn => Ledger { records, ..Ledger::default() },
            };
            let key = Key::Ledger(module).bytes();
            let value = values::write_plain(&key, &ledger);
            self.put(key, value)?;
        }
        let key = Key::Format.bytes();
        let value = values::write_plain(&key, &FORMAT);
        self.put(key, value)?;
        self.write()?;
        let New { place, db, taken, .. } = self;
        let path = place.new_sled();
        db.flush().map_err(|error| judge(&path, error))?;
        drop(db);
        drop(attempt_at(place, &path, false)?);
        place.sync_names(&path)?;
        Ok(taken)
    }
}
