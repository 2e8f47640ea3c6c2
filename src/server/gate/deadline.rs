//! A socket on which nothing takes longer than it may.
//!
//! A deadline is a moment, not a span: a peer that sends a byte a second gains nothing, since each
//! system call gets only the time that is left. This is the only file of the gate that reads a
//! clock, and it decides nothing.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

/// Milliseconds of a wait that is not cut into halves any more: the last of a deadline.
const FINE: u64 = 64;

/// A moment by which something has to be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// The moment that lies `span` from now.
    pub(super) fn after(span: Duration) -> Deadline {
        Deadline(Instant::now() + span)
    }

    /// The time that is left; zero when it is over.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// The moment of the call, on the clock that deadlines are counted by.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A connected socket. It is shared with whoever may have to shut it.
#[derive(Debug)]
pub(super) struct Socket {
    family: Family,
    /// Its thread is in a read.
    reading: AtomicBool,
    /// Its thread is in a write.
    writing: AtomicBool,
    /// How long a read may wait, and a write, as the system was told last; milliseconds, 0 for
    /// never.
    told: [AtomicU64; 2],
}

#[derive(Debug)]
enum Family {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Socket {
        Socket::new(Family::Tcp(socket))
    }
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Socket {
        Socket::new(Family::Unix(socket))
    }
}

impl Socket {
    fn new(family: Family) -> Socket {
        let (reading, writing) = (AtomicBool::new(false), AtomicBool::new(false));
        Socket { family, reading, writing, told: Default::default() }
    }

