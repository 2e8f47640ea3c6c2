//! The desk where arrivals are taken in: those that come together share one batch and one flush.
//!
//! sled shares nothing by itself. Each of its flushes goes to the disk on its own, and one that
//! begins in the middle of another thread's batch makes that thread do a second, while it holds
//! the store. So whoever comes lays its arrivals on the desk; one of those who wait has the turn,
//! takes in all that lies there, for all, and passes the turn on to the first of those who have
//! come meanwhile. A caller waits for the turn that takes it in and for no other. The desk knows
//! no store and no disk.

use std::mem;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::EnqueueError;
use crate::mirror::inbox::{Arrival, InboxItem};

/// What became of a ticket's arrivals; flushed, when they were taken in.
pub(super) type Outcome = Result<Vec<InboxItem>, EnqueueError>;

/// The desk.
#[derive(Default)]
pub(super) struct Desk(Mutex<Pile>);

#[derive(Default)]
struct Pile {
    tickets: Vec<Ticket>,
    /// Whether somebody has the turn.
    is_taken: bool,
}

/// What one caller laid on the desk.
pub(super) struct Ticket {
    pub(super) arrivals: Vec<Arrival>,
    caller: SyncSender<Word>,
}

/// What a caller who waits is told: at most the one, and then the other.
enum Word {
    YourTurn,
    Done(Outcome),
}

impl Desk {
    /// Lays arrivals on the desk, has them taken in, and says what became of them. `take_in` gets
    /// all that lies there, and gives an outcome for each.
    pub(super) fn pass(
        &self,
        arrivals: &[Arrival],
        take_in: impl FnOnce(&[Ticket]) -> Vec<Outcome>,
    ) -> Outcome {
        let (caller, words) = mpsc::sync_channel(1);
        let mut pile = self.pile();
        pile.tickets.push(Ticket { arrivals: arrivals.to_vec(), caller });
        let waits = mem::replace(&mut pile.is_taken, true);
        drop(pile);
        let wait = || words.recv().expect("whoever takes a ticket says what became of it");
        if waits {
            if let Word::Done(outcome) = wait() {
                return outcome;
            }
        }
        let turn = Turn(self);
        let tickets = mem::take(&mut self.pile().tickets);
        let outcomes = take_in(&tickets);
        // Before anybody is told: the next flush begins while the answers to this one go out.
        drop(turn);
        for (ticket, outcome) in tickets.into_iter().zip(outcomes) {
            // Whoever laid it there waits for it.
            let _ = ticket.caller.send(Word::Done(outcome));
        }
        match wait() {
            Word::Done(outcome) => outcome,
            Word::YourTurn => unreachable!("a ticket that was taken does not lie on the desk"),
        }
    }

    /// Nothing is left half done by a panic here.
    fn pile(&self) -> MutexGuard<'_, Pile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn. When it is dropped, by a panic too, it goes to the first of those who wait.
struct Turn<'a>(&'a Desk);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut pile = self.0.pile();
        match pile.tickets.first() {
            // It waits, and was told nothing yet.
            Some(next) => drop(next.caller.send(Word::YourTurn)),
            None => pile.is_taken = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender};
    use std::thread::{self, Scope, ScopedJoinHandle};

    use super::*;
    use crate::mirror::inbox::Reason;
    use crate::mirror::record::{ModuleName, RecordId};

    /// A flush that a test lets end: it says how many tickets it has, and waits.
    struct Flush {
        size: usize,
        end: Sender<()>,
    }

    /// A caller whose turns appear as flushes.
    fn call<'scope>(
        scope: &'scope Scope<'scope, '_>,
        desk: &'scope Desk,
        flushes: &Sender<Flush>,
    ) -> ScopedJoinHandle<'scope, Outcome> {
        let flushes = flushes.clone();
        let laid = desk.pile().tickets.len();
        let leads = !desk.pile().is_taken;
        let arrival =
            Arrival::new(ModuleName::parse("Leads").unwrap(), RecordId::new(1), Reason::Touched);
        let caller = scope.spawn(move || {
            desk.pass(&[arrival], |tickets| {
                let (end, ended) = mpsc::channel();
                flushes.send(Flush { size: tickets.len(), end }).unwrap();
                ended.recv().unwrap();
                tickets.iter().map(|_| Ok(Vec::new())).collect()
            })
        });
        while !leads && desk.pile().tickets.len() == laid {
            thread::yield_now();
        }
        caller
    }

    fn next(flushes: &Receiver<Flush>) -> Flush {
        flushes.recv().unwrap()
    }

    #[test]
    fn those_who_come_during_a_flush_share_the_next_and_wait_for_no_other() {
        let (desk, (sender, flushes)) = (Desk::default(), mpsc::channel());
        thread::scope(|scope| {
            let first = call(scope, &desk, &sender);
            let lone = next(&flushes);
            let together: Vec<_> = (0..7).map(|_| call(scope, &desk, &sender)).collect();
            lone.end.send(()).unwrap();
            first.join().unwrap().unwrap();
            let shared = next(&flushes);
            let late = call(scope, &desk, &sender);
            shared.end.send(()).unwrap();
            let last = next(&flushes);
            assert_eq!([lone.size, shared.size, last.size], [1, 7, 1]);
            // The last flush has not ended.
            together.into_iter().for_each(|caller| drop(caller.join().unwrap().unwrap()));
            last.end.send(()).unwrap();
            late.join().unwrap().unwrap();
        });
        assert!(!desk.pile().is_taken);
    }

    #[test]
    fn a_panic_in_a_turn_ends_those_it_took_and_nobody_else() {
        let (desk, (sender, flushes)) = (Desk::default(), mpsc::channel());
        thread::scope(|scope| {
            let doomed = call(scope, &desk, &sender);
            let lone = next(&flushes);
            let waiting = call(scope, &desk, &sender);
            drop(lone.end);
            assert!(doomed.join().is_err());
            next(&flushes).end.send(()).unwrap();
            waiting.join().unwrap().unwrap();
        });
        assert!(!desk.pile().is_taken);
    }
}
