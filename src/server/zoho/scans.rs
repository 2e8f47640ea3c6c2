//! Looking through a whole module, or a good part of it, without blocking anybody else.
//!
//! Whoever does it takes one of a few places, waits only briefly for one, and gives up after some
//! seconds. Who is alone has another come towards him. Those who read by id, or a page of the list,
//! need no place.

use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Reads;
use super::halves::{Between, Way};
use super::page::PAGE_LIMIT;
use super::refusal::NoRead;
use crate::mirror::record::{ModuleName, Record, RecordId};
use crate::mirror::time::Tick;
use crate::store::Sight;

/// Requests that look through a module at once: half of those that are answered at once.
const AT_ONCE: usize = 4;
/// Requests that wait for a place. With those that have one they leave threads for everybody else.
const WAITING: usize = 2;
/// How long a request waits for a place: most looks are over by then.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a look may take: an app that waits longer for an answer has given up.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// Entries between two looks at the clock: some milliseconds. They are held in memory meanwhile.
const SLICE: usize = 512;
/// Slices after which it is worth while to have another come towards: most looks that stop early
/// have done so by then.
const HEAD_START: usize = 4;
/// Stack of who comes towards: as much as a thread has that answers.
const STACK: usize = 1 << 20;
/// Records that are read one by one without a place: as many as a page has.
const FEW: usize = PAGE_LIMIT;

/// The places of those who look through a module.
#[derive(Debug, Default)]
pub(in crate::server) struct Scans {
    taken: Mutex<Taken>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    places: usize,
    waiting: usize,
}

/// A place, as long as it is held.
struct Held<'a>(&'a Scans);

impl Scans {
    /// A place; `None` when all stay taken, or others wait already.
    fn enter(&self, patience: Duration) -> Option<Held<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.places >= AT_ONCE {
            if taken.waiting >= WAITING {
                return None;
            }
            taken.waiting += 1;
            let full = |taken: &mut Taken| taken.places >= AT_ONCE;
            let waited = self.given_back.wait_timeout_while(taken, patience, full);
            (taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
            taken.waiting -= 1;
            if taken.places >= AT_ONCE {
                return None;
            }
        }
        taken.places += 1;
        Some(Held(self))
    }

    /// Whether there is but one who looks.
    fn is_lonely(&self) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).places == 1
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).places -= 1;
        self.0.given_back.notify_one();
    }
}

impl Reads<'_> {
    /// Looks at the entries of the module below this id, from the highest down, until `look` breaks
    /// off; what it has kept. When another comes from the lowest up, he keeps his own, which is
    /// given to `join`: all that he saw lies below, and he does not break off.
    pub(super) fn look_through<Kept: Send>(
        &self,
        module: &ModuleName,
        below: Option<RecordId>,
        begin: impl Fn() -> Kept,
        look: &(dyn Fn(&mut Kept, RecordId, Sight<'_>) -> ControlFlow<()> + Sync),
        join: impl FnOnce(&mut Kept, Kept),
    ) -> Result<Kept, NoRead> {
        let _place = self.scans.enter(PATIENCE).ok_or(NoRead::Busy)?;
        let began = self.clock.tick();
        let between = Between::below(below);
        let mut kept = begin();
        for _ in 0..HEAD_START {
            if self.look_on(module, &between, began, &mut kept, look)?.is_break() {
                return Ok(kept);
            }
        }
        if !self.scans.is_lonely() || thread::available_parallelism().is_ok_and(|all| all.get() < 2)
        {
            while self.look_on(module, &between, began, &mut kept, look)?.is_continue() {}
            return Ok(kept);
        }
        let theirs = begin();
        let theirs = thread::scope(|scope| {
            let towards = thread::Builder::new().name("towards".into()).stack_size(STACK);
            let towards =
                towards.spawn_scoped(scope, || self.come_towards(module, &between, theirs, look));
            let looked = loop {
                match self.look_on(module, &between, began, &mut kept, look) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            between.close();
            looked?;
            // Without a thread for him, all was looked at by one.
            let Ok(towards) = towards else { return Ok(None) };
            let theirs = towards.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            theirs.map(Some)
        })?;
        if let Some(theirs) = theirs {
            join(&mut kept, theirs);
        }
        Ok(kept)
    }

    /// Looks at one slice more, in time.
    fn look_on<Kept>(
        &self,
        module: &ModuleName,
        between: &Between,
        began: Tick,
        kept: &mut Kept,
        look: &(dyn Fn(&mut Kept, RecordId, Sight<'_>) -> ControlFlow<()> + Sync),
    ) -> Result<ControlFlow<()>, NoRead> {
        let looked = between
            .look((self.store, module), Way::Down, SLICE, &mut |id, sight| look(kept, id, sight))?;
        if looked.is_continue() && self.clock.tick().since(began) >= LOOK_LIMIT {
            return Err(NoRead::TooLong);
        }
        Ok(looked)
    }

    /// Looks from the lowest id up, until both have met or the other has enough.
    fn come_towards<Kept>(
        &self,
        module: &ModuleName,
        between: &Between,
        mut kept: Kept,
        look: &(dyn Fn(&mut Kept, RecordId, Sight<'_>) -> ControlFlow<()> + Sync),
    ) -> Result<Kept, NoRead> {
        let mut look = |id: RecordId, sight: Sight<'_>| {
            // Enough for this half is not enough for both.
            let _ = look(&mut kept, id, sight);
            ControlFlow::Continue(())
        };
        while between.look((self.store, module), Way::Up, SLICE, &mut look)?.is_continue() {}
        Ok(kept)
    }

    /// Looks at these records, as far as they are live. Many of them, which an index may name, are
    /// a look through a part of the module, and bounded like any other.
    pub(super) fn look_at(
        &self,
        module: &ModuleName,
        ids: &[RecordId],
        look: &mut dyn FnMut(&Record),
    ) -> Result<(), NoRead> {
        let _place = match ids.len() > FEW {
            true => Some(self.scans.enter(PATIENCE).ok_or(NoRead::Busy)?),
            false => None,
        };
        let began = self.clock.tick();
        for slice in ids.chunks(SLICE) {
            if self.clock.tick().since(began) >= LOOK_LIMIT {
                return Err(NoRead::TooLong);
            }
            for id in slice {
                self.live(module, *id)?.iter().for_each(&mut *look);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_so_are_those_who_wait() {
        let scans = Scans::default();
        let held: Vec<Held<'_>> =
            (0..AT_ONCE).map(|_| scans.enter(Duration::ZERO).unwrap()).collect();
        assert!(scans.enter(Duration::ZERO).is_none());
        let long = Duration::from_secs(60);
        std::thread::scope(|scope| {
            let waiting = [(); WAITING].map(|()| scope.spawn(|| scans.enter(long).map(drop)));
            while scans.taken.lock().unwrap().waiting < WAITING {
                std::thread::yield_now();
            }
            assert!(scans.enter(long).is_none(), "the next is told at once");
            drop(held);
            for waited in waiting {
                assert!(waited.join().unwrap().is_some());
            }
        });
        let taken = scans.taken.lock().unwrap();
        assert_eq!((taken.places, taken.waiting), (0, 0));
    }
}
