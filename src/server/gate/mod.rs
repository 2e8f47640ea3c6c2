//! The gate: the door that strangers stand before.
//!
//! It accepts, bounds, decrypts, and reads each request whole under deadlines; what it does not
//! fully understand it refuses. What it lets in goes to the [hall](super::hall) in one canonical
//! form. It knows no path and no module: what a request means is not its business. When
//! descriptors or threads run out it waits; it does not die, and it does not spin.
//!
//! Reading order: `request` and `chunks` (pure), `listener`, `deadline`, `floor`, `connection`,
//! `attend`, `tls`.

mod attend;
pub mod chunks;
mod connection;
pub mod counters;
mod deadline;
mod floor;
mod listener;
pub mod request;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use self::counters::{Counters, Reason};
pub use self::listener::{Access, Listener};
pub use self::tls::TlsFiles;

use self::connection::{Shared, serve};
use self::counters::Tally;
use self::deadline::{Deadline, Socket};
use self::floor::Floor;
use self::tls::Certificates;
use super::asked::Peer;
use super::hall::Hall;
use crate::aside;
use crate::vitals::{Pulse, Stage};

/// Stack of a connection's thread: a TLS handshake needs about a third of it.
const CONNECTION_STACK: usize = 256 << 10;
/// Pause when descriptors or threads have run out: long enough not to spin, short enough for a
/// callback to be acknowledged within its second.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// How long all goes well before it is said to: while somebody gives way for each newcomer, every
/// other one is accepted.
const EXHAUSTED_CALM: Duration = Duration::from_secs(10);
/// Of the descriptors that the process may have, each gate takes at most one in so many: there are
/// two or three gates, two halls, the store and the connections to upstream.
const DESCRIPTORS_SHARE: u64 = 8;
/// How long requests in hand may take when the gate stops. With what is waited for after it, below
/// the 1.5 s that the daemon has for it.
const STOP_WAIT: Duration = Duration::from_millis(1250);

/// What strangers may take, in number and in time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address (of IPv6: from one /64).
    pub per_address: usize,
    /// All connections come from one address, such as a proxy or this device: the limit for one
    /// address does not apply.
    pub one_peer: bool,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head, from its first byte.
    pub head: Duration,
    /// For the whole request, from its first byte.
    pub request: Duration,
    /// For the first byte of a request.
    pub idle: Duration,
    /// For a free place in the hall.
    pub queue: Duration,
    /// For the peer to take the reply.
    pub reply: Duration,
    /// How often the certificate files are looked at, at most.
    pub certificates_every: Duration,
}

impl Default for Limits {
    /// Made for a device of 256 MiB on the internet.
    fn default() -> Limits {
        Limits {
            // Each costs a thread and about 60 KiB; upstream's callbacks come a few at a time.
            connections: 128,
            // Upstream calls from few addresses, so not less; nobody may take all places.
            per_address: 64,
            one_peer: false,
            // Several round trips over a satellite, and a key operation on a slow board.
            handshake: Duration::from_secs(10),
            // A head fits into a few packets; this allows for the loss of some.
            head: Duration::from_secs(10),
            // The longest body at half a megabit a second.
            request: Duration::from_secs(20),
            // Longer than a client takes between two requests that belong together.
            idle: Duration::from_secs(15),
            // Whoever called would soon give up, and should come again later.
            queue: Duration::from_secs(5),
            // A page of long records over a poor radio link.
            reply: Duration::from_secs(20),
            // A renewal has days; looking costs two calls of stat.
            certificates_every: Duration::from_secs(5),
        }
    }
}

/// An open gate. Dropping it stops it.
pub struct Gate {
    address: Option<SocketAddr>,
    floor: Arc<Floor>,
    shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    /// The accept loop, and our end of its bell.
    accepting: Mutex<Option<(JoinHandle<()>, UnixStream)>>,
}

impl Gate {
    /// Opens a gate before `hall`: with TLS, or without when the files are not given.
    pub fn open(
        listener: Listener,
        tls: Option<TlsFiles>,
        limits: Limits,
        hall: &Hall,
    ) -> Result<Gate, GateError> {
        let address = listener.prepare().map_err(GateError::Listener)?;
        let every = limits.certificates_every;
        let certificates = tls.map(|files| Certificates::open(files, every)).transpose()?;
        let tally = Arc::new(Tally::default());
        let floor = Floor::new(places(limits.connections), &limits, Arc::clone(&tally));
        let (lines, live) = (hall.lines(), hall.waiting_room());
        let shared = Arc::new(Shared { limits, certificates, lines, live, tally });
        let stopping = Arc::new(AtomicBool::new(false));
        let pulse = Arc::new(Pulse::default());
        let (ours, bell) = UnixStream::pair().map_err(GateError::Listener)?;
        let door = Door {
            listener,
            bell,
            pulse: Arc::clone(&pulse),
            floor: Arc::clone(&floor),
            shared: Arc::clone(&shared),
            stopping: Arc::clone(&stopping),
        };
        let thread = thread::Builder::new().name("gate-accept".into()).stack_size(CONNECTION_STACK);
        let accepting = aside::spawn(thread, move || door.keep()).map_err(GateError::Threads)?;
        let accepting = Mutex::new(Some((accepting, ours)));
        Ok(Gate { address, floor, shared, stopping, pulse, accepting })
    }

    /// The address that the gate listens on; none for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The mark of the accept loop.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// What was let in and turned away.
    pub fn counters(&self) -> Counters {
        self.shared.tally.show(self.floor.count())
    }

