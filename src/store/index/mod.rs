//! Indexes: which records were modified when, which are gone since when, and which have a value in
//! a field. Each entry is a key without a value (`keys.rs`), beside the records in the one tree.
//!
//! A commit changes the entries in the batch that writes the record. An index of records that were
//! there before it is built a little at a time (`build.rs`); until it is whole, nobody is answered
//! from it (`find.rs`). Its life is one road:
//!
//! ```text
//! emptying   nobody keeps it up; what may be left of an earlier one goes away
//! building   commits keep it up; records written before are added, in the order of their ids
//! whole      it has all; it is emptied when it is wanted no longer, or is to be built anew
//! ```
//! Indexes are derived: snapshots leave them out, and a store made anew has none. An entry too many
//! does no harm, since a reader looks at the record too; one too few would hide a record. So a list
//! of indexes is believed only with a mark in the module's ledger beside it: each commit writes the
//! ledger, and a crmirror from before there were indexes writes it without that mark.

mod build;
mod find;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keys::{self, Key};
use super::pack::Unpacker;
use super::past::{Past, Step};
use super::{Commit, Store, Tails, parts, read, values};
use crate::mirror::criteria::{TERM_RULES, terms_of_record};
use crate::mirror::gather::Gather;
use crate::mirror::ledger::Ledger;
use crate::mirror::record::{Entry, FieldName, ModuleName, RecordId};

pub use find::Order;

/// What is indexed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Index {
    /// Live records by when they were modified, and deletions by when they happened.
    Times,
    /// Live records by the terms of their values in a field.
    Field(FieldName),
}

/// The field whose order the index of times keeps, or the field itself.
impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Index::Times => f.write_str("Modified_Time"),
            Index::Field(field) => field.fmt(f),
        }
    }
}

/// How far an index has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// What is left of an earlier one is removed.
    Emptying,
    /// Records are added to it.
    Building,
    /// It answers.
    Whole,
}

/// The indexes of every module that has some.
pub(super) type Shelf = BTreeMap<ModuleName, Indexes>;

/// The indexes of a module, as they are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Indexes {
    /// By which rules terms were made.
    rules: u32,
    /// Records up to this one have been added to those that are being built.
    built: Option<RecordId>,
    /// Pairs, since a key of JSON is a text.
    phases: Vec<(Index, Phase)>,
}

impl Default for Indexes {
    fn default() -> Indexes {
        Indexes { rules: TERM_RULES, built: None, phases: Vec::new() }
    }
}

impl Indexes {
    fn phase(&self, index: &Index) -> Option<Phase> {
        self.phases.iter().find(|(of, _)| of == index).map(|(_, phase)| *phase)
    }

    fn first(&self, phase: Phase) -> Option<Index> {
        self.phases.iter().find(|(_, of)| *of == phase).map(|(index, _)| index.clone())
    }

    /// The keys of a record in the indexes of these phases.
    fn keys(
        &self,
        phases: &[Phase],
        module: &ModuleName,
        id: RecordId,
        entry: &Entry,
    ) -> BTreeSet<Vec<u8>> {
        let mut keys = BTreeSet::new();
        let mut fields = Vec::new();
        for (index, _) in self.phases.iter().filter(|(_, phase)| phases.contains(phase)) {
            match (index, entry) {
                (Index::Times, _) => drop(keys.insert(time_key(module, id, entry))),
                (Index::Field(field), Entry::Live(_)) => fields.push(field.clone()),
                (Index::Field(_), Entry::Tombstone { .. }) => {}
            }
        }
        let Entry::Live(record) = entry else { return keys };
        if fields.is_empty() {
            return keys;
        }
        for (field, terms) in fields.iter().zip(terms_of_record(record, &fields)) {
            let key = |term| Key::Term(module.clone(), field.clone(), term, id).bytes();
            keys.extend(terms.into_iter().map(key));
        }
        keys
    }
}

/// Where an entry stands among times.
fn time_key(module: &ModuleName, id: RecordId, entry: &Entry) -> Vec<u8> {
    match entry {
        Entry::Live(record) => Key::Modified(module.clone(), record.modified(), id).bytes(),
        Entry::Tombstone { gone } => Key::Gone(module.clone(), *gone, id).bytes(),
    }
}

impl Store {
    /// The indexes of a module, and how far each has come.
    pub fn indexes(&self, module: &ModuleName) -> Vec<(Index, Phase)> {
        self.0.shown.shelf().get(module).map(|indexes| indexes.phases.clone()).unwrap_or_default()
    }

