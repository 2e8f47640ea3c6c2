//! The bell that is rung when there are changes, and the ears at it.
//!
//! Whoever waits for changes may have something else to wait for at the same time, such as the end
//! of a connection. So an ear is a descriptor: it can be read once the bell has rung. It says that
//! something happened, not what: that is asked of the store.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// The bell.
pub struct Bell {
    sequence: AtomicU64,
    ears: Mutex<Ears>,
}

#[derive(Default)]
struct Ears {
    next: u64,
    open: BTreeMap<u64, Arc<OwnedFd>>,
}

/// One who listens, until it is dropped.
#[derive(Debug)]
pub struct Ear {
    bell: Arc<Bell>,
    number: u64,
    descriptor: Arc<OwnedFd>,
}

impl Bell {
    /// A bell of a store whose newest change has this sequence.
    pub fn new(sequence: u64) -> Bell {
        Bell { sequence: AtomicU64::new(sequence), ears: Mutex::default() }
    }

    /// Tells all who listen that there are changes through this sequence. They can be read already.
    pub fn ring(&self, sequence: u64) {
        if self.sequence.fetch_max(sequence, Ordering::AcqRel) >= sequence {
            return;
        }
        for descriptor in self.ears().open.values() {
            // It does not fail but for one who was rung for all the numbers there are.
            let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// The sequence that was rung for last.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Listens from now on. An error when there is no descriptor left.
    pub fn listen(self: &Arc<Bell>) -> io::Result<Ear> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let descriptor = Arc::new(descriptor);
        let mut ears = self.ears();
        let number = ears.next;
        ears.next += 1;
        ears.open.insert(number, Arc::clone(&descriptor));
        Ok(Ear { bell: Arc::clone(self), number, descriptor })
    }

    fn ears(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}

impl Ear {
    /// Whether there are changes above this sequence. What was rung until now is heard with that:
    /// the descriptor is silent until the bell rings again.
    pub fn has_heard(&self, after: u64) -> bool {
        // First the silence, then the look: what is rung in between is heard again.
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
        self.bell.sequence() > after
    }
}

impl AsFd for Ear {
    /// Can be read once the bell has rung.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.bell.ears().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings(ear: &Ear) -> bool {
        let mut one = [PollFd::new(ear, PollFlags::IN)];
        poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    #[test]
    fn every_ear_hears_it_and_only_once() {
        let bell = Arc::new(Bell::new(4));
        let (one, other) = (bell.listen().unwrap(), bell.listen().unwrap());
        assert!(!rings(&one) && !one.has_heard(4) && one.has_heard(3));
        bell.ring(6);
        bell.ring(7);
        for ear in [&one, &other] {
            assert!(rings(ear) && ear.has_heard(6) && !rings(ear) && !ear.has_heard(7));
        }
        bell.ring(7);
        assert!(!rings(&one), "nothing new");
        drop(other);
        bell.ring(8);
        assert!(rings(&one) && bell.ears().open.len() == 1);
    }
}
