//! Building what is missing and removing what is not wanted, a little at a time.
//!
//! Not in batches: sled brings the head of each to disk with an fsync of its own, which a card
//! would feel for a whole module. Each step does its work first and says so last, so what a crash
//! leaves of it is done once more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use super::super::past::{Past, Step};
use super::super::{Store, StoreError, Tails, keys, values};
use super::{Index, Indexes, Key, Phase, ledger};
use crate::mirror::gather::Gather;
use crate::mirror::ledger::Ledger;
use crate::mirror::record::{FieldName, ModuleName, RecordId};

/// Bytes of keys after which a step ends, however few records it has looked at: it is the room that
/// is asked for beforehand.
const STEP_BYTES: u64 = 64 << 10;

impl Store {
    /// Says which modules have indexes, and of which fields beside that of times. Takes effect with
    /// the next [`Store::build_indexes`]; those that are not named are removed then.
    pub fn set_indexes(&self, wanted: &BTreeMap<ModuleName, Vec<FieldName>>) {
        let indexes = |fields: &Vec<FieldName>| {
            let fields = fields.iter().cloned().map(Index::Field);
            [Index::Times].into_iter().chain(fields).gather()
        };
        let mut tails = self.0.tails.lock().expect("panics of a write are caught");
        tails.wanted =
            Some(wanted.iter().map(|(module, of)| (module.clone(), indexes(of))).gather());
    }

    /// Does one step towards the indexes that were asked for, and looks at `limit` records or keys
    /// for it; writers wait meanwhile. Returns whether there is more to do: not when all are as
    /// they should be, nor when the store takes nothing but what it must.
    pub fn build_indexes(&self, limit: usize) -> Result<bool, StoreError> {
        if self.room().low || self.damaged() || self.has_failed() {
            return Ok(false);
        }
        let stepped = self
            .write_much("build indexes", STEP_BYTES, 0, |db, tails| self.step(db, tails, limit));
        match stepped {
            // Whoever has to write says so.
            Err(StoreError::NoRoom { .. }) => Ok(false),
            stepped => stepped,
        }
    }

    fn step(&self, db: &sled::Db, tails: &mut Tails, limit: usize) -> sled::Result<bool> {
        let Some(wanted) = tails.wanted.clone() else { return Ok(false) };
        let (shelf, nothing) = (Arc::clone(&tails.indexes), BTreeSet::new());
        let modules: BTreeSet<&ModuleName> = wanted.keys().chain(shelf.keys()).gather();
        for module in modules {
            let wanted = wanted.get(module).unwrap_or(&nothing);
            let mut new = shelf.get(module).cloned().unwrap_or_default();
            // On its own, so that nobody is answered by an index of which keys are missing.
            if !new.aim(wanted) {
                if let Some(index) = new.first(Phase::Emptying) {
                    if empty(db, module, &index, limit)? {
                        new.emptied(index, wanted);
                    }
                } else if new.first(Phase::Building).is_some() {
                    self.add(db, module, &mut new, limit)?;
                } else {
                    continue;
                }
            }
            keep(db, tails, module, new)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Adds the next records to the indexes that are being built.
    fn add(
        &self,
        db: &sled::Db,
        module: &ModuleName,
        indexes: &mut Indexes,
        limit: usize,
    ) -> sled::Result<()> {
        let key = |id| Key::Record(module.clone(), id).bytes();
        let start = indexes.built.map_or(Included(key(RecordId::new(0))), |id| Excluded(key(id)));
        let range = (start, Included(key(RecordId::new(u64::MAX))));
        let (mut looked, mut bytes, mut unpacker) = (0, 0, self.unpacker());
        for step in Past::new(db, range) {
            match step? {
                Step::Pair(key, value) => {
                    let Some(id) = keys::id_at_end(&key) else { continue };
                    // What cannot be read is not found by a look at all records either.
                    if let Ok(stored) = unpacker.entry(&key, id, &value) {
                        for key in indexes.keys(&[Phase::Building], module, id, &stored.entry) {
                            bytes += key.len() as u64;
                            db.insert(key, &[])?;
                        }
                    }
                    indexes.built = Some(id);
                    looked += 1;
                }
                Step::Gap(gap) => self.found_damage(&gap),
            }
            if looked >= limit || bytes >= STEP_BYTES {
                return Ok(());
            }
        }
        indexes.finish();
        log::info!("the indexes of {module} are whole");
        Ok(())
    }
}

impl Indexes {
    /// Begins what is missing and ends what is not wanted; whether there was any of it.
    fn aim(&mut self, wanted: &BTreeSet<Index>) -> bool {
        let before = self.phases.clone();
        for (index, phase) in &mut self.phases {
            if !wanted.contains(index) {
                *phase = Phase::Emptying;
            }
        }
        for index in wanted {
            if self.phase(index).is_none() {
                // It may have been there before, and something may be left of it.
                self.phases.push((index.clone(), Phase::Emptying));
            }
        }
        self.phases != before
    }

    /// Nothing is left of an index. If it is wanted it is built, from the first record on, and
    /// those that are being built with it.
    fn emptied(&mut self, index: Index, wanted: &BTreeSet<Index>) {
        let wanted = wanted.contains(&index);
        self.phases.retain(|(of, _)| *of != index);
        if wanted {
            self.phases.push((index, Phase::Building));
            self.built = None;
        }
    }

    /// All records have been added.
    fn finish(&mut self) {
        self.built = None;
        for (_, phase) in &mut self.phases {
            if *phase == Phase::Building {
                *phase = Phase::Whole;
            }
        }
    }
}

/// Removes keys of an index, at most `limit`; whether none is left.
fn empty(db: &sled::Db, module: &ModuleName, index: &Index, limit: usize) -> sled::Result<bool> {
    let starts = match index {
        Index::Times => {
            vec![keys::of_module(keys::MODIFIED, module), keys::of_module(keys::GONE, module)]
        }
        Index::Field(field) => vec![keys::of_field(module, field)],
    };
    let keys = starts.iter().flat_map(|start| db.scan_prefix(start).keys()).take(limit);
    let keys = keys.collect::<sled::Result<Vec<_>>>()?;
    for key in &keys {
        db.remove(key)?;
    }
    Ok(keys.len() < limit)
}

/// Keeps which indexes a module has, for the next start and for readers.
fn keep(
    db: &sled::Db,
    tails: &mut Tails,
    module: &ModuleName,
    indexes: Indexes,
) -> sled::Result<()> {
    let key = Key::Indexes(module.clone()).bytes();
    if indexes.phases.is_empty() {
        db.remove(&key)?;
        Arc::make_mut(&mut tails.indexes).remove(module);
        return Ok(());
    }
    db.insert(&key, values::write_plain(&key, &indexes))?;
    let begins = Arc::make_mut(&mut tails.indexes).insert(module.clone(), indexes).is_none();
    if begins {
        mark(db, tails, module)?;
    }
    Ok(())
}

/// Puts the mark into a ledger that was written before there were indexes. One that cannot be read
/// stays without, and the next start begins anew.
fn mark(db: &sled::Db, tails: &Tails, module: &ModuleName) -> sled::Result<()> {
    let key = Key::Ledger(module.clone()).bytes();
    let kept = db.get(&key)?.and_then(|value| values::read_plain::<Ledger>(&key, &value).ok());
    if let Some(kept) = kept {
        db.insert(&key, ledger(tails, module, &kept))?;
    }
    Ok(())
}
