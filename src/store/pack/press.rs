//! Packing records, and making what they are packed with.

use std::collections::BTreeMap;
use std::sync::Arc;

use lz4_flex::block;

use super::super::keys::{self, Key};
use super::super::past::{Past, Step};
use super::super::read;
use super::super::values::{self, Kept, NO_DICTIONARY, Packed, Text};
use super::{Dictionaries, Dictionary};
use crate::mirror::record::{Entry, ModuleName, Record};

/// Bytes of the text of a dictionary. Twice as many make records smaller by a twentieth, and each
/// takes longer to pack.
const TEXT: usize = 8 << 10;

/// Bytes of a dictionary as it is kept: small enough to stay whole (see `parts.rs`).
const KEPT_LIMIT: usize = 4 << 10;

/// Longer texts within a record are left out of a dictionary: nobody writes them twice.
const PHRASE: usize = 40;

/// Records that are looked at for a dictionary: half of them for its text, and half to see what it
/// is good for.
const SAMPLES: usize = 32;

/// Bytes of records that are written before the first dictionary of a module is made: below, there
/// is nothing to be gained.
const FIRST: usize = 16 << 10;

/// Bytes of records after which it is seen whether another dictionary would serve better.
const REVIEW: usize = 1 << 20;

/// Dictionaries of a module. All are in memory, and none goes while a value may need it.
const DICTIONARIES: usize = 4;

/// How records are packed, and how they were.
#[derive(Default)]
pub(in crate::store) struct Packing {
    pub(in crate::store) dictionaries: Arc<Dictionaries>,
    presses: BTreeMap<ModuleName, Press>,
}

impl Packing {
    /// Reads which dictionaries there are. One that cannot be read is forgotten.
    pub(in crate::store) fn survey(db: &sled::Db) -> sled::Result<Packing> {
        let mut packing = Packing::default();
        let mut newest: BTreeMap<ModuleName, u64> = BTreeMap::new();
        for step in Past::kind(db, keys::DICTIONARY) {
            let Step::Pair(key, value) = step? else { continue };
            let Some(Key::Dictionary(module, _)) = Key::parse(&key) else { continue };
            match packing.dictionaries.learn(&key, &value) {
                Ok((made, dictionary)) => {
                    let press = packing.presses.entry(module.clone()).or_default();
                    press.made += 1;
                    if newest.get(&module).is_none_or(|newest| *newest <= made) {
                        press.dictionary = Some(dictionary);
                        newest.insert(module, made);
                    }
                }
                Err(damage) => {
                    log::warn!(
                        "{} is forgotten: {damage}; what was packed with it is fetched again",
                        read::describe(&key)
                    );
                    db.remove(&key)?;
                }
            }
        }
        Ok(packing)
    }

    /// Makes a dictionary if it is time to and it helps; it is kept under the key and value that
    /// are returned. `records` are about to be written; `more` reads so many others.
    pub(in crate::store) fn review(
        &mut self,
        module: &ModuleName,
        records: &[&str],
        made: u64,
        more: impl FnOnce(usize) -> sled::Result<Vec<Record>>,
    ) -> sled::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let press = self.presses.entry(module.clone()).or_default();
        press.written += records.iter().map(|json| json.len()).sum::<usize>();
        if !press.is_due() {
            return Ok(None);
        }
        press.written = 0;
        let others = more(SAMPLES.saturating_sub(records.len()))?;
        let all: Vec<&str> =
            records.iter().copied().chain(others.iter().map(Record::json)).collect();
        let every = (all.len() / SAMPLES).max(1);
        let samples: Vec<Vec<u8>> =
            all.into_iter().step_by(every).take(SAMPLES).map(outline).collect();
        let Some(other) = Dictionary::of(samples.iter().step_by(2)) else { return Ok(None) };
        // By records that it was not made of: those it would pack to nothing.
        let size = |dictionary: Option<&Dictionary>| -> usize {
            samples.iter().skip(1).step_by(2).map(|text| self::press(text, dictionary).len()).sum()
        };
        let (now, then) = (size(press.dictionary.as_ref()), size(Some(&other)));
        if then >= now - now / 5 || press.dictionary.as_ref() == Some(&other) {
            return Ok(None);
        }
        let kept = other.value(module, made);
        // The records may have become again what they were.
        press.made += usize::from(!self.dictionaries.knows(&kept.0));
        self.dictionaries.add(&other);
        press.dictionary = Some(other);
        Ok(Some(kept))
    }

    /// The value of a record written under this sequence.
    pub(in crate::store) fn write(
        &self,
        key: &[u8],
        module: &ModuleName,
        entry: &Entry,
        sequence: u64,
    ) -> Vec<u8> {
        let record = match entry {
            Entry::Live(record) => record,
            Entry::Tombstone { gone } => {
                return values::write_kept(key, Kept::Gone(*gone), sequence);
            }
        };
        let (json, modified) = (record.json(), record.modified());
        let dictionary = self.presses.get(module).and_then(|press| press.dictionary.as_ref());
        let bytes = press(json.as_bytes(), dictionary);
        let text = match u32::try_from(json.len()) {
            Ok(length) if bytes.len() < json.len() => {
                let dictionary = dictionary.map_or(NO_DICTIONARY, |dictionary| dictionary.sum);
                Text::Packed(Packed { dictionary, length, bytes: &bytes })
            }
            Ok(_) | Err(_) => Text::Plain(json),
        };
        values::write_kept(key, Kept::Live { modified, text }, sequence)
    }
}

