//! The waiting room: who may wait for changes, and how many of them ask at the same time.
//!
//! Those who wait have their own places, apart from those of requests: they may stay for days, and
//! nobody who only wants to read is to stand outside for that. A commit wakes all of them at once,
//! and together they are not to hold all lines to the hall. The waiting itself is the gate's.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::store::{Bell, Ear};

/// Who may wait at once, over all gates of a hall: each costs a thread, two descriptors and about
/// 60 KiB. A kiosk has a page or two and a few programs.
pub(super) const LIVE_LIMIT: usize = 32;
/// Descriptors of one who waits: the connection and its ear.
pub(super) const DESCRIPTORS: u64 = 2;

/// Lines to the hall that those who wait may use at once, so that most are left to the others.
/// Their questions take a fraction of a millisecond.
const LINES_LIMIT: usize = 2;

/// The waiting room of a hall.
#[derive(Debug)]
pub(super) struct Live {
    bell: Arc<Bell>,
    places: usize,
    taken: Mutex<Taken>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    places: usize,
    lines: usize,
}

/// A place in the waiting room, free again when dropped.
pub(super) struct Place {
    live: Arc<Live>,
    ear: Ear,
}

/// The turn to ask, which ends when dropped.
pub(super) struct Turn<'a>(&'a Live);

impl Live {
    /// A waiting room with so many places, in which `bell` is heard.
    pub(super) fn new(bell: Arc<Bell>, places: usize) -> Live {
        Live { bell, places, taken: Mutex::default(), returned: Condvar::new() }
    }

    /// Takes a place; `None` when all are taken.
    pub(super) fn enter(self: &Arc<Live>) -> io::Result<Option<Place>> {
        let mut taken = self.taken();
        if taken.places >= self.places {
            return Ok(None);
        }
        let ear = self.bell.listen()?;
        taken.places += 1;
        drop(taken);
        Ok(Some(Place { live: Arc::clone(self), ear }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What hears the changes.
    pub(super) fn ear(&self) -> &Ear {
        &self.ear
    }

    /// Waits until it is one's turn to ask. Who has it asks and is answered: that takes no longer
    /// than an answer of the hall does.
    pub(super) fn turn(&self) -> Turn<'_> {
        let live = &*self.live;
        let full = |taken: &mut Taken| taken.lines >= LINES_LIMIT;
        let waited = live.returned.wait_while(live.taken(), full);
        waited.unwrap_or_else(PoisonError::into_inner).lines += 1;
        Turn(live)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.taken().places -= 1;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken().lines -= 1;
        self.0.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn places_and_turns_are_few_and_come_back() {
        let live = Arc::new(Live::new(Arc::new(Bell::new(0)), 5));
        let mut inside: Vec<Place> = Vec::new();
        while let Some(place) = live.enter().unwrap() {
            inside.push(place);
        }
        assert_eq!(inside.len(), 5);
        let (asking, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for place in &inside {
                scope.spawn(|| {
                    let _turn = place.turn();
                    let now = asking.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    thread::yield_now();
                    asking.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=LINES_LIMIT).contains(&most.load(Ordering::SeqCst)));
        inside.pop();
        assert!(live.enter().unwrap().is_some());
    }
}
