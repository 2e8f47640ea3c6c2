//! Reading. Nothing here waits for a writer, and every list has a limit.
//!
//! A commit is seen whole or not at all by a read of one key; a list that is read while one is
//! written may show a part of it, and the sequences of its entries say so.
//!
//! One value that cannot be read does not hide the others, nor does a page of them. Lists pass over
//! it: a record that is not listed is one that a sweep misses here, and has fetched again. Each is
//! counted, the first of a process is logged; a damaged page has the store made anew at the next
//! start.

use std::cell::RefCell;
use std::ops::Bound::{self, Excluded, Included};
use std::sync::atomic::Ordering;

use sled::IVec;

use super::commit::KeptChanges;
use super::keys::{self, Key};
use super::past::{Gap, Past, Range, Step, Steps, is_damage};
use super::values::{self, Damage};
use super::{Change, Store, StoreError, Stored, parts};
use crate::mirror::credits::Spending;
use crate::mirror::inbox::{InboxItem, Quarantined};
use crate::mirror::ledger::Ledger;
use crate::mirror::record::{Entry, FieldName, ModuleName, Record, RecordId};

impl Store {
    /// What the mirror knows of an id. A value that cannot be read is
    /// [`StoreError::Unreadable`]: the caller decides whether that is the same as nothing.
    pub fn entry(&self, module: &ModuleName, id: RecordId) -> Result<Option<Stored>, StoreError> {
        let key = Key::Record(module.clone(), id).bytes();
        let unreadable = |damage| StoreError::Unreadable { key: describe(&key), damage };
        match self.value("read a record", &key)? {
            Ok(None) => Ok(None),
            Ok(Some(value)) => {
                self.unpacker().entry(&key, id, &value).map(Some).map_err(unreadable)
            }
            Err(damage) => Err(unreadable(damage)),
        }
    }

    /// Live records with ids below `below` (all of the module for `None`), from the highest down,
    /// at most `limit`.
    pub fn live_below(
        &self,
        module: &ModuleName,
        below: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.live_page(module, below, true, 0, limit)
    }

    /// Live records with ids above `above` (all of the module for `None`), from the lowest up, at
    /// most `limit`.
    pub fn live_above(
        &self,
        module: &ModuleName,
        above: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.live_page(module, above, false, 0, limit)
    }

    /// Live records from beyond an id (from the end of the module for `None`), at most `limit`,
    /// behind so many that are `skipped`: those are counted and not copied.
    pub fn live_page(
        &self,
        module: &ModuleName,
        beyond: Option<RecordId>,
        descending: bool,
        skipped: usize,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let range = match descending {
            true => (Included(FIRST_ID), beyond.map_or(Included(LAST_ID), Excluded)),
            false => (beyond.map_or(Included(FIRST_ID), Excluded), Included(LAST_ID)),
        };
        let range = records(module, range.0, range.1);
        self.run("list records", |_| self.live(&mut *self.way(range, descending), skipped, limit))
    }

    /// Ids of live records above `after` (from the lowest for `None`) up to and with `through`,
    /// from the lowest up, at most `limit`.
    pub fn ids_between(
        &self,
        module: &ModuleName,
        after: Option<RecordId>,
        through: RecordId,
        limit: usize,
    ) -> Result<Vec<RecordId>, StoreError> {
        if after.is_some_and(|after| after >= through) {
            return Ok(Vec::new());
        }
        let start = after.map_or(Included(FIRST_ID), Excluded);
        let range = records(module, start, Included(through));
        let mut unpacker = self.unpacker();
        let id = |key: &[u8], value: &[u8]| {
            let id = keys::id_at_end(key).ok_or(Damage::Content)?;
            unpacker.is_live(key, value).map(|live| live.then_some(id))
        };
        self.run("list ids", |db| self.collect(&mut Past::new(db, range), limit, id))
    }

    /// Changes with a sequence above `since`, from the oldest on, at most `limit`.
    pub fn changes(&self, since: u64, limit: usize) -> Result<Vec<Change>, StoreError> {
        let Some(first) = since.checked_add(1) else {
            return Ok(Vec::new());
        };
        let kept = |key: &[u8], value: &[u8]| {
            let Some(Key::Change(last)) = Key::parse(key) else {
                return Err(Damage::Content);
            };
            Ok(values::read_plain::<KeptChanges>(key, value)?.after(since, last))
        };
        self.run("list changes", |db| {
            let (first, last) = Key::changes_from(first).into_inner();
            self.collect(&mut Past::new(db, (Included(first), Included(last))), limit, kept)
        })
    }

