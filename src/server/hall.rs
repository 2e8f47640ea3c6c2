//! The hall behind the gates: tiny_http, and the threads that answer.
//!
//! tiny_http is never exposed. It listens on a private Unix socket whose name is gone before the
//! first request comes; all it ever meets are the lines (`lines`) opened here, one after another,
//! each proved with a probe, each carrying one whole and canonical request at a time. (Opened
//! together they would starve: its pool queues a connection behind a thread that is already
//! taken.) The number of lines bounds how many requests are answered at once.
//!
//! The hall reads nothing from a stranger and knows no deadline. It is the only file that names
//! tiny_http.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::geteuid;

use super::asked::Asked;
use super::crossing::{PEER_HEADER, parse_peer};
use super::lines::{Line, Lines};
use super::live::{self, Live};
use super::reply::Reply;
use super::tray::Trays;
use crate::aside;
use crate::store::Bell;
use crate::vitals::Crew;

/// Whoever answers: from any worker thread, several at once.
pub type Respond = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// Stack of a worker: reading JSON to its full depth and a lookup in the store need less than half.
const WORKER_STACK: usize = 1 << 20;

/// How the directories are called that doorways are in, but for the end.
const DOORWAY: &str = "crmirror-hall-";

/// The socket in such a directory.
const SOCKET: &str = "hall";

/// Descriptors of a line: its two ends, and tiny_http's copy of one.
const LINE_DESCRIPTORS: u64 = 3;
/// Of the descriptors that the process may have, each hall takes at most one in so many for its
/// lines, and one for those who wait for changes, as each gate does for its guests.
const DESCRIPTORS_SHARE: u64 = 8;

/// Longest path of a Unix socket that every system takes.
const SOCKET_PATH_LIMIT: usize = 100;

/// The hall. It lives as long as the gates that lead to it.
pub struct Hall {
    lines: Arc<Lines>,
    server: Arc<tiny_http::Server>,
    listener: UnixListener,
    closing: Arc<AtomicBool>,
    crew: Arc<Crew>,
    live: Option<Arc<Live>>,
    workers: usize,
}

impl Hall {
    /// Opens a hall of `workers` threads, each of which may be in `respond`, and as many lines;
    /// fewer when descriptors are few. A panic in `respond` is answered with 500.
    pub fn open(workers: usize, respond: Respond) -> Result<Hall, HallError> {
        let workers = affordable(workers, LINE_DESCRIPTORS);
        let doorway = Doorway::make()?;
        let listener = UnixListener::bind(&doorway.socket).map_err(HallError::socket(&doorway))?;
        let kept = listener.try_clone().map_err(HallError::socket(&doorway))?;
        let server = tiny_http::Server::from_listener(listener, None)
            .map_err(|error| HallError::socket(&doorway)(io::Error::other(error)))?;
        let server = Arc::new(server);
        let closing = Arc::new(AtomicBool::new(false));
        let trays = Arc::new(Trays::new(workers));
        let lines = Arc::new(Lines::new(Arc::clone(&trays)));
        // Built first, so that whatever fails from here on ends the workers by its drop.
        let crew = Arc::new(Crew::new(workers as u64));
        let hall = Hall { lines, server, listener: kept, closing, crew, live: None, workers };
        for number in 0..workers {
            let server = Arc::clone(&hall.server);
            let (closing, respond) = (Arc::clone(&hall.closing), Arc::clone(&respond));
            let (crew, trays) = (Arc::clone(&hall.crew), Arc::clone(&trays));
            let thread = thread::Builder::new().name(format!("hall-{number}"));
            aside::spawn(thread.stack_size(WORKER_STACK), move || {
                work(&server, &closing, &crew, &trays, &respond);
            })
            .map_err(HallError::Threads)?;
        }
        for number in 0..workers {
            let line = Line::open(&doorway.socket, number).map_err(HallError::socket(&doorway))?;
            hall.lines.add(line);
        }
        Ok(hall)
    }

