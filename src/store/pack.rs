//! Packing: the records of a module, small, by what they share.
//!
//! Records of a module repeat their keys, and much of their values. So each is packed on its own,
//! since each is read on its own, but with a *dictionary*: some records of that module, kept once.
//! A dictionary is kept in the batch that first needs it, named by the checksum of its text, and
//! never changed. When others would serve much better, since the records have become different
//! ones, another is made; what was packed with the old one stays readable. They are few.
//!
//! LZ4 it is, by figures, of records of 1.6 KB with names, addresses, dates, lookups and a text of
//! 45 words in each, on one core of a small server. Reading is what a mirror does most, and what is
//! written in C does not cross-build by itself.
//!
//! ```text
//!                          of its size  packing  unpacking
//! LZ4, no dictionary          71 %        8 µs     0.4 µs
//! LZ4, 8 KiB of records       34 %        6 µs       1 µs
//! deflate (no dictionary)     53 %       18 µs      13 µs
//! zstd, 16 KiB, trained       21 %        9 µs       2 µs  (C, half a MB of binary)
//! zstd, 16 KiB of records     26 %       12 µs       6 µs
//! ```
//! A dictionary that is missing or broken makes the values unreadable that were packed with it,
//! and those are treated as all such are: the records are fetched again.

mod press;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use lz4_flex::block;

use super::keys::Key;
use super::values::{self, Damage, Kept, NO_DICTIONARY, Packed, Text};
use super::{Sight, Stored};
use crate::mirror::record::{Entry, Record, RecordId};

pub(super) use press::Packing;

/// Bytes that one byte of LZ4 can stand for.
const MOST_OF_ONE: usize = 255;

/// What values were packed with, by the checksums that name them. Shared by readers and writers.
#[derive(Default)]
pub(super) struct Dictionaries(RwLock<BTreeMap<u32, Arc<[u8]>>>);

impl Dictionaries {
    /// Learns one that is kept; returns when it was made.
    pub(super) fn learn(&self, key: &[u8], value: &[u8]) -> Result<(u64, Dictionary), Damage> {
        let Some(Key::Dictionary(_, sum)) = Key::parse(key) else { return Err(Damage::Content) };
        let (made, packed) = values::read_dictionary(key, value)?;
        let mut text = Vec::new();
        let text = unpack(packed, &[], &mut text)?;
        if values::sum(text) != sum {
            return Err(Damage::Content);
        }
        let dictionary = Dictionary { sum, text: text.into() };
        self.add(&dictionary);
        Ok((made, dictionary))
    }

    /// Whether the dictionary with this key has been learnt.
    pub(super) fn knows(&self, key: &[u8]) -> bool {
        matches!(Key::parse(key), Some(Key::Dictionary(_, sum)) if self.find(sum).is_some())
    }

    fn add(&self, dictionary: &Dictionary) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(dictionary.sum, Arc::clone(&dictionary.text));
    }

    fn find(&self, sum: u32) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&sum).map(Arc::clone)
    }
}

