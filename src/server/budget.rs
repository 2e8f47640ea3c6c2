//! How many bytes all requests and replies in hand may hold together.
//!
//! One body is bounded by the gate, and so are connections; their product is more than a small
//! device has. What would go over the budget is refused (503) and may come again. What is small is
//! never refused: else a few who send long bodies, and stop before their end, would keep everybody
//! out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that many share.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    free: Arc<AtomicUsize>,
    small: usize,
}

impl Budget {
    /// A budget of so many bytes, out of which each takes what it needs beyond `small`.
    pub(super) fn new(bytes: usize, small: usize) -> Budget {
        Budget { free: Arc::new(AtomicUsize::new(bytes)), small }
    }

    /// Nothing held yet, to grow from.
    pub(super) fn hold(&self) -> Hold {
        Hold { budget: self.clone(), held: 0 }
    }
}

/// Bytes held out of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    budget: Budget,
    held: usize,
}

impl Hold {
    /// Holds `bytes` in all, unless there are not so many left; then it holds what it held.
    pub(super) fn reach(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.budget.small).saturating_sub(self.held);
        let less = |free: usize| free.checked_sub(more);
        let taken = self.budget.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if taken.is_ok() {
            self.held += more;
        }
        taken.is_ok()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_held_again() {
        let budget = Budget::new(10, 0);
        let (mut one, mut other) = (budget.hold(), budget.hold());
        assert!(one.reach(4) && one.reach(6) && other.reach(4));
        assert!(!other.reach(5), "6 and 5 are more than 10");
        drop(one);
        assert!(other.reach(10) && !other.reach(11));
        drop(other);
        assert!(budget.hold().reach(10));
    }

    #[test]
    fn what_is_small_is_never_refused() {
        let budget = Budget::new(10, 4);
        let mut long = budget.hold();
        assert!(long.reach(14));
        let mut small = budget.hold();
        assert!(small.reach(3) && small.reach(4) && !small.reach(5));
        drop(long);
        assert!(small.reach(14) && !budget.hold().reach(5));
    }
}