    /// The same hall, before whose gates one can wait for changes: `bell` is rung for them. In
    /// other halls what wants to be asked again is sent as it is.
    pub fn live(mut self, bell: Arc<Bell>) -> Hall {
        self.live =
            Some(Arc::new(Live::new(bell, affordable(live::LIVE_LIMIT, live::DESCRIPTORS))));
        self
    }

    /// The mark of the threads that answer.
    pub fn crew(&self) -> Arc<Crew> {
        Arc::clone(&self.crew)
    }

    /// The waiting room, for a gate; none where nobody waits for changes.
    pub(super) fn waiting_room(&self) -> Option<Arc<Live>> {
        self.live.clone()
    }

    /// The lines, for a gate.
    pub(super) fn lines(&self) -> Arc<Lines> {
        Arc::clone(&self.lines)
    }
}

impl Drop for Hall {
    /// Lets the workers go. One that is still answering goes when it has answered; it is not
    /// waited for, since the program must be able to end while a disk hangs.
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        for _ in 0..self.workers {
            self.server.unblock();
        }
        // tiny_http would wake its accept thread by the socket's name, which is gone.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// How many of what is wanted the descriptors allow for, when each takes so many of them.
fn affordable(wanted: usize, each: u64) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let allowed = limit.map(|limit| limit / DESCRIPTORS_SHARE / each);
    let allowed = allowed.map_or(wanted, |allowed| usize::try_from(allowed).unwrap_or(wanted));
    wanted.min(allowed).max(1)
}

/// A worker thread: answers until the hall closes.
fn work(
    server: &tiny_http::Server,
    closing: &AtomicBool,
    crew: &Crew,
    trays: &Trays,
    respond: &Respond,
) {
    loop {
        match server.recv() {
            Ok(request) => answer(request, crew, trays, respond),
            Err(_) if closing.load(Ordering::SeqCst) => return,
            Err(error) => {
                // tiny_http has stopped listening for good and would keep silent about it.
                log::error!("tiny_http gave up: {error}; ending, to be started again");
                std::process::exit(1);
            }
        }
    }
}

/// Answers one request. What it is not told about, tiny_http answers with 500 when it is dropped,
/// over the line: a sign for the gate that the line is broken.
fn answer(mut request: tiny_http::Request, crew: &Crew, trays: &Trays, respond: &Respond) {
    let (line, asked) = match rebuild(&mut request) {
        Rebuilt::Asked(line, asked) => (line, asked),
        Rebuilt::Broken => return,
        Rebuilt::Probe => {
            if let Err(error) = request.respond(tiny_http::Response::empty(204)) {
                log::warn!("a line was not proved: {error}");
            }
            return;
        }
    };
    let replied = catch_unwind(AssertUnwindSafe(|| {
        let _at_work = crew.begin();
        respond(&asked)
    }));
    let reply = replied.unwrap_or_else(|_| {
        let path = asked.target.split('?').next().unwrap_or_default();
        log::error!("{} {path} failed inside; please report it", asked.method);
        Reply::error(500, "INTERNAL_ERROR", "it failed inside; the log says more")
    });
    trays.lay(line, reply);
    // Nothing goes back over the line.
    drop(request.into_writer());
}

enum Rebuilt {
    /// What was asked, over the line of this number.
    Asked(usize, Asked),
    Probe,
    Broken,
}

