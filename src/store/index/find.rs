//! Answers from indexes. `None` stands for "not from here": the index is missing or not whole yet,
//! or a page of it is damaged, and the caller looks at the records instead.
//!
//! Nothing here waits for a writer. The record under an entry is read after the entry, and is
//! passed over when it says something else: what is returned was so at some moment of the reading.
//! A record that is written meanwhile may move from a place that is still to be read to one that
//! has been, and be missed, or be met in both. Its change has a sequence above the one that
//! [`Store::last_sequence`] gave before: whoever has to know compares.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included};

use super::super::past::{Range, Step};
use super::super::{Store, StoreError, keys};
use super::{Index, Key};
use crate::mirror::criteria::{Lookup, Term};
use crate::mirror::record::{Entry, FieldName, ModuleName, Record, RecordId};
use crate::mirror::time::UpstreamTime;

/// In which order records are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Those modified first, first; those without a stamp before all. Of one second, by rising id.
    OldestFirst,
    /// The other way round in all.
    NewestFirst,
}

const FIRST_ID: RecordId = RecordId::new(0);
const LAST_ID: RecordId = RecordId::new(u64::MAX);

impl Store {
    /// Live records modified at `since` or later (all for `None`) that come after the place
    /// `after`, at most `limit`. A record's place is its [`Record::modified`] and its id.
    pub fn by_modified(
        &self,
        module: &ModuleName,
        since: Option<UpstreamTime>,
        after: Option<(Option<UpstreamTime>, RecordId)>,
        order: Order,
        limit: usize,
    ) -> Result<Option<Vec<Record>>, StoreError> {
        let key = |time, id| Key::Modified(module.clone(), time, id).bytes();
        let after = after.map(|(time, id)| key(time, id));
        let ends = (key(since, FIRST_ID), key(Some(last_time()), LAST_ID));
        self.walk(module, &Index::Times, range(ends, after, order), order, limit, |key| {
            let Some(Key::Modified(_, time, id)) = Key::parse(key) else { return Ok(None) };
            Ok(match self.entry_or_nothing(module, id)? {
                Some(Entry::Live(record)) if record.modified() == time => Some(record),
                Some(Entry::Live(_) | Entry::Tombstone { .. }) | None => None,
            })
        })
    }

    /// Deletions that are remembered, from `since` on (all for `None`), the newest first, that come
    /// after the place `after`, at most `limit`. Also of records that were never seen alive here.
    pub fn gone_since(
        &self,
        module: &ModuleName,
        since: Option<UpstreamTime>,
        after: Option<(UpstreamTime, RecordId)>,
        limit: usize,
    ) -> Result<Option<Vec<(RecordId, UpstreamTime)>>, StoreError> {
        let key = |time, id| Key::Gone(module.clone(), time, id).bytes();
        let after = after.map(|(time, id)| key(time, id));
        let first = since.unwrap_or(UpstreamTime::from_unix(i64::MIN));
        let ends = (key(first, FIRST_ID), key(last_time(), LAST_ID));
        let order = Order::NewestFirst;
        self.walk(module, &Index::Times, range(ends, after, order), order, limit, |key| {
            let Some(Key::Gone(_, time, id)) = Key::parse(key) else { return Ok(None) };
            Ok(match self.entry_or_nothing(module, id)? {
                Some(Entry::Tombstone { gone }) if gone == time => Some((id, gone)),
                Some(Entry::Tombstone { .. } | Entry::Live(_)) | None => None,
            })
        })
    }