    /// Whether [`Store::with_terms`] answers for this field.
    pub fn is_indexed(&self, module: &ModuleName, field: &FieldName) -> bool {
        self.is_whole(module, &Index::Field(field.clone()))
    }

    fn is_whole(&self, module: &ModuleName, index: &Index) -> bool {
        let shelf = self.0.shown.shelf();
        shelf.get(module).and_then(|indexes| indexes.phase(index)) == Some(Phase::Whole)
    }
}

/// Adds to a commit's batch what it changes in the indexes of its module. The batch is not applied
/// yet, so what is read is what was there before.
pub(super) fn follow(
    db: &sled::Db,
    tails: &Tails,
    batch: &mut sled::Batch,
    commit: &Commit,
) -> sled::Result<()> {
    let Some(indexes) = tails.indexes.get(&commit.module) else { return Ok(()) };
    let kept_up = [Phase::Building, Phase::Whole];
    let mut unpacker = Unpacker::new(&tails.packing.dictionaries);
    // The last of several writes of a record is the one that stays.
    let last: BTreeMap<RecordId, &Entry> =
        commit.writes.iter().map(|write| (write.id, &write.entry)).gather();
    for (id, entry) in last {
        let key = Key::Record(commit.module.clone(), id).bytes();
        let stored = parts::read(db, &key)?.and_then(|value| unpacker.entry(&key, id, &value).ok());
        let keys = |entry: &Entry| indexes.keys(&kept_up, &commit.module, id, entry);
        let before = stored.map(|stored| keys(&stored.entry)).unwrap_or_default();
        let now = keys(entry);
        // Of what stays, nothing is written: each key costs a card more than it has bytes. When it
        // is not there yet, the building comes to this record still.
        before.difference(&now).for_each(|key| batch.remove(key.as_slice()));
        now.difference(&before).for_each(|key| batch.insert(key.as_slice(), &[]));
    }
    Ok(())
}

/// The value of a ledger, with the mark that the module's indexes are kept up.
pub(super) fn ledger(tails: &Tails, module: &ModuleName, ledger: &Ledger) -> Vec<u8> {
    let key = Key::Ledger(module.clone()).bytes();
    if tails.indexes.contains_key(module) {
        values::write_plain(&key, &Marked { ledger, indexed: true })
    } else {
        values::write_plain(&key, ledger)
    }
}

#[derive(Serialize)]
struct Marked<'a> {
    #[serde(flatten)]
    ledger: &'a Ledger,
    indexed: bool,
}

#[derive(Deserialize)]
struct Mark {
    #[serde(default)]
    indexed: bool,
}

/// Reads which indexes there are. Those of a module that was written without them, or by other
/// rules, are emptied, to be built anew.
pub(super) fn survey(db: &sled::Db) -> sled::Result<Arc<Shelf>> {
    let mut shelf = Shelf::new();
    for step in Past::kind(db, keys::INDEXES) {
        let Step::Pair(key, value) = step? else { continue };
        let Some(Key::Indexes(module)) = Key::parse(&key) else { continue };
        let mut indexes: Indexes = match values::read_plain(&key, &value) {
            Ok(indexes) => indexes,
            Err(damage) => {
                log::warn!("{} is forgotten: {damage}", read::describe(&key));
                db.remove(&key)?;
                continue;
            }
        };
        if indexes.rules != TERM_RULES || !is_marked(db, &module)? {
            log::info!("the indexes of {module} are built anew: another crmirror wrote to it");
            indexes.phases.iter_mut().for_each(|(_, phase)| *phase = Phase::Emptying);
            indexes = Indexes { phases: indexes.phases, ..Indexes::default() };
            db.insert(&key, values::write_plain(&key, &indexes))?;
        }
        shelf.insert(module, indexes);
    }
    Ok(Arc::new(shelf))
}

/// Whether every commit of the module kept its indexes up. Before the first there is no ledger.
fn is_marked(db: &sled::Db, module: &ModuleName) -> sled::Result<bool> {
    let key = Key::Ledger(module.clone()).bytes();
    let mark = db.get(&key)?.map(|value| values::read_plain::<Mark>(&key, &value));
    Ok(mark.is_none_or(|mark| mark.is_ok_and(|mark| mark.indexed)))
}

/// Bytes of all keys of indexes; snapshots do not tell of them.
pub(super) fn bytes(db: &sled::Db) -> sled::Result<u64> {
    let mut bytes = 0;
    for kind in [keys::TERM, keys::GONE, keys::MODIFIED] {
        for step in Past::kind(db, kind) {
            if let Step::Pair(key, _) = step? {
                bytes += key.len() as u64;
            }
        }
    }
    Ok(bytes)
}
