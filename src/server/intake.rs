//! Taking in what a callback named: enqueue and flush, 200, and ring the bell.
//!
//! Whoever reads a kind of callback judges it first; from then on all kinds go this way. What is
//! acknowledged is on disk: a 200 cannot be built without the store's [`crate::store::Durable`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use crate::clock::Clock;
use crate::mirror::inbox::Arrival;
use crate::mirror::planner::Input;
use crate::mirror::time::Tick;
use crate::store::{EnqueueError, Store};

use super::board::{Admission, Board};
use super::declined::Declined;
use super::reply::Reply;

/// Seconds after which upstream may try again, when we cannot take a callback now.
const RETRY_AFTER: &str = "30";

/// Where callbacks of all kinds are taken in.
pub struct Intake {
    store: Store,
    board: Arc<Board>,
    bell: SyncSender<Input>,
    clock: Arc<dyn Clock>,
    turning_away: AtomicBool,
}

impl Intake {
    /// Takes in to this store, and rings this bell.
    pub fn new(
        store: Store,
        board: Arc<Board>,
        bell: SyncSender<Input>,
        clock: Arc<dyn Clock>,
    ) -> Intake {
        Intake { store, board, bell, clock, turning_away: AtomicBool::new(false) }
    }

    /// Now, by our own clock.
    pub(super) fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// Whom to let in now.
    pub(super) fn admission(&self) -> Arc<Admission> {
        self.board.admission()
    }

    /// Counts a callback that was refused.
    pub(super) fn count_refused(&self, declined: Declined) {
        self.board.callbacks.count_refused(declined);
    }

    /// Makes what a callback named durable, and acknowledges it. `came` is when it came, `repeats`
    /// is asked, once it is acknowledged, whether it repeats one that was before.
    pub(super) fn take(
        &self,
        arrivals: &[Arrival],
        came: Tick,
        repeats: impl FnOnce() -> bool,
    ) -> Reply {
        match self.store.enqueue(arrivals) {
            Ok((durable, items)) => {
                let on_disk = self.clock.tick();
                self.board.meters.acknowledgement.add(on_disk.since(came));
                self.board.meters.set_out(&items, on_disk);
                if self.turning_away.swap(false, Ordering::Relaxed) {
                    log::info!("callbacks are taken again");
                }
                self.board.callbacks.count_accepted(repeats());
                self.ring(Input::Arrived(items));
                Reply::accepted(durable)
            }
            Err(error) => self.turn_away(error),
        }
    }

    /// Says 503, and in the log only once until a callback is taken again: upstream sends many,
    /// and the disk that is full may be that of the log.
    fn turn_away(&self, error: EnqueueError) -> Reply {
        let (declined, why, told) = match error {
            EnqueueError::Full { waiting } => {
                (Declined::InboxFull, format!("{waiting} ids wait already"), "the inbox is full")
            }
            EnqueueError::NoRoom { .. } => {
                (Declined::NoRoom, error.to_string(), "the disk is full")
            }
            EnqueueError::Store(error) => {
                log::error!("a callback cannot be kept: {error}");
                self.count_refused(Declined::StoreFailed);
                // The heart looks at the store when it is rung, and stops.
                self.ring(Input::Nothing);
                return Intake::not_now("the store takes no writes");
            }
        };
        if !self.turning_away.swap(true, Ordering::Relaxed) {
            log::warn!("callbacks are turned away for now: {why}");
        }
        self.count_refused(declined);
        self.ring(Input::TurnedAway);
        Intake::not_now(told)
    }

    /// Asks for the callback to be sent again later.
    pub(super) fn not_now(why: &str) -> Reply {
        Reply::error(503, "NOT_NOW", why).with("Retry-After", RETRY_AFTER)
    }

    fn ring(&self, input: Input) {
        // Without a heart the process is about to end, and the next start reads the inbox.
        let _ = self.bell.send(input);
    }
}