    /// Whether it is for the peer to say something: we are reading, and nothing is there.
    pub(super) fn awaits_peer(&self) -> bool {
        self.reading.load(Ordering::Relaxed)
            && !matches!(self.peek(RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok(true))
    }

    /// Whether it is for the peer to take something: we are writing, and that takes no time
    /// unless what was written before still lies there.
    pub(super) fn awaits_reader(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// Ends reading, or both ways; whoever waits in a read or a write wakes up.
    pub(super) fn shut(&self, how: Shutdown) {
        // The peer may have gone already: that is what was wanted.
        let _ = match &self.family {
            Family::Tcp(socket) => socket.shutdown(how),
            Family::Unix(socket) => socket.shutdown(how),
        };
    }

    /// Waits until the peer has gone, or reading was ended here, or `ear` can be read, or the time
    /// is over; whether the peer has gone. What the peer says meanwhile waits in the system.
    pub(super) fn await_end(&self, ear: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
        let left = Timespec::try_from(deadline.left()).ok();
        let mut both = [
            PollFd::from_borrowed_fd(self.descriptor(), PollFlags::RDHUP),
            PollFd::from_borrowed_fd(ear, PollFlags::IN),
        ];
        match poll(&mut both, left.as_ref()) {
            Ok(_) => Ok(!both[0].revents().is_empty()),
            // Not an answer yet: whoever waits looks at the time that is left.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the system end the connection when the peer's machine has not taken what was sent for so
    /// long: one that was switched off says no word. Failing is no harm, it takes longer then.
    pub(super) fn give_up_after(&self, span: Duration) {
        if let Family::Tcp(socket) = &self.family {
            let milliseconds = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
            let _ = rustix::net::sockopt::set_tcp_user_timeout(socket, milliseconds);
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.family {
            Family::Tcp(socket) => socket.as_fd(),
            Family::Unix(socket) => socket.as_fd(),
        }
    }

    /// Sets how long the next reads, or else writes, may wait: until `left` is over, or shorter.
    ///
    /// Spans are halved down from the longest, so that request after request is waited for with the
    /// same one, and the system need not be told. Whoever waits longer than that comes back and is
    /// given half of what is left.
    fn allow(&self, reading: bool, left: Duration) -> io::Result<()> {
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        // The system takes zero for "as long as you like".
        let span = if left < FINE { left.max(1) } else { 1 << left.ilog2() };
        let told = &self.told[usize::from(reading)];
        if told.load(Ordering::Relaxed) == span {
            return Ok(());
        }
        let timeout = Some(Duration::from_millis(span));
        match (&self.family, reading) {
            (Family::Tcp(socket), true) => socket.set_read_timeout(timeout),
            (Family::Tcp(socket), false) => socket.set_write_timeout(timeout),
            (Family::Unix(socket), true) => socket.set_read_timeout(timeout),
            (Family::Unix(socket), false) => socket.set_write_timeout(timeout),
        }?;
        told.store(span, Ordering::Relaxed);
        Ok(())
    }

    /// Whether there is something to read; false at the end.
    fn peek(&self, flags: RecvFlags) -> io::Result<bool> {
        let (_, count) = rustix::net::recv(self.descriptor(), &mut [0; 1][..], flags)?;
        Ok(count > 0)
    }

    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match &self.family {
            Family::Tcp(socket) => (&*socket).read(bytes),
            Family::Unix(socket) => (&*socket).read(bytes),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.family {
            Family::Tcp(socket) => (&*socket).write(bytes),
            Family::Unix(socket) => (&*socket).write(bytes),
        }
    }
}

/// What a conversation goes over: a socket with deadlines, plain or under TLS.
pub(super) trait Wire: Read + Write {
    /// The socket below.
    fn timed(&mut self) -> &mut Timed;

    /// Says that nothing more will be written.
    fn finish(&mut self) -> io::Result<()>;

    /// The next phase begins, and ends at `deadline`.
    fn until(&mut self, deadline: Deadline) {
        self.timed().deadline = deadline;
    }
}

impl Wire for Timed {
    fn timed(&mut self) -> &mut Timed {
        self
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket with the deadline of the phase that it is in.
pub(super) struct Timed {
    socket: Arc<Socket>,
    deadline: Deadline,
}

impl Timed {
    /// The socket, whose first phase ends at `deadline`.
    pub(super) fn new(socket: Arc<Socket>, deadline: Deadline) -> Timed {
        Timed { socket, deadline }
    }

    /// The socket.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Waits until something can be read; whether there is anything before the end.
    pub(super) fn await_first_byte(&mut self) -> io::Result<bool> {
        self.in_time(true, |socket| socket.peek(RecvFlags::PEEK))
    }

    /// Performs one system call within the time that is left.
    fn in_time<T>(
        &self,
        reading: bool,
        mut call: impl FnMut(&Socket) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let left = self.deadline.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.allow(reading, left)?;
            let waits = if reading { &self.socket.reading } else { &self.socket.writing };
            waits.store(true, Ordering::Relaxed);
            let outcome = call(&self.socket);
            waits.store(false, Ordering::Relaxed);
            match outcome {
                // Not an answer yet: the time that is left decides.
                Err(error) if is_pause(&error) => {}
                done => return done,
            }
        }
    }
}

/// Whether a system call ended only because its time did, or a signal came.
fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.in_time(true, |socket| socket.read(bytes))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.in_time(false, |socket| socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_waited_for_no_longer_than_until_the_deadline() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let soon = Deadline::after(Duration::from_millis(20));
        let mut timed = Timed::new(Arc::new(Socket::from(ours)), soon);
        let late = timed.read(&mut [0; 8]).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        (&theirs).write_all(b"x").unwrap();
        let past = timed.read(&mut [0; 8]).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::TimedOut, "a past deadline allows nothing");
        timed.until(Deadline::after(Duration::from_secs(60)));
        assert!(timed.await_first_byte().unwrap());
        assert_eq!(timed.read(&mut [0; 8]).unwrap(), 1);
        drop(theirs);
        assert!(!timed.socket().awaits_peer(), "nobody is reading");
        assert!(!timed.await_first_byte().unwrap());
    }

    #[test]
    fn a_peer_that_does_not_read_is_waited_for_no_longer_either() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let soon = Deadline::after(Duration::from_millis(50));
        let mut timed = Timed::new(Arc::new(Socket::from(ours)), soon);
        let late = timed.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