    /// Whoever tells these numbers later on.
    pub fn teller(&self) -> Teller {
        Teller { floor: Arc::clone(&self.floor), shared: Arc::clone(&self.shared) }
    }

    /// Reads the certificate and its key again now. A bad pair is an error and changes nothing.
    pub fn reload(&self) -> Result<(), GateError> {
        self.shared.certificates.as_ref().map_or(Ok(()), Certificates::reload)
    }

    /// Stops accepting, lets the requests in hand finish for up to 1.5 s, and shuts the rest. What
    /// the system has queued on a socket of systemd's waits for the next process.
    pub fn stop(&self) {
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((accepting, bell)) = accepting else { return };
        let deadline = Deadline::after(STOP_WAIT);
        self.stopping.store(true, Ordering::SeqCst);
        drop(bell);
        // A panic there was reported when it happened.
        drop(accepting.join());
        self.floor.clear(deadline);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells a gate's numbers, also to who does not hold the gate.
#[derive(Clone)]
pub struct Teller {
    floor: Arc<Floor>,
    shared: Arc<Shared>,
}

impl Teller {
    /// What was let in and turned away.
    pub fn counters(&self) -> Counters {
        self.shared.tally.show(self.floor.count())
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counters().fmt(f)
    }
}

/// How many of the places that are wanted the descriptors allow for.
fn places(wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let allowed = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit / DESCRIPTORS_SHARE).unwrap_or(usize::MAX)
    });
    if allowed < wanted {
        log::warn!("only {allowed} connections at once instead of {wanted}; raise LimitNOFILE");
    }
    wanted.min(allowed).max(1)
}

/// The accept loop.
struct Door {
    listener: Listener,
    /// Its other end is closed when the gate stops.
    bell: UnixStream,
    pulse: Arc<Pulse>,
    floor: Arc<Floor>,
    shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
}

impl Door {
    fn keep(self) {
        let mut exhausted: Option<Deadline> = None;
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        loop {
            self.pulse.enter(Stage::Waiting);
            let waited = self.listener.await_caller(&self.bell);
            self.pulse.enter(Stage::Working);
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            let outcome = waited
                .and_then(|()| self.listener.accept())
                .and_then(|(socket, peer)| self.admit(socket, peer));
            match outcome {
                Ok(thread) => {
                    threads.extend(thread);
                    await_ended(&mut threads);
                    if exhausted.is_some_and(|until| until.left().is_zero()) {
                        log::info!("accepting connections again");
                        exhausted = None;
                    }
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    if exhausted.is_none() {
                        log::warn!("no connection can be accepted: {error}; trying again");
                    }
                    self.shared.tally.refuse(Reason::NoResources);
                    self.floor.relieve();
                    exhausted = Some(Deadline::after(EXHAUSTED_CALM));
                    thread::sleep(EXHAUSTED_PAUSE);
                }
            }
        }
    }

    /// Gives a newcomer a place and a thread, or turns it away; an error when there is no thread.
    fn admit(&self, socket: Socket, peer: Peer) -> io::Result<Option<JoinHandle<()>>> {
        let socket = Arc::new(socket);
        let seat = match self.floor.admit(&socket, peer) {
            Ok(seat) => seat,
            Err(reason) => {
                log::debug!("{peer}: turned away: {}", reason.name());
                self.shared.tally.refuse(reason);
                return Ok(None);
            }
        };
        self.shared.tally.accept();
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("gate".into()).stack_size(CONNECTION_STACK);
        aside::spawn(thread, move || serve(socket, peer, &seat, &shared)).map(Some)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.pulse.enter(Stage::Ended);
    }
}

/// Waits until those threads are gone that have nothing left to do. Their seats are free a moment
/// before: while thousands come and go there would be many more threads than seats.
fn await_ended(threads: &mut Vec<JoinHandle<()>>) {
    let mut place = 0;
    while place < threads.len() {
        if threads[place].is_finished() {
            // A panic there was reported when it happened.
            drop(threads.swap_remove(place).join());
        } else {
            place += 1;
        }
    }
}

/// Whether accepting failed because of who came, and the next may well be accepted.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// Why a gate could not be opened, or its certificate not be read again.
#[derive(Debug)]
pub enum GateError {
    /// The listening socket cannot be used.
    Listener(io::Error),
    /// A thread could not be made.
    Threads(io::Error),
    /// The certificate file, or the pair, cannot be used.
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key file cannot be used.
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl GateError {
    fn certificate(file: &Path, why: String) -> GateError {
        GateError::Certificate { file: file.to_owned(), why }
    }

    fn key(file: &Path, why: String) -> GateError {
        GateError::Key { file: file.to_owned(), why }
    }
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateError::Listener(error) => {
                write!(f, "the listening socket cannot be used: {error}; check its address")
            }
            GateError::Threads(error) => {
                write!(f, "no thread to accept connections: {error}; raise the limit of tasks")
            }
            GateError::Certificate { file, why } => write!(
                f,
                "{}: not usable as certificate: {why}; callbacks.tls_cert wants the chain in PEM \
                 (certbot's fullchain.pem)",
                file.display()
            ),
            GateError::Key { file, why } => write!(
                f,
                "{}: not usable as key: {why}; callbacks.tls_key wants the certificate's key in \
                 PEM (certbot's privkey.pem), readable by us",
                file.display()
            ),
        }
    }
}

impl std::error::Error for GateError {}
