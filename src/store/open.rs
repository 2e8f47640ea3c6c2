//! Opening: from whatever a crash, a full disk or bit rot left behind to a store that can be used.
//!
//! In order: our own lock; free space, with a ballast file to give up for it; sled's half-made
//! snapshots, which would keep it from opening for ever (sled #1527); then sled itself, which can
//! fail or panic. What sled can make anew from its log is removed and the opening retried, after
//! which the content counts as unproved. If that does not help, everything that can still be read
//! is carried into a new store; else the newest snapshot is; else the store starts empty: what is
//! lost can be had from upstream. The old store is kept aside. Nothing is mended for a reason that
//! mending does not help: no permission, no space, another process. How a store is made anew is
//! said in `rebuild.rs`.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound::Included;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Tails;
use super::commit::KeptChanges;
use super::down::{Down, Tops};
use super::error::{Healing, OpenError};
use super::keys::Key;
use super::numbers::Numbers;
use super::pack::{Dictionaries, Packing, Unpacker};
use super::past::{Past, Step};
use super::place::{Place, unwritable};
use super::rebuild::Taken;
use super::values::{self, Damage};
use super::{index, outbox, parts, platform, read, rebuild, sync};
use crate::mirror::inbox::Quarantined;
use crate::mirror::ledger::Ledger;
use crate::mirror::record::ModuleName;

/// sled's cache. It is no limit on memory, but keeps it near 70 MB under load; the default is 1
/// GiB.
const CACHE: u64 = 16 << 20;

/// Milliseconds between sled's own flushes, which also clean its file. Acknowledgements have
/// their own; the default of 500 would wear out an SD card on an idle device.
const FLUSH_EVERY: u64 = 5_000;

/// Tries to get sled's lock, which threads of a store that this process just closed, or failed to
/// open, may hold a moment longer. With the pauses between them, 2 s in all.
const LOCK_TRIES: u32 = 100;

/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The format of the whole store that this program writes; it reads all up to it. The first had no
/// packed records and no parts.
pub(super) const FORMAT: u32 = 2;

/// A store that has been opened.
pub(super) struct Opened {
    pub(super) db: sled::Db,
    pub(super) tails: Tails,
    pub(super) place: Place,
    pub(super) lock: File,
    pub(super) healings: Vec<Healing>,
}

impl Opened {
    /// Has the numbers of changes go on above all that may have been given.
    pub(super) fn number(&mut self) -> Result<Numbers, OpenError> {
        let last = self.tails.last_change;
        // Where none is kept, the oldest is still the one behind `last`: whoever has seen nothing
        // goes on from there, whatever numbers were lost.
        let (numbers, next) = Numbers::open(&self.place, last)?;
        (self.tails.last_change, self.tails.reserved) = (next, next);
        Ok(numbers)
    }
}

/// Opens the store in `directory`.
pub(super) fn open(directory: &Path) -> Result<Opened, OpenError> {
    if !sync::in_force() {
        return Err(OpenError::NoShim);
    }
    let place = Place::make(directory)?;
    let lock = place.lock()?;
    let mut healings = Vec::from_iter(place.make_room()?);
    place.finish_swap()?;
    healings.extend(place.remove_half_made_snapshots()?);
    let (db, tails) = open_or_heal(&place, &mut healings)?;
    place.remove_new()?;
    place.keep_ballast();
    Ok(Opened { db, tails, place, lock, healings })
}

/// Why one attempt failed.
pub(super) enum Failure {
    /// Mending does not help.
    Final(OpenError),
    /// What is on disk cannot be read.
    Unreadable(String),
}

impl Failure {
    fn is_for_want_of_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Failure::Final(OpenError::Unwritable { cause, .. })
            if matches!(cause.kind(), StorageFull | QuotaExceeded))
    }

    /// For when there is nothing left to try.
    pub(super) fn told(self, place: &Place) -> OpenError {
        match self {
            Failure::Final(error) => error,
            Failure::Unreadable(cause) => OpenError::Failed { path: place.sled(), cause },
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure::Final(error)
    }
}

