//! Beginning with the store of another device, out of a seed.
//!
//! What is taken over is what was true of upstream there: *records* and *tombstones*, the *changes*
//! that led to them, since their numbers stand in the records, what is *set aside*, since nothing
//! else says that such a record is not proved, and the *ledgers*, which prove the records through a
//! time: a catch-up goes on from there, or a sweep, when upstream does not remember deletions that
//! long. What belongs to the other device stays behind: its *inbox* and its scan in progress, for
//! nothing of them is proved and the catch-up finds it; its *outbox*, which it delivers itself;
//! what it counted and missed; what it spent. So do modules that are not mirrored here. A module
//! that is mirrored here in another shape brings its records, to be read until its bootstrap has
//! ended, and no proof.
//!
//! The new store is whole on disk before it takes the place of the old one, in the steps of
//! `rebuild.rs`: a crash leaves one or the other.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::commit::KeptChanges;
use super::error::OpenError;
use super::keys::{Key, RECORD};
use super::numbers::Numbers;
use super::open::{Failure, guarded, open_sled};
use super::past::Past;
use super::place::Place;
use super::rebuild::{New, Proof};
use super::seed::{Description, Seed, SeedError, Terms};
use super::{snapshot, values};
use crate::mirror::document::DocumentName;
use crate::mirror::ledger::Ledger;
use crate::mirror::record::ModuleName;

/// How many times the bytes of a snapshot a store takes on disk (measured: three to three and a
/// half).
const GROWTH: u64 = 4;

/// What was imported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Imported {
    /// What is in the seed.
    pub seed: Description,
    /// Its modules that are not mirrored here, and were let go.
    pub let_go: Vec<ModuleName>,
    /// Its modules that are mirrored here in another shape: they are listed anew.
    pub unproved: Vec<ModuleName>,
    /// Where the store is that was here before.
    pub replaced: Option<PathBuf>,
}

/// Makes the store in `directory` one out of the seed at `path`. A store that has records already
/// is an error, unless it is to be replaced: then it is set aside.
pub fn import(
    directory: &Path,
    path: &Path,
    terms: &Terms,
    replace: bool,
) -> Result<Imported, SeedError> {
    let mut seed = Seed::open(path)?;
    let mut imported = judge(&seed.description, terms)?;
    let place = Place::make(directory)?;
    let _lock = place.lock()?;
    place.finish_swap()?;
    let occupied = !is_empty(&place)?;
    if occupied && !replace {
        return Err(SeedError::Occupied(directory.to_owned()));
    }
    let (needed, free) = (seed.description.bytes.saturating_mul(GROWTH), place.free()?);
    if free < needed {
        return Err(SeedError::NoRoom { needed, free });
    }
    if let Err(error) = take_over(&mut seed, &place, &imported) {
        // The first error is the one to tell; what is left behind goes at the next start.
        let _ = place.remove_new();
        return Err(error);
    }
    // Whoever has read here before knows nothing of what stands here now.
    Numbers::void(&place)?;
    if occupied {
        place.swap_and_keep()?;
        imported.replaced = Some(place.replaced());
    } else {
        place.swap()?;
    }
    Ok(imported)
}

/// What of a seed may be taken over by this configuration.
fn judge(description: &Description, terms: &Terms) -> Result<Imported, SeedError> {
    let theirs = &description.terms;
    if theirs.accounts != terms.accounts {
        let (from, here) = (theirs.accounts.clone(), terms.accounts.clone());
        return Err(SeedError::Elsewhere { from, here });
    }
    let (wanted, let_go): (Vec<ModuleName>, Vec<ModuleName>) =
        description.modules.keys().cloned().partition(|name| terms.modules.contains_key(name));
    if wanted.is_empty() {
        return Err(SeedError::NothingShared);
    }
    let same = |module: &ModuleName| {
        theirs.api_version == terms.api_version
            && theirs.modules.get(module) == terms.modules.get(module)
    };
    let unproved = wanted.into_iter().filter(|module| !same(module)).collect();
    Ok(Imported { seed: description.clone(), let_go, unproved, replaced: None })
}

