//! Walking past what cannot be read. An iterator of sled stops at the first bad page; this one
//! looks for the next key that can be reached, says which keys lie in between, and goes on from
//! there.
//!
//! sled does not say where a bad page ends. But keys are numbers, big-endian, and a page is a range
//! of them: from the last key that was read, ever longer steps are tried until one lands on a page
//! that can be read, then the edge is found by halving. That is some hundred reads per bad page,
//! whatever its size. Readable pages that lie between two bad ones, and are small against their
//! distance from the first, may be stepped over; they count as part of the gap.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sled::IVec;

use super::open::is_about_content;
use super::{parts, values};
use crate::mirror::record::MODULE_NAME_LIMIT;

/// Bytes of the longest key of a record: a kind, a module's name, a zero byte and an id. Those of
/// indexes may be longer, and nothing is lost with them.
const WIDTH: usize = MODULE_NAME_LIMIT + 10;

/// The lowest key that is meant, and the highest.
pub(super) type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A range, walked from the lowest key up.
pub(super) struct Past<'a> {
    db: &'a sled::Db,
    lowest: Bound<Vec<u8>>,
    highest: Bound<Vec<u8>>,
    pairs: Option<sled::Iter>,
}

/// What a walk brings, in either direction.
pub(super) type Steps<'a> = dyn Iterator<Item = sled::Result<Step>> + 'a;

/// What a step found.
pub(super) enum Step {
    /// A key and its value.
    Pair(IVec, IVec),
    /// Keys from the first through the second may have been there, and cannot be read.
    Gap(Gap),
}

/// A range of keys that cannot be read, and why.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    pub(super) from: Vec<u8>,
    pub(super) through: Vec<u8>,
    pub(super) cause: String,
}

impl Gap {
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && key <= self.through.as_slice()
    }
}

impl<'a> Past<'a> {
    /// All keys within these bounds.
    pub(super) fn new(db: &'a sled::Db, (lowest, highest): Range) -> Past<'a> {
        let pairs = Some(db.range((lowest.clone(), highest.clone())));
        Past { db, lowest, highest, pairs }
    }

    /// All keys of one kind.
    pub(super) fn kind(db: &'a sled::Db, kind: u8) -> Past<'a> {
        let (lowest, highest) = (vec![kind], vec![kind + 1]);
        Past::new(db, (Bound::Included(lowest), Bound::Excluded(highest)))
    }

    /// Goes past the unreadable page that comes next, if anything readable comes after it.
    fn leap(&mut self, cause: String) -> sled::Result<Gap> {
        let width = self.width();
        let (start, end) = (self.first_number(width), self.last_number(width));
        let through = match self.land(&start, &end)? {
            Some(landing) => {
                let edge = self.first_key(landing)?;
                self.lowest = Bound::Included(edge.clone());
                self.pairs = Some(self.db.range((self.lowest.clone(), self.highest.clone())));
                edge
            }
            None => end,
        };
        Ok(Gap { from: start, through, cause })
    }

    /// Keys that follow a key are mostly of its length: steps need be no finer.
    fn width(&self) -> usize {
        match &self.lowest {
            Bound::Included(key) | Bound::Excluded(key) if key.len() > 1 => key.len().min(WIDTH),
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => WIDTH,
        }
    }

    /// The number nearest to `start` from which one can go on; `None` when there is none to `end`.
    fn land(&self, start: &Number, end: &Number) -> sled::Result<Option<Number>> {
        let mut bad = start.clone();
        // Two steps for each doubling: a readable stretch is found if it is half as long as it is
        // far away.
        let steps = (0..8 * start.len()).flat_map(|bit| {
            let whole = plus(start, bit);
            let half = bit.checked_sub(1).and_then(|half| plus(whole.as_ref()?, half));
            [whole.clone(), half.or(whole)]
        });
        for tried in steps {
            let tried = tried.filter(|tried| tried < end).unwrap_or(end.clone());
            if let Some(length) = self.ahead(&tried)? {
                let edge = self.edge(bad.clone(), tried)?;
                if length <= start.len() {
                    return Ok(Some(edge));
                }
                // The keys there are longer; look as closely as they need it.
                let wider = |narrow: &Number| number(narrow, 0, length);
                return self.edge(wider(&bad), wider(&edge)).map(Some);
            }
            if tried == *end {
                break;
            }
            bad = tried;
        }
        Ok(None)
    }

    /// Halves the distance until the readable number is the first after the unreadable one.
    fn edge(&self, mut bad: Number, mut good: Number) -> sled::Result<Number> {
        loop {
            let middle = middle(&bad, &good);
            if middle <= bad {
                return Ok(good);
            }
            if self.can_go_on(&middle)? { good = middle } else { bad = middle }
        }
    }

    /// The first key at this number or a zero-padded one of it: a key may be shorter than the
    /// number, and the very first key of a page is not to be stepped over.
    fn first_key(&self, landing: Number) -> sled::Result<Vec<u8>> {
        let zeros = landing.iter().rev().take_while(|byte| **byte == 0).count();
        for length in landing.len() - zeros..landing.len() {
            if self.can_go_on(&landing[..length])? {
                return Ok(landing[..length].to_vec());
            }
        }
        Ok(landing)
    }

    fn can_go_on(&self, key: &[u8]) -> sled::Result<bool> {
        Ok(self.ahead(key)?.is_some())
    }

    /// Whether one can go on from this key, and the length of the next key then; 0 at the end.
    fn ahead(&self, key: &[u8]) -> sled::Result<Option<usize>> {
        let mut pairs = self.db.range((Bound::Included(key.to_vec()), self.highest.clone()));
        Ok(match next(&mut pairs)? {
            None => Some(0),
            Some(Ok((key, _))) => Some(key.len()),
            Some(Err(_)) => None,
        })
    }

    fn first_number(&self, width: usize) -> Number {
        match &self.lowest {
            Bound::Included(key) | Bound::Excluded(key) => number(key, 0, width),
            Bound::Unbounded => vec![0; width],
        }
    }

    fn last_number(&self, width: usize) -> Number {
        match &self.highest {
            Bound::Included(key) => number(key, 0xff, width),
            Bound::Excluded(key) => number(key, 0, width),
            Bound::Unbounded => vec![0xff; width],
        }
    }
}

impl Iterator for Past<'_> {
    type Item = sled::Result<Step>;

    fn next(&mut self) -> Option<sled::Result<Step>> {
        let pairs = self.pairs.as_mut()?;
        match next(pairs) {
            Ok(Some(Ok((key, value)))) => {
                match &mut self.lowest {
                    // Most steps come here, and none of them takes memory of its own.
                    Bound::Excluded(edge) => {
                        edge.clear();
                        edge.extend_from_slice(&key);
                    }
                    Bound::Included(_) | Bound::Unbounded => {
                        self.lowest = Bound::Excluded(key.to_vec());
                    }
                }
                Some(whole(self.db, key, value))
            }
            Ok(Some(Err(cause))) => {
                self.pairs = None;
                Some(self.leap(cause).map(Step::Gap))
            }
            Ok(None) => {
                self.pairs = None;
                None
            }
            Err(error) => {
                self.pairs = None;
                Some(Err(error))
            }
        }
    }
}

/// The pair with its whole value; parts that cannot be read are a gap of this one key.
fn whole(db: &sled::Db, key: IVec, value: IVec) -> sled::Result<Step> {
    if values::read_in_parts(&key, &value).is_none() {
        return Ok(Step::Pair(key, value));
    }
    let cause = match catch_unwind(AssertUnwindSafe(|| parts::whole(db, &key, value))) {
        Ok(Ok(value)) => return Ok(Step::Pair(key, value)),
        Ok(Err(error)) if is_damage(&error) => error.to_string(),
        Ok(Err(error)) => return Err(error),
        Err(panic) => super::open::panic_text(&*panic),
    };
    Ok(Step::Gap(Gap { from: key.to_vec(), through: key.to_vec(), cause }))
}

/// A pair, or why the bytes cannot be read; any other failure ends the walk.
type Pair = Result<(IVec, IVec), String>;

fn next(pairs: &mut sled::Iter) -> sled::Result<Option<Pair>> {
    match catch_unwind(AssertUnwindSafe(|| pairs.next())) {
        Ok(None) => Ok(None),
        Ok(Some(Ok(pair))) => Ok(Some(Ok(pair))),
        Ok(Some(Err(error))) if is_damage(&error) => Ok(Some(Err(error.to_string()))),
        Ok(Some(Err(error))) => Err(error),
        Err(panic) => Ok(Some(Err(super::open::panic_text(&*panic)))),
    }
}

/// Whether an error is about what is on disk.
pub(super) fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => true,
        sled::Error::Io(cause) => is_about_content(cause),
        sled::Error::CollectionNotFound(_) | sled::Error::Unsupported(_) => false,
    }
}