    /// Ids above `after` of live records that may have one of these terms in the field, from the
    /// lowest up, each once, at most `limit`. A term is a hash, and records change: whoever wants
    /// to be sure looks at the record.
    pub fn with_terms(
        &self,
        module: &ModuleName,
        field: &FieldName,
        terms: &BTreeSet<Term>,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Option<Vec<RecordId>>, StoreError> {
        let index = Index::Field(field.clone());
        let mut found = BTreeSet::new();
        for term in terms {
            let key = |id| Key::Term(module.clone(), field.clone(), *term, id).bytes();
            let ends = (key(FIRST_ID), key(LAST_ID));
            let range = range(ends, after.map(key), Order::OldestFirst);
            let id = |key: &[u8]| Ok(keys::id_at_end(key));
            match self.walk(module, &index, range, Order::OldestFirst, limit, id)? {
                Some(ids) => found.extend(ids),
                None => return Ok(None),
            }
        }
        Ok(self.is_whole(module, &index).then(|| found.into_iter().take(limit).collect()))
    }

    /// The same for all that a [`Lookup`] wants, whatever the field.
    pub fn candidates(
        &self,
        module: &ModuleName,
        lookup: &Lookup,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Option<Vec<RecordId>>, StoreError> {
        let mut found = BTreeSet::new();
        for (field, terms) in lookup.fields() {
            match self.with_terms(module, field, terms, after, limit)? {
                Some(ids) => found.extend(ids),
                None => return Ok(None),
            }
        }
        Ok(Some(found.into_iter().take(limit).collect()))
    }

    /// What `find` makes of the keys in a range. The index must be whole before and after: one that
    /// is taken away in the midst has lost keys.
    fn walk<T>(
        &self,
        module: &ModuleName,
        index: &Index,
        range: Range,
        order: Order,
        limit: usize,
        find: impl Fn(&[u8]) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<Vec<T>>, StoreError> {
        if !self.is_whole(module, index) {
            return Ok(None);
        }
        let mut found = Vec::new();
        let mut steps = self.way(range, order == Order::NewestFirst);
        while found.len() < limit {
            match self.run("read an index", |_| steps.next().transpose())? {
                Some(Step::Pair(key, _)) => found.extend(find(&key)?),
                Some(Step::Gap(gap)) => {
                    self.condemn(&format!("an index of {module}: {}", gap.cause));
                    return Ok(None);
                }
                None => break,
            }
        }
        Ok(self.is_whole(module, index).then_some(found))
    }

    /// What a value that cannot be read says is nothing, as in a list of records.
    fn entry_or_nothing(
        &self,
        module: &ModuleName,
        id: RecordId,
    ) -> Result<Option<Entry>, StoreError> {
        match self.entry(module, id) {
            Ok(stored) => Ok(stored.map(|stored| stored.entry)),
            Err(StoreError::Unreadable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The keys between these ends that come after a key in this order; none when that lies beyond the
/// end.
fn range((lowest, highest): (Vec<u8>, Vec<u8>), after: Option<Vec<u8>>, order: Order) -> Range {
    match (after, order) {
        (Some(after), Order::OldestFirst) if after >= lowest => {
            let end = Included(highest.max(after.clone()));
            (Excluded(after), end)
        }
        (Some(after), Order::NewestFirst) if after <= highest => {
            let end = Excluded(after.max(lowest.clone()));
            (Included(lowest), end)
        }
        // Not yet in there, or from the start.
        (Some(_) | None, _) => (Included(lowest), Included(highest)),
    }
}

fn last_time() -> UpstreamTime {
    UpstreamTime::from_unix(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_place_beyond_the_end_has_nothing_behind_it() {
        let keys: BTreeSet<Vec<u8>> = (0..10).map(|key| vec![key]).collect();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            for after in (0..10).map(Some).chain([None]) {
                let ends = (vec![3], vec![6]);
                let range = range(ends, after.map(|after| vec![after]), order);
                let found: Vec<u8> = keys.range(range).map(|key| key[0]).collect();
                let is_behind = |key: &u8| match (after, order) {
                    (None, _) => true,
                    (Some(after), Order::OldestFirst) => *key > after,
                    (Some(after), Order::NewestFirst) => *key < after,
                };
                let expected: Vec<u8> = (3..=6).filter(is_behind).collect();
                assert_eq!(found, expected, "{order:?} after {after:?}");
            }
        }
    }
}
