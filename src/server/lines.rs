//! The lines between the gates and tiny_http: who may use one, and what goes over it.
//!
//! A line carries one request and its answer at a time. It is lent, used and given back; one that
//! failed is closed. Nothing here decides what a request or a reply looks like: that is
//! `crossing`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::again::Round;
use super::asked::Asked;
use super::budget::Budget;
use super::crossing::{Answer, PROBE, request_head};

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

/// The lines to tiny_http that nobody uses at the moment, and the memory that is free.
pub(super) struct Lines {
    state: Mutex<Idle>,
    returned: Condvar,
    budget: Budget,
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
    /// No lines yet.
    pub(super) fn new() -> Lines {
        let state = Mutex::new(Idle::default());
        Lines { state, returned: Condvar::new(), budget: Budget::new(BUDGET, SMALL) }
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
        match line.carry(asked, round, &self.budget) {
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

/// One connection to tiny_http.
pub(super) struct Line(UnixStream);

impl Line {
    /// Opens a line and proves that a worker answers on it.
    pub(super) fn open(socket: &Path) -> io::Result<Line> {
        let mut line = Line(UnixStream::connect(socket)?);
        line.0.set_read_timeout(Some(PROBE_WAIT))?;
        line.0.write_all(PROBE)?;
        line.read_head(false)?;
        line.0.set_read_timeout(None)?;
        Ok(line)
    }

    /// Carries a request there and its answer back; no answer when the memory for it is not left.
    fn carry(
        &mut self,
        asked: &Asked,
        round: Option<Round>,
        budget: &Budget,
    ) -> io::Result<Option<Answer>> {
        self.0.write_all(&request_head(asked, round))?;
        self.0.write_all(&asked.body)?;
        let (answer, length, mut body) = self.read_head(asked.method == "HEAD")?;
        let rest = length.checked_sub(body.len()).ok_or_else(unexpected)?;
        let mut hold = budget.hold();
        if !hold.reach(length) {
            let skipped = io::copy(&mut (&self.0).take(rest as u64), &mut io::sink())?;
            return if skipped == rest as u64 { Ok(None) } else { Err(unexpected()) };
        }
        body.reserve_exact(rest);
        let read = (&self.0).take(rest as u64).read_to_end(&mut body)?;
        if read != rest {
            return Err(unexpected());
        }
        Ok(Some(answer.with_body(body, hold)))
    }

    /// Reads the head of a reply: the answer so far, the length of its body, and what of the body
    /// came along.
    fn read_head(&mut self, to_head_request: bool) -> io::Result<(Answer, usize, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = match self.0.read(&mut piece) {
                // A signal during the start: a read with a deadline is not taken up again by
                // itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            bytes.extend_from_slice(&piece[..count]);
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let body = bytes.split_off(end + 4);
                let head = Answer::parse_head(&bytes, to_head_request);
                return head.map(|(answer, length)| (answer, length, body)).ok_or_else(unexpected);
            }
            if count == 0 || bytes.len() > ANSWER_HEAD_LIMIT {
                return Err(unexpected());
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // tiny_http leaves the connection when it reads its end.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a reply that tiny_http writes")
}