/// A key as a number, most significant byte first.
type Number = Vec<u8>;

/// A key made longer with this byte, or cut.
fn number(key: &[u8], fill: u8, width: usize) -> Number {
    let mut number = key.to_vec();
    number.resize(width, fill);
    number
}

/// The number increased by `2^bit`; `None` when it has no place for that.
fn plus(number: &Number, bit: usize) -> Option<Number> {
    let mut sum = number.clone();
    let mut carry = 1 << (bit % 8);
    let end = sum.len() - bit / 8;
    for byte in sum[..end].iter_mut().rev() {
        let (increased, overflowed) = byte.overflowing_add(carry);
        *byte = increased;
        if !overflowed {
            return Some(sum);
        }
        carry = 1;
    }
    None
}

/// Half way between two numbers of one width, rounded down.
fn middle(one: &Number, other: &Number) -> Number {
    let mut sum = vec![0; one.len()];
    let mut carry = 0;
    for index in (0..sum.len()).rev() {
        let total = u16::from(one[index]) + u16::from(other[index]) + carry;
        sum[index] = total as u8;
        carry = total >> 8;
    }
    for byte in &mut sum {
        let low = u16::from(*byte & 1);
        *byte = (*byte >> 1) | ((carry as u8) << 7);
        carry = low;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_that_of_numbers() {
        let of = |value: u128| value.to_be_bytes().to_vec();
        for value in [0, 1, 255, 256, u128::from(u64::MAX), u128::MAX >> 2] {
            for bit in [0, 1, 7, 8, 63, 64, 120] {
                assert_eq!(plus(&of(value), bit), Some(of(value + (1 << bit))), "{value} {bit}");
            }
            assert_eq!(middle(&of(value), &of(value + 9)), of(value + 4));
        }
        assert_eq!(plus(&of(u128::MAX), 0), None);
        assert_eq!(middle(&of(u128::MAX), &of(u128::MAX)), of(u128::MAX));
    }
}
