//! A look at a whole store that nobody has open: how much of it can be read. Mends nothing, though
//! sled itself may tidy up its files when it opens them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::commit::KeptChanges;
use super::documents::DocumentHead;
use super::error::OpenError;
use super::index::Indexes;
use super::keys::{
    CHANGE, DICTIONARY, DOCUMENT, EVENT, FIELDS, GONE, INBOX, INDEXES, Key, LEDGER, MODIFIED,
    OUTBOX, PART, QUARANTINED, RECORD, TERM,
};
use super::open::{Failure, NOTHING_READ, has_format, open_sled};
use super::pack::{Dictionaries, Unpacker};
use super::past::{Past, Step};
use super::place::Place;
use super::{Damage, snapshot, values};
use crate::mirror::credits::Spending;
use crate::mirror::inbox::{Arrival, Quarantined};
use crate::mirror::ledger::Ledger;
use crate::mirror::outbox::Item;
use crate::mirror::platform::Announced;
use crate::mirror::record::FieldName;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Examination {
    /// Why the store does not open as it is, or is to be made anew at the next start.
    pub trouble: Option<String>,
    /// By kind.
    pub kinds: Vec<Counted>,
    /// The snapshots that can be read, the newest first.
    pub good_snapshots: Vec<PathBuf>,
    /// The snapshots that cannot.
    pub bad_snapshots: Vec<PathBuf>,
}

/// What was found of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Counted {
    /// What they are called, in the plural.
    pub kind: &'static str,
    /// Values that can be read.
    pub good: u64,
    /// Values that cannot.
    pub unreadable: u64,
    /// Stretches of keys that cannot be reached, with any number of values.
    pub gaps: u64,
}

impl Examination {
    /// Whether there is nothing to mend. A snapshot that cannot be read is replaced in time.
    pub fn is_good(&self) -> bool {
        self.trouble.is_none()
            && self.kinds.iter().all(|kind| kind.unreadable == 0 && kind.gaps == 0)
    }
}

/// Looks at the store in `directory`. With `repair`, what is wrong has the store made anew when it
/// is next opened.
pub fn examine(directory: &Path, repair: bool) -> Result<Examination, OpenError> {
    let place = Place::make(directory)?;
    let _lock = place.lock()?;
    place.finish_swap()?;
    let mut found = Examination { trouble: place.condemnation(), ..Examination::default() };
    for listed in snapshot::list(&place.snapshots()).unwrap_or_default() {
        let good = snapshot::read(&listed.path, |_, _| Ok(())).is_ok();
        if good { &mut found.good_snapshots } else { &mut found.bad_snapshots }.push(listed.path);
    }
    match open_sled(&place.sled()) {
        Ok(db) => {
            let dictionaries = dictionaries(&db);
            count(&db, &dictionaries, &mut found);
            // A log of which sled can read nothing opens as an empty store.
            match has_format(&place.sled(), &db) {
                Ok(Some(_)) => {}
                Ok(None) => found.trouble = Some(NOTHING_READ.to_owned()),
                Err(Failure::Unreadable(cause)) => found.trouble = Some(cause),
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Err(Failure::Unreadable(cause)) => found.trouble = Some(cause),
        Err(Failure::Final(error)) => return Err(error),
    }
    if repair && !found.is_good() {
        place.condemn(found.trouble.as_deref().unwrap_or("parts of it cannot be read (fsck)"));
    }
    Ok(found)
}

/// Whether a value is one that belongs under its key, and can be read. Needs no store, and so can
/// read no record that is packed with a dictionary.
pub fn examine_pair(key: &[u8], value: &[u8]) -> Result<(), Damage> {
    examine_with(&Dictionaries::default(), key, value)
}

/// The same with the dictionaries of a store, which come before what was packed with them.
fn examine_with(dictionaries: &Dictionaries, key: &[u8], value: &[u8]) -> Result<(), Damage> {
    match Key::parse(key).ok_or(Damage::Content)? {
        Key::Dictionary(..) => dictionaries.learn(key, value).map(drop),
        Key::Part(..) => values::read_part(key, value).map(drop),
        Key::Record(_, id) => Unpacker::new(dictionaries).entry(key, id, value).map(drop),
        Key::Change(_) => values::read_plain::<KeptChanges>(key, value).map(drop),
        Key::Inbox(_) => values::read_plain::<Arrival>(key, value).map(drop),
        Key::Event(_) => values::read_plain::<Announced>(key, value).map(drop),
        Key::Ledger(_) => values::read_plain::<Ledger>(key, value).map(drop),
        Key::Fields(_) => values::read_plain::<Vec<FieldName>>(key, value).map(drop),
        Key::Document(_, 0) => values::read_plain::<DocumentHead>(key, value).map(drop),
        Key::Document(..) => values::read_plain::<String>(key, value).map(drop),
        Key::Quarantined(..) => values::read_plain::<Quarantined>(key, value).map(drop),
        Key::Format => values::read_plain::<u32>(key, value).map(drop),
        Key::Outbox(_, 0) => values::read_plain::<Item>(key, value).map(drop),
        Key::Outbox(..) => values::read_bytes(key, value).map(drop),
        Key::Spending | Key::BooksSpending | Key::Runs => {
            values::read_plain::<Spending>(key, value).map(drop)
        }
        Key::Indexes(_) => values::read_plain::<Indexes>(key, value).map(drop),
        // All that they say is in the key.
        Key::Term(..) | Key::Gone(..) | Key::Modified(..) if value.is_empty() => Ok(()),
        Key::Term(..) | Key::Gone(..) | Key::Modified(..) => Err(Damage::Content),
    }
}

/// The dictionaries that can be read; the others are counted with their kind.
fn dictionaries(db: &sled::Db) -> Dictionaries {
    let dictionaries = Dictionaries::default();
    for step in Past::kind(db, DICTIONARY) {
        if let Ok(Step::Pair(key, value)) = step {
            let _ = dictionaries.learn(&key, &value);
        }
    }
    dictionaries
}

fn count(db: &sled::Db, dictionaries: &Dictionaries, found: &mut Examination) {
    for (kind, name) in [
        (RECORD, "records"),
        (CHANGE, "lists of changes"),
        (INBOX, "inbox items"),
        (EVENT, "events of the platform"),
        (LEDGER, "ledgers"),
        (FIELDS, "field lists"),
        (DOCUMENT, "parts of documents"),
        (OUTBOX, "parts of calls"),
        (QUARANTINED, "quarantined records"),
        (MODIFIED, "indexed times"),
        (GONE, "indexed deletions"),
        (TERM, "indexed terms"),
        (INDEXES, "lists of indexes"),
        (PART, "parts of records"),
        (DICTIONARY, "dictionaries"),
    ] {
        let mut counted = Counted { kind: name, good: 0, unreadable: 0, gaps: 0 };
        for step in Past::kind(db, kind) {
            match step {
                Ok(Step::Pair(key, value)) if examine_with(dictionaries, &key, &value).is_ok() => {
                    counted.good += 1;
                }
                Ok(Step::Pair(..)) => counted.unreadable += 1,
                Ok(Step::Gap(_)) => counted.gaps += 1,
                Err(error) => {
                    counted.gaps += 1;
                    found.trouble = Some(error.to_string());
                }
            }
        }
        found.kinds.push(counted);
    }
}
