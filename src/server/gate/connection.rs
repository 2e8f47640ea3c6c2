//! The life of one connection: handshake, then request and reply by turns, then the end.
//!
//! It reads one request at a time and no further, so that a peer that does not wait for replies is
//! slowed down by its own full buffers. Every phase has its deadline. A peer that goes away is no
//! error; whatever is refused ends the connection, since what follows it cannot be trusted to be a
//! request.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::Limits;
use super::chunks::Chunks;
use super::counters::{Reason, Tally};
use super::deadline::{Deadline, Socket, Timed, Wire};
use super::floor::Seat;
use super::request::{Framing, Head, Refusal, head_end, parse_head};
use super::tls::Certificates;
use crate::server::asked::{Asked, Peer};
use crate::server::budget::Hold;
use crate::server::crossing::Answer;
use crate::server::lines::{Lines, Unanswered};
use crate::server::live::Live;
use crate::server::reply::Reply;

/// How much is read at once; it lies on the stack.
const PIECE: usize = 8 << 10;
/// Bodies up to this size are sent in one piece with their head; longer ones that come in get their
/// room at once.
const ONE_PIECE_LIMIT: usize = 16 << 10;
/// How long what a refused peer still sends is read over, so that it reads our reply before it
/// learns that the connection is gone.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it.
const LINGER_LIMIT: u64 = 1 << 20;

/// What the connections of one gate share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) certificates: Option<Certificates>,
    pub(super) lines: Arc<Lines>,
    /// Where one can wait for changes.
    pub(super) live: Option<Arc<Live>>,
    pub(super) tally: Arc<Tally>,
}

/// Serves one connection until it ends.
pub(super) fn serve(socket: Arc<Socket>, peer: Peer, seat: &Seat, shared: &Shared) {
    let mut timed = Timed::new(socket, Deadline::after(shared.limits.idle));
    if !timed.await_first_byte().unwrap_or(false) {
        return;
    }
    seat.is_heard();
    let secure = shared.certificates.is_some();
    let wire: Box<dyn Wire> = match &shared.certificates {
        None => Box::new(timed),
        Some(certificates) => {
            timed.until(Deadline::after(shared.limits.handshake));
            match certificates.accept(timed) {
                Ok(wire) => Box::new(wire),
                Err((mut timed, error)) => {
                    log::debug!("{peer}: no TLS handshake: {error}");
                    shared.tally.refuse(Reason::Handshake);
                    return linger(&mut timed);
                }
            }
        }
    };
    Connection { wire, unread: Vec::new(), peer, secure, seat, shared }.converse();
}

/// Waits for what a refused peer still sends, and forgets it.
fn linger(timed: &mut Timed) {
    timed.socket().shut(Shutdown::Write);
    timed.until(Deadline::after(LINGER));
    let _ = io::copy(&mut timed.take(LINGER_LIMIT), &mut io::sink());
}

pub(super) struct Connection<'a> {
    pub(super) wire: Box<dyn Wire>,
    /// What was read beyond the request in hand.
    unread: Vec<u8>,
    peer: Peer,
    secure: bool,
    pub(super) seat: &'a Seat,
    pub(super) shared: &'a Shared,
}

/// A request that has come whole.
struct Received {
    asked: Asked,
    keep_alive: bool,
    /// The body's bytes, held in the budget until it is answered.
    _hold: Hold,
}

/// Why there is no request.
enum End {
    /// The peer has left, or has nothing more to say.
    Gone,
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> End {
        End::Refused(refusal)
    }
}

