//! The gate on loopback: what it serves, what it refuses and how it ends.

mod limits;
mod live;
pub(crate) mod tls;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crmirror::server::asked::Asked;
use crmirror::server::gate::{Gate, Limits, Listener, Reason, TlsFiles};
use crmirror::server::hall::Hall;
use crmirror::server::reply::Reply;
use rustix::net;

/// Generous: what is waited for comes within milliseconds, or the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hall that answers as [`respond`] does, and a gate before it.
struct House {
    gate: Gate,
    address: SocketAddr,
    /// Lets `GET /wait` be answered.
    release: Sender<()>,
    /// Tells that `GET /wait` has reached the worker.
    entered: Mutex<Receiver<()>>,
    _hall: Hall,
}

impl House {
    fn open(limits: Limits) -> House {
        House::open_with(limits, None)
    }

    fn open_with(limits: Limits, tls: Option<TlsFiles>) -> House {
        let (release, released) = channel();
        let (enter, entered) = channel();
        let (released, enter) = (Mutex::new(released), Mutex::new(enter));
        let entered = Mutex::new(entered);
        let respond = move |asked: &Asked| match asked.target.as_str() {
            "/wait" => {
                enter.lock().unwrap().send(()).unwrap();
                let _ = released.lock().unwrap().recv();
                Reply::text(200, "text/plain", "waited")
            }
            _ => respond(asked),
        };
        let hall = Hall::open(3, Arc::new(respond)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Gate::open(Listener::Tcp(listener), tls, limits, &hall).unwrap();
        let address = gate.address().unwrap();
        House { gate, address, release, entered, _hall: hall }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends the bytes on a connection of their own; all that comes back until the end.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The gate may refuse before it has read everything.
        let _ = stream.write_all(bytes);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8(reply).unwrap()
    }

    /// Asks what is answered only after [`House::release`], and waits until a worker has it.
    fn occupy(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        self.entered.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream
    }

    /// Lets all who were occupied be answered.
    fn release(&self, mut occupied: Vec<TcpStream>) {
        occupied.iter().for_each(|_| self.release.send(()).unwrap());
        for stream in &mut occupied {
            assert_eq!(status(&read_reply(stream)), 200);
        }
    }

    /// The first status that comes back.
    fn status(&self, bytes: &[u8]) -> u16 {
        status(&self.exchange(bytes))
    }

    fn refused(&self, reason: Reason) -> u64 {
        let refused = self.gate.counters().refused;
        refused.iter().find(|(why, _)| *why == reason).map_or(0, |(_, count)| *count)
    }
}

/// Says what it was asked.
fn respond(asked: &Asked) -> Reply {
    match asked.target.as_str() {
        "/panic" => panic!("a test asked for a panic"),
        "/none" => Reply::empty(204),
        "/huge" => Reply::text(200, "text/plain", vec![b'x'; 12 << 20]),
        "/large" => Reply::text(200, "text/plain", vec![b'x'; 3 << 20]),
        _ => {
            let secure = if asked.secure { "tls" } else { "plain" };
            let name = asked.header("x-name").unwrap_or("-");
            let body = String::from_utf8_lossy(&asked.body);
            let said = format!("{} {} {secure} {name} [{body}]", asked.method, asked.target);
            Reply::text(200, "text/plain", said).with("X-Peer", asked.peer.to_string())
        }
    }
}

/// A connection from an address of our own choice: all of 127.0.0.0/8 is this machine.
pub(crate) fn connect_from(own: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::from((own, 0)))?;
    net::connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

fn status(reply: &str) -> u16 {
    reply.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Reads one reply whose length is declared.
fn read_reply(stream: &mut impl Read) -> String {
    let mut reply = Vec::new();
    let mut byte = [0; 1];
    while !reply.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        reply.push(byte[0]);
    }
    let head = String::from_utf8(reply).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

#[test]
fn a_request_is_answered_and_says_who_asked() {
    let house = House::open(Limits::default());
    let mut stream = house.connect();
    let own = stream.local_addr().unwrap();
    let request =
        b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-Name: n\xc3\xa4h\r\nX-Gate-Peer: tls unix\r\n\
        Connection: close\r\nContent-Length: 4\r\n\r\nbody";
    stream.write_all(request).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.contains(&format!("X-Peer: {own}\r\n")), "{reply}");
    assert!(reply.contains("Connection: close\r\n"), "{reply}");
    assert!(!reply.contains("Server:"), "{reply}");
    assert!(reply.ends_with("\r\n\r\nPOST /a?b=c plain n\x7f\x7fh [body]"), "{reply}");
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    let house = House::open(Limits::default());
    let check = |request: &str, expected: u16| {
        assert_eq!(house.status(request.as_bytes()), expected, "{request:?}");
    };
    let post = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    check(&format!("{post}Content-Length: 3\r\n\r\nabc"), 200);
    check(&format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), 200);
    check(&format!("{post}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 400);
    check(&format!("{post}Content-Length: 3, 3\r\n\r\nabc"), 400);
    check(&format!("{post}Content-Length: +3\r\n\r\nabc"), 400);
    check(&format!("{post}Content-Length: 1000000000000000\r\n\r\n"), 413);
    check(&format!("{post}Content-Length: 18446744073709551616\r\n\r\n"), 413);
    check(&format!("{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
    check(&format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400);
    check(&format!("{post}Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"), 400);
    check(&format!("{post}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"), 400);
    check(&format!("{post}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n"), 413);
    check(&format!("{post}X: a\0b\r\n\r\n"), 400);
    check(&format!("{post}X: y\r\n folded\r\n\r\n"), 400);
    check(&format!("{post}X : y\r\n\r\n"), 400);
    check(&format!("{post}X: y\n\r\n"), 400);
    check(&format!("{post}Host: h\r\n\r\n"), 400);
    check(&format!("{post}Expect: 100-continued\r\n\r\n"), 417);
    check(&format!("{post}{}\r\n", "X: y\r\n".repeat(63)), 431);
    check(&format!("{post}X: {}\r\n\r\n", "y".repeat(20 << 10)), 431);
    check(&format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(9 << 10)), 414);
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.0\r\n\r\n", 200);
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    check("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    check("GET /\r\n\r\n", 400);
    check("\x16\x03\x01\x02\x00\x01", 400);
    assert_eq!(house.refused(Reason::TooLong), 6);
}

#[test]
fn what_follows_a_refused_request_is_not_read_as_one() {
    let house = House::open(Limits::default());
    let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 30\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let reply = house.exchange(request.as_bytes());
    assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{reply}");
    assert!(reply.contains("\"status\":\"error\""), "{reply}");
}

#[test]
fn a_connection_is_kept_and_pipelined_requests_are_answered_in_order() {
    let house = House::open(Limits::default());
    let mut stream = house.connect();
    for number in 0..3 {
        let head = format!("POST /{number} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n");
        stream.write_all(format!("{head}\r\n1\r\na\r\n0\r\nT: t\r\n\r\n").as_bytes()).unwrap();
        assert!(read_reply(&mut stream).ends_with(&format!("POST /{number} plain - [a]")));
    }
    let many: String = (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    stream.write_all(many.as_bytes()).unwrap();
    for number in 0..100 {
        assert!(read_reply(&mut stream).ends_with(&format!("GET /{number} plain - []")));
    }
    assert_eq!(house.gate.counters().accepted, 1);
}

#[test]
fn replies_are_framed_by_method_and_status() {
    let house = House::open(Limits::default());
    let head = house.exchange(b"HEAD /ab HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(head.contains("Content-Length: 19\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let none = house.exchange(b"GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(none.starts_with("HTTP/1.1 204 No Content\r\n"), "{none}");
    assert!(!none.contains("Content-Length"), "{none}");
    // A client that asks for chunks by `TE` gets a declared length all the same.
    let te = b"GET /large HTTP/1.1\r\nHost: h\r\nTE: chunked\r\nConnection: close\r\n\r\n";
    let large = house.exchange(te);
    assert!(large.contains(&format!("Content-Length: {}\r\n", 3 << 20)));
    assert_eq!(large.split("\r\n\r\n").nth(1).map(str::len), Some(3 << 20));
}

#[test]
fn a_peer_that_expects_to_be_told_is_told_to_continue() {
    let house = House::open(Limits::default());
    let mut stream = house.connect();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_reply(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ab").unwrap();
    assert!(read_reply(&mut stream).ends_with("[ab]"));
    let large = head.replace("Length: 2", "Length: 2000000");
    stream.write_all(large.as_bytes()).unwrap();
    assert_eq!(status(&read_reply(&mut stream)), 413, "no body is called for that is too long");
}

#[test]
fn twelve_kept_connections_opened_at_once_are_all_answered() {
    let house = House::open(Limits::default());
    let mut streams: Vec<TcpStream> = (0..12).map(|_| house.connect()).collect();
    for round in 0..3 {
        for stream in &mut streams {
            let request = format!("GET /{round} HTTP/1.1\r\nHost: h\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
        }
        for stream in &mut streams {
            assert_eq!(status(&read_reply(stream)), 200);
        }
    }
}

#[test]
fn fifty_clients_at_once_are_all_answered() {
    let house = House::open(Limits { one_peer: true, ..Limits::default() });
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    thread::scope(|scope| {
        let clients: Vec<_> = (0..50).map(|_| scope.spawn(|| house.status(request))).collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), 200);
        }
    });
    assert_eq!(house.gate.counters().accepted, 50);
}

#[test]
fn a_panic_is_answered_and_the_hall_goes_on() {
    let house = House::open(Limits::default());
    // More often than there are workers.
    for _ in 0..5 {
        let reply = house.exchange(b"GET /panic HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&reply), 500, "{reply}");
    }
    assert_eq!(house.status(b"GET / HTTP/1.0\r\n\r\n"), 200);
}

#[test]
fn a_unix_socket_is_served_alike() {
    let hall = Hall::open(1, Arc::new(respond)).unwrap();
    let path = std::env::temp_dir().join(format!("crmirror-gate-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let gate = Gate::open(Listener::Unix(listener), None, Limits::default(), &hall).unwrap();
    assert_eq!(gate.address(), None);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let reply = read_reply(&mut stream);
    assert!(reply.contains("X-Peer: unix\r\n") && reply.ends_with("GET /a plain - []"), "{reply}");
    gate.stop();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn who_takes_a_last_reply_while_the_gate_stops_is_shut_and_holds_nobody_up() {
    let house = House::open(Limits::default());
    let mut busy = house.occupy();
    let mut slow = house.connect();
    // Too long to be sent before it is read: what is said of its end is said before the stop.
    slow.write_all(b"GET /huge HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut begin = [0; 12];
    slow.read_exact(&mut begin).unwrap();
    assert_eq!(begin.as_slice(), b"HTTP/1.1 200");
    thread::scope(|scope| {
        scope.spawn(|| house.gate.stop());
        while TcpStream::connect(house.address).is_ok() {
            thread::yield_now();
        }
        slow.read_to_end(&mut Vec::new()).unwrap();
        house.release.send(()).unwrap();
        assert!(read_reply(&mut busy).ends_with("waited"));
    });
}

#[test]
fn stopping_answers_what_is_in_hand_and_shuts_the_idle() {
    let house = House::open(Limits::default());
    let mut idle = house.connect();
    idle.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(status(&read_reply(&mut idle)), 200);
    let mut busy = house.occupy();
    thread::scope(|scope| {
        scope.spawn(|| house.gate.stop());
        assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0, "the idle connection is shut at once");
        house.release.send(()).unwrap();
        let reply = read_reply(&mut busy);
        assert!(reply.contains("Connection: close\r\n") && reply.ends_with("waited"), "{reply}");
    });
    assert!(TcpStream::connect(house.address).is_err(), "nobody listens any more");
    assert_eq!(house.gate.counters().connections, 0);
}
