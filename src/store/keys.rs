//! The keys of the store: one tree, a byte for the kind, then what names the value, in order.
//!
//! Bytes sort as [`Key`] sorts: numbers are big-endian, and a module's name ends in a zero byte
//! where an id follows, so that `Leads` comes whole before `Leads_Old`. What is kept under a key is
//! the business of `values.rs`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::mirror::criteria::Term;
use crate::mirror::document::DocumentName;
use crate::mirror::inbox::InboxSequence;
use crate::mirror::record::{FieldName, ModuleName, RecordId};
use crate::mirror::time::UpstreamTime;

/// What a value is kept under. The kinds are in the order of their bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// The calls of Books spent in the last day.
    BooksSpending,
    /// A committed change, by its sequence.
    Change(u64),
    /// What the records of a module were packed with, by the checksum of its text.
    Dictionary(ModuleName, u32),
    /// What the platform told, by its number, until it is recorded.
    Event(u64),
    /// A live record, by a term of its value in a field.
    Term(ModuleName, FieldName, Term, RecordId),
    /// A remembered deletion, by when it went.
    Gone(ModuleName, UpstreamTime, RecordId),
    /// A waiting id, by its place in the order of arrival.
    Inbox(InboxSequence),
    /// What is proved about a module.
    Ledger(ModuleName),
    /// The field names of a module.
    Fields(ModuleName),
    /// A document: what it is in part 0, its text in the parts from 1 on.
    Document(DocumentName, u16),
    /// A part of a record that is too large for one value, from 1 on.
    Part(ModuleName, RecordId, u16),
    /// A record set aside.
    Quarantined(ModuleName, RecordId),
    /// A record, live or remembered as deleted.
    Record(ModuleName, RecordId),
    /// A call to a function, by its number: what it is in part 0, its content in the parts from 1
    /// on, its answer from [`ANSWER`] on.
    Outbox(u64, u16),
    /// A live record, by when it was modified; those without a stamp come first.
    Modified(ModuleName, Option<UpstreamTime>, RecordId),
    /// The format of the whole store; a store without it is not ours, or lost its content.
    Format,
    /// The credits spent in the last day.
    Spending,
    /// Which indexes a module has.
    Indexes(ModuleName),
    /// The runs of functions in the last day.
    Runs,
}

const BOOKS_SPENDING: u8 = b'b';
pub(super) const CHANGE: u8 = b'c';
pub(super) const DICTIONARY: u8 = b'd';
pub(super) const EVENT: u8 = b'e';
pub(super) const TERM: u8 = b'f';
pub(super) const GONE: u8 = b'g';
pub(super) const INBOX: u8 = b'i';
pub(super) const LEDGER: u8 = b'l';
pub(super) const FIELDS: u8 = b'm';
pub(super) const DOCUMENT: u8 = b'o';
pub(super) const PART: u8 = b'p';
pub(super) const OUTBOX: u8 = b's';
pub(super) const QUARANTINED: u8 = b'q';
pub(super) const RECORD: u8 = b'r';
pub(super) const MODIFIED: u8 = b't';
const FORMAT: u8 = b'v';
const SPENDING: u8 = b'w';
pub(super) const INDEXES: u8 = b'x';
const RUNS: u8 = b'y';

/// The first part of an answer in the outbox: contents have a few hundred parts.
pub(super) const ANSWER: u16 = 0x8000;

