//! Two who look through one module, from its two ends until they meet.
//!
//! A look through a large module keeps a processor busy for a tenth of a second and more, mostly
//! with bringing pages in, and the device has a second one. So whoever looks, when nobody else
//! does, has another come towards him. Which entries belong to whom is decided slice by slice, by
//! who has read them first: both have as much as they get done, wherever the ids lie. What either
//! has found is his own until both are done.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use crate::mirror::record::{ModuleName, RecordId};
use crate::store::{Sight, Slice, Store, StoreError};

/// The way in which one of them goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// From the highest id down.
    Down,
    /// From the lowest up.
    Up,
}

/// The ids that nobody has taken yet: from the first up to, and without, the second.
#[derive(Debug)]
pub(super) struct Between(Mutex<(u128, u128)>);

impl Between {
    /// All ids below this one, or all.
    pub(super) fn below(below: Option<RecordId>) -> Between {
        let end = below.map_or(1 << u64::BITS, number);
        Between(Mutex::new((0, end)))
    }

    /// Takes the ids up to `last`, or whatever is left for `None`: those of them that nobody had
    /// taken.
    fn take(&self, way: Way, last: Option<RecordId>) -> std::ops::Range<u128> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high) = *left;
        let taken = match (way, last.map(number)) {
            (Way::Down, last) => last.unwrap_or(low).max(low)..high,
            (Way::Up, last) => low..last.map_or(high, |last| last + 1).min(high),
        };
        *left = match way {
            Way::Down => (low, taken.start.min(high)),
            Way::Up => (taken.end.max(low), high),
        };
        taken
    }

    /// The id beyond which the next slice begins in this way; `None` within when none is left.
    fn next(&self, way: Way) -> Option<Option<RecordId>> {
        let (low, high) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = match way {
            Way::Down => u64::try_from(high).ok(),
            Way::Up => low.checked_sub(1).and_then(|below| u64::try_from(below).ok()),
        };
        (low < high).then_some(beyond.map(RecordId::new))
    }

    /// Nothing is left for anybody.
    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (0, 0);
    }

    /// Looks at the next slice in this way, of at most so many entries; breaks off behind the last,
    /// or when `look` does.
    pub(super) fn look(
        &self,
        (store, module): (&Store, &ModuleName),
        way: Way,
        most: usize,
        look: &mut dyn FnMut(RecordId, Sight<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let Some(beyond) = self.next(way) else { return Ok(ControlFlow::Break(())) };
        let slice: Slice = store.slice(module, beyond, way == Way::Down, most)?;
        let ours = self.take(way, slice.last());
        let looked = store.look_at(&slice, &mut |id, sight| {
            if ours.contains(&number(id)) { look(id, sight) } else { ControlFlow::Continue(()) }
        });
        Ok(if slice.last().is_some() { looked } else { ControlFlow::Break(()) })
    }
}

fn number(id: RecordId) -> u128 {
    id.number().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_taken_by_one_of_them_and_none_is_left() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut ids: Vec<u64> = (0..random.usize(..60)).map(|_| random.u64(..90)).collect();
            ids.extend([0, u64::MAX].iter().filter(|_| random.bool()));
            ids.sort_unstable();
            ids.dedup();
            let below = random.bool().then(|| RecordId::new(random.u64(..100)));
            let expected: Vec<u64> =
                ids.iter().copied().filter(|id| below.is_none_or(|b| *id < b.number())).collect();
            let between = Between::below(below);
            // What either has read before he comes to take it, the other may have taken.
            let mut read: [Option<Vec<u64>>; 2] = [None, None];
            let mut taken = Vec::new();
            let mut done = [false, false];
            while done != [true, true] {
                let who = random.usize(..2);
                let way = [Way::Down, Way::Up][who];
                let most = random.usize(1..8);
                match read[who].take() {
                    None => match between.next(way) {
                        None => done[who] = true,
                        Some(beyond) => {
                            let beyond = beyond.map(RecordId::number);
                            let mut slice: Vec<u64> = match way {
                                Way::Down => ids.iter().rev().copied().collect(),
                                Way::Up => ids.clone(),
                            };
                            slice.retain(|id| match way {
                                Way::Down => beyond.is_none_or(|beyond| *id < beyond),
                                Way::Up => beyond.is_none_or(|beyond| *id > beyond),
                            });
                            slice.truncate(most);
                            // A short one is the last.
                            slice.extend((slice.len() < most).then_some(END));
                            read[who] = Some(slice);
                        }
                    },
                    Some(mut slice) => {
                        let is_last = slice.last() == Some(&END);
                        slice.retain(|id| *id != END);
                        let last = slice.last().copied().filter(|_| !is_last);
                        let ours = between.take(way, last.map(RecordId::new));
                        taken.extend(slice.into_iter().filter(|id| ours.contains(&(*id).into())));
                    }
                }
            }
            taken.sort_unstable();
            assert_eq!(taken, expected, "seed {seed}");
        }
    }

    /// Marks the end of what was read; no sample has this id.
    const END: u64 = u64::MAX - 1;
}
