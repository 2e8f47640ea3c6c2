//! Taking in what a callback named: enqueue and flush, 200, and ring the bell.
//!
//! Whoever reads a kind of callback judges it first; from then on all kinds go this way. What is
//! acknowledged is on disk: a 200 cannot be built without the store's [`crate::store::Durable`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use crate::clock::Clock;
use crate::identity::IdentityError;
use crate::mirror::inbox::Arrival;
use crate::mirror::planner::Input;
use crate::mirror::platform::{Announced, Event};
use crate::mirror::time::{Tick, UpstreamTime};
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

    /// Notes when (upstream) one of Books came that was acknowledged.
    pub(super) fn hear_of_books(&self, came: Option<UpstreamTime>) {
        self.board.callbacks.hear_of_books(came);
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
                self.accept(repeats());
                self.ring(Input::Arrived(items));
                Reply::accepted(durable)
            }
            Err(error) => self.turn_away(error),
        }
    }

    /// The same for what the platform told.
    pub(super) fn take_event(&self, event: &Announced, came: Tick) -> Reply {
        match self.store.enqueue_event(event) {
            Ok(durable) => {
                self.board.meters.acknowledgement.add(self.clock.tick().since(came));
                self.accept(false);
                self.ring(Input::PlatformTold);
                Reply::accepted(durable)
            }
            Err(error) => self.turn_away(error),
        }
    }

    /// Whether such an event is acknowledged and still to be recorded. What cannot be read is not:
    /// the heart does not read it either.
    pub(super) fn has_waiting(&self, event: Event) -> bool {
        let waiting = self.store.waiting_events(usize::MAX).unwrap_or_default();
        waiting.iter().any(|(_, announced)| announced.event == event)
    }

    /// Asks for a callback again whose secret could not be kept.
    pub(super) fn cannot_keep(&self, error: &IdentityError) -> Reply {
        let why =
            if error.is_for_want_of_room() { Declined::NoRoom } else { Declined::StoreFailed };
        log::error!("a callback cannot be kept: {error}");
        self.count_refused(why);
        Intake::not_now("the disk takes no writes")
    }

    fn accept(&self, repeats: bool) {
        if self.turning_away.swap(false, Ordering::Relaxed) {
            log::info!("callbacks are taken again");
        }
        self.board.callbacks.count_accepted(repeats);
    }

    /// Says 503, and in the log only once until a callback is taken again: upstream sends many,
    /// and the disk that is full may be that of the log.
    fn turn_away(&self, error: EnqueueError) -> Reply {
        let (declined, why, told) = match error {
            EnqueueError::Full { waiting } => {
                (Declined::InboxFull, format!("{waiting} wait already"), "the inbox is full")
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
