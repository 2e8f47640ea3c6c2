//! Several callers, each asking one thing after another for a while.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::figures::Sample;
use super::wire::{Door, Wire, get};

/// What a caller does who is told 503: asks again after so long.
const RETRY: Duration = Duration::from_millis(20);

/// What is asked for how long.
pub(crate) struct Load<'a> {
    pub(crate) door: Door,
    /// Sent in turn, again and again.
    pub(crate) requests: &'a [Vec<u8>],
    pub(crate) callers: usize,
    /// Whether a caller keeps its connection; else each request has one of its own.
    pub(crate) kept: bool,
    /// How long a caller rests between two requests.
    pub(crate) pause: Duration,
    /// Whether a caller who is told 503 asks again until it is answered; that counts as one.
    pub(crate) patient: bool,
    pub(crate) span: Duration,
}

impl<'a> Load<'a> {
    /// Callers who keep their connections and ask without a pause.
    pub(crate) fn new(
        door: Door,
        requests: &'a [Vec<u8>],
        callers: usize,
        span: Duration,
    ) -> Load<'a> {
        Load { door, requests, callers, kept: true, pause: Duration::ZERO, patient: false, span }
    }

    /// Puts the load on. Any status but 200 is an error: what is refused is quickly done.
    pub(crate) fn run(&self) -> io::Result<Sample> {
        let turn = AtomicUsize::new(fastrand::usize(..self.requests.len()));
        let wires: io::Result<Vec<Option<Wire>>> =
            (0..self.callers).map(|_| self.greet()).collect();
        let (wires, turn, began) = (wires?, &turn, Instant::now());
        let each: Vec<io::Result<Vec<Duration>>> = thread::scope(|scope| {
            let call = |wire| scope.spawn(move || self.call(wire, turn, began));
            let callers: Vec<_> = wires.into_iter().map(call).collect();
            let joined = callers.into_iter().map(|caller| caller.join());
            joined.map(|done| done.expect("a caller does not panic")).collect()
        });
        let elapsed = began.elapsed();
        let mut latencies = Vec::new();
        for own in each {
            latencies.extend(own?);
        }
        Ok(Sample::new(latencies, elapsed))
    }

    /// A kept connection to a bare tiny_http, which a thread there has taken up: of connections
    /// that come together it lets some wait until others are closed.
    fn greet(&self) -> io::Result<Option<Wire>> {
        if !(self.kept && matches!(self.door, Door::Bare(_))) {
            return Ok(None);
        }
        let mut wire = Wire::open(&self.door)?;
        wire.ask(&get("/"))?;
        Ok(Some(wire))
    }

    fn call(
        &self,
        mut wire: Option<Wire>,
        turn: &AtomicUsize,
        began: Instant,
    ) -> io::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        while began.elapsed() < self.span {
            let number = turn.fetch_add(1, Ordering::Relaxed) % self.requests.len();
            let asked = Instant::now();
            let mut used = match wire.take() {
                Some(wire) => wire,
                None => Wire::open(&self.door)?,
            };
            let mut status = used.ask(&self.requests[number])?;
            while self.patient && status == 503 {
                thread::sleep(RETRY);
                status = used.ask(&self.requests[number])?;
            }
            latencies.push(asked.elapsed());
            if status != 200 {
                return Err(io::Error::other(format!("answered {status} instead of 200")));
            }
            wire = self.kept.then_some(used);
            if !self.pause.is_zero() {
                thread::sleep(self.pause);
            }
        }
        Ok(latencies)
    }
}
