//! The values of the store: a version, a kind, a checksum, then the content.
//!
//! ```text
//! version (1) · kind (1) · CRC-32 (4) · content
//! live record  sequence (8) · modified (8, [`NEVER`] for none) · JSON text as upstream wrote it
//! tombstone    sequence (8) · gone (8)
//! plain        JSON of one of our own types
//! ```
//! Numbers are big-endian. The checksum covers the key too, so a value that turns up under another
//! key is caught. sled has checksums of its own; this one also sees what sled got wrong before it
//! computed them. Reading a live record does not parse its JSON.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Sight, Stored};
use crate::mirror::record::{Entry, Record, RecordId};
use crate::mirror::time::UpstreamTime;

/// The version that this program writes, and the newest that it reads.
const VERSION: u8 = 1;

/// Version, kind and checksum.
const HEAD: usize = 6;

/// In place of a record's modification time when it has none; far below what a date can show.
const NEVER: i64 = i64::MIN;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Live = 1,
    Tombstone = 2,
    Plain = 3,
}

/// Why a value cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// It is shorter than any value.
    Short,
    /// A newer crmirror wrote it, in this version.
    Newer(u8),
    /// Its checksum is not that of its key and content.
    Checksum,
    /// The page it is on is damaged.
    Page,
    /// The checksum holds, but the content is not what belongs under this key.
    Content,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Short => f.write_str("it is cut short"),
            Damage::Newer(version) => write!(
                f,
                "it has version {version}, this crmirror reads up to {VERSION}: \
                 a newer crmirror wrote it"
            ),
            Damage::Checksum => f.write_str("its checksum is wrong"),
            Damage::Page => f.write_str("its page on the disk is damaged"),
            Damage::Content => f.write_str("its content is not what belongs there"),
        }
    }
}

/// The value of a record written under this sequence.
pub(super) fn write_entry(key: &[u8], entry: &Entry, sequence: u64) -> Vec<u8> {
    let sequence = sequence.to_be_bytes();
    match entry {
        Entry::Live(record) => {
            let modified = record.modified().map_or(NEVER, UpstreamTime::unix).to_be_bytes();
            seal(key, Kind::Live, &[&sequence, &modified, record.json().as_bytes()])
        }
        Entry::Tombstone { gone } => {
            seal(key, Kind::Tombstone, &[&sequence, &gone.unix().to_be_bytes()])
        }
    }
}

/// Reads the value of the record `id`.
pub(super) fn read_entry(key: &[u8], id: RecordId, value: &[u8]) -> Result<Stored, Damage> {
    let (sequence, sight) = look(key, value)?;
    let entry = match sight {
        Sight::Live { modified, json } => {
            Entry::Live(Record::from_parts(id, modified, json.into()))
        }
        Sight::Gone { at } => Entry::Tombstone { gone: at },
    };
    Ok(Stored { entry, sequence })
}

/// Looks at the value of a record without copying it: its sequence, and what it is.
pub(super) fn look<'a>(key: &[u8], value: &'a [u8]) -> Result<(u64, Sight<'a>), Damage> {
    let (kind, content) = unseal(key, value)?;
    let (sequence, content) = content.split_first_chunk().ok_or(Damage::Content)?;
    let (time, text) = content.split_first_chunk().ok_or(Damage::Content)?;
    let time = i64::from_be_bytes(*time);
    let sight = match kind {
        Kind::Live => Sight::Live {
            modified: (time != NEVER).then(|| UpstreamTime::from_unix(time)),
            json: std::str::from_utf8(text).map_err(|_| Damage::Content)?,
        },
        Kind::Tombstone => Sight::Gone { at: UpstreamTime::from_unix(time) },
        Kind::Plain => return Err(Damage::Content),
    };
    Ok((u64::from_be_bytes(*sequence), sight))
}

/// Whether the value is that of a live record, checked as a whole.
pub(super) fn is_live(key: &[u8], value: &[u8]) -> Result<bool, Damage> {
    match unseal(key, value)?.0 {
        Kind::Live => Ok(true),
        Kind::Tombstone => Ok(false),
        Kind::Plain => Err(Damage::Content),
    }
}