/// The request as the gate read it.
fn rebuild(request: &mut tiny_http::Request) -> Rebuilt {
    let text = |header: &tiny_http::Header| {
        (header.field.as_str().as_str().to_owned(), header.value.as_str().to_owned())
    };
    let mut headers: Vec<(String, String)> = request.headers().iter().map(text).collect();
    let Some(place) = headers.iter().position(|(name, _)| name == PEER_HEADER) else {
        return Rebuilt::Probe;
    };
    let (_, peer) = headers.remove(place);
    headers.retain(|(name, _)| name != "content-length");
    let length = request.body_length().unwrap_or(0);
    let mut body = Vec::with_capacity(length);
    // tiny_http takes the end of the connection for the end of the body: compare.
    let read = request.as_reader().read_to_end(&mut body);
    let parsed = parse_peer(&peer).filter(|_| read.is_ok() && body.len() == length);
    let Some((line, peer, secure)) = parsed else { return Rebuilt::Broken };
    let (method, target) = (request.method().to_string(), request.url().to_owned());
    Rebuilt::Asked(line, Asked { method, target, headers, body, peer, secure })
}

/// The place where the lines find tiny_http: a socket in a directory that only we may enter. Both
/// are gone when this is dropped.
struct Doorway {
    directory: PathBuf,
    socket: PathBuf,
    /// The directory, locked for as long as somebody opens a hall in it: what nobody holds is what
    /// a kill has left behind.
    _lock: File,
}

impl Doorway {
    fn make() -> Result<Doorway, HallError> {
        let place = std::env::temp_dir();
        clear_away(&place);
        let directory = place.join(format!("{DOORWAY}{:016x}", fastrand::u64(..)));
        let socket = directory.join(SOCKET);
        if socket.as_os_str().len() > SOCKET_PATH_LIMIT {
            return Err(HallError::PathTooLong(directory));
        }
        let failed = |error| HallError::Socket(directory.clone(), error);
        loop {
            // Not `recursive`: a directory that somebody else has made is an error.
            DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
            // Until it is locked another start may clear it away, or be just about to.
            let lock = match open_directory(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
            if directory.exists() {
                return Ok(Doorway { directory, socket, _lock: lock });
            }
        }
    }
}

/// Removes what starts that were killed have left here. What cannot be removed is not ours.
fn clear_away(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(DOORWAY.as_bytes()) {
            continue;
        }
        let directory = entry.path();
        let Ok(lock) = open_directory(&directory) else { continue };
        // In a place that all may write to, a stranger can use our names too.
        let ours = lock.metadata().is_ok_and(|seen| seen.uid() == geteuid().as_raw());
        if ours && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let socket = directory.join(SOCKET);
            drop(Doorway { directory, socket, _lock: lock });
        }
    }
}

/// Opens a directory: neither what a link leads to, nor anything that would be waited for.
fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

impl Drop for Doorway {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// Why the hall could not be opened.
#[derive(Debug)]
pub enum HallError {
    /// The private socket could not be made or used.
    Socket(PathBuf, io::Error),
    /// The path of the private socket would be too long for a socket.
    PathTooLong(PathBuf),
    /// A thread could not be made.
    Threads(io::Error),
}

impl HallError {
    fn socket(doorway: &Doorway) -> impl Fn(io::Error) -> HallError + use<> {
        let directory = doorway.directory.clone();
        move |error| HallError::Socket(directory.clone(), error)
    }
}

impl fmt::Display for HallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HallError::Socket(path, error) => {
                let path = path.display();
                write!(f, "{path}: no private socket: {error}; set TMPDIR to a writable directory")
            }
            HallError::PathTooLong(path) => {
                write!(f, "{}: too long for a socket; set TMPDIR to a shorter path", path.display())
            }
            HallError::Threads(error) => {
                write!(f, "no thread to answer requests: {error}; raise the limit of tasks")
            }
        }
    }
}

impl std::error::Error for HallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_behind_is_cleared_away_and_nothing_else() {
        let left = std::env::temp_dir().join(format!("{DOORWAY}left-{}", std::process::id()));
        fs::create_dir(&left).unwrap();
        drop(UnixListener::bind(left.join(SOCKET)).unwrap());
        let used = Doorway::make().unwrap();
        let other = Doorway::make().unwrap();
        assert!(!left.exists());
        assert!(used.directory.exists() && other.directory.exists());
        let directory = used.directory.clone();
        drop(used);
        assert!(!directory.exists());
    }
}
