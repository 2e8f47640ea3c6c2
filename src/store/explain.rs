//! How a record came to be here: what the store says of it, all in one place.
//!
//! For a person who doubts a record. It costs a few reads and a walk through the inbox; the road of
//! a record is known for as long as its last change is kept. Nothing here is mended or removed.

use std::ops::Bound::Included;

use serde::{Deserialize, Serialize};

use super::commit::KeptChanges;
use super::keys::{self, Key};
use super::past::{Past, Step};
use super::{Change, Store, StoreError, values};
use crate::mirror::inbox::{Arrival, InboxSequence, Quarantined};
use crate::mirror::ledger::Ledger;
use crate::mirror::record::{ChangeKind, Entry, ModuleName, RecordId};
use crate::mirror::road::Road;
use crate::mirror::time::UpstreamTime;

/// What the mirror holds under an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The record.
    Live,
    /// A tombstone.
    Deleted,
    /// Nothing: it was never seen, or its tombstone has been forgotten.
    NeverSeen,
    /// A value that cannot be read, and is to be fetched again.
    Unreadable,
}

/// How a record came to be here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// Its module.
    pub module: ModuleName,
    /// The record.
    pub id: RecordId,
    /// What the mirror holds.
    pub state: State,
    /// The modification time that the record carries.
    pub modified: Option<UpstreamTime>,
    /// When (upstream) it was found to be gone.
    pub gone: Option<UpstreamTime>,
    /// The sequence under which it was last written.
    pub sequence: Option<u64>,
    /// The last change of it that readers were told of, while that is kept.
    pub change: Option<ChangeOf>,
    /// The oldest change that is kept: older ones are not known any more.
    pub oldest_change: u64,
    /// Why it waits to be fetched, the earliest first.
    pub waiting: Vec<Road>,
    /// Why it is set aside.
    pub set_aside: Option<SetAside>,
    /// What is proved of its module.
    pub ledger: Proof,
}

/// The last change of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeOf {
    /// Its number on this device.
    pub sequence: u64,
    /// What happened to the record.
    pub kind: ChangeKind,
    /// When (upstream) the record was read.
    pub read: UpstreamTime,
    /// How it came to be seen; `None` for what an earlier release wrote.
    pub road: Option<Road>,
}

/// A record set aside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetAside {
    /// What upstream answered.
    pub why: String,
    /// Since when (upstream).
    pub since: UpstreamTime,
}

/// The part of a ledger that says how far a record can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// Upstream time up to which the module is proved complete.
    pub complete_through: Option<UpstreamTime>,
    /// When (upstream) the last catch-up ended.
    pub last_catch_up: Option<UpstreamTime>,
    /// When (upstream) the last listing of the whole module ended.
    pub last_sweep: Option<UpstreamTime>,
}

impl From<Ledger> for Proof {
    fn from(ledger: Ledger) -> Proof {
        let Ledger { complete_through, last_catch_up, last_sweep, .. } = ledger;
        Proof { complete_through, last_catch_up, last_sweep }
    }
}

impl Store {
    /// Says how a record came to be here.
    pub fn explain(&self, module: &ModuleName, id: RecordId) -> Result<Explanation, StoreError> {
        let (state, entry, sequence) = match self.entry(module, id) {
            Ok(None) => (State::NeverSeen, None, None),
            Ok(Some(stored)) => match stored.entry {
                entry @ Entry::Live(_) => (State::Live, Some(entry), Some(stored.sequence)),
                entry @ Entry::Tombstone { .. } => {
                    (State::Deleted, Some(entry), Some(stored.sequence))
                }
            },
            Err(StoreError::Unreadable { .. }) => (State::Unreadable, None, None),
            Err(error) => return Err(error),
        };
        let (modified, gone) = match entry {
            Some(Entry::Live(record)) => (record.modified(), None),
            Some(Entry::Tombstone { gone }) => (None, Some(gone)),
            None => (None, None),
        };
        let change = match sequence {
            Some(sequence) => self.change_of(module, id, sequence)?,
            None => None,
        };
        Ok(Explanation {
            module: module.clone(),
            id,
            state,
            modified,
            gone,
            sequence,
            change,
            oldest_change: self.oldest_change(),
            waiting: self.waits_for(module, id)?,
            set_aside: self.set_aside_of(module, id)?,
            ledger: self.ledger(module)?.into(),
        })
    }

    /// The arrivals under these numbers, as far as they wait and can be read.
    pub fn arrivals(&self, sequences: &[InboxSequence]) -> Result<Vec<Arrival>, StoreError> {
        let mut arrivals = Vec::new();
        for sequence in sequences {
            let key = Key::Inbox(*sequence).bytes();
            let value = self.value("read the inbox", &key)?.ok().flatten();
            arrivals.extend(value.and_then(|value| values::read_plain(&key, &value).ok()));
        }
        Ok(arrivals)
    }

    /// The change of this number, if it is of this record. A record that no reader was told of has
    /// the number of somebody else's change.
    fn change_of(
        &self,
        module: &ModuleName,
        id: RecordId,
        sequence: u64,
    ) -> Result<Option<ChangeOf>, StoreError> {
        let found = self.run("read a change", |db| {
            let (first, last) = Key::changes_from(sequence).into_inner();
            match Past::new(db, (Included(first), Included(last))).next().transpose()? {
                Some(Step::Pair(key, value)) => Ok(Some((key, value))),
                Some(Step::Gap(gap)) => {
                    self.found_damage(&gap);
                    Ok(None)
                }
                None => Ok(None),
            }
        })?;
        let Some((key, value)) = found else { return Ok(None) };
        let Some(Key::Change(last)) = Key::parse(&key) else { return Ok(None) };
        let Ok(kept) = values::read_plain::<KeptChanges>(&key, &value) else { return Ok(None) };
        let road = kept.road(sequence, last);
        let of_it = |change: &Change| {
            change.sequence == sequence && change.id == id && change.module == *module
        };
        let change = kept.after(sequence.saturating_sub(1), last).find(of_it);
        Ok(change.map(|Change { kind, time, .. }| ChangeOf { sequence, kind, read: time, road }))
    }

    fn waits_for(&self, module: &ModuleName, id: RecordId) -> Result<Vec<Road>, StoreError> {
        let mut roads = Vec::new();
        self.run("read the inbox", |db| {
            for step in Past::kind(db, keys::INBOX) {
                let Step::Pair(key, value) = step? else { continue };
                match values::read_plain::<Arrival>(&key, &value) {
                    Ok(arrival) if arrival.id == id && arrival.module == *module => {
                        roads.push(Road::of(&arrival));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            Ok(())
        })?;
        Ok(roads)
    }

    fn set_aside_of(
        &self,
        module: &ModuleName,
        id: RecordId,
    ) -> Result<Option<SetAside>, StoreError> {
        let key = Key::Quarantined(module.clone(), id).bytes();
        let value = self.value("read the quarantine", &key)?.ok().flatten();
        let read = value.and_then(|value| values::read_plain::<Quarantined>(&key, &value).ok());
        Ok(read.map(|Quarantined { why, since, .. }| SetAside { why, since }))
    }
}
