//! The values of the store: a version, a kind, a checksum, then the content.
//!
//! ```text
//! version (1) · kind (1) · CRC-32 (4) · content
//! live record    sequence (8) · modified (8, [`NEVER`] for none) · JSON text as upstream wrote it
//! tombstone      sequence (8) · gone (8)
//! plain          JSON of one of our own types
//! packed record  sequence (8) · modified (8) · dictionary (4) · length (4) · JSON text in LZ4
//! in parts       CRC-32 of the whole value, as it stands in that (4) · count of parts (2)
//! part           a piece of a whole value
//! dictionary     made at sequence (8) · length (4) · text in LZ4
//! bytes          what somebody left here, as it is
//! ```
//! Numbers are big-endian. The checksum covers the key too, so a value that turns up under another
//! key is caught. sled has checksums of its own; this one also sees what sled got wrong before it
//! computed them. Version 1 knew the first three kinds; they are read as they were. How records
//! are packed is said in `pack.rs`, how they are divided in `parts.rs`: neither is done here.
//! Reading a live record does not parse its JSON.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::mirror::time::UpstreamTime;

/// The version that this program writes, and the newest that it reads.
const VERSION: u8 = 2;

/// Bytes of a checksum.
const SUM: usize = 4;

/// Version, kind and checksum.
const HEAD: usize = 2 + SUM;

/// In place of a record's modification time when it has none; far below what a date can show.
const NEVER: i64 = i64::MIN;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Live = 1,
    Tombstone = 2,
    Plain = 3,
    Packed = 4,
    InParts = 5,
    Part = 6,
    Dictionary = 7,
    Bytes = 8,
}

const KINDS: [Kind; 8] = [
    Kind::Live,
    Kind::Tombstone,
    Kind::Plain,
    Kind::Packed,
    Kind::InParts,
    Kind::Part,
    Kind::Dictionary,
    Kind::Bytes,
];

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
    /// The dictionary that it was packed with is not there.
    Dictionary,
    /// It is kept in parts, and they are not all there.
    Parts,
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
            Damage::Dictionary => f.write_str("the dictionary that it was packed with is missing"),
            Damage::Parts => f.write_str("parts of it are missing"),
        }
    }
}

/// What is kept of a record, not unpacked yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept<'a> {
    /// Upstream has it.
    Live {
        /// When upstream says that it was last modified.
        modified: Option<UpstreamTime>,
        /// Its JSON text.
        text: Text<'a>,
    },
    /// Upstream has it no longer, since then.
    Gone(UpstreamTime),
}

/// The JSON text of a record, as it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text<'a> {
    /// As upstream wrote it.
    Plain(&'a str),
    /// In LZ4.
    Packed(Packed<'a>),
}

/// A text in LZ4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packed<'a> {
    /// The dictionary that it was packed with; [`NO_DICTIONARY`] for none.
    pub(super) dictionary: u32,
    /// Bytes that it has when it is unpacked.
    pub(super) length: u32,
    /// What it was packed to.
    pub(super) bytes: &'a [u8],
}

/// In place of the number of a dictionary.
pub(super) const NO_DICTIONARY: u32 = 0;

/// The value of what is kept of a record under this sequence.
pub(super) fn write_kept(key: &[u8], kept: Kept<'_>, sequence: u64) -> Vec<u8> {
    let sequence = sequence.to_be_bytes();
    match kept {
        Kept::Live { modified, text } => {
            let modified = modified.map_or(NEVER, UpstreamTime::unix).to_be_bytes();
            match text {
                Text::Plain(json) => {
                    seal(key, Kind::Live, &[&sequence, &modified, json.as_bytes()])
                }
                Text::Packed(Packed { dictionary, length, bytes }) => {
                    let (dictionary, length) = (dictionary.to_be_bytes(), length.to_be_bytes());
                    let parts = [&sequence[..], &modified, &dictionary, &length, bytes];
                    seal(key, Kind::Packed, &parts)
                }
            }
        }
        Kept::Gone(at) => seal(key, Kind::Tombstone, &[&sequence, &at.unix().to_be_bytes()]),
    }
}

