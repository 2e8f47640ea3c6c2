//! The simulator behind a port of this machine, for the real binary: HTTP/1.1 with a thread per
//! connection, keep-alive, and faults that can be felt on a socket.
//!
//! Accounts and API are the same origin, `http://127.0.0.1:PORT`. Everything ends when
//! [`Loopback`] is dropped. Not a server for strangers.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::Upstream;
use super::delivery::{Delivery, Manners};
use super::transport::lock;
use super::wire::{Answer, Asked, NoAnswer};

/// Largest head and body of a request: far above what a mirror sends.
const REQUEST_LIMIT: usize = 1 << 20;
/// How long a request that "times out" is held, unless the test says otherwise.
const HANG: Duration = Duration::from_secs(60);

/// A running simulator; it stops when dropped.
pub struct Loopback {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: Arc<Mutex<Upstream>>,
    stopping: AtomicBool,
    latency_micros: AtomicU64,
    hang_micros: AtomicU64,
    connections: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Loopback {
    /// Serves `upstream` on a free port of 127.0.0.1, and tells it that this is its origin.
    pub fn start(upstream: Arc<Mutex<Upstream>>) -> Loopback {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback can be bound");
        let addr = listener.local_addr().expect("a bound socket has an address");
        {
            let knobs = &mut lock(&upstream).knobs;
            knobs.accounts_origin = format!("http://{addr}");
            knobs.api_origin = knobs.accounts_origin.clone();
        }
        let shared = Arc::new(Shared {
            upstream,
            stopping: AtomicBool::new(false),
            latency_micros: AtomicU64::new(0),
            hang_micros: AtomicU64::new(micros(HANG)),
            connections: Mutex::new(BTreeMap::new()),
        });
        let of_thread = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, &of_thread));
        Loopback { addr, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`: accounts and API.
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every reply takes this long from now on.
    pub fn latency(&self, latency: Duration) {
        self.shared.latency_micros.store(micros(latency), Ordering::Relaxed);
    }

    /// A request that times out is held this long (a minute if not said), then its connection is
    /// closed.
    pub fn hang(&self, hang: Duration) {
        self.shared.hang_micros.store(micros(hang), Ordering::Relaxed);
    }

    /// Sends callbacks to this listener from now on, by the path of each channel's `notify_url`.
    pub fn deliver_to(&self, listener: SocketAddr, manners: Manners) -> Delivery {
        Delivery::start(&self.shared.upstream, listener, manners)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes accept(), which looks at the flag next.
        drop(TcpStream::connect(self.addr));
        for connection in lock(&self.shared.connections).values() {
            // It may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    thread::scope(|scope| {
        for number in 0.. {
            let stream = listener.accept().map(|(stream, _)| stream);
            if shared.stopping.load(Ordering::SeqCst) {
                break;
            }
            let Ok(stream) = stream else { continue };
            scope.spawn(move || {
                if let Ok(twin) = stream.try_clone() {
                    lock(&shared.connections).insert(number, twin);
                }
                // A connection that breaks is the client's business.
                let _ = converse(stream, shared);
                lock(&shared.connections).remove(&number);
            });
        }
        // Those that were accepted while drop() looked at the connections.
        for connection in lock(&shared.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    });
}

fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    while let Some((asked, keep)) = read_request(&mut stream, &mut unread)? {
        let outcome = lock(&shared.upstream).answer(&asked);
        wait(&shared.latency_micros, shared);
        match outcome {
            Ok(answer) => write_answer(&mut stream, &answer)?,
            Err(NoAnswer::TimedOut) => {
                wait(&shared.hang_micros, shared);
                return Ok(());
            }
            Err(NoAnswer::Reset | NoAnswer::Unreachable | NoAnswer::WrongClock) => {
                // Closed without lingering, the other side sees a reset; it is closed when the
                // twin among the connections goes too, which is next.
                set_socket_linger(&stream, Some(Duration::ZERO))?;
                return Ok(());
            }
        }
        if !keep || shared.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
    }
    Ok(())
}

fn wait(micros: &AtomicU64, shared: &Shared) {
    let until = Instant::now() + Duration::from_micros(micros.load(Ordering::Relaxed));
    while !shared.stopping.load(Ordering::SeqCst) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// The next request and whether the connection stays open after it; `None` at the end.
fn read_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<(Asked, bool)>> {
    loop {
        if let Some((asked, keep, head, length)) = parse_head(unread)? {
            let end = head + length;
            while unread.len() < end {
                if !read_more(stream, unread)? {
                    return Ok(None);
                }
            }
            let rest = unread.split_off(end);
            let body = unread.split_off(head);
            *unread = rest;
            return Ok(Some((Asked { body, ..asked }, keep)));
        }
        if !read_more(stream, unread)? {
            return Ok(None);
        }
    }
}

/// The request without its body, whether to keep the connection, and the lengths of head and body;
/// `None` while the head is not whole.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Asked, bool, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let mut asked = Asked::new(request.method.unwrap_or(""), request.path.unwrap_or(""));
    for header in request.headers.iter() {
        asked = asked.header(header.name, &String::from_utf8_lossy(header.value));
    }
    if asked.headers.contains_key("transfer-encoding") {
        return Err(io::Error::other("a mirror has no reason to send chunks"));
    }
    let length = asked.headers.get("content-length").map_or(Ok(0), |text| text.parse());
    let length = length.map_err(io::Error::other)?;
    if length > REQUEST_LIMIT {
        return Err(io::Error::other("the request is too large"));
    }
    let keep = asked.headers.get("connection").is_none_or(|text| text != "close");
    Ok(Some((asked, keep, head, length)))
}

fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<bool> {
    if unread.len() > 2 * REQUEST_LIMIT {
        return Err(io::Error::other("the request is too large"));
    }
    let mut chunk = [0; 16_384];
    let count = stream.read(&mut chunk)?;
    unread.extend_from_slice(&chunk[..count]);
    Ok(count > 0)
}

fn write_answer(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let mut reply = format!("HTTP/1.1 {} Simulated\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        reply.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !matches!(answer.status, 204 | 304) {
        reply.extend_from_slice(format!("Content-Length: {}\r\n", answer.body.len()).as_bytes());
    }
    reply.extend_from_slice(b"\r\n");
    reply.extend_from_slice(&answer.body);
    stream.write_all(&reply)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
