//! Walking a range from the highest key down, in pieces that are each read upwards and turned
//! round. sled can walk downwards itself; but a program in which it does carries the highest key
//! that sled can think of, a mebibyte of its bytes.
//!
//! A piece is a stretch of keys, taken as numbers: of what stands behind the bytes that all keys of
//! the range begin with, the first sixteen. How long a piece has to be, so that some keys are in it
//! and not too many, is learned on the way. From the end of a module, where the numbers may be far
//! above all keys, that takes some hundred looks; where they led is remembered.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::past::{Past, Range, Step};

/// Keys of a piece at most, unless it cannot be shorter. To find where a piece begins takes as long
/// as some ten keys of it; what is read beyond the end of a page of 200 records is read in vain.
const MOST: usize = 128;

/// The same of the first piece: whoever wants the newest only reads as many.
const TOPMOST: usize = 16;

/// Ends of ranges that are remembered: modules have three each.
const TOPS_LIMIT: usize = 1000;

/// Where the walks from the ends of ranges found something. No more than a guess: keys come and go.
#[derive(Default)]
pub(super) struct Tops(Mutex<BTreeMap<Vec<u8>, Place>>);

/// Where a piece begins, and how long those below it are, as numbers of what stands behind so many
/// bytes.
#[derive(Clone, Copy)]
struct Place {
    shared: usize,
    base: u128,
    bits: u32,
}

/// A range, walked downwards.
pub(super) struct Down<'a> {
    db: &'a sled::Db,
    tops: &'a Tops,
    /// The end of the range, if a walk from there may begin where the last one did.
    end: Option<Vec<u8>>,
    lowest: Bound<Vec<u8>>,
    /// What is still to be walked lies below.
    highest: Bound<Vec<u8>>,
    /// What all keys of the range begin with, and the bytes behind it that a number stands for.
    prefix: Vec<u8>,
    digits: usize,
    /// The numbers of both bounds; there is nothing more to be walked without the upper one.
    floor: u128,
    above: Option<u128>,
    first: Option<Place>,
    /// The next piece has two to the power of so many numbers.
    bits: u32,
    /// Whether a piece was too long since keys were last found: the next ones grow no longer.
    narrowing: bool,
    /// What was found, from the lowest key up.
    piece: Vec<Step>,
    found: usize,
}

impl<'a> Down<'a> {
    /// All keys within these bounds.
    pub(super) fn new(db: &'a sled::Db, tops: &'a Tops, (lowest, highest): Range) -> Down<'a> {
        let (low, high) = (bytes(&lowest), bytes(&highest));
        let shared = low.iter().zip(high).take_while(|(one, other)| one == other).count();
        let digits = (low.len().max(high.len()) - shared).clamp(1, size_of::<u128>());
        let floor = number(&low[shared..]);
        let above = match highest {
            Included(_) | Excluded(_) => number(&high[shared..]),
            Unbounded => u128::MAX << finest(digits),
        };
        let end = matches!(highest, Included(_)).then(|| high.to_vec());
        let first = end.as_ref().and_then(|end| tops.lock().get(end).copied());
        let first = first.filter(|first| first.shared == shared);
        let prefix = high[..shared].to_vec();
        Down {
            db,
            tops,
            end,
            lowest,
            highest,
            prefix,
            digits,
            floor,
            above: Some(above),
            first,
            bits: first.map_or(finest(digits), |first| first.bits),
            narrowing: false,
            piece: Vec::new(),
            found: 0,
        }
    }

    /// Reads the next piece. One with too much in it is shorter the next time.
    fn look(&mut self, above: u128) -> sled::Result<()> {
        let first = self.first.take();
        let base = first.map_or(above.saturating_sub(1 << self.bits), |first| first.base);
        let base = base.max(self.floor);
        let most = if first.is_none() && self.found == 0 { TOPMOST } else { MOST };
        let divisible = above.saturating_sub(base) > 1 << finest(self.digits);
        let Some(piece) = self.read(base, if divisible { most } else { usize::MAX })? else {
            let finest = finest(self.digits);
            match first {
                // Much is new: where the range ends has to be found as at the first time.
                Some(_) => self.bits = finest,
                None => self.bits = (above - base).ilog2().saturating_sub(2).max(finest),
            }
            self.narrowing = first.is_none();
            return Ok(());
        };
        self.piece = piece;
        self.above = (base > self.floor).then_some(base);
        self.highest = Excluded(self.key(base));
        if self.piece.is_empty() {
            self.widen(if self.narrowing { 0 } else { 4 });
            return Ok(());
        }
        self.narrowing = false;
        self.found += self.piece.len();
        // A first piece that was remembered goes on to the end, however far that is.
        if first.is_none() {
            // Half of the most is what is aimed at: the other half is for keys that lie closer.
            self.widen((MOST / 2 / self.piece.len()).checked_ilog2().unwrap_or(0).min(4));
            if self.found <= TOPMOST {
                self.remember(base);
            }
        }
        Ok(())
    }

    fn widen(&mut self, bits: u32) {
        self.bits = (self.bits + bits).min(u128::BITS - 1);
    }

    /// What there is from this number on; `None` when it is more than so many steps.
    fn read(&self, base: u128, most: usize) -> sled::Result<Option<Vec<Step>>> {
        let lowest = match base > self.floor {
            true => Included(self.key(base)),
            false => self.lowest.clone(),
        };
        let mut steps = Vec::new();
        for step in Past::new(self.db, (lowest, self.highest.clone())) {
            if steps.len() == most {
                return Ok(None);
            }
            steps.push(step?);
        }
        Ok(Some(steps))
    }

    fn remember(&self, base: u128) {
        let Some(end) = &self.end else { return };
        let mut tops = self.tops.lock();
        if tops.len() >= TOPS_LIMIT {
            tops.clear();
        }
        tops.insert(end.clone(), Place { shared: self.prefix.len(), base, bits: self.bits });
    }

    fn key(&self, number: u128) -> Vec<u8> {
        [&self.prefix, &number.to_be_bytes()[..self.digits]].concat()
    }
}