impl Connection<'_> {
    fn converse(mut self) {
        loop {
            let received = match self.receive() {
                Ok(received) => received,
                Err(End::Gone) => return self.leave(),
                Err(End::Refused(refusal)) => return self.refuse(refusal),
            };
            self.seat.is_busy();
            let answer = match self.answer(&received.asked) {
                Ok(Some(answer)) => answer,
                Ok(None) => return self.leave(),
                Err(Unanswered::Busy) => return self.refuse(Refusal::Busy),
                Err(Unanswered::Broken) => {
                    let failed = Reply::error(500, "INTERNAL_ERROR", "it failed inside");
                    let _ = self.send(&failed.into(), false);
                    return self.leave();
                }
            };
            let keep_alive = received.keep_alive && !self.seat.is_to_leave();
            drop(received);
            if self.send(&answer, keep_alive).is_err() || !keep_alive {
                return self.leave();
            }
            self.seat.waits();
        }
    }

    /// What is to be sent; nothing when all was sent already, or the peer has gone.
    fn answer(&mut self, asked: &Asked) -> Result<Option<Answer>, Unanswered> {
        let answer = self.shared.lines.ask(asked, None, self.shared.limits.queue)?;
        match (answer.asks_again(), &self.shared.live) {
            (Some(again), Some(live)) => self.attend(live, asked, answer, again),
            (Some(_), None) | (None, _) => Ok(Some(answer)),
        }
    }

    /// Reads one request, whole.
    fn receive(&mut self) -> Result<Received, End> {
        let limits = &self.shared.limits;
        if self.unread.is_empty() {
            self.wire.until(Deadline::after(limits.idle));
            match self.read_more() {
                // Nobody asked anything, so there is nothing to answer.
                Err(End::Refused(Refusal::TooSlow)) => return Err(End::Gone),
                read => read?,
            }
        }
        self.seat.is_heard();
        let whole = Deadline::after(limits.request);
        self.wire.until(whole.min(Deadline::after(limits.head)));
        let head = self.read_head()?;
        self.wire.until(whole);
        let (body, hold) = self.read_body(&head)?;
        let Head { method, target, headers, keep_alive, .. } = head;
        let (peer, secure) = (self.peer, self.secure);
        let asked = Asked { method, target, headers, body, peer, secure };
        Ok(Received { asked, keep_alive, _hold: hold })
    }

    fn read_head(&mut self) -> Result<Head, End> {
        let mut judged = 0;
        let end = loop {
            match head_end(&self.unread, judged)? {
                Some(end) => break end,
                None => {
                    judged = self.unread.len();
                    self.read_more()?;
                }
            }
        };
        let head = parse_head(&self.unread[..end])?;
        self.unread.drain(..end);
        Ok(head)
    }

    fn read_body(&mut self, head: &Head) -> Result<(Vec<u8>, Hold), End> {
        let mut hold = self.shared.lines.budget().hold();
        if head.expects_continue && self.unread.is_empty() && head.framing != Framing::Length(0) {
            let sent = self.wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            sent.and_then(|()| self.wire.flush()).map_err(|_| End::Gone)?;
        }
        match head.framing {
            Framing::Length(length) => {
                while self.unread.len() < length {
                    self.read_more()?;
                    grow(&mut hold, self.unread.len().min(length))?;
                    if self.unread.len() > ONE_PIECE_LIMIT {
                        // Once and exactly: doubled over and over, it would leave as much behind.
                        let rest = (length + PIECE).saturating_sub(self.unread.len());
                        self.unread.reserve_exact(rest);
                    }
                }
                let rest = self.unread.split_off(length);
                Ok((std::mem::replace(&mut self.unread, rest), hold))
            }
            Framing::Chunked => {
                let mut chunks = Chunks::new();
                loop {
                    let taken = chunks.feed(&self.unread)?;
                    self.unread.drain(..taken);
                    grow(&mut hold, chunks.held())?;
                    if chunks.is_done() {
                        return Ok((chunks.into_body(), hold));
                    }
                    self.read_more()?;
                }
            }
        }
    }

    fn read_more(&mut self) -> Result<(), End> {
        let mut piece = [0; PIECE];
        match self.wire.read(&mut piece) {
            Ok(0) => Err(End::Gone),
            Ok(count) => {
                self.unread.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Refusal::TooSlow.into()),
            Err(_) => Err(End::Gone),
        }
    }

    fn send(&mut self, answer: &Answer, keep_alive: bool) -> io::Result<()> {
        self.seat.is_replied_to();
        self.wire.until(Deadline::after(self.shared.limits.reply));
        let (mut head, body) = answer.parts(keep_alive);
        if body.len() <= ONE_PIECE_LIMIT {
            head.extend_from_slice(body);
            self.wire.write_all(&head)?;
        } else {
            self.wire.write_all(&head)?;
            self.wire.write_all(body)?;
        }
        self.wire.flush()
    }

    fn refuse(mut self, refusal: Refusal) {
        log::debug!("{}: refused with {}: {refusal}", self.peer, refusal.status());
        self.shared.tally.refuse(refusal.into());
        let message = refusal.to_string();
        let reply = match refusal {
            Refusal::Busy => {
                let reply = Reply::error(refusal.status(), "SERVICE_UNAVAILABLE", &message);
                reply.with("Retry-After", "5")
            }
            _ => Reply::error(refusal.status(), "INVALID_REQUEST", &message),
        };
        if self.send(&reply.into(), false).is_ok() && self.wire.finish().is_ok() {
            self.seat.waits();
            linger(self.wire.timed());
        }
    }

    fn leave(mut self) {
        let _ = self.wire.finish();
    }
}

fn grow(hold: &mut Hold, bytes: usize) -> Result<(), Refusal> {
    if hold.reach(bytes) { Ok(()) } else { Err(Refusal::Busy) }
}
