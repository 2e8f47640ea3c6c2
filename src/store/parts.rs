//! Keeping a large value in parts, for one that is not small enough for sled.
//!
//! sled writes a page of more than 128 KiB into a file of its own, which it does not flush and for
//! which no room was taken beforehand: a power cut could leave the log with a file that is not
//! there. A page has up to 17 values, and some more for a moment when two are put together. So a
//! value of which that many would come near is divided, and what stands under its own key says
//! into how many parts. The parts are written in the batch that writes it.
//!
//! Nobody but [`Past`](super::past::Past) and [`read`] has to know: both give whole values. A
//! reader who meets a value while it is replaced finds parts of two editions, which the checksum
//! of the whole tells apart, and reads once more. In snapshots values are whole.

use sled::IVec;

use super::{keys, values};

/// Bytes of the largest value that stays whole, and of a part: 25 of them fit into a page that
/// sled keeps in its log, with their keys.
const WHOLE: usize = 5_000;

/// How often a value is read when it is replaced meanwhile. It would have to be replaced as often
/// as that while its parts are read, which is a matter of microseconds.
const READINGS: usize = 10;

/// Adds to a batch what keeps the value of a record in place of the one that is there.
pub(super) fn replace(
    db: &sled::Db,
    batch: &mut sled::Batch,
    key: Vec<u8>,
    value: Vec<u8>,
) -> sled::Result<()> {
    // Of one that cannot be read nobody knows whether it has parts.
    let has_parts = db.get(&key)?.is_some_and(|before| values::may_have_parts(&key, &before));
    let record = key.clone();
    let count = divide(key, value, |key, value| batch.insert(key, value));
    if has_parts {
        let first = keys::part_of(&record, count.saturating_add(1));
        for surplus in db.range(first..=keys::part_of(&record, u16::MAX)).keys() {
            batch.remove(surplus?);
        }
    }
    Ok(())
}

/// Hands over what is to be written so that a value is kept under its key, where there is none
/// yet; returns in how many parts it is. Only records are divided: nothing else grows like them.
pub(super) fn divide(key: Vec<u8>, value: Vec<u8>, mut put: impl FnMut(Vec<u8>, Vec<u8>)) -> u16 {
    if value.len() <= WHOLE || key.first() != Some(&keys::RECORD) {
        put(key, value);
        return 0;
    }
    let mut count = 0;
    for piece in value.chunks(WHOLE) {
        count += 1;
        let key = keys::part_of(&key, count);
        let part = values::write_part(&key, piece);
        put(key, part);
    }
    let head = values::write_in_parts(&key, &value, count);
    put(key, head);
    count
}

/// What is kept under a key, whole.
pub(super) fn read(db: &sled::Db, key: &[u8]) -> sled::Result<Option<IVec>> {
    let value = db.get(key)?;
    value.map(|value| whole(db, key, value)).transpose()
}

/// The whole value for one that was read. When its parts are not there it comes back as it is:
/// then it is the value that cannot be read.
pub(super) fn whole(db: &sled::Db, key: &[u8], mut value: IVec) -> sled::Result<IVec> {
    for _ in 0..READINGS {
        let Some((count, sum)) = values::read_in_parts(key, &value) else { break };
        if let Some(whole) = join(db, key, count)? {
            // The checksum itself is in the first part: the others have to fit it.
            if values::sum_of(&whole) == sum && values::check(key, &whole).is_ok() {
                return Ok(whole.into());
            }
        }
        // It was replaced meanwhile, or it is broken.
        value = db.get(key)?.unwrap_or(value);
    }
    Ok(value)
}

/// The parts put together; `None` when one is missing or cannot be read.
fn join(db: &sled::Db, record: &[u8], count: u16) -> sled::Result<Option<Vec<u8>>> {
    let mut whole = Vec::with_capacity(usize::from(count) * WHOLE);
    for number in 1..=count {
        let key = keys::part_of(record, number);
        let Some(value) = db.get(&key)? else { return Ok(None) };
        let Ok(piece) = values::read_part(&key, &value) else { return Ok(None) };
        whole.extend_from_slice(piece);
    }
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::super::values::{Kept, Text, write_kept};
    use super::*;
    use crate::mirror::record::{ModuleName, RecordId};

    #[test]
    fn small_values_stay_whole_and_large_ones_are_divided() {
        let key = Key::Record(ModuleName::parse("Leads").unwrap(), RecordId::new(7)).bytes();
        for (length, expected) in [(10, 0), (4_900, 0), (5_000, 2), (9_900, 2), (1_000_000, 201)] {
            let json = "x".repeat(length);
            let kept = Kept::Live { modified: None, text: Text::Plain(&json) };
            let value = write_kept(&key, kept, 3);
            let mut pairs = Vec::new();
            let count = divide(key.clone(), value.clone(), |key, value| pairs.push((key, value)));
            assert_eq!(count, expected, "{length}");
            assert!(pairs.iter().all(|(_, value)| value.len() <= WHOLE + 10), "{length}");
            let (last, head) = pairs.pop().unwrap();
            assert_eq!(last, key);
            if count == 0 {
                assert_eq!(head, value);
                continue;
            }
            let sum = values::sum_of(&value);
            assert_eq!(values::read_in_parts(&key, &head), Some((count, sum)));
            let pieces = pairs.iter().map(|(key, part)| values::read_part(key, part).unwrap());
            assert_eq!(pieces.collect::<Vec<_>>().concat(), value);
        }
    }
}
