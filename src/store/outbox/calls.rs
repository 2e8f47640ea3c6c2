//! What is in the outbox, in memory: enough to say which call is next, whether there is room for
//! another, and which is the same as one before. It knows no disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::mirror::outbox::plan::Front;
use crate::mirror::outbox::{CallId, FunctionName, Item, Standing};
use crate::mirror::time::UpstreamTime;

/// Calls that may wait at once: one every four seconds, for half a day without a network. Each
/// takes some 300 bytes of memory.
pub const WAITING_LIMIT: usize = 10_000;
/// Bytes that the contents of all that are kept may have together, those of the failed included: a
/// hundred megabytes of a card, as sled keeps them.
pub const BYTES_LIMIT: u64 = 32 << 20;
/// Calls that were sent, and calls that failed, that are kept to be read: more than a person looks
/// through. The oldest gives way.
pub const ENDED_LIMIT: usize = 1_000;

/// What is known of a call in memory.
#[derive(Debug)]
pub(super) struct Slot {
    salt: u64,
    function: FunctionName,
    standing: Standing,
    /// Of the content that is kept.
    bytes: u64,
    since: Option<UpstreamTime>,
    ended: Option<UpstreamTime>,
    key: Option<String>,
    pub(super) fingerprint: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Calls {
    slots: BTreeMap<u64, Slot>,
    /// By function, in the order of acceptance.
    waiting: BTreeMap<FunctionName, BTreeSet<u64>>,
    /// By function and `Idempotency-Key`.
    keys: BTreeMap<(FunctionName, String), u64>,
    last: u64,
    bytes: u64,
    /// The call that is being sent.
    in_the_air: Option<u64>,
}

/// How many there are of each, as of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallCounts {
    /// To be sent.
    pub waiting: usize,
    /// Answered, and kept to be read.
    pub sent: usize,
    /// Given up, and kept.
    pub failed: usize,
    /// Bytes of all contents that are kept.
    pub bytes: u64,
    /// Since when (upstream) the oldest waits.
    pub oldest: Option<UpstreamTime>,
}

impl Calls {
    /// The number for the next call.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Whether there is room for a call with so many bytes; if not, why.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let waiting: usize = self.waiting.values().map(BTreeSet::len).sum();
        waiting < WAITING_LIMIT && self.bytes + bytes <= BYTES_LIMIT
    }

    /// Puts a call in, or what became of it in its place.
    pub(super) fn put(&mut self, number: u64, item: &Item) {
        self.remove(number);
        let standing = item.state.standing();
        // What was sent is not sent again: its content is let go.
        let bytes = if standing == Standing::Sent { 0 } else { u64::from(item.bytes) };
        if standing == Standing::Waiting {
            self.waiting.entry(item.function.clone()).or_default().insert(number);
        }
        if let Some(key) = &item.key {
            self.keys.insert((item.function.clone(), key.clone()), number);
        }
        self.bytes += bytes;
        self.last = self.last.max(number);
        let slot = Slot {
            salt: item.salt,
            function: item.function.clone(),
            standing,
            bytes,
            since: item.since,
            ended: item.state.ended(),
            key: item.key.clone(),
            fingerprint: item.fingerprint.clone(),
        };
        self.slots.insert(number, slot);
    }

    /// Lets a call go. It is in the air no more.
    pub(super) fn remove(&mut self, number: u64) {
        if self.in_the_air == Some(number) {
            self.in_the_air = None;
        }
        let Some(slot) = self.slots.remove(&number) else { return };
        self.bytes -= slot.bytes;
        if let Some(waiting) = self.waiting.get_mut(&slot.function) {
            waiting.remove(&number);
            if waiting.is_empty() {
                self.waiting.remove(&slot.function);
            }
        }
        if let Some(key) = slot.key {
            self.keys.remove(&(slot.function, key));
        }
    }

    /// The call that came under this key.
    pub(super) fn by_key(&self, function: &FunctionName, key: &str) -> Option<(CallId, &Slot)> {
        let number = *self.keys.get(&(function.clone(), key.to_owned()))?;
        let slot = self.slots.get(&number)?;
        Some((CallId { number, salt: slot.salt }, slot))
    }

    /// How this call stands, and whether it is in the air; `None` when it is not here.
    pub(super) fn standing(&self, id: CallId) -> Option<(Standing, bool)> {
        let slot = self.slots.get(&id.number).filter(|slot| slot.salt == id.salt)?;
        Some((slot.standing, self.in_the_air == Some(id.number)))
    }

    /// Marks a call that waits as being in the air; false when it does not wait any more.
    pub(super) fn take_up(&mut self, number: u64) -> bool {
        let waits = self.slots.get(&number).is_some_and(|slot| slot.standing == Standing::Waiting);
        self.in_the_air = waits.then_some(number);
        waits
    }

    /// The first waiting call of each function.
    pub(super) fn fronts(&self) -> Vec<Front> {
        let first = |(function, numbers): (&FunctionName, &BTreeSet<u64>)| {
            let number = *numbers.first()?;
            let since = self.slots.get(&number)?.since;
            Some(Front { function: function.clone(), number, since })
        };
        self.waiting.iter().filter_map(first).collect()
    }

    /// Calls with numbers above `after`, those of one standing or all, at most `limit`.
    pub(super) fn list(&self, standing: Option<Standing>, after: u64, limit: usize) -> Vec<u64> {
        let behind =
            self.slots.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let wanted = behind.filter(|(_, slot)| standing.is_none_or(|it| it == slot.standing));
        wanted.map(|(number, _)| *number).take(limit).collect()
    }

    /// Calls that have ended and are not to be kept any more: the oldest of too many, and those
    /// that ended before `forgotten`.
    pub(super) fn surplus(&self, forgotten: Option<UpstreamTime>) -> Vec<u64> {
        let mut surplus = Vec::new();
        for standing in [Standing::Sent, Standing::Failed] {
            let mut ended: Vec<(Option<UpstreamTime>, u64)> = self
                .slots
                .iter()
                .filter(|(_, slot)| slot.standing == standing)
                .map(|(number, slot)| (slot.ended, *number))
                .collect();
            ended.sort_unstable();
            let too_many = ended.len().saturating_sub(ENDED_LIMIT);
            let old = |ended: Option<UpstreamTime>| {
                ended.zip(forgotten).is_some_and(|(ended, forgotten)| ended < forgotten)
            };
            let goes =
                ended.iter().enumerate().filter(|(at, (time, _))| *at < too_many || old(*time));
            surplus.extend(goes.map(|(_, (_, number))| *number));
        }
        surplus
    }

    /// How many there are of each.
    pub(super) fn counts(&self) -> CallCounts {
        let mut counts = CallCounts { bytes: self.bytes, ..CallCounts::default() };
        for slot in self.slots.values() {
            match slot.standing {
                Standing::Waiting => {
                    counts.waiting += 1;
                    counts.oldest = match (counts.oldest, slot.since) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                }
                Standing::Sent => counts.sent += 1,
                Standing::Failed => counts.failed += 1,
            }
        }
        counts
    }
}