impl Key {
    /// The key as bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Key::BooksSpending => vec![BOOKS_SPENDING],
            Key::Change(sequence) => numbered(CHANGE, *sequence),
            Key::Dictionary(module, sum) => {
                let mut key = of_module(DICTIONARY, module);
                key.extend_from_slice(&sum.to_be_bytes());
                key
            }
            Key::Event(number) => numbered(EVENT, *number),
            Key::Term(module, field, term, id) => {
                let mut key = terms_of(module, field, *term);
                key.extend_from_slice(&id.number().to_be_bytes());
                key
            }
            Key::Gone(module, time, id) => timed(GONE, module, Some(*time), *id),
            Key::Inbox(sequence) => numbered(INBOX, *sequence),
            Key::Ledger(module) => named(LEDGER, module),
            Key::Fields(module) => named(FIELDS, module),
            Key::Document(name, part) => documented(name, *part),
            Key::Part(module, id, part) => part_of(&identified(RECORD, module, *id), *part),
            Key::Outbox(call, part) => called(*call, *part),
            Key::Quarantined(module, id) => identified(QUARANTINED, module, *id),
            Key::Record(module, id) => identified(RECORD, module, *id),
            Key::Modified(module, time, id) => timed(MODIFIED, module, *time, *id),
            Key::Format => vec![FORMAT],
            Key::Spending => vec![SPENDING],
            Key::Indexes(module) => named(INDEXES, module),
            Key::Runs => vec![RUNS],
        }
    }

    /// The key that has these bytes; `None` when no key has.
    pub(super) fn parse(bytes: &[u8]) -> Option<Key> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            BOOKS_SPENDING => rest.is_empty().then_some(Key::BooksSpending),
            CHANGE => number(rest).map(Key::Change),
            DICTIONARY => dictionary(rest).map(|(module, sum)| Key::Dictionary(module, sum)),
            EVENT => number(rest).map(Key::Event),
            TERM => term(rest),
            GONE => moment(rest).and_then(|(module, time, id)| Some(Key::Gone(module, time?, id))),
            INBOX => number(rest).map(Key::Inbox),
            LEDGER => name(rest).map(Key::Ledger),
            FIELDS => name(rest).map(Key::Fields),
            DOCUMENT => document(rest).map(|(name, part)| Key::Document(name, part)),
            PART => {
                let (rest, part) = rest.split_last_chunk()?;
                identity(rest).map(|(module, id)| Key::Part(module, id, u16::from_be_bytes(*part)))
            }
            OUTBOX => call(rest).map(|(call, part)| Key::Outbox(call, part)),
            QUARANTINED => identity(rest).map(|(module, id)| Key::Quarantined(module, id)),
            RECORD => identity(rest).map(|(module, id)| Key::Record(module, id)),
            MODIFIED => moment(rest).map(|(module, time, id)| Key::Modified(module, time, id)),
            FORMAT => rest.is_empty().then_some(Key::Format),
            SPENDING => rest.is_empty().then_some(Key::Spending),
            INDEXES => name(rest).map(Key::Indexes),
            RUNS => rest.is_empty().then_some(Key::Runs),
            _ => None,
        }
    }

    /// All keys of waiting ids.
    pub(super) fn inbox() -> RangeInclusive<Vec<u8>> {
        numbered(INBOX, 0)..=numbered(INBOX, u64::MAX)
    }

    /// All keys of calls from this number on.
    pub(super) fn outbox_from(first: u64) -> RangeInclusive<Vec<u8>> {
        called(first, 0)..=called(u64::MAX, u16::MAX)
    }

    /// All keys of one call, from this part on.
    pub(super) fn call_from(number: u64, part: u16) -> RangeInclusive<Vec<u8>> {
        called(number, part)..=called(number, u16::MAX)
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

/// What all keys of this kind begin with that are of this module.
pub(super) fn of_module(kind: u8, module: &ModuleName) -> Vec<u8> {
    let mut start = named(kind, module);
    start.push(0);
    start
}

/// What all keys of terms in this field begin with.
pub(super) fn of_field(module: &ModuleName, field: &FieldName) -> Vec<u8> {
    let mut start = of_module(TERM, module);
    start.extend_from_slice(field.as_str().as_bytes());
    start.push(0);
    start
}

/// The key of a part of the record whose key this is.
pub(super) fn part_of(record: &[u8], part: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(record.len() + 2);
    key.push(PART);
    key.extend_from_slice(&record[1..]);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The id in the key of a record, without a look at the rest; `None` for a key too short.
pub(super) fn id_at_end(key: &[u8]) -> Option<RecordId> {
    key.last_chunk().map(|id| RecordId::new(u64::from_be_bytes(*id)))
}

/// For messages: what a person would call it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::BooksSpending => f.write_str("the calls of Books spent"),
            Key::Change(sequence) => write!(f, "change {sequence}"),
            Key::Dictionary(module, sum) => write!(f, "dictionary {sum:08x} of {module}"),
            Key::Event(number) => write!(f, "event {number} of the platform"),
            Key::Term(module, field, _, id) => write!(f, "the index of {module}.{field} at {id}"),
            Key::Gone(module, _, id) => write!(f, "the index of deletions at {module}/{id}"),
            Key::Inbox(sequence) => write!(f, "inbox item {sequence}"),
            Key::Ledger(module) => write!(f, "the ledger of {module}"),
            Key::Fields(module) => write!(f, "the field names of {module}"),
            Key::Document(name, part) => write!(f, "part {part} of {name}"),
            Key::Part(module, id, part) => write!(f, "part {part} of record {module}/{id}"),
            Key::Outbox(call, part) => write!(f, "part {part} of call {call}"),
            Key::Quarantined(module, id) => write!(f, "quarantined record {module}/{id}"),
            Key::Record(module, id) => write!(f, "record {module}/{id}"),
            Key::Modified(module, _, id) => write!(f, "the index of times at {module}/{id}"),
            Key::Format => f.write_str("the format of the store"),
            Key::Spending => f.write_str("the credits spent"),
            Key::Indexes(module) => write!(f, "the list of indexes of {module}"),
            Key::Runs => f.write_str("the runs of functions"),
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

fn terms_of(module: &ModuleName, field: &FieldName, term: Term) -> Vec<u8> {
    let mut key = of_field(module, field);
    key.extend_from_slice(&term.number().to_be_bytes());
    key
}

/// A time takes five bytes, which hold more than a date can show: raised by half of what they hold,
/// so that times before 1970 come first, and those of records without a stamp are below all.
fn timed(kind: u8, module: &ModuleName, time: Option<UpstreamTime>, id: RecordId) -> Vec<u8> {
    let raised = time.map_or(0, |time| (time.unix() + EPOCH).unsigned_abs());
    let mut key = of_module(kind, module);
    key.extend_from_slice(&raised.to_be_bytes()[8 - TIME..]);
    key.extend_from_slice(&id.number().to_be_bytes());
    key
}

/// Bytes of a time.
const TIME: usize = 5;

/// 1970 among times.
const EPOCH: i64 = 1 << (8 * TIME - 1);

fn term(bytes: &[u8]) -> Option<Key> {
    let (rest, id) = bytes.split_last_chunk::<8>()?;
    let (rest, hash) = rest.split_last_chunk::<4>()?;
    let names = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    let (module, field) = names.split_once('\0')?;
    let (module, field) = (ModuleName::parse(module).ok()?, FieldName::parse(field).ok()?);
    let (term, id) = (Term::new(u32::from_be_bytes(*hash)), u64::from_be_bytes(*id));
    Some(Key::Term(module, field, term, RecordId::new(id)))
}

fn moment(bytes: &[u8]) -> Option<(ModuleName, Option<UpstreamTime>, RecordId)> {
    let (rest, id) = bytes.split_last_chunk::<8>()?;
    let (rest, time) = rest.split_last_chunk::<TIME>()?;
    let module = name(rest.strip_suffix(&[0])?)?;
    let raised = time.iter().fold(0, |number, byte| (number << 8) | i64::from(*byte));
    let time = (raised != 0).then(|| UpstreamTime::from_unix(raised - EPOCH));
    Some((module, time, RecordId::new(u64::from_be_bytes(*id))))
}

/// A letter for the document, the module where it is one's, a zero byte, the part.
fn documented(document: &DocumentName, part: u16) -> Vec<u8> {
    let mut key = match document {
        DocumentName::Fields(module) => named(b'f', module),
        DocumentName::Modules => vec![b'm'],
        DocumentName::Org => vec![b'o'],
        DocumentName::User => vec![b'u'],
    };
    key.insert(0, DOCUMENT);
    key.push(0);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

fn called(call: u64, part: u16) -> Vec<u8> {
    let mut key = numbered(OUTBOX, call);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

fn call(bytes: &[u8]) -> Option<(u64, u16)> {
    let (call, part) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*call), u16::from_be_bytes(part.try_into().ok()?)))
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn name(bytes: &[u8]) -> Option<ModuleName> {
    ModuleName::of_ours(std::str::from_utf8(bytes).ok()?).ok()
}

fn document(bytes: &[u8]) -> Option<(DocumentName, u16)> {
    let (letters, part) = bytes.split_last_chunk()?;
    let document = match letters.strip_suffix(&[0])? {
        b"m" => DocumentName::Modules,
        b"o" => DocumentName::Org,
        b"u" => DocumentName::User,
        letters => DocumentName::Fields(name(letters.strip_prefix(b"f")?)?),
    };
    Some((document, u16::from_be_bytes(*part)))
}

fn dictionary(bytes: &[u8]) -> Option<(ModuleName, u32)> {
    let (module, sum) = bytes.split_last_chunk()?;
    Some((name(module.strip_suffix(&[0])?)?, u32::from_be_bytes(*sum)))
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
        let mut keys = vec![Key::Format, Key::Runs];
        for part in [0, 1, 255, 256, u16::MAX] {
            let modules = ["A", "Leads", "Leads0", "Leads_Old", "m"];
            let documents =
                DocumentName::all(&modules.map(|name| ModuleName::parse(name).unwrap()));
            keys.extend(documents.into_iter().map(|document| Key::Document(document, part)));
        }
        for number in [0, 1, 255, 256, 1 << 32, u64::MAX] {
            keys.extend([Key::Change(number), Key::Inbox(number), Key::Event(number)]);
            keys.push(Key::Record(ModuleName::platform(), RecordId::new(number)));
            keys.extend([0, 1, 256, ANSWER].map(|part| Key::Outbox(number, part)));
            for module in ["A", "Leads", "Leads0", "Leads_Old", "Z", "a"] {
                let module = ModuleName::parse(module).unwrap();
                let id = RecordId::new(number);
                keys.extend([Key::Ledger(module.clone()), Key::Fields(module.clone())]);
                keys.push(Key::Quarantined(module.clone(), id));
                keys.push(Key::Record(module.clone(), id));
                for part in [0, 1, 255, 256, u16::MAX] {
                    keys.push(Key::Part(module.clone(), id, part));
                }
                keys.push(Key::Dictionary(module.clone(), number as u32 ^ (number >> 33) as u32));
                keys.push(Key::Indexes(module.clone()));
                for time in [i64::MIN, -1, 0, 255, 256, i64::MAX].map(UpstreamTime::from_unix) {
                    keys.push(Key::Modified(module.clone(), Some(time), id));
                    keys.push(Key::Gone(module.clone(), time, id));
                }
                keys.push(Key::Modified(module.clone(), None, id));
                for field in ["Email", "Email0", "$approved"] {
                    let field = FieldName::parse(field).unwrap();
                    for term in [0, 255, 256, u32::MAX].map(Term::new) {
                        keys.push(Key::Term(module.clone(), field.clone(), term, id));
                    }
                }
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
        let bad: [&[u8]; 21] = [
            b"s12345678",
            b"y1",
            b"",
            b"x",
            b"i1234567",
            b"i123456789",
            b"l",
            b"rLeads12345678",
            b"r\x0012345678",
            b"v1",
            b"tLeads\x0012345678",
            b"gLeads1234512345678",
            b"fLeads\x00\x00123412345678",
            b"fLeads\x00123412345678",
            b"om12",
            b"om\x001",
            b"of\x0012",
            b"dLeads1234",
            b"d\x001234",
            b"pLeads\x0012345678",
            b"ox\x0012",
        ];
        for bytes in bad {
            assert_eq!(Key::parse(bytes), None, "{bytes:?}");
        }
    }
}