fn open_or_heal(
    place: &Place,
    healings: &mut Vec<Healing>,
) -> Result<(sled::Db, Tails), OpenError> {
    if let Some(cause) = place.condemnation() {
        return heal(place, cause, healings);
    }
    let opened = compact(place, healings).and_then(|()| attempt(place, place.is_fresh()?));
    let cause = match opened {
        Ok(opened) => return Ok(opened),
        Err(Failure::Final(error)) => return Err(error),
        Err(Failure::Unreadable(cause)) => cause,
    };
    // A crash from here on is not to leave a store that opens and is trusted.
    place.condemn(&cause);
    Numbers::void(place)?;
    place.remove_what_sled_rebuilds()?;
    match rebuild_in_place(place) {
        Ok(opened) => {
            place.absolve()?;
            healings.push(Healing::Rebuilt { cause });
            Ok(opened)
        }
        Err(Failure::Final(error)) => Err(error),
        Err(Failure::Unreadable(_)) => heal(place, cause, healings),
    }
}

/// Has sled make the best of its log, adds what the newest snapshot has beyond, and reads it all.
fn rebuild_in_place(place: &Place) -> Result<(sled::Db, Tails), Failure> {
    // There was something, so what is empty now has lost it.
    let (db, mut tails) = attempt(place, false)?;
    rebuild::fill_in_place(place, &db)?;
    let judged = |error| judge(&place.sled(), error);
    tails.packing = Packing::survey(&db).map_err(judged)?;
    distrust(&db, &tails.packing.dictionaries).map_err(judged)?;
    // On disk they have lost their mark with the ledgers.
    tails.indexes = Arc::default();
    Ok((db, tails))
}

/// Makes a store anew that is much larger than what is in it. When there is no room for that now,
/// the next snapshot finds out again.
fn compact(place: &Place, healings: &mut Vec<Healing>) -> Result<(), Failure> {
    if !place.is_oversized() {
        return Ok(());
    }
    let before = place.size();
    match guarded(|| rebuild::salvage(place, true)) {
        Ok(taken) if taken.unreadable == 0 => {
            place.swap()?;
            healings.push(Healing::Compacted { before, after: place.size() });
            Ok(())
        }
        Ok(_) => Err(Failure::Unreadable("some of it could not be read to be compacted".into())),
        Err(failure) if failure.is_for_want_of_room() => {
            log::warn!("the store is not compacted: there is no room for a second one");
            place.remove_new()?;
            Ok(place.accept_size()?)
        }
        Err(failure) => Err(failure),
    }
}

/// Makes a store anew from whatever is left of a condemned one.
fn heal(
    place: &Place,
    cause: String,
    healings: &mut Vec<Healing>,
) -> Result<(sled::Db, Tails), OpenError> {
    Numbers::void(place)?;
    match remake(place) {
        Ok(remade) => {
            let to = place.broken();
            healings.push(match remade {
                Remade::Salvaged(Taken { kept, unreadable }) => {
                    place.swap()?;
                    Healing::Salvaged { kept, unreadable, to, cause }
                }
                Remade::Restored(taken, from) => {
                    place.swap()?;
                    Healing::Restored { kept: taken.kept, from, to, cause }
                }
                Remade::Nothing => {
                    place.set_aside()?;
                    Healing::SetAside { to, cause }
                }
            });
            // After setting aside there may still be snapshots, none of which can be read.
            attempt(place, true).map_err(|failure| failure.told(place))
        }
        Err(failure) if failure.is_for_want_of_room() => {
            place.remove_new()?;
            let (db, tails) = attempt(place, false).map_err(|_| failure.told(place))?;
            healings.push(Healing::Postponed { cause });
            // Nobody knows which of their keys are missing.
            Ok((db, Tails { indexes: Arc::default(), ..tails }))
        }
        Err(failure) => Err(failure.told(place)),
    }
}

