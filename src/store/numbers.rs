//! The numbers of changes: none is given twice, whatever the disk forgets.
//!
//! A commit is not flushed, so a kill or a power cut can take back changes that a reader has heard
//! of. Were their numbers given again, that reader would miss what they stand for now, and one
//! `ETag` would stand for two texts. So numbers are reserved ahead in a file beside the store: a
//! start finds there which may have been given, and goes on above them. Those it has lost are
//! remembered: a reader who stands at one of them knows what the store does not, and has to begin
//! anew. When the store itself is made anew from what could be read of it, that holds for all.
//!
//! The generation names the whole row: another one begins where the file is not there, or where all
//! positions became worthless. This file knows no change, only numbers.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::PoisonError;

use super::error::OpenError;
use super::file::{is_for_want_of_room, replace};
use super::open::is_about_content;
use super::place::{Place, unwritable};
use super::{Store, StoreError, Tails};

/// Numbers that are reserved at once: a small file is replaced once in a thousand changes, and a
/// hundred kills take the numbers of what is kept in all.
const AHEAD: u64 = 1_000;

/// Stretches of lost numbers that are remembered, one for each kill in a busy moment. Beyond it the
/// two oldest become one, with all between them: who stands there begins anew without need.
const LOST_LIMIT: usize = 32;

/// What is said of the numbers of one store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Numbers {
    path: PathBuf,
    generation: String,
    /// Stretches that may have been given and are not kept, the oldest first.
    lost: Vec<RangeInclusive<u64>>,
}

/// What is found beside a store.
enum Kept {
    /// The numbers, and the last that is reserved.
    All(Numbers, u64),
    /// No file: no number was given yet, or by a release that kept none.
    Nothing,
    /// A file that cannot be read.
    Garbled,
}

impl Numbers {
    /// The numbers of a store whose newest change is `last`, and the number from which it goes on.
    /// On a full disk they are kept by the first write that has room: no number is given before.
    pub(super) fn open(place: &Place, last: u64) -> Result<(Numbers, u64), OpenError> {
        let kept = Numbers::read(place)?;
        let is_kept = matches!(kept, Kept::All(..));
        let (mut numbers, reserved) = match kept {
            Kept::All(numbers, reserved) => (numbers, reserved),
            Kept::Nothing => (Numbers::fresh(place), last),
            // Anything may have been given, and a little more than is kept.
            Kept::Garbled => {
                let lost = vec![0..=last + 2 * AHEAD];
                (Numbers { lost, ..Numbers::fresh(place) }, last)
            }
        };
        // After a loss one goes on from the number behind it, which no change has.
        let at = numbers.lost.last().map_or(last, |lost| last.max(lost.end() + 1));
        if reserved <= at && is_kept {
            return Ok((numbers, at));
        }
        let mut next = at;
        if reserved > at {
            numbers.lose(at + 1..=reserved);
            next = reserved + 1;
        }
        match numbers.keep(next) {
            Err(cause) if !is_for_want_of_room(&cause) => Err(unwritable(&numbers.path, cause)),
            Ok(()) | Err(_) => Ok((numbers, next)),
        }
    }

