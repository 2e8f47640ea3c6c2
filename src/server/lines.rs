//! The lines between the gates and tiny_http: who may use one, and what goes over it.
//!
//! A line carries one request at a time; the reply is laid beside it, in its tray. It is lent, used
//! and given back; one that failed is closed. Nothing here decides what a request or a reply looks
//! like: that is `crossing`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::again::Round;
use super::asked::Asked;
use super::budget::Budget;
use super::crossing::{Answer, PROBE, request_head};
use super::reply::Reply;
use super::tray::Trays;
use crate::clock::{Clock, DeviceClock};

/// How long a probe may take: it does no work, so a second means that something is broken.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// Bytes that all requests and replies in hand of one hall may hold together: the halls' budgets
/// may both be used up, and the process then stays below 64 MiB. A page of 200 long records is
/// below 2 MiB.
const BUDGET: usize = 12 << 20;

/// Bytes of each that are not counted: most callbacks and records are shorter, and there are no
/// more of them at once than there are places at the gates.
const SMALL: usize = 32 << 10;

/// Longest reply to a probe: tiny_http's is far below.
const PROOF_LIMIT: usize = 1 << 10;

/// How often somebody who waits for a reply looks whether the line is broken.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Bodies of requests up to this size go in one piece with their head.
const ONE_PIECE_LIMIT: usize = 16 << 10;

/// The lines to tiny_http that nobody uses at the moment, and the memory that is free.
pub(super) struct Lines {
    state: Mutex<Idle>,
    returned: Condvar,
    budget: Budget,
    trays: Arc<Trays>,
}

#[derive(Default)]
struct Idle {
    lines: Vec<Line>,
    /// Lines that work, in use or not.
    alive: usize,
    /// How many wait for a line.
    wanted: usize,
}

/// Why the hall gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unanswered {
    /// Every line was taken for longer than the caller would wait, or memory is short.
    Busy,
    /// The line broke.
    Broken,
}

impl Lines {
    /// No lines yet, beside which these trays will be.
    pub(super) fn new(trays: Arc<Trays>) -> Lines {
        let state = Mutex::new(Idle::default());
        Lines { state, returned: Condvar::new(), budget: Budget::new(BUDGET, SMALL), trays }
    }

    /// A line more, which was proved.
    pub(super) fn add(&self, line: Line) {
        let mut idle = self.idle();
        idle.alive += 1;
        idle.lines.push(line);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory that requests and replies share.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Has the request answered, with what has been when it is asked again. Waits up to `patience`
    /// for a line, then for as long as the answer takes: giving up on a line would lose it.
    pub(super) fn ask(
        &self,
        asked: &Asked,
        round: Option<Round>,
        patience: Duration,
    ) -> Result<Answer, Unanswered> {
        let mut line = self.take(patience).ok_or(Unanswered::Busy)?;
        match line.carry(asked, round, &self.budget, &self.trays) {
            Ok(answer) => {
                self.give_back(line);
                answer.ok_or(Unanswered::Busy)
            }
            Err(error) => {
                self.lose(&error);
                Err(Unanswered::Broken)
            }
        }
    }

    fn take(&self, patience: Duration) -> Option<Line> {
        let mut idle = self.idle();
        if idle.lines.is_empty() {
            idle.wanted += 1;
            let none = |idle: &mut Idle| idle.lines.is_empty();
            let waited = self.returned.wait_timeout_while(idle, patience, none);
            (idle, _) = waited.unwrap_or_else(PoisonError::into_inner);
            idle.wanted -= 1;
        }
        idle.lines.pop()
    }

    fn give_back(&self, line: Line) {
        let mut idle = self.idle();
        idle.lines.push(line);
        let is_wanted = idle.wanted > 0;
        drop(idle);
        // Else a call of the system for nothing.
        if is_wanted {
            self.returned.notify_one();
        }
    }

    /// A line that failed is never used again: what it would say next belongs to nobody.
    fn lose(&self, error: &io::Error) {
        let mut idle = self.idle();
        idle.alive -= 1;
        log::error!("a line to tiny_http broke: {error}; {} are left", idle.alive);
        if idle.alive == 0 {
            log::error!("no line to tiny_http is left; ending, to be started again");
            std::process::exit(1);
        }
    }
}

/// One connection to tiny_http, and the number of its tray.
pub(super) struct Line {
    stream: UnixStream,
    number: usize,
}

impl Line {
    /// Opens a line and proves that a worker answers on it.
    pub(super) fn open(socket: &Path, number: usize) -> io::Result<Line> {
        let mut line = Line { stream: UnixStream::connect(socket)?, number };
        line.stream.write_all(PROBE)?;
        line.read_proof()?;
        Ok(line)
    }