/// Whether there is nothing here that a person could miss. What cannot be read may be something.
fn is_empty(place: &Place) -> Result<bool, OpenError> {
    if place.is_fresh()? {
        return Ok(true);
    }
    let snapshots = snapshot::list(&place.snapshots()).unwrap_or_default();
    if !snapshots.is_empty() || place.condemnation().is_some() {
        return Ok(false);
    }
    let first = guarded(|| {
        let db = open_sled(&place.sled())?;
        let first = Past::kind(&db, RECORD).next();
        Ok(first.is_none())
    });
    match first {
        Ok(none) => Ok(none),
        Err(Failure::Unreadable(_)) => Ok(false),
        Err(Failure::Final(error)) => Err(error),
    }
}

fn take_over(seed: &mut Seed, place: &Place, imported: &Imported) -> Result<(), SeedError> {
    let told = |failure: Failure| SeedError::Open(failure.told(place));
    let mut new = New::create(place).map_err(told)?;
    let mut changes = Taken::default();
    let mut stopped = None;
    let read = seed.for_each(|key, value| {
        let Some(value) = adapted(&key, value, imported, &mut changes) else { return Ok(()) };
        new.take(&key, &value).map_err(|failure| {
            stopped = Some(failure);
            io::Error::other("it cannot be taken over")
        })
    });
    match (stopped, read) {
        (Some(failure), _) => return Err(told(failure)),
        (None, Err(cause)) => return Err(seed.unreadable(cause)),
        (None, Ok(())) => {}
    }
    if let Some((key, value)) = changes.end() {
        new.take(&key, &value).map_err(told)?;
    }
    new.finish(Proof::UpToSnapshot).map(drop).map_err(told)
}

/// The value as it is taken over, if it is.
fn adapted(
    bytes: &[u8],
    value: Vec<u8>,
    imported: &Imported,
    changes: &mut Taken,
) -> Option<Vec<u8>> {
    // What the platform told was told to the other device.
    let wanted = |module: &ModuleName| !module.is_platform() && !imported.let_go.contains(module);
    match Key::parse(bytes)? {
        Key::Record(module, _)
        | Key::Dictionary(module, _)
        | Key::Fields(module)
        | Key::Quarantined(module, _) => wanted(&module).then_some(value),
        Key::Ledger(module) => {
            let ledger: Ledger = values::read_plain(bytes, &value).ok()?;
            let ledger = match imported.unproved.contains(&module) {
                true => Ledger::default(),
                false => Ledger { scan: None, count: None, missed: 0, ..ledger },
            };
            wanted(&module).then(|| values::write_plain(bytes, &ledger))
        }
        Key::Change(last) => {
            let kept: KeptChanges = values::read_plain(bytes, &value).ok()?;
            changes.pass(last, kept.module(), wanted(kept.module()));
            let seeded = kept.seeded(imported.seed.taken);
            wanted(seeded.module()).then(|| values::write_plain(bytes, &seeded))
        }
        Key::Document(DocumentName::Fields(module), _) => wanted(&module).then_some(value),
        Key::Document(DocumentName::Modules | DocumentName::Org | DocumentName::User, _) => {
            Some(value)
        }
        Key::Inbox(_)
        | Key::Event(_)
        | Key::Outbox(..)
        | Key::Spending
        | Key::BooksSpending
        | Key::Runs
        | Key::Format => None,
        // In snapshots records are whole.
        Key::Part(..) => None,
        // Made anew from the records.
        Key::Modified(..) | Key::Gone(..) | Key::Term(..) | Key::Indexes(_) => None,
    }
}

/// The numbers of changes: none is given out a second time, whosever it was.
#[derive(Default)]
struct Taken {
    /// The last that was passed over, and its module, if none was taken after it.
    passed_over: Option<(u64, ModuleName)>,
}

impl Taken {
    fn pass(&mut self, last: u64, module: &ModuleName, taken: bool) {
        self.passed_over = (!taken).then(|| (last, module.clone()));
    }

    /// What stands for the changes at the end that were passed over.
    fn end(self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (last, module) = self.passed_over?;
        let key = Key::Change(last).bytes();
        let value = values::write_plain(&key, &KeptChanges::none(module));
        Some((key, value))
    }
}
