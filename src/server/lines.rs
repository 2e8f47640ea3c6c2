//! The lines between the gates and tiny_http: who may use one, and what goes over it.
//!
//! A line carries one request and the head of its answer at a time; the body of the answer lies
//! beside it, in its tray. It is lent, used and given back; one that failed is closed. Nothing here
//! decides what a request or a reply looks like: that is `crossing`.

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
use super::tray::Trays;

/// How long a probe may take: it does no work, so a second means that something is broken.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// Bytes that all requests and replies in hand of one hall may hold together: the halls' budgets
/// may both be used up, and the process then stays below 64 MiB. A page of 200 long records is
/// below 2 MiB.
const BUDGET: usize = 12 << 20;

/// Bytes of each that are not counted: most callbacks and records are shorter, and there are no
/// more of them at once than there are places at the gates.
const SMALL: usize = 32 << 10;

/// Longest head of a reply from a worker: ours are far below.
const ANSWER_HEAD_LIMIT: usize = 32 << 10;

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
        let waiting =
            self.returned.wait_timeout_while(self.idle(), patience, |idle| idle.lines.is_empty());
        let (mut idle, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        let mut line = idle.lines.pop().ok_or(Unanswered::Busy)?;
        drop(idle);
        match line.carry(asked, round, &self.budget, &self.trays) {
            Ok(answer) => {
                self.idle().lines.push(line);
                self.returned.notify_one();
                answer.ok_or(Unanswered::Busy)
            }
            Err(error) => {
                self.lose(&error);
                Err(Unanswered::Broken)
            }
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
        line.read_head(false, Some(PROBE_WAIT))?;
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
        let is_head = asked.method == "HEAD";
        let (answer, length) = self.read_head(is_head, None)?;
        let body = trays.take(self.number);
        if body.len() != length {
            return Err(unexpected());
        }
        let mut hold = budget.hold();
        if !hold.reach(length) {
            return Ok(None);
        }
        let body = if is_head { Vec::new() } else { body };
        Ok(Some(answer.with_body(body, hold)))
    }

    /// Reads the head of a reply: the answer so far, and the length of its body. Nothing follows
    /// it. Each piece may take as long as `limit` says.
    fn read_head(
        &mut self,
        to_head_request: bool,
        limit: Option<Duration>,
    ) -> io::Result<(Answer, usize)> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            self.await_reply(limit)?;
            let count = self.stream.read(&mut piece)?;
            bytes.extend_from_slice(&piece[..count]);
            if bytes.ends_with(b"\r\n\r\n") {
                return Answer::parse_head(&bytes, to_head_request).ok_or_else(unexpected);
            }
            if count == 0 || bytes.len() > ANSWER_HEAD_LIMIT {
                return Err(unexpected());
            }
        }
    }

    /// Waits until there is something to read. A thread that waits in the read itself would be
    /// woken for nothing when tiny_http has taken the request: Linux tells it that it may write
    /// again.
    fn await_reply(&self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        loop {
            let mut line = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut line, limit.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
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
    io::Error::new(io::ErrorKind::InvalidData, "not a reply that tiny_http writes")
}
