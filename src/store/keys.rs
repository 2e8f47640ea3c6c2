//! The keys of the store: one tree, a byte for the kind, then what names the value, in order.
//!
//! Bytes sort as [`Key`] sorts: numbers are big-endian, and a module's name ends in a zero byte
//! where an id follows, so that `Leads` comes whole before `Leads_Old`. What is kept under a key is
//! the business of `values.rs`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::mirror::inbox::InboxSequence;
use crate::mirror::record::{ModuleName, RecordId};

/// What a value is kept under. The kinds are in the order of their bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// A committed change, by its sequence.
    Change(u64),
    /// A waiting id, by its place in the order of arrival.
    Inbox(InboxSequence),
    /// What is proved about a module.
    Ledger(ModuleName),
    /// The field names of a module.
    Fields(ModuleName),
    /// A record set aside.
    Quarantined(ModuleName, RecordId),
    /// A record, live or remembered as deleted.
    Record(ModuleName, RecordId),
    /// The format of the whole store; a store without it is not ours, or lost its content.
    Format,
    /// The credits spent in the last day.
    Spending,
}

pub(super) const CHANGE: u8 = b'c';
pub(super) const INBOX: u8 = b'i';
pub(super) const LEDGER: u8 = b'l';
pub(super) const FIELDS: u8 = b'm';
pub(super) const QUARANTINED: u8 = b'q';
pub(super) const RECORD: u8 = b'r';
const FORMAT: u8 = b'v';
const SPENDING: u8 = b'w';

impl Key {
    /// The key as bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Key::Change(sequence) => numbered(CHANGE, *sequence),
            Key::Inbox(sequence) => numbered(INBOX, *sequence),
            Key::Ledger(module) => named(LEDGER, module),
            Key::Fields(module) => named(FIELDS, module),
            Key::Quarantined(module, id) => identified(QUARANTINED, module, *id),
            Key::Record(module, id) => identified(RECORD, module, *id),
            Key::Format => vec![FORMAT],
            Key::Spending => vec![SPENDING],
        }
    }

    /// The key that has these bytes; `None` when no key has.
    pub(super) fn parse(bytes: &[u8]) -> Option<Key> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            CHANGE => number(rest).map(Key::Change),
            INBOX => number(rest).map(Key::Inbox),
            LEDGER => name(rest).map(Key::Ledger),
            FIELDS => name(rest).map(Key::Fields),
            QUARANTINED => identity(rest).map(|(module, id)| Key::Quarantined(module, id)),
            RECORD => identity(rest).map(|(module, id)| Key::Record(module, id)),
            FORMAT => rest.is_empty().then_some(Key::Format),
            SPENDING => rest.is_empty().then_some(Key::Spending),
            _ => None,
        }
    }

    /// All keys of waiting ids.
    pub(super) fn inbox() -> RangeInclusive<Vec<u8>> {
        numbered(INBOX, 0)..=numbered(INBOX, u64::MAX)
    }

    /// All keys of changes from this sequence on.
    pub(super) fn changes_from(first: u64) -> RangeInclusive<Vec<u8>> {
        numbered(CHANGE, first)..=numbered(CHANGE, u64::MAX)
    }

    /// What all keys of records set aside begin with.
    pub(super) fn quarantine() -> [u8; 1] {
        [QUARANTINED]
    }
}

/// The id in the key of a record, without a look at the rest; `None` for a key too short.
pub(super) fn id_at_end(key: &[u8]) -> Option<RecordId> {
    key.last_chunk().map(|id| RecordId::new(u64::from_be_bytes(*id)))
}

/// For messages: what a person would call it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Change(sequence) => write!(f, "change {sequence}"),
            Key::Inbox(sequence) => write!(f, "inbox item {sequence}"),
            Key::Ledger(module) => write!(f, "the ledger of {module}"),
            Key::Fields(module) => write!(f, "the field names of {module}"),
            Key::Quarantined(module, id) => write!(f, "quarantined record {module}/{id}"),
            Key::Record(module, id) => write!(f, "record {module}/{id}"),
            Key::Format => f.write_str("the format of the store"),
            Key::Spending => f.write_str("the credits spent"),
        }
    }
}

fn numbered(kind: u8, number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn named(kind: u8, module: &ModuleName) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + module.as_str().len());
    key.push(kind);
    key.extend_from_slice(module.as_str().as_bytes());
    key
}

fn identified(kind: u8, module: &ModuleName, id: RecordId) -> Vec<u8> {
    let mut key = Vec::with_capacity(module.as_str().len() + 10);
    key.push(kind);
    key.extend_from_slice(module.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&id.number().to_be_bytes());
    key
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn name(bytes: &[u8]) -> Option<ModuleName> {
    ModuleName::parse(std::str::from_utf8(bytes).ok()?).ok()
}

fn identity(bytes: &[u8]) -> Option<(ModuleName, RecordId)> {
    let (module, id) = bytes.split_last_chunk::<8>()?;
    let module = name(module.strip_suffix(&[0])?)?;
    Some((module, RecordId::new(u64::from_be_bytes(*id))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sort_as_keys_do_and_read_back() {
        let mut keys = vec![Key::Format];
        for number in [0, 1, 255, 256, 1 << 32, u64::MAX] {
            keys.extend([Key::Change(number), Key::Inbox(number)]);
            for module in ["A", "Leads", "Leads0", "Leads_Old", "Z", "a"] {
                let module = ModuleName::parse(module).unwrap();
                let id = RecordId::new(number);
                keys.extend([Key::Ledger(module.clone()), Key::Fields(module.clone())]);
                keys.push(Key::Quarantined(module.clone(), id));
                keys.push(Key::Record(module, id));
            }
        }
        let mut by_bytes = keys.clone();
        by_bytes.sort_by_key(Key::bytes);
        keys.sort();
        assert_eq!(by_bytes, keys);
        for key in keys {
            assert_eq!(Key::parse(&key.bytes()), Some(key));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let bad: [&[u8]; 8] = [
            b"",
            b"x",
            b"i1234567",
            b"i123456789",
            b"l",
            b"rLeads12345678",
            b"r\x0012345678",
            b"v1",
        ];
        for bytes in bad {
            assert_eq!(Key::parse(bytes), None, "{bytes:?}");
        }
    }
}