/// Unpacks records, one after another, in the same memory.
pub(super) struct Unpacker<'a> {
    dictionaries: &'a Dictionaries,
    /// The one that was used last: mostly it is the next one too.
    at_hand: Option<Dictionary>,
    text: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(dictionaries: &'a Dictionaries) -> Unpacker<'a> {
        Unpacker { dictionaries, at_hand: None, text: Vec::new() }
    }

    /// Reads the value of the record `id`.
    pub(super) fn entry(
        &mut self,
        key: &[u8],
        id: RecordId,
        value: &[u8],
    ) -> Result<Stored, Damage> {
        let (sequence, sight) = self.look(key, value)?;
        let entry = match sight {
            Sight::Live { modified, json } => {
                let json = std::str::from_utf8(json).map_err(|_| Damage::Content)?;
                Entry::Live(Record::from_parts(id, modified, json.into()))
            }
            Sight::Gone { at } => Entry::Tombstone { gone: at },
        };
        Ok(Stored { entry, sequence })
    }

    /// Looks at the value of a record: its sequence, and what it is. What is seen lasts until the
    /// next look; no memory is taken for it but the first times.
    pub(super) fn look<'s>(
        &'s mut self,
        key: &[u8],
        value: &'s [u8],
    ) -> Result<(u64, Sight<'s>), Damage> {
        let (sequence, kept) = values::read_kept(key, value)?;
        let sight = match kept {
            Kept::Gone(at) => Sight::Gone { at },
            Kept::Live { modified, text: Text::Plain(json) } => {
                Sight::Live { modified, json: json.as_bytes() }
            }
            Kept::Live { modified, text: Text::Packed(packed) } => {
                Sight::Live { modified, json: self.unpack(packed)? }
            }
        };
        Ok((sequence, sight))
    }

    /// Whether the value is that of a live record, which can be unpacked.
    pub(super) fn is_live(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Damage> {
        match values::read_kept(key, value)?.1 {
            Kept::Gone(_) => Ok(false),
            Kept::Live { text: Text::Plain(_), .. } => Ok(true),
            Kept::Live { text: Text::Packed(packed), .. } => {
                self.take(packed.dictionary).map(|_| true)
            }
        }
    }

    fn unpack(&mut self, packed: Packed<'_>) -> Result<&[u8], Damage> {
        self.take(packed.dictionary)?;
        let dictionary = self.at_hand.as_ref().map(|at_hand| &*at_hand.text);
        unpack(packed, dictionary.unwrap_or_default(), &mut self.text)
    }

    /// Takes a dictionary to hand, or none.
    fn take(&mut self, sum: u32) -> Result<(), Damage> {
        if sum == NO_DICTIONARY {
            self.at_hand = None;
        } else if self.at_hand.as_ref().is_none_or(|at_hand| at_hand.sum != sum) {
            let text = self.dictionaries.find(sum).ok_or(Damage::Dictionary)?;
            self.at_hand = Some(Dictionary { sum, text });
        }
        Ok(())
    }
}

fn unpack<'t>(
    packed: Packed<'_>,
    dictionary: &[u8],
    text: &'t mut Vec<u8>,
) -> Result<&'t [u8], Damage> {
    let length = packed.length as usize;
    // The length is not believed before memory is taken for it.
    if length > packed.bytes.len().saturating_mul(MOST_OF_ONE) {
        return Err(Damage::Content);
    }
    if text.len() < length {
        text.resize(length, 0);
    }
    let into = &mut text[..length];
    match block::decompress_into_with_dict(packed.bytes, into, dictionary) {
        Ok(written) if written == length => Ok(&text[..length]),
        Ok(_) | Err(_) => Err(Damage::Content),
    }
}

/// What values are packed with, and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Dictionary {
    sum: u32,
    text: Arc<[u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"City":"Köln","Fax":null,"Mobile":null,"Name":"Zoë","id":"7"}"#;

    #[test]
    fn what_says_a_wrong_length_is_not_unpacked() {
        let bytes = block::compress(TEXT.as_bytes());
        let length = TEXT.len() as u32;
        for said in [0, 1, length - 1, length + 1, u32::MAX] {
            let packed = Packed { dictionary: NO_DICTIONARY, length: said, bytes: &bytes };
            assert_eq!(unpack(packed, &[], &mut Vec::new()), Err(Damage::Content), "{said}");
        }
    }

    #[test]
    fn no_bytes_keep_it_from_coming_back() {
        let mut unpacked = 0;
        for start in 0..=u16::MAX {
            let [first, second] = start.to_be_bytes();
            for length in [0, 1, 5, 19, 40, 300] {
                let bytes = [first, second, 1, 0, first, b'x', second, 0, second, first];
                let packed = Packed { dictionary: NO_DICTIONARY, length, bytes: &bytes };
                if let Ok(text) = unpack(packed, TEXT.as_bytes(), &mut Vec::new()) {
                    assert_eq!(text.len(), length as usize);
                    unpacked += 1;
                }
            }
        }
        assert!(unpacked > 0);
    }
}
