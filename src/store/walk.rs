//! Looking through a module: entry after entry, live or tombstone, without copying one.
//!
//! For whoever has to see them all and keeps few. A call looks at a slice and comes back, so that
//! the caller can stop when it has taken too long. Whoever knows the ids, or wants a page of the
//! list, reads with `read.rs`.

use std::ops::Bound::{Excluded, Included};
use std::ops::ControlFlow;

use sled::IVec;

use super::past::Step;
use super::read::{FIRST_ID, LAST_ID, records};
use super::{Store, StoreError, keys};
use crate::mirror::record::{ModuleName, RecordId};
use crate::mirror::time::UpstreamTime;

/// An entry, as long as it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight<'a> {
    /// Upstream has the record.
    Live {
        /// When upstream says that it was last modified.
        modified: Option<UpstreamTime>,
        /// The record as a JSON object, its keys in order, which nobody has read as text yet.
        json: &'a [u8],
    },
    /// Upstream has it no longer.
    Gone {
        /// When it was deleted, or when we saw that it was gone.
        at: UpstreamTime,
    },
}

/// How far a look went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walked {
    /// Through the slice, whose lowest id this is: the next is below it.
    Through(RecordId),
    /// Through the last entry of the module.
    End,
    /// As far as the looker wanted.
    Stopped,
}

/// Entries that lie side by side, read and not looked at yet.
pub struct Slice {
    pairs: Vec<(IVec, IVec)>,
    /// Whether more may lie behind it.
    more: bool,
}

impl Slice {
    /// The id of the entry that was met last, if more may lie behind it.
    pub fn last(&self) -> Option<RecordId> {
        let last = self.pairs.last().and_then(|(key, _)| keys::id_at_end(key));
        last.filter(|_| self.more)
    }
}

impl Store {
    /// Looks at the entries with ids below `below` (all of the module for `None`), from the
    /// highest down, at most `most`, until `look` breaks off. Values that cannot be read are
    /// passed over, as lists do.
    pub fn look_below(
        &self,
        module: &ModuleName,
        below: Option<RecordId>,
        most: usize,
        look: &mut dyn FnMut(RecordId, Sight<'_>) -> ControlFlow<()>,
    ) -> Result<Walked, StoreError> {
        let slice = self.slice(module, below, true, most)?;
        Ok(match self.look_at(&slice, look) {
            ControlFlow::Break(()) => Walked::Stopped,
            ControlFlow::Continue(()) => slice.last().map_or(Walked::End, Walked::Through),
        })
    }

    /// Reads the entries beyond an id (from the end of the module for `None`), at most `most`.
    pub fn slice(
        &self,
        module: &ModuleName,
        beyond: Option<RecordId>,
        descending: bool,
        most: usize,
    ) -> Result<Slice, StoreError> {
        let range = match descending {
            true => (Included(FIRST_ID), beyond.map_or(Included(LAST_ID), Excluded)),
            false => (beyond.map_or(Included(FIRST_ID), Excluded), Included(LAST_ID)),
        };
        let range = records(module, range.0, range.1);
        let pairs = self.run("look through records", |_| {
            let mut pairs: Vec<(IVec, IVec)> = Vec::with_capacity(most);
            for step in self.way(range, descending) {
                match step? {
                    Step::Pair(key, value) => pairs.push((key, value)),
                    Step::Gap(gap) => self.found_damage(&gap),
                }
                if pairs.len() >= most {
                    break;
                }
            }
            Ok(pairs)
        })?;
        let more = pairs.len() >= most;
        Ok(Slice { pairs, more })
    }

    /// Looks at the entries of a slice, in the order in which they were met, until `look` breaks
    /// off.
    pub fn look_at(
        &self,
        slice: &Slice,
        look: &mut dyn FnMut(RecordId, Sight<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut unpacker = self.unpacker();
        // Looked at out here: what panics in somebody else's code says nothing about the store.
        for (key, value) in &slice.pairs {
            let Some(id) = keys::id_at_end(key) else { continue };
            match unpacker.look(key, value) {
                Ok((_, sight)) => look(id, sight)?,
                Err(damage) => self.pass_over(key, damage),
            }
        }
        ControlFlow::Continue(())
    }
}