/// What packs the records of a module.
#[derive(Default)]
struct Press {
    dictionary: Option<Dictionary>,
    /// How many dictionaries the module has.
    made: usize,
    /// Bytes of records since it was last seen whether there is a better one.
    written: usize,
}

impl Press {
    fn is_due(&self) -> bool {
        let after = if self.dictionary.is_some() { REVIEW } else { FIRST };
        self.made < DICTIONARIES && self.written >= after
    }
}

fn press(text: &[u8], dictionary: Option<&Dictionary>) -> Vec<u8> {
    match dictionary {
        Some(dictionary) => block::compress_with_dict(text, &dictionary.text),
        None => block::compress(text),
    }
}

impl Dictionary {
    /// Of the outlines of some records; `None` when they say too little.
    fn of<'r>(outlines: impl Iterator<Item = &'r Vec<u8>>) -> Option<Dictionary> {
        let mut text: Vec<u8> = outlines.flatten().copied().take(TEXT).collect();
        while block::compress(&text).len() > KEPT_LIMIT {
            text.truncate(text.len() / 2);
        }
        let sum = values::sum(&text);
        (!text.is_empty() && sum != NO_DICTIONARY).then(|| Dictionary { sum, text: text.into() })
    }

    /// How it is kept.
    fn value(&self, module: &ModuleName, made: u64) -> (Vec<u8>, Vec<u8>) {
        let key = Key::Dictionary(module.clone(), self.sum).bytes();
        let bytes = block::compress(&self.text);
        let length = self.text.len() as u32;
        let packed = Packed { dictionary: NO_DICTIONARY, length, bytes: &bytes };
        let value = values::write_dictionary(&key, made, packed);
        (key, value)
    }
}

/// A record without its long texts.
fn outline(json: &str) -> Vec<u8> {
    let mut outline = Vec::with_capacity(json.len());
    let (mut start, mut inside, mut escaped) = (0, false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = inside,
            b'"' if inside => {
                inside = false;
                if at - start > PHRASE {
                    outline.truncate(outline.len() - (at - start));
                }
            }
            b'"' => {
                inside = true;
                start = at + 1;
            }
            _ => {}
        }
        outline.push(byte);
    }
    outline
}

#[cfg(test)]
mod tests {
    use super::super::{Sight, Unpacker};
    use super::*;
    use crate::store::Damage;

    const KEY: &[u8] = b"rLeads\0\0\0\0\0\0\0\0\x07";

    fn leads() -> ModuleName {
        ModuleName::parse("Leads").unwrap()
    }

    fn record(number: usize) -> String {
        let (city, name) = (["Köln", "Rom", "Oslo"][number % 3], number * 7_919);
        let line = format!(r#""City":"{city}","Fax":null,"Name":"{name:x}","Owner":{{"id":"7"}}"#);
        format!(r#"{{{line},"Rating":null,"Website":null,"id":"{number}"}}"#)
    }

    fn reviewed(packing: &mut Packing, records: &[String]) -> Option<(Vec<u8>, Vec<u8>)> {
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        packing.review(&leads(), &records, 0, |_| Ok(Vec::new())).unwrap()
    }

    #[test]
    fn an_outline_has_no_long_texts() {
        let long = "x".repeat(PHRASE + 1);
        for (json, expected) in [
            (r#"{"a":"short","b":[1,null]}"#.to_owned(), r#"{"a":"short","b":[1,null]}"#),
            (format!(r#"{{"a":"{long}","b":"\\"}}"#), r#"{"a":"","b":"\\"}"#),
            (format!(r#"{{"a":"\"{long}\"","b":"{long}"}}"#), r#"{"a":"","b":""}"#),
        ] {
            assert_eq!(outline(&json), expected.as_bytes());
        }
    }

    #[test]
    fn what_is_packed_with_a_dictionary_needs_it() {
        let records: Vec<String> = (0..300).map(record).collect();
        let mut packing = Packing::default();
        let few = reviewed(&mut packing, &records[..9]);
        assert!(few.is_none(), "a few records are not worth one");
        let (key, value) = reviewed(&mut packing, &records).expect("many are");
        assert!(reviewed(&mut packing, &records).is_none(), "it is not time for another");

        let json = record(1_000);
        let entry = Entry::Live(Record::parse(&json).unwrap());
        let packed = packing.write(KEY, &leads(), &entry, 5);
        assert!(packed.len() * 3 < json.len() * 2, "{} to {}", json.len(), packed.len());
        let known = Dictionaries::default();
        let mut unpacker = Unpacker::new(&known);
        assert_eq!(unpacker.look(KEY, &packed), Err(Damage::Dictionary));
        assert_eq!(unpacker.is_live(KEY, &packed), Err(Damage::Dictionary));
        known.learn(&key, &value).unwrap();
        assert_eq!(unpacker.is_live(KEY, &packed), Ok(true));
        let sight = Sight::Live { modified: None, json: json.as_bytes() };
        assert_eq!(unpacker.look(KEY, &packed), Ok((5, sight)));
        let other = Key::Dictionary(leads(), 9).bytes();
        assert!(known.learn(&other, &value).is_err(), "it goes by another name");
    }
}