impl Iterator for Down<'_> {
    type Item = sled::Result<Step>;

    fn next(&mut self) -> Option<sled::Result<Step>> {
        while self.piece.is_empty() {
            let above = self.above?;
            if let Err(error) = self.look(above) {
                self.above = None;
                return Some(Err(error));
            }
        }
        self.piece.pop().map(Ok)
    }
}

impl Tops {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(bound: &Bound<Vec<u8>>) -> &[u8] {
    match bound {
        Included(key) | Excluded(key) => key,
        Unbounded => &[],
    }
}

/// The first bytes as a number, made longer with zeros.
fn number(key: &[u8]) -> u128 {
    let mut number = [0; size_of::<u128>()];
    for (digit, byte) in number.iter_mut().zip(key) {
        *digit = *byte;
    }
    u128::from_be_bytes(number)
}

/// Numbers whose keys differ are at least two to the power of this apart.
fn finest(digits: usize) -> u32 {
    u128::BITS - 8 * digits as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u64) -> Vec<u8> {
        [b"RLeads\0".as_slice(), &id.to_be_bytes()].concat()
    }

    /// All keys of a module.
    fn module() -> Range {
        (Included(key(0)), Included(key(u64::MAX)))
    }

    fn fill(db: &sled::Db, keys: impl IntoIterator<Item = Vec<u8>>) {
        for key in keys {
            db.insert(key, vec![]).unwrap();
        }
    }

    /// A walk finds what sled finds upwards, the other way round.
    fn check(db: &sled::Db, tops: &Tops, range: Range) {
        let mut expected: Vec<_> = db.range(range.clone()).map(|pair| pair.unwrap().0).collect();
        expected.reverse();
        let found: Vec<_> = Down::new(db, tops, range.clone())
            .map(|step| match step.unwrap() {
                Step::Pair(key, _) => key,
                Step::Gap(gap) => panic!("{gap:?}"),
            })
            .collect();
        assert_eq!(found, expected, "{range:?}");
    }

    fn store() -> sled::Db {
        sled::Config::new().temporary(true).open().unwrap()
    }

    #[test]
    fn every_key_is_met_once_from_the_highest_down() {
        let db = store();
        fill(&db, [vec![], vec![b'R'], b"RLeads\0".to_vec(), vec![b'S'], vec![0xff; 30]]);
        fill(&db, (0..300).map(|id| key(1_000_000_068_001 + 7 * id)));
        fill(&db, (0..200).map(|id| key(5_000_000_000_000_000_000 + 1_000 * id)));
        fill(&db, [0, 1, 255, 256, u64::MAX - 1, u64::MAX].map(key));
        // Longer than the numbers: nothing but reading them all tells them apart.
        fill(&db, (0..100).map(|end| [key(40), vec![0; 20], vec![end]].concat()));
        fill(&db, (0..100).map(|end| [key(41), vec![end]].concat()));

        let ids = [0, 1, 40, 41, 300, 1_000_000_068_008, 1_000_000_068_009, 1 << 60, u64::MAX];
        let bounds = || {
            let odd = [vec![], vec![b'R'], vec![0xff; 30], [key(41), vec![9]].concat()];
            let keys = ids.map(key).into_iter().chain(odd);
            keys.flat_map(|key| [Included(key.clone()), Excluded(key)]).chain([Unbounded])
        };
        let tops = Tops::default();
        for lowest in bounds() {
            for highest in bounds() {
                let one =
                    matches!((&lowest, &highest), (Included(low), Included(high)) if low == high);
                if one || highest == Unbounded || bytes(&lowest) < bytes(&highest) {
                    check(&db, &tops, (lowest.clone(), highest));
                }
            }
        }
    }

    #[test]
    fn what_is_remembered_of_an_end_may_be_wrong() {
        let (db, tops) = (store(), Tops::default());
        check(&db, &tops, module());
        for first in [1_000_000_000_000, 5_000_000_000_000, 3] {
            fill(&db, (0..300).map(|id| key(first + 9 * id)));
            check(&db, &tops, module());
            check(&db, &tops, module());
        }
        for id in 0..300 {
            db.remove(key(5_000_000_000_000 + 9 * id)).unwrap();
        }
        check(&db, &tops, module());
        fill(&db, [key(u64::MAX)]);
        check(&db, &tops, module());
    }

    #[test]
    fn only_the_first_walk_has_to_look_for_the_end() {
        let (db, tops) = (store(), Tops::default());
        fill(&db, (0..3_000).map(|id| key(1_000_000_068_001 + 7 * id)));
        for walk in 0..20 {
            let mut down = Down::new(&db, &tops, module());
            let (mut looks, mut met) = (0, 0);
            while met < 200 {
                down.look(down.above.unwrap()).unwrap();
                met += down.piece.drain(..).len();
                looks += 1;
            }
            assert!(looks <= if walk == 0 { 150 } else { 10 }, "{looks} in walk {walk}");
        }
    }
}