    /// Carries a request there and its answer back; no answer when the memory for it is not left.
    fn carry(
        &mut self,
        asked: &Asked,
        round: Option<Round>,
        budget: &Budget,
        trays: &Trays,
    ) -> io::Result<Option<Answer>> {
        let mut request = request_head(asked, round, self.number);
        if asked.body.len() <= ONE_PIECE_LIMIT {
            request.extend_from_slice(&asked.body);
            self.stream.write_all(&request)?;
        } else {
            self.stream.write_all(&request)?;
            self.stream.write_all(&asked.body)?;
        }
        let reply = self.await_reply(trays)?;
        let mut hold = budget.hold();
        if !hold.reach(reply.body().len()) {
            return Ok(None);
        }
        Ok(Some(Answer::of(reply, asked.method == "HEAD", DeviceClock.wall(), hold)))
    }

    /// Waits for the reply beside the line. When something comes over the line itself, or its end,
    /// no reply will follow.
    fn await_reply(&self, trays: &Trays) -> io::Result<Reply> {
        loop {
            if let Some(reply) = trays.take(self.number, LOOK_EVERY) {
                return Ok(reply);
            }
            if self.has_spoken(Duration::ZERO)? {
                return Err(unexpected());
            }
        }
    }

    /// Reads what tiny_http replies to the probe, so that nothing is left of it.
    fn read_proof(&mut self) -> io::Result<()> {
        let (mut bytes, mut piece) = (Vec::new(), [0; PROOF_LIMIT]);
        while !bytes.ends_with(b"\r\n\r\n") {
            if bytes.len() > PROOF_LIMIT || !self.has_spoken(PROBE_WAIT)? {
                return Err(unexpected());
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(unexpected()),
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
        Ok(())
    }

    /// Whether something comes over the line within this time, or its end.
    fn has_spoken(&self, within: Duration) -> io::Result<bool> {
        let within = Timespec::try_from(within).ok();
        loop {
            let mut line = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut line, within.as_ref()) {
                Ok(count) => return Ok(count > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // tiny_http leaves the connection when it reads its end.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "tiny_http does not answer as it should")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::asked::Peer;

    #[test]
    fn a_line_that_speaks_or_ends_is_broken_and_a_slow_reply_is_waited_for() {
        let asked = Asked {
            method: "GET".into(),
            target: "/".into(),
            headers: Vec::new(),
            body: Vec::new(),
            peer: Peer::Unix,
            secure: false,
        };
        let (trays, budget) = (Trays::new(1), Budget::new(BUDGET, SMALL));
        let carried = |meanwhile: &(dyn Fn(UnixStream) + Sync)| {
            let (stream, theirs) = UnixStream::pair().unwrap();
            let mut line = Line { stream, number: 0 };
            std::thread::scope(|scope| {
                scope.spawn(|| meanwhile(theirs));
                line.carry(&asked, None, &budget, &trays).map(|answer| answer.is_some())
            })
        };
        let slow = |theirs: UnixStream| {
            std::thread::sleep(2 * LOOK_EVERY);
            trays.lay(0, Reply::empty(204));
            drop(theirs);
        };
        assert!(carried(&slow).unwrap());
        let read = |mut theirs: &UnixStream| theirs.read(&mut [0; 512]).map(drop).unwrap();
        assert!(carried(&|theirs| read(&theirs)).is_err());
        let speak = |mut theirs: UnixStream| {
            read(&theirs);
            theirs.write_all(b"HTTP/1.1 500 x\r\n\r\n").unwrap();
            std::thread::sleep(2 * LOOK_EVERY);
        };
        assert!(carried(&speak).is_err());
    }
}
