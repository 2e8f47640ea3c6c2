//! The desk where arrivals are taken in: those that come together share one batch and one fsync.
//!
//! sled shares nothing by itself. Each of its flushes ends in an fsync of its own, and one that
//! begins in the middle of another thread's batch makes that thread do a second, while it holds
//! the store. So whoever comes lays its arrivals on the desk and waits for its turn; whoever has
//! the turn takes in all that lies there, for all. The desk knows no store and no disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::EnqueueError;
use crate::mirror::inbox::{Arrival, InboxItem};

/// What became of a ticket's arrivals; flushed, when they were taken in.
pub(super) type Outcome = Result<Vec<InboxItem>, EnqueueError>;

/// The desk.
#[derive(Default)]
pub(super) struct Desk {
    pile: Mutex<Vec<Arc<Ticket>>>,
    turn: Mutex<()>,
}

/// What one caller laid on the desk.
pub(super) struct Ticket {
    pub(super) arrivals: Vec<Arrival>,
    outcome: Mutex<Option<Outcome>>,
}

impl Desk {
    /// Lays arrivals on the desk, has them taken in, and says what became of them. `take_in` gets
    /// all that lies there, and gives an outcome for each.
    pub(super) fn pass(
        &self,
        arrivals: &[Arrival],
        take_in: impl FnOnce(&[Arc<Ticket>]) -> Vec<Outcome>,
    ) -> Outcome {
        let ticket = Arc::new(Ticket { arrivals: arrivals.to_vec(), outcome: Mutex::default() });
        lock(&self.pile).push(Arc::clone(&ticket));
        let turn = lock(&self.turn);
        if let Some(outcome) = lock(&ticket.outcome).take() {
            return outcome;
        }
        let pile = std::mem::take(&mut *lock(&self.pile));
        for (ticket, outcome) in pile.iter().zip(take_in(&pile)) {
            *lock(&ticket.outcome) = Some(outcome);
        }
        drop(turn);
        lock(&ticket.outcome).take().expect("a ticket without an outcome lies on the desk")
    }
}

/// Nothing is left half done by a panic here: what it would leave is a ticket without an outcome.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