/// What a store was made anew from.
enum Remade {
    Salvaged(Taken),
    Restored(Taken, std::path::PathBuf),
    Nothing,
}

fn remake(place: &Place) -> Result<Remade, Failure> {
    if place.is_full()? {
        return Err(unwritable(&place.sled(), io::ErrorKind::StorageFull.into()).into());
    }
    for last in [false, true] {
        match guarded(|| rebuild::salvage(place, false)) {
            Ok(taken) => return Ok(Remade::Salvaged(taken)),
            Err(Failure::Unreadable(_)) if !last => place.remove_what_sled_rebuilds()?,
            Err(Failure::Unreadable(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    match guarded(|| rebuild::restore(place)) {
        Ok(Some((taken, from))) => Ok(Remade::Restored(taken, from)),
        Ok(None) | Err(Failure::Unreadable(_)) => Ok(Remade::Nothing),
        Err(failure) => Err(failure),
    }
}

/// sled can panic on what it reads, at any time.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| Err(Failure::Unreadable(panic_text(&*panic))))
}

/// What is the matter with a store that says nothing of itself.
pub(super) const NOTHING_READ: &str = "its log cannot be read";

/// Opens sled as it lies there; a store in which there was nothing yet may be `fresh`.
fn attempt(place: &Place, fresh: bool) -> Result<(sled::Db, Tails), Failure> {
    attempt_at(place, &place.sled(), fresh)
}

/// The same for a store that is not in its place yet.
pub(super) fn attempt_at(
    place: &Place,
    path: &Path,
    fresh: bool,
) -> Result<(sled::Db, Tails), Failure> {
    let db = open_sled(path)?;
    let judged = |error| judge(path, error);
    // A log of which sled can read nothing opens as an empty store, without an error: only a key
    // that each of our stores has from its first moment tells it from a new one.
    let format = has_format(path, &db)?;
    if format.is_none() && !fresh {
        return Err(Failure::Unreadable(NOTHING_READ.into()));
    }
    // An older one is given the new number before it holds what an older crmirror cannot read.
    if format != Some(FORMAT) {
        let key = Key::Format.bytes();
        let value = values::write_plain(&key, &FORMAT);
        db.insert(key, value).and_then(|_| db.flush()).map_err(judged)?;
        place.sync_names(path)?;
    }
    let tails = guarded(|| survey(&db).map_err(judged))?;
    Ok((db, tails))
}

/// Which format the store says that it has; `None` when it says nothing. That of a newer crmirror
/// is an error.
pub(super) fn has_format(path: &Path, db: &sled::Db) -> Result<Option<u32>, Failure> {
    let key = Key::Format.bytes();
    let newer = |format| OpenError::Newer { path: path.to_owned(), format, reads: FORMAT };
    let value = db.get(&key).map_err(|error| judge(path, error))?;
    match value.map(|value| values::read_plain::<u32>(&key, &value)) {
        None => Ok(None),
        Some(Ok(format @ ..=FORMAT)) => Ok(Some(format)),
        Some(Ok(format)) => Err(newer(format).into()),
        Some(Err(Damage::Newer(version))) => Err(newer(version.into()).into()),
        Some(Err(damage)) => Err(Failure::Unreadable(damage.to_string())),
    }
}

pub(super) fn open_sled(path: &Path) -> Result<sled::Db, Failure> {
    let open = || {
        sled::Config::new()
            .path(path)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(FLUSH_EVERY))
            .mode(sled::Mode::LowSpace)
            .open()
    };
    for _ in 0..LOCK_TRIES {
        match catch_unwind(open) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) if is_locked(&error) => thread::sleep(LOCK_PAUSE),
            Ok(Err(error)) => return Err(judge(path, error)),
            Err(panic) => return Err(Failure::Unreadable(panic_text(&*panic))),
        }
    }
    Err(Failure::Final(OpenError::InUse { path: path.to_owned() }))
}