    /// All that waits, in the order of arrival. At most [`super::INBOX_LIMIT`] and what commits
    /// added.
    ///
    /// An item that cannot be read can never be fetched or settled: it is removed, with a warning.
    /// What it named is found by the next catch-up or sweep.
    pub fn inbox(&self) -> Result<Vec<InboxItem>, StoreError> {
        let unreadable = RefCell::new(Vec::new());
        let items = self.run("read the inbox", |db| {
            self.collect(&mut Past::kind(db, keys::INBOX), usize::MAX, |key, value| {
                match (Key::parse(key), values::read_plain(key, value)) {
                    (Some(Key::Inbox(sequence)), Ok(arrival)) => {
                        return Ok(Some(InboxItem { sequence, arrival }));
                    }
                    (_, Err(damage)) => unreadable.borrow_mut().push((key.to_vec(), damage)),
                    (_, Ok(_)) => unreadable.borrow_mut().push((key.to_vec(), Damage::Content)),
                }
                Ok(None)
            })
        })?;
        for (key, damage) in unreadable.into_inner() {
            log::warn!(
                "{} is removed: {damage}; what it named is found by the next catch-up or sweep",
                describe(&key)
            );
            let removed = self.write("remove an inbox item", |db, tails| {
                if db.remove(&key)?.is_some() {
                    tails.waiting = tails.waiting.saturating_sub(1);
                }
                Ok(())
            });
            match removed {
                // It does no harm where it is; the next start finds it again.
                Ok(()) | Err(StoreError::NoRoom { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    /// What is proved about a module: nothing, when nothing is kept or what is kept cannot be read.
    /// The module is bootstrapped then.
    pub fn ledger(&self, module: &ModuleName) -> Result<Ledger, StoreError> {
        self.plain(&Key::Ledger(module.clone())).map(Option::unwrap_or_default)
    }

    /// The field names kept for a module; `None` when there are none or they cannot be read.
    pub fn fields(&self, module: &ModuleName) -> Result<Option<Vec<FieldName>>, StoreError> {
        self.plain(&Key::Fields(module.clone()))
    }

    /// The credits spent in the last day; none when that cannot be read.
    pub fn spending(&self) -> Result<Spending, StoreError> {
        Ok(self.plain(&Key::Spending)?.unwrap_or_default())
    }

    /// The calls of Books spent in the last day; none when that cannot be read.
    pub fn books_spending(&self) -> Result<Spending, StoreError> {
        Ok(self.plain(&Key::BooksSpending)?.unwrap_or_default())
    }

    /// All records set aside, by module and id.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, StoreError> {
        self.run("read the quarantine", |db| {
            let mut all = Past::kind(db, keys::QUARANTINED);
            self.collect(&mut all, usize::MAX, |key, value| {
                values::read_plain(key, value).map(Some)
            })
        })
    }

    /// Values that lists had to pass over since the store was opened.
    pub fn unreadable(&self) -> u64 {
        self.0.unreadable.load(Ordering::Relaxed)
    }

    pub(super) fn plain<T: serde::de::DeserializeOwned>(
        &self,
        key: &Key,
    ) -> Result<Option<T>, StoreError> {
        let bytes = key.bytes();
        let content = match self.value("read", &bytes)? {
            Ok(None) => return Ok(None),
            Ok(Some(value)) => values::read_plain(&bytes, &value),
            Err(damage) => Err(damage),
        };
        Ok(content.inspect_err(|damage| self.pass_over(&bytes, *damage)).ok())
    }

    /// The value under a key, or the damage of its page.
    pub(super) fn value(
        &self,
        operation: &'static str,
        key: &[u8],
    ) -> Result<Result<Option<IVec>, Damage>, StoreError> {
        self.run(operation, |db| match parts::read(db, key) {
            Ok(value) => Ok(Ok(value)),
            Err(error) if is_damage(&error) => {
                let key = key.to_vec();
                self.found_damage(&Gap {
                    from: key.clone(),
                    through: key,
                    cause: error.to_string(),
                });
                Ok(Err(Damage::Page))
            }
            Err(error) => Err(error),
        })
    }

    pub(super) fn live(
        &self,
        pairs: &mut Steps<'_>,
        skipped: usize,
        limit: usize,
    ) -> sled::Result<Vec<Record>> {
        let mut to_skip = skipped;
        let mut unpacker = self.unpacker();
        self.collect(pairs, limit, |key, value| {
            let id = keys::id_at_end(key).ok_or(Damage::Content)?;
            if to_skip > 0 {
                to_skip -= usize::from(unpacker.is_live(key, value)?);
                return Ok(None);
            }
            Ok(match unpacker.entry(key, id, value)?.entry {
                Entry::Live(record) => Some(record),
                Entry::Tombstone { .. } => None,
            })
        })
    }

    /// What `read` finds under each key, at most `limit`.
    pub(super) fn collect<T, Found: IntoIterator<Item = T>>(
        &self,
        steps: &mut Steps<'_>,
        limit: usize,
        mut read: impl FnMut(&[u8], &[u8]) -> Result<Found, Damage>,
    ) -> sled::Result<Vec<T>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        for step in steps {
            match step? {
                Step::Pair(key, value) => match read(&key, &value) {
                    Ok(content) => found.extend(content),
                    Err(damage) => self.pass_over(&key, damage),
                },
                Step::Gap(gap) => self.found_damage(&gap),
            }
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    pub(super) fn pass_over(&self, key: &[u8], damage: Damage) {
        if self.0.unreadable.fetch_add(1, Ordering::Relaxed) == 0 {
            log::error!(
                "{} in the store cannot be read: {damage}; it is passed over, as are others like \
                 it from now on without a word; a sweep fetches them again",
                describe(key)
            );
        }
    }
}

pub(super) const FIRST_ID: RecordId = RecordId::new(0);
pub(super) const LAST_ID: RecordId = RecordId::new(u64::MAX);

pub(super) fn records(module: &ModuleName, start: Bound<RecordId>, end: Bound<RecordId>) -> Range {
    let key = |id| Key::Record(module.clone(), id).bytes();
    (start.map(key), end.map(key))
}

pub(super) fn describe(key: &[u8]) -> String {
    match Key::parse(key) {
        Some(key) => key.to_string(),
        None => format!("the key '{}'", key.escape_ascii()),
    }
}