/// Looks at the value of a record without copying it: its sequence, and what is kept of it.
pub(super) fn read_kept<'a>(key: &[u8], value: &'a [u8]) -> Result<(u64, Kept<'a>), Damage> {
    let (kind, content) = unseal(key, value)?;
    let text = match kind {
        Kind::Live | Kind::Packed => kind,
        Kind::Tombstone => {
            let (sequence, content) = number(content)?;
            let (gone, _) = number(content)?;
            return Ok((sequence, Kept::Gone(UpstreamTime::from_unix(gone as i64))));
        }
        Kind::InParts => return Err(Damage::Parts),
        Kind::Plain | Kind::Part | Kind::Dictionary | Kind::Bytes => return Err(Damage::Content),
    };
    let (sequence, content) = number(content)?;
    let (time, content) = number(content)?;
    let modified = (time as i64 != NEVER).then(|| UpstreamTime::from_unix(time as i64));
    let text = if text == Kind::Packed {
        let (dictionary, content) = short_number(content)?;
        let (length, bytes) = short_number(content)?;
        Text::Packed(Packed { dictionary, length, bytes })
    } else {
        Text::Plain(std::str::from_utf8(content).map_err(|_| Damage::Content)?)
    };
    Ok((sequence, Kept::Live { modified, text }))
}

/// Whether the value is that of a live record, checked as a whole but not unpacked.
pub(super) fn is_live(key: &[u8], value: &[u8]) -> Result<bool, Damage> {
    match read_kept(key, value)?.1 {
        Kept::Live { .. } => Ok(true),
        Kept::Gone(_) => Ok(false),
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
        (
            Kind::Live
            | Kind::Tombstone
            | Kind::Packed
            | Kind::InParts
            | Kind::Part
            | Kind::Dictionary
            | Kind::Bytes,
            _,
        ) => Err(Damage::Content),
    }
}

/// The value of some bytes as they are.
pub(super) fn write_bytes(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    seal(key, Kind::Bytes, &[bytes])
}

/// Reads such a value.
pub(super) fn read_bytes<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    match unseal(key, value)? {
        (Kind::Bytes, content) => Ok(content),
        (
            Kind::Live
            | Kind::Tombstone
            | Kind::Plain
            | Kind::Packed
            | Kind::InParts
            | Kind::Part
            | Kind::Dictionary,
            _,
        ) => Err(Damage::Content),
    }
}

/// What stands for a value that is kept in so many parts.
pub(super) fn write_in_parts(key: &[u8], whole: &[u8], parts: u16) -> Vec<u8> {
    seal(key, Kind::InParts, &[sum_of(whole), &parts.to_be_bytes()])
}

/// How many parts a value is in, and the checksum of the whole; `None` when it is not in parts, or
/// cannot be read.
pub(super) fn read_in_parts<'a>(key: &[u8], value: &'a [u8]) -> Option<(u16, &'a [u8])> {
    // Asked of every value that is read: most are not, and their checksums are computed elsewhere.
    if value.get(1) != Some(&(Kind::InParts as u8)) {
        return None;
    }
    let (_, content) = unseal(key, value).ok()?;
    let (sum, parts) = content.split_at_checked(SUM)?;
    Some((u16::from_be_bytes(parts.try_into().ok()?), sum))
}

/// Whether a value may be in parts: it is, or it cannot be read.
pub(super) fn may_have_parts(key: &[u8], value: &[u8]) -> bool {
    !matches!(unseal(key, value), Ok((kind, _)) if kind != Kind::InParts)
}

/// The checksum that stands in a value.
pub(super) fn sum_of(value: &[u8]) -> &[u8] {
    value.get(2..HEAD).unwrap_or_default()
}

/// The value of a part.
pub(super) fn write_part(key: &[u8], piece: &[u8]) -> Vec<u8> {
    seal(key, Kind::Part, &[piece])
}

/// What is in a part.
pub(super) fn read_part<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    match unseal(key, value)? {
        (Kind::Part, piece) => Ok(piece),
        _ => Err(Damage::Content),
    }
}

/// The value of a dictionary, whose text is packed without one, made when this was the sequence of
/// the newest change.
pub(super) fn write_dictionary(key: &[u8], made: u64, text: Packed<'_>) -> Vec<u8> {
    let parts = [&made.to_be_bytes()[..], &text.length.to_be_bytes(), text.bytes];
    seal(key, Kind::Dictionary, &parts)
}