/// Whether an error is about what is on disk, or about being let to it.
pub(super) fn judge(path: &Path, error: sled::Error) -> Failure {
    match error {
        sled::Error::Io(cause) if !is_about_content(&cause) => {
            Failure::Final(unwritable(path, cause))
        }
        error => Failure::Unreadable(error.to_string()),
    }
}

/// sled says it in words only; the version is pinned.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(cause) if cause.to_string().contains("could not acquire lock"))
}

/// Whether the bytes are wrong: sled's own findings, or EIO, a block that the disk has lost.
pub(super) fn is_about_content(cause: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, Other, UnexpectedEof};
    matches!(cause.kind(), InvalidData | Other | UnexpectedEof)
        || cause.raw_os_error() == Some(libc::EIO)
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("without a word"))
}

/// Finds where each numbered kind ended, and counts what is counted.
fn survey(db: &sled::Db) -> sled::Result<Tails> {
    let (packing, indexes) = (Packing::survey(db)?, index::survey(db)?);
    let (last_event, events) = platform::survey(db)?;
    let outbox = outbox::survey(db)?;
    let mut tails = Tails { packing, indexes, outbox, last_event, events, ..Tails::default() };
    for key in db.range(Key::inbox()).keys() {
        if let Some(Key::Inbox(sequence)) = Key::parse(&key?) {
            tails.last_inbox = sequence;
            tails.waiting += 1;
        }
    }
    let change = |step| match step {
        Some(Step::Pair(key, value)) => Ok(match Key::parse(&key) {
            Some(Key::Change(last)) => {
                Some((last, values::read_plain::<KeptChanges>(&key, &value).ok()))
            }
            _ => None,
        }),
        Some(Step::Gap(gap)) => Err(sled::Error::ReportableBug(gap.cause)),
        None => Ok(None),
    };
    let (lowest, highest) = Key::changes_from(0).into_inner();
    let changes = (Included(lowest), Included(highest));
    let newest = Down::new(db, &Tops::default(), changes.clone()).next().transpose()?;
    let oldest = Past::new(db, changes).next().transpose()?;
    tails.last_change = change(newest)?.map_or(0, |(last, _)| last);
    tails.oldest_change =
        change(oldest)?.map_or(1, |(last, kept)| kept.map_or(last + 1, |kept| kept.first(last)));
    for pair in db.scan_prefix(Key::quarantine()) {
        let (key, value) = pair?;
        match values::read_plain::<Quarantined>(&key, &value) {
            Ok(record) => {
                tails.quarantined.insert((record.module, record.id), record.since);
            }
            Err(damage) => {
                log::warn!("{} is forgotten: {damage}", read::describe(&key));
                db.remove(&key)?;
            }
        }
    }
    Ok(tails)
}

/// Withdraws what is proved of every module, and counts its records anew. sled makes the best of a
/// damaged log without a word about what it had to leave out: old values may have come back, and
/// acknowledged ids may be gone from the inbox. A listing of the whole module finds them all.
fn distrust(db: &sled::Db, dictionaries: &Dictionaries) -> sled::Result<()> {
    let mut counts: BTreeMap<ModuleName, u64> = BTreeMap::new();
    let mut unpacker = Unpacker::new(dictionaries);
    for pair in db.iter() {
        let (key, value) = pair?;
        match Key::parse(&key) {
            Some(Key::Record(module, _)) => {
                let value = parts::whole(db, &key, value)?;
                let live = unpacker.is_live(&key, &value).unwrap_or(false);
                *counts.entry(module).or_default() += u64::from(live);
            }
            Some(Key::Ledger(module)) => drop(counts.entry(module).or_default()),
            _ => {}
        }
    }
    let mut batch = sled::Batch::default();
    for (module, records) in counts {
        let key = Key::Ledger(module).bytes();
        let value = values::write_plain(&key, &Ledger { records, ..Ledger::default() });
        batch.insert(key, value);
    }
    db.apply_batch(batch)?;
    db.flush().map(|_| ())
}