    /// Says that no position from before is worth anything: the store is about to be made anew.
    pub(super) fn void(place: &Place) -> Result<(), OpenError> {
        let Kept::All(kept, reserved) = Numbers::read(place)? else { return Ok(()) };
        let numbers = Numbers { lost: vec![0..=reserved], ..Numbers::fresh(place) };
        match numbers.keep(reserved) {
            Err(cause) if !is_for_want_of_room(&cause) => Err(unwritable(&kept.path, cause)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn fresh(place: &Place) -> Numbers {
        let generation = format!("{:016x}", fastrand::u64(..));
        Numbers { path: place.numbers(), generation, lost: Vec::new() }
    }

    fn read(place: &Place) -> Result<Kept, OpenError> {
        let path = place.numbers();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Numbers::parse(path, &text).unwrap_or(Kept::Garbled)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Kept::Nothing),
            Err(cause) if is_about_content(&cause) => Ok(Kept::Garbled),
            Err(cause) => Err(unwritable(&path, cause)),
        }
    }

    fn parse(path: PathBuf, text: &str) -> Option<Kept> {
        let (mut generation, mut reserved, mut lost) = (None, None, Vec::new());
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["generation", name] => generation = Some((*name).to_owned()),
                ["reserved", last] => reserved = Some(last.parse().ok()?),
                ["lost", first, last] => lost.push(first.parse().ok()?..=last.parse().ok()?),
                _ => return None,
            }
        }
        Some(Kept::All(Numbers { path, generation: generation?, lost }, reserved?))
    }

    fn keep(&self, reserved: u64) -> io::Result<()> {
        let mut text = format!("generation {}\nreserved {reserved}\n", self.generation);
        for lost in &self.lost {
            let _ = writeln!(text, "lost {} {}", lost.start(), lost.end());
        }
        replace(&self.path, text.as_bytes(), 0o600)
    }

    fn lose(&mut self, stretch: RangeInclusive<u64>) {
        self.lost.push(stretch);
        while self.lost.len() > LOST_LIMIT {
            let oldest = self.lost.remove(0);
            self.lost[0] = *oldest.start()..=*self.lost[0].end();
        }
    }

    fn has_lost(&self, number: u64) -> bool {
        self.lost.iter().any(|lost| lost.contains(&number))
    }
}

impl Store {
    /// Names the row of numbers that changes have here. Another one means that positions from
    /// before are worth nothing.
    pub fn generation(&self) -> &str {
        &self.0.numbers.generation
    }

    /// Whether somebody who has seen all through this sequence misses nothing by going on from it:
    /// it was given here, is not lost, and all that came after is kept.
    pub fn knows(&self, since: u64) -> bool {
        since <= self.last_sequence()
            && since >= self.beginning()
            && !self.0.numbers.has_lost(since)
    }

    /// The lowest sequence that somebody can go on from.
    pub fn beginning(&self) -> u64 {
        let oldest = self.oldest_change().saturating_sub(1);
        let after = |since: u64, lost: &RangeInclusive<u64>| {
            if lost.contains(&since) { lost.end() + 1 } else { since }
        };
        self.0.numbers.lost.iter().fold(oldest, after)
    }

    /// Brings everything to disk and gives back the numbers that were reserved for nothing, so that
    /// the next start goes on where this one ended. Writing may still go on.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.check("settle")?;
        let mut tails = self.0.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if tails.reserved == tails.last_change {
            return self.flush().map(|_durable| ());
        }
        let _durable = self.flush()?;
        let last = tails.last_change;
        self.0.keep_numbers(&mut tails, last).map_err(|cause| self.unnumbered("settle", &cause))
    }

    /// Makes sure that so many more changes can be given numbers.
    pub(super) fn reserve(
        &self,
        operation: &'static str,
        tails: &mut Tails,
        more: u64,
    ) -> Result<(), StoreError> {
        let through = tails.last_change + more;
        if through <= tails.reserved {
            return Ok(());
        }
        self.0
            .keep_numbers(tails, through + AHEAD)
            .map_err(|cause| self.unnumbered(operation, &cause))
    }

    fn unnumbered(&self, operation: &'static str, cause: &io::Error) -> StoreError {
        if is_for_want_of_room(cause) {
            return StoreError::NoRoom { path: self.0.place.sled(), free: self.room().free };
        }
        let file = self.0.numbers.path.display();
        self.failure(operation, format!("{file}: {cause}"))
    }
}

impl super::Shared {
    fn keep_numbers(&self, tails: &mut Tails, reserved: u64) -> io::Result<()> {
        self.numbers.keep(reserved)?;
        tails.reserved = reserved;
        Ok(())
    }
}