/// When a dictionary was made, and its text.
pub(super) fn read_dictionary<'a>(
    key: &[u8],
    value: &'a [u8],
) -> Result<(u64, Packed<'a>), Damage> {
    match unseal(key, value)? {
        (Kind::Dictionary, content) => {
            let (made, content) = number(content)?;
            let (length, bytes) = short_number(content)?;
            Ok((made, Packed { dictionary: NO_DICTIONARY, length, bytes }))
        }
        _ => Err(Damage::Content),
    }
}

/// The checksum of a text that is kept in several values, or that others name by it.
pub(super) fn sum(text: &[u8]) -> u32 {
    crc32fast::hash(text)
}

fn number(content: &[u8]) -> Result<(u64, &[u8]), Damage> {
    let (number, rest) = content.split_first_chunk().ok_or(Damage::Content)?;
    Ok((u64::from_be_bytes(*number), rest))
}

fn short_number(content: &[u8]) -> Result<(u32, &[u8]), Damage> {
    let (number, rest) = content.split_first_chunk().ok_or(Damage::Content)?;
    Ok((u32::from_be_bytes(*number), rest))
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
    let kind = KINDS.into_iter().find(|known| *known as u8 == kind).ok_or(Damage::Content)?;
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

    fn samples() -> [Kept<'static>; 4] {
        let modified = Some(UpstreamTime::from_unix(1_767_225_600));
        let packed = Packed { dictionary: 9, length: 60, bytes: b"not unpacked here" };
        [
            Kept::Live { modified, text: Text::Plain(r#"{"id":"7","n":1.500}"#) },
            Kept::Live { modified: None, text: Text::Plain(r#"{"id":"7"}"#) },
            Kept::Live { modified, text: Text::Packed(packed) },
            Kept::Gone(UpstreamTime::from_unix(-5)),
        ]
    }

    #[test]
    fn entries_come_back_as_they_went_in() {
        for kept in samples() {
            let value = write_kept(KEY, kept, u64::MAX);
            assert_eq!(is_live(KEY, &value), Ok(matches!(kept, Kept::Live { .. })));
            assert_eq!(read_kept(KEY, &value), Ok((u64::MAX, kept)));
            assert_eq!(read_in_parts(KEY, &value), None);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_caught() {
        for kept in samples() {
            let value = write_kept(KEY, kept, 3);
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(read_kept(KEY, &flipped).is_err(), "bit {bit}");
            }
            for length in 0..value.len() {
                assert!(read_kept(KEY, &value[..length]).is_err(), "length {length}");
            }
        }
    }

    #[test]
    fn parts_and_dictionaries_come_back_and_are_no_records() {
        let whole = write_kept(KEY, samples()[0], 3);
        let head = write_in_parts(KEY, &whole, 700);
        assert_eq!(read_in_parts(KEY, &head), Some((700, &whole[2..6])));
        assert_eq!(read_kept(KEY, &head), Err(Damage::Parts));
        let part = write_part(b"p", b"piece");
        assert_eq!(read_part(b"p", &part), Ok(&b"piece"[..]));
        let packed = Packed { dictionary: NO_DICTIONARY, length: 3, bytes: b"abc" };
        let dictionary = write_dictionary(b"d", 8, packed);
        assert_eq!(read_dictionary(b"d", &dictionary), Ok((8, packed)));
        for (key, value) in [(b"p", part), (b"d", dictionary)] {
            assert_eq!(read_kept(key, &value), Err(Damage::Content));
            assert_eq!(read_plain::<u8>(key, &value), Err(Damage::Content));
        }
    }

    #[test]
    fn what_version_1_wrote_is_read() {
        let mut value = write_kept(KEY, Kept::Gone(UpstreamTime::from_unix(5)), 3);
        value[0] = 1;
        let sum = checksum(KEY, &value).to_be_bytes();
        value[2..HEAD].copy_from_slice(&sum);
        let gone = Kept::Gone(UpstreamTime::from_unix(5));
        assert_eq!(read_kept(KEY, &value), Ok((3, gone)));
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