/// Whether a value is one that was written under its key, whatever it holds.
pub(super) fn check(key: &[u8], value: &[u8]) -> Result<(), Damage> {
    unseal(key, value).map(|_| ())
}

/// The value of one of our own small types.
pub(super) fn write_plain<T: Serialize>(key: &[u8], content: &T) -> Vec<u8> {
    let json = serde_json::to_vec(content).expect("our own types have no keys but strings");
    seal(key, Kind::Plain, &[&json])
}

/// Reads the value of one of our own small types.
pub(super) fn read_plain<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, Damage> {
    match unseal(key, value)? {
        (Kind::Plain, content) => serde_json::from_slice(content).map_err(|_| Damage::Content),
        (Kind::Live | Kind::Tombstone, _) => Err(Damage::Content),
    }
}

/// The checksum of a text that is kept in several values.
pub(super) fn sum(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes())
}

fn seal(key: &[u8], kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + parts.iter().map(|part| part.len()).sum::<usize>());
    value.extend_from_slice(&[VERSION, kind as u8, 0, 0, 0, 0]);
    for part in parts {
        value.extend_from_slice(part);
    }
    let sum = checksum(key, &value);
    value[2..HEAD].copy_from_slice(&sum.to_be_bytes());
    value
}

fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<(Kind, &'a [u8]), Damage> {
    let (head, content) = value.split_first_chunk::<HEAD>().ok_or(Damage::Short)?;
    let [version, kind, sum @ ..] = *head;
    // A newer version may compute its checksum otherwise: ask for the version first.
    if version > VERSION {
        return Err(Damage::Newer(version));
    }
    // A fuzzer would never guess it, and never get to what lies behind.
    if !cfg!(fuzzing) && checksum(key, value) != u32::from_be_bytes(sum) {
        return Err(Damage::Checksum);
    }
    let kinds = [Kind::Live, Kind::Tombstone, Kind::Plain];
    let kind = kinds.into_iter().find(|known| *known as u8 == kind).ok_or(Damage::Content)?;
    Ok((kind, content))
}

/// Of the key (with its length, which keeps it apart from what follows) and of all of the value
/// but the checksum's own place.
fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(&value[..2]);
    hasher.update(&value[HEAD..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"rLeads\0\0\0\0\0\0\0\0\x07";
    const ID: RecordId = RecordId::new(7);

    fn samples() -> [Entry; 3] {
        let with_time = r#"{"Modified_Time":"2026-01-01T00:00:00Z","id":"7","n":1.500}"#;
        [
            Entry::Live(Record::parse(with_time).unwrap()),
            Entry::Live(Record::parse(r#"{"id":"7"}"#).unwrap()),
            Entry::Tombstone { gone: UpstreamTime::from_unix(-5) },
        ]
    }

    #[test]
    fn entries_come_back_as_they_went_in() {
        for entry in samples() {
            let value = write_entry(KEY, &entry, u64::MAX);
            assert_eq!(is_live(KEY, &value), Ok(matches!(entry, Entry::Live(_))));
            let stored = Stored { entry, sequence: u64::MAX };
            assert_eq!(read_entry(KEY, ID, &value), Ok(stored));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_caught() {
        for entry in samples() {
            let value = write_entry(KEY, &entry, 3);
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(read_entry(KEY, ID, &flipped).is_err(), "bit {bit}");
            }
            for length in 0..value.len() {
                assert!(read_entry(KEY, ID, &value[..length]).is_err(), "length {length}");
            }
        }
    }

    #[test]
    fn a_value_under_another_key_is_caught() {
        let value = write_plain(b"lLeads", &1);
        assert_eq!(read_plain(b"lLeads", &value), Ok(1));
        assert_eq!(read_plain::<u8>(b"lDeals", &value), Err(Damage::Checksum));
    }

    #[test]
    fn a_value_of_a_newer_version_says_so() {
        let mut value = write_plain(b"lLeads", &1);
        value[0] = VERSION + 1;
        let damage = read_plain::<u8>(b"lLeads", &value).unwrap_err();
        assert_eq!(damage, Damage::Newer(VERSION + 1));
        assert!(damage.to_string().contains("a newer crmirror wrote it"), "{damage}");
    }
}