impl Drop for super::Shared {
    /// As [`Store::settle`]. What fails here has the next start leave out some numbers.
    fn drop(&mut self) {
        let tails = self.tails.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (last, is_settled) = (tails.last_change, tails.reserved == tails.last_change);
        if is_settled || *self.failed.get_mut() {
            return;
        }
        let flush = std::panic::AssertUnwindSafe(|| self.db.flush());
        if matches!(std::panic::catch_unwind(flush), Ok(Ok(_))) {
            let _ = self.numbers.keep(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Beside(PathBuf, Place);

    impl Beside {
        fn new(name: &str) -> Beside {
            let directory = std::env::temp_dir().join(format!(
                "crmirror-numbers-{name}-{}-{:x}",
                std::process::id(),
                fastrand::u64(..)
            ));
            let place = Place::make(&directory).unwrap();
            Beside(directory, place)
        }

        fn open(&self, last: u64) -> (Numbers, u64) {
            Numbers::open(&self.1, last).unwrap()
        }
    }

    impl Drop for Beside {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_new_row_begins_where_the_store_is() {
        let beside = Beside::new("new");
        let (numbers, next) = beside.open(0);
        assert_eq!((next, numbers.lost.len()), (0, 0));
        assert_eq!(beside.open(0), (numbers, 0), "it stays the same row");
        assert_ne!(Beside::new("other").open(0).0.generation, beside.open(0).0.generation);
    }

    #[test]
    fn what_was_reserved_and_is_not_kept_is_lost_and_never_given_again() {
        let beside = Beside::new("lost");
        let (numbers, _) = beside.open(0);
        numbers.keep(1_050).unwrap();
        let (numbers, next) = beside.open(40);
        assert_eq!((next, numbers.lost.as_slice()), (1_051, &[41..=1_050][..]));
        assert!(!numbers.has_lost(40) && numbers.has_lost(41) && !numbers.has_lost(1_051));
        assert_eq!(beside.open(40), (numbers.clone(), 1_051), "nothing was given since");
        numbers.keep(2_060).unwrap();
        let (numbers, next) = beside.open(40);
        assert_eq!((next, numbers.lost.as_slice()), (2_061, &[41..=1_050, 1_052..=2_060][..]));
    }

    #[test]
    fn a_store_made_anew_takes_nobody_from_before() {
        let beside = Beside::new("void");
        let (before, _) = beside.open(0);
        before.keep(70).unwrap();
        Numbers::void(&beside.1).unwrap();
        let (numbers, next) = beside.open(70);
        assert_ne!(numbers.generation, before.generation);
        assert_eq!((next, numbers.has_lost(0), numbers.has_lost(70)), (71, true, true));
        assert!(!numbers.has_lost(71));
        assert_eq!(beside.open(71), (numbers, 71), "once is enough");
    }

    #[test]
    fn a_file_that_cannot_be_read_takes_nobody_from_before() {
        let beside = Beside::new("garbled");
        let (before, _) = beside.open(0);
        for garbage in ["", "generation x\n", "reserved many\n", "x", "\u{0}\u{0}"] {
            fs::write(beside.1.numbers(), garbage).unwrap();
            let (numbers, next) = beside.open(70);
            assert_ne!(numbers.generation, before.generation);
            assert!(next > 70 + AHEAD && !numbers.has_lost(next) && numbers.has_lost(70));
            assert_eq!(beside.open(70), (numbers, next), "once is enough");
        }
    }

    #[test]
    fn old_losses_become_one() {
        let beside = Beside::new("many");
        let mut last = 0;
        for _ in 0..3 * LOST_LIMIT as u64 {
            let (numbers, next) = beside.open(last);
            numbers.keep(next + 10).unwrap();
            last = next + 5;
        }
        let (numbers, next) = beside.open(last);
        assert_eq!(numbers.lost.len(), LOST_LIMIT);
        assert!(numbers.has_lost(9) && !numbers.has_lost(next));
    }
}
