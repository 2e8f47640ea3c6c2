//! Waiting with a guest for what is not there yet, and telling it more as it comes.
//!
//! No line, no worker and none of the gate's places are held meanwhile: only the thread of the
//! connection, and a place in the waiting room. The guest is gone when its end of the connection
//! is: that is seen at once. A guest that does not take what it is sent is let go after the time
//! for a reply, as any other. Nothing is decided here about what is told.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use super::deadline::{Deadline, now};
use crate::server::again::{Again, Mode, Round};
use crate::server::asked::Asked;
use crate::server::crossing::Answer;
use crate::server::lines::Unanswered;
use crate::server::live::{Live, Place};
use crate::server::reply::Reply;

/// Seconds after which one who found no place may come again: most of those who are held have
/// been answered by then.
const RETRY_AFTER: &str = "10";

/// What ended a wait.
enum Woken {
    /// There are changes, or the time is over.
    ToAsk,
    /// The guest has gone.
    Gone,
    /// The gate closes.
    Closing,
}

/// What a guest was told, and when.
struct Told {
    first: Instant,
    last: Instant,
}

impl Connection<'_> {
    /// Waits for what `again` says and asks again, over and over, until there is an answer that is
    /// the last; that one, when it is still to be sent.
    pub(super) fn attend(
        &mut self,
        live: &Arc<Live>,
        asked: &Asked,
        answer: Answer,
        again: Again,
    ) -> Result<Option<Answer>, Unanswered> {
        let place = match live.enter() {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(Some(full().into())),
            Err(error) => {
                log::warn!("nobody can wait for changes: {error}; raise LimitNOFILE");
                return Ok(Some(full().into()));
            }
        };
        // Whoever wants to be told more can come again, and is given what there is until then.
        if !self.seat.is_live() {
            return Ok(Some(answer));
        }
        match again.mode {
            Mode::Held => self.hold(&place, asked, answer, again),
            Mode::Streamed => {
                // Whatever ends a stream, the guest sees that it has ended, and comes again.
                if let Err(error) = self.stream(&place, asked, answer, again) {
                    log::debug!("a stream of changes ended: {error}");
                }
                Ok(None)
            }
        }
    }

    /// Keeps answers back until the last.
    fn hold(
        &mut self,
        place: &Place,
        asked: &Asked,
        mut answer: Answer,
        mut again: Again,
    ) -> Result<Option<Answer>, Unanswered> {
        let began = now();
        loop {
            match self.wait(place, again) {
                Woken::ToAsk => {}
                Woken::Gone => return Ok(None),
                Woken::Closing => return Ok(Some(answer)),
            }
            let told = Told { first: began, last: began };
            answer = self.ask_again(place, asked, again, &told)?;
            match answer.asks_again() {
                Some(more) => again = more,
                None => return Ok(Some(answer)),
            }
        }
    }

    /// Sends answers one after another until the last.
    fn stream(
        &mut self,
        place: &Place,
        asked: &Asked,
        answer: Answer,
        mut again: Again,
    ) -> io::Result<()> {
        self.wire.timed().socket().give_up_after(self.shared.limits.reply);
        let mut first = answer.stream_head();
        first.extend_from_slice(answer.body());
        self.tell(&first)?;
        // Not kept for as long as the stream lasts.
        drop((first, answer));
        let mut told = Told { first: now(), last: now() };
        loop {
            match self.wait(place, again) {
                Woken::ToAsk => {}
                Woken::Gone | Woken::Closing => return Ok(()),
            }
            let answer = self.ask_again(place, asked, again, &told);
            let answer = answer.map_err(|why| io::Error::other(format!("no answer: {why:?}")))?;
            // One that asks no further is no part of it, such as an error.
            let Some(more) = answer.asks_again() else { return Ok(()) };
            again = more;
            if !answer.body().is_empty() {
                self.tell(answer.body())?;
                told.last = now();
            }
        }
    }

    fn wait(&mut self, place: &Place, again: Again) -> Woken {
        let deadline = Deadline::after(again.within);
        loop {
            if self.seat.is_closing() {
                return Woken::Closing;
            }
            if place.ear().has_heard(again.after) || deadline.left().is_zero() {
                return Woken::ToAsk;
            }
            let socket = self.wire.timed().socket();
            // A socket that cannot be waited for is as good as gone.
            let ended = socket.await_end(place.ear().as_fd(), deadline).unwrap_or(true);
            if ended && !self.seat.is_closing() {
                return Woken::Gone;
            }
        }
    }

    fn ask_again(
        &self,
        place: &Place,
        asked: &Asked,
        again: Again,
        told: &Told,
    ) -> Result<Answer, Unanswered> {
        let _turn = place.turn();
        let ago = |moment| now().saturating_duration_since(moment);
        let round = Round { after: again.after, waited: ago(told.first), quiet: ago(told.last) };
        self.shared.lines.ask(asked, Some(round), self.shared.limits.queue)
    }

    fn tell(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.until(Deadline::after(self.shared.limits.reply));
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }
}

fn full() -> Reply {
    let message = "too many wait for changes already: try again, or ask without waiting";
    Reply::error(503, "SERVICE_UNAVAILABLE", message).with("Retry-After", RETRY_AFTER)
}
